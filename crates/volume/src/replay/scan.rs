//! Reading a log: which transactions are complete, and the last copy of each block.
//!
//! Memory depends on the number of copies. Revoked blocks are not kept, as there may be hundreds
//! for each block of the log. The places of the revoke blocks are kept, and they are read again at
//! the end.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use ocfs2_format::journal::{
    BlockType, CommitBlock, JournalHeader, JournalIncompat, JournalTag, LogChecksums, TagFlags,
    TransactionChecksum, revoked, tags,
};
use ocfs2_format::superblock::SUPERBLOCK_BLKNO;
use ocfs2_format::{Blkno, Structure};

use super::reader::Reader;
use super::{Copy, LogDamage, LogEnd, Replay};
use crate::{Error, Journal, Volume};

/// A log that is being read.
pub(super) struct Log<'v> {
    volume: &'v Volume,
    journal: Journal,
    reader: Reader<'v>,
    /// With CSUM_V2 or CSUM_V3.
    checksums: Option<LogChecksums>,
}

/// A transaction as it is gathered, before it is known to be complete.
#[derive(Default)]
struct Transaction {
    copies: Vec<(Blkno, Copy)>,
    /// The blocks of the log that name revoked ones.
    revokes: Vec<u32>,
    checksum: TransactionChecksum,
    damage: Option<LogDamage>,
}

/// What complete transactions add up to.
#[derive(Default)]
struct Found {
    transactions: u32,
    /// The last copy of each block, with its transaction.
    copies: BTreeMap<Blkno, (u32, Copy)>,
    /// The blocks of the log that name revoked ones, with their transaction.
    revokes: Vec<(u32, u32)>,
}

impl<'v> Log<'v> {
    pub(super) fn new(volume: &'v Volume, journal: Journal) -> Result<Self, Error> {
        let reader = Reader::new(volume, &journal)?;
        let csum = JournalIncompat::CSUM_V2 | JournalIncompat::CSUM_V3;
        let checked = journal.superblock.incompat().intersects(csum);
        let checksums = checked.then(|| LogChecksums::new(&journal.superblock.s_uuid));
        Ok(Self { volume, journal, reader, checksums })
    }

    /// Block `index` of the log, and where on the volume it is.
    fn block(&mut self, index: u32) -> Result<(Blkno, Vec<u8>), Error> {
        let block = self.reader.block(index)?.map(|(blkno, block)| (blkno, block.to_vec()));
        block.ok_or_else(|| {
            self.journal.inode.invalid("l_next_free_rec", index, "no hole at this block")
        })
    }

    fn next(&self, index: u32) -> u32 {
        let superblock = &self.journal.superblock;
        if index + 1 >= superblock.s_maxlen { superblock.s_first } else { index + 1 }
    }

    /// Whether a journal may change the block to this: the superblock may change only together with
    /// the size of the volume or its number of slots.
    fn is_destination(&self, blkno: Blkno, logged: &[u8]) -> bool {
        match blkno {
            SUPERBLOCK_BLKNO => self.volume.is_own_superblock(logged),
            _ => self.volume.geometry().is_valid_block(blkno) && !self.reader.contains(blkno),
        }
    }

    /// Reads the log to its end; `None` once `interrupted` returns true.
    pub(super) fn scan(mut self, interrupted: &dyn Fn() -> bool) -> Result<Option<Replay>, Error> {
        let superblock = self.journal.superblock.clone();
        let mut found = Found::default();
        let mut sequence = superblock.s_sequence;
        let mut end = LogEnd::Complete;
        if superblock.s_start != 0 {
            let mut at = superblock.s_start;
            // Each block of the log is looked at once at most, wherever the log wraps around.
            let begin = superblock.s_first.min(superblock.s_start);
            let mut left = superblock.s_maxlen.saturating_sub(begin);
            let mut transaction = Transaction::default();
            while left > 0 {
                if interrupted() {
                    return Ok(None);
                }
                let number = at;
                let (_, block) = self.block(number)?;
                let Ok(header) = JournalHeader::decode(&block) else { break };
                if header.h_sequence != sequence {
                    break;
                }
                at = self.next(at);
                left -= 1;
                match header.block_type() {
                    Some(BlockType::Descriptor) => {
                        (at, left) =
                            self.descriptor(&block, sequence, (at, left), &mut transaction)?;
                    }
                    Some(BlockType::Revoke) => self.revoke(number, &block, &mut transaction),
                    Some(BlockType::Commit) => {
                        let transaction = std::mem::take(&mut transaction);
                        if let Some(damage) = self.damage(&block, &transaction) {
                            end = LogEnd::Damaged { sequence, damage };
                            break;
                        }
                        found.add(sequence, transaction);
                        sequence = sequence.wrapping_add(1);
                    }
                    _ => break,
                }
            }
            if end == LogEnd::Complete
                && let Some(later) = self.committed_later(sequence, (at, left), interrupted)
            {
                end = LogEnd::Damaged { sequence, damage: LogDamage::Torn(later) };
            }
        }
        for (revoked_by, number) in std::mem::take(&mut found.revokes) {
            if interrupted() {
                return Ok(None);
            }
            let (_, block) = self.block(number)?;
            for blkno in revoked(&block, self.is_bit64()) {
                found.revoke(blkno, revoked_by);
            }
        }
        Ok(Some(Replay {
            transactions: found.transactions,
            end,
            copies: found.copies.into_iter().map(|(blkno, (_, copy))| (blkno, copy)).collect(),
            next_sequence: sequence,
            journal: self.journal,
        }))
    }

    /// The first transaction from `sequence` on that is committed in the `left` blocks from `at`
    /// on. In a sound log at most the last transaction lacks its commit block. Numbers only grow,
    /// so those from the log's previous round are lower.
    fn committed_later(
        &mut self,
        sequence: u32,
        (mut at, left): (u32, u32),
        interrupted: &dyn Fn() -> bool,
    ) -> Option<u32> {
        let superblock = &self.journal.superblock;
        let most = superblock.s_maxlen;
        // With this feature, a commit block may be there before what it commits.
        let is_async = superblock.incompat().contains(JournalIncompat::ASYNC_COMMIT);
        let own = u32::from(is_async);
        for _ in 0..left {
            if interrupted() {
                return None;
            }
            let header = self.block(at).ok().map(|(_, block)| JournalHeader::decode(&block));
            at = self.next(at);
            let Some(Ok(header)) = header else { continue };
            let is_later = (own..most).contains(&header.h_sequence.wrapping_sub(sequence));
            if is_later && header.block_type() == Some(BlockType::Commit) {
                return Some(header.h_sequence);
            }
        }
        None
    }

    fn is_bit64(&self) -> bool {
        self.journal.superblock.incompat().contains(JournalIncompat::BIT64)
    }

    /// Takes in a descriptor and the blocks after it. Returns the place after these, and how many
    /// blocks are left.
    fn descriptor(
        &mut self,
        block: &[u8],
        sequence: u32,
        (mut at, mut left): (u32, u32),
        transaction: &mut Transaction,
    ) -> Result<(u32, u32), Error> {
        let format = self.journal.superblock.tag_format();
        transaction.checksum.update(block);
        if self.checksums.is_some_and(|checksums| !checksums.tail_holds(block)) {
            transaction.damage.get_or_insert(LogDamage::Checksum);
        }
        for tag in tags(block, format) {
            if left == 0 {
                break;
            }
            let (place, logged) = self.block(at)?;
            let copy = Copy { at: place, escaped: tag.flags.contains(TagFlags::ESCAPE) };
            self.logged(&tag, sequence, &logged, transaction);
            transaction.copies.push((tag.blkno, copy));
            if !self.is_destination(tag.blkno, &logged) {
                transaction.damage.get_or_insert(LogDamage::Destination(tag.blkno));
            }
            at = self.next(at);
            left -= 1;
        }
        Ok((at, left))
    }

    /// Adds a logged block to the checksums.
    ///
    /// The kernel sets the journal's CHECKSUM feature on the disk only some time after it has begun
    /// to write checksums, so they are always computed.
    fn logged(&self, tag: &JournalTag, sequence: u32, block: &[u8], transaction: &mut Transaction) {
        transaction.checksum.update(block);
        let format = self.journal.superblock.tag_format();
        let holds = |checksums: LogChecksums| checksums.tag_holds(tag, format, sequence, block);
        if self.checksums.is_some_and(|checksums| !holds(checksums)) {
            transaction.damage.get_or_insert(LogDamage::Checksum);
        }
    }

    fn revoke(&self, number: u32, block: &[u8], transaction: &mut Transaction) {
        if self.checksums.is_some_and(|checksums| !checksums.tail_holds(block)) {
            transaction.damage.get_or_insert(LogDamage::Checksum);
            return;
        }
        transaction.revokes.push(number);
    }

    /// What is wrong with a transaction that `block` commits.
    fn damage(&self, block: &[u8], transaction: &Transaction) -> Option<LogDamage> {
        let holds = match self.checksums {
            Some(checksums) => checksums.commit_holds(block),
            None => match CommitBlock::decode(block) {
                Ok(commit) => match commit.checksum() {
                    Some(stored) => stored == transaction.checksum.value(),
                    None => commit.is_unchecked(),
                },
                Err(_) => false,
            },
        };
        if holds { transaction.damage } else { Some(LogDamage::Checksum) }
    }
}

impl Found {
    fn add(&mut self, sequence: u32, transaction: Transaction) {
        self.transactions += 1;
        let copies = transaction.copies.into_iter();
        self.copies.extend(copies.map(|(blkno, copy)| (blkno, (sequence, copy))));
        self.revokes.extend(transaction.revokes.into_iter().map(|number| (sequence, number)));
    }

    /// Drops the copy of a block that a transaction revoked, if the copy is from that transaction
    /// or an earlier one.
    fn revoke(&mut self, blkno: Blkno, revoked_by: u32) {
        if let Entry::Occupied(entry) = self.copies.entry(blkno)
            // Sequence numbers wrap.
            && revoked_by.wrapping_sub(entry.get().0) as i32 >= 0
        {
            entry.remove();
        }
    }
}
