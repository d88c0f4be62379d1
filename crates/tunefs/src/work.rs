//! The changes of a run, and how they reach the volume.

use ocfs2_device::Device;
use ocfs2_format::{Blkno, Cluster};
use ocfs2_volume::commit::CommitError;
use ocfs2_volume::edit::{Edit, How};

/// Contents that are not part of the transaction.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// Clusters to be zeroed.
    Zero(std::ops::Range<u32>),
    /// Contents of blocks, from this one on.
    Blocks(Blkno, Vec<u8>),
}

/// A transaction, and what is written before and after it.
pub(crate) struct Work {
    pub edit: Edit,
    /// Written and flushed before the transaction: to places that are unreachable without it, or
    /// where the contents are correct with and without it.
    pub before: Vec<Piece>,
    /// Written after the transaction: contents that would be wrong without it.
    pub after: Vec<Piece>,
    /// Whether to write in place instead of through a journal. Needed if a journal already
    /// describes itself as it will be: a check before the replay would "correct" that.
    pub is_in_place: bool,
}

impl Work {
    pub fn new(edit: Edit) -> Self {
        Self { edit, before: Vec::new(), after: Vec::new(), is_in_place: false }
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
            };
            written.map_err(|source| CommitError::Write { blkno, source })?;
            last = blkno;
        }
        let blkno = last;
        device.flush().map_err(|source| CommitError::Write { blkno, source })
    }
}
