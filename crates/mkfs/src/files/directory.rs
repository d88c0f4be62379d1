//! A directory whose entries are all known: in its inode, or in blocks with an index.

use ocfs2_format::dinode::{Dinode, DynFeatures, FileKind, InodeFlags};
use ocfs2_format::dir::{DirTrailer, FileType, entry_size, write_entry};
use ocfs2_format::feature::Incompat;
use ocfs2_format::geometry::Geometry;
use ocfs2_format::hash::dx_hash;
use ocfs2_format::inline::InlineData;
use ocfs2_format::{Blkno, Structure, Truncated};

use super::index::Hashed;
use super::{Directory, Files, FillError};
use crate::file::{FileData, list_capacity};

/// Packs entries. The last one of each block extends to its end.
struct Packer {
    bytes: Vec<u8>,
    /// Size of a block in bytes, and the part of it for entries.
    block_size: usize,
    usable: usize,
    /// Offset of the last entry, and its length without the hole.
    last: (usize, usize),
    /// Length of the hole at the end of each full block.
    holes: Vec<u16>,
}

impl Packer {
    fn new(block_size: usize, usable: usize) -> Self {
        Self { bytes: vec![0; block_size], block_size, usable, last: (0, 0), holes: Vec::new() }
    }

    /// Offset of the block that is being filled.
    fn block(&self) -> usize {
        self.bytes.len() - self.block_size
    }

    /// Adds an entry. Returns the index of its block.
    fn add(&mut self, name: &[u8], inode: Blkno, file_type: FileType) -> Result<usize, Truncated> {
        let needed = entry_size(name.len());
        let mut at = self.last.0 + self.last.1;
        if at + needed > self.block() + self.usable {
            self.end_block();
            self.bytes.resize(self.bytes.len() + self.block_size, 0);
            at = self.block();
        }
        write_entry(&mut self.bytes[at..], inode, needed as u16, file_type, name)?;
        self.last = (at, needed);
        Ok(self.holes.len())
    }

    fn end_block(&mut self) {
        let (at, len) = self.last;
        let rec_len = self.block() + self.usable - at;
        self.bytes[at + 8..at + 10].copy_from_slice(&(rec_len as u16).to_le_bytes());
        let hole = rec_len - len;
        self.holes.push(if hole >= entry_size(1) { hole as u16 } else { 0 });
    }
}

/// The numbers of the first `count` blocks of a file, in order.
fn block_numbers(data: &FileData, geometry: &Geometry, count: usize) -> Vec<Blkno> {
    data.block_ranges(geometry).flatten().take(count).map(Blkno).collect()
}

impl Files<'_> {
    pub(super) fn write_directory(&mut self, directory: Directory) -> Result<(), FillError> {
        let Directory { place, parent, attributes, entries, folders, data } = directory;
        let dots = [(&b"."[..], place.blkno), (b"..", parent)];
        let dots = dots.into_iter().map(|(name, inode)| (name, (inode, FileType::Directory)));
        let all = dots.chain(entries.iter().map(|(name, entry)| (&**name, *entry)));
        let needed: usize = all.clone().map(|(name, _)| entry_size(name.len())).sum();
        // Entries in the inode have to reach its end: the C fsck looks for entries where the
        // attributes would be.
        let room = self.plan.layout.inline_capacity();
        let is_inline = self.plan.layout.has(Incompat::INLINE_DATA) && needed <= room;
        let xattrs = self.store_xattrs(&attributes.xattrs, !is_inline)?;
        let mut dinode = self.new_dinode(place, &attributes, FileKind::Directory, &xattrs);
        if place.loc.is_none() || place.blkno == parent {
            // The inode of the root is among those of the system files.
            dinode.i_suballoc_slot = Dinode::GLOBAL_SLOT;
            dinode.i_suballoc_loc = Blkno(0);
            dinode.i_generation = self.plan.layout.generation;
            dinode.i_flags |= InodeFlags::SYSTEM.bits();
        }
        let indexed_dirs = self.plan.layout.has(Incompat::INDEXED_DIRS);
        dinode.set_links_count(2 + folders, indexed_dirs);
        let mut id2 = vec![0; self.id2_size(&xattrs)];
        if is_inline {
            let mut packer = Packer::new(room, room);
            for (name, (inode, file_type)) in all {
                packer.add(name, inode, file_type)?;
            }
            packer.end_block();
            InlineData { id_count: room as u16, ..Default::default() }.encode(&mut id2)?;
            id2[InlineData::SIZE..].copy_from_slice(&packer.bytes);
            dinode.i_dyn_features |= DynFeatures::INLINE_DATA.bits();
            dinode.i_size = room as u64;
            return self.put_inode(place, &dinode, &id2, &xattrs);
        }

        let layout = &self.plan.layout;
        let has_trailers = layout.has_trailers();
        let (seed, sign) = (self.plan.settings.dx_seed, self.plan.settings.name_hash);
        let mut packer = Packer::new(layout.block_size(), layout.usable());
        let mut hashed = Vec::new();
        for (name, (inode, file_type)) in all {
            let block = packer.add(name, inode, file_type)?;
            if indexed_dirs {
                hashed.push(Hashed { hash: dx_hash(name, seed, sign), block });
            }
        }
        packer.end_block();
        drop(entries);
        let Packer { mut bytes, holes, .. } = packer;

        let geometry = layout.geometry;
        let clusters = geometry.clusters_for(bytes.len() as u64);
        let clusters = clusters.ok_or(FillError::TooLarge { bytes: bytes.len() as u64 })?;
        let mut file = data.data;
        while file.clusters() < clusters {
            let (start, count) = self.new_clusters(clusters - file.clusters())?;
            file.append(&self.plan.layout, start, count);
        }
        let blocks = block_numbers(&file, &geometry, holes.len());
        let mut free = Blkno(0);
        if has_trailers {
            // Blocks with a hole form a list, which starts at the first of them.
            let size = self.plan.layout.block_size();
            let rows = bytes.chunks_mut(size).zip(&blocks).zip(&holes);
            for ((block, blkno), hole) in rows.rev() {
                let hole = if indexed_dirs { *hole } else { 0 };
                let mut trailer = DirTrailer::new(*blkno, place.blkno, hole);
                if hole > 0 {
                    trailer.db_free_next = std::mem::replace(&mut free, *blkno);
                }
                trailer.write(block)?;
                self.plan.stamp_at(block, DirTrailer::check_offset(size));
            }
        }
        self.put_blocks(&file, &bytes)?;
        if indexed_dirs {
            let index = data.index.map(|index| index.place);
            let (root, clusters) = self.write_index(index, place.blkno, hashed, &blocks, free)?;
            let cluster_size = self.plan.layout.cluster_size();
            self.plan.usage.charge_index(&dinode, clusters, cluster_size);
            dinode.i_dyn_features |= DynFeatures::INDEXED_DIR.bits();
            dinode.i_dx_root = root;
        }
        self.put_tree(&mut file, &mut id2)?;
        dinode.i_size = bytes.len() as u64;
        dinode.i_clusters = file.clusters();
        dinode.i_last_eb_blk = file.last_leaf(&self.plan.layout, list_capacity(&id2));
        self.put_inode(place, &dinode, &id2, &xattrs)
    }

    /// Writes blocks to the extents of a file, from its start on.
    fn put_blocks(&mut self, file: &FileData, mut bytes: &[u8]) -> Result<(), FillError> {
        let geometry = self.plan.layout.geometry;
        let size = u64::from(geometry.block_size.bytes());
        for range in file.block_ranges(&geometry) {
            let len = ((range.end - range.start) * size).min(bytes.len() as u64);
            let (part, rest) = bytes.split_at(len as usize);
            self.data.put(range.start * size, part)?;
            bytes = rest;
        }
        Ok(())
    }
}
