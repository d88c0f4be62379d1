//! Changes to the open volume: each command is one transaction through the gate.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocfs2_cli::{Interrupt, print_warning, shown, undo_note, volume_argument};
use ocfs2_device::Device;
use ocfs2_format::superblock::SUPERBLOCK_BLKNO;
use ocfs2_users::{Guard, GuardError, RecoverError, Saving, recover};
use ocfs2_volume::commit::CommitError;
use ocfs2_volume::edit::{Edit, EditOptions, How};
use ocfs2_volume::gate::{Pass, Planned};
use ocfs2_volume::journal::{Log, Transaction};
use ocfs2_volume::recovery::SlotRecovery;
use ocfs2_volume::usage::SystemClock;
use ocfs2_volume::{Timestamp, Volume, VolumeOptions};

use crate::error::Failure;

/// The options for opening a volume to change it.
pub const WRITING: VolumeOptions = VolumeOptions {
    write: true,
    superblock: ocfs2_volume::SuperblockAt::Primary,
    block_size: None,
    heartbeat_device: false,
    strict: true,
    allow_short: false,
    any_checksum: false,
};

/// A volume without other users, and the means to change it.
pub struct Writer {
    /// The volume with verified block checks, unlike the one that is shown.
    volume: Volume,
    guard: Guard,
    undo: Option<(Arc<Saving>, PathBuf)>,
    /// What a command has to name for the volume.
    place: String,
    time: Option<Timestamp>,
    /// What is wrong with the superblock, which was nevertheless used.
    damage: Option<String>,
    /// The journal opened by `jo`, and what was written to it.
    log: Option<(Log, Written)>,
    interrupt: Interrupt,
}

/// What was written to an open journal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    /// Number of transactions.
    pub transactions: u32,
    /// The most blocks of the log that they can take.
    blocks: u64,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("volume", &self.volume).finish_non_exhaustive()
    }
}

/// The outcome of a transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Committed {
    /// The number of changed blocks.
    pub blocks: usize,
    /// Whether it was written in place, since no journal was large enough.
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

/// Why the volume could not be opened again by its superblock.
fn damage_of(volume: &Volume) -> Option<String> {
    Volume::open(Arc::clone(volume.device()), &WRITING).err().map(|err| err.to_string())
}

impl Writer {
    /// Prepares a volume on the device `path` for changes: takes the cluster's lock if there is
    /// one, and makes sure that nobody uses the volume. What is overwritten is saved to `undo`.
    /// With `any_damage`, users may be unknown if no other host can use the volume.
    ///
    /// # Errors
    /// The volume must not be changed; the undo file cannot be made.
    pub fn take(
        volume: &Volume,
        path: &Path,
        partition: Option<u32>,
        undo: Option<&Path>,
        any_damage: bool,
        interrupt: Interrupt,
    ) -> anyhow::Result<Self> {
        // Dirty journals are only reported once something is to be changed.
        let clock = SystemClock::default();
        let mut guard = match Guard::take_unfinished(volume, path, partition, &clock, &interrupt) {
            Ok((guard, _)) => guard,
            Err(GuardError::Volume(_)) if any_damage => {
                Guard::of_damaged(volume, path, partition, &interrupt)?
            }
            Err(err @ GuardError::Volume(_)) => {
                let hint = "-c opens it nevertheless, for what --direct does";
                return Err(anyhow::Error::new(err).context(hint));
            }
            Err(err) => return Err(err.into()),
        };
        if let Some(why) = &guard.not_locked {
            print_warning(format_args!("{}: {why}", shown(path)));
        }
        let undo = match undo {
            None => None,
            Some(file) => Some((guard.save_to(volume, file)?, file.to_owned())),
        };
        let volume = volume.on(Arc::clone(volume.device()));
        let damage = if any_damage { damage_of(&volume) } else { None };
        let place = volume_argument(partition, path);
        Ok(Self { volume, guard, undo, place, time: None, damage, log: None, interrupt })
    }

    /// The volume after the last transaction.
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// Sets the time that changed inodes get; `None` is the time of day.
    pub fn set_time(&mut self, time: Option<Timestamp>) {
        self.time = time;
    }

    /// The time set by [`Writer::set_time`].
    pub fn fixed_time(&self) -> Option<Timestamp> {
        self.time
    }

    /// The undo file.
    pub fn undo_file(&self) -> Option<&Path> {
        self.undo.as_ref().map(|(_, path)| path.as_path())
    }

    /// The time that changed inodes get.
    pub fn time(&self) -> Timestamp {
        self.time.unwrap_or_else(Timestamp::now)
    }

    /// Begins a transaction.
    pub fn edit(&self) -> Edit {
        let name_hash = ocfs2_users::name_hash::of_this_kernel();
        let options =
            EditOptions { time: self.time(), name_hash, follow_names: true, ..Default::default() };
        Edit::new(&self.volume, options)
    }

    /// Fails if a change would be lost or wrong, since a journal has to be replayed or is open.
    ///
    /// # Errors
    /// The reason, and what helps.
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

    /// The slots whose journals are dirty, or that a node has not released.
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

    /// Recovers slots. All of it is tried in memory first; if that fails, nothing is written.
    ///
    /// # Errors
    /// A slot cannot be recovered; the device cannot be written.
    pub fn recover(&mut self, slots: &[u16]) -> Result<Vec<SlotRecovery>, Failure> {
        let done = recover(&self.volume, &self.guard, slots, self.time(), &self.interrupt);
        self.volume = self.volume.on(Arc::clone(self.volume.device()));
        done.map_err(|err| match err {
            RecoverError::Torn { slot, end } => Failure::Failed(format!(
                "slot {slot}: {end}; nothing was replayed: fsck.ocfs2 -f recovers the volume and \
                 says what is lost"
            )),
            RecoverError::NotPossible { source, .. } => {
                Failure::Failed(format!("{source}; fsck.ocfs2 -y repairs what it can"))
            }
            RecoverError::NotDone { source, .. } => {
                Failure::Failed(format!("{source}; the rest is for fsck.ocfs2"))
            }
            RecoverError::Changed(err) => err.into(),
            RecoverError::Interrupted(err) => Failure::Interrupted(err),
        })
    }

    /// Commits a transaction through the first journal with room for it, or in place if none has.
    ///
    /// # Errors
    /// Nothing was written, the device cannot be written, or a signal came before the first write.
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

    /// Overwrites blocks without a journal, for intended damage.
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
            // If it can no longer be read, the known one stays.
            let options = VolumeOptions { any_checksum: true, ..WRITING };
            let again = Volume::open(Arc::clone(self.volume.device()), &options);
            self.volume = again.unwrap_or_else(|_| self.volume.on(self.volume.device().clone()));
            self.damage = damage_of(&self.volume);
        }
        Ok(done)
    }

    /// Leaves a transaction in the journal of a slot and marks the journal as dirty: nothing else
    /// can be changed before a replay.
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

    /// The slot of the open journal.
    pub fn log_slot(&self) -> Option<u16> {
        self.log.as_ref().map(|(log, _)| log.slot())
    }

    /// Adds a transaction to the open journal.
    ///
    /// # Errors
    /// No journal is open, or it has no room; the device cannot be written.
    pub fn append(&mut self, transaction: Transaction) -> Result<(), Failure> {
        self.interrupt.check()?;
        let none = || Failure::Failed("No journal is open: jo opens one".to_owned());
        let (log, written) = self.log.as_mut().ok_or_else(none)?;
        log.check_room(&transaction)?;
        // A descriptor or a revocation has room for more than eight blocks.
        let (blocks, revoked) = (transaction.blocks.len() as u64, transaction.revoked.len() as u64);
        let needed = blocks + blocks / 8 + revoked / 8 + 4;
        if written.transactions > 0 && written.blocks + needed > log.length() {
            // Room could only be made by writing the log to its places.
            return Err(Failure::Failed("The journal has no room for that".to_owned()));
        }
        let pass = self.guard.gate.open(Planned::default())?;
        log.append(&pass, transaction)?;
        written.transactions += 1;
        written.blocks += needed;
        self.volume = self.volume.on(Arc::clone(self.volume.device()));
        Ok(())
    }

    /// Closes the open journal as a crash would; returns its slot and what was written.
    ///
    /// # Errors
    /// No journal is open.
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

    /// Finishes the undo file. Returns a note if there is none, since nothing was overwritten.
    ///
    /// # Errors
    /// It cannot be written, and remains as if cut off.
    pub fn close(self) -> anyhow::Result<Option<String>> {
        let Some((saving, path)) = &self.undo else { return Ok(None) };
        Ok(Some(match saving.finish()? {
            true => undo_note(path, &self.place),
            false => format!("Nothing was overwritten: there is no undo file {}", shown(path)),
        }))
    }
}
