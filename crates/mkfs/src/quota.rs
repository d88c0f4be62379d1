//! The quota files: one for the volume and one a slot, for users and for groups.

use std::collections::BTreeMap;

use ocfs2_format::dinode::Dinode;
pub(crate) use ocfs2_format::quota::QuotaKind;
use ocfs2_format::quota::{
    GlobalInfo, LeafHeader, LocalInfo, QuotaEntry, QuotaHeader, check_offset, tree_depth,
    tree_index, usable_size,
};
use ocfs2_format::{Blkno, BlockSize, Structure, Truncated};

use crate::contents::{Block, Blocks};
use crate::file::FileData;
use crate::plan::Plan;

/// The quota files of one kind.
#[derive(Clone, Debug)]
pub(crate) struct QuotaFiles {
    pub(crate) kind: QuotaKind,
    pub(crate) global: FileData,
    /// By slot.
    pub(crate) locals: Vec<FileData>,
}

/// What users and groups use: inodes and bytes, by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    users: BTreeMap<u32, (u64, u64)>,
    groups: BTreeMap<u32, (u64, u64)>,
}

impl Usage {
    /// Counts an inode and its clusters, as the kernel does.
    pub(crate) fn charge(&mut self, dinode: &Dinode, cluster_size: u64) {
        for (ids, id) in [(&mut self.users, dinode.i_uid), (&mut self.groups, dinode.i_gid)] {
            let (inodes, bytes) = ids.entry(id).or_default();
            *inodes += 1;
            *bytes += u64::from(dinode.i_clusters) * cluster_size;
        }
    }
}

/// Bytes of a leaf of the tree that are not entries.
const LEAF_HEADER: usize = LeafHeader::SIZE;

impl Plan {
    fn quota_files(&self, kind: QuotaKind) -> Option<&QuotaFiles> {
        self.quotas.iter().find(|files| files.kind == kind)
    }

    pub(crate) fn put_global_quota(
        &self,
        dinode: Dinode,
        kind: QuotaKind,
        blocks: &mut Blocks,
    ) -> Result<(), Truncated> {
        let count = self.global_quota(kind).len() as u64;
        let size = count * u64::from(self.layout.geometry.block_size.bytes());
        match self.quota_files(kind) {
            Some(files) => self.put_file(dinode, &files.global, size, blocks),
            None => Ok(()),
        }
    }

    pub(crate) fn put_local_quota(
        &self,
        dinode: Dinode,
        kind: QuotaKind,
        slot: usize,
        blocks: &mut Blocks,
    ) -> Result<(), Truncated> {
        let size = 2 * u64::from(self.layout.geometry.block_size.bytes());
        match self.quota_files(kind) {
            Some(files) => self.put_file(dinode, &files.locals[slot], size, blocks),
            None => Ok(()),
        }
    }

    /// The blocks of a global file: its header, the tree, and the leaves with the entries by id.
    ///
    /// A volume without files has one entry, for what the root uses.
    pub(crate) fn global_quota(&self, kind: QuotaKind) -> Vec<Vec<u8>> {
        let block_size = self.layout.geometry.block_size;
        let mut usage = match kind {
            QuotaKind::User => self.usage.users.clone(),
            QuotaKind::Group => self.usage.groups.clone(),
        };
        if usage.is_empty() {
            let bytes = u64::from(self.root.data.clusters()) * self.layout.cluster_size();
            usage.insert(0, (1, bytes));
        }
        let per_leaf = (usable_size(block_size) - LEAF_HEADER) / QuotaEntry::SIZE;
        let entries: Vec<_> = usage.into_iter().collect();
        // The header and the root; blocks of the tree and leaves follow as they are needed.
        let mut blocks = vec![vec![0; block_size.size()]; 2];
        let mut first_free = 0;
        for entries in entries.chunks(per_leaf.max(1)) {
            let mut leaf = vec![0; block_size.size()];
            let header = LeafHeader { dqdh_entries: entries.len() as u16, ..Default::default() };
            let _ = header.encode(&mut leaf);
            let rooms = leaf[LEAF_HEADER..].chunks_exact_mut(QuotaEntry::SIZE);
            for (room, (id, (inodes, bytes))) in rooms.zip(entries) {
                let entry = QuotaEntry {
                    dqb_id: *id,
                    dqb_curinodes: *inodes,
                    dqb_curspace: *bytes,
                    ..Default::default()
                };
                let _ = entry.encode(room);
            }
            let mut place = None;
            for (id, _) in entries {
                lead_to(&mut blocks, block_size, *id, &mut place);
            }
            let place = place.unwrap_or_default();
            if entries.len() < per_leaf {
                first_free = place;
            }
            if let Some(block) = blocks.get_mut(place as usize) {
                *block = leaf;
            }
        }
        let info = GlobalInfo {
            dqi_blocks: blocks.len() as u32,
            dqi_free_entry: first_free,
            ..GlobalInfo::default()
        };
        let header = QuotaHeader { dqh_magic: kind.global_magic(), dqh_version: 0 };
        let _ = header.encode(&mut blocks[0]);
        let _ = info.encode(&mut blocks[0][QuotaHeader::SIZE..]);
        blocks
    }

    /// The contents of all quota files.
    pub(crate) fn quota_blocks(&self, blocks: &mut Blocks) -> Result<(), Truncated> {
        for files in &self.quotas {
            let mut put = |file: &FileData, index: u32, fill: &dyn Fn(&mut [u8]) -> _| {
                let place = file.block(&self.layout.geometry, index.into());
                self.put_quota_block(place.unwrap_or_default(), blocks, fill)
            };
            for (index, bytes) in (0..).zip(self.global_quota(files.kind)) {
                put(&files.global, index, &|block| {
                    block.copy_from_slice(&bytes);
                    Ok(())
                })?;
            }
            for local in &files.locals {
                put(local, 0, &|block| {
                    let dqh_magic = files.kind.local_magic();
                    QuotaHeader { dqh_magic, dqh_version: 0 }.encode(block)?;
                    let dqi_flags = LocalInfo::CLEAN;
                    let info = LocalInfo { dqi_flags, dqi_chunks: 1, dqi_blocks: 2 };
                    info.encode(&mut block[QuotaHeader::SIZE..])
                })?;
                // An empty chunk: nothing used, and no data block that could be free.
                put(local, 1, &|_| Ok(()))?;
            }
        }
        Ok(())
    }

    fn put_quota_block(
        &self,
        blkno: Blkno,
        blocks: &mut Blocks,
        fill: &dyn Fn(&mut [u8]) -> Result<(), Truncated>,
    ) -> Result<(), Truncated> {
        let mut block = vec![0; self.layout.block_size()];
        fill(&mut block)?;
        self.stamp(&mut block, check_offset(self.layout.geometry.block_size));
        blocks.insert(blkno, Block::Bytes(block));
        Ok(())
    }
}

/// Makes the tree lead from its root in block 1 to the leaf that has the entry of `id`: the one
/// in `leaf`, or a new one, which is put there.
fn lead_to(blocks: &mut Vec<Vec<u8>>, block_size: BlockSize, id: u32, leaf: &mut Option<u32>) {
    let mut at = 1;
    let depth = tree_depth(block_size);
    for level in 0..depth {
        let reference = 4 * tree_index(block_size, id, level) as usize;
        let Some(bytes) = blocks.get(at).and_then(|block| block.get(reference..reference + 4))
        else {
            return;
        };
        let mut next = bytes.iter().rev().fold(0, |next, byte| next << 8 | u32::from(*byte));
        if next == 0 {
            let known = leaf.filter(|_| level + 1 == depth);
            next = known.unwrap_or(blocks.len() as u32);
            if known.is_none() {
                blocks.push(vec![0; block_size.size()]);
            }
            blocks[at][reference..reference + 4].copy_from_slice(&next.to_le_bytes());
        }
        at = next as usize;
    }
    *leaf = Some(at as u32);
}
