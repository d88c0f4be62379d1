//! The usage of users and groups: counted in pass 1, and compared with what the quota files state.
//!
//! It is counted as the kernel charges it, which was seen on volumes that it wrote: each inode
//! except the system files, but including the root directory, is one inode and the space of its
//! clusters. What attributes take outside the inode is not charged.
//!
//! The clusters of a directory index are charged to the owner that the directory has when it gets
//! them, and stay with that one when the directory is given to another. The C tools leave them out
//! when they count again. So an id may have any part of those of the whole volume.

use std::collections::BTreeMap;

use ocfs2_format::dinode::{DynFeatures, InodeFlags};
use ocfs2_format::dx::DxRoot;
use ocfs2_format::quota::QuotaKind;
use ocfs2_format::{Block, Structure};
use ocfs2_volume::Inode;

use crate::Context;

/// The usage of an id.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Amount {
    /// Inodes.
    pub inodes: i64,
    /// Bytes, without those of directory indexes.
    pub bytes: i64,
}

impl Amount {
    /// Adds another amount; a sum that is too large stays at the largest number.
    pub fn add(&mut self, other: Self) {
        self.inodes = self.inodes.saturating_add(other.inodes);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// The usage of all ids.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    users: BTreeMap<u32, Amount>,
    groups: BTreeMap<u32, Amount>,
    /// Bytes of all directory indexes.
    pub index_bytes: i64,
}

impl Usage {
    /// Charges an inode in use, whose contents have `clusters` clusters, to its owner and its
    /// group, if the volume counts usage.
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

    /// Adds to the usage of an id.
    pub fn add(&mut self, kind: QuotaKind, id: u32, amount: Amount) {
        self.of_mut(kind).entry(id).or_default().add(amount);
    }

    /// Adds another usage.
    pub fn append(&mut self, other: Self) {
        self.index_bytes = self.index_bytes.saturating_add(other.index_bytes);
        for (kind, amounts) in [(QuotaKind::User, other.users), (QuotaKind::Group, other.groups)] {
            for (id, amount) in amounts {
                self.add(kind, id, amount);
            }
        }
    }

    /// Returns the usage of all ids of a kind.
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

    /// Returns the usage of an id of a kind.
    pub fn get(&self, kind: QuotaKind, id: u32) -> Amount {
        self.of(kind).get(&id).copied().unwrap_or_default()
    }
}

/// Returns the clusters of a directory's index, as its root states them; following the index
/// compares them.
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
