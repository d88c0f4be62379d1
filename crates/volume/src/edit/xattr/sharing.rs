//! Values of attributes that share their clusters with those of a copy of the inode.

use ocfs2_format::Blkno;
use ocfs2_format::extent::ExtentFlags;

use super::Key;
use crate::edit::file::part_of;
use crate::edit::{Contents, Edit, EditError, Root};
use crate::tree::Extent;
use crate::xattr::Xattr;
use crate::{Error, Inode};

/// Values that are changed at once.
const MOST_VALUES: usize = 16;

/// The end of all positions in a value, in clusters.
const END: u64 = 1 << 32;

impl Edit {
    /// Gives some values of an inode's attributes their own clusters in place of shared ones.
    /// Returns whether there may be more, and what has to be written before the transaction.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; the attributes are damaged.
    pub fn unshare_xattrs(&mut self, inode: Blkno) -> Result<(bool, Vec<Contents>), EditError> {
        self.attempt(|edit| {
            let owner = edit.inode(inode)?;
            let mut shared = Vec::new();
            for xattr in edit.volume().xattrs(&owner) {
                let xattr = xattr?;
                if edit.is_shared(&xattr)? {
                    shared.push(xattr);
                    if shared.len() == MOST_VALUES {
                        break;
                    }
                }
            }
            let mut contents = Vec::new();
            for xattr in &shared {
                edit.unshare_value(&owner, xattr, &mut contents)?;
            }
            Ok((shared.len() == MOST_VALUES, contents))
        })
    }

    fn is_shared(&self, xattr: &Xattr) -> Result<bool, EditError> {
        let Some(tree) = xattr.tree(self.volume())? else { return Ok(false) };
        for extent in tree.extents() {
            if extent?.flags.contains(ExtentFlags::REFCOUNTED) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn unshare_value(
        &mut self,
        owner: &Inode,
        xattr: &Xattr,
        contents: &mut Vec<Contents>,
    ) -> Result<(), EditError> {
        let mut root = Root::of_value(xattr.blkno, &xattr.stored)?;
        let mut at = 0;
        while at < END {
            let segment = self.segment(&root, at)?;
            let is_shared = |it: &Extent| it.flags.contains(ExtentFlags::REFCOUNTED);
            let Some(extent) = segment.extent.filter(is_shared) else {
                at = segment.range.end;
                continue;
            };
            let part = part_of(self, &extent, at..segment.range.end);
            contents.extend(self.unshare(owner, &mut root, &part)?.map(Contents::of));
        }
        self.store_value(owner.blkno, xattr, &root)
    }

    /// Stores the root of the tree of a value of an inode, which has changed.
    pub(in crate::edit) fn store_value(
        &mut self,
        inode: Blkno,
        xattr: &Xattr,
        root: &Root,
    ) -> Result<(), EditError> {
        let name = xattr.name.get(xattr.prefix.as_str().len()..).unwrap_or_default();
        let key = Key { prefix: xattr.prefix, name };
        // As it is now: another value beside it may have changed.
        let owner = self.inode(inode)?;
        let missing = || Error::NotFound { name: xattr.name.clone() };
        let mut present = self.present_xattr(&owner, &key)?.ok_or_else(missing)?;
        if let Some(item) = present.area.items_mut().get_mut(present.index) {
            item.stored = root.to_value()?;
        }
        self.store_area(&owner, present.at, present.area)
    }
}
