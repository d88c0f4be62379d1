//! Journal replay: what the log of a crashed node still has to bring to its place.
//!
//! [`Volume::replay`] reads a log and returns what it holds; nothing is written. Of several copies
//! of a block, the one of the last complete transaction counts. [`Replay::apply`] writes those
//! blocks; [`Replay::finish`] empties the log. Between the two everything can be done again from
//! the start, so that an interruption anywhere does no harm.

use std::collections::BTreeMap;
use std::fmt;

use ocfs2_format::dinode::Dinode;
use ocfs2_format::feature::Incompat;
use ocfs2_format::journal::{JBD2_MAGIC, JournalIncompat};
use ocfs2_format::{Blkno, Block, Structure};

use crate::{Error, Journal, Volume};
use ocfs2_device::Device;

pub(crate) mod places;
mod reader;
mod scan;

/// Why the log was read no further.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogEnd {
    /// There is no further transaction, or one that was not committed: as it should be.
    Complete,
    /// A committed transaction is damaged; it and what comes after it is lost.
    Damaged {
        /// The transaction.
        sequence: u32,
        /// What is wrong with it.
        damage: LogDamage,
    },
}

/// What is wrong with a committed transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogDamage {
    /// Its checksum does not hold.
    Checksum,
    /// It would change this block, which no journal may change.
    Destination(Blkno),
    /// It cannot be read to its end, and it or a later one, this one, is committed further on.
    Torn(u32),
}

impl fmt::Display for LogEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete => f.write_str("complete"),
            Self::Damaged { sequence, damage } => match damage {
                LogDamage::Checksum => {
                    write!(f, "transaction {sequence} is damaged: its checksum does not hold")
                }
                LogDamage::Destination(blkno) => {
                    write!(f, "transaction {sequence} is damaged: it changes block {blkno}")
                }
                LogDamage::Torn(later) => {
                    write!(
                        f,
                        "transaction {sequence} is damaged: it is not where it has to begin or go \
                         on, and transaction {later} is committed after it"
                    )
                }
            },
        }
    }
}

/// The copy of a block in the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Copy {
    /// Block of the volume that holds the copy.
    at: Blkno,
    /// Its first four bytes are the magic, and zero in the log.
    escaped: bool,
}

/// What the log of a slot holds.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The journal, as it was read.
    pub journal: Journal,
    /// Number of complete transactions.
    pub transactions: u32,
    /// Why there are no more.
    pub end: LogEnd,
    /// The last copy of each block, by its place.
    copies: BTreeMap<Blkno, Copy>,
    /// The transaction after the last complete one.
    next_sequence: u32,
}

/// A journal that cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// It cannot be read.
    #[error("journal of slot {slot}: {source}")]
    Journal {
        /// The slot.
        slot: u16,
        /// Why not.
        source: Error,
    },
    /// It has features that change how it is read, and that are not known.
    #[error("journal of slot {slot}: unknown incompatible features {features:#x}")]
    UnknownFeatures {
        /// The slot.
        slot: u16,
        /// The bits that are not known.
        features: u32,
    },
    /// It was interrupted; nothing was changed, or what was can be done again.
    #[error("was interrupted")]
    Interrupted,
    /// The device cannot be written.
    #[error("block {blkno}: could not be written: {source}")]
    Write {
        /// The block.
        blkno: Blkno,
        /// The error of the device.
        source: std::io::Error,
    },
}

impl Volume {
    /// Reads the log of a slot and finds what a replay has to write.
    ///
    /// Only a dirty journal may be replayed ([`Journal::is_dirty`]); what a clean one holds
    /// is old.
    ///
    /// # Errors
    /// [`ReplayError`] if the log cannot be read. A log that is damaged further on is not an error:
    /// see [`Replay::end`].
    pub fn replay(&self, slot: u16) -> Result<Replay, ReplayError> {
        self.replay_unless(slot, &|| false)
    }

    /// As [`Volume::replay`], ended by [`ReplayError::Interrupted`] once `interrupted` returns
    /// true.
    ///
    /// # Errors
    /// As [`Volume::replay`].
    pub fn replay_unless(
        &self,
        slot: u16,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Replay, ReplayError> {
        let wrong = |source| ReplayError::Journal { slot, source };
        self.replay_journal(self.journal(slot).map_err(wrong)?, interrupted)
    }

    /// As [`Volume::replay_unless`], for a journal that was found without the system directory.
    ///
    /// # Errors
    /// As [`Volume::replay`].
    pub fn replay_journal(
        &self,
        journal: Journal,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Replay, ReplayError> {
        let slot = journal.slot;
        let wrong = |source| ReplayError::Journal { slot, source };
        let unknown = journal.superblock.incompat() - KNOWN_FEATURES;
        if !unknown.is_empty() {
            return Err(ReplayError::UnknownFeatures { slot, features: unknown.bits() });
        }
        let log = scan::Log::new(self, journal).map_err(wrong)?;
        log.scan(interrupted).map_err(wrong)?.ok_or(ReplayError::Interrupted)
    }
}

/// The incompatible features of a journal that can be replayed.
pub const KNOWN_FEATURES: JournalIncompat = JournalIncompat::REVOKE
    .union(JournalIncompat::BIT64)
    .union(JournalIncompat::ASYNC_COMMIT)
    .union(JournalIncompat::CSUM_V2)
    .union(JournalIncompat::CSUM_V3);

impl Replay {
    /// The blocks that are to be written, ascending.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = Blkno> + '_ {
        self.copies.keys().copied()
    }

    /// Writes all blocks to their places on `device`, the one `volume` is read from or an
    /// overlay of it, and flushes it.
    ///
    /// # Errors
    /// The first block that cannot be read or written. The journal is as it was: all of
    /// it can be done again.
    pub fn apply(&self, volume: &Volume, device: &dyn Device) -> Result<(), ReplayError> {
        self.apply_unless(volume, device, &|| false)
    }

    /// As [`Replay::apply`], ended by [`ReplayError::Interrupted`] once `interrupted` returns true.
    ///
    /// # Errors
    /// As [`Replay::apply`].
    pub fn apply_unless(
        &self,
        volume: &Volume,
        device: &dyn Device,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<(), ReplayError> {
        let slot = self.journal.slot;
        for (blkno, copy) in &self.copies {
            if interrupted() {
                return Err(ReplayError::Interrupted);
            }
            let block = volume.read_block(copy.at);
            let mut block = block.map_err(|source| ReplayError::Journal { slot, source })?;
            if copy.escaped {
                block[..4].copy_from_slice(&JBD2_MAGIC.to_be_bytes());
            }
            self.write(volume, device, *blkno, &block)?;
        }
        self.flush(device)
    }

    /// Empties the log on `device`, after [`Replay::apply`]: no transaction is left, the next one
    /// is numbered as the kernel expects it, and no error is recorded.
    ///
    /// The journal stays dirty, since local alloc, truncate log and orphans of the slot are
    /// still to be recovered.
    ///
    /// # Errors
    /// The journal's superblock cannot be read or written.
    pub fn finish(&self, volume: &Volume, device: &dyn Device) -> Result<(), ReplayError> {
        let mut superblock = self.journal.superblock.clone();
        if superblock.s_start != 0 {
            superblock.s_start = 0;
            superblock.s_sequence = self.next_sequence.wrapping_add(1);
        }
        superblock.s_errno = 0;
        let blkno = self.journal.blkno;
        let mut block = self.read(volume, blkno)?;
        superblock.encode(&mut block).map_err(|source| {
            let source = Error::Truncated { blkno, source };
            ReplayError::Journal { slot: self.journal.slot, source }
        })?;
        self.write(volume, device, blkno, &block)?;
        self.flush(device)
    }

    /// Marks the journal clean on `device`, once the slot is recovered: clears the dirty flag and
    /// counts one more recovery.
    ///
    /// # Errors
    /// Its inode cannot be read or written.
    pub fn mark_clean(&self, volume: &Volume, device: &dyn Device) -> Result<(), ReplayError> {
        let blkno = self.journal.inode.blkno;
        let mut block = self.read(volume, blkno)?;
        let truncated = |source| {
            let source = Error::Truncated { blkno, source };
            ReplayError::Journal { slot: self.journal.slot, source }
        };
        // The replay may have brought a newer inode.
        let mut dinode = Dinode::decode(&block).map_err(truncated)?;
        let flags = dinode.journal_flags() & !Dinode::JOURNAL_DIRTY;
        dinode.set_journal(flags, dinode.journal_recovery_generation().wrapping_add(1));
        dinode.encode(&mut block).map_err(truncated)?;
        if volume.has(Incompat::META_ECC) {
            Dinode::stamp(&mut block);
        }
        self.write(volume, device, blkno, &block)?;
        self.flush(device)
    }

    fn read(&self, volume: &Volume, blkno: Blkno) -> Result<Vec<u8>, ReplayError> {
        let slot = self.journal.slot;
        volume.read_block(blkno).map_err(|source| ReplayError::Journal { slot, source })
    }

    fn write(
        &self,
        volume: &Volume,
        device: &dyn Device,
        blkno: Blkno,
        block: &[u8],
    ) -> Result<(), ReplayError> {
        let failed = |source| ReplayError::Write { blkno, source };
        let offset = blkno.offset_bytes(volume.block_size());
        let offset = offset.ok_or_else(|| failed(std::io::ErrorKind::InvalidInput.into()))?;
        device.write_at(block, offset).map_err(failed)
    }

    fn flush(&self, device: &dyn Device) -> Result<(), ReplayError> {
        let blkno = self.journal.blkno;
        device.flush().map_err(|source| ReplayError::Write { blkno, source })
    }
}
