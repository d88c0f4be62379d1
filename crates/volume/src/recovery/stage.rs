//! Steps of a recovery: each is worked out in memory and reaches the volume as one.

use std::sync::Arc;

use ocfs2_format::Blkno;

use super::{RecoveryError, Writes};
use crate::commit::CommitError;
use crate::{Error, Volume};
use ocfs2_device::{Device, OverlayDevice};

/// Steps that have been worked out and are still to be written.
pub(super) struct Stage<'a> {
    volume: &'a Volume,
    device: &'a dyn Device,
    writes: Writes,
    /// Slots whose journals may be used, in the order in which they are tried.
    journals: Vec<u16>,
    gathered: Arc<OverlayDevice<Arc<dyn Device>>>,
    /// Blocks one step should not exceed.
    budget: usize,
}

impl<'a> Stage<'a> {
    /// Nothing is gathered yet.
    pub fn new(
        volume: &'a Volume,
        device: &'a dyn Device,
        writes: Writes,
        journals: Vec<u16>,
    ) -> Self {
        let gathered = OverlayDevice::new(volume.device().clone(), volume.block_size().bytes());
        let log = journals.first().and_then(|slot| volume.journal(*slot).ok());
        let log = log.map_or(0, |journal| journal.superblock.s_maxlen as usize);
        // A step and those gathered before it go into one transaction.
        let budget = (log / 4).clamp(64, 4096);
        Self { volume, device, writes, journals, gathered: Arc::new(gathered), budget }
    }

    /// Blocks one step should not exceed.
    pub fn budget(&self) -> usize {
        self.budget
    }

    /// Works a step out. `work` writes to the device of the volume it is given, which is in
    /// memory; if it fails nothing of it is kept.
    pub fn step<T>(
        &mut self,
        work: impl FnOnce(&Volume) -> Result<T, RecoveryError>,
    ) -> Result<T, RecoveryError> {
        let block_size = self.volume.block_size().bytes();
        let draft = Arc::new(OverlayDevice::new(self.gathered.clone(), block_size));
        let result = work(&self.volume.on(draft.clone()))?;
        let keep = |offset, bytes: &[u8]| self.gathered.write_at(bytes, offset);
        draft.for_each_change(keep).map_err(|source| self.failed(0, source))?;
        if self.gathered.changed_blocks() >= self.budget {
            self.write()?;
        }
        Ok(result)
    }

    fn failed(&self, offset: u64, source: std::io::Error) -> RecoveryError {
        let blkno = Blkno(offset >> self.volume.block_size().bits());
        Error::Write { blkno, source }.into()
    }

    /// Writes what was gathered.
    pub fn write(&mut self) -> Result<(), RecoveryError> {
        if self.gathered.changed_blocks() > 0 {
            match self.writes {
                Writes::Journaled => self.commit()?,
                Writes::InPlace => {
                    self.gathered.for_each_change(|offset, bytes| {
                        let blkno = Blkno(offset >> self.volume.block_size().bits());
                        let written = self.device.write_at(bytes, offset);
                        written.map_err(|source| CommitError::Write { blkno, source })
                    })?;
                    self.device.flush().map_err(|source| self.failed(0, source))?;
                }
            }
            self.gathered.clear();
        }
        Ok(())
    }

    /// In the first journal that takes it.
    fn commit(&self) -> Result<(), RecoveryError> {
        let mut refused = None;
        for slot in &self.journals {
            match self.volume.plan_commit(&*self.gathered, *slot) {
                Ok(commit) => return Ok(commit.write(self.device)?),
                Err(err @ CommitError::Write { .. }) => return Err(err.into()),
                Err(err) => refused = refused.or(Some(err)),
            }
        }
        Err(refused.map_or(RecoveryError::NoJournal, RecoveryError::from))
    }
}
