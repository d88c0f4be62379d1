//! Committing changes to a volume as a whole, through a journal of the volume itself.
//!
//! The blocks of an overlay become one transaction of a [`Log`] that is empty before and after.
//! Then the superblock and its backups are written, if they changed. They are not part of the
//! transaction, since a mount has read the superblock before it replays. The exception is a
//! superblock that states another size or number of slots and nothing else: such a mount does no
//! harm, and there is no moment at which the superblock and the volume differ.
//!
//! If no journal takes the changes, [`Volume::write_in_place`] writes them without one.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;

use ocfs2_format::dinode::Dinode;
use ocfs2_format::feature::{Compat, Incompat};
use ocfs2_format::superblock::{
    STATE_ERROR, SUPERBLOCK_BLKNO, SUPERBLOCK_SIGNATURE, SuperBlock, backup_blocks,
};
use ocfs2_format::{Blkno, Block, Structure};

use crate::journal::{Log, Transaction};
use crate::{Error, Volume};
use ocfs2_device::{Device, OverlayDevice};

/// Why changes cannot go through a journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The journal cannot be used.
    #[error("journal of slot {slot}: {source}")]
    Journal {
        /// The slot.
        slot: u16,
        /// Why not.
        source: Error,
    },
    /// The journal is dirty and its log is not empty: it has to be replayed first.
    #[error("journal of slot {slot}: is dirty")]
    Dirty {
        /// The slot.
        slot: u16,
    },
    /// The journal has features with which this library does not write, or lacks one it needs.
    #[error("journal of slot {slot}: has features {features:#x}, in which nothing is written")]
    Features {
        /// The slot.
        slot: u16,
        /// Its incompat features.
        features: u32,
    },
    /// There are more changes than the journal holds.
    #[error("journal of slot {slot}: has {available} blocks, {needed} are needed")]
    TooLarge {
        /// The slot.
        slot: u16,
        /// Blocks of the log that the changes take.
        needed: u64,
        /// Blocks the log has.
        available: u64,
    },
    /// A block of the log itself is to be changed.
    #[error("journal of slot {slot}: its own block {blkno} is to be changed")]
    OwnBlock {
        /// The slot.
        slot: u16,
        /// The block.
        blkno: Blkno,
    },
    /// Somebody else has used the journal since the transaction was prepared.
    #[error("journal of slot {slot}: was used meanwhile")]
    Used {
        /// The slot.
        slot: u16,
    },
    /// The device cannot be written.
    #[error("block {blkno}: could not be written: {source}")]
    Write {
        /// The block.
        blkno: Blkno,
        /// The error of the device.
        source: io::Error,
    },
    /// There is no room for a block: the image is sparse and its file system full, or the undo
    /// file cannot grow. Nothing was written.
    #[error("block {blkno}: there is no room for it: {source}")]
    NoRoom {
        /// The block.
        blkno: Blkno,
        /// The error of the device.
        source: io::Error,
    },
    /// Changes that were not kept in memory cannot be read back.
    #[error(transparent)]
    Changes(#[from] io::Error),
}

impl CommitError {
    /// Whether nothing had been written when it occurred.
    pub fn is_before_writes(&self) -> bool {
        !matches!(self, Self::Write { .. } | Self::Changes(_))
    }
}

/// Changes that are ready to be committed. See [`Volume::plan_commit`].
#[derive(Debug)]
pub struct Commit<'v> {
    volume: &'v Volume,
    log: Log,
    transaction: Transaction,
    superblocks: Superblocks,
}

impl Volume {
    /// Prepares the changes in `overlay`, whose blocks are those of the volume, to be written
    /// through the journal of `slot`. The volume is the one without the changes.
    ///
    /// # Errors
    /// [`CommitError`]: another journal may be usable.
    pub fn plan_commit<D: Device>(
        &self,
        overlay: &OverlayDevice<D>,
        slot: u16,
    ) -> Result<Commit<'_>, CommitError> {
        self.plan_commit_without(overlay, slot, &HashSet::new())
    }

    /// As [`Volume::plan_commit`], for all changed blocks but those in `written`.
    fn plan_commit_without<D: Device>(
        &self,
        overlay: &OverlayDevice<D>,
        slot: u16,
        written: &HashSet<Blkno>,
    ) -> Result<Commit<'_>, CommitError> {
        let log = Log::open(self, slot)?;
        // Each changed block takes a block of the log: far too many need not even be gathered.
        let needed = overlay.changed_blocks().saturating_sub(written.len()) as u64;
        let available = log.length();
        if needed > available {
            return Err(CommitError::TooLarge { slot, needed, available });
        }
        let (transaction, superblocks) = self.transaction_of(overlay, written)?;
        log.check_room(&transaction)?;
        Ok(Commit { volume: self, log, transaction, superblocks })
    }

    /// Commits the changes in `overlay` through the journal of `slot`. If they are too many for it,
    /// the blocks that nobody uses yet are written first, when nothing points to them, and the
    /// others are the transaction. The allocators of the volume have to be right.
    ///
    /// # Errors
    /// [`CommitError`]; if [`CommitError::is_before_writes`], nothing that is in use was written.
    pub(crate) fn commit_in_parts<D: Device>(
        &self,
        overlay: &OverlayDevice<D>,
        slot: u16,
        device: &dyn Device,
    ) -> Result<(), CommitError> {
        match self.plan_commit(overlay, slot) {
            Err(CommitError::TooLarge { .. }) => {}
            planned => return planned?.write(device),
        }
        let unused = self.unused(&self.changed_in(overlay));
        let commit = self.plan_commit_without(overlay, slot, &unused)?;
        self.reserve_changes(overlay, device)?;
        self.write_unused(overlay, &unused, device)?;
        commit.write(device)
    }

    /// Most blocks that a transaction may have that one of the journals takes.
    pub fn most_blocks(&self) -> u64 {
        let logs = (0..self.max_slots()).filter_map(|slot| Log::open(self, slot).ok());
        logs.map(|log| log.most_blocks()).max().unwrap_or(0)
    }
}

/// Blocks of the superblock and its backups, in the order in which they are written: the superblock
/// itself first, as it is what is read first.
pub(crate) type Superblocks = Vec<(Blkno, Vec<u8>)>;

impl Volume {
    /// The changes in `overlay`, but for those of the blocks in `written`, as a transaction, and the
    /// superblocks that are not part of it.
    pub(crate) fn transaction_of<D: Device>(
        &self,
        overlay: &OverlayDevice<D>,
        written: &HashSet<Blkno>,
    ) -> Result<(Transaction, Superblocks), CommitError> {
        let (mut transaction, mut superblocks) = (Transaction::default(), Vec::new());
        overlay.for_each_change(|offset, bytes| {
            let blkno = Blkno(offset >> self.block_size().bits());
            if self.is_superblock(blkno) {
                superblocks.push((blkno, bytes.to_vec()));
            } else if !written.contains(&blkno) {
                transaction.blocks.insert(blkno, bytes.to_vec());
            }
            Ok::<_, CommitError>(())
        })?;
        if !transaction.is_empty() && self.is_other_size(&superblocks) {
            transaction.blocks.extend(superblocks.drain(..));
        }
        Ok((transaction, superblocks))
    }

    /// Whether these superblocks state another size or number of slots, and nothing else that is
    /// new.
    fn is_other_size(&self, superblocks: &Superblocks) -> bool {
        let primary = superblocks.iter().find(|(blkno, _)| *blkno == SUPERBLOCK_BLKNO);
        primary.is_some_and(|(_, block)| {
            let old = (self.super_dinode().i_clusters, self.max_slots());
            self.is_own_superblock(block) && size_of(block).is_some_and(|new| new != old)
        })
    }

    /// Whether a block is the superblock of this volume, perhaps with another size or number of
    /// slots.
    pub(crate) fn is_own_superblock(&self, block: &[u8]) -> bool {
        let decoded = block.get(Dinode::ID2_OFFSET..).map(SuperBlock::decode);
        let (Some(Ok(superblock)), Ok(dinode)) = (decoded, Dinode::decode(block)) else {
            return false;
        };
        let is_it = dinode.i_blkno == SUPERBLOCK_BLKNO
            && dinode.i_fs_generation == self.super_dinode().i_fs_generation;
        let s_max_slots = self.superblock().s_max_slots;
        is_it
            && block.starts_with(&SUPERBLOCK_SIGNATURE)
            && SuperBlock { s_max_slots, ..superblock } == *self.superblock()
    }

    /// The blocks that are changed in `overlay`.
    pub(crate) fn changed_in<D: Device>(&self, overlay: &OverlayDevice<D>) -> BTreeSet<Blkno> {
        let bits = self.block_size().bits();
        let ranges = overlay.changed_ranges().into_iter();
        ranges
            .flat_map(|range| range.start >> bits..range.end.div_ceil(1 << bits))
            .map(Blkno)
            .collect()
    }

    /// Writes the changes of the blocks in `unused`, which nothing points to. New inodes come last: an
    /// interruption leaves none whose contents are not there, which fsck would take for a file.
    fn write_unused<D: Device>(
        &self,
        overlay: &OverlayDevice<D>,
        unused: &HashSet<Blkno>,
        device: &dyn Device,
    ) -> Result<(), CommitError> {
        let failed = |blkno| move |source| CommitError::Write { blkno, source };
        for inodes in [false, true] {
            let mut is_any = false;
            overlay.for_each_change(|offset, bytes| {
                let blkno = Blkno(offset >> self.block_size().bits());
                if bytes.starts_with(&Dinode::SIGNATURE) != inodes || !unused.contains(&blkno) {
                    return Ok(());
                }
                is_any = true;
                device.write_at(bytes, offset).map_err(failed(blkno))
            })?;
            if is_any {
                device.flush().map_err(failed(SUPERBLOCK_BLKNO))?;
            }
        }
        Ok(())
    }
}

/// The number of clusters and slots that a superblock states.
fn size_of(block: &[u8]) -> Option<(u32, u16)> {
    let superblock = SuperBlock::decode(block.get(Dinode::ID2_OFFSET..)?).ok()?;
    Some((Dinode::decode(block).ok()?.i_clusters, superblock.s_max_slots))
}

impl Commit<'_> {
    /// The slot whose journal is used.
    pub fn slot(&self) -> u16 {
        self.log.slot()
    }

    /// Blocks the transaction changes.
    pub fn blocks(&self) -> usize {
        self.transaction.blocks.len()
    }

    /// Writes everything to `device`, the one the volume is read from: the transaction to the log
    /// and to its places, then superblock and backups. Interrupted anywhere, the volume is as
    /// before or one replay away from having all the changes.
    ///
    /// # Errors
    /// The device cannot be written; somebody else has used the journal meanwhile.
    pub fn write(mut self, device: &dyn Device) -> Result<(), CommitError> {
        let superblocks = std::mem::take(&mut self.superblocks);
        if !self.transaction.is_empty() {
            self.log.check_unused(device)?;
            let places = superblocks.iter().map(|(blkno, _)| *blkno);
            let logged = self.transaction.blocks.keys().copied();
            let own = self.log.own_blocks(&self.transaction)?;
            for blkno in logged.chain(places).chain(own) {
                self.volume.reserve_block(device, blkno)?;
            }
            self.log.append(device, self.transaction)?;
            self.log.close(device)?;
        }
        self.volume.write_superblocks(&superblocks, device)
    }
}

impl Volume {
    /// Writes the changes in `overlay` to their places on `device`, without a journal.
    ///
    /// The superblock says that there are errors until all is written: after an interruption, the
    /// next fsck checks the volume and finds what is half-done. Superblock and backups come last.
    ///
    /// # Errors
    /// [`CommitError::NoRoom`], before anything is written; [`CommitError::Write`];
    /// [`CommitError::Changes`].
    pub fn write_in_place<D: Device>(
        &self,
        overlay: &OverlayDevice<D>,
        device: &dyn Device,
    ) -> Result<(), CommitError> {
        let put = |blkno: Blkno, bytes: &[u8]| {
            let offset = blkno.offset_bytes(self.block_size()).unwrap_or(u64::MAX);
            device.write_at(bytes, offset).map_err(|source| CommitError::Write { blkno, source })
        };
        let flush = || {
            let blkno = SUPERBLOCK_BLKNO;
            device.flush().map_err(|source| CommitError::Write { blkno, source })
        };
        self.reserve_changes(overlay, device)?;
        self.announce_changes(overlay, device)?;
        let mut superblocks = BTreeMap::new();
        // A superblock that cannot be used needs no mark.
        let found = self.found_superblock();
        if found.blkno == SUPERBLOCK_BLKNO && found.mended.is_none() {
            let block = self.found_superblock().block.to_vec();
            put(SUPERBLOCK_BLKNO, &self.with_errors(block.clone()))?;
            flush()?;
            superblocks.insert(SUPERBLOCK_BLKNO, block);
        }
        let block_of = |offset: u64| Blkno(offset >> self.block_size().bits());
        // New blocks are written before those that point to them: until then it is as if they were
        // not there.
        let unused = self.unused(&self.changed_in(overlay));
        self.write_unused(overlay, &unused, device)?;
        overlay.for_each_change(|offset, bytes| match block_of(offset) {
            blkno if self.is_superblock(blkno) => {
                superblocks.insert(blkno, bytes.to_vec());
                Ok(())
            }
            blkno if unused.contains(&blkno) => Ok(()),
            blkno => put(blkno, bytes),
        })?;
        flush()?;
        for (blkno, bytes) in &superblocks {
            put(*blkno, bytes)?;
        }
        flush()
    }

    /// Writes the superblock and then its backups, so that no backup is ever newer.
    pub(crate) fn write_superblocks(
        &self,
        superblocks: &Superblocks,
        device: &dyn Device,
    ) -> Result<(), CommitError> {
        for (blkno, bytes) in superblocks {
            let failed = |source| CommitError::Write { blkno: *blkno, source };
            let offset = blkno.offset_bytes(self.block_size()).unwrap_or(u64::MAX);
            device.write_at(bytes, offset).map_err(failed)?;
            device.flush().map_err(failed)?;
        }
        Ok(())
    }

    /// Reserves room for the changes in `overlay` on `device`: a sparse image may have none.
    ///
    /// # Errors
    /// [`CommitError::NoRoom`].
    pub fn reserve_changes<D: Device>(
        &self,
        overlay: &OverlayDevice<D>,
        device: &dyn Device,
    ) -> Result<(), CommitError> {
        overlay.for_each_change(|offset, _| {
            self.reserve_block(device, Blkno(offset >> self.block_size().bits()))
        })
    }

    /// Announces the changes in `overlay` to `device`, which can save what they overwrite all at once.
    pub(crate) fn announce_changes<D: Device>(
        &self,
        overlay: &OverlayDevice<D>,
        device: &dyn Device,
    ) -> Result<(), CommitError> {
        overlay.for_each_change(|offset, bytes| {
            let blkno = Blkno(offset >> self.block_size().bits());
            let announced = device.announce(bytes, offset);
            announced.map_err(|source| CommitError::Write { blkno, source })
        })
    }

    fn reserve_block(&self, device: &dyn Device, blkno: Blkno) -> Result<(), CommitError> {
        let offset = blkno.offset_bytes(self.block_size()).unwrap_or(u64::MAX);
        let reserved = device.reserve(offset, u64::from(self.block_size().bytes()));
        reserved.map_err(|source| CommitError::NoRoom { blkno, source })
    }

    /// Whether a block is that of the superblock, one before it, or a backup.
    pub(crate) fn is_superblock(&self, blkno: Blkno) -> bool {
        let geometry = self.geometry();
        let has_backups = self.superblock().features().compat.contains(Compat::BACKUP_SB);
        let mut backups = backup_blocks(geometry.block_size, geometry.blocks());
        blkno <= SUPERBLOCK_BLKNO || has_backups && backups.any(|backup| backup == blkno)
    }

    /// A superblock that says there are errors.
    fn with_errors(&self, mut block: Vec<u8>) -> Vec<u8> {
        if let Some(Ok(mut superblock)) = block.get(Dinode::ID2_OFFSET..).map(SuperBlock::decode) {
            superblock.s_state |= STATE_ERROR;
            let _ = superblock.encode(block.get_mut(Dinode::ID2_OFFSET..).unwrap_or_default());
        }
        if self.has(Incompat::META_ECC) {
            Dinode::stamp(&mut block);
        }
        block
    }
}
