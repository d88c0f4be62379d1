//! Moving attributes: their block, their buckets, their values.

use ocfs2_format::xattr::XattrBlock;
use ocfs2_format::{Blkno, Structure};

use super::{Beyond, MOST_EXTENTS, is_shared, trees::Unit};
use crate::allocator::Suballocated;
use crate::edit::{Contents, Edit, EditError, Root};
use crate::{Error, Inode, Volume};

impl Volume {
    /// Whether any metadata of the attributes of an inode goes.
    pub(super) fn has_xattrs_beyond(&self, inode: &Inode, beyond: &Beyond) -> Result<bool, Error> {
        if let Some((header, _)) = self.xattr_block_of(inode)? {
            if beyond.has(header.xb_blkno) {
                return Ok(true);
            }
            if header.is_indexed() {
                let root = self.bucket_root(header.xb_blkno)?;
                for extent in self.tree_of(&root, Unit::Clusters)?.extents() {
                    if beyond.cuts(self, &extent?) {
                        return Ok(true);
                    }
                }
                if self.has_tree_beyond(&root, beyond, Unit::Clusters)? {
                    return Ok(true);
                }
            }
        }
        for xattr in self.xattrs(inode) {
            let xattr = xattr?;
            if !xattr.entry.is_local() {
                let root = Root::of_value(xattr.blkno, &xattr.stored)?;
                if self.has_value_beyond(&root, beyond)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether clusters of a value go that it does not share, or blocks of its tree.
    fn has_value_beyond(&self, root: &Root, beyond: &Beyond) -> Result<bool, Error> {
        for extent in self.tree_of(root, Unit::Clusters)?.extents() {
            let extent = extent?;
            if !is_shared(&extent) && beyond.cuts(self, &extent) {
                return Ok(true);
            }
        }
        self.has_tree_beyond(root, beyond, Unit::Clusters)
    }
}

impl Edit {
    /// Moves what goes of the attributes of an inode, apart from what their values share. Returns
    /// whether there may be more, and what has to be copied before the transaction.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; the attributes are damaged.
    pub fn move_xattrs(
        &mut self,
        inode: Blkno,
        beyond: &Beyond,
    ) -> Result<(bool, Vec<Contents>), EditError> {
        self.attempt(|edit| {
            edit.move_xattr_block(inode, beyond)?;
            let (owner, mut values) = (edit.inode(inode)?, Vec::new());
            for xattr in edit.volume.xattrs(&owner) {
                let xattr = xattr?;
                if xattr.entry.is_local() {
                    continue;
                }
                let root = Root::of_value(xattr.blkno, &xattr.stored)?;
                if edit.volume.has_value_beyond(&root, beyond)? {
                    values.push((xattr, root));
                }
                if values.len() == MOST_EXTENTS {
                    break;
                }
            }
            let (more, mut contents) = (values.len() == MOST_EXTENTS, Vec::new());
            for (xattr, mut root) in values {
                edit.rebuild_tree(&mut root, beyond, Unit::Clusters)?;
                let mut at = Some(0);
                while let Some(from) = at {
                    let (next, copied) = edit.move_extents(&mut root, beyond, from, false)?;
                    contents.extend(copied.into_iter().map(Contents::of));
                    at = next;
                }
                edit.store_value(inode, &xattr, &root)?;
            }
            Ok((more, contents))
        })
    }

    fn move_xattr_block(&mut self, inode: Blkno, beyond: &Beyond) -> Result<(), EditError> {
        let Some((mut header, block)) = self.volume.xattr_block_of(&self.inode(inode)?)? else {
            return Ok(());
        };
        if beyond.has(header.xb_blkno) {
            let old = Suballocated::from(&header);
            let taken = self.take_other(XattrBlock::NAME, old.slot)?;
            header.xb_blkno = taken.blkno;
            (header.xb_suballoc_slot, header.xb_suballoc_bit) = (taken.slot, taken.bit);
            header.xb_suballoc_loc = taken.loc;
            self.volume.write(taken.blkno, &header, block)?;
            self.update_dinode(inode, |dinode, _| dinode.i_xattr_loc = taken.blkno)?;
            self.give_block(old)?;
        }
        if !header.is_indexed() {
            return Ok(());
        }
        let mut root = self.volume.bucket_root(header.xb_blkno)?;
        let mut is_changed = self.rebuild_tree(&mut root, beyond, Unit::Clusters)?;
        for extent in root.extents(&self.volume)? {
            // A bucket belongs to its extent by its hash: the extent stays in one piece.
            if beyond.cuts(&self.volume, &extent) {
                let mut copied = Vec::new();
                self.move_extent(&mut root, &extent, true, &mut copied)?;
                for copy in copied {
                    self.copy(copy.from, copy.to, copy.clusters)?;
                }
                is_changed = true;
            }
        }
        if is_changed { self.store_bucket_root(&root) } else { Ok(()) }
    }
}
