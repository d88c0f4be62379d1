//! Reading a log: which transactions are complete, and the last copy of each block.

use std::collections::{BTreeMap, HashMap};

use ocfs2_format::journal::{
    BlockType, CommitBlock, JournalHeader, JournalIncompat, JournalTag, LogChecksums, TagFlags,
    TransactionChecksum, revoked, tags,
};
use ocfs2_format::{Blkno, Structure};

use super::places::Places;
use super::{Copy, LogDamage, LogEnd, Replay};
use crate::{Error, Journal, Volume};

/// A log that is being read.
pub(super) struct Log<'v> {
    volume: &'v Volume,
    journal: Journal,
    places: Places,
    /// With CSUM_V2 or CSUM_V3.
    checksums: Option<LogChecksums>,
}

/// A transaction as it is gathered, before it is known to be complete.
#[derive(Default)]
struct Transaction {
    copies: Vec<(Blkno, Copy)>,
    revoked: Vec<Blkno>,
    checksum: TransactionChecksum,
    damage: Option<LogDamage>,
}

/// What complete transactions add up to.
#[derive(Default)]
struct Found {
    transactions: u32,
    /// Every copy with its transaction, in the order of the log.
    copies: Vec<(u32, Blkno, Copy)>,
    /// The last transaction that revoked a block.
    revoked: HashMap<Blkno, u32>,
}

impl<'v> Log<'v> {
    pub(super) fn new(volume: &'v Volume, journal: Journal) -> Result<Self, Error> {
        let places = Places::new(volume, &journal)?;
        let csum = JournalIncompat::CSUM_V2 | JournalIncompat::CSUM_V3;
        let checked = journal.superblock.incompat().intersects(csum);
        let checksums = checked.then(|| LogChecksums::new(&journal.superblock.s_uuid));
        Ok(Self { volume, journal, places, checksums })
    }

    /// Where block `index` of the log is on the volume.
    fn place(&self, index: u32) -> Result<Blkno, Error> {
        self.places.place(index).ok_or_else(|| {
            self.journal.inode.invalid("l_next_free_rec", index, "no hole at this block")
        })
    }

    fn next(&self, index: u32) -> u32 {
        let superblock = &self.journal.superblock;
        if index + 1 >= superblock.s_maxlen { superblock.s_first } else { index + 1 }
    }

    /// Whether a journal may change the block.
    fn is_destination(&self, blkno: Blkno) -> bool {
        self.volume.geometry().is_valid_block(blkno) && !self.places.contains(blkno)
    }

    /// Reads the log to its end.
    pub(super) fn scan(self) -> Result<Replay, Error> {
        let superblock = self.journal.superblock.clone();
        let mut found = Found::default();
        let mut sequence = superblock.s_sequence;
        let mut end = LogEnd::Complete;
        if superblock.s_start != 0 {
            let mut at = superblock.s_start;
            // Each block of the log is looked at once at most, however it is linked.
            let mut left = superblock.s_maxlen;
            let mut transaction = Transaction::default();
            while left > 0 {
                let block = self.volume.read_block(self.place(at)?)?;
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
                    Some(BlockType::Revoke) => self.revoke(&block, &mut transaction),
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
        }
        Ok(Replay {
            transactions: found.transactions,
            end,
            copies: found.last_copies(),
            next_sequence: sequence,
            journal: self.journal,
        })
    }

    /// Takes in a descriptor and the blocks behind it; gives the place behind these.
    fn descriptor(
        &self,
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
            let place = self.place(at)?;
            let copy = Copy { at: place, escaped: tag.flags.contains(TagFlags::ESCAPE) };
            self.logged(&tag, sequence, place, transaction)?;
            transaction.copies.push((tag.blkno, copy));
            if !self.is_destination(tag.blkno) {
                transaction.damage.get_or_insert(LogDamage::Destination(tag.blkno));
            }
            at = self.next(at);
            left -= 1;
        }
        Ok((at, left))
    }

    /// Takes a logged block into the checksums.
    ///
    /// The kernel sets the journal's CHECKSUM feature on the disk only some time after it
    /// has begun to write checksums, so they are always made.
    fn logged(
        &self,
        tag: &JournalTag,
        sequence: u32,
        place: Blkno,
        transaction: &mut Transaction,
    ) -> Result<(), Error> {
        let block = self.volume.read_block(place)?;
        transaction.checksum.update(&block);
        let format = self.journal.superblock.tag_format();
        let holds = |checksums: LogChecksums| checksums.tag_holds(tag, format, sequence, &block);
        if self.checksums.is_some_and(|checksums| !holds(checksums)) {
            transaction.damage.get_or_insert(LogDamage::Checksum);
        }
        Ok(())
    }

    fn revoke(&self, block: &[u8], transaction: &mut Transaction) {
        if self.checksums.is_some_and(|checksums| !checksums.tail_holds(block)) {
            transaction.damage.get_or_insert(LogDamage::Checksum);
            return;
        }
        let bit64 = self.journal.superblock.incompat().contains(JournalIncompat::BIT64);
        transaction.revoked.extend(revoked(block, bit64));
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
        self.copies.extend(copies.map(|(blkno, copy)| (sequence, blkno, copy)));
        for blkno in transaction.revoked {
            self.revoked.insert(blkno, sequence);
        }
    }

    /// The last copy of each block that was not revoked by its transaction or a later one.
    fn last_copies(self) -> BTreeMap<Blkno, Copy> {
        let is_revoked = |sequence: u32, blkno: &Blkno| {
            self.revoked.get(blkno).is_some_and(|revoked| {
                // Sequence numbers wrap.
                revoked.wrapping_sub(sequence) as i32 >= 0
            })
        };
        let copies = self.copies.iter();
        let live = copies.filter(|(sequence, blkno, _)| !is_revoked(*sequence, blkno));
        live.map(|(_, blkno, copy)| (*blkno, *copy)).collect()
    }
}
