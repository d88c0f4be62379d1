//! Plain files: without holes, unwritten or shared clusters, as a volume without these features has
//! them.
//!
//! Contents do not go through the journal here: what is to be zeroed or copied is returned, and has
//! to be in its place before the transaction. Until then nothing points there, or it reads as zeros
//! anyway.

use std::ops::Range;

use ocfs2_format::Blkno;
use ocfs2_format::dinode::{DynFeatures, FileKind};
use ocfs2_format::extent::ExtentFlags;

use super::file::{Copied, part_of};
use super::{Edit, EditError, Root};
use crate::tree::Extent;
use crate::{Error, Inode};

/// Extents that are changed at once.
const MOST_EXTENTS: usize = 32;

/// The end of all positions in a file, in clusters.
const END: u64 = 1 << 32;

/// What a file is not to have any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Plain {
    /// Holes before its end.
    Filled,
    /// Unwritten clusters: those after its end are freed.
    Written,
    /// Clusters that it shares.
    Own,
}

/// Contents that have to be in their place before a transaction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Contents {
    /// Clusters of zeros.
    Zeros(Range<u32>),
    /// Copies of clusters.
    Copy {
        /// The first block to be copied.
        from: Blkno,
        /// The first block of the copy.
        to: Blkno,
        /// Number of clusters.
        clusters: u32,
    },
}

impl Contents {
    pub(super) fn of(copied: Copied) -> Self {
        let Copied { from, to, clusters } = copied;
        Self::Copy { from, to, clusters }
    }
}

impl Edit {
    /// Whether anything of a file is not as it is to be.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn is_plain(&self, inode: &Inode, what: Plain) -> Result<bool, Error> {
        if what == Plain::Own {
            return Ok(inode.refcounts().is_none());
        }
        if inode.kind() != Some(FileKind::Regular) || inode.is_inline() {
            return Ok(true);
        }
        let mut at = 0;
        for extent in self.tree(inode)?.extents() {
            let extent = extent?;
            let is_plain = match what {
                Plain::Written => !extent.is_unwritten(),
                _ => u64::from(extent.cpos.0) <= at || at >= self.clusters_of(inode),
            };
            if !is_plain {
                return Ok(false);
            }
            at = extent.end();
        }
        Ok(what != Plain::Filled || at >= self.clusters_of(inode))
    }

    /// Makes some extents of a file plain, from cluster `from` on. Returns the cluster to go on
    /// with, if there is more, and what has to be written before the transaction. Times stay.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; the file is damaged.
    pub fn make_plain(
        &mut self,
        blkno: Blkno,
        what: Plain,
        from: u64,
    ) -> Result<(Option<u64>, Vec<Contents>), EditError> {
        self.attempt(|edit| {
            let inode = edit.inode(blkno)?;
            let mut contents = Vec::new();
            if inode.is_inline() {
                return Ok((None, contents));
            }
            let mut root = edit.inode_root(&inode)?;
            let (mut at, mut changed) = (from, 0);
            while at < END && changed < MOST_EXTENTS {
                match edit.plain_at(&inode, &mut root, what, at, &mut contents)? {
                    (next, true) => (at, changed) = (next, changed + 1),
                    (next, false) => at = next,
                }
            }
            if changed > 0 {
                edit.store_inode_root(&root)?;
            }
            Ok(((at < END).then_some(at), contents))
        })
    }

    /// Looks at the segment at a cluster. Returns where to go on, and whether anything was changed.
    fn plain_at(
        &mut self,
        inode: &Inode,
        root: &mut Root,
        what: Plain,
        at: u64,
        contents: &mut Vec<Contents>,
    ) -> Result<(u64, bool), EditError> {
        let segment = self.segment(root, at)?;
        let to = segment.range.end;
        let Some(extent) = segment.extent else {
            let end = to.min(self.clusters_of(inode));
            if what != Plain::Filled || at >= end {
                return Ok((to, false));
            }
            let extent = self.fill_hole(root, at, end - at, ExtentFlags::empty())?;
            contents.push(Contents::Zeros(self.run_of(&extent)));
            return Ok((extent.end(), true));
        };
        let is_shared = extent.flags.contains(ExtentFlags::REFCOUNTED);
        let end = self.clusters_of(inode);
        let part = part_of(self, &extent, at..to);
        match what {
            Plain::Own if is_shared => {
                contents.extend(self.unshare(inode, root, &part)?.map(Contents::of));
                Ok((at, true))
            }
            // What others read as unwritten cannot be zeroed for them, too.
            Plain::Written if is_shared && extent.is_unwritten() && at < end => {
                contents.extend(self.unshare(inode, root, &part)?.map(Contents::of));
                Ok((at, true))
            }
            Plain::Written if extent.is_unwritten() && at >= end => {
                self.drop_range(inode, root, at..to)?;
                Ok((to, true))
            }
            Plain::Written if extent.is_unwritten() => {
                let to = to.min(end);
                let part = part_of(self, &extent, at..to);
                contents.push(Contents::Zeros(self.run_of(&part)));
                self.tree_change(root, at..to, &mut |extent| {
                    Some(Extent { flags: extent.flags - ExtentFlags::UNWRITTEN, ..extent })
                })?;
                Ok((to, true))
            }
            _ => Ok((to, false)),
        }
    }

    /// Frees the clusters of a file after its end, and zeroes what is stored after it in its last
    /// cluster. Times stay.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; the file is damaged.
    pub fn cut_to_size(&mut self, blkno: Blkno) -> Result<(), EditError> {
        self.attempt(|edit| {
            let inode = edit.inode(blkno)?;
            let (mut root, end) = (edit.inode_root(&inode)?, edit.clusters_of(&inode));
            edit.drop_range(&inode, &mut root, end..END)?;
            let bits = edit.geometry().cluster_size.bits();
            edit.zero_stored(&inode, &mut root, inode.size()..end << bits)?;
            edit.store_inode_root(&root)
        })
    }

    /// Number of clusters that a file has up to its end.
    fn clusters_of(&self, inode: &Inode) -> u64 {
        inode.size().div_ceil(self.geometry().cluster_size.bytes().into())
    }

    /// Makes an inode without shared clusters leave its refcount tree, which goes with the last
    /// inode.
    ///
    /// # Errors
    /// The tree is damaged, or still counts clusters of the inode and no other inode uses it.
    pub fn leave_refcounts(&mut self, blkno: Blkno) -> Result<(), EditError> {
        self.attempt(|edit| {
            let Some(counts) = edit.inode(blkno)?.refcounts() else { return Ok(()) };
            edit.update_dinode(blkno, |dinode, _| {
                let features = dinode.dyn_features() - DynFeatures::HAS_REFCOUNT;
                dinode.i_dyn_features = features.bits();
                dinode.i_refcount_loc = Blkno(0);
            })?;
            edit.change_refcount_users(counts, -1)
        })
    }
}
