//! Extent trees: from a position in a file to where it is stored.
//!
//! Nothing of a tree is trusted: records have to be in order and inside what the records above them
//! cover, extents inside the volume, depths falling by one. No extent block may be reached twice,
//! nor may clusters that are not shared, so that reading all of a tree never reads more than the
//! volume has. The links between leaves are not used at all.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use ocfs2_format::extent::{ExtentBlock, ExtentFlags, ExtentList, ExtentRec};
use ocfs2_format::hash::NameHash;
use ocfs2_format::{Blkno, Cpos, Invalid, Structure};

use crate::runs::Runs;
use crate::{Error, InBlock, Volume};

/// A run of clusters of a file, as a leaf record describes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Extent {
    /// First position in the file, in clusters.
    pub cpos: Cpos,
    /// Number of clusters.
    pub clusters: u16,
    /// First block on the volume.
    pub blkno: Blkno,
    /// The flags.
    pub flags: ExtentFlags,
}

impl Extent {
    /// One without flags.
    pub fn new(cpos: Cpos, clusters: u16, blkno: Blkno) -> Self {
        Self { cpos, clusters, blkno, flags: ExtentFlags::empty() }
    }

    /// The position after its last cluster, at most 2^32.
    pub fn end(&self) -> u64 {
        u64::from(self.cpos.0) + u64::from(self.clusters)
    }

    /// Whether it holds `cpos`.
    pub fn contains(&self, cpos: Cpos) -> bool {
        self.cpos <= cpos && u64::from(cpos.0) < self.end()
    }

    /// Whether it is allocated but not written, so that it reads as zeros.
    pub fn is_unwritten(&self) -> bool {
        self.flags.contains(ExtentFlags::UNWRITTEN)
    }
}

/// What a position in a file is part of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Segment {
    /// The positions, in clusters, at most up to 2^32. The range of a hole may be cut where the
    /// next leaf begins.
    pub range: Range<u64>,
    /// What is there; `None` in a hole.
    pub extent: Option<Extent>,
}

/// What the leaf records of a tree point to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Unit {
    Cluster,
    /// Single blocks, as in refcount trees.
    Block,
}

/// An extent tree of a volume.
#[derive(Clone, Debug)]
pub struct Tree<'v> {
    volume: &'v Volume,
    root: Node,
    unit: Unit,
    /// The leaf that was used last: reading on in a file needs it again.
    leaf: Arc<Mutex<Option<Arc<Leaf>>>>,
}

/// A list of a tree.
#[derive(Clone, Debug)]
struct Node {
    /// The block it is in.
    blkno: Blkno,
    depth: u16,
    /// The positions it may cover by the records above it.
    range: Range<u64>,
    records: Vec<ExtentRec>,
}

/// A leaf all of whose records are sound.
#[derive(Clone, Debug)]
struct Leaf {
    range: Range<u64>,
    extents: Vec<Extent>,
}

/// The end of all positions.
const END: u64 = 1 << 32;

impl Node {
    fn new(blkno: Blkno, list: &ExtentList<'_>, range: Range<u64>) -> Result<Self, Error> {
        list.verify(blkno)?;
        let depth = list.header.l_tree_depth;
        Ok(Self { blkno, depth, range, records: list.records().collect() })
    }

    fn invalid(
        &self,
        field: &'static str,
        found: impl std::fmt::Display,
        expected: impl std::fmt::Display,
    ) -> Error {
        Invalid::new(ExtentRec::NAME, self.blkno, field, found, expected).into()
    }

    /// The positions an interior record covers: up to where the next one begins. The first
    /// one also stands for what is before it.
    fn covered(&self, index: usize) -> Result<Range<u64>, Error> {
        let cpos = |index: usize| self.records.get(index).map(|rec| u64::from(rec.e_cpos.0));
        let own = cpos(index).unwrap_or(END);
        let start = if index == 0 { self.range.start } else { own };
        let end = cpos(index + 1).unwrap_or(self.range.end);
        if start < self.range.start || start >= end || own >= end || end > self.range.end {
            let expected = format_args!("below {end}, and records in order").to_string();
            return Err(self.invalid("e_cpos", own, expected));
        }
        Ok(start..end)
    }
}

impl<'v> Tree<'v> {
    /// The tree whose root list is in block `blkno`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the root list is wrong.
    pub fn new(volume: &'v Volume, blkno: Blkno, list: &ExtentList<'_>) -> Result<Self, Error> {
        Ok(Self {
            volume,
            root: Node::new(blkno, list, 0..END)?,
            unit: Unit::Cluster,
            leaf: Arc::default(),
        })
    }

    /// As [`Tree::new`], for a tree whose leaf records point to single blocks: a refcount tree.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the root list is wrong.
    pub fn of_blocks(
        volume: &'v Volume,
        blkno: Blkno,
        list: &ExtentList<'_>,
    ) -> Result<Self, Error> {
        Ok(Self { unit: Unit::Block, ..Self::new(volume, blkno, list)? })
    }

    /// Number of levels of extent blocks, 0 to 5.
    pub fn depth(&self) -> u16 {
        self.root.depth
    }

    /// All extents, in order.
    ///
    /// A record that is wrong, an extent block that cannot be read, or clusters that an earlier
    /// extent has, are returned as an error; what comes after it follows. The iteration ends for
    /// any contents.
    pub fn extents(&self) -> Extents<'v> {
        Extents {
            volume: self.volume,
            unit: self.unit,
            stack: vec![(self.root.clone(), 0)],
            visited: HashSet::new(),
            taken: Runs::default(),
            end: 0,
        }
    }

    /// The segment that `cpos` is part of.
    ///
    /// # Errors
    /// Any of reading the extent blocks above it, and of what is wrong with their leaf.
    pub fn segment(&self, cpos: Cpos) -> Result<Segment, Error> {
        let at = u64::from(cpos.0);
        let leaf = self.leaf(cpos)?;
        let next = leaf.extents.partition_point(|extent| extent.cpos <= cpos);
        let before = next.checked_sub(1).and_then(|index| leaf.extents.get(index));
        if let Some(extent) = before.filter(|extent| extent.contains(cpos)) {
            let range = extent.cpos.0.into()..extent.end();
            return Ok(Segment { range, extent: Some(*extent) });
        }
        let start = before.map_or(leaf.range.start, Extent::end).min(at);
        let end = leaf.extents.get(next).map_or(leaf.range.end, |extent| extent.cpos.0.into());
        Ok(Segment { range: start..end.max(at + 1), extent: None })
    }

    /// The extent that holds `cpos`; `None` in a hole.
    ///
    /// # Errors
    /// As [`Tree::segment`].
    pub fn map(&self, cpos: Cpos) -> Result<Option<Extent>, Error> {
        self.segment(cpos).map(|segment| segment.extent)
    }

    /// The last extent that begins at or before `hash`: how the trees whose positions are
    /// hashes are searched.
    ///
    /// # Errors
    /// As [`Tree::segment`].
    pub fn floor(&self, hash: u32) -> Result<Option<Extent>, Error> {
        let leaf = self.leaf(Cpos(hash))?;
        let next = leaf.extents.partition_point(|extent| extent.cpos.0 <= hash);
        Ok(next.checked_sub(1).and_then(|index| leaf.extents.get(index)).copied())
    }

    /// The leaf of a directory's index that has the entries with a hash.
    ///
    /// # Errors
    /// As [`Tree::segment`].
    pub fn dx_leaf(&self, hash: NameHash) -> Result<Option<Blkno>, Error> {
        let Some((_, first)) = self.dx_cluster(hash)? else { return Ok(None) };
        let per_cluster = u64::from(self.volume.geometry().blocks_per_cluster());
        Ok(Some(Blkno(first.0 + u64::from(hash.minor) % per_cluster)))
    }

    /// The cluster of leaves with that leaf: its position in the tree, and its first block.
    ///
    /// # Errors
    /// As [`Tree::segment`].
    pub(crate) fn dx_cluster(&self, hash: NameHash) -> Result<Option<(Cpos, Blkno)>, Error> {
        let Some(extent) = self.floor(hash.major)? else { return Ok(None) };
        let last = u32::from(extent.clusters).saturating_sub(1);
        let cluster = hash.major.saturating_sub(extent.cpos.0).min(last);
        let per_cluster = u64::from(self.volume.geometry().blocks_per_cluster());
        let first = Blkno(extent.blkno.0 + u64::from(cluster) * per_cluster);
        Ok(Some((Cpos(extent.cpos.0.saturating_add(cluster)), first)))
    }

    fn leaf(&self, cpos: Cpos) -> Result<Arc<Leaf>, Error> {
        let last = || self.leaf.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last().clone().filter(|leaf| leaf.range.contains(&cpos.0.into()));
        if let Some(leaf) = known {
            return Ok(leaf);
        }
        let leaf = Arc::new(self.descend(cpos)?);
        *last() = Some(Arc::clone(&leaf));
        Ok(leaf)
    }

    fn descend(&self, cpos: Cpos) -> Result<Leaf, Error> {
        let mut inner;
        let mut node = &self.root;
        while node.depth > 0 && !node.records.is_empty() {
            let next = node.records.partition_point(|rec| rec.e_cpos <= cpos);
            inner = self.volume.extent_node(node, next.saturating_sub(1))?;
            node = &inner;
        }
        if node.depth > 0 {
            return Ok(Leaf { range: node.range.clone(), extents: Vec::new() });
        }
        let mut end = node.range.start;
        let mut extents = Vec::with_capacity(node.records.len());
        for index in 0..node.records.len() {
            if let Some(extent) = self.volume.extent(node, index, &mut end, self.unit)? {
                extents.push(extent);
            }
        }
        Ok(Leaf { range: node.range.clone(), extents })
    }
}

impl Volume {
    /// The list of the extent block that an interior record points to.
    fn extent_node(&self, parent: &Node, index: usize) -> Result<Node, Error> {
        let range = parent.covered(index)?;
        let Some(ExtentRec { e_blkno: blkno, .. }) = parent.records.get(index).copied() else {
            return Err(parent.invalid("e_blkno", "missing", "an extent block"));
        };
        let (_, block) = self.read::<ExtentBlock>(blkno)?;
        let list = ExtentBlock::list(&block).in_block(blkno)?;
        let node = Node::new(blkno, &list, range)?;
        if node.depth.checked_add(1) != Some(parent.depth) {
            let expected = parent.depth.saturating_sub(1);
            let invalid =
                Invalid::new(ExtentBlock::NAME, blkno, "l_tree_depth", node.depth, expected);
            return Err(invalid.into());
        }
        Ok(node)
    }

    /// The leaf record at `index`, if it is not empty. `end` is where the extents before it
    /// end, and is moved on.
    fn extent(
        &self,
        leaf: &Node,
        index: usize,
        end: &mut u64,
        unit: Unit,
    ) -> Result<Option<Extent>, Error> {
        let Some(rec) = leaf.records.get(index) else { return Ok(None) };
        let extent = Extent {
            cpos: rec.e_cpos,
            clusters: rec.e_leaf_clusters(),
            blkno: rec.e_blkno,
            flags: rec.e_flags(),
        };
        if extent.clusters == 0 {
            // The kernel leaves one such record behind when it removes the first ones.
            return match index {
                0 => Ok(None),
                _ => Err(leaf.invalid("e_leaf_clusters", 0, "at least 1")),
            };
        }
        let floor = (*end).max(leaf.range.start);
        if u64::from(extent.cpos.0) < floor {
            let expected = format_args!("{floor} or above").to_string();
            return Err(leaf.invalid("e_cpos", extent.cpos, expected));
        }
        if extent.end() > leaf.range.end {
            let room = leaf.range.end.saturating_sub(extent.cpos.0.into());
            let expected = format_args!("at most {room}").to_string();
            return Err(leaf.invalid("e_leaf_clusters", extent.clusters, expected));
        }
        let (blocks, aligned) = match unit {
            Unit::Block => (extent.clusters.into(), true),
            Unit::Cluster => {
                let per_cluster = u64::from(self.geometry().blocks_per_cluster());
                let blocks = u64::from(extent.clusters) * per_cluster;
                (blocks, extent.blkno.0.is_multiple_of(per_cluster))
            }
        };
        if !aligned || !self.geometry().is_valid_range(extent.blkno, blocks) {
            let expected = format_args!("the first of {blocks} blocks, at a cluster").to_string();
            return Err(leaf.invalid("e_blkno", extent.blkno, expected));
        }
        *end = extent.end();
        Ok(Some(extent))
    }
}

/// The extents of a tree, in order. See [`Tree::extents`].
#[derive(Debug)]
pub struct Extents<'v> {
    volume: &'v Volume,
    unit: Unit,
    /// The lists from the root down, each with the record that comes next.
    stack: Vec<(Node, usize)>,
    /// Extent blocks that were read, except the root.
    visited: HashSet<Blkno>,
    /// The blocks of the extents so far, apart from those that may be shared.
    taken: Runs,
    /// Where the extents so far end.
    end: u64,
}

impl Extents<'_> {
    /// The extent blocks read so far: when the iteration has ended, all those of the tree.
    pub fn extent_blocks(&self) -> impl Iterator<Item = Blkno> + '_ {
        self.visited.iter().copied()
    }

    /// Returns the extent, or an error if some of it was in an earlier one. A file may share
    /// clusters with itself, if a refcount tree counts them.
    fn once(&mut self, extent: Extent) -> Result<Extent, Error> {
        let bits = if self.unit == Unit::Block { 0 } else { self.volume.geometry().bpc_bits() };
        let blocks = u64::from(extent.clusters) << bits;
        let is_shared = extent.flags.contains(ExtentFlags::REFCOUNTED);
        if is_shared || self.taken.insert(extent.blkno, blocks) {
            return Ok(extent);
        }
        Err(Error::Repeated { structure: "extent", blkno: extent.blkno })
    }
}

impl Iterator for Extents<'_> {
    type Item = Result<Extent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (node, next) = self.stack.last_mut()?;
            let index = *next;
            if index >= node.records.len() {
                self.stack.pop();
                continue;
            }
            *next += 1;
            if node.depth == 0 {
                match self.volume.extent(node, index, &mut self.end, self.unit).transpose() {
                    None => continue,
                    Some(extent) => return Some(extent.and_then(|extent| self.once(extent))),
                }
            }
            let blkno = node.records.get(index).map_or(Blkno(0), |rec| rec.e_blkno);
            if blkno == node.blkno || !self.visited.insert(blkno) {
                return Some(Err(Error::Repeated { structure: ExtentBlock::NAME, blkno }));
            }
            match self.volume.extent_node(node, index) {
                Ok(child) => self.stack.push((child, 0)),
                Err(err) => return Some(Err(err)),
            }
        }
    }
}

#[cfg(test)]
mod tests;
