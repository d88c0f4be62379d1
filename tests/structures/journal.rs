//! Journals: the contents of their blocks, and replay in memory.

use ocfs2_format::dinode::Dinode;
use ocfs2_format::journal::{
    BlockType, CommitBlock, JBD2_MAGIC, JournalHeader, JournalIncompat, JournalSuperblock,
    TagFlags, tags, write_descriptor,
};
use ocfs2_format::{Blkno, Structure};

use crate::census::Census;

impl Census {
    /// Reads a journal's blocks, and overlays the image with transactions that were not written to
    /// their places.
    pub fn journal(&mut self, blkno: Blkno, block: &[u8]) {
        let dinode = Dinode::decode(block).unwrap();
        let map = self.blocks_of(blkno, block);
        let first = self.image.read(map[0]);
        let journal = self.see::<JournalSuperblock>(&first);
        journal.verify(map[0], self.image.block_size, map.len() as u64).unwrap();
        let bit64 = journal.incompat().contains(JournalIncompat::BIT64);
        let format = journal.tag_format();

        // Blocks that are left from earlier transactions are of the same kinds.
        for at in &map {
            let log = self.image.read(*at);
            let header = JournalHeader::decode(&log).unwrap();
            if header.h_magic != JBD2_MAGIC {
                continue;
            }
            self.see::<JournalHeader>(&log);
            match header.block_type().unwrap() {
                BlockType::Commit => {
                    let commit = self.see::<CommitBlock>(&log);
                    assert!(commit.is_unchecked());
                }
                BlockType::Descriptor => {
                    let tags: Vec<_> = tags(&log, format).collect();
                    assert!(tags.iter().all(|tag| tag.blkno.0 < self.image.blocks));
                    assert!(tags.last().unwrap().flags.contains(TagFlags::LAST_TAG));
                    *self.counts.entry("journal tag").or_default() += tags.len() as u64;
                    let mut written = vec![0; log.len()];
                    let sequence = header.h_sequence;
                    let count = write_descriptor(&mut written, sequence, bit64, &tags).unwrap();
                    assert_eq!(count, tags.len());
                    // The kernel does not clear the rest of the block.
                    let filled = JournalHeader::SIZE + 16 + count * format.tag_size();
                    assert_eq!(written[..filled], log[..filled], "{}", self.image.name);
                }
                other => assert_eq!(other, BlockType::SuperblockV2),
            }
        }

        if dinode.journal_flags() & Dinode::JOURNAL_DIRTY == 0 || journal.s_start == 0 {
            return;
        }
        let log_len = journal.s_maxlen - journal.s_first;
        let place = |position: u32| map[(journal.s_first + position % log_len) as usize];
        let mut position = journal.s_start - journal.s_first;
        let mut sequence = journal.s_sequence;
        let mut transaction = Vec::new();
        loop {
            let log = self.image.read(place(position));
            let header = JournalHeader::decode(&log).unwrap();
            if header.block_type().is_none() || header.h_sequence != sequence {
                break;
            }
            position += 1;
            match header.block_type().unwrap() {
                BlockType::Descriptor => {
                    for tag in tags(&log, format) {
                        let mut copy = self.image.read(place(position));
                        if tag.flags.contains(TagFlags::ESCAPE) {
                            copy[..4].copy_from_slice(&JBD2_MAGIC.to_be_bytes());
                        }
                        transaction.push((tag.blkno, copy));
                        position += 1;
                    }
                }
                BlockType::Commit => {
                    self.add("transaction to be replayed");
                    self.image.logged.extend(transaction.drain(..));
                    sequence = sequence.wrapping_add(1);
                }
                other => panic!("{other:?} in the log"),
            }
        }
    }
}
