//! Changes of the extents of a file.

use std::ops::Range;

use ocfs2_format::{Blkno, dinode::Dinode};

use super::{Edit, EditError, Holds, Root};
use crate::tree::Extent;
use crate::{Error, Inode};

impl Edit {
    /// The root of the tree of an inode's contents.
    ///
    /// # Errors
    /// [`Error::WrongKind`] if it has no such tree.
    pub fn inode_root(&self, inode: &Inode) -> Result<Root, Error> {
        inode.extent_list()?;
        let Dinode { i_last_eb_blk, i_clusters, .. } = inode.dinode;
        let list = inode.id2().to_vec();
        Ok(Root::new(inode.blkno, Holds::Data, list, i_last_eb_blk, i_clusters))
    }

    /// The clusters of an extent, which a tree has made sure are within the volume.
    pub(super) fn run_of(&self, extent: &Extent) -> Range<u32> {
        let first = self.geometry().cluster_of(extent.blkno).unwrap_or_default().0;
        first..first.saturating_add(extent.clusters.into())
    }

    /// Stores the root of the tree of an inode's contents.
    ///
    /// # Errors
    /// The inode cannot be read or written.
    pub fn store_inode_root(&mut self, root: &Root) -> Result<(), EditError> {
        self.update_dinode(root.at(), |dinode, id2| {
            dinode.i_last_eb_blk = root.last_leaf();
            dinode.i_clusters = root.clusters();
            if let Some(bytes) = id2.get_mut(..root.list().len()) {
                bytes.copy_from_slice(root.list());
            }
        })
    }

    /// Puts an extent into a hole of a file. The size of the file stays.
    ///
    /// # Errors
    /// [`EditError::Exists`] if something is there; [`EditError::NoRoom`]; the tree is damaged.
    pub fn insert_extent(&mut self, blkno: Blkno, extent: Extent) -> Result<(), EditError> {
        self.attempt(|edit| {
            let mut root = edit.inode_root(&edit.inode(blkno)?)?;
            edit.tree_insert(&mut root, extent)?;
            edit.store_inode_root(&root)
        })
    }

    /// Changes all extents of a file, or the parts of them, that are within `range`, in clusters.
    /// `change` returns an extent at the same position and of the same length, or `None` for a
    /// hole. The caller decides what becomes of the clusters.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; the tree is damaged.
    pub fn change_extents(
        &mut self,
        blkno: Blkno,
        range: Range<u64>,
        mut change: impl FnMut(Extent) -> Option<Extent>,
    ) -> Result<(), EditError> {
        self.attempt(|edit| {
            let mut root = edit.inode_root(&edit.inode(blkno)?)?;
            edit.tree_change(&mut root, range, &mut change)?;
            edit.store_inode_root(&root)
        })
    }
}
