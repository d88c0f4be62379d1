//! Changes that reach a volume as one: through a journal of the volume itself.
//!
//! An overlay's blocks are written as one transaction into the empty log of a slot, then to
//! their places. The order, each step on stable storage before the next one begins:
//!
//! 1. the transaction, where nothing points at it yet;
//! 2. the journal's inode is marked dirty: a replay would find an empty log;
//! 3. the journal's superblock says where the log begins. From here on one replay, by this
//!    library, the C fsck or the kernel's mount, gives all the changes; before it, none;
//! 4. the blocks in their places;
//! 5. the journal's superblock: the log is empty;
//! 6. the journal's inode: clean, unless it was dirty before and its slot is just recovered;
//! 7. superblock and backups, if they changed. They are not part of the transaction, since a
//!    mount has read the superblock before it replays.
//!
//! Where no journal takes them, [`Volume::write_in_place`] writes them without one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use ocfs2_format::dinode::Dinode;
use ocfs2_format::feature::{Compat, Incompat};
use ocfs2_format::journal::{
    BlockType, CommitBlock, JBD2_MAGIC, JournalHeader, JournalIncompat, JournalSuperblock,
    JournalTag, TagFlags, write_descriptor,
};
use ocfs2_format::superblock::{STATE_ERROR, SUPERBLOCK_BLKNO, SuperBlock, backup_blocks};
use ocfs2_format::{Blkno, Structure, Truncated, check};

use crate::device::OverlayDevice;
use crate::replay::places::Places;
use crate::{Device, Error, Journal, Volume};

/// Bytes that are written to the log at once.
const MAX_WRITE: usize = 1 << 20;

/// Why changes cannot go through a journal.
#[derive(Debug, thiserror::Error)]
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
    /// The journal has features in which this does not write.
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
        /// What the device said.
        source: io::Error,
    },
    /// There is no room for a block: the image is sparse and its file system full, or the undo
    /// file cannot grow. Nothing was written.
    #[error("block {blkno}: there is no room for it: {source}")]
    NoRoom {
        /// The block.
        blkno: Blkno,
        /// What the device said.
        source: io::Error,
    },
    /// Changes that were not kept in memory cannot be read back.
    #[error(transparent)]
    Changes(#[from] io::Error),
}

impl CommitError {
    /// Whether nothing was written before it came up.
    pub fn is_before_writes(&self) -> bool {
        !matches!(self, Self::Write { .. } | Self::Changes(_))
    }
}

/// Changes that are ready to be committed. See [`Volume::plan_commit`].
#[derive(Debug)]
pub struct Commit<'v> {
    volume: &'v Volume,
    journal: Journal,
    places: Places,
    /// What the transaction changes.
    logged: BTreeMap<Blkno, Vec<u8>>,
    /// Superblock and backups, in the order in which they are written.
    superblocks: Vec<(Blkno, Vec<u8>)>,
}

impl Volume {
    /// Prepares the changes in `overlay`, whose blocks are those of the volume, to be written
    /// through the journal of `slot`. The volume is the one without the changes.
    ///
    /// # Errors
    /// [`CommitError`]: another journal may do.
    pub fn plan_commit<D: Device>(
        &self,
        overlay: &OverlayDevice<D>,
        slot: u16,
    ) -> Result<Commit<'_>, CommitError> {
        let wrong = |source| CommitError::Journal { slot, source };
        let journal = self.journal(slot).map_err(wrong)?;
        if journal.is_dirty() && journal.superblock.s_start != 0 {
            return Err(CommitError::Dirty { slot });
        }
        let features = journal.superblock.incompat();
        if !(JournalIncompat::REVOKE | JournalIncompat::BIT64).contains(features) {
            return Err(CommitError::Features { slot, features: features.bits() });
        }
        // Each takes a block of the log: what is far too much need not be gathered.
        let (needed, available) =
            (overlay.changed_blocks() as u64, u64::from(journal.superblock.s_maxlen));
        if needed > available {
            return Err(CommitError::TooLarge { slot, needed, available });
        }
        let places = Places::new(self, &journal).map_err(wrong)?;
        let mut commit = Commit {
            volume: self,
            journal,
            places,
            logged: BTreeMap::new(),
            superblocks: Vec::new(),
        };
        overlay.for_each_change(|offset, bytes| {
            commit.add(Blkno(offset >> self.block_size().bits()), bytes)
        })?;
        // The superblock itself before its backups: it is what is read first.
        commit.check_room()?;
        Ok(commit)
    }
}

impl Commit<'_> {
    /// The slot whose journal is used.
    pub fn slot(&self) -> u16 {
        self.journal.slot
    }

    /// Blocks the transaction changes.
    pub fn blocks(&self) -> usize {
        self.logged.len()
    }

    fn add(&mut self, blkno: Blkno, bytes: &[u8]) -> Result<(), CommitError> {
        let volume = self.volume;
        if self.places.contains(blkno) {
            return Err(CommitError::OwnBlock { slot: self.slot(), blkno });
        }
        if volume.is_superblock(blkno) {
            self.superblocks.push((blkno, bytes.to_vec()));
        } else {
            self.logged.insert(blkno, bytes.to_vec());
        }
        Ok(())
    }

    fn bit64(&self) -> bool {
        self.journal.superblock.incompat().contains(JournalIncompat::BIT64)
    }

    fn check_room(&self) -> Result<(), CommitError> {
        let slot = self.slot();
        let superblock = &self.journal.superblock;
        let log = self.log(Vec::len).map_err(|source| self.cut(source))?;
        let needed = log as u64;
        let available = u64::from(superblock.s_maxlen - superblock.s_first);
        if needed > available {
            return Err(CommitError::TooLarge { slot, needed, available });
        }
        let largest = self.logged.keys().next_back().map_or(0, |blkno| blkno.0);
        if !self.bit64() && u32::try_from(largest).is_err() {
            let features = superblock.s_feature_incompat;
            return Err(CommitError::Features { slot, features });
        }
        Ok(())
    }

    fn cut(&self, source: Truncated) -> CommitError {
        let (slot, blkno) = (self.slot(), self.journal.blkno);
        CommitError::Journal { slot, source: Error::Truncated { blkno, source } }
    }

    /// The blocks of the transaction as they lie in the log.
    fn log<T>(&self, done: impl FnOnce(&Vec<Vec<u8>>) -> T) -> Result<T, Truncated> {
        let size = self.volume.block_size().size();
        let sequence = self.journal.superblock.s_sequence;
        let tag = |(blkno, bytes): (&Blkno, &Vec<u8>)| {
            let escaped = bytes.starts_with(&JBD2_MAGIC.to_be_bytes());
            let flags = if escaped { TagFlags::ESCAPE } else { TagFlags::empty() };
            JournalTag { blkno: *blkno, flags, checksum: 0 }
        };
        let tags: Vec<_> = self.logged.iter().map(tag).collect();
        let mut tags = &tags[..];
        let mut contents = self.logged.values();
        let mut log = Vec::new();
        while !tags.is_empty() {
            let mut descriptor = vec![0; size];
            let count = write_descriptor(&mut descriptor, sequence, self.bit64(), tags)?;
            log.push(descriptor);
            let (these, rest) = tags.split_at(count);
            for (tag, bytes) in these.iter().zip(contents.by_ref()) {
                let mut copy = bytes.clone();
                if tag.flags.contains(TagFlags::ESCAPE) {
                    copy[..4].fill(0);
                }
                log.push(copy);
            }
            tags = rest;
        }
        let mut end = vec![0; size];
        let header = JournalHeader::new(BlockType::Commit, sequence);
        CommitBlock { header, ..Default::default() }.encode(&mut end)?;
        log.push(end);
        Ok(done(&log))
    }

    /// Writes everything to `device`, the one the volume is read from, in the order the module
    /// describes. Interrupted anywhere, the volume is as before or one replay away from
    /// having all the changes.
    ///
    /// # Errors
    /// The device cannot be written; somebody else has used the journal meanwhile.
    pub fn write(mut self, device: &dyn Device) -> Result<(), CommitError> {
        if !self.logged.is_empty() {
            self.check_unused(device)?;
            self.reserve(device)?;
            let own = self.journal.inode.blkno;
            let before = self.marked(self.journal.inode.block().to_vec(), true)?;
            let after = self.logged.get(&own).unwrap_or(&before).clone();
            // A copy of the inode must not say that there is nothing to replay.
            if self.logged.contains_key(&own) {
                self.logged.insert(own, self.marked(after.clone(), true)?);
            }
            self.write_log(device)?;
            self.put(device, own, &before)?;
            self.flush(device)?;
            self.write_superblock(device, self.journal.superblock.s_first)?;
            for (blkno, bytes) in &self.logged {
                self.put(device, *blkno, bytes)?;
            }
            self.flush(device)?;
            self.write_superblock(device, 0)?;
            self.put(device, own, &self.marked(after, self.journal.is_dirty())?)?;
            self.flush(device)?;
        }
        for (blkno, bytes) in &self.superblocks {
            self.put(device, *blkno, bytes)?;
        }
        self.flush(device)
    }

    /// Finds out whether there is room for all that is written.
    fn reserve(&self, device: &dyn Device) -> Result<(), CommitError> {
        let superblocks = self.superblocks.iter().map(|(blkno, _)| *blkno);
        let own = [self.journal.inode.blkno, self.journal.blkno];
        let log = self.log(Vec::len).map_err(|source| self.cut(source))?;
        let first = self.journal.superblock.s_first;
        let log = (first..).take(log).filter_map(|index| self.places.place(index));
        for blkno in self.logged.keys().copied().chain(superblocks).chain(own).chain(log) {
            self.volume.reserve_block(device, blkno)?;
        }
        Ok(())
    }

    /// Makes sure that the log is as empty as it was: who mounts the slot numbers on.
    fn check_unused(&self, device: &dyn Device) -> Result<(), CommitError> {
        let blkno = self.journal.blkno;
        let mut block = vec![0; self.volume.block_size().size()];
        let offset = blkno.offset_bytes(self.volume.block_size()).unwrap_or(u64::MAX);
        let read = device.read_fresh_at(&mut block, offset);
        read.map_err(|source| CommitError::Write { blkno, source })?;
        let now = JournalSuperblock::decode(&block).map_err(|source| self.cut(source))?;
        match now == self.journal.superblock {
            true => Ok(()),
            false => Err(CommitError::Used { slot: self.slot() }),
        }
    }

    fn write_log(&self, device: &dyn Device) -> Result<(), CommitError> {
        let first = self.journal.superblock.s_first;
        let written = self.log(|log| {
            let places = (first..).map(|index| {
                self.places.place(index).ok_or_else(|| {
                    let source = self.journal.inode.invalid("l_next_free_rec", index, "no hole");
                    CommitError::Journal { slot: self.slot(), source }
                })
            });
            // Blocks in a row as one write.
            let mut run: Option<(Blkno, u64, Vec<u8>)> = None;
            for (place, bytes) in places.zip(log) {
                let place = place?;
                match &mut run {
                    Some((start, count, run))
                        if start.0 + *count == place.0 && run.len() < MAX_WRITE =>
                    {
                        *count += 1;
                        run.extend(bytes);
                    }
                    _ => {
                        if let Some((start, _, bytes)) = run.replace((place, 1, bytes.clone())) {
                            self.put(device, start, &bytes)?;
                        }
                    }
                }
            }
            run.map_or(Ok(()), |(start, _, bytes)| self.put(device, start, &bytes))
        });
        written.map_err(|source| self.cut(source))??;
        self.flush(device)
    }

    /// The log begins at block `start`, or is empty if that is 0.
    fn write_superblock(&self, device: &dyn Device, start: u32) -> Result<(), CommitError> {
        let (slot, blkno) = (self.slot(), self.journal.blkno);
        let wrong = |source| CommitError::Journal { slot, source };
        let mut block = self.volume.read_block(blkno).map_err(wrong)?;
        let mut superblock = self.journal.superblock.clone();
        superblock.s_start = start;
        if start == 0 {
            superblock.s_sequence = superblock.s_sequence.wrapping_add(1);
        }
        superblock.encode(&mut block).map_err(|source| self.cut(source))?;
        self.put(device, blkno, &block)?;
        self.flush(device)
    }

    /// The journal's inode in `block`, marked dirty or clean.
    fn marked(&self, mut block: Vec<u8>, dirty: bool) -> Result<Vec<u8>, CommitError> {
        let mut dinode = Dinode::decode(&block).map_err(|source| self.cut(source))?;
        let clean = dinode.journal_flags() & !Dinode::JOURNAL_DIRTY;
        let flags = if dirty { clean | Dinode::JOURNAL_DIRTY } else { clean };
        dinode.set_journal(flags, dinode.journal_recovery_generation());
        dinode.encode(&mut block).map_err(|source| self.cut(source))?;
        if self.volume.has(Incompat::META_ECC) {
            check::stamp(&mut block, Dinode::CHECK_OFFSET);
        }
        Ok(block)
    }

    fn put(&self, device: &dyn Device, blkno: Blkno, bytes: &[u8]) -> Result<(), CommitError> {
        let offset = blkno.offset_bytes(self.volume.block_size()).unwrap_or(u64::MAX);
        device.write_at(bytes, offset).map_err(|source| CommitError::Write { blkno, source })
    }

    fn flush(&self, device: &dyn Device) -> Result<(), CommitError> {
        let blkno = self.journal.blkno;
        device.flush().map_err(|source| CommitError::Write { blkno, source })
    }
}

impl Volume {
    /// Writes the changes in `overlay` to their places on `device`, without a journal.
    ///
    /// The superblock says that there are errors until all is written: interrupted, the next
    /// fsck checks the volume and finds what is half-done. Then superblock and backups.
    ///
    /// # Errors
    /// [`CommitError::Write`]; [`CommitError::Journal`] never.
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
        let mut superblocks = BTreeMap::new();
        // One that cannot be used says enough as it is.
        if self.found_superblock().blkno == SUPERBLOCK_BLKNO {
            let block = self.found_superblock().block.to_vec();
            put(SUPERBLOCK_BLKNO, &self.with_errors(block.clone()))?;
            flush()?;
            superblocks.insert(SUPERBLOCK_BLKNO, block);
        }
        let block_of = |offset: u64| Blkno(offset >> self.block_size().bits());
        let mut blocks = BTreeSet::new();
        overlay.for_each_change(|offset, _| {
            blocks.insert(block_of(offset));
            Ok::<_, CommitError>(())
        })?;
        // What is new before that what leads to it: until then it is as if it were not there.
        let unused = self.unused(&blocks);
        overlay.for_each_change(|offset, bytes| match block_of(offset) {
            blkno if unused.contains(&blkno) && !self.is_superblock(blkno) => put(blkno, bytes),
            _ => Ok(()),
        })?;
        flush()?;
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

    /// Finds out whether `device` has room for the changes in `overlay`: a sparse image may not.
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

    fn reserve_block(&self, device: &dyn Device, blkno: Blkno) -> Result<(), CommitError> {
        let offset = blkno.offset_bytes(self.block_size()).unwrap_or(u64::MAX);
        let reserved = device.reserve(offset, u64::from(self.block_size().bytes()));
        reserved.map_err(|source| CommitError::NoRoom { blkno, source })
    }

    /// Whether that is the block of the superblock, one before it, or a backup.
    fn is_superblock(&self, blkno: Blkno) -> bool {
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
            check::stamp(&mut block, Dinode::CHECK_OFFSET);
        }
        block
    }
}
