//! The contents of the planned metadata blocks.

use std::collections::BTreeMap;

use ocfs2_format::chain::{ChainRec, write_chain_list};
use ocfs2_format::dinode::{Dinode, DynFeatures, FileKind, InodeFlags};
use ocfs2_format::dir::{DirTrailer, FileType};
use ocfs2_format::dx::{DxEntry, DxFlags, DxRoot, write_dx_entries};
use ocfs2_format::extent::ExtentBlock;
use ocfs2_format::feature::Incompat;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::hash::{dx_hash, uuid_hash};
use ocfs2_format::inline::InlineData;
use ocfs2_format::journal::JournalSuperblock;
use ocfs2_format::local_alloc::LocalAlloc;
use ocfs2_format::superblock::{REVISION, SUPERBLOCK_SIGNATURE, SuperBlock, XATTR_INLINE_SIZE};
use ocfs2_format::truncate_log::TruncateLogHeader;
use ocfs2_format::{Blkno, Block, Structure, Truncated, check};
use ocfs2_volume::SystemFile;

use crate::directory::Directory;
use crate::file::FileData;
use crate::plan::{DirectoryData, IndexRoot, LOST_FOUND, Plan};
use crate::suballocator::{Suballocated, Suballocator};
use crate::system_file::SystemInode;

/// A block to be written.
#[derive(Clone, Debug)]
pub(crate) enum NewBlock {
    /// Complete contents.
    Bytes(Vec<u8>),
    /// Descriptor of this group of the global bitmap.
    ClusterGroup(u32),
    /// Descriptor of a group of a slot's extent allocator.
    ExtentGroup {
        /// The slot.
        slot: u16,
        /// Index of the group in the allocator.
        group: usize,
    },
}

/// The blocks of a volume except its superblocks, by number.
pub(crate) type Blocks = BTreeMap<Blkno, NewBlock>;

impl Plan {
    /// Returns every metadata block except the superblock, its backups and what precedes it.
    pub(crate) fn blocks(&self) -> Result<Blocks, Truncated> {
        let mut blocks = Blocks::new();
        for (file, inode) in &self.inodes {
            if self.is_filled && *file == SystemInode::RootDir {
                continue;
            }
            self.system_inode(*file, *inode, &mut blocks)?;
        }
        let geometry = self.layout.geometry;
        for group in 0..geometry.groups() {
            blocks.insert(geometry.group_blkno(group), NewBlock::ClusterGroup(group));
        }
        for (slot, alloc) in (0..).zip(&self.extent_allocs) {
            for (group, desc) in alloc.groups.iter().enumerate() {
                blocks.insert(desc.blkno, NewBlock::ExtentGroup { slot, group });
            }
        }
        let owners = [
            (&self.inode_alloc_global, SystemFile::GlobalInodeAlloc),
            (&self.inode_alloc, SystemFile::InodeAlloc(0)),
        ];
        for (alloc, owner) in owners {
            for group in 0..alloc.groups.len() {
                let (blkno, block) = self.suballocator_group(alloc, group, owner)?;
                blocks.insert(blkno, NewBlock::Bytes(block));
            }
        }
        if let Some((inode, data)) = &self.lost_found {
            let mut dinode = self.dinode(*inode, FileKind::Directory, 0o755, InodeFlags::VALID);
            dinode.i_suballoc_slot = 0;
            dinode.i_suballoc_loc = inode.loc;
            dinode.i_links_count = 2;
            let directory = self.directory(inode.blkno, self.root_blkno(), data.data.clusters());
            self.put_directory(dinode, directory, data, &mut blocks)?;
        }
        for journal in &self.journals {
            if let Some(blkno) = journal.block(&geometry, 0) {
                blocks.insert(blkno, NewBlock::Bytes(self.journal_superblock(journal)?));
            }
        }
        if !self.layout.has(Incompat::EXTENDED_SLOT_MAP) {
            // Free slots are 0xffff in the old format. The extended map is zero.
            for blkno in self.slot_map.block_ranges(&geometry).flatten() {
                blocks.insert(Blkno(blkno), NewBlock::Bytes(vec![0xff; self.layout.block_size()]));
            }
        }
        self.quota_blocks(&mut blocks)?;
        Ok(blocks)
    }

    /// The contents of `block`.
    pub(crate) fn render<'a>(
        &self,
        block: &'a NewBlock,
    ) -> Result<std::borrow::Cow<'a, [u8]>, Truncated> {
        Ok(match block {
            NewBlock::Bytes(bytes) => bytes.into(),
            NewBlock::ClusterGroup(group) => self.cluster_group(*group)?.into(),
            NewBlock::ExtentGroup { slot, group } => {
                let alloc = &self.extent_allocs[usize::from(*slot)];
                let owner = SystemFile::ExtentAlloc(*slot);
                self.suballocator_group(alloc, *group, owner)?.1.into()
            }
        })
    }

    /// The superblock as it is stored in block `blkno`.
    pub(crate) fn superblock(&self, blkno: Blkno) -> Result<Vec<u8>, Truncated> {
        let settings = &self.settings;
        let layout = &self.layout;
        let features = settings.features;
        let dinode = Dinode {
            i_signature: SUPERBLOCK_SIGNATURE,
            i_generation: layout.generation,
            i_suballoc_slot: Dinode::GLOBAL_SLOT,
            i_suballoc_bit: 0xffff,
            i_clusters: layout.geometry.clusters,
            i_flags: (InodeFlags::VALID | InodeFlags::SYSTEM | InodeFlags::SUPER_BLOCK).bits(),
            i_ctime: layout.time,
            i_mtime: layout.time,
            i_blkno: blkno,
            i_fs_generation: layout.generation,
            ..Default::default()
        };
        let has = |feature| features.incompat.contains(feature);
        let mut s_label = [0; 64];
        let label = settings.label.iter().take(63);
        s_label.iter_mut().zip(label).for_each(|(to, from)| *to = *from);
        let hashes = features.incompat.intersects(Incompat::XATTR | Incompat::INDEXED_DIRS);
        let superblock = SuperBlock {
            s_major_rev_level: REVISION.0,
            s_minor_rev_level: REVISION.1,
            s_mnt_count: 0,
            s_max_mnt_count: 20,
            s_state: 0,
            s_errors: 0,
            s_checkinterval: 0,
            s_lastcheck: layout.time,
            s_creator_os: 0,
            s_feature_compat: features.compat.bits(),
            s_feature_incompat: features.incompat.bits(),
            s_feature_ro_compat: features.ro_compat.bits(),
            s_root_blkno: self.root_blkno(),
            s_system_dir_blkno: self.system_dir_blkno(),
            s_blocksize_bits: layout.geometry.block_size.bits(),
            s_clustersize_bits: layout.geometry.cluster_size.bits(),
            s_max_slots: layout.slots,
            s_tunefs_flag: 0,
            s_uuid_hash: if hashes { uuid_hash(settings.uuid.as_bytes()) } else { 0 },
            s_first_cluster_group: layout.geometry.first_group,
            s_label,
            s_uuid: settings.uuid.into_bytes(),
            s_cluster_info: settings.cluster_info,
            s_xattr_inline_size: if has(Incompat::XATTR) { XATTR_INLINE_SIZE } else { 0 },
            s_reserved0: 0,
            s_dx_seed: if has(Incompat::INDEXED_DIRS) { settings.dx_seed } else { [0; 3] },
            s_reserved2: [0; 15],
        };
        let mut block = vec![0; layout.block_size()];
        dinode.encode(&mut block)?;
        superblock.encode(&mut block[Dinode::ID2_OFFSET..])?;
        if has(Incompat::META_ECC) {
            Dinode::stamp(&mut block);
        }
        Ok(block)
    }

    fn blkno_of(&self, inode: SystemInode) -> Blkno {
        self.inode(inode).map_or(Blkno(0), |inode| inode.blkno)
    }

    fn root_blkno(&self) -> Blkno {
        self.blkno_of(SystemInode::RootDir)
    }

    fn system_dir_blkno(&self) -> Blkno {
        self.blkno_of(SystemInode::SystemDir)
    }

    fn is_checked(&self) -> bool {
        self.layout.has(Incompat::META_ECC) && !self.settings.is_heartbeat_device()
    }

    /// Adds the block check, where the volume has them.
    pub(crate) fn stamp<T: Block>(&self, block: &mut [u8]) {
        self.stamp_at(block, T::CHECK_OFFSET);
    }

    /// The same at byte `check_offset` of a block, or of several.
    pub(crate) fn stamp_at(&self, block: &mut [u8], check_offset: usize) {
        if self.is_checked() {
            check::stamp(block, check_offset);
        }
    }

    fn dinode(
        &self,
        place: Suballocated,
        kind: FileKind,
        permissions: u16,
        flags: InodeFlags,
    ) -> Dinode {
        let layout = &self.layout;
        Dinode {
            i_signature: Dinode::SIGNATURE,
            i_generation: layout.generation,
            i_suballoc_slot: Dinode::GLOBAL_SLOT,
            i_suballoc_bit: place.bit,
            i_mode: kind.mode_bits() | permissions,
            i_links_count: 1,
            i_flags: flags.bits(),
            i_atime: layout.time,
            i_ctime: layout.time,
            i_mtime: layout.time,
            i_blkno: place.blkno,
            i_fs_generation: layout.generation,
            ..Default::default()
        }
    }

    /// Adds a dinode, whose `id2` is written by `fill`, to the blocks.
    fn put_dinode(
        &self,
        dinode: &Dinode,
        blocks: &mut Blocks,
        fill: impl FnOnce(&mut [u8]) -> Result<(), Truncated>,
    ) -> Result<(), Truncated> {
        let mut block = vec![0; self.layout.block_size()];
        dinode.encode(&mut block)?;
        fill(&mut block[Dinode::ID2_OFFSET..])?;
        self.stamp::<Dinode>(&mut block);
        blocks.insert(dinode.i_blkno, NewBlock::Bytes(block));
        Ok(())
    }

    /// Adds a file with extents, and the blocks of its tree, to the blocks.
    pub(crate) fn put_file(
        &self,
        mut dinode: Dinode,
        data: &FileData,
        size: u64,
        blocks: &mut Blocks,
    ) -> Result<(), Truncated> {
        dinode.i_clusters = data.clusters();
        dinode.i_size = size;
        let mut id2 = vec![0; self.layout.block_size() - Dinode::ID2_OFFSET];
        dinode.i_last_eb_blk = data.last_leaf(&self.layout, self.layout.chain_capacity());
        for (blkno, mut block) in data.write_tree(&self.layout, &mut id2)? {
            self.stamp::<ExtentBlock>(&mut block);
            blocks.insert(blkno, NewBlock::Bytes(block));
        }
        self.put_dinode(&dinode, blocks, |room| {
            room.copy_from_slice(&id2);
            Ok(())
        })
    }

    /// A directory with `.` and `..`, in its dinode if `clusters` is 0.
    fn directory(&self, blkno: Blkno, parent: Blkno, clusters: u32) -> Directory {
        let usable = match clusters {
            0 => self.layout.inline_capacity(),
            _ => self.layout.usable(),
        };
        Directory::new(blkno, parent, usable)
    }

    fn put_directory(
        &self,
        dinode: Dinode,
        directory: Directory,
        place: &DirectoryData,
        blocks: &mut Blocks,
    ) -> Result<(), Truncated> {
        let hole = directory.largest_hole();
        self.put_directory_with_hole(dinode, directory, hole, place, blocks)
    }

    /// Adds a directory to the blocks. `hole` is the largest hole that its index states.
    fn put_directory_with_hole(
        &self,
        mut dinode: Dinode,
        directory: Directory,
        hole: u16,
        place: &DirectoryData,
        blocks: &mut Blocks,
    ) -> Result<(), Truncated> {
        let layout = &self.layout;
        let Some(first) = place.data.block(&layout.geometry, 0) else {
            let count = layout.inline_capacity();
            dinode.i_dyn_features = DynFeatures::INLINE_DATA.bits();
            dinode.i_size = count as u64;
            return self.put_dinode(&dinode, blocks, |id2| {
                InlineData { id_count: count as u16, ..Default::default() }.encode(id2)?;
                id2[InlineData::SIZE..].copy_from_slice(directory.inline());
                Ok(())
            });
        };
        let mut free_rec_len = 0;
        if let Some(index) = &place.index {
            dinode.i_dyn_features = DynFeatures::INDEXED_DIR.bits();
            dinode.i_dx_root = index.place.blkno;
            free_rec_len = hole;
            let root = self.index_root(index, dinode.i_blkno, first)?;
            blocks.insert(index.place.blkno, NewBlock::Bytes(root));
        }
        let size = (directory.len() * layout.block_size()) as u64;
        for (blkno, mut block) in directory.into_blocks(layout.block_size(), first, free_rec_len) {
            if layout.has_trailers() {
                self.stamp_at(&mut block, DirTrailer::check_offset(layout.block_size()));
            }
            blocks.insert(blkno, NewBlock::Bytes(block));
        }
        self.put_file(dinode, &place.data, size, blocks)
    }

    fn index_root(
        &self,
        index: &IndexRoot,
        directory: Blkno,
        block: Blkno,
    ) -> Result<Vec<u8>, Truncated> {
        let (seed, sign) = (self.settings.dx_seed, self.settings.name_hash);
        let entry = |name| {
            let hash = dx_hash(name, seed, sign);
            DxEntry { dx_major_hash: hash.major, dx_minor_hash: hash.minor, dx_dirent_blk: block }
        };
        let names = [&b"."[..], b".."].into_iter().chain(index.names.iter().copied());
        let entries: Vec<_> = names.map(entry).collect();
        let root = DxRoot {
            dr_signature: DxRoot::SIGNATURE,
            dr_suballoc_slot: 0,
            dr_suballoc_bit: index.place.bit,
            dr_fs_generation: self.layout.generation,
            dr_blkno: index.place.blkno,
            dr_flags: DxFlags::INLINE.bits(),
            dr_dir_blkno: directory,
            dr_num_entries: entries.len() as u32,
            dr_free_blk: block,
            dr_suballoc_loc: index.place.loc,
            ..Default::default()
        };
        let mut bytes = vec![0; self.layout.block_size()];
        root.encode(&mut bytes)?;
        write_dx_entries(&mut bytes[DxRoot::SIZE..], &entries)?;
        self.stamp::<DxRoot>(&mut bytes);
        Ok(bytes)
    }

    fn system_inode(
        &self,
        inode: SystemInode,
        place: Suballocated,
        blocks: &mut Blocks,
    ) -> Result<(), Truncated> {
        let layout = &self.layout;
        let permissions = if inode.kind() == FileKind::Directory { 0o755 } else { 0o644 };
        let mut dinode = self.dinode(place, inode.kind(), permissions, inode.flags());
        match inode {
            SystemInode::File(file) => self.system_file(file, dinode, blocks),
            SystemInode::RootDir => {
                let clusters = self.root.data.clusters();
                let mut directory = self.directory(place.blkno, place.blkno, clusters);
                dinode.i_links_count = 2 + u16::from(self.lost_found.is_some());
                // As with the C tools, the index was made while the directory was empty. The hole
                // that it states still includes the space of lost+found.
                let hole = directory.largest_hole();
                if let Some((lost_found, _)) = &self.lost_found {
                    directory.add(LOST_FOUND, lost_found.blkno, FileType::Directory);
                }
                self.put_directory_with_hole(dinode, directory, hole, &self.root, blocks)
            }
            SystemInode::SystemDir => {
                let clusters = self.system_dir.clusters();
                let mut directory = self.directory(place.blkno, place.blkno, clusters);
                for (file, inode) in &self.inodes {
                    let file_type = FileType::from(file.kind());
                    if let Some(name) = file.name() {
                        directory.add(name.as_bytes(), inode.blkno, file_type);
                    }
                }
                dinode.i_links_count = 2 + layout.slots;
                let data = DirectoryData { data: self.system_dir.clone(), index: None };
                self.put_directory(dinode, directory, &data, blocks)
            }
        }
    }

    fn system_file(
        &self,
        file: SystemFile,
        mut dinode: Dinode,
        blocks: &mut Blocks,
    ) -> Result<(), Truncated> {
        let layout = &self.layout;
        let whole = |data: &FileData| u64::from(data.clusters()) * layout.cluster_size();
        let slot = usize::from(file.slot().unwrap_or_default());
        match file {
            SystemFile::OrphanDir(_) => {
                let data = &self.orphan_dirs[slot];
                let parent = self.system_dir_blkno();
                let directory = self.directory(dinode.i_blkno, parent, data.data.clusters());
                dinode.i_links_count = 2;
                self.put_directory(dinode, directory, data, blocks)
            }
            SystemFile::BadBlocks => self.put_file(dinode, &FileData::default(), 0, blocks),
            SystemFile::SlotMap => {
                self.put_file(dinode, &self.slot_map, whole(&self.slot_map), blocks)
            }
            SystemFile::Heartbeat => {
                let size = 256 * layout.block_size() as u64;
                self.put_file(dinode, &self.heartbeat, size, blocks)
            }
            SystemFile::Journal(_) => {
                let journal = &self.journals[slot];
                self.put_file(dinode, journal, whole(journal), blocks)
            }
            SystemFile::Quota(kind) => self.put_global_quota(dinode, kind, blocks),
            SystemFile::LocalQuota(kind, _) => self.put_local_quota(dinode, kind, slot, blocks),
            SystemFile::GlobalBitmap => self.put_global_bitmap(dinode, blocks),
            SystemFile::GlobalInodeAlloc => {
                self.put_allocator(dinode, &self.inode_alloc_global, blocks)
            }
            SystemFile::InodeAlloc(0) => self.put_allocator(dinode, &self.inode_alloc, blocks),
            SystemFile::InodeAlloc(_) => {
                self.put_allocator(dinode, &Suballocator::new(layout), blocks)
            }
            SystemFile::ExtentAlloc(_) => {
                self.put_allocator(dinode, &self.extent_allocs[slot], blocks)
            }
            SystemFile::LocalAlloc(_) => self.put_dinode(&dinode, blocks, |id2| {
                let la_size = LocalAlloc::bitmap_size(layout.geometry.block_size);
                LocalAlloc { la_size, ..Default::default() }.encode(id2)
            }),
            SystemFile::TruncateLog(_) => self.put_dinode(&dinode, blocks, |id2| {
                let tl_count = TruncateLogHeader::capacity(layout.geometry.block_size);
                TruncateLogHeader { tl_count, ..Default::default() }.encode(id2)
            }),
        }
    }

    fn put_allocator(
        &self,
        mut dinode: Dinode,
        alloc: &Suballocator,
        blocks: &mut Blocks,
    ) -> Result<(), Truncated> {
        let layout = &self.layout;
        let (used, total) = alloc.counts();
        let bits_per_cluster = layout.geometry.blocks_per_cluster() as u16;
        dinode.set_bitmap(used, total);
        dinode.i_clusters = total / u32::from(bits_per_cluster);
        dinode.i_size = u64::from(dinode.i_clusters) * layout.cluster_size();
        self.put_dinode(&dinode, blocks, |id2| {
            write_chain_list(id2, alloc.clusters_per_group, bits_per_cluster, &alloc.chains())
        })
    }

    fn put_global_bitmap(&self, mut dinode: Dinode, blocks: &mut Blocks) -> Result<(), Truncated> {
        let geometry = self.layout.geometry;
        let chains = self.layout.chain_capacity() as u32;
        let mut records = Vec::new();
        for chain in 0..chains.min(geometry.groups()) {
            let mut record =
                ChainRec { c_blkno: geometry.group_blkno(chain), ..Default::default() };
            for group in (chain..geometry.groups()).step_by(chains as usize) {
                record.c_free += self.map.free_in(group);
                record.c_total += geometry.group_clusters(group);
            }
            records.push(record);
        }
        dinode.set_bitmap(self.map.used(), geometry.clusters);
        dinode.i_clusters = geometry.clusters;
        dinode.i_size = geometry.size_bytes();
        self.put_dinode(&dinode, blocks, |id2| {
            write_chain_list(id2, GroupDesc::max_bits(geometry.block_size), 1, &records)
        })
    }

    fn cluster_group(&self, group: u32) -> Result<Vec<u8>, Truncated> {
        let geometry = self.layout.geometry;
        let chains = self.layout.chain_capacity() as u32;
        let next = group.checked_add(chains).filter(|next| *next < geometry.groups());
        let desc = GroupDesc {
            bg_signature: GroupDesc::SIGNATURE,
            bg_size: GroupDesc::bitmap_size(geometry.block_size),
            bg_bits: geometry.group_clusters(group) as u16,
            bg_free_bits_count: self.map.free_in(group) as u16,
            bg_chain: (group % chains) as u16,
            bg_generation: self.layout.generation,
            bg_next_group: next.map_or(Blkno(0), |next| geometry.group_blkno(next)),
            bg_parent_dinode: self.blkno_of(SystemInode::File(SystemFile::GlobalBitmap)),
            bg_blkno: geometry.group_blkno(group),
            ..Default::default()
        };
        self.group_block(&desc, self.map.bitmap_of(group).unwrap_or(&[1]))
    }

    fn suballocator_group(
        &self,
        alloc: &Suballocator,
        group: usize,
        owner: SystemFile,
    ) -> Result<(Blkno, Vec<u8>), Truncated> {
        let block_size = self.layout.geometry.block_size;
        let small =
            self.layout.has(Incompat::DISCONTIG_BG) && owner != SystemFile::GlobalInodeAlloc;
        let group = &alloc.groups[group];
        let desc = GroupDesc {
            bg_signature: GroupDesc::SIGNATURE,
            bg_size: match small {
                true => GroupDesc::DISCONTIG_BITMAP_SIZE,
                false => GroupDesc::bitmap_size(block_size),
            },
            bg_bits: group.bits,
            bg_free_bits_count: group.free(),
            bg_chain: group.chain,
            bg_generation: self.layout.generation,
            bg_next_group: group.next.map_or(Blkno(0), |next| alloc.groups[next].blkno),
            bg_parent_dinode: self.blkno_of(SystemInode::File(owner)),
            bg_blkno: group.blkno,
            ..Default::default()
        };
        Ok((group.blkno, self.group_block(&desc, group.bitmap_bytes())?))
    }

    fn group_block(&self, desc: &GroupDesc, bitmap: &[u8]) -> Result<Vec<u8>, Truncated> {
        let mut block = vec![0; self.layout.block_size()];
        desc.encode(&mut block)?;
        block[GroupDesc::BITMAP_OFFSET..][..bitmap.len()].copy_from_slice(bitmap);
        self.stamp::<GroupDesc>(&mut block);
        Ok(block)
    }

    fn journal_superblock(&self, journal: &FileData) -> Result<Vec<u8>, Truncated> {
        let geometry = self.layout.geometry;
        let blocks = journal.clusters() << geometry.bpc_bits();
        let uuid = self.settings.uuid.into_bytes();
        let block64 = self.settings.journal_block64;
        let superblock = JournalSuperblock::new(geometry.block_size, blocks, uuid, block64);
        let mut block = vec![0; self.layout.block_size()];
        superblock.encode(&mut block)?;
        Ok(block)
    }
}
