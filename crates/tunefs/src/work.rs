//! The changes of a run, and how they reach the volume.
//!
//! Most are one transaction. What has to visit every file takes as many as it needs, each of which
//! leaves a volume that can be mounted: it calls [`Work::settle`] after each file or part of one.

use anyhow::Result;
use ocfs2_device::Device;
use ocfs2_format::{Blkno, Cluster};
use ocfs2_volume::commit::CommitError;
use ocfs2_volume::edit::{Contents, Edit, How};

/// Contents that are not part of the transaction.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// Clusters to be zeroed.
    Zero(std::ops::Range<u32>),
    /// Contents of blocks, from this one on.
    Blocks(Blkno, Vec<u8>),
    /// A copy of clusters.
    Copy { from: Blkno, to: Blkno, clusters: u32 },
}

impl From<Contents> for Piece {
    fn from(contents: Contents) -> Self {
        match contents {
            Contents::Zeros(run) => Self::Zero(run),
            Contents::Copy { from, to, clusters } => Self::Copy { from, to, clusters },
        }
    }
}

/// Changed blocks after which a transaction is committed. The smallest journal has room for several
/// times as many.
const MOST_BLOCKS: usize = 160;

/// Pieces after which a transaction is committed.
const MOST_PIECES: usize = 64;

/// Bytes that are copied at once.
const COPIED_AT_ONCE: u64 = 1 << 20;

/// What is done between two transactions: the first is committed and the work goes on with another
/// edit, or, in a rehearsal, with the same one.
pub(crate) type Step<'a> = dyn Fn(&mut Work<'_>) -> Result<()> + 'a;

/// A transaction, and what is written before and after it.
pub(crate) struct Work<'a> {
    pub edit: Edit,
    /// Written and flushed before the transaction: to places that are unreachable without it, or
    /// where the contents are correct with and without it.
    pub before: Vec<Piece>,
    /// Written after the transaction: contents that would be wrong without it.
    pub after: Vec<Piece>,
    /// Whether to write in place instead of through a journal. Needed if a journal already
    /// describes itself as it will be: a check before the replay would "correct" that.
    pub is_in_place: bool,
    step: &'a Step<'a>,
}

impl<'a> Work<'a> {
    pub fn new(edit: Edit, step: &'a Step<'a>) -> Self {
        Self { edit, before: Vec::new(), after: Vec::new(), is_in_place: false, step }
    }

    /// Goes on with `edit`, another transaction.
    pub fn go_on(&mut self, edit: Edit) {
        *self = Self::new(edit, self.step);
    }

    /// Ends the transaction if it has become large.
    ///
    /// # Errors
    /// It cannot be committed.
    pub fn settle(&mut self) -> Result<()> {
        let is_large =
            self.edit.changed_blocks() >= MOST_BLOCKS || self.before.len() >= MOST_PIECES;
        if is_large { self.flush() } else { Ok(()) }
    }

    /// Ends the transaction.
    ///
    /// # Errors
    /// It cannot be committed.
    pub fn flush(&mut self) -> Result<()> {
        self.edit.finish()?;
        let step = self.step;
        step(self)
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.edit.changed_blocks() == 0 && self.before.is_empty() && self.after.is_empty()
    }

    /// Writes everything to `device`, through the first journal that is large enough.
    pub fn commit(&self, slots: u16, device: &dyn Device) -> Result<(), CommitError> {
        self.write(&self.before, device)?;
        match self.commit_edit(slots, device) {
            // The transaction was not written, but what comes before it was.
            Err(err) if err.is_before_writes() && !self.before.is_empty() => {
                return Err(CommitError::Changes(std::io::Error::other(err)));
            }
            done => done?,
        }
        self.write(&self.after, device)
    }

    fn commit_edit(&self, slots: u16, device: &dyn Device) -> Result<(), CommitError> {
        for slot in (0..slots).filter(|_| !self.is_in_place) {
            match self.edit.commit(How::Journal(slot), device) {
                Err(err @ CommitError::NoRoom { .. }) => return Err(err),
                Err(err) if err.is_before_writes() => {}
                done => return done.map(|_| ()),
            }
        }
        self.edit.commit(How::InPlace, device).map(|_| ())
    }

    fn write(&self, pieces: &[Piece], device: &dyn Device) -> Result<(), CommitError> {
        let geometry = self.edit.geometry();
        let offset = |blkno: Blkno| blkno.offset_bytes(geometry.block_size).unwrap_or(u64::MAX);
        let mut last = Blkno(0);
        for piece in pieces {
            let (blkno, written) = match piece {
                Piece::Zero(run) => {
                    let blkno = geometry.block_of(Cluster(run.start));
                    let bytes = u64::from(run.end - run.start) << geometry.cluster_size.bits();
                    (blkno, device.zero(offset(blkno), bytes))
                }
                Piece::Blocks(blkno, bytes) => (*blkno, device.write_at(bytes, offset(*blkno))),
                Piece::Copy { from, to, clusters } => {
                    let bytes = u64::from(*clusters) << geometry.cluster_size.bits();
                    (*to, self.copy(offset(*from), offset(*to), bytes, device))
                }
            };
            written.map_err(|source| CommitError::Write { blkno, source })?;
            last = blkno;
        }
        let blkno = last;
        device.flush().map_err(|source| CommitError::Write { blkno, source })
    }

    fn copy(&self, from: u64, to: u64, bytes: u64, device: &dyn Device) -> std::io::Result<()> {
        let mut buffer = vec![0; bytes.min(COPIED_AT_ONCE) as usize];
        let mut done = 0;
        while done < bytes {
            let part = buffer.get_mut(..(bytes - done).min(COPIED_AT_ONCE) as usize);
            let part = part.unwrap_or_default();
            self.edit.volume().device().read_at(part, from + done)?;
            device.write_at(part, to + done)?;
            done += part.len() as u64;
        }
        Ok(())
    }
}
