//! The layout of the new volume, decided before anything is written.
//!
//! First come the parts without which it is not a volume (the global bitmap, the system files, the
//! root directory), then everything that is allocated as on any volume: backup superblocks,
//! journals, extent allocators, slot map, quota files, lost+found. The order and the choice of
//! places are those of mkfs.ocfs2 1.8.

use std::collections::BTreeMap;
use std::ops::Range;

use ocfs2_format::feature::{Compat, Features, Incompat};
use ocfs2_format::geometry::Geometry;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::superblock::backup_blocks;
use ocfs2_format::{Blkno, Cluster};

use crate::Settings;
use crate::cluster_map::ClusterMap;
use crate::file::FileData;
use crate::quota::{QuotaFiles, QuotaKind, Usage};
use crate::suballocator::{Suballocated, Suballocator};
use crate::system_file::SystemInode;

/// The reason why a volume cannot be laid out.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// There are not enough free clusters.
    #[error(
        "the volume is too small: no room for {what} among its {clusters} clusters of \
         {cluster_size} bytes"
    )]
    NoSpace {
        /// What does not fit.
        what: &'static str,
        /// Number of clusters of the volume.
        clusters: u32,
        /// Cluster size in bytes.
        cluster_size: u32,
    },
    /// The inodes of the system files do not fit into one group.
    #[error(
        "{slots} node slots need {needed} inodes for system files, and with this block and \
         cluster size there is room for {room}"
    )]
    TooManyInodes {
        /// Node slots asked for.
        slots: u16,
        /// Number of inodes they need.
        needed: u32,
        /// Largest possible number of inodes.
        room: u32,
    },
}

/// The properties shared by all parts of a layout.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) geometry: Geometry,
    pub(crate) slots: u16,
    /// Features that determine the layout. For a heartbeat device these are the default ones,
    /// although its superblock states others.
    pub(crate) features: Features,
    pub(crate) generation: u32,
    pub(crate) time: u64,
}

impl Layout {
    fn new(settings: &Settings) -> Self {
        let features = match settings.is_heartbeat_device() {
            true => Features::DEFAULT,
            false => settings.features,
        };
        Self {
            geometry: settings.geometry,
            slots: settings.slots,
            features,
            generation: settings.generation,
            time: settings.time,
        }
    }

    pub(crate) fn has(&self, feature: Incompat) -> bool {
        self.features.incompat.contains(feature)
    }

    pub(crate) fn block_size(&self) -> usize {
        self.geometry.block_size.size()
    }

    pub(crate) fn cluster_size(&self) -> u64 {
        self.geometry.cluster_size.bytes().into()
    }

    /// Number of records of an extent or chain list in a dinode.
    pub(crate) fn chain_capacity(&self) -> usize {
        (self.block_size() - 0xd0) / 16
    }

    /// Bytes of inline data in a dinode.
    pub(crate) fn inline_capacity(&self) -> usize {
        self.block_size() - 0xc8
    }

    /// Whether directory blocks end in a trailer.
    pub(crate) fn has_trailers(&self) -> bool {
        self.features.incompat.intersects(Incompat::META_ECC | Incompat::INDEXED_DIRS)
    }

    /// Bytes for entries in a directory block.
    pub(crate) fn usable(&self) -> usize {
        self.block_size() - if self.has_trailers() { 64 } else { 0 }
    }

    pub(crate) fn quotas(&self) -> impl Iterator<Item = QuotaKind> + use<> {
        let features = self.features;
        let kinds = [QuotaKind::User, QuotaKind::Group];
        kinds.into_iter().filter(move |kind| features.has_quota(*kind))
    }

    fn clusters_for(&self, bytes: u64) -> u32 {
        self.geometry.clusters_for(bytes).unwrap_or(u32::MAX)
    }

    pub(crate) fn no_space(&self, what: &'static str) -> PlanError {
        let cluster_size = self.geometry.cluster_size.bytes();
        PlanError::NoSpace { what, clusters: self.geometry.clusters, cluster_size }
    }
}

/// A directory index that consists of its root only.
#[derive(Clone, Debug)]
pub(crate) struct IndexRoot {
    pub(crate) place: Suballocated,
    /// Names in the index besides `.` and `..`.
    pub(crate) names: Vec<&'static [u8]>,
}

/// A directory outside its dinode: its clusters and its index.
#[derive(Clone, Debug, Default)]
pub(crate) struct DirectoryData {
    pub(crate) data: FileData,
    pub(crate) index: Option<IndexRoot>,
}

/// The layout of a volume: the place of everything, without the contents.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) settings: Settings,
    pub(crate) layout: Layout,
    pub(crate) map: ClusterMap,
    pub(crate) inode_alloc_global: Suballocator,
    /// Inodes of `global_inode_alloc` by file.
    pub(crate) inodes: BTreeMap<SystemInode, Suballocated>,
    pub(crate) root: DirectoryData,
    pub(crate) system_dir: FileData,
    pub(crate) heartbeat: FileData,
    /// By slot; without clusters if they are inline.
    pub(crate) orphan_dirs: Vec<DirectoryData>,
    pub(crate) journals: Vec<FileData>,
    pub(crate) extent_allocs: Vec<Suballocator>,
    pub(crate) inode_alloc: Suballocator,
    pub(crate) slot_map: FileData,
    pub(crate) quotas: Vec<QuotaFiles>,
    /// `None` on a heartbeat device.
    pub(crate) lost_found: Option<(Suballocated, DirectoryData)>,
    /// Blocks of the backup superblocks, as far as they are wanted and fit.
    pub(crate) backups: Vec<Blkno>,
    /// Whether root and lost+found are written with the files.
    pub(crate) is_filled: bool,
    /// The usage for the quota files.
    pub(crate) usage: Usage,
}

impl Plan {
    /// Lays out a volume.
    ///
    /// # Errors
    /// [`PlanError`] if it does not fit.
    pub fn new(settings: &Settings) -> Result<Self, PlanError> {
        let mut plan = Self::lay_out(settings)?;
        if !settings.is_heartbeat_device() {
            plan.populate()?;
        }
        Ok(plan)
    }

    /// Lays out the parts without which it is not a volume.
    fn lay_out(settings: &Settings) -> Result<Self, PlanError> {
        let layout = Layout::new(settings);
        let geometry = layout.geometry;
        let block_size = u64::from(geometry.block_size.bytes());
        if geometry.cluster_of(geometry.first_group).is_none() {
            return Err(layout.no_space("the superblock"));
        }
        let mut map = ClusterMap::new(geometry, layout.chain_capacity() as u32);
        let mut place = |clusters: u32, what| {
            let start = map.allocate_by_chain(clusters).ok_or_else(|| layout.no_space(what))?;
            Ok(FileData::contiguous(&layout, start, clusters))
        };

        let files = SystemInode::all(&layout);
        let clusters = inode_group_clusters(&layout, files.len())?;
        let group = place(clusters.into(), "the inodes of the system files")?;
        let start = group.first_cluster(&geometry).unwrap_or(Cluster(0));
        let mut inode_alloc_global = Suballocator::with_group(&layout, start, clusters);

        let inline_data = layout.has(Incompat::INLINE_DATA);
        let root = match inline_data {
            true => FileData::default(),
            false => place(1, "the root directory")?,
        };
        let entries = SYSTEM_DIR_ENTRY_BYTES * (7 + 8 * usize::from(layout.slots));
        let system_dir_inline = inline_data && entries <= layout.inline_capacity();
        let system_dir = match system_dir_inline {
            true => FileData::default(),
            false => place(system_dir_clusters(&layout), "the system directory")?,
        };
        let heartbeat = place(layout.clusters_for(256 * block_size), "the heartbeat region")?;
        let mut orphan_dirs = Vec::new();
        for _ in 0..layout.slots {
            let data = match inline_data {
                true => FileData::default(),
                false => place(1, "the orphan directories")?,
            };
            orphan_dirs.push(DirectoryData { data, index: None });
        }

        let mut inodes = BTreeMap::new();
        for file in files {
            let inode = inode_alloc_global.allocate(&layout, &mut map);
            let inode = inode.ok_or_else(|| layout.no_space("the inodes of the system files"))?;
            inodes.insert(file, inode);
        }
        Ok(Self {
            settings: settings.clone(),
            map,
            inode_alloc_global,
            inodes,
            root: DirectoryData { data: root, index: None },
            system_dir,
            heartbeat,
            orphan_dirs,
            journals: Vec::new(),
            extent_allocs: vec![Suballocator::new(&layout); layout.slots.into()],
            inode_alloc: Suballocator::new(&layout),
            slot_map: FileData::default(),
            quotas: Vec::new(),
            lost_found: None,
            backups: Vec::new(),
            is_filled: false,
            usage: Usage::default(),
            layout,
        })
    }

    /// Allocates everything else.
    fn populate(&mut self) -> Result<(), PlanError> {
        let geometry = self.layout.geometry;
        if self.settings.features.compat.contains(Compat::BACKUP_SB) {
            self.backups = backup_blocks(geometry.block_size, geometry.blocks()).collect();
            for cluster in self.backups.iter().filter_map(|blkno| geometry.cluster_of(*blkno)) {
                self.map.take(cluster, 1);
            }
        }
        let journal_bytes = self.settings.journal_bytes.unwrap_or_default();
        let journal_clusters = self.layout.clusters_for(journal_bytes);
        for _ in 0..self.layout.slots {
            let journal = self.new_file(journal_clusters, "the journals")?;
            self.journals.push(journal);
        }
        for extent_alloc in &mut self.extent_allocs {
            for _ in 0..self.settings.extent_groups {
                extent_alloc
                    .add_group(&self.layout, &mut self.map)
                    .ok_or_else(|| self.layout.no_space("the extent allocators"))?;
            }
        }
        let entry: u64 = if self.layout.has(Incompat::EXTENDED_SLOT_MAP) { 8 } else { 2 };
        let clusters = self.layout.clusters_for(entry * u64::from(self.layout.slots));
        self.slot_map = self.new_file(clusters, "the slot map")?;
        self.place_quotas()?;
        self.place_directories()
    }

    fn place_quotas(&mut self) -> Result<(), PlanError> {
        let what = "the quota files";
        let kinds: Vec<_> = self.layout.quotas().collect();
        let block_size = self.layout.block_size() as u64;
        let clusters = self.layout.clusters_for(2 * block_size);
        for kind in kinds {
            let global = self.new_file(clusters, what)?;
            let mut locals = Vec::new();
            for _ in 0..self.layout.slots {
                locals.push(self.new_file(clusters, what)?);
            }
            self.quotas.push(QuotaFiles { kind, global, locals });
        }
        self.place_usage()
    }

    /// Makes the global quota files long enough for the usage.
    pub(crate) fn place_usage(&mut self) -> Result<(), PlanError> {
        for index in 0..self.quotas.len() {
            let blocks = self.global_quota(self.quotas[index].kind).len() as u64;
            let clusters = self.layout.clusters_for(blocks * self.layout.block_size() as u64);
            let mut global = std::mem::take(&mut self.quotas[index].global);
            while global.clusters() < clusters {
                self.extend(&mut global, 1, "the quota files")?;
            }
            self.quotas[index].global = global;
        }
        Ok(())
    }

    fn place_directories(&mut self) -> Result<(), PlanError> {
        let inline = self.layout.has(Incompat::INLINE_DATA);
        let indexed = self.layout.has(Incompat::INDEXED_DIRS) && !inline;
        if indexed {
            self.root.index = Some(self.new_index()?);
            for slot in 0..self.orphan_dirs.len() {
                self.orphan_dirs[slot].index = Some(self.new_index()?);
            }
        }
        let what = "lost+found";
        let inode = self.inode_alloc.allocate(&self.layout, &mut self.map);
        let inode = inode.ok_or_else(|| self.layout.no_space(what))?;
        let mut lost_found = DirectoryData::default();
        if !inline {
            lost_found.data = self.new_file(1, what)?;
        }
        if indexed {
            lost_found.index = Some(self.new_index()?);
            if let Some(index) = &mut self.root.index {
                index.names.push(LOST_FOUND);
            }
        }
        self.lost_found = Some((inode, lost_found));
        Ok(())
    }

    fn new_index(&mut self) -> Result<IndexRoot, PlanError> {
        let place = self
            .new_metadata_block()
            .ok_or_else(|| self.layout.no_space("the indexes of the directories"))?;
        Ok(IndexRoot { place, names: Vec::new() })
    }

    /// Allocates a block from the extent allocator of slot 0.
    pub(crate) fn new_metadata_block(&mut self) -> Option<Suballocated> {
        self.extent_allocs.first_mut()?.allocate(&self.layout, &mut self.map)
    }

    fn new_file(&mut self, clusters: u32, what: &'static str) -> Result<FileData, PlanError> {
        let mut file = FileData::default();
        self.extend(&mut file, clusters, what)?;
        Ok(file)
    }

    /// Adds `clusters` to a file, and the extent blocks needed for that.
    fn extend(
        &mut self,
        file: &mut FileData,
        clusters: u32,
        what: &'static str,
    ) -> Result<(), PlanError> {
        let root = self.layout.chain_capacity();
        let mut missing = clusters;
        while missing > 0 {
            let found = self.map.allocate(1, missing);
            let (start, count) = found.ok_or_else(|| self.layout.no_space(what))?;
            file.append(&self.layout, start, count);
            while file.tree_blocks.len() < file.tree_blocks_needed(&self.layout, root) {
                let block = self.new_metadata_block();
                file.tree_blocks.push(block.ok_or_else(|| self.layout.no_space(what))?);
            }
            missing -= count;
        }
        Ok(())
    }

    /// The place of a system inode; `None` if the volume does not have it.
    pub(crate) fn inode(&self, inode: SystemInode) -> Option<Suballocated> {
        self.inodes.get(&inode).copied()
    }

    /// Total number of groups of the extent allocators.
    pub fn extent_groups(&self) -> usize {
        self.extent_allocs.iter().map(|alloc| alloc.groups.len()).sum()
    }

    /// Number of clusters in use on the finished volume.
    pub fn used_clusters(&self) -> u32 {
        self.map.used()
    }

    /// Number of backup superblocks of the volume.
    pub fn backup_count(&self) -> usize {
        self.backups.len()
    }

    /// The blocks that must read as zero unless something else is written there.
    pub(crate) fn zeroed(&self) -> Vec<Range<u64>> {
        let geometry = self.layout.geometry;
        let blocks = geometry.blocks();
        let per_cluster = u64::from(geometry.blocks_per_cluster());
        let mib = (1 << 20) / u64::from(geometry.block_size.bytes());
        let mut zeroed = vec![0..mib.min(blocks), blocks.saturating_sub(mib)..blocks];
        if per_cluster > 1 {
            // The descriptor occupies only the first block of its cluster.
            let groups = (0..geometry.groups()).map(|group| geometry.group_blkno(group).0);
            zeroed.extend(groups.map(|blkno| blkno..blkno + per_cluster));
        }
        zeroed.extend(self.backups.iter().map(|blkno| blkno.0..blkno.0 + per_cluster));
        let files = self.journals.iter().chain([&self.heartbeat, &self.slot_map]);
        zeroed.extend(files.flat_map(|file| file.block_ranges(&geometry)));
        zeroed.sort_unstable_by_key(|range| range.start);
        zeroed
    }
}

/// Name of the directory in which fsck puts what it finds.
pub(crate) const LOST_FOUND: &[u8] = b"lost+found";

/// Bytes that mkfs.ocfs2 assumes for an entry of the system directory.
const SYSTEM_DIR_ENTRY_BYTES: usize = 52;

/// Number of clusters in the group with the inodes of all system files.
fn inode_group_clusters(layout: &Layout, inodes: usize) -> Result<u16, PlanError> {
    let geometry = layout.geometry;
    let per_cluster = geometry.blocks_per_cluster();
    // Seven global files and eight per slot, for at least 32 slots, after the descriptor.
    let blocks = 6 + 7 + 8 * u32::from(layout.slots.max(32));
    // With blocks of 512 bytes the bitmap is too small for two clusters of 1 MiB.
    let most = u32::from(GroupDesc::max_bits(geometry.block_size)) / per_cluster;
    let clusters = blocks.div_ceil(per_cluster).min(most);
    let (needed, room) = (inodes as u32, clusters * per_cluster - 1);
    if needed > room {
        return Err(PlanError::TooManyInodes { slots: layout.slots, needed, room });
    }
    Ok(clusters as u16)
}

fn system_dir_clusters(layout: &Layout) -> u32 {
    let per_block = layout.block_size() / SYSTEM_DIR_ENTRY_BYTES;
    let blocks = (7 + 8 * usize::from(layout.slots)).div_ceil(per_block);
    layout.clusters_for((blocks * layout.block_size()) as u64)
}
