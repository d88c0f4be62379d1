//! Taking references out of a refcount tree.

use std::collections::BTreeMap;
use std::ops::Range;

use ocfs2_format::dinode::Dinode;
use ocfs2_format::refcount::{
    RefcountBlock, RefcountFlags, RefcountRec, push_refcount, write_refcounts,
};
use ocfs2_format::{Blkno, Cpos, Invalid, Structure};

use super::RecoveryError;
use crate::allocator::{Space, Suballocated};
use crate::tree::{Tree, write_pruned};
use crate::{Error, Volume};

/// A refcount tree while references are taken out of it.
pub(super) struct Refcounts<'v> {
    volume: &'v Volume,
    root: RefcountBlock,
    root_block: Vec<u8>,
    /// Where the leaves begin; the root if it has the records itself.
    leaves: BTreeMap<u32, Blkno>,
    /// Those that were read, by where they begin.
    read: BTreeMap<u32, Leaf>,
}

struct Leaf {
    header: RefcountBlock,
    block: Vec<u8>,
    records: Vec<RefcountRec>,
    is_changed: bool,
}

impl<'v> Refcounts<'v> {
    pub fn new(volume: &'v Volume, blkno: Blkno) -> Result<Self, Error> {
        let leaf = Leaf::read(volume, blkno, Blkno(0))?;
        let mut tree = Self {
            volume,
            root: leaf.header,
            root_block: leaf.block.clone(),
            leaves: BTreeMap::new(),
            read: BTreeMap::new(),
        };
        if !tree.root.is_tree() {
            tree.leaves.insert(0, blkno);
            tree.read.insert(0, leaf);
            return Ok(tree);
        }
        for extent in tree.extents()?.extents() {
            let extent = extent?;
            if extent.clusters != 1 {
                let (name, found) = (RefcountBlock::NAME, extent.clusters);
                return Err(Invalid::new(name, blkno, "e_leaf_clusters", found, 1).into());
            }
            tree.leaves.insert(extent.cpos.0, extent.blkno);
        }
        Ok(tree)
    }

    fn blkno(&self) -> Blkno {
        self.root.rf_blkno
    }

    fn extents(&self) -> Result<Tree<'v>, Error> {
        let list = RefcountBlock::extents(&self.root_block);
        let list = list.map_err(Error::truncated(self.blkno()))?;
        Tree::of_blocks(self.volume, self.blkno(), &list)
    }

    /// Counts one reference less for each cluster of a run; gives those that have none left.
    pub fn decrease(&mut self, run: Range<u32>) -> Result<Vec<Range<u32>>, Error> {
        let mut unused = Vec::new();
        let mut start = run.start;
        while start < run.end {
            // The first leaf also has what is before it.
            let before = self.leaves.range(..=start).next_back();
            let Some((cpos, blkno)) = before.or_else(|| self.leaves.iter().next()) else {
                return Err(self.uncounted(start));
            };
            let (cpos, blkno) = (*cpos, *blkno);
            let after = Cpos(cpos.max(start)).0.saturating_add(1);
            let next = self.leaves.range(after..).next().map_or(u32::MAX, |(next, _)| *next);
            let part = start..run.end.min(next);
            let leaf = match self.read.entry(cpos) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(Leaf::read(self.volume, blkno, self.root.rf_blkno)?)
                }
            };
            if !leaf.decrease(&part, &mut unused) {
                return Err(self.uncounted(start));
            }
            start = part.end;
        }
        Ok(unused)
    }

    fn uncounted(&self, cluster: u32) -> Error {
        let expected = format_args!("a count of every cluster from {cluster} on").to_string();
        Invalid::new(RefcountBlock::NAME, self.blkno(), "r_cpos", "missing", expected).into()
    }

    /// Writes what has changed and frees leaves that are empty. With `leave` the inode does
    /// not use the tree any longer, and the last one takes it with it.
    pub fn finish(mut self, space: &mut Space<'_>, leave: bool) -> Result<(), RecoveryError> {
        if leave {
            self.root.rf_count = self.root.rf_count.saturating_sub(1);
            if self.root.rf_count == 0 {
                return Ok(self.remove(space)?);
            }
        }
        if !self.root.is_tree() {
            let Some(mut leaf) = self.read.remove(&0) else { return Ok(()) };
            leaf.header = self.root;
            return leaf.write(self.volume);
        }
        let mut emptied = Vec::new();
        for (cpos, leaf) in &mut self.read {
            if leaf.records.is_empty() {
                space.free_block(Suballocated::from(&leaf.header))?;
                emptied.push(*cpos);
            } else if leaf.is_changed {
                leaf.write(self.volume)?;
            }
        }
        if !emptied.is_empty() {
            self.drop_leaves(&emptied, space)?;
        }
        let (blkno, offset) = (self.blkno(), RefcountBlock::CHECK_OFFSET);
        self.root.encode(&mut self.root_block).map_err(Error::truncated(blkno))?;
        Ok(self.volume.write_metadata(blkno, &self.root_block, offset)?)
    }

    /// Takes leaves out of the tree. If there are no more, the root has the records again.
    fn drop_leaves(&mut self, emptied: &[u32], space: &mut Space<'_>) -> Result<(), Error> {
        let blkno = self.blkno();
        let mut keep = |extent: &crate::tree::Extent| {
            Ok(if emptied.binary_search(&extent.cpos.0).is_ok() { 0 } else { extent.clusters })
        };
        let pruned = self.extents()?.prune(&mut keep)?;
        for block in pruned.removed {
            space.free_block(block)?;
        }
        for (blkno, block) in &pruned.changed {
            let offset = ocfs2_format::extent::ExtentBlock::CHECK_OFFSET;
            self.volume.write_metadata(*blkno, block, offset)?;
        }
        self.root.rf_clusters = u32::try_from(pruned.clusters).unwrap_or(u32::MAX);
        self.root.rf_last_eb_blk = pruned.last_leaf;
        let list = self.root_block.get_mut(RefcountBlock::LIST_OFFSET..).unwrap_or_default();
        if pruned.records.is_empty() {
            let flags = self.root.flags() - RefcountFlags::TREE;
            self.root.rf_flags = flags.bits();
            write_refcounts(list, &[]).map_err(Error::truncated(blkno))
        } else {
            write_pruned(list, pruned.depth, &pruned.records).map_err(Error::truncated(blkno))
        }
    }

    /// Frees all blocks of a tree that nobody uses.
    fn remove(mut self, space: &mut Space<'_>) -> Result<(), Error> {
        let (volume, root) = (self.volume, self.blkno());
        let leaves = std::mem::take(&mut self.leaves);
        for (cpos, blkno) in leaves {
            let leaf = match self.read.remove(&cpos) {
                Some(leaf) => leaf,
                None => Leaf::read(volume, blkno, root)?,
            };
            if !leaf.records.is_empty() {
                let expected = "more, as there are clusters with references";
                return Err(Invalid::new(RefcountBlock::NAME, root, "rf_count", 1, expected).into());
            }
            if blkno != root {
                space.free_block(Suballocated::from(&leaf.header))?;
            }
        }
        if self.root.is_tree() {
            for block in self.extents()?.prune(&mut |_| Ok(0))?.removed {
                space.free_block(block)?;
            }
        }
        space.free_block(Suballocated::from(&self.root))
    }
}

impl Leaf {
    fn read(volume: &Volume, blkno: Blkno, root: Blkno) -> Result<Self, Error> {
        let name = RefcountBlock::NAME;
        let block = volume.read_metadata(name, blkno, RefcountBlock::CHECK_OFFSET)?;
        let header = RefcountBlock::decode(&block).map_err(Error::truncated(blkno))?;
        header.verify(blkno, volume.generation(), root)?;
        let mut records = Vec::new();
        if !header.is_tree() {
            let list = RefcountBlock::records(&block).map_err(Error::truncated(blkno))?;
            list.verify(blkno)?;
            records.extend(list.records());
        }
        Ok(Self { header, block, records, is_changed: false })
    }

    /// Counts one reference less for `run`; false if not all of it was counted.
    fn decrease(&mut self, run: &Range<u32>, unused: &mut Vec<Range<u32>>) -> bool {
        let (start, end) = (u64::from(run.start), u64::from(run.end));
        let mut records: Vec<RefcountRec> = Vec::with_capacity(self.records.len() + 2);
        let mut counted = 0;
        for record in &self.records {
            let (from, to) =
                (record.r_cpos, record.r_cpos.saturating_add(record.r_clusters.into()));
            let (low, high) = (from.max(start), to.min(end));
            if low >= high {
                push_refcount(&mut records, *record);
                continue;
            }
            let part = |range: Range<u64>, r_refcount| {
                let r_clusters = range.end.saturating_sub(range.start) as u32;
                RefcountRec { r_cpos: range.start, r_clusters, r_refcount }
            };
            push_refcount(&mut records, part(from..low, record.r_refcount));
            push_refcount(&mut records, part(low..high, record.r_refcount.saturating_sub(1)));
            push_refcount(&mut records, part(high..to, record.r_refcount));
            if record.r_refcount <= 1 {
                unused.push(low as u32..high as u32);
            }
            counted += high - low;
        }
        self.records = records;
        self.is_changed = true;
        counted == end - start
    }

    fn write(&mut self, volume: &Volume) -> Result<(), RecoveryError> {
        let blkno = self.header.rf_blkno;
        let capacity = RefcountBlock::record_capacity(volume.block_size());
        if self.records.len() > usize::from(capacity) {
            return Err(RecoveryError::RefcountLeafFull { blkno });
        }
        self.header.encode(&mut self.block).map_err(Error::truncated(blkno))?;
        let list = self.block.get_mut(RefcountBlock::LIST_OFFSET..).unwrap_or_default();
        write_refcounts(list, &self.records).map_err(Error::truncated(blkno))?;
        Ok(volume.write_metadata(blkno, &self.block, RefcountBlock::CHECK_OFFSET)?)
    }
}

impl Volume {
    /// The refcount tree of an inode, if it has one.
    pub(super) fn refcounts(&self, dinode: &Dinode) -> Result<Option<Refcounts<'_>>, Error> {
        let has = dinode.dyn_features().contains(ocfs2_format::dinode::DynFeatures::HAS_REFCOUNT);
        let root = Some(dinode.i_refcount_loc).filter(|root| has && !root.is_none());
        root.map(|root| Refcounts::new(self, root)).transpose()
    }
}
