//! With how many slots and which quotas a volume was made.
//!
//! Both mkfs number the inodes of the system files in a fixed order. A group names the inode of its
//! allocator, and what was allocated from the group says of which slot the allocator is: together
//! they show how many files are before it, also if not one of their inodes is left.

use std::sync::Arc;

use ocfs2_device::Device;
use ocfs2_format::feature::{Features, RoCompat};
use ocfs2_format::group::GroupDesc;
use ocfs2_format::quota::QuotaKind;
use ocfs2_format::superblock::MAX_SLOTS;
use ocfs2_format::{Blkno, Block, Structure};

use super::{Remains, Survey};
use crate::SystemFile;

/// How a volume was made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct MadeWith {
    pub slots: u16,
    pub quotas: Vec<QuotaKind>,
}

/// The number of slots and the quotas with which all allocators have the inodes that their groups
/// name, if there are any. `system_dir` is the inode after which those of the files come.
///
/// More slots without quotas can give the same places as fewer with quotas. Then the journals and
/// quota files that were found decide, and at last which number is the more usual one.
pub(crate) fn made_with(
    survey: &Survey,
    remains: &Remains,
    device: &Arc<dyn Device>,
    (system_dir, journals): (Blkno, usize),
) -> Option<MadeWith> {
    let known = allocators(remains, device);
    if known.is_empty() {
        return None;
    }
    let kinds = [QuotaKind::User, QuotaKind::Group];
    let sets = [vec![], kinds.to_vec(), vec![kinds[0]], vec![kinds[1]]];
    let possible = sets.into_iter().filter_map(|quotas| {
        let mut features = Features::default();
        for kind in &quotas {
            features.ro_compat |= RoCompat::of_quota(*kind);
        }
        let fits = |slots: &u16| {
            let files: Vec<_> = SystemFile::with_features(features, *slots).collect();
            known.iter().all(|(file, blkno)| {
                let index = files.iter().position(|other| other == file);
                index.is_some_and(|index| blkno.0 == system_dir.0 + 1 + index as u64)
            })
        };
        let slots = (1..=MAX_SLOTS).find(fits)?;
        Some(MadeWith { slots, quotas })
    });
    let worth = |made: &MadeWith| {
        let has_them = made.quotas.iter().all(|kind| survey.quotas.contains(kind));
        let has_all = survey.quotas.iter().all(|kind| made.quotas.contains(kind));
        let slots = usize::from(made.slots);
        let is_usual = made.slots.is_power_of_two();
        (slots == journals, has_them && has_all, is_usual, std::cmp::Reverse(made.quotas.len()))
    };
    possible.max_by_key(worth)
}

/// The inodes of allocators, by the groups from which something was allocated.
fn allocators(remains: &Remains, device: &Arc<dyn Device>) -> Vec<(SystemFile, Blkno)> {
    let named = remains.homes.iter().filter_map(|((is_inode, slot), groups)| {
        let file = match is_inode {
            true => SystemFile::InodeAlloc(*slot),
            false => SystemFile::ExtentAlloc(*slot),
        };
        let parents = groups.iter().filter_map(|group| parent(remains, device, *group));
        Some((file, parents.min()?))
    });
    named.collect()
}

/// The allocator that a group names.
fn parent(remains: &Remains, device: &Arc<dyn Device>, group: Blkno) -> Option<Blkno> {
    let mut block = vec![0; remains.block_size.size()];
    device.read_at(&mut block, group.offset_bytes(remains.block_size)?).ok()?;
    let desc = GroupDesc::decode(&block).ok()?;
    let is_one = desc.bg_signature == GroupDesc::SIGNATURE
        && desc.bg_blkno == group
        && desc.bg_generation == remains.generation;
    is_one.then_some(desc.bg_parent_dinode)
}
