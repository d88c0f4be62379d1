//! A volume of many files, made in seconds: what a kernel would need an hour for here.
//!
//! The structures are those the kernel makes on a volume without directory indexes: groups of
//! inodes in the allocator of slot 1, folders of a thousand files below `/many`, a cluster for
//! each file. The C fsck says whether they are right.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ocfs2_format::bitmap::BitmapMut;
use ocfs2_format::chain::{ChainList, ChainRec, suballocator_cpg, write_chain_list};
use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::dir::{self, DirEntryHeader, FileType, entry_size, write_entry};
use ocfs2_format::extent::{ExtentFlags, ExtentRec, write_extent_list};
use ocfs2_format::feature::Incompat;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::inline::InlineData;
use ocfs2_format::{Blkno, Cpos, Structure};
use ocfs2_volume::device::{DeviceOptions, open};
use ocfs2_volume::{Inode, Volume, VolumeOptions};

/// Files of a folder.
pub const FILES_PER_FOLDER: u32 = 1000;

/// The slot whose allocator the inodes are from: one that mkfs did not use.
const SLOT: u16 = 1;

/// Puts `files` files of one cluster each into the fresh volume in `image`.
///
/// # Panics
/// They do not fit, or the volume has features this does not write: it has to have inline
/// data, and neither metadata checksums nor directory indexes.
pub fn populate(image: &Path, files: u32) {
    populate_folders(image, files, FILES_PER_FOLDER);
}

/// The same with another number of files in each folder.
///
/// # Panics
/// As [`populate`]; also if there were more than 60,000 folders.
pub fn populate_folders(image: &Path, files: u32, files_per_folder: u32) {
    let device = open(image, &DeviceOptions::default()).unwrap();
    let volume = Volume::open(device, &VolumeOptions::default()).unwrap();
    assert!(!volume.has(Incompat::META_ECC | Incompat::INDEXED_DIRS));
    let file = File::options().write(true).open(image).unwrap();
    let mut populate = Populate::new(&volume, file);
    let folders = files.div_ceil(files_per_folder);
    assert!(folders <= 60_000, "a folder has no more links");
    let mut names = Vec::new();
    let many = populate.inode();
    for folder in 0..folders {
        let place = populate.inode();
        let count = files_per_folder.min(files - folder * files_per_folder);
        let mut entries = Vec::new();
        for number in 0..count {
            let blkno = populate.inode();
            let cluster = populate.clusters(1);
            populate.regular(blkno, cluster);
            entries.push((blkno, format!("file-{number:04}"), FileType::Regular));
        }
        populate.directory(place, many, &entries, 0);
        names.push((place, format!("folder-{folder:04}"), FileType::Directory));
    }
    let root = volume.root().unwrap();
    populate.directory(many, root.blkno, &names, folders);
    populate.enter_into(root, many, b"many");
    populate.finish();
}

/// A group of inodes that is being filled.
struct Inodes {
    blkno: Blkno,
    next: u32,
    /// The blocks of the group, written in one piece.
    blocks: Vec<u8>,
}

struct Populate<'v> {
    volume: &'v Volume,
    file: File,
    /// A bit for each cluster, and the one from which the search for a free one goes on.
    bitmap: Vec<u8>,
    next: u32,
    inodes: Option<Inodes>,
    /// Groups that are full, and the chains they make.
    groups: Vec<Blkno>,
    allocator: Inode,
    chains: Vec<ChainRec>,
    used: u32,
}

impl<'v> Populate<'v> {
    fn new(volume: &'v Volume, file: File) -> Self {
        let clusters = volume.geometry().clusters;
        let mut bitmap = vec![0; clusters.div_ceil(8) as usize];
        for group in volume.groups(&volume.global_bitmap().unwrap()) {
            let group = group.unwrap();
            let first = volume.cluster_of_bit(&group, 0).unwrap().0 as usize;
            for run in group.bitmap().runs(true) {
                BitmapMut::new(&mut bitmap, clusters as usize)
                    .set_range(first + run.start, run.len());
            }
        }
        let allocator = volume.slot_file("inode_alloc", SLOT).unwrap();
        assert_eq!(allocator.dinode.i_clusters, 0, "the volume is not fresh");
        let (groups, chains) = (Vec::new(), Vec::new());
        let (next, inodes, used) = (0, None, 0);
        Self { volume, file, bitmap, next, inodes, groups, allocator, chains, used }
    }

    fn write(&self, blkno: Blkno, bytes: &[u8]) {
        let offset = blkno.offset_bytes(self.volume.block_size()).unwrap();
        self.file.write_all_at(bytes, offset).unwrap();
    }

    fn block(&self) -> Vec<u8> {
        vec![0; self.volume.block_size().size()]
    }

    /// Takes clusters in a row.
    fn clusters(&mut self, count: u32) -> u32 {
        let clusters = self.volume.geometry().clusters;
        let is_set = |cluster: u32| self.bitmap[cluster as usize / 8] & 1 << (cluster % 8) != 0;
        let mut start = self.next;
        let mut at = start;
        while at < start + count {
            assert!(at < clusters, "the volume is full");
            if is_set(at) {
                start = at + 1;
            }
            at += 1;
        }
        let mut bitmap = BitmapMut::new(&mut self.bitmap, clusters as usize);
        bitmap.set_range(start as usize, count as usize);
        self.next = start + count;
        start
    }

    /// Takes an inode.
    fn inode(&mut self) -> Blkno {
        let volume = self.volume;
        let cluster_size = volume.geometry().cluster_size;
        let cpg = suballocator_cpg(volume.block_size(), cluster_size);
        let bits = u32::from(cpg) << volume.geometry().bpc_bits();
        if self.inodes.as_ref().is_none_or(|inodes| inodes.next == bits) {
            self.end_group();
            let start = self.clusters(cpg.into());
            let blkno = Blkno(u64::from(start) << volume.geometry().bpc_bits());
            let blocks = vec![0; bits as usize * volume.block_size().size()];
            self.inodes = Some(Inodes { blkno, next: 1, blocks });
        }
        let inodes = self.inodes.as_mut().unwrap();
        inodes.next += 1;
        Blkno(inodes.blkno.0 + u64::from(inodes.next - 1))
    }

    /// Writes the group that is being filled.
    fn end_group(&mut self) {
        let Some(mut inodes) = self.inodes.take() else { return };
        let volume = self.volume;
        let size = volume.block_size().size();
        let bits = (inodes.blocks.len() / size) as u32;
        let chains = ((size - 0xd0) / ChainRec::SIZE).min(100);
        let chain = self.groups.len() % chains;
        let next = self.chains.get(chain).map_or(Blkno(0), |chain| chain.c_blkno);
        let bg_size = match volume.has(Incompat::DISCONTIG_BG) {
            true => GroupDesc::DISCONTIG_BITMAP_SIZE,
            false => GroupDesc::bitmap_size(volume.block_size()),
        };
        let desc = GroupDesc {
            bg_signature: GroupDesc::SIGNATURE,
            bg_size,
            bg_bits: bits as u16,
            bg_free_bits_count: (bits - inodes.next) as u16,
            bg_chain: chain as u16,
            bg_generation: volume.generation(),
            bg_next_group: next,
            bg_parent_dinode: self.allocator.blkno,
            bg_blkno: inodes.blkno,
            ..Default::default()
        };
        let block = &mut inodes.blocks[..size];
        desc.encode(block).unwrap();
        desc.bitmap_mut(block).unwrap().set_range(0, inodes.next as usize);
        self.write(inodes.blkno, &inodes.blocks);

        if chain == self.chains.len() {
            self.chains.push(ChainRec::default());
        }
        let rec = &mut self.chains[chain];
        rec.c_blkno = inodes.blkno;
        rec.c_total += bits;
        rec.c_free += bits - inodes.next;
        self.used += inodes.next;
        self.groups.push(inodes.blkno);
    }

    fn new_dinode(&self, blkno: Blkno, mode: u16, links: u16) -> Dinode {
        let now = 1_700_000_000;
        let group = self.inodes.as_ref().unwrap().blkno;
        // A folder is written after its group may have ended.
        let group = if blkno > group { group } else { *self.group_of(blkno) };
        Dinode {
            i_signature: Dinode::SIGNATURE,
            i_generation: blkno.0 as u32,
            i_suballoc_slot: SLOT,
            i_suballoc_bit: (blkno.0 - group.0) as u16,
            i_mode: mode,
            i_links_count: links,
            i_flags: InodeFlags::VALID.bits(),
            i_atime: now,
            i_ctime: now,
            i_mtime: now,
            i_blkno: blkno,
            i_fs_generation: self.volume.generation(),
            ..Default::default()
        }
    }

    fn group_of(&self, blkno: Blkno) -> &Blkno {
        self.groups.iter().rev().find(|group| **group <= blkno).unwrap()
    }

    /// Writes an inode whose contents are `count` clusters from `start` on.
    fn put(&mut self, mut dinode: Dinode, start: u32, count: u16) {
        dinode.i_clusters = count.into();
        let first = Blkno(u64::from(start) << self.volume.geometry().bpc_bits());
        let extent = ExtentRec::leaf(Cpos(0), count, ExtentFlags::empty(), first);
        let mut block = self.block();
        dinode.encode(&mut block).unwrap();
        write_extent_list(&mut block[Dinode::ID2_OFFSET..], 0, &[extent]).unwrap();
        self.put_block(dinode.i_blkno, &block);
    }

    /// Writes a block of a group, which may still be in memory.
    fn put_block(&mut self, blkno: Blkno, block: &[u8]) {
        if let Some(inodes) = &mut self.inodes
            && let Some(index) = blkno.0.checked_sub(inodes.blkno.0)
            && let Some(room) = inodes.blocks.chunks_exact_mut(block.len()).nth(index as usize)
        {
            return room.copy_from_slice(block);
        }
        self.write(blkno, block);
    }

    fn regular(&mut self, blkno: Blkno, cluster: u32) {
        let mut dinode = self.new_dinode(blkno, 0o100_644, 1);
        dinode.i_size = self.volume.geometry().cluster_size.bytes().into();
        self.put(dinode, cluster, 1);
    }

    /// Writes a folder with `folders` folders in it.
    fn directory(
        &mut self,
        blkno: Blkno,
        parent: Blkno,
        entries: &[(Blkno, String, FileType)],
        folders: u32,
    ) {
        let size = self.volume.block_size().size();
        let dots = [(blkno, ".".to_owned()), (parent, "..".to_owned())];
        let dots = dots.into_iter().map(|(inode, name)| (inode, name, FileType::Directory));
        let all: Vec<_> = dots.chain(entries.iter().cloned()).collect();
        let (mut blocks, mut block, mut used, mut last) = (Vec::new(), vec![0; size], 0, 0);
        for (inode, name, file_type) in &all {
            let needed = entry_size(name.len());
            if used + needed > size {
                stretch(&mut block, last, size);
                blocks.append(&mut block);
                (block, used) = (vec![0; size], 0);
            }
            let name = name.as_bytes();
            write_entry(&mut block[used..], *inode, needed as u16, *file_type, name).unwrap();
            (last, used) = (used, used + needed);
        }
        stretch(&mut block, last, size);
        blocks.append(&mut block);

        let count = self.volume.geometry().clusters_for(blocks.len() as u64).unwrap();
        let start = self.clusters(count);
        self.write(Blkno(u64::from(start) << self.volume.geometry().bpc_bits()), &blocks);
        let mut dinode = self.new_dinode(blkno, 0o040_755, 2 + folders as u16);
        dinode.i_size = blocks.len() as u64;
        self.put(dinode, start, count as u16);
    }

    /// Enters a folder into one whose contents are inline.
    fn enter_into(&mut self, directory: Inode, folder: Blkno, name: &[u8]) {
        assert!(directory.is_inline());
        let mut dinode = directory.dinode.clone();
        dinode.i_links_count += 1;
        let mut block = directory.block().to_vec();
        dinode.encode(&mut block).unwrap();
        let room = InlineData::room(&mut block[Dinode::ID2_OFFSET..]).unwrap();
        let entry = dir::entries(room).map(Result::unwrap).last().unwrap();
        let (at, header) = (entry.offset, entry.header);
        let own = entry_size(header.name_len.into());
        let rest = usize::from(header.rec_len) - own;
        DirEntryHeader { rec_len: own as u16, ..header }.encode(&mut room[at..]).unwrap();
        let file_type = FileType::Directory;
        write_entry(&mut room[at + own..], folder, rest as u16, file_type, name).unwrap();
        self.write(directory.blkno, &block);
    }

    fn finish(mut self) {
        self.end_group();
        let volume = self.volume;
        let list = ChainList::new(self.allocator.id2()).unwrap().header;
        let mut dinode = self.allocator.dinode.clone();
        let total: u32 = self.chains.iter().map(|chain| chain.c_total).sum();
        dinode.set_bitmap(self.used, total);
        dinode.i_clusters = self.groups.len() as u32 * u32::from(list.cl_cpg);
        dinode.i_size = u64::from(dinode.i_clusters) << volume.geometry().cluster_size.bits();
        let mut block = self.allocator.block().to_vec();
        dinode.encode(&mut block).unwrap();
        let id2 = &mut block[Dinode::ID2_OFFSET..];
        write_chain_list(id2, list.cl_cpg, list.cl_bpc, &self.chains).unwrap();
        self.write(self.allocator.blkno, &block);
        self.finish_global_bitmap();
    }

    fn finish_global_bitmap(&self) {
        let volume = self.volume;
        let allocator = volume.global_bitmap().unwrap();
        let mut chains = allocator.chains.clone();
        chains.iter_mut().for_each(|chain| chain.c_free = 0);
        let mut free = 0;
        let clusters = volume.geometry().clusters as usize;
        for group in volume.groups(&allocator) {
            let group = group.unwrap();
            let first = volume.cluster_of_bit(&group, 0).unwrap().0 as usize;
            let mut block = group.block().to_vec();
            let mut desc = group.desc.clone();
            let all = ocfs2_format::bitmap::Bitmap::new(&self.bitmap, clusters);
            let mut bitmap = desc.bitmap_mut(&mut block).unwrap();
            let bits = bitmap.as_ref().len();
            for bit in (0..bits).filter(|bit| all.get(first + bit)) {
                bitmap.set_range(bit, 1);
            }
            let free_bits = bits - bitmap.as_ref().count_ones();
            desc.bg_free_bits_count = free_bits as u16;
            chains[usize::from(desc.bg_chain)].c_free += free_bits as u32;
            free += free_bits as u32;
            desc.encode(&mut block).unwrap();
            self.write(desc.bg_blkno, &block);
        }
        let mut dinode = allocator.inode.dinode.clone();
        let (_, total) = dinode.bitmap();
        dinode.set_bitmap(total - free, total);
        let mut block = allocator.inode.block().to_vec();
        dinode.encode(&mut block).unwrap();
        let id2 = &mut block[Dinode::ID2_OFFSET..];
        let header = allocator.header;
        write_chain_list(id2, header.cl_cpg, header.cl_bpc, &chains).unwrap();
        self.write(allocator.inode.blkno, &block);
    }
}

/// Lets the entry at `at` reach to the end of its block.
fn stretch(block: &mut [u8], at: usize, end: usize) {
    let header = DirEntryHeader::decode(&block[at..]).unwrap();
    let rec_len = (end - at) as u16;
    DirEntryHeader { rec_len, ..header }.encode(&mut block[at..]).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Run, Scratch, oracle, program};

    #[test]
    fn the_c_fsck_finds_nothing_wrong_with_it() {
        let Some(c_fsck) = oracle("fsck.ocfs2") else { return };
        for (cluster_size, per_folder) in [("4K", FILES_PER_FOLDER), ("32K", 7)] {
            let scratch = Scratch::new();
            let image = scratch.join("many.img");
            let options = ["-q", "-N", "2", "-C", cluster_size, "--fs-features=noindexed-dirs"];
            let mkfs = Run::new(program("mkfs.ocfs2")).args(options).arg(&image);
            mkfs.arg("2G").success();
            populate_folders(&image, 12_345, per_folder);
            let outcome = Run::new(&c_fsck).arg("-fn").arg(&image).success();
            assert!(outcome.stdout.contains("All passes succeeded"), "{outcome}");
            assert!(!outcome.stdout.contains('['), "{outcome}");
        }
    }
}
