//! What users and groups use: counted in pass 1, and compared with what the files state.
//!
//! As the kernel charges it: every inode but the system files, and the root directory, is one
//! inode and the space of its clusters. What attributes take beside the inode is not charged. That
//! this is what the kernel does was seen on volumes it wrote.
//!
//! The clusters of directory indexes are charged to the owner the directory has when it gets
//! them, stay with that one when the directory is given to another, and are left out by the C
//! tools when they count again. So an id may have any part of those of the whole volume.

use std::collections::BTreeMap;

use ocfs2_format::dinode::{DynFeatures, InodeFlags};
use ocfs2_format::dx::DxRoot;
use ocfs2_format::quota::QuotaKind;
use ocfs2_format::{Block, Structure};
use ocfs2_volume::Inode;

use crate::Context;

/// What an id uses.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Amount {
    /// Inodes.
    pub inodes: i64,
    /// Bytes, without those of directory indexes.
    pub bytes: i64,
}

impl Amount {
    /// Adds another amount; what cannot be counted stays as large as can be.
    pub fn add(&mut self, other: Self) {
        self.inodes = self.inodes.saturating_add(other.inodes);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// What all ids use.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    users: BTreeMap<u32, Amount>,
    groups: BTreeMap<u32, Amount>,
    /// Bytes of all directory indexes.
    pub index_bytes: i64,
}

impl Usage {
    /// Charges an inode in use, whose contents have so many clusters, to its owner and its
    /// group, where the volume counts usage.
    pub fn charge(&mut self, context: &Context<'_>, inode: &Inode, clusters: u64) {
        let kinds = [QuotaKind::User, QuotaKind::Group];
        let is_root = inode.blkno == context.volume.superblock().s_root_blkno;
        let is_system = inode.dinode.flags().contains(InodeFlags::SYSTEM);
        if is_system && !is_root
            || kinds.iter().all(|kind| !context.volume.features().has_quota(*kind))
        {
            return;
        }
        let bits = context.geometry().cluster_size.bits();
        let bytes = |clusters: u64| i64::try_from(clusters << bits).unwrap_or(i64::MAX);
        let amount = Amount { inodes: 1, bytes: bytes(clusters) };
        let index_bytes = bytes(index_clusters(context, inode).into());
        self.index_bytes = self.index_bytes.saturating_add(index_bytes);
        self.add(QuotaKind::User, inode.dinode.i_uid, amount);
        self.add(QuotaKind::Group, inode.dinode.i_gid, amount);
    }

    /// Adds to what an id uses.
    pub fn add(&mut self, kind: QuotaKind, id: u32, amount: Amount) {
        self.of_mut(kind).entry(id).or_default().add(amount);
    }

    /// Adds what others use.
    pub fn append(&mut self, other: Self) {
        self.index_bytes = self.index_bytes.saturating_add(other.index_bytes);
        for (kind, amounts) in [(QuotaKind::User, other.users), (QuotaKind::Group, other.groups)] {
            for (id, amount) in amounts {
                self.add(kind, id, amount);
            }
        }
    }

    /// What all ids of a kind use.
    pub fn of(&self, kind: QuotaKind) -> &BTreeMap<u32, Amount> {
        match kind {
            QuotaKind::User => &self.users,
            QuotaKind::Group => &self.groups,
        }
    }

    fn of_mut(&mut self, kind: QuotaKind) -> &mut BTreeMap<u32, Amount> {
        match kind {
            QuotaKind::User => &mut self.users,
            QuotaKind::Group => &mut self.groups,
        }
    }

    /// What an id uses of a kind.
    pub fn get(&self, kind: QuotaKind, id: u32) -> Amount {
        self.of(kind).get(&id).copied().unwrap_or_default()
    }
}

/// Clusters of a directory's index, as its root states them; pass 2 compares them.
fn index_clusters(context: &Context<'_>, inode: &Inode) -> u32 {
    let is_indexed = inode.dinode.dyn_features().contains(DynFeatures::INDEXED_DIR);
    let blkno = inode.dinode.i_dx_root;
    if !is_indexed || !context.geometry().is_valid_block(blkno) {
        return 0;
    }
    let block = context.read_block::<DxRoot>(blkno);
    let root = block.ok().and_then(|block| DxRoot::decode(&block.bytes).ok());
    root.filter(|root| root.dr_signature == DxRoot::SIGNATURE).map_or(0, |root| root.dr_clusters)
}
