//! What was found of one volume, and what follows from it.

use std::collections::{BTreeMap, HashMap};

use ocfs2_format::check::Checked;
use ocfs2_format::dinode::{Arm, Dinode, FileKind, InodeFlags};
use ocfs2_format::dir;
use ocfs2_format::extent::ExtentList;
use ocfs2_format::geometry::Geometry;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::inline::InlineData;
use ocfs2_format::superblock::{MAX_SLOTS, SuperBlock};
use ocfs2_format::{Blkno, Block, BlockSize, ClusterSize, Structure};

use super::BlockSet;
use crate::allocator::Suballocated;

/// Most inodes of the system that are kept: those of 255 slots are fewer.
const MOST_SYSTEM: usize = 1 << 13;
/// Inodes whose block checks are computed, to see whether the volume has them.
const CHECKED: u32 = 64;
/// The parents of directories that are counted are in this many bytes at the start: the root is.
const ROOT_WITHIN: u64 = 64 << 20;
/// Most allocators whose groups are counted.
const MOST_ALLOCATORS: usize = 1 << 12;
/// Groups of an allocator that are looked at to find out which one it is.
const MOST_HOMES: usize = 8;
/// Sizes that a cluster can have: 2 to the power of 12 to 20.
const SIZES: usize = 9;
const SMALLEST_BITS: u32 = 12;

/// Numbers of blocks by what they are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Inodes of users, directories included.
    pub inodes: u64,
    /// Directories of users.
    pub directories: u64,
    /// Inodes of the system.
    pub system: u64,
    /// Blocks of extent trees.
    pub extent_blocks: u64,
    /// Roots of the indexes of directories.
    pub dx_roots: u64,
    /// Blocks of extended attributes.
    pub xattr_blocks: u64,
    /// Blocks of refcount trees.
    pub refcount_blocks: u64,
    /// Descriptors of groups.
    pub groups: u64,
}

/// The groups of an allocator.
#[derive(Clone, Copy, Debug, Default)]
struct Groups {
    count: u64,
    last: Blkno,
    bits: u16,
}

/// What was found of one volume: its blocks have one block size and one generation in common.
#[derive(Clone, Debug)]
pub struct Remains {
    /// The block size.
    pub block_size: BlockSize,
    /// The generation, which all metadata of a volume carries.
    pub generation: u32,
    /// How much was found.
    pub counts: Counts,
    /// The inodes of users that are in use.
    pub inodes: BlockSet,
    /// Those of them that are directories.
    pub directories: BlockSet,
    /// When the first and the last of these inodes was changed, in seconds since 1970.
    pub changed: Option<(u64, u64)>,
    /// Superblocks, the backups among them: the block, the dinode and the superblock.
    pub superblocks: Vec<(Blkno, Dinode, SuperBlock)>,
    /// Inodes of the system.
    pub system: Vec<Dinode>,
    /// The last inode of a user that is in use.
    last_inode: Blkno,
    /// Votes for cluster sizes.
    votes: [u32; SIZES],
    /// The largest file in a single cluster, and all places of extents joined by or.
    single: u64,
    places: u64,
    /// The highest slot that anything was allocated from, plus one.
    slots: u16,
    /// The first groups from which something was allocated: whether those are inodes, and the slot.
    pub(super) homes: BTreeMap<(bool, u16), Vec<Blkno>>,
    /// Groups, by the allocator they name.
    groups: HashMap<Blkno, Groups>,
    /// Descriptors of groups.
    pub group_blocks: BlockSet,
    /// Of so many block checks so many are right.
    checks: (u32, u32),
    /// Directories by what their `..` points to.
    parents: HashMap<Blkno, u32>,
}

impl Remains {
    /// Nothing yet.
    pub fn new(block_size: BlockSize, generation: u32) -> Self {
        Self {
            block_size,
            generation,
            counts: Counts::default(),
            inodes: BlockSet::default(),
            directories: BlockSet::default(),
            changed: None,
            superblocks: Vec::new(),
            system: Vec::new(),
            last_inode: Blkno(0),
            votes: [0; SIZES],
            single: 0,
            places: 0,
            slots: 0,
            homes: BTreeMap::new(),
            groups: HashMap::new(),
            group_blocks: BlockSet::default(),
            checks: (0, 0),
            parents: HashMap::new(),
        }
    }

    /// Notes an inode in its place.
    pub(super) fn inode(&mut self, dinode: Dinode, block: &[u8]) {
        if !dinode.flags().contains(InodeFlags::VALID) {
            return;
        }
        self.check::<Dinode>(block);
        if dinode.i_suballoc_slot == Dinode::GLOBAL_SLOT {
            self.counts.system += 1;
            // Their sizes are those of their clusters.
            self.vote(&dinode, 4);
            if self.system.len() < MOST_SYSTEM {
                self.system.push(dinode);
            }
            return;
        }
        self.home(&Suballocated::from(&dinode));
        if dinode.flags().contains(InodeFlags::SYSTEM) {
            return;
        }
        self.counts.inodes += 1;
        self.inodes.insert(dinode.i_blkno);
        self.last_inode = self.last_inode.max(dinode.i_blkno);
        let (first, last) = self.changed.unwrap_or((u64::MAX, 0));
        self.changed = Some((first.min(dinode.i_ctime), last.max(dinode.i_ctime)));
        if dinode.kind() == Some(FileKind::Directory) {
            self.counts.directories += 1;
            self.directories.insert(dinode.i_blkno);
            if dinode.arm() == Arm::InlineData {
                let data = dinode.id2(block).get(InlineData::SIZE..).unwrap_or_default();
                if let Some((_, parent)) = dots(data) {
                    self.parent(parent);
                }
            }
        }
        self.vote(&dinode, 1);
        if dinode.arm() == Arm::ExtentList
            && let Ok(list) = ExtentList::new(dinode.id2(block))
            && list.header.l_tree_depth == 0
        {
            let used = list.records().filter(|rec| rec.e_leaf_clusters() > 0);
            self.places = used.fold(self.places, |all, rec| all | rec.e_blkno.0);
        }
    }

    /// Notes what `..` of a directory points to.
    pub(super) fn parent(&mut self, parent: Blkno) {
        if parent.offset_bytes(self.block_size).is_some_and(|at| at < ROOT_WITHIN) {
            *self.parents.entry(parent).or_default() += 1;
        }
    }

    /// Notes a group descriptor in its place.
    pub(super) fn group(&mut self, group: &GroupDesc) {
        self.counts.groups += 1;
        self.group_blocks.insert(group.bg_blkno);
        if self.groups.len() < MOST_ALLOCATORS || self.groups.contains_key(&group.bg_parent_dinode)
        {
            let groups = self.groups.entry(group.bg_parent_dinode).or_default();
            groups.count += 1;
            if group.bg_blkno >= groups.last {
                (groups.last, groups.bits) = (group.bg_blkno, group.bg_bits);
            }
        }
    }

    /// Notes where something was allocated.
    pub(super) fn home(&mut self, it: &Suballocated) {
        if it.slot >= MAX_SLOTS {
            return;
        }
        self.slots = self.slots.max(it.slot + 1);
        let group = match it.loc {
            Blkno(0) => Blkno(it.blkno.0.saturating_sub(it.bit.into())),
            loc => loc,
        };
        let groups = self.homes.entry((it.structure == Dinode::NAME, it.slot)).or_default();
        if groups.len() < MOST_HOMES && !groups.contains(&group) {
            groups.push(group);
        }
    }

    fn check<T: Block>(&mut self, block: &[u8]) {
        let (good, tried) = self.checks;
        if tried < CHECKED {
            let is_good = T::validate(block) == Checked::Good;
            self.checks = (good + u32::from(is_good), tried + 1);
        }
    }

    /// Lets a file that has as many clusters as its size takes vote for the sizes of a cluster that
    /// explain both.
    fn vote(&mut self, dinode: &Dinode, weight: u32) {
        let (clusters, size) = (u64::from(dinode.i_clusters), dinode.i_size);
        let has_extents = matches!(dinode.arm(), Arm::ExtentList | Arm::Chain);
        if !has_extents || clusters == 0 || size == 0 {
            return;
        }
        if clusters == 1 {
            self.single = self.single.max(size);
            return;
        }
        for (bits, votes) in (SMALLEST_BITS..).zip(&mut self.votes) {
            if size <= clusters << bits && size > (clusters - 1) << bits {
                *votes = votes.saturating_add(weight);
            }
        }
    }

    /// The size of a cluster: by a superblock, else what most files agree on, else the largest that
    /// all places allow.
    pub fn cluster_size(&self) -> Option<ClusterSize> {
        if let Some((_, _, superblock)) = self.superblocks.first() {
            return superblock.cluster_size();
        }
        let most = self.votes.iter().max().copied().filter(|most| *most > 0);
        let by_votes = most.and_then(|most| self.votes.iter().position(|votes| *votes == most));
        let bits = match by_votes {
            Some(index) => SMALLEST_BITS + index as u32,
            None => {
                let zeros = if self.places == 0 { 0 } else { self.places.trailing_zeros() };
                let most = SMALLEST_BITS + SIZES as u32 - 1;
                (self.block_size.bits() + zeros).clamp(SMALLEST_BITS, most)
            }
        };
        ClusterSize::from_bytes(1 << bits.max(self.block_size.bits()))
    }

    /// The number of clusters: by a superblock, the inode of the global bitmap or its last group,
    /// else as many as the device has.
    pub fn clusters(&self, cluster_size: ClusterSize, device_bytes: u64) -> u32 {
        if let Some((_, dinode, _)) = self.superblocks.first() {
            return dinode.i_clusters;
        }
        let on_device = u32::try_from(device_bytes >> cluster_size.bits()).unwrap_or(u32::MAX);
        let whole = Geometry::new(self.block_size, cluster_size, on_device);
        let of_bitmap = |dinode: &&Dinode| {
            dinode.flags().contains(InodeFlags::CHAIN | InodeFlags::BITMAP)
                && dinode.i_clusters == dinode.bitmap().1
                && self.groups.get(&dinode.i_blkno).is_none_or(|it| is_of_bitmap(&whole, it))
        };
        let stated = self.system.iter().filter(of_bitmap).map(|it| it.i_clusters).max();
        // The groups of the bitmap are at fixed places. The last one has what is left over.
        let last = self.groups.values().filter(|it| is_of_bitmap(&whole, it));
        let last = last.max_by_key(|groups| (groups.count, groups.last));
        let by_group = last.and_then(|groups| {
            let is_tail = groups.bits < GroupDesc::max_bits(self.block_size);
            let start = whole.cluster_of(groups.last)?;
            let (index, _) = whole.group_of(start);
            let end = whole.group_start(index).0.checked_add(groups.bits.into())?;
            // Another group would follow if the device had room for it.
            (is_tail || end == on_device).then_some(end)
        });
        // Another allocator with groups of its own can look like the bitmap, and states too few.
        let needed = whole.cluster_of(self.last_inode).map_or(1, |it| it.0.saturating_add(1));
        let is_possible = |clusters: &u32| (needed..=on_device).contains(clusters);
        stated.filter(is_possible).or(by_group.filter(is_possible)).unwrap_or(on_device)
    }

    /// The slots from which anything was allocated, or which have a journal.
    pub fn slots(&self) -> u16 {
        if let Some((_, _, superblock)) = self.superblocks.first() {
            return superblock.s_max_slots;
        }
        let journals = self.system.iter().filter(|it| it.flags().contains(InodeFlags::JOURNAL));
        let journals = u16::try_from(journals.count()).unwrap_or(MAX_SLOTS).min(MAX_SLOTS);
        self.slots.max(journals).max(1)
    }

    /// Whether its metadata has block checks.
    pub fn has_checks(&self) -> bool {
        let (good, tried) = self.checks;
        good * 2 > tried
    }

    /// The root, if its inode is gone and directories name it as their parent: at its usual place,
    /// or else the first of those that are gone, as both mkfs make it first.
    pub(crate) fn lost_root(&self, usual: Blkno) -> Option<Blkno> {
        if self.parents.contains_key(&usual) {
            return Some(usual);
        }
        let gone = self.parents.keys().filter(|blkno| !self.inodes.contains(**blkno));
        gone.min().copied()
    }
}

/// Whether the last group of an allocator is one of the global bitmap, by its place.
fn is_of_bitmap(geometry: &Geometry, groups: &Groups) -> bool {
    let cluster = geometry.cluster_of(groups.last);
    cluster.is_some_and(|it| geometry.group_blkno(geometry.group_of(it).0) == groups.last)
}

/// What `.` and `..` point to, where a directory begins.
pub(super) fn dots(bytes: &[u8]) -> Option<(Blkno, Blkno)> {
    let mut entries = dir::entries(bytes).map_while(Result::ok);
    let (own, parent) = (entries.next()?, entries.next()?);
    let is_start = own.name == b"." && parent.name == b"..";
    is_start.then_some((own.header.inode, parent.header.inode))
}
