//! Changing refcount trees in place: counting references up and down, splitting and removing
//! leaves.
//!
//! A cluster that only one extent uses is not counted until that extent is shared: then it is
//! counted once, and once more for each further extent. When the last reference is dropped, the
//! record goes. Trees are found by their root block, which every inode that uses them names.

use std::ops::Range;

use ocfs2_format::extent::{ExtentFlags, ExtentList};
use ocfs2_format::refcount::{
    RefcountBlock, RefcountFlags, RefcountRec, push_refcount, write_refcounts,
};
use ocfs2_format::{Blkno, Block, Cpos, Structure};

use super::{Edit, EditError, Holds, Root};
use crate::allocator::Suballocated;
use crate::tree::{Extent, Tree};
use crate::{Error, InBlock, Volume};

/// A block of records: the root of a small tree, or a leaf.
struct Leaf {
    header: RefcountBlock,
    block: Vec<u8>,
    records: Vec<RefcountRec>,
    /// The clusters whose records it holds.
    range: Range<u64>,
}

impl Leaf {
    /// The part of `run`, which begins in `range`, whose records it holds.
    fn part(&self, run: Range<u32>) -> Range<u64> {
        let start = u64::from(run.start);
        start..u64::from(run.end).min(self.range.end).max(start + 1)
    }
}

impl Volume {
    pub(crate) fn refcount_block(
        &self,
        blkno: Blkno,
        root: Blkno,
    ) -> Result<(RefcountBlock, Vec<u8>), Error> {
        let (header, block) = self.read::<RefcountBlock>(blkno)?;
        header.verify_root(blkno, root)?;
        Ok((header, block))
    }

    /// The block that holds the records of a cluster.
    fn refcount_leaf(&self, root: Blkno, cluster: u32) -> Result<Leaf, Error> {
        let (header, block) = self.refcount_block(root, Blkno(0))?;
        let (header, block, range) = match header.is_tree() {
            false => (header, block, 0..1 << 32),
            true => {
                let tree = refcount_root(&header, &block);
                let (blkno, range) = self.keyed_at(&tree, Cpos(cluster))?;
                let (header, block) = self.refcount_block(blkno, root)?;
                (header, block, range)
            }
        };
        let list = RefcountBlock::records(&block).in_block(header.rf_blkno)?;
        list.verify(header.rf_blkno)?;
        let records = list.records().collect();
        Ok(Leaf { header, block, records, range })
    }

    /// Returns how many extents use a cluster (0 if it is not counted), and the clusters from it on
    /// that have the same number.
    ///
    /// # Errors
    /// The tree cannot be read or is damaged.
    pub fn references(&self, root: Blkno, cluster: u32) -> Result<(u32, Range<u32>), Error> {
        let leaf = self.refcount_leaf(root, cluster)?;
        let at = u64::from(cluster);
        let end_of = |rec: &RefcountRec| rec.r_cpos.saturating_add(rec.r_clusters.into());
        let next = leaf.records.iter().find(|rec| end_of(rec) > at);
        let (count, end) = match next {
            Some(rec) if rec.r_cpos <= at => (rec.r_refcount, end_of(rec)),
            Some(rec) => (0, rec.r_cpos),
            None => (0, leaf.range.end),
        };
        Ok((count, cluster..u32::try_from(end.min(leaf.range.end)).unwrap_or(u32::MAX)))
    }
}

/// The extent tree of a root block that has one.
pub(super) fn refcount_root(header: &RefcountBlock, block: &[u8]) -> Root {
    let list = block.get(RefcountBlock::LIST_OFFSET..).unwrap_or_default().to_vec();
    let (last_leaf, leaves) = (header.rf_last_eb_blk, header.rf_clusters);
    Root::new(header.rf_blkno, Holds::Keyed, list, last_leaf, leaves)
}

impl Edit {
    /// Creates a refcount tree that counts nothing and that one inode uses. Returns its root.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; an allocator is damaged.
    pub fn create_refcounts(&mut self) -> Result<Blkno, EditError> {
        let generation = self.new_generation();
        let header = RefcountBlock { rf_count: 1, rf_generation: generation, ..Default::default() };
        let header = self.refcount_header(header)?;
        self.write_refcounts(&header, &[])?;
        Ok(header.rf_blkno)
    }

    /// Adds to the number of inodes that use a tree, or takes from it; a tree that no inode uses
    /// is freed.
    ///
    /// # Errors
    /// The tree is damaged: it counts references although no inode uses it.
    pub fn change_refcount_users(&mut self, root: Blkno, change: i32) -> Result<(), EditError> {
        let (mut header, block) = self.volume().refcount_block(root, Blkno(0))?;
        header.rf_count = header.rf_count.saturating_add_signed(change);
        if header.rf_count > 0 {
            return self.store_refcount_root(&header, block);
        }
        let mut blocks = vec![self.unused_refcounts(&header, &block)?];
        if header.is_tree() {
            let mut tree = refcount_root(&header, &block);
            let list = ExtentList::new(tree.list()).in_block(root)?;
            for leaf in Tree::of_blocks(self.volume(), root, &list)?.extents() {
                let (header, block) = self.volume().refcount_block(leaf?.blkno, root)?;
                blocks.push(self.unused_refcounts(&header, &block)?);
            }
            self.tree_change(&mut tree, 0..1 << 32, &mut |_| None)?;
        }
        blocks.into_iter().try_for_each(|block| self.give_block(block))
    }

    /// Where a block of a tree that no inode uses was allocated from. Fails if it still counts
    /// anything.
    fn unused_refcounts(
        &self,
        header: &RefcountBlock,
        block: &[u8],
    ) -> Result<Suballocated, EditError> {
        let blkno = header.rf_blkno;
        let list = RefcountBlock::records(block).in_block(blkno)?;
        if !header.is_tree() && list.header.rl_used > 0 {
            let text = format!("refcount block {blkno} counts references, but no inode uses it");
            return Err(EditError::Refused(text));
        }
        Ok(Suballocated::from(header))
    }

    /// Counts one reference more for each cluster of some runs; those that were not counted are
    /// counted once.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; the tree is damaged.
    pub fn add_references(
        &mut self,
        root: Blkno,
        runs: impl IntoIterator<Item = Range<u32>>,
    ) -> Result<(), EditError> {
        self.count_references(root, runs, 1).map(|_| ())
    }

    /// Counts one reference less for each cluster of some runs. Returns those that have none left.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; the tree is damaged, also where a cluster is not counted.
    pub fn drop_references(
        &mut self,
        root: Blkno,
        runs: impl IntoIterator<Item = Range<u32>>,
    ) -> Result<Vec<Range<u32>>, EditError> {
        self.count_references(root, runs, -1)
    }

    /// Counts `by` references more for each cluster of some runs, or fewer if it is negative.
    /// Returns those that have none left.
    pub(super) fn count_references(
        &mut self,
        root: Blkno,
        runs: impl IntoIterator<Item = Range<u32>>,
        by: i64,
    ) -> Result<Vec<Range<u32>>, EditError> {
        let room = usize::from(RefcountBlock::record_capacity(self.block_size()));
        let mut unused = Vec::new();
        // From the lowest to the highest, so that a leaf is read and written once for all in it.
        let mut runs: Vec<_> = runs.into_iter().filter(|run| !run.is_empty()).collect();
        runs.sort_unstable_by_key(|run| std::cmp::Reverse(run.start));
        while let Some(first) = runs.pop() {
            let mut leaf = self.volume().refcount_leaf(root, first.start)?;
            let mut next = Some(first);
            while let Some(Range { start, end }) = next {
                let part = leaf.part(start..end);
                let Some(records) = count(&leaf.records, &part, by, &mut unused) else {
                    let text = format!("refcount tree {root} does not count cluster {start}");
                    return Err(EditError::Refused(text));
                };
                leaf.records = records;
                if part.end < end.into() {
                    runs.push(part.end as u32..end);
                }
                // A leaf with too many records is cut in two only once, so it is stored before more
                // is added.
                let is_full = leaf.records.len() > room;
                next = runs.pop_if(|run| !is_full && leaf.range.contains(&run.start.into()));
            }
            self.store_leaf(root, leaf)?;
        }
        Ok(unused)
    }

    /// Stores the records of a block: in two blocks if there are too many. A leaf without records
    /// is removed.
    fn store_leaf(&mut self, root: Blkno, leaf: Leaf) -> Result<(), EditError> {
        let Leaf { mut header, block, records, .. } = leaf;
        let room = usize::from(RefcountBlock::record_capacity(self.block_size()));
        if header.rf_blkno == root && records.len() > room {
            header = self.move_to_leaf(header, block)?;
        }
        if records.len() > room {
            // The kernel leaves leaves about half full, too.
            let (low, high) = records.split_at(records.len() / 2);
            let cpos = high.first().map_or(0, |rec| rec.r_cpos) as u32;
            let leaf = RefcountFlags::LEAF.bits();
            let new = RefcountBlock { rf_flags: leaf, rf_parent: root, rf_cpos: cpos, ..header };
            let new = self.refcount_header(new)?;
            self.write_refcounts(&header, low)?;
            self.write_refcounts(&new, high)?;
            return self.change_leaves(root, |edit, tree| {
                let (cpos, flags) = (Cpos(cpos), ExtentFlags::empty());
                edit.tree_insert(tree, Extent { cpos, clusters: 1, blkno: new.rf_blkno, flags })
            });
        }
        if records.is_empty() && header.rf_blkno != root {
            self.give_block(Suballocated::from(&header))?;
            let at = u64::from(header.rf_cpos);
            return self.change_leaves(root, |edit, tree| {
                edit.tree_change(tree, at..at + 1, &mut |_| None)
            });
        }
        self.write_refcounts(&header, &records)
    }

    /// Turns a root that holds records itself into a tree: they move to a leaf, whose header is
    /// returned. The caller writes the records there.
    fn move_to_leaf(
        &mut self,
        root: RefcountBlock,
        mut block: Vec<u8>,
    ) -> Result<RefcountBlock, EditError> {
        let leaf = RefcountBlock {
            rf_parent: root.rf_blkno,
            rf_flags: RefcountFlags::LEAF.bits(),
            rf_count: 0,
            rf_cpos: 0,
            ..root
        };
        let leaf = self.refcount_header(leaf)?;
        let list = block.get_mut(RefcountBlock::LIST_OFFSET..).unwrap_or_default();
        list.fill(0);
        let mut tree =
            Root::empty(root.rf_blkno, Holds::Keyed, list.len()).in_block(root.rf_blkno)?;
        let (blkno, flags) = (leaf.rf_blkno, ExtentFlags::empty());
        self.tree_insert(&mut tree, Extent { cpos: Cpos(0), clusters: 1, blkno, flags })?;
        let flags = root.flags() | RefcountFlags::TREE;
        self.store_tree(RefcountBlock { rf_flags: flags.bits(), ..root }, block, &tree)?;
        Ok(leaf)
    }

    /// Changes the tree of leaves that a root has. A root without leaves holds records itself
    /// again.
    fn change_leaves(
        &mut self,
        root: Blkno,
        change: impl FnOnce(&mut Self, &mut Root) -> Result<(), EditError>,
    ) -> Result<(), EditError> {
        let (mut header, block) = self.volume().refcount_block(root, Blkno(0))?;
        let mut tree = refcount_root(&header, &block);
        change(self, &mut tree)?;
        if tree.clusters() > 0 {
            return self.store_tree(header, block, &tree);
        }
        header.rf_flags = (header.flags() - RefcountFlags::TREE).bits();
        (header.rf_clusters, header.rf_last_eb_blk) = (0, Blkno(0));
        self.write_refcounts(&header, &[])
    }

    pub(super) fn store_tree(
        &mut self,
        mut header: RefcountBlock,
        mut block: Vec<u8>,
        tree: &Root,
    ) -> Result<(), EditError> {
        (header.rf_clusters, header.rf_last_eb_blk) = (tree.clusters(), tree.last_leaf());
        let list = block.get_mut(RefcountBlock::LIST_OFFSET..).unwrap_or_default();
        let room = list.len().min(tree.list().len());
        list[..room].copy_from_slice(&tree.list()[..room]);
        self.store_refcount_root(&header, block)
    }

    fn store_refcount_root(
        &mut self,
        header: &RefcountBlock,
        block: Vec<u8>,
    ) -> Result<(), EditError> {
        Ok(self.volume().write(header.rf_blkno, header, block)?)
    }

    /// Takes a new block for a header and returns the header with it.
    fn refcount_header(&mut self, header: RefcountBlock) -> Result<RefcountBlock, EditError> {
        let taken = self.take_block(RefcountBlock::NAME)?;
        Ok(RefcountBlock {
            rf_signature: RefcountBlock::SIGNATURE,
            rf_suballoc_slot: taken.slot,
            rf_suballoc_bit: taken.bit,
            rf_suballoc_loc: taken.loc,
            rf_fs_generation: self.generation(),
            rf_blkno: taken.blkno,
            rf_check: Default::default(),
            rf_last_eb_blk: Blkno(0),
            rf_clusters: 0,
            ..header
        })
    }

    /// Writes a block of records.
    fn write_refcounts(
        &mut self,
        header: &RefcountBlock,
        records: &[RefcountRec],
    ) -> Result<(), EditError> {
        self.create_block(header.rf_blkno, header, |list| write_refcounts(list, records))
    }
}

/// The records after `by` references more were counted for `part`, or fewer if that is negative;
/// `None` if a cluster without references is to lose some. `unused` gets the clusters that have
/// none left.
fn count(
    records: &[RefcountRec],
    part: &Range<u64>,
    by: i64,
    unused: &mut Vec<Range<u32>>,
) -> Option<Vec<RefcountRec>> {
    let mut changed: Vec<RefcountRec> = Vec::with_capacity(records.len() + 3);
    let mut add = |range: Range<u64>, r_refcount: u32| {
        let r_clusters = range.end.saturating_sub(range.start) as u32;
        push_refcount(&mut changed, RefcountRec { r_cpos: range.start, r_clusters, r_refcount });
    };
    // What is not counted yet.
    let new = u32::try_from(by).ok();
    // Up to here all of the part is done.
    let mut done = part.start;
    for rec in records {
        let own = rec.r_cpos..rec.r_cpos.saturating_add(rec.r_clusters.into());
        let within = own.start.max(part.start)..own.end.min(part.end);
        if within.is_empty() {
            if own.start >= part.end && done < part.end {
                add(done..part.end, new?);
                done = part.end;
            }
            add(own, rec.r_refcount);
            continue;
        }
        if done < within.start {
            add(done..within.start, new?);
        }
        add(own.start..within.start, rec.r_refcount);
        let counted = i64::from(rec.r_refcount).saturating_add(by).clamp(0, u32::MAX.into()) as u32;
        add(within.clone(), counted);
        if counted == 0 {
            unused.push(within.start as u32..within.end as u32);
        }
        add(within.end..own.end, rec.r_refcount);
        done = within.end;
    }
    if done < part.end {
        add(done..part.end, new?);
    }
    Some(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rec(r_cpos: u64, r_clusters: u32, r_refcount: u32) -> RefcountRec {
        RefcountRec { r_cpos, r_clusters, r_refcount }
    }

    #[test]
    fn what_is_not_counted_is_counted_once_and_the_rest_once_more() {
        let counted = count(&[rec(10, 5, 2), rec(20, 5, 1)], &(8..30), 1, &mut Vec::new());
        let expected = [rec(8, 2, 1), rec(10, 5, 3), rec(15, 5, 1), rec(20, 5, 2), rec(25, 5, 1)];
        assert_eq!(counted.unwrap(), expected);
        let before = count(&[rec(10, 5, 2)], &(3..5), 1, &mut Vec::new());
        assert_eq!(before.unwrap(), [rec(3, 2, 1), rec(10, 5, 2)]);
    }

    #[test]
    fn the_last_reference_takes_the_record_with_it() {
        let mut unused = Vec::new();
        let counted = count(&[rec(10, 5, 2), rec(15, 5, 1)], &(12..17), -1, &mut unused);
        assert_eq!(counted.unwrap(), [rec(10, 2, 2), rec(12, 3, 1), rec(17, 3, 1)]);
        assert_eq!((unused.len(), unused.first()), (1, Some(&(15..17))));
        assert!(count(&[rec(10, 5, 2)], &(9..11), -1, &mut unused).is_none());
        assert!(count(&[rec(10, 5, 2)], &(14..16), -1, &mut unused).is_none());
        assert!(count(&[], &(1..2), -1, &mut unused).is_none());
    }
}
