//! The running log of a slot.
//!
//! A transaction that is appended is permanent: whatever happens then, a replay restores all of it.
//! Its blocks are written to their places later, at a checkpoint, which many transactions can
//! share. The order, each step on stable storage before the next one begins:
//!
//! 1. the transaction, in a place that nothing points to or where a replay ends before it, its
//!    commit block last;
//! 2. of the first one after a checkpoint: the journal's inode is marked dirty (a replay would find
//!    an empty log), then the journal's superblock says where the log begins. From here on one
//!    replay, by this library, the C fsck or the kernel's mount, restores all the changes; before
//!    it, none;
//! 3. at the checkpoint: the blocks in their places, then the journal's superblock: the log is
//!    empty;
//! 4. at the end: the journal's inode is clean, unless it was dirty before.
//!
//! What a mount reads before it replays, superblock and backups, is not part of transactions, but
//! for another size or number of slots.

use std::fmt;
use std::sync::Arc;

use ocfs2_format::dinode::Dinode;
use ocfs2_format::feature::Incompat;
use ocfs2_format::journal::{JournalIncompat, JournalSuperblock};
use ocfs2_format::{Blkno, Block, Structure, Truncated};

use super::Transaction;
use super::transaction::Style;
use crate::commit::CommitError;
use crate::replay::places::Places;
use crate::{Error, Journal, Volume};
use ocfs2_device::{Device, OverlayDevice};

/// Bytes that are written to the log at once.
const MAX_WRITE: usize = 1 << 20;

/// Bytes of a descriptor that name no blocks: its header, and a UUID.
const DESCRIPTOR_HEAD: u64 = 28;

/// Bytes by which a descriptor names a block, at most.
const LARGEST_TAG: u64 = 12;

/// Bytes of appended blocks not yet in their places that are kept in memory; the rest is in a file.
const PENDING_BYTES: u64 = 256 << 20;

/// The log of a slot, which nobody else uses. See the [module](super).
pub struct Log {
    volume: Volume,
    journal: Journal,
    places: Places,
    /// The journal's inode as it is to be when the log is closed, apart from its dirty flag.
    inode: Vec<u8>,
    /// The next free block of the log.
    head: u32,
    /// The sequence number of the next transaction.
    sequence: u32,
    /// The block where the log begins and the sequence number of the transaction there; `None` if
    /// it is empty.
    tail: Option<(u32, u32)>,
    /// Whether the inode says that there is something to replay.
    is_marked: bool,
    /// What was appended and is not in its place yet.
    pending: Arc<OverlayDevice<Arc<dyn Device>>>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { journal, head, sequence, .. } = self;
        let (slot, head, sequence) = (journal.slot, *head, *sequence);
        f.debug_struct("Log")
            .field("slot", &slot)
            .field("head", &head)
            .field("sequence", &sequence)
            .finish()
    }
}

impl Log {
    /// The log of `slot`, which has to be empty. Nothing is written before something is appended.
    ///
    /// # Errors
    /// [`CommitError`]: the journal of another slot may be usable.
    pub fn open(volume: &Volume, slot: u16) -> Result<Self, CommitError> {
        let wrong = |source| CommitError::Journal { slot, source };
        let journal = volume.journal(slot).map_err(wrong)?;
        if journal.is_dirty() && journal.superblock.s_start != 0 {
            return Err(CommitError::Dirty { slot });
        }
        let features = journal.superblock.incompat();
        if !(JournalIncompat::REVOKE | JournalIncompat::BIT64).contains(features) {
            return Err(CommitError::Features { slot, features: features.bits() });
        }
        let places = Places::new(volume, &journal).map_err(wrong)?;
        let (head, sequence) = (journal.superblock.s_first, journal.superblock.s_sequence);
        let inode = journal.inode.block().to_vec();
        let below = Arc::clone(volume.device());
        let pending = OverlayDevice::within(below, volume.block_size().bytes(), PENDING_BYTES);
        Ok(Self {
            volume: volume.on(Arc::clone(volume.device())),
            journal,
            places,
            inode,
            head,
            sequence,
            tail: None,
            is_marked: false,
            pending: Arc::new(pending),
        })
    }

    /// The slot whose log it is.
    pub fn slot(&self) -> u16 {
        self.journal.slot
    }

    /// Blocks of the log, used or not.
    pub fn length(&self) -> u64 {
        self.journal.superblock.s_maxlen.into()
    }

    /// Most blocks that a transaction may have for which an empty log has room.
    pub fn most_blocks(&self) -> u64 {
        let superblock = &self.journal.superblock;
        let available = u64::from(superblock.s_maxlen.saturating_sub(superblock.s_first));
        let room = u64::from(self.volume.block_size().bytes()).saturating_sub(DESCRIPTOR_HEAD);
        // After each descriptor come as many blocks as it names, and a commit block at the end.
        available.saturating_sub(available.div_ceil(room / LARGEST_TAG + 1) + 1)
    }

    /// Whether a block of the volume is one of the log itself.
    pub fn contains(&self, blkno: Blkno) -> bool {
        self.places.contains(blkno)
    }

    /// What was appended and is not in its place yet.
    pub(crate) fn pending(&self) -> &Arc<OverlayDevice<Arc<dyn Device>>> {
        &self.pending
    }

    /// The device with what was appended and is not in its place yet: what a reader has to see.
    pub fn view(&self) -> Arc<dyn Device> {
        self.pending.clone()
    }

    fn style(&self) -> Style {
        let bit64 = self.journal.superblock.incompat().contains(JournalIncompat::BIT64);
        Style { block_size: self.volume.block_size(), bit64 }
    }

    /// Whether an empty log has room for a transaction.
    ///
    /// # Errors
    /// [`CommitError::TooLarge`], [`CommitError::Features`] if its block numbers are too large,
    /// [`CommitError::OwnBlock`].
    pub fn check_room(&self, transaction: &Transaction) -> Result<(), CommitError> {
        let slot = self.slot();
        if let Some(own) = transaction.blocks.keys().find(|blkno| self.contains(**blkno)) {
            return Err(CommitError::OwnBlock { slot, blkno: *own });
        }
        let superblock = &self.journal.superblock;
        let needed = self.blocks_of(transaction)?;
        let available = u64::from(superblock.s_maxlen - superblock.s_first);
        if needed > available {
            return Err(CommitError::TooLarge { slot, needed, available });
        }
        let style = self.style();
        if !style.bit64 && u32::try_from(transaction.largest().0).is_err() {
            let features = superblock.s_feature_incompat;
            return Err(CommitError::Features { slot, features });
        }
        Ok(())
    }

    fn blocks_of(&self, transaction: &Transaction) -> Result<u64, CommitError> {
        transaction.log_blocks(self.style()).map_err(|source| self.cut(source))
    }

    fn cut(&self, source: Truncated) -> CommitError {
        let (slot, blkno) = (self.slot(), self.journal.blkno);
        CommitError::Journal { slot, source: Error::Truncated { blkno, source } }
    }

    /// Checks that the journal's superblock is as it was when the log was opened: a mount of the
    /// slot advances its sequence number.
    ///
    /// # Errors
    /// [`CommitError::Used`]; it cannot be read.
    pub fn check_unused(&self, device: &dyn Device) -> Result<(), CommitError> {
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

    /// The blocks that are written for a transaction, besides those in it.
    pub(crate) fn own_blocks(
        &self,
        transaction: &Transaction,
    ) -> Result<impl Iterator<Item = Blkno> + '_, CommitError> {
        let own = [self.journal.inode.blkno, self.journal.blkno];
        let count = self.blocks_of(transaction)? as usize;
        let log = (self.head..).take(count).filter_map(|index| self.places.place(index));
        Ok(own.into_iter().chain(log))
    }

    /// Writes a transaction to the log, after a checkpoint if there is no room for it.
    ///
    /// # Errors
    /// As [`Log::check_room`]: nothing was written; the device cannot be written.
    pub fn append(
        &mut self,
        device: &dyn Device,
        mut transaction: Transaction,
    ) -> Result<(), CommitError> {
        if transaction.is_empty() {
            return Ok(());
        }
        self.check_room(&transaction)?;
        let needed = self.blocks_of(&transaction)?;
        if u64::from(self.journal.superblock.s_maxlen - self.head) < needed {
            self.checkpoint(device)?;
        }
        // A copy of the inode must not say that there is nothing to replay.
        let own = self.journal.inode.blkno;
        if let Some(block) = transaction.blocks.get(&own).cloned() {
            transaction.blocks.insert(own, self.marked(block.clone(), true)?);
            self.inode = block;
        }
        // A block that is written again is not revoked: a revocation also covers copies in its own
        // transaction.
        transaction.revoked.retain(|blkno| !transaction.blocks.contains_key(blkno));
        self.allow_revocation(device, &transaction)?;
        self.write_log(device, &transaction)?;
        if self.tail.is_none() {
            self.mark(device)?;
            self.write_superblock(device, self.head, self.sequence)?;
            self.tail = Some((self.head, self.sequence));
        }
        self.head += needed as u32;
        self.sequence = self.sequence.wrapping_add(1);
        let bits = self.volume.block_size().bits();
        for revoked in &transaction.revoked {
            self.pending.forget(revoked.0 << bits);
        }
        for (blkno, bytes) in &transaction.blocks {
            self.pending.write_at(bytes, blkno.0 << bits)?;
        }
        Ok(())
    }

    /// Marks the journal's inode: there may be something to replay.
    fn mark(&mut self, device: &dyn Device) -> Result<(), CommitError> {
        if !self.is_marked {
            let block = self.marked(self.journal.inode.block().to_vec(), true)?;
            self.put(device, self.journal.inode.blkno, &block)?;
            self.flush(device)?;
            self.is_marked = true;
        }
        Ok(())
    }

    /// Sets the REVOKE feature of the journal if the transaction revokes blocks.
    fn allow_revocation(
        &mut self,
        device: &dyn Device,
        transaction: &Transaction,
    ) -> Result<(), CommitError> {
        let revoke = JournalIncompat::REVOKE;
        if transaction.revoked.is_empty() || self.journal.superblock.incompat().contains(revoke) {
            return Ok(());
        }
        self.journal.superblock.s_feature_incompat |= revoke.bits();
        match self.tail {
            Some((start, sequence)) => self.write_superblock(device, start, sequence),
            None => Ok(()),
        }
    }

    /// Writes everything that was appended to its place. The log is empty then.
    ///
    /// # Errors
    /// The device cannot be written: the log still has all of it.
    pub fn checkpoint(&mut self, device: &dyn Device) -> Result<(), CommitError> {
        if self.tail.is_none() {
            return Ok(());
        }
        let bits = self.volume.block_size().bits();
        self.volume.announce_changes(&self.pending, device)?;
        self.pending
            .for_each_change(|offset, bytes| self.put(device, Blkno(offset >> bits), bytes))?;
        self.flush(device)?;
        self.write_superblock(device, 0, self.sequence)?;
        (self.head, self.tail) = (self.journal.superblock.s_first, None);
        self.pending.clear();
        Ok(())
    }

    /// Checkpoints, and marks the journal clean unless it was dirty when the log was opened.
    ///
    /// # Errors
    /// The device cannot be written.
    pub fn close(mut self, device: &dyn Device) -> Result<(), CommitError> {
        self.checkpoint(device)?;
        if self.is_marked {
            let after = self.marked(self.inode.clone(), self.journal.is_dirty())?;
            self.put(device, self.journal.inode.blkno, &after)?;
            self.flush(device)?;
        }
        Ok(())
    }

    /// Writes the blocks of a transaction from the head of the log on, consecutive blocks as one
    /// write. The commit block of all but the first transaction is written when the others are
    /// there.
    fn write_log(&self, device: &dyn Device, transaction: &Transaction) -> Result<(), CommitError> {
        let size = self.volume.block_size().size();
        let mut index = self.head;
        let mut run: Option<(Blkno, Vec<u8>)> = None;
        let count = self.blocks_of(transaction)?;
        let last = self.head + count as u32 - 1;
        // A replay ends before a transaction without a commit block, so that block must not be
        // there before the others. Nothing points to the first transaction of an empty log yet.
        let apart = self.tail.is_some();
        transaction
            .for_each_log_block(self.style(), self.sequence, |bytes| {
                let place = self.places.place(index).ok_or_else(|| self.hole(index))?;
                let follows = |(start, run): &(Blkno, Vec<u8>)| {
                    start.0 + (run.len() / size) as u64 == place.0 && run.len() < MAX_WRITE
                };
                let is_apart = apart && index == last;
                match &mut run {
                    Some(run) if follows(run) && !is_apart => run.1.extend_from_slice(bytes),
                    _ => {
                        if let Some((start, bytes)) = run.replace((place, bytes.to_vec())) {
                            self.put(device, start, &bytes)?;
                        }
                        if is_apart {
                            self.flush(device)?;
                        }
                    }
                }
                index += 1;
                Ok::<_, LogError>(())
            })
            .map_err(|err| match err {
                LogError::Commit(err) => err,
                LogError::Cut(source) => self.cut(source),
            })?;
        if let Some((start, bytes)) = run {
            self.put(device, start, &bytes)?;
        }
        self.flush(device)
    }

    fn hole(&self, index: u32) -> CommitError {
        let source = self.journal.inode.invalid("l_next_free_rec", index, "no hole");
        CommitError::Journal { slot: self.slot(), source }
    }

    /// Records that the log begins at block `start` with transaction `sequence`, or is empty if
    /// `start` is 0.
    fn write_superblock(
        &self,
        device: &dyn Device,
        start: u32,
        sequence: u32,
    ) -> Result<(), CommitError> {
        let (slot, blkno) = (self.slot(), self.journal.blkno);
        let wrong = |source| CommitError::Journal { slot, source };
        let mut block = self.volume.read_block(blkno).map_err(wrong)?;
        let mut superblock = self.journal.superblock.clone();
        superblock.s_start = start;
        superblock.s_sequence = sequence;
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
            Dinode::stamp(&mut block);
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

/// Why a transaction cannot be written.
enum LogError {
    Commit(CommitError),
    Cut(Truncated),
}

impl From<Truncated> for LogError {
    fn from(cut: Truncated) -> Self {
        Self::Cut(cut)
    }
}

impl From<CommitError> for LogError {
    fn from(err: CommitError) -> Self {
        Self::Commit(err)
    }
}
