//! Changing the volume that is open: each command is one transaction through the gate.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use ocfs2_cli::{Interrupt, print_warning, shown};
use ocfs2_device::{Device, OverlayDevice};
use ocfs2_format::superblock::SUPERBLOCK_BLKNO;
use ocfs2_users::{Guard, GuardError};
use ocfs2_volume::commit::CommitError;
use ocfs2_volume::edit::{Edit, EditOptions, How};
use ocfs2_volume::gate::{Pass, Planned};
use ocfs2_volume::journal::{Log, Transaction};
use ocfs2_volume::recovery::{RecoverOptions, SlotRecovery, Writes};
use ocfs2_volume::undo::UndoDevice;
use ocfs2_volume::usage::SystemClock;
use ocfs2_volume::{Timestamp, Volume, VolumeOptions};

use crate::error::Failure;

/// How a volume is opened that is to be changed.
pub const WRITING: VolumeOptions = VolumeOptions {
    write: true,
    superblock: ocfs2_volume::SuperblockAt::Primary,
    block_size: None,
    heartbeat_device: false,
    strict: true,
    allow_short: false,
    any_checksum: false,
};

/// What a recovery changes is kept in memory so far, and in a file beyond that.
const PLANNED_BYTES: u64 = 256 << 20;

/// What saves what is overwritten.
type Saving = UndoDevice<Arc<dyn Device>>;

/// A volume that nobody else uses, and the way to change it.
pub struct Writer {
    /// With a look at block checks, unlike what is shown.
    volume: Volume,
    guard: Guard,
    undo: Option<(Arc<Saving>, PathBuf)>,
    time: Option<Timestamp>,
    /// What is wrong with the superblock, which was taken as it is.
    damage: Option<String>,
    /// The journal that `jo` has opened, and how much of it was written.
    log: Option<(Log, Written)>,
    interrupt: Interrupt,
}

/// What was written to a journal that is open.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    /// Transactions.
    pub transactions: u32,
    /// Blocks of the log that they take at most.
    blocks: u64,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("volume", &self.volume).finish_non_exhaustive()
    }
}

/// What a transaction was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Committed {
    /// Blocks that it changed.
    pub blocks: usize,
    /// Whether no journal was large enough for it.
    pub in_place: bool,
}

impl fmt::Display for Committed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.blocks == 1 { "" } else { "s" };
        write!(f, "{} block{end} changed", self.blocks)?;
        if self.in_place {
            f.write_str(", in place, as no journal has room for them")?;
        }
        Ok(())
    }
}

/// Why the volume cannot be opened again by its superblock.
fn damage_of(volume: &Volume) -> Option<String> {
    Volume::open(Arc::clone(volume.device()), &WRITING).err().map(|err| err.to_string())
}

impl Writer {
    /// For a volume on the device `path`: takes the cluster's lock where there is one, and makes
    /// sure that nobody uses the volume. What is overwritten is saved to `undo`. With `any_damage` it
    /// may be that this cannot be told, if no other host can use it.
    ///
    /// # Errors
    /// Why it may not be changed; the undo file cannot be made.
    pub fn take(
        volume: &Volume,
        path: &Path,
        partition: Option<u32>,
        undo: Option<&Path>,
        any_damage: bool,
        interrupt: Interrupt,
    ) -> anyhow::Result<Self> {
        // Those whose journals have to be replayed are told of when something is to be changed.
        let clock = SystemClock::default();
        let mut guard = match Guard::take_unfinished(volume, path, partition, &clock) {
            Ok((guard, _)) => guard,
            Err(GuardError::Volume(_)) if any_damage => Guard::of_damaged(volume, path, partition)?,
            Err(err @ GuardError::Volume(_)) => {
                let hint = "-c opens it nevertheless, for what --direct does";
                return Err(anyhow::Error::new(err).context(hint));
            }
            Err(err) => return Err(err.into()),
        };
        if let Some(why) = &guard.not_locked {
            print_warning(format_args!("{}: {why}", shown(path)));
        }
        let saving = undo.map(|file| {
            let (device, unit) = (Arc::clone(volume.device()), volume.block_size().bytes());
            let saving = UndoDevice::create(device, file, volume.superblock().s_uuid, unit)
                .with_context(|| format!("undo file {}", shown(file)))?;
            let saving = Arc::new(saving);
            guard.gate.write_through(saving.clone());
            anyhow::Ok((saving, file.to_owned()))
        });
        let undo = saving.transpose()?;
        let volume = volume.on(Arc::clone(volume.device()));
        let damage = if any_damage { damage_of(&volume) } else { None };
        Ok(Self { volume, guard, undo, time: None, damage, log: None, interrupt })
    }

    /// The volume as it is after the last transaction.
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// What changes an inode from now on gives it this time; nothing is the time of day.
    pub fn set_time(&mut self, time: Option<Timestamp>) {
        self.time = time;
    }

    /// What was set by [`Writer::set_time`].
    pub fn fixed_time(&self) -> Option<Timestamp> {
        self.time
    }

    /// Where what is overwritten is saved to.
    pub fn undo_file(&self) -> Option<&Path> {
        self.undo.as_ref().map(|(_, path)| path.as_path())
    }

    /// What inodes get as their time.
    pub fn time(&self) -> Timestamp {
        self.time.unwrap_or_else(Timestamp::now)
    }

    /// A new transaction.
    pub fn edit(&self) -> Edit {
        Edit::new(&self.volume, EditOptions { time: self.time(), ..EditOptions::default() })
    }

    /// Fails where a change would be lost or wrong: a journal waits for its replay or is open.
    ///
    /// # Errors
    /// Why, and what helps.
    pub fn check_ready(&self) -> Result<(), Failure> {
        if let Some((log, _)) = &self.log {
            let slot = log.slot();
            return Err(Failure::Failed(format!(
                "The journal of slot {slot} is open: jc closes it"
            )));
        }
        if let Some(damage) = &self.damage {
            let helps = "crc -r or fsck.ocfs2 mends it, --direct goes past it";
            return Err(Failure::Failed(format!("{damage}; {helps}")));
        }
        let dirty = self.unfinished()?;
        if dirty.is_empty() {
            return Ok(());
        }
        let slots: Vec<_> = dirty.iter().map(u16::to_string).collect();
        Err(Failure::Failed(format!(
            "The volume was not unmounted by all nodes, the journals of slots {} have to be replayed \
             first: jr does it, or fsck.ocfs2",
            slots.join(", ")
        )))
    }

    /// The slots whose journals are dirty, or that somebody has left.
    ///
    /// # Errors
    /// A journal or the slot map cannot be read.
    pub fn unfinished(&self) -> Result<Vec<u16>, Failure> {
        let taken = self.volume.taken_slots()?;
        let mut found = Vec::new();
        for slot in 0..self.volume.max_slots() {
            if taken.iter().any(|it| it.slot == slot) || self.volume.journal_is_dirty(slot)? {
                found.push(slot);
            }
        }
        Ok(found)
    }

    /// Does what slots owe: their logs are replayed, orphans deleted, and what they had reserved is
    /// given back. What cannot be done of it in memory is not begun.
    ///
    /// # Errors
    /// A slot cannot be recovered; the device cannot be written.
    pub fn recover(&mut self, slots: &[u16]) -> Result<Vec<SlotRecovery>, Failure> {
        self.interrupt.check()?;
        let interrupt = self.interrupt.clone();
        let interrupted = || interrupt.requested();
        let time = u64::try_from(self.time().seconds).unwrap_or_default();
        let options =
            RecoverOptions { slots, writes: Writes::InPlace, time, interrupted: &interrupted };
        let size = self.volume.block_size().bytes();
        let below = Arc::clone(self.volume.device());
        let planned = Arc::new(OverlayDevice::within(below, size, PLANNED_BYTES));
        let recovered = self.volume.on(planned.clone()).recover(planned.as_ref(), &options);
        if let Some(err) = recovered.into_iter().find_map(|slot| slot.error) {
            return Err(Failure::Failed(format!("{err}; fsck.ocfs2 -y repairs what it can")));
        }
        let outcome: Arc<dyn Device> = planned.clone();
        let planned = Planned { changes: &[planned.as_ref()], outcome: Some(&outcome) };
        let pass = self.guard.gate.open(planned)?;
        let options = RecoverOptions { writes: Writes::Journaled, ..options };
        let mut done = self.volume.recover(&pass, &options);
        drop(pass);
        self.volume = self.volume.on(Arc::clone(self.volume.device()));
        self.interrupt.check()?;
        match done.iter_mut().find_map(|slot| slot.error.take()) {
            Some(err) => Err(Failure::Failed(format!("{err}; the rest is for fsck.ocfs2"))),
            None => Ok(done),
        }
    }

    /// Brings a transaction to the volume: through the first journal that has room for it, or in
    /// place where none has.
    ///
    /// # Errors
    /// Nothing was written, or the device cannot be written; a signal came before the first write.
    pub fn commit(&mut self, mut edit: Edit) -> Result<Committed, Failure> {
        edit.finish()?;
        let done = self.through(&edit, |volume, pass| {
            let mut too_large = false;
            for slot in 0..volume.max_slots() {
                match edit.commit(How::Journal(slot), pass) {
                    Ok(blocks) => return Ok(Committed { blocks, in_place: false }),
                    Err(CommitError::TooLarge { .. }) => too_large = true,
                    Err(CommitError::Journal { .. } | CommitError::Features { .. }) => {}
                    Err(CommitError::OwnBlock { .. }) => {}
                    Err(err) => return Err(err.into()),
                }
            }
            if !too_large {
                let why = "no journal of the volume can be used; --direct does without".to_owned();
                return Err(Failure::Failed(why));
            }
            let blocks = edit.commit(How::InPlace, pass)?;
            Ok(Committed { blocks, in_place: true })
        })?;
        self.volume = edit.volume().on(Arc::clone(self.volume.device()));
        Ok(done)
    }

    /// Writes blocks as they are, past journals: for damage that is meant.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn overwrite(&mut self, edit: &Edit) -> Result<Committed, Failure> {
        let done = self.through(edit, |_, pass| {
            let blocks = edit.commit(How::Unguarded, pass)?;
            Ok(Committed { blocks, in_place: false })
        })?;
        let bits = self.volume.block_size().bits();
        let superblock = SUPERBLOCK_BLKNO.0 << bits..(SUPERBLOCK_BLKNO.0 + 1) << bits;
        let mut changed = edit.changes().changed_ranges().into_iter();
        if changed.any(|it| it.start < superblock.end && superblock.start < it.end) {
            // One that can no longer be read leaves the one that is known.
            let options = VolumeOptions { any_checksum: true, ..WRITING };
            let again = Volume::open(Arc::clone(self.volume.device()), &options);
            self.volume = again.unwrap_or_else(|_| self.volume.on(self.volume.device().clone()));
            self.damage = damage_of(&self.volume);
        }
        Ok(done)
    }

    /// Leaves a transaction in the journal of a slot, which says from then on that it has to be
    /// replayed: nothing else can be changed before that was done.
    ///
    /// # Errors
    /// The journal cannot be used or has no room; the device cannot be written.
    pub fn log(&mut self, slot: u16, transaction: Transaction) -> Result<(), Failure> {
        self.open_log(slot)?;
        let done = self.append(transaction);
        self.log = None;
        done
    }

    /// Opens the journal of a slot, which has to be empty, for [`Writer::append`].
    ///
    /// # Errors
    /// It cannot be used, or another one is open.
    pub fn open_log(&mut self, slot: u16) -> Result<(), Failure> {
        self.check_ready()?;
        self.log = Some((Log::open(&self.volume, slot)?, Written::default()));
        Ok(())
    }

    /// The slot of the journal that is open.
    pub fn log_slot(&self) -> Option<u16> {
        self.log.as_ref().map(|(log, _)| log.slot())
    }

    /// Adds a transaction to the journal that is open.
    ///
    /// # Errors
    /// There is none or it has no room; the device cannot be written.
    pub fn append(&mut self, transaction: Transaction) -> Result<(), Failure> {
        self.interrupt.check()?;
        let none = || Failure::Failed("No journal is open: jo opens one".to_owned());
        let (log, written) = self.log.as_mut().ok_or_else(none)?;
        log.check_room(&transaction)?;
        // Descriptors and revocations have room for more than eight blocks each.
        let (blocks, revoked) = (transaction.blocks.len() as u64, transaction.revoked.len() as u64);
        let needed = blocks + blocks / 8 + revoked / 8 + 4;
        if written.transactions > 0 && written.blocks + needed > log.length() {
            // The log would have to be brought to its places first.
            return Err(Failure::Failed("The journal has no room for that".to_owned()));
        }
        let pass = self.guard.gate.open(Planned::default())?;
        log.append(&pass, transaction)?;
        written.transactions += 1;
        written.blocks += needed;
        self.volume = self.volume.on(Arc::clone(self.volume.device()));
        Ok(())
    }

    /// Closes the journal that is open, as a crash does; gives its slot and what was written.
    ///
    /// # Errors
    /// There is none.
    pub fn close_log(&mut self) -> Result<(u16, Written), Failure> {
        let none = || Failure::Failed("No journal is open".to_owned());
        let (log, written) = self.log.take().ok_or_else(none)?;
        Ok((log.slot(), written))
    }

    fn through(
        &self,
        edit: &Edit,
        write: impl FnOnce(&Volume, &Pass<'_>) -> Result<Committed, Failure>,
    ) -> Result<Committed, Failure> {
        if edit.changed_blocks() == 0 {
            return Ok(Committed { blocks: 0, in_place: false });
        }
        self.interrupt.check()?;
        let outcome: Arc<dyn Device> = edit.changes().clone();
        let planned = Planned { changes: &[edit.changes().as_ref()], outcome: Some(&outcome) };
        write(&self.volume, &self.guard.gate.open(planned)?)
    }

    /// Ends the undo file; says so where there is none as nothing was overwritten.
    ///
    /// # Errors
    /// It cannot be written: it stays as if it had been cut.
    pub fn close(self) -> anyhow::Result<Option<String>> {
        let Some((saving, path)) = &self.undo else { return Ok(None) };
        let path = shown(path);
        let is_there = saving.finish().with_context(|| format!("undo file {path}"))?;
        Ok((!is_there).then(|| format!("Nothing was overwritten: there is no undo file {path}")))
    }
}
