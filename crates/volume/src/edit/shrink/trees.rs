//! Moving what a tree points to, and the blocks of the tree itself.

use ocfs2_format::Cluster;
use ocfs2_format::extent::ExtentList;

use super::{Beyond, MOST_EXTENTS, is_shared};
use crate::allocator::Want;
use crate::edit::file::{Copied, part_of};
use crate::edit::{Edit, EditError, Root};
use crate::tree::{Extent, Tree};
use crate::{Error, InBlock, Volume};

/// The end of all positions in a file, in clusters.
const END: u64 = 1 << 32;

/// What the records of a tree's leaves point to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unit {
    Clusters,
    Blocks,
}

impl Volume {
    /// The tree below a root.
    pub(super) fn tree_of(&self, root: &Root, unit: Unit) -> Result<Tree<'_>, Error> {
        let list = ExtentList::new(root.list()).in_block(root.at())?;
        match unit {
            Unit::Clusters => Tree::new(self, root.at(), &list),
            Unit::Blocks => Tree::of_blocks(self, root.at(), &list),
        }
    }

    /// Whether a block of a tree goes.
    pub(super) fn has_tree_beyond(
        &self,
        root: &Root,
        beyond: &Beyond,
        unit: Unit,
    ) -> Result<bool, Error> {
        let mut extents = self.tree_of(root, unit)?.extents();
        extents.by_ref().try_for_each(|extent| extent.map(|_| ()))?;
        Ok(extents.extent_blocks().any(|blkno| beyond.has(blkno)))
    }
}

impl Edit {
    /// Puts the extents of a tree into new extent blocks if one of its blocks goes. Returns whether
    /// it did.
    pub(super) fn rebuild_tree(
        &mut self,
        root: &mut Root,
        beyond: &Beyond,
        unit: Unit,
    ) -> Result<bool, EditError> {
        if !self.volume.has_tree_beyond(root, beyond, unit)? {
            return Ok(false);
        }
        let extents = self.volume.tree_of(root, unit)?.extents();
        let extents = extents.collect::<Result<Vec<_>, _>>()?;
        self.tree_change(root, 0..END, &mut |_| None)?;
        for extent in extents {
            self.tree_insert(root, extent)?;
        }
        Ok(true)
    }

    /// Gives the parts of extents that go, and are not shared, other clusters, from position `from`
    /// on; with `whole`, an extent stays in one piece. Returns where to go on, if there may be more
    /// than are moved at once, and what has to be copied.
    pub(super) fn move_extents(
        &mut self,
        root: &mut Root,
        beyond: &Beyond,
        from: u64,
        whole: bool,
    ) -> Result<(Option<u64>, Vec<Copied>), EditError> {
        let (mut at, mut moved, mut copied) = (from, 0, Vec::new());
        while at < END {
            if moved == MOST_EXTENTS {
                return Ok((Some(at), copied));
            }
            let segment = self.segment(root, at)?;
            let Some(extent) = segment.extent.filter(|extent| !is_shared(extent)) else {
                at = segment.range.end;
                continue;
            };
            let mut part = beyond.part(&self.volume, &extent);
            if part.is_empty() {
                at = segment.range.end;
                continue;
            }
            if whole {
                part.start = extent.cpos.0.into();
            }
            let old = part_of(self, &extent, part.start.max(at)..part.end);
            at = self.move_extent(root, &old, whole, &mut copied)?;
            moved += 1;
        }
        Ok((None, copied))
    }

    /// Gives an extent, or as much from its start as one run of clusters can replace, other
    /// clusters. Returns the position after what was moved.
    pub(super) fn move_extent(
        &mut self,
        root: &mut Root,
        old: &Extent,
        whole: bool,
        copied: &mut Vec<Copied>,
    ) -> Result<u64, EditError> {
        let count = u32::from(old.clusters);
        let want = if whole { Want::exactly(count) } else { Want::up_to(count) };
        let run = self.take_clusters(want)?;
        let clusters = run.end - run.start;
        let blkno = self.geometry().block_of(Cluster(run.start));
        let start = u64::from(old.cpos.0);
        let range = start..start + u64::from(clusters);
        let first = self.run_of(old).start;
        self.tree_change(root, range.clone(), &mut |extent| Some(Extent { blkno, ..extent }))?;
        self.give_clusters(first..first + clusters)?;
        if !old.is_unwritten() {
            copied.push(Copied { from: old.blkno, to: blkno, clusters });
        }
        Ok(range.end)
    }

    /// Takes what goes out of a tree.
    pub(super) fn forget_extents(
        &mut self,
        root: &mut Root,
        beyond: &Beyond,
    ) -> Result<(), EditError> {
        for extent in root.extents(&self.volume)? {
            let part = beyond.part(&self.volume, &extent);
            if !part.is_empty() {
                let gone = part_of(self, &extent, part.clone());
                self.tree_change(root, part, &mut |_| None)?;
                self.give_clusters(self.run_of(&gone))?;
            }
        }
        Ok(())
    }
}
