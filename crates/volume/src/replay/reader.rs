//! Reading the blocks of a log, most of them consecutive, in large pieces.

use ocfs2_format::Blkno;

use super::places::Places;
use crate::{Error, Journal, Volume};

/// Most bytes that are read at once, after several consecutive blocks were wanted.
const PIECE_BYTES: usize = 1 << 20;

/// The blocks of a log by their numbers.
pub(super) struct Reader<'v> {
    volume: &'v Volume,
    places: Places,
    /// Blocks that were read, and where on the volume the first one is.
    first: Blkno,
    piece: Vec<u8>,
}

impl<'v> Reader<'v> {
    pub fn new(volume: &'v Volume, journal: &Journal) -> Result<Self, Error> {
        let places = Places::new(volume, journal)?;
        Ok(Self { volume, places, first: Blkno(0), piece: Vec::new() })
    }

    /// Whether a block of the volume is one of the log.
    pub fn contains(&self, blkno: Blkno) -> bool {
        self.places.contains(blkno)
    }

    /// Block `index` of the log, and where on the volume it is; `None` in a hole.
    pub fn block(&mut self, index: u32) -> Result<Option<(Blkno, &[u8])>, Error> {
        let Some((blkno, left)) = self.places.run(index) else { return Ok(None) };
        let size = self.volume.block_size().size();
        if self.range(blkno).is_none() {
            let is_next = self.first.0 + (self.piece.len() / size) as u64 == blkno.0;
            let most = if is_next { self.piece.len() * 4 } else { size };
            let count = left.min((most.clamp(size, PIECE_BYTES) / size) as u64);
            self.piece = match self.volume.read_blocks(blkno, count as u32) {
                // Beyond the end of the log there may be blocks that cannot be read.
                Err(_) if count > 1 => self.volume.read_block(blkno)?,
                read => read?,
            };
            self.first = blkno;
        }
        let range = self.range(blkno).unwrap_or_default();
        Ok(Some((blkno, self.piece.get(range).unwrap_or_default())))
    }

    /// Where in the piece a block is.
    fn range(&self, blkno: Blkno) -> Option<std::ops::Range<usize>> {
        let size = self.volume.block_size().size();
        let within = usize::try_from(blkno.0.checked_sub(self.first.0)?).ok()?;
        let start = within.checked_mul(size)?;
        let end = start.checked_add(size).filter(|end| *end <= self.piece.len())?;
        Some(start..end)
    }
}
