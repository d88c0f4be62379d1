//! Taking extents out of a tree, at its end or anywhere, or all of them.

use std::collections::HashSet;

use ocfs2_format::extent::{ExtentBlock, ExtentRec, write_extent_list};
use ocfs2_format::{Blkno, Structure};

use super::{Extent, Node, Tree};
use crate::allocator::Suballocated;
use crate::{Error, Volume};

/// What is left of a tree. Nothing is written: its owner stores the root.
#[derive(Debug, Default)]
pub(crate) struct Pruned {
    /// Levels of extent blocks.
    pub depth: u16,
    /// The records of the root list.
    pub records: Vec<ExtentRec>,
    /// The rightmost leaf, 0 at depth 0.
    pub last_leaf: Blkno,
    /// Clusters of all extents; blocks in a tree of blocks.
    pub clusters: u64,
    /// Extent blocks that are no longer part of it.
    pub removed: Vec<Suballocated>,
    /// Extent blocks with new contents.
    pub changed: Vec<(Blkno, Vec<u8>)>,
}

impl Tree<'_> {
    /// The tree with as many clusters of each extent as `keep` says, from its start: 0 takes
    /// it out.
    ///
    /// # Errors
    /// The first that is wrong in the tree.
    pub(crate) fn prune(
        &self,
        keep: &mut dyn FnMut(&Extent) -> Result<u16, Error>,
    ) -> Result<Pruned, Error> {
        let mut pruner = Pruner {
            tree: self,
            keep,
            visited: HashSet::new(),
            seen: 0,
            end: 0,
            leaves: Vec::new(),
            pruned: Pruned::default(),
        };
        let records = pruner.list(&self.root)?;
        pruner.link_leaves()?;
        let mut pruned = pruner.pruned;
        pruned.depth = if records.is_empty() { 0 } else { self.root.depth };
        pruned.records = records;
        Ok(pruned)
    }
}

struct Pruner<'a, 'v> {
    tree: &'a Tree<'v>,
    keep: &'a mut dyn FnMut(&Extent) -> Result<u16, Error>,
    visited: HashSet<Blkno>,
    /// Where the extents so far end, and those of them that are kept.
    seen: u64,
    end: u64,
    leaves: Vec<Leaf>,
    pruned: Pruned,
}

/// A leaf that stays.
struct Leaf {
    header: ExtentBlock,
    block: Vec<u8>,
    /// Whether its records are others now.
    is_changed: bool,
}

impl Pruner<'_, '_> {
    fn volume(&self) -> &Volume {
        self.tree.volume
    }

    /// The records that a list keeps.
    fn list(&mut self, node: &Node) -> Result<Vec<ExtentRec>, Error> {
        if node.depth == 0 { self.leaf(node) } else { self.inner(node) }
    }

    fn leaf(&mut self, node: &Node) -> Result<Vec<ExtentRec>, Error> {
        let mut records = Vec::with_capacity(node.records.len());
        for index in 0..node.records.len() {
            let volume = self.tree.volume;
            let extent = volume.extent(node, index, &mut self.seen, self.tree.unit)?;
            let Some(extent) = extent else { continue };
            let kept = (self.keep)(&extent)?.min(extent.clusters);
            if kept > 0 {
                self.pruned.clusters += u64::from(kept);
                self.end = u64::from(extent.cpos.0) + u64::from(kept);
                records.push(ExtentRec::leaf(extent.cpos, kept, extent.flags, extent.blkno));
            }
        }
        Ok(records)
    }

    fn inner(&mut self, node: &Node) -> Result<Vec<ExtentRec>, Error> {
        let mut kept: Vec<ExtentRec> = Vec::with_capacity(node.records.len());
        for (index, record) in node.records.iter().enumerate() {
            let blkno = record.e_blkno;
            if blkno == self.tree.root.blkno || !self.visited.insert(blkno) {
                return Err(Error::Repeated { structure: ExtentBlock::NAME, blkno });
            }
            let (child, header, mut block) = self.volume().extent_block(node, index)?;
            let records = self.list(&child)?;
            if records.is_empty() {
                self.pruned.removed.push(Suballocated::from(&header));
                continue;
            }
            let is_changed = records != child.records;
            if is_changed {
                let list = block.get_mut(ExtentBlock::LIST_OFFSET..).unwrap_or_default();
                write_pruned(list, child.depth, &records).map_err(Error::truncated(blkno))?;
            }
            if child.depth == 0 {
                self.leaves.push(Leaf { header, block, is_changed });
            } else if is_changed {
                self.pruned.changed.push((blkno, block));
            }
            // An interior record reaches to where the next one begins, the last one to the end
            // of what is below it.
            if let Some(before) = kept.last_mut() {
                let clusters = record.e_cpos.0.saturating_sub(before.e_cpos.0);
                *before = ExtentRec::interior(before.e_cpos, clusters, before.e_blkno);
            }
            let clusters = self.end.saturating_sub(record.e_cpos.0.into());
            let clusters = u32::try_from(clusters).unwrap_or(u32::MAX);
            kept.push(ExtentRec::interior(record.e_cpos, clusters, blkno));
        }
        Ok(kept)
    }

    /// Makes each leaf that stays point at the next one.
    fn link_leaves(&mut self) -> Result<(), Error> {
        let mut next = Blkno(0);
        for mut leaf in std::mem::take(&mut self.leaves).into_iter().rev() {
            let blkno = leaf.header.h_blkno;
            if next.is_none() {
                self.pruned.last_leaf = blkno;
            }
            if leaf.is_changed || leaf.header.h_next_leaf_blk != next {
                leaf.header.h_next_leaf_blk = next;
                leaf.header.encode(&mut leaf.block).map_err(Error::truncated(blkno))?;
                self.pruned.changed.push((blkno, leaf.block));
            }
            next = blkno;
        }
        Ok(())
    }
}

/// Writes a list, and zeros after its records.
pub(crate) fn write_pruned(
    bytes: &mut [u8],
    depth: u16,
    records: &[ExtentRec],
) -> Result<(), ocfs2_format::Truncated> {
    write_extent_list(bytes, depth, records)?;
    let used = ocfs2_format::extent::ExtentListHeader::SIZE + records.len() * ExtentRec::SIZE;
    bytes.get_mut(used..).unwrap_or_default().fill(0);
    Ok(())
}
