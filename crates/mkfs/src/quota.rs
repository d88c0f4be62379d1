//! The quota files: one for the volume and one a slot, for users and for groups.

use ocfs2_format::dinode::Dinode;
pub(crate) use ocfs2_format::quota::QuotaKind;
use ocfs2_format::quota::{
    GlobalInfo, LeafHeader, LocalInfo, QuotaEntry, QuotaHeader, check_offset, tree_depth,
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

/// Blocks of the global file: its header, the way through the tree to the entry of id 0,
/// and the leaf that holds it.
pub(crate) fn global_blocks(block_size: BlockSize) -> u64 {
    1 + u64::from(tree_depth(block_size)) + 1
}

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
        let block_size = self.layout.geometry.block_size;
        let size = global_blocks(block_size) * u64::from(block_size.bytes());
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

    /// The contents of all quota files.
    pub(crate) fn quota_blocks(&self, blocks: &mut Blocks) -> Result<(), Truncated> {
        let block_size = self.layout.geometry.block_size;
        let leaf = 1 + tree_depth(block_size);
        for files in &self.quotas {
            let mut put = |file: &FileData, index: u32, fill: &dyn Fn(&mut [u8]) -> _| {
                let place = file.block(&self.layout.geometry, index.into());
                self.put_quota_block(place.unwrap_or_default(), blocks, fill)
            };
            put(&files.global, 0, &|block| {
                let dqh_magic = files.kind.global_magic();
                QuotaHeader { dqh_magic, dqh_version: 0 }.encode(block)?;
                let info = GlobalInfo {
                    dqi_blocks: leaf + 1,
                    dqi_free_entry: leaf,
                    ..GlobalInfo::default()
                };
                info.encode(&mut block[QuotaHeader::SIZE..])
            })?;
            // From the root in block 1 on, the way to id 0 is the first reference.
            for index in 1..leaf {
                put(&files.global, index, &|block| {
                    block[..4].copy_from_slice(&(index + 1).to_le_bytes());
                    Ok(())
                })?;
            }
            put(&files.global, leaf, &|block| {
                LeafHeader { dqdh_entries: 1, ..Default::default() }.encode(block)?;
                let root_bytes = u64::from(self.root.data.clusters()) * self.layout.cluster_size();
                let entry =
                    QuotaEntry { dqb_curinodes: 1, dqb_curspace: root_bytes, ..Default::default() };
                entry.encode(&mut block[LeafHeader::SIZE..])
            })?;
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
