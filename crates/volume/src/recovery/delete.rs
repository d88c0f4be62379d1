//! Everything an inode has, given back.

use std::collections::HashSet;

use ocfs2_format::dinode::{Arm, Dinode, DynFeatures, InodeFlags};
use ocfs2_format::dx::DxRoot;
use ocfs2_format::extent::{ExtentBlock, ExtentFlags};
use ocfs2_format::xattr::{XattrBlock, XattrTreeRoot};
use ocfs2_format::{Blkno, Cpos, Structure};

use super::RecoveryError;
use super::refcounts::Refcounts;
use crate::allocator::{Space, Suballocated};
use crate::tree::{Extent, Pruned, Tree, write_pruned};
use crate::{Error, Inode, Volume};

/// An inode that loses some or all of what it has.
pub(crate) struct Parting<'v> {
    volume: &'v Volume,
    inode: &'v Inode,
    space: Space<'v>,
    refcounts: Option<Refcounts<'v>>,
    /// As it will be.
    pub dinode: Dinode,
    block: Vec<u8>,
    /// Clusters of the index it had.
    index_clusters: u32,
}

impl<'v> Parting<'v> {
    pub fn new(volume: &'v Volume, inode: &'v Inode, space: Space<'v>) -> Result<Self, Error> {
        Ok(Self {
            volume,
            inode,
            space,
            refcounts: volume.refcounts(&inode.dinode)?,
            dinode: inode.dinode.clone(),
            block: inode.block().to_vec(),
            index_clusters: 0,
        })
    }

    fn tree(&self) -> Result<Option<Tree<'v>>, Error> {
        match self.inode.dinode.arm() {
            Arm::InlineData | Arm::Symlink => Ok(None),
            _ => self.volume.tree(self.inode).map(Some),
        }
    }

    /// Takes the data from `to` on, or the end of it: as much as changes about `budget`
    /// blocks. Gives the position from which on there is nothing left.
    pub fn data(&mut self, to: Cpos, budget: usize) -> Result<Cpos, Error> {
        let Some(tree) = self.tree()? else { return Ok(to) };
        let to = self.volume.cut(&tree, to, budget)?;
        let pruned = self.prune(&tree, |extent| {
            let kept = to.0.saturating_sub(extent.cpos.0);
            u16::try_from(kept).unwrap_or(u16::MAX)
        })?;
        for (blkno, block) in &pruned.changed {
            self.volume.write_metadata(*blkno, block, ExtentBlock::CHECK_OFFSET)?;
        }
        let id2 = Dinode::ID2_OFFSET..Dinode::ID2_OFFSET + self.inode.id2().len();
        let list = self.block.get_mut(id2).unwrap_or_default();
        let truncated = Error::truncated(self.inode.blkno);
        write_pruned(list, pruned.depth, &pruned.records).map_err(truncated)?;
        self.dinode.i_last_eb_blk = pruned.last_leaf;
        self.dinode.i_clusters = u32::try_from(pruned.clusters).unwrap_or(u32::MAX);
        Ok(to)
    }

    /// Frees what a tree does not keep: clusters, and extent blocks.
    fn prune(&mut self, tree: &Tree<'_>, keep: impl Fn(&Extent) -> u16) -> Result<Pruned, Error> {
        let pruned = tree.prune(&mut |extent| {
            let kept = keep(extent).min(extent.clusters);
            self.extent(extent, kept)?;
            Ok(kept)
        })?;
        for block in &pruned.removed {
            self.space.free_block(*block)?;
        }
        Ok(pruned)
    }

    /// Frees the clusters of an extent after the first `kept`.
    fn extent(&mut self, extent: &Extent, kept: u16) -> Result<(), Error> {
        let Some(first) = self.volume.geometry().cluster_of(extent.blkno) else { return Ok(()) };
        // The tree has made sure that it is within the volume.
        let run =
            first.0.saturating_add(kept.into())..first.0.saturating_add(extent.clusters.into());
        if run.is_empty() {
            return Ok(());
        }
        if !extent.flags.contains(ExtentFlags::REFCOUNTED) {
            return self.space.free_run(run);
        }
        let Some(refcounts) = &mut self.refcounts else {
            return Err(self.inode.invalid("i_refcount_loc", 0, "a tree, for shared extents"));
        };
        for run in refcounts.decrease(run)? {
            self.space.free_run(run)?;
        }
        Ok(())
    }

    /// Takes all it has.
    pub fn all(&mut self) -> Result<(), Error> {
        self.data(Cpos(0), usize::MAX)?;
        self.attributes()?;
        self.index()
    }

    /// Takes all attributes, with their values and where they are kept.
    pub fn attributes(&mut self) -> Result<(), Error> {
        let volume = self.volume;
        for xattr in volume.xattrs(self.inode) {
            if let Some(tree) = xattr?.tree(volume)? {
                self.prune(&tree, |_| 0)?;
            }
        }
        let features = self.dinode.dyn_features();
        let blkno = self.dinode.i_xattr_loc;
        if features.contains(DynFeatures::HAS_XATTR) && !blkno.is_none() {
            let name = XattrBlock::NAME;
            let block = volume.read_metadata(name, blkno, XattrBlock::CHECK_OFFSET)?;
            let header = XattrBlock::decode(&block).map_err(Error::truncated(blkno))?;
            header.verify(blkno, volume.generation())?;
            if header.is_indexed() {
                let list = XattrTreeRoot::list(&block).map_err(Error::truncated(blkno))?;
                self.prune(&Tree::new(volume, blkno, &list)?, |_| 0)?;
            }
            self.space.free_block(Suballocated::from(&header))?;
        }
        self.dinode.i_xattr_loc = Blkno(0);
        let features = features - DynFeatures::HAS_XATTR - DynFeatures::INLINE_XATTR;
        self.dinode.i_dyn_features = features.bits();
        Ok(())
    }

    /// Takes the index of a directory.
    pub fn index(&mut self) -> Result<(), Error> {
        if !self.volume.is_indexed(self.inode) {
            return Ok(());
        }
        let (root, block) = self.volume.dx_root(self.inode)?;
        if !root.is_inline() {
            let list = DxRoot::extents(&block).map_err(Error::truncated(root.dr_blkno))?;
            self.prune(&Tree::new(self.volume, root.dr_blkno, &list)?, |_| 0)?;
        }
        self.index_clusters = root.dr_clusters;
        self.space.free_block(Suballocated::from(&root))?;
        self.dinode.i_dx_root = Blkno(0);
        let features = self.dinode.dyn_features() - DynFeatures::INDEXED_DIR;
        self.dinode.i_dyn_features = features.bits();
        Ok(())
    }

    /// Takes what it no longer has from the quota of its owner and its group.
    fn discharge(&self, inodes: u32) -> Result<(), Error> {
        let before = &self.inode.dinode;
        let taken = before.i_clusters.saturating_sub(self.dinode.i_clusters);
        self.volume.discharge(before, inodes, taken.saturating_add(self.index_clusters))
    }

    /// Writes what has changed; the inode stays.
    pub fn keep(mut self) -> Result<(), RecoveryError> {
        if let Some(refcounts) = self.refcounts.take() {
            refcounts.finish(&mut self.space, false)?;
        }
        self.discharge(0)?;
        self.space.write()?;
        Ok(self.volume.write_dinode(&self.dinode, self.block)?)
    }

    /// Writes what has changed, and frees the inode, which has to have nothing left.
    pub fn free(self, time: u64) -> Result<(), RecoveryError> {
        self.discharge(1)?;
        Ok(self.release(time)?.write()?)
    }

    /// The same, but quota files stay as they are, and the allocators are for the caller to write.
    pub fn release(mut self, time: u64) -> Result<Space<'v>, RecoveryError> {
        if let Some(refcounts) = self.refcounts.take() {
            refcounts.finish(&mut self.space, true)?;
            self.dinode.i_refcount_loc = Blkno(0);
            let features = self.dinode.dyn_features() - DynFeatures::HAS_REFCOUNT;
            self.dinode.i_dyn_features = features.bits();
        }
        self.space.free_inode(&self.dinode)?;
        self.dinode.i_dtime = time;
        let flags = self.dinode.flags() - InodeFlags::VALID - InodeFlags::ORPHANED;
        self.dinode.i_flags = flags.bits();
        self.volume.write_dinode(&self.dinode, self.block)?;
        Ok(self.space)
    }
}

impl Volume {
    /// Where to cut a tree, at `to` or after it, so that what is taken changes about `budget`
    /// blocks.
    fn cut(&self, tree: &Tree<'_>, to: Cpos, budget: usize) -> Result<Cpos, Error> {
        let mut extents = Vec::new();
        for extent in tree.extents() {
            let extent = extent?;
            if extent.end() > to.0.into() {
                extents.push(extent);
            }
        }
        let geometry = self.geometry();
        let mut groups = HashSet::new();
        let mut blocks = 0;
        let mut cut = to;
        for (index, extent) in extents.iter().rev().enumerate() {
            let first = geometry.cluster_of(extent.blkno).unwrap_or_default();
            let last = first.0.saturating_add(extent.clusters.saturating_sub(1).into());
            let (first, _) = geometry.group_of(first);
            let (last, _) = geometry.group_of(ocfs2_format::Cluster(last));
            groups.extend(first..=last);
            // A leaf of the refcount tree each, at worst, and an extent block for some.
            blocks += usize::from(extent.flags.contains(ExtentFlags::REFCOUNTED));
            if index > 0 && groups.len() + blocks + index / 16 > budget {
                return Ok(cut);
            }
            cut = extent.cpos.max(to);
        }
        Ok(to)
    }
}
