//! Moving the blocks of directories and of their indexes.
//!
//! Index entries and the list of blocks with room name blocks by their numbers: an index is built
//! anew if anything of it or of its directory moves.

use ocfs2_format::Blkno;
use ocfs2_format::dx::DxRoot;

use super::{Beyond, trees::Unit};
use crate::edit::file::part_of;
use crate::edit::{Edit, EditError, Holds, Root};
use crate::{Error, Inode, Volume};

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
            edit.move_dir(&inode, |edit, root| {
                edit.rebuild_tree(root, beyond, Unit::Clusters)?;
                let (mut copies, mut moved) = (Vec::new(), Vec::new());
                for extent in root.extents(&edit.volume)? {
                    let mut part = beyond.part(&edit.volume, &extent);
                    while !part.is_empty() {
                        let old = part_of(edit, &extent, part.clone());
                        part.start = edit.move_extent(root, &old, false, &mut moved)?;
                        copies.extend(moved.pop().map(|copied| (old.cpos, copied)));
                    }
                }
                Ok(Some(copies))
            })?;
            Ok(())
        })
    }

    /// Makes what belongs to the index of a directory name the directory's new number.
    pub(super) fn rename_index_owner(&mut self, dir: &Inode, new: Blkno) -> Result<(), EditError> {
        if !self.is_indexed(dir) {
            return Ok(());
        }
        self.update::<DxRoot>(dir.dinode.i_dx_root, |root, _| root.dr_dir_blkno = new)
    }
}
