//! What users and groups use: counted in pass 1, and compared with what the files state.
//!
//! As the kernel charges it: every inode but the system files, and the root directory, is one
//! inode and the space of its clusters; a directory also has the clusters of its index. What
//! attributes take beside the inode is not charged. That this is what the kernel does was seen
//! on volumes it wrote.

use std::collections::{BTreeMap, BTreeSet};

use ocfs2_format::Structure;
use ocfs2_format::dinode::{DynFeatures, InodeFlags};
use ocfs2_format::dx::DxRoot;
use ocfs2_format::quota::{QuotaEntry, QuotaKind};
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
    /// Bytes.
    pub bytes: i64,
}

impl Amount {
    /// Adds another amount; what can not be counted stays as large as can be.
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
        let contents = i64::try_from(clusters).unwrap_or(i64::MAX >> 21);
        let clusters = contents + i64::from(index_clusters(context, inode));
        let bytes = clusters << context.geometry().cluster_size.bits();
        let amount = Amount { inodes: 1, bytes };
        self.add(QuotaKind::User, inode.dinode.i_uid, amount);
        self.add(QuotaKind::Group, inode.dinode.i_gid, amount);
    }

    /// Adds to what an id uses.
    pub fn add(&mut self, kind: QuotaKind, id: u32, amount: Amount) {
        self.of_mut(kind).entry(id).or_default().add(amount);
    }

    /// Adds what others use.
    pub fn append(&mut self, other: Self) {
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
    let block = context.read(DxRoot::NAME, blkno, DxRoot::CHECK_OFFSET);
    let root = block.ok().and_then(|block| DxRoot::decode(&block.bytes).ok());
    root.filter(|root| root.dr_signature == DxRoot::SIGNATURE).map_or(0, |root| root.dr_clusters)
}

/// Whether what is stored for an id is what was counted.
///
/// mkfs.ocfs2 makes `lost+found`, for id 0, after it wrote the quota files, and the kernel counts
/// on from there: the inode, and its cluster if it is not inline, may be missing for ever.
fn agree(file: &QuotaFile<'_>, id: u32, stored: Amount, counted: Amount) -> bool {
    let inodes = counted.inodes.saturating_sub(stored.inodes);
    let bytes = counted.bytes.saturating_sub(stored.bytes);
    match (inodes, bytes) {
        (0, 0) => true,
        (1, 0) => id == 0,
        (1, bytes) => id == 0 && bytes == file.cluster_bytes(),
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
        let counted = counted.get(kind, id);
        if !agree(file, id, stored, counted) {
            let text = format!(
                "id {id}: {} inodes and {} bytes, expected {} and {}",
                stored.inodes, stored.bytes, counted.inodes, counted.bytes
            );
            findings.push(file.finding(codes::QUOTA_USAGE, None, text));
        }
    }
}
