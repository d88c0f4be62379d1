//! Giving back everything an inode has.
//!
//! All of a tree is read, and read strictly, before anything of it is given back: a tree that
//! points to a block twice, or out of the volume, is an error and stays as it is.

use std::collections::HashSet;

use ocfs2_format::dinode::{Arm, DynFeatures, FileKind, InodeFlags};
use ocfs2_format::dx::DxRoot;
use ocfs2_format::extent::ExtentFlags;
use ocfs2_format::feature::Incompat;
use ocfs2_format::xattr::XattrBlock;
use ocfs2_format::{Blkno, Cluster, Cpos};

use super::{Edit, EditError, Holds, Root};
use crate::allocator::Suballocated;
use crate::tree::Extent;
use crate::{Error, Inode, Volume};

impl Edit {
    /// Frees an inode with all it has, whatever its number of links. The caller takes care of the
    /// names that point to it. Its freed block keeps what it says of the contents, so that the file
    /// can be restored until something of it is used again; Linux does not leave that.
    ///
    /// # Errors
    /// Something of it is damaged.
    pub fn delete_inode(&mut self, blkno: Blkno) -> Result<(), EditError> {
        self.attempt(|edit| edit.delete(blkno))
    }

    pub(crate) fn delete(&mut self, blkno: Blkno) -> Result<(), EditError> {
        let inode = self.inode(blkno)?;
        self.cut_contents(&inode, Cpos(0), usize::MAX)?;
        self.free_xattrs(&inode)?;
        self.free_index(&inode)?;
        if let Some(counts) = inode.refcounts() {
            self.change_refcount_users(counts, -1)?;
        }
        self.give_inode(&inode.dinode)?;
        let (time, indexed) = (self.time(), self.has(Incompat::INDEXED_DIRS));
        // A part of an orphan may have been given back before.
        let is_orphan = inode.dinode.flags().contains(InodeFlags::ORPHANED);
        let is_kept = !is_orphan && inode.kind() == Some(FileKind::Regular);
        self.update_dinode(blkno, |dinode, list| {
            if is_kept {
                (dinode.i_size, dinode.i_clusters) = (inode.dinode.i_size, inode.dinode.i_clusters);
                for (byte, before) in list.iter_mut().zip(inode.id2()) {
                    *byte = *before;
                }
            } else {
                dinode.i_size = 0;
                dinode.i_xattr_loc = Blkno(0);
                let gone = DynFeatures::HAS_XATTR | DynFeatures::INLINE_XATTR;
                dinode.i_dyn_features = (dinode.dyn_features() - gone).bits();
            }
            dinode.set_links_count(0, indexed);
            dinode.i_dtime = time.seconds as u64;
            dinode.i_flags = (dinode.flags() - InodeFlags::VALID - InodeFlags::ORPHANED).bits();
            (dinode.i_dx_root, dinode.i_refcount_loc) = (Blkno(0), Blkno(0));
            let gone = DynFeatures::INDEXED_DIR | DynFeatures::HAS_REFCOUNT;
            dinode.i_dyn_features = (dinode.dyn_features() - gone).bits();
        })
    }

    /// Frees the contents of an inode from cluster `to` on, or only their end: as much as changes
    /// about `budget` blocks. Returns the position from which on nothing is left. The size stays.
    pub(crate) fn cut_contents(
        &mut self,
        inode: &Inode,
        to: Cpos,
        budget: usize,
    ) -> Result<Cpos, EditError> {
        if inode.dinode.arm() != Arm::ExtentList {
            return Ok(to);
        }
        let mut root = self.inode_root(inode)?;
        let extents = root.extents(&self.volume)?;
        let to = self.volume.cut_at(&extents, to, budget);
        self.drop_range(inode, &mut root, to.0.into()..1 << 32)?;
        self.store_inode_root(&root)?;
        Ok(to)
    }

    /// Frees all of a tree of `inode`: its clusters and its extent blocks.
    pub(super) fn free_tree(&mut self, inode: &Inode, mut root: Root) -> Result<(), EditError> {
        root.extents(&self.volume)?;
        self.drop_range(inode, &mut root, 0..1 << 32)
    }

    /// Frees the values of all attributes, and the blocks and buckets the attributes are in.
    pub(super) fn free_xattrs(&mut self, inode: &Inode) -> Result<(), EditError> {
        let mut values = Vec::new();
        for xattr in self.volume.xattrs(inode) {
            let xattr = xattr?;
            if !xattr.entry.is_local() {
                values.push(Root::of_value(xattr.blkno, &xattr.stored)?);
            }
        }
        values.into_iter().try_for_each(|root| self.free_tree(inode, root))?;
        let blkno = inode.dinode.i_xattr_loc;
        if !inode.dinode.dyn_features().contains(DynFeatures::HAS_XATTR) || blkno.is_none() {
            return Ok(());
        }
        let (header, _) = self.volume.read::<XattrBlock>(blkno)?;
        if header.is_indexed() {
            self.free_tree(inode, self.volume.bucket_root(blkno)?)?;
        }
        self.give_block(Suballocated::from(&header))
    }

    /// Frees the index of a directory.
    pub(super) fn free_index(&mut self, inode: &Inode) -> Result<(), EditError> {
        if !self.is_indexed(inode) {
            return Ok(());
        }
        let (header, block) = self.volume.dx_root(inode)?;
        self.count_index(&inode.dinode, -i64::from(header.dr_clusters));
        if !header.is_inline() {
            let list = block.get(DxRoot::LIST_OFFSET..).unwrap_or_default().to_vec();
            let (at, last, clusters) = (header.dr_blkno, header.dr_last_eb_blk, header.dr_clusters);
            self.free_tree(inode, Root::new(at, Holds::Keyed, list, last, clusters))?;
        }
        self.give_block(Suballocated::from(&header))
    }

    /// Frees a range of clusters of a tree of `inode`.
    pub(super) fn drop_range(
        &mut self,
        inode: &Inode,
        root: &mut Root,
        range: std::ops::Range<u64>,
    ) -> Result<(), EditError> {
        let mut taken = Vec::new();
        self.tree_change(root, range, &mut |extent| {
            taken.push(extent);
            None
        })?;
        let is_shared = |extent: &Extent| extent.flags.contains(ExtentFlags::REFCOUNTED);
        let (shared, own): (Vec<_>, Vec<_>) = taken.into_iter().partition(is_shared);
        let mut unused: Vec<_> = own.iter().map(|extent| self.run_of(extent)).collect();
        if !shared.is_empty() {
            let runs: Vec<_> = shared.iter().map(|extent| self.run_of(extent)).collect();
            unused.extend(self.drop_references(inode.expect_refcounts()?, runs)?);
        }
        unused.into_iter().try_for_each(|run| self.give_clusters(run))
    }
}

impl Inode {
    /// The root of the refcount tree it uses; `None` if it uses none.
    pub(super) fn refcounts(&self) -> Option<Blkno> {
        let has = self.dinode.dyn_features().contains(DynFeatures::HAS_REFCOUNT);
        Some(self.dinode.i_refcount_loc).filter(|root| has && !root.is_none())
    }

    /// The root of the refcount tree, which an inode with shared extents has to have.
    pub(super) fn expect_refcounts(&self) -> Result<Blkno, Error> {
        let missing = || self.invalid("i_refcount_loc", 0, "a tree, for shared extents");
        self.refcounts().ok_or_else(missing)
    }
}

impl Volume {
    /// Where to cut a file with these extents, at `to` or after it, so that freeing the rest
    /// changes about `budget` blocks.
    fn cut_at(&self, extents: &[Extent], to: Cpos, budget: usize) -> Cpos {
        let geometry = self.geometry();
        let (mut groups, mut blocks, mut cut) = (HashSet::new(), 0, to);
        let taken = extents.iter().rev().take_while(|extent| extent.end() > to.0.into());
        for (index, extent) in taken.enumerate() {
            let first = geometry.cluster_of(extent.blkno).unwrap_or_default();
            let last = first.0.saturating_add(extent.clusters.saturating_sub(1).into());
            let (first, _) = geometry.group_of(first);
            let (last, _) = geometry.group_of(Cluster(last));
            groups.extend(first..=last);
            // At worst each shared extent changes a leaf of the refcount tree; some extents change
            // an extent block.
            blocks += usize::from(extent.flags.contains(ExtentFlags::REFCOUNTED));
            if index > 0 && groups.len() + blocks + index / 16 > budget {
                return cut;
            }
            cut = extent.cpos.max(to);
        }
        to
    }
}
