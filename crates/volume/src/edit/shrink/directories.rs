//! Moving the blocks of directories and of their indexes.
//!
//! Index entries and the list of blocks with room name blocks by their numbers: an index is built
//! anew if anything of it or of its directory moves.

use ocfs2_format::Blkno;
use ocfs2_format::dir::DirTrailer;
use ocfs2_format::dx::DxRoot;

use super::{Beyond, trees::Unit};
use crate::edit::file::{Copied, part_of};
use crate::edit::{Edit, EditError, Holds, Root};
use crate::{Error, InBlock, Inode, Volume};

impl Volume {
    /// Whether anything of the index of a directory goes.
    pub(super) fn has_index_beyond(&self, dir: &Inode, beyond: &Beyond) -> Result<bool, Error> {
        if !self.is_indexed(dir) {
            return Ok(false);
        }
        let (header, block) = self.dx_root(dir)?;
        if beyond.has(header.dr_blkno) {
            return Ok(true);
        }
        if header.is_inline() {
            return Ok(false);
        }
        let list = block.get(DxRoot::LIST_OFFSET..).unwrap_or_default().to_vec();
        let (at, last, clusters) = (header.dr_blkno, header.dr_last_eb_blk, header.dr_clusters);
        let root = Root::new(at, Holds::Keyed, list, last, clusters);
        for extent in self.tree_of(&root, Unit::Clusters)?.extents() {
            if beyond.cuts(self, &extent?) {
                return Ok(true);
            }
        }
        self.has_tree_beyond(&root, beyond, Unit::Clusters)
    }
}

impl Edit {
    /// Moves the blocks of a directory and its index that go. Times stay.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; the directory is damaged.
    pub fn move_directory(&mut self, dir: Blkno, beyond: &Beyond) -> Result<(), EditError> {
        self.attempt(|edit| {
            let inode = edit.directory(dir)?;
            if inode.is_inline() {
                return Ok(());
            }
            let is_indexed = edit.is_indexed(&inode);
            let hashes = if is_indexed { edit.name_hashes(&inode)? } else { Vec::new() };
            let mut root = edit.inode_root(&inode)?;
            edit.rebuild_tree(&mut root, beyond, Unit::Clusters)?;
            let mut moved = Vec::new();
            for extent in root.extents(&edit.volume)? {
                let mut part = beyond.part(&edit.volume, &extent);
                while !part.is_empty() {
                    let old = part_of(edit, &extent, part.clone());
                    part.start = edit.move_extent(&mut root, &old, false, &mut moved)?;
                    if let Some(copied) = moved.pop() {
                        edit.copy_dir_blocks(&inode, old.cpos.0.into(), copied)?;
                    }
                }
            }
            edit.store_inode_root(&root)?;
            if is_indexed {
                edit.free_index(&inode)?;
                edit.put_index(&edit.inode(dir)?, hashes)?;
            }
            Ok(())
        })
    }

    /// Copies clusters of a directory, from position `cpos` of it on. Trailers state where they
    /// are.
    fn copy_dir_blocks(&mut self, dir: &Inode, cpos: u64, copied: Copied) -> Result<(), EditError> {
        let (bits, size) = (self.geometry().bpc_bits(), self.block_size());
        let end = dir.size().div_ceil(size.bytes().into());
        for index in 0..u64::from(copied.clusters) << bits {
            let (from, to) = (Blkno(copied.from.0 + index), Blkno(copied.to.0 + index));
            let mut block = self.read_block(from)?;
            if !self.has_dir_trailers(dir) || (cpos << bits) + index >= end {
                self.volume.write_raw(to, &block)?;
                continue;
            }
            let mut trailer = DirTrailer::of_block(&block).in_block(from)?;
            trailer.verify(from, dir.blkno).map_err(Error::from)?;
            trailer.db_blkno = to;
            trailer.write(&mut block).in_block(to)?;
            self.volume.write_metadata(to, &block, DirTrailer::check_offset(size.size()))?;
        }
        Ok(())
    }

    /// Makes what belongs to the index of a directory name the directory's new number.
    pub(super) fn rename_index_owner(&mut self, dir: &Inode, new: Blkno) -> Result<(), EditError> {
        if !self.is_indexed(dir) {
            return Ok(());
        }
        self.update::<DxRoot>(dir.dinode.i_dx_root, |root, _| root.dr_dir_blkno = new)
    }
}
