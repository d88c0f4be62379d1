//! Where the contents of an inode are, as far as its tree can be followed.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use ocfs2_format::extent::{ExtentBlock, ExtentFlags, ExtentList, ExtentRec, MAX_TREE_DEPTH};
use ocfs2_format::{Blkno, Block};
use ocfs2_volume::{Inode, Volume};

use super::ranges::within;
use crate::read::corrected::read_corrected;

/// Consecutive clusters of a file that are also consecutive on the volume.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Mapped {
    /// The first cluster of the file.
    pub cpos: u64,
    pub clusters: u64,
    /// The first cluster of the volume.
    pub start: u64,
    pub is_written: bool,
}

impl Mapped {
    /// Cluster numbers in the file.
    pub fn logical(&self) -> Range<u64> {
        self.cpos..self.cpos + self.clusters
    }

    /// Cluster numbers on the volume.
    pub fn physical(&self) -> Range<u64> {
        self.start..self.start + self.clusters
    }
}

/// The tree of an inode.
#[derive(Debug, Default)]
pub(super) struct Mapping {
    /// In the order of the tree.
    pub extents: Vec<Mapped>,
    /// Clusters of the file whose records point to nothing valid.
    pub broken: Vec<Range<u64>>,
    /// Whether the header of a list is impossible.
    pub is_garbage: bool,
}

impl Mapping {
    /// Reads as much of the tree as possible.
    pub fn of(volume: &Volume, inode: &Inode) -> Self {
        let mut walk =
            Walk { volume, seen: HashSet::from([inode.blkno]), mapping: Self::default() };
        match ExtentList::new(inode.id2()) {
            Ok(list) => {
                let depth = walk.depth(&list);
                walk.list(&list, depth, 1 << 32);
            }
            Err(_) => walk.mapping.is_garbage = true,
        }
        walk.mapping
    }

    /// The clusters of all extents together.
    pub fn clusters(&self) -> u64 {
        self.extents.iter().map(|it| it.clusters).sum()
    }
}

/// Extent blocks to which nothing was written, nor to anything below them. Each is read once,
/// however many inodes point to it.
#[derive(Debug, Default)]
pub(super) struct Untouched(RefCell<HashMap<Blkno, bool>>);

impl Untouched {
    /// Whether nothing was written to anything that the list of an inode points to. `written` are
    /// bytes of the device, in order.
    pub fn is_tree(&self, volume: &Volume, written: &[Range<u64>], inode: &Inode) -> bool {
        let list = ExtentList::new(inode.id2());
        list.is_ok_and(|list| self.is_list(volume, written, &list, MAX_TREE_DEPTH))
    }

    fn is_list(
        &self,
        volume: &Volume,
        written: &[Range<u64>],
        list: &ExtentList<'_>,
        most: u16,
    ) -> bool {
        let (geometry, depth) = (volume.geometry(), list.header.l_tree_depth);
        let is_apart = |blkno: Blkno, bytes: u64| {
            let start = blkno.0.saturating_mul(geometry.block_size.bytes().into());
            within(&(start..start.saturating_add(bytes)), written).is_empty()
        };
        list.records().all(|rec| match depth {
            0 => {
                let bytes = u64::from(rec.e_leaf_clusters()) << geometry.cluster_size.bits();
                is_apart(rec.e_blkno, bytes)
            }
            _ if most == 0 => false,
            _ => {
                let known = self.0.borrow().get(&rec.e_blkno).copied();
                known.unwrap_or_else(|| {
                    // A block that points back to itself adds nothing.
                    self.0.borrow_mut().insert(rec.e_blkno, true);
                    let is_untouched = is_apart(rec.e_blkno, geometry.block_size.bytes().into())
                        && geometry.is_valid_block(rec.e_blkno)
                        && volume.read_block(rec.e_blkno).is_ok_and(|block| {
                            let list = ExtentBlock::list(&block);
                            list.is_ok_and(|list| self.is_list(volume, written, &list, most - 1))
                        });
                    self.0.borrow_mut().insert(rec.e_blkno, is_untouched);
                    is_untouched
                })
            }
        })
    }
}

struct Walk<'a> {
    volume: &'a Volume,
    seen: HashSet<Blkno>,
    mapping: Mapping,
}

impl Walk<'_> {
    /// The depth of the root; an impossible one is derived from the first list below.
    fn depth(&mut self, list: &ExtentList<'_>) -> u16 {
        let depth = list.header.l_tree_depth;
        if depth <= MAX_TREE_DEPTH {
            return depth;
        }
        self.mapping.is_garbage = true;
        let first = list.record(0).and_then(|rec| self.block(rec.e_blkno));
        first.map_or(0, |block| {
            let below = ExtentBlock::list(&block).map_or(0, |list| list.header.l_tree_depth);
            below.min(MAX_TREE_DEPTH - 1) + 1
        })
    }

    fn block(&self, blkno: Blkno) -> Option<Vec<u8>> {
        if !self.volume.geometry().is_valid_block(blkno) {
            return None;
        }
        let block = read_corrected::<ExtentBlock>(self.volume, blkno).ok()?;
        block.starts_with(&ExtentBlock::SIGNATURE).then_some(block)
    }

    /// Reads a list of that depth, which covers clusters of the file up to `end`.
    fn list(&mut self, list: &ExtentList<'_>, depth: u16, end: u64) {
        let (count, used) = (list.header.l_count, list.header.l_next_free_rec);
        self.mapping.is_garbage |= usize::from(count) != list.capacity() || used > count;
        let records: Vec<_> = list.records().collect();
        for (index, rec) in records.iter().enumerate() {
            let cpos = u64::from(rec.e_cpos.0);
            if depth == 0 {
                self.leaf(rec);
                continue;
            }
            let next = records.get(index + 1).map_or(end, |next| next.e_cpos.0.into());
            let next = if next > cpos { next } else { cpos + u64::from(rec.e_int_clusters()) };
            let is_new = self.seen.insert(rec.e_blkno);
            let block = self.block(rec.e_blkno).filter(|_| is_new);
            match block.as_deref().map(ExtentBlock::list) {
                Some(Ok(list)) => self.list(&list, depth - 1, next),
                _ => self.mapping.broken.push(cpos..next),
            }
        }
    }

    fn leaf(&mut self, rec: &ExtentRec) {
        let geometry = self.volume.geometry();
        let (cpos, clusters) = (u64::from(rec.e_cpos.0), u64::from(rec.e_leaf_clusters()));
        if clusters == 0 {
            return;
        }
        let start = rec.e_blkno.0 >> geometry.bpc_bits();
        let there = match geometry.is_valid_block(rec.e_blkno) {
            true => clusters.min(u64::from(geometry.clusters).saturating_sub(start)),
            false => 0,
        };
        let is_written = !rec.e_flags().contains(ExtentFlags::UNWRITTEN);
        if there > 0 {
            self.mapping.extents.push(Mapped { cpos, clusters: there, start, is_written });
        }
        // An unwritten extent has no contents to lose.
        if there < clusters && is_written {
            self.mapping.broken.push(cpos + there..cpos + clusters);
        }
    }
}
