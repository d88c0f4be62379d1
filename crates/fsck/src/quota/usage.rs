//! What users and groups use: counted in pass 1, and compared with what the files state.
//!
//! As the kernel charges it: every inode but the system files, and the root directory, is one
//! inode and the space of its clusters. What attributes take beside the inode is not charged. That
//! this is what the kernel does was seen on volumes it wrote.
//!
//! The clusters of directory indexes are charged to the owner the directory has when it gets
//! them, stay with that one when the directory is given to another, and are left out by the C
//! tools when they count again. So an id may have any part of those of the whole volume.

use std::collections::{BTreeMap, BTreeSet};

use ocfs2_format::dinode::{DynFeatures, InodeFlags};
use ocfs2_format::dx::DxRoot;
use ocfs2_format::quota::{QuotaEntry, QuotaKind};
use ocfs2_format::{Block, Structure};
use ocfs2_volume::Inode;

use super::file::QuotaFile;
use crate::codes::quota as codes;
use crate::start::has_quota;
use crate::{Context, Finding};

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
    index_bytes: i64,
}

impl Usage {
    /// Charges an inode in use, whose contents have so many clusters, to its owner and its
    /// group, where the volume counts usage.
    pub fn charge(&mut self, context: &Context<'_>, inode: &Inode, clusters: u64) {
        let kinds = [QuotaKind::User, QuotaKind::Group];
        let is_root = inode.blkno == context.volume.superblock().s_root_blkno;
        let is_system = inode.dinode.flags().contains(InodeFlags::SYSTEM);
        if is_system && !is_root || kinds.iter().all(|kind| !has_quota(context.volume, *kind)) {
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

    fn get(&self, kind: QuotaKind, id: u32) -> Amount {
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

/// Whether what is stored for an id is what was counted, or can have come of it.
///
/// mkfs.ocfs2 makes `lost+found`, for id 0, after it wrote the quota files, and the kernel counts
/// on from there: the inode, and its cluster if it is not inline, may be missing for ever.
fn agree(cluster: i64, id: u32, stored: Amount, counted: Amount, index_bytes: i64) -> bool {
    let more = stored.bytes.saturating_sub(counted.bytes);
    let is_part_of_indexes = |more: i64| (0..=index_bytes).contains(&more) && more % cluster == 0;
    match counted.inodes.saturating_sub(stored.inodes) {
        0 => is_part_of_indexes(more),
        1 => {
            let is_part = is_part_of_indexes(more);
            id == 0 && (is_part || is_part_of_indexes(more.saturating_add(cluster)))
        }
        _ => false,
    }
}

/// Compares the entries of the global file, with the changes of the slots it does not have yet,
/// with what was counted.
pub(super) fn compare(
    file: &QuotaFile<'_>,
    kind: QuotaKind,
    entries: &BTreeMap<u32, QuotaEntry>,
    pending: &Usage,
    counted: &Usage,
    findings: &mut Vec<Finding>,
) {
    let ids: BTreeSet<u32> = entries.keys().chain(counted.of(kind).keys()).copied().collect();
    for id in ids {
        let mut stored = entries.get(&id).map_or(Amount::default(), |entry| Amount {
            inodes: entry.dqb_curinodes.cast_signed(),
            bytes: entry.dqb_curspace.cast_signed(),
        });
        stored.add(pending.get(kind, id));
        let (counted, index_bytes) = (counted.get(kind, id), counted.index_bytes);
        if !agree(file.cluster_bytes(), id, stored, counted, index_bytes) {
            let text = format!(
                "id {id}: {} inodes and {} bytes, expected {} and {}",
                stored.inodes, stored.bytes, counted.inodes, counted.bytes
            );
            findings.push(file.finding(codes::QUOTA_USAGE, None, text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_indexes_and_lost_and_found_may_be_counted_otherwise() {
        let amount = |inodes, bytes| Amount { inodes, bytes };
        let counted = amount(5, 40_960);
        let agree = |id, inodes, bytes, indexes| {
            super::agree(4096, id, amount(inodes, bytes), counted, indexes)
        };
        assert!(agree(7, 5, 40_960, 0) && agree(0, 5, 40_960, 0));
        // A directory that was given away left its index, or took none along.
        assert!(agree(7, 5, 40_960 + 8192, 8192) && !agree(7, 5, 40_960 + 8192, 4096));
        assert!(!agree(7, 5, 40_960 + 100, 8192) && !agree(7, 5, 40_960 - 4096, 8192));
        // lost+found, inline or not.
        assert!(agree(0, 4, 40_960, 0) && agree(0, 4, 40_960 - 4096, 0));
        assert!(!agree(0, 5, 40_960 - 4096, 0) && !agree(0, 3, 40_960, 0));
        assert!(!agree(7, 4, 40_960, 0) && !agree(7, 6, 40_960, 8192));
    }
}
