//! One transaction, and how it lies in the log.

use std::collections::{BTreeMap, BTreeSet};

use ocfs2_format::journal::{
    BlockType, CommitBlock, JBD2_MAGIC, JournalHeader, JournalTag, TagFlags, write_descriptor,
    write_revoked,
};
use ocfs2_format::{Blkno, BlockSize, Structure, Truncated};

/// Blocks that reach the volume together.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// The blocks and their new contents.
    pub blocks: BTreeMap<Blkno, Vec<u8>>,
    /// Blocks of earlier transactions that a replay must not write any more: they were freed, and
    /// now hold file contents that bypassed the journal.
    pub revoked: BTreeSet<Blkno>,
}

/// How the blocks of a log are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub block_size: BlockSize,
    /// Block numbers have 64 bits.
    pub bit64: bool,
}

impl Transaction {
    /// Whether there is nothing to be written.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.revoked.is_empty()
    }

    /// The largest block it names.
    pub(super) fn largest(&self) -> Blkno {
        let blocks = self.blocks.keys().next_back();
        blocks.max(self.revoked.iter().next_back()).copied().unwrap_or_default()
    }

    /// Number of blocks of the log it takes.
    pub(super) fn log_blocks(&self, style: Style) -> Result<u64, Truncated> {
        let mut count = 0;
        self.for_each_log_block(style, 0, |_| {
            count += 1;
            Ok::<_, Truncated>(())
        })?;
        Ok(count)
    }

    /// Calls `put` with the blocks of the log, in order; the last one is the commit block.
    pub(super) fn for_each_log_block<E: From<Truncated>>(
        &self,
        style: Style,
        sequence: u32,
        mut put: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let size = style.block_size.size();
        let mut block = vec![0; size];
        let revoked: Vec<Blkno> = self.revoked.iter().copied().collect();
        let mut revoked = &revoked[..];
        while !revoked.is_empty() {
            let count = write_revoked(&mut block, sequence, style.bit64, revoked)?;
            put(&block)?;
            revoked = revoked.get(count..).unwrap_or_default();
        }
        let tags: Vec<_> = self.blocks.iter().map(|(blkno, bytes)| tag(*blkno, bytes)).collect();
        let mut contents = self.blocks.values();
        let mut tags = &tags[..];
        while !tags.is_empty() {
            let count = write_descriptor(&mut block, sequence, style.bit64, tags)?;
            put(&block)?;
            let (these, rest) = tags.split_at(count);
            for (tag, bytes) in these.iter().zip(contents.by_ref()) {
                if tag.flags.contains(TagFlags::ESCAPE) {
                    block.copy_from_slice(bytes);
                    block[..4].fill(0);
                    put(&block)?;
                } else {
                    put(bytes)?;
                }
            }
            tags = rest;
        }
        block.fill(0);
        let header = JournalHeader::new(BlockType::Commit, sequence);
        CommitBlock { header, ..Default::default() }.encode(&mut block)?;
        put(&block)
    }
}

/// A block that begins like one of the log itself is escaped.
fn tag(blkno: Blkno, bytes: &[u8]) -> JournalTag {
    let escaped = bytes.starts_with(&JBD2_MAGIC.to_be_bytes());
    let flags = if escaped { TagFlags::ESCAPE } else { TagFlags::empty() };
    JournalTag { blkno, flags, checksum: 0 }
}
