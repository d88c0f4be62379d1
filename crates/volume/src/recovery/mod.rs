//! Recovery of crashed nodes: replay their journals, return their reservations, finish their
//! deletions.
//!
//! [`Volume::recover`] does it for a number of slots, in this order:
//!
//! 1. Every dirty journal is replayed and then emptied. It stays dirty. Until it is emptied
//!    all of it can be done again.
//! 2. Slot by slot, what local alloc and truncate log hold goes back to the global bitmap, and
//!    both are reset: one step. Then the orphans: one step each, or several for a large file,
//!    which loses its end first.
//! 3. The journal is marked clean, and its number of recoveries grows by one.
//! 4. The slots are freed in the slot map, once all this was done for all of them.
//!
//! A step changes several blocks that have to change together: a bit of an allocator is cleared,
//! and the reference to the cluster or block is removed. [`Writes::Journaled`] makes sure of that:
//! steps are gathered and reach the volume as transactions of the slot's own journal, which is
//! empty by then (or of another slot's, where that cannot be used). Interrupted anywhere, the
//! volume is recovered by doing all of it again, or by the kernel or the C fsck; nothing is ever
//! freed that is in use.
//!
//! Changes that nodes had not yet passed on to the global quota files are merged into them, and
//! what deleted orphans used is taken off. Damaged quota files are left as they are: reporting them
//! is left to a check, and they keep nothing from being recovered.

mod journal_state;
mod leftovers;
mod orphans;
mod quota;
mod slot_map;
mod stage;

use std::sync::Arc;

use ocfs2_format::Blkno;
use ocfs2_format::dinode::InodeFlags;
use ocfs2_format::superblock::SUPERBLOCK_BLKNO;

pub use journal_state::{JournalProblem, JournalState};
pub use leftovers::Leftovers;
pub use orphans::Orphan;
use stage::Stage;

use crate::commit::CommitError;
use crate::edit::EditError;
use crate::replay::{LogEnd, Replay, ReplayError};
use crate::{Error, Volume, VolumeOptions};
use ocfs2_device::Device;

/// Most remaining orphans for which the reason is kept.
const MAX_LEFT: usize = 16;

/// How steps that belong together are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Writes {
    /// Through a journal of the volume: interrupted anywhere, it can be done again.
    Journaled,
    /// To their places. For an overlay, in which nothing is interrupted.
    InPlace,
}

/// What is to be recovered, and how.
#[derive(Clone, Copy)]
pub struct RecoverOptions<'a> {
    /// The slots. None of them may be that of a node that is alive.
    pub slots: &'a [u16],
    /// How it is written.
    pub writes: Writes,
    /// The time of deletion that orphans get, in seconds since 1970.
    pub time: u64,
    /// Asked between steps: once it returns true, the recovery ends as soon as that leaves things
    /// in order.
    pub interrupted: &'a dyn Fn() -> bool,
}

/// What was done for a slot.
#[derive(Debug)]
pub struct SlotRecovery {
    /// The slot.
    pub slot: u16,
    /// Whether its journal was dirty.
    pub was_dirty: bool,
    /// What was in the log.
    pub replayed: Option<Replayed>,
    /// Clusters that were returned to the global bitmap.
    pub leftovers: Option<Leftovers>,
    /// Orphans that were deleted.
    pub deleted: u64,
    /// Files that lost what direct writes had added beyond their end.
    pub cut: u64,
    /// The first 16 orphans about which nothing could be done, and why: they stay.
    pub left: Vec<(Orphan, RecoveryError)>,
    /// Number of orphans about which nothing could be done.
    pub left_count: u64,
    /// Whether the slot was taken in the slot map, and is free now.
    pub was_freed: bool,
    /// Why the rest of it was not done. The journal stays as dirty as it was.
    pub error: Option<RecoveryError>,
}

impl SlotRecovery {
    fn new(slot: u16) -> Self {
        Self {
            slot,
            was_dirty: false,
            replayed: None,
            leftovers: None,
            deleted: 0,
            cut: 0,
            left: Vec::new(),
            left_count: 0,
            was_freed: false,
            error: None,
        }
    }

    /// Whether there was anything to be done.
    pub fn had_work(&self) -> bool {
        let leftovers = self.leftovers.as_ref().is_some_and(|leftovers| !leftovers.is_empty());
        self.was_dirty || leftovers || self.was_freed || self.deleted + self.cut > 0
    }
}

/// A log that was replayed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Replayed {
    /// Number of complete transactions.
    pub transactions: u32,
    /// Number of blocks that were written.
    pub blocks: usize,
    /// Why there were no more. What is after a damaged transaction is lost.
    pub end: LogEnd,
}

/// Something that could not be recovered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// Something of the volume cannot be read, is wrong, or cannot be written.
    #[error(transparent)]
    Volume(#[from] Error),
    /// The journal cannot be replayed.
    #[error(transparent)]
    Replay(ReplayError),
    /// No journal takes the changes: this is the error of the slot's own.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// No journal takes the changes: there is none.
    #[error("there is no journal that changes can be written through")]
    NoJournal,
    /// An inode in an orphan directory is not an orphan.
    #[error("inode {blkno}: is not to be deleted: it has {links} links, and flags {flags:?}")]
    NoOrphan {
        /// The dinode.
        blkno: Blkno,
        /// Its links.
        links: u32,
        /// Its flags.
        flags: InodeFlags,
    },
    /// A step cannot be made.
    #[error(transparent)]
    Edit(EditError),
    /// The recovery was interrupted before that.
    #[error("was interrupted")]
    Interrupted,
}

impl From<ReplayError> for RecoveryError {
    fn from(err: ReplayError) -> Self {
        match err {
            ReplayError::Interrupted => Self::Interrupted,
            err => Self::Replay(err),
        }
    }
}

impl From<EditError> for RecoveryError {
    fn from(err: EditError) -> Self {
        match err {
            EditError::Volume(err) => Self::Volume(err),
            err => Self::Edit(err),
        }
    }
}

impl RecoveryError {
    /// Whether it is about the device or all of the recovery, and not about one orphan.
    fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::Replay(_)
                | Self::Commit(_)
                | Self::NoJournal
                | Self::Interrupted
                | Self::Volume(Error::Write { .. })
                | Self::Edit(EditError::Changes(_))
        )
    }
}

impl Volume {
    /// Recovers slots on `device`, the one this volume is read from or an overlay through which
    /// it is read. See the [module](self) for what is done, and in which order.
    ///
    /// Slots with a clean journal are looked at, too: their leftovers and orphans are settled. A
    /// slot that cannot be recovered does not stop the others; what it has left stays as it was.
    ///
    /// A journal may hold another size of the volume, or another number of slots: whoever goes on
    /// with the volume has to open it again.
    pub fn recover(&self, device: &dyn Device, options: &RecoverOptions<'_>) -> Vec<SlotRecovery> {
        let mut slots: Vec<_> = options.slots.iter().map(|slot| SlotRecovery::new(*slot)).collect();
        let mut replays = Vec::new();
        for slot in &mut slots {
            let replay = match (options.interrupted)() {
                true => Err(RecoveryError::Interrupted),
                false => self.replay_dirty(device, options, slot),
            };
            replays.push(replay.unwrap_or_else(|err| {
                slot.error = Some(err);
                None
            }));
        }
        let usable: Vec<u16> =
            slots.iter().filter(|slot| slot.error.is_none()).map(|slot| slot.slot).collect();
        let is_in = |replay: &Replay| replay.blocks().any(|blkno| blkno == SUPERBLOCK_BLKNO);
        let has_superblock = replays.iter().flatten().any(is_in);
        let again = || Self::open(Arc::clone(self.device()), &VolumeOptions::default()).ok();
        let again = if has_superblock { again() } else { None };
        let volume = again.as_ref().unwrap_or(self);
        for (slot, replay) in slots.iter_mut().zip(replays) {
            if slot.error.is_none() {
                let settled = volume.settle(device, options, &usable, slot, replay);
                slot.error = settled.err();
            }
        }
        let done: Vec<u16> =
            slots.iter().filter(|slot| slot.error.is_none()).map(|slot| slot.slot).collect();
        match volume.free_slots(device, &done) {
            Ok(freed) => {
                slots.iter_mut().for_each(|slot| slot.was_freed = freed.contains(&slot.slot));
            }
            // There is one slot map for all slots: its error is reported with the first one.
            Err(err) => {
                if let Some(first) = slots.iter_mut().find(|slot| slot.error.is_none()) {
                    first.error = Some(err.into());
                }
            }
        }
        slots
    }

    fn replay_dirty(
        &self,
        device: &dyn Device,
        options: &RecoverOptions<'_>,
        slot: &mut SlotRecovery,
    ) -> Result<Option<Replay>, RecoveryError> {
        slot.was_dirty = self.journal_is_dirty(slot.slot)?;
        if !slot.was_dirty {
            return Ok(None);
        }
        let replay = self.replay_unless(slot.slot, options.interrupted)?;
        let (transactions, end) = (replay.transactions, replay.end);
        slot.replayed = Some(Replayed { transactions, blocks: replay.blocks().len(), end });
        replay.apply_unless(self, device, options.interrupted)?;
        replay.finish(self, device)?;
        Ok(Some(replay))
    }

    /// What is to be done for a slot once all journals are replayed.
    fn settle(
        &self,
        device: &dyn Device,
        options: &RecoverOptions<'_>,
        usable: &[u16],
        slot: &mut SlotRecovery,
        replay: Option<Replay>,
    ) -> Result<(), RecoveryError> {
        let number = slot.slot;
        let others = usable.iter().copied().filter(|other| *other != number);
        let journals = std::iter::once(number).chain(others).collect();
        let mut stage = Stage::new(self, device, options, journals);
        let leftovers = self.leftovers(number)?;
        if !leftovers.is_empty() || slot.was_dirty {
            stage.step(|edit| Ok(edit.give_back(number)?))?;
        }
        stage.merge_quota(number, self, options.interrupted)?;
        for orphan in self.orphan_entries(number)? {
            let orphan = orphan?;
            if (options.interrupted)() {
                stage.write()?;
                return Err(RecoveryError::Interrupted);
            }
            match stage.settle_orphan(&orphan) {
                Ok(()) if orphan.is_direct_io() => slot.cut += 1,
                Ok(()) => slot.deleted += 1,
                Err(err) if err.is_fatal() => return Err(err),
                Err(err) => {
                    slot.left_count += 1;
                    if slot.left.len() < MAX_LEFT {
                        slot.left.push((orphan, err));
                    }
                }
            }
        }
        stage.write()?;
        slot.leftovers = Some(leftovers);
        if let Some(replay) = replay {
            replay.mark_clean(self, device)?;
        }
        Ok(())
    }
}
