//! Where the blocks of a log are on the volume.

use std::ops::Range;

use ocfs2_format::Blkno;

use crate::{Error, Journal, Volume};

/// The blocks of a log, which may be in several pieces.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// By number in the log, with the first block on the volume.
    pieces: Vec<(Range<u64>, Blkno)>,
}

impl Places {
    pub(crate) fn new(volume: &Volume, journal: &Journal) -> Result<Self, Error> {
        let bits = volume.geometry().bpc_bits();
        let mut pieces = Vec::new();
        for extent in volume.tree(&journal.inode)?.extents() {
            let extent = extent?;
            let start = u64::from(extent.cpos.0) << bits;
            pieces.push((start..extent.end() << bits, extent.blkno));
        }
        Ok(Self { pieces })
    }

    /// Where block `index` of the log is; `None` in a hole.
    pub(crate) fn place(&self, index: u32) -> Option<Blkno> {
        self.run(index).map(|(blkno, _)| blkno)
    }

    /// The same, and how many blocks are consecutive from there on, itself included.
    pub(crate) fn run(&self, index: u32) -> Option<(Blkno, u64)> {
        let index = u64::from(index);
        let next = self.pieces.partition_point(|(range, _)| range.start <= index);
        let (range, blkno) = self.pieces.get(next.checked_sub(1)?)?;
        let within = index - range.start;
        range.contains(&index).then(|| (Blkno(blkno.0 + within), range.end - index))
    }

    /// Whether a block of the volume is one of the log.
    pub(crate) fn contains(&self, blkno: Blkno) -> bool {
        let holds = |(range, start): &(Range<u64>, Blkno)| {
            (start.0..start.0 + (range.end - range.start)).contains(&blkno.0)
        };
        self.pieces.iter().any(holds)
    }
}
