//! The quota files: one for the volume and one per slot, for users and for groups.

use std::collections::BTreeMap;

use ocfs2_format::dinode::Dinode;
pub(crate) use ocfs2_format::quota::QuotaKind;
use ocfs2_format::quota::{GlobalInfo, LocalInfo, QuotaEntry, QuotaHeader, check_offset};
use ocfs2_format::quota_tree::pack_global;
use ocfs2_format::{Blkno, Structure, Truncated};

use crate::contents::{Blocks, NewBlock};
use crate::file::FileData;
use crate::plan::Plan;

/// The quota files of one kind.
#[derive(Clone, Debug)]
pub(crate) struct QuotaFiles {
    pub(crate) kind: QuotaKind,
    pub(crate) global: FileData,
    /// The local files by slot.
    pub(crate) locals: Vec<FileData>,
}

/// Inodes and bytes used by users and groups, by ID.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    users: BTreeMap<u32, (u64, u64)>,
    groups: BTreeMap<u32, (u64, u64)>,
}

impl Usage {
    /// Adds an inode and its clusters, as the kernel counts them.
    pub(crate) fn charge(&mut self, dinode: &Dinode, cluster_size: u64) {
        self.add(dinode, 1, u64::from(dinode.i_clusters) * cluster_size);
    }

    /// Adds the clusters of a directory index, which the kernel counts, too.
    pub(crate) fn charge_index(&mut self, dir: &Dinode, clusters: u32, cluster_size: u64) {
        self.add(dir, 0, u64::from(clusters) * cluster_size);
    }

    fn add(&mut self, owned: &Dinode, more_inodes: u64, more_bytes: u64) {
        for (ids, id) in [(&mut self.users, owned.i_uid), (&mut self.groups, owned.i_gid)] {
            let (inodes, bytes) = ids.entry(id).or_default();
            *inodes += more_inodes;
            *bytes += more_bytes;
        }
    }
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

    /// The blocks of a global file: its header, the tree, and the leaves with the entries by ID.
    ///
    /// A volume without files has one entry, for the usage of the root directory.
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
        let entry = |(dqb_id, (dqb_curinodes, dqb_curspace))| QuotaEntry {
            dqb_id,
            dqb_curinodes,
            dqb_curspace,
            ..QuotaEntry::default()
        };
        let entries: Vec<_> = usage.into_iter().map(entry).collect();
        pack_global(block_size, kind, GlobalInfo::default(), &entries)
    }

    /// Adds the contents of all quota files to the blocks.
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
                // An empty chunk, without entries and without data blocks that could be free.
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
        self.stamp_at(&mut block, check_offset(self.layout.geometry.block_size));
        blocks.insert(blkno, NewBlock::Bytes(block));
        Ok(())
    }
}
