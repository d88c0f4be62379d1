//! The places of the system's inodes.
//!
//! Both mkfs take them from the first group of their allocator, in a fixed order: the root
//! directory, the system directory, and its files in the order of [`SystemFile::expected`]. If the
//! directory or the allocator that names an inode is lost, the inode is recognised by its place.

use std::collections::BTreeMap;

use ocfs2_format::dinode::Dinode;
use ocfs2_format::feature::RoCompat;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::quota::QuotaKind;
use ocfs2_format::{Blkno, Structure};
use ocfs2_volume::allocator::Suballocated;
use ocfs2_volume::{Inode, SystemFile, Volume};

use super::salvage::fits;

/// The most slots that a volume is assumed to have been made with, if it has fewer now.
const MOST_SLOTS: u16 = 32;
/// The bit of the system directory, after the descriptor and the root directory.
const SYSTEM_DIR_BIT: u64 = 2;

/// The block of each file.
pub(super) type Files = BTreeMap<SystemFile, Blkno>;

/// A layout: the place of each file if the volume was made with a given number of slots, with or
/// without quota.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// The places of all files.
    pub places: Files,
    /// The places at which there is an inode that can be the file's.
    pub placed: Files,
}

impl Layout {
    fn new(
        volume: &Volume,
        inodes: &BTreeMap<Blkno, Inode>,
        (slots, quotas): (u16, &[QuotaKind]),
    ) -> Self {
        let dir = volume.superblock().s_system_dir_blkno.0;
        let mut features = volume.features();
        for kind in [QuotaKind::User, QuotaKind::Group] {
            features.ro_compat.set(RoCompat::of_quota(kind), quotas.contains(&kind));
        }
        let files = (1_u64..).zip(SystemFile::with_features(features, slots));
        let at = |index: u64| dir.checked_add(index).map(Blkno);
        let places: Files = files.filter_map(|(index, file)| Some((file, at(index)?))).collect();
        let is_placed = |(file, blkno): &(&SystemFile, &Blkno)| {
            inodes.get(*blkno).is_some_and(|inode| fits(volume, inode, **file))
        };
        let placed = places.iter().filter(is_placed).map(|(file, blkno)| (*file, *blkno)).collect();
        Self { places, placed }
    }

    /// The layout with the highest `worth`. The volume may have been made with other slots and
    /// quota than it has now, or a damaged superblock may have lost them. The present ones are
    /// tried first and win a tie.
    pub fn best(
        volume: &Volume,
        inodes: &BTreeMap<Blkno, Inode>,
        worth: impl Fn(&Files) -> usize,
    ) -> Self {
        let kinds = [QuotaKind::User, QuotaKind::Group];
        let stated = kinds.into_iter().filter(|kind| volume.features().has_quota(*kind)).collect();
        let mut quotas: Vec<Vec<_>> = vec![stated, kinds.to_vec()];
        quotas.extend(kinds.map(|kind| vec![kind]));
        quotas.push(Vec::new());
        let slots = (0..=volume.max_slots()).rev().chain(volume.max_slots() + 1..=MOST_SLOTS);
        let slots: Vec<_> = slots.collect();
        let all = quotas.iter().flat_map(|quotas| slots.iter().map(|slots| (*slots, &quotas[..])));
        let layouts = all.map(|made| Self::new(volume, inodes, made));
        let layouts = layouts.map(|layout| (worth(&layout.placed), layout));
        let best = layouts.reduce(|best, next| if next.0 > best.0 { next } else { best });
        best.map_or_else(Self::default, |(_, layout)| layout)
    }
}

/// The descriptor of the group from which the system's inodes come, if root and system directory
/// are where both mkfs put them. The two block numbers confirm each other.
fn group(volume: &Volume) -> Option<Blkno> {
    let superblock = volume.superblock();
    let group = superblock.s_system_dir_blkno.0.checked_sub(SYSTEM_DIR_BIT)?;
    let is_made_so = group.checked_add(1) == Some(superblock.s_root_blkno.0)
        && group > volume.geometry().first_group.0
        && group.is_multiple_of(volume.geometry().blocks_per_cluster().into());
    is_made_so.then_some(Blkno(group))
}

/// Whether the superblock has the root and the system directory where both mkfs put them.
pub(super) fn is_as_made(volume: &Volume) -> bool {
    group(volume).is_some()
}

/// Where an inode of the system was allocated, if in the first group.
pub(super) fn home(volume: &Volume, blkno: Blkno) -> Option<Suballocated> {
    let loc = group(volume)?;
    let bit = u16::try_from(blkno.0.checked_sub(loc.0)?).ok()?;
    let is_within = (1..GroupDesc::max_bits(volume.block_size())).contains(&bit);
    let slot = Dinode::GLOBAL_SLOT;
    is_within.then_some(Suballocated { structure: Dinode::NAME, blkno, slot, bit, loc })
}

/// Where the inode of the `global_inode_alloc` was allocated.
pub(super) fn global_inode_alloc(volume: &Volume) -> Option<Suballocated> {
    let dir = volume.superblock().s_system_dir_blkno.0;
    let files = (1_u64..).zip(SystemFile::expected(volume, 0));
    let (index, _) = files.into_iter().find(|(_, file)| *file == SystemFile::GlobalInodeAlloc)?;
    home(volume, Blkno(dir.checked_add(index)?))
}
