//! Steps of a recovery: each is worked out in memory and reaches the volume as a whole.

use super::{RecoverOptions, RecoveryError, Writes};
use crate::commit::CommitError;
use crate::edit::{Edit, EditOptions, How};
use crate::{Timestamp, Volume};
use ocfs2_device::Device;

/// Steps that have been worked out and are still to be written.
pub(super) struct Stage<'a> {
    volume: &'a Volume,
    device: &'a dyn Device,
    writes: Writes,
    /// Slots whose journals may be used, in the order in which they are tried.
    journals: Vec<u16>,
    gathered: Edit,
    /// Blocks one step should not exceed.
    budget: usize,
}

impl<'a> Stage<'a> {
    /// A stage without steps.
    pub fn new(
        volume: &'a Volume,
        device: &'a dyn Device,
        options: &RecoverOptions<'_>,
        journals: Vec<u16>,
    ) -> Self {
        let slot = journals.first().copied().unwrap_or_default();
        let time = Timestamp { seconds: options.time as i64, nanoseconds: 0 };
        let edit = EditOptions { time, slot, ..EditOptions::default() };
        let log = volume.journal(slot).ok();
        let log = log.map_or(0, |journal| journal.superblock.s_maxlen as usize);
        // A step and those gathered before it go into one transaction.
        let budget = (log / 4).clamp(64, 4096);
        let (writes, gathered) = (options.writes, Edit::new(volume, edit).with_lenient_quota());
        Self { volume, device, writes, journals, gathered, budget }
    }

    /// Blocks one step should not exceed.
    pub fn budget(&self) -> usize {
        self.budget
    }

    /// Works a step out. If it fails nothing of it is kept.
    pub fn step<T>(
        &mut self,
        work: impl FnOnce(&mut Edit) -> Result<T, RecoveryError>,
    ) -> Result<T, RecoveryError> {
        let result = self.gathered.attempt(work)?;
        if self.gathered.changed_blocks() >= self.budget {
            self.write()?;
        }
        Ok(result)
    }

    /// Writes what was gathered.
    pub fn write(&mut self) -> Result<(), RecoveryError> {
        match self.writes {
            _ if self.gathered.changed_blocks() == 0 => return Ok(()),
            Writes::Journaled => self.commit()?,
            Writes::InPlace => drop(self.gathered.commit(How::Unguarded, self.device)?),
        }
        self.gathered.restart(self.volume);
        Ok(())
    }

    /// Commits through the first journal that takes it.
    fn commit(&self) -> Result<(), RecoveryError> {
        let mut refused = None;
        for slot in &self.journals {
            match self.gathered.commit(How::Journal(*slot), self.device) {
                Ok(_) => return Ok(()),
                Err(err @ CommitError::Write { .. }) => return Err(err.into()),
                Err(err) => refused = refused.or(Some(err)),
            }
        }
        Err(refused.map_or(RecoveryError::NoJournal, RecoveryError::from))
    }
}
