//! What a tree of extents holds, and how long its records can be.

use std::ops::Range;

use ocfs2_format::extent::ExtentRec;
use ocfs2_format::geometry::Geometry;
use ocfs2_format::{Blkno, Cpos};

use crate::clusters::ClusterSet;

/// What a tree holds, which decides what may be in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Holds {
    /// Contents of a regular file: may have holes.
    Data,
    /// Anything else whose positions are counted, without holes: directories, symbolic links,
    /// attribute values, files of the system. In the check also regular files of a volume without
    /// sparse files.
    Dense,
    /// Clusters found by a hash: positions are hashes.
    Hashed,
    /// Single blocks found by cluster numbers: the leaves of a refcount tree.
    RefcountLeaves,
}

impl Holds {
    /// Returns the end of all positions. No file uses the last one: kernels have no room for the
    /// number of its end.
    pub fn end(self) -> u64 {
        match self {
            Self::Data | Self::Dense => u32::MAX.into(),
            Self::Hashed | Self::RefcountLeaves => 1 << 32,
        }
    }

    /// Returns where a record can be and how many clusters it can have, if these are fewer than it
    /// states. `before_end` is the end of the extent before, `behind` the positions of the records
    /// after it.
    ///
    /// If a record reaches over two records that are in order, its own length is wrong rather than
    /// two positions. A record whose position is after both begins where the extent before it ends.
    pub fn room(
        self,
        rec: &ExtentRec,
        before_end: u64,
        mut behind: impl Iterator<Item = u32>,
    ) -> Option<Longest> {
        if matches!(self, Self::Hashed | Self::RefcountLeaves) {
            return None;
        }
        let (cpos, one, two) = (rec.e_cpos.0, behind.next()?, behind.next()?);
        let end = u64::from(cpos) + u64::from(rec.e_leaf_clusters());
        let is_behind = cpos > two;
        let reaches_over = (cpos < one || is_behind) && one < two && u64::from(two) < end;
        let cpos = if is_behind { u32::try_from(before_end).ok()? } else { cpos };
        let clusters = u16::try_from(one.checked_sub(cpos)?).ok()?;
        let is_less = clusters > 0 && clusters < rec.e_leaf_clusters();
        (reaches_over && is_less).then_some(Longest { cpos: Cpos(cpos), clusters })
    }
}

/// The largest length of the record at a position.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Longest {
    pub cpos: Cpos,
    /// The clusters; not 0.
    pub clusters: u16,
}

impl Longest {
    /// Returns the record, shortened if it is longer.
    pub fn of(self, rec: ExtentRec) -> ExtentRec {
        match rec.e_cpos == self.cpos && rec.e_leaf_clusters() > self.clusters {
            true => ExtentRec::leaf(rec.e_cpos, self.clusters, rec.e_flags(), rec.e_blkno),
            false => rec,
        }
    }
}

/// Returns the record that a record of a leaf is replaced by, given the record and the one after
/// it.
pub type Taken<'a> = dyn Fn(&ExtentRec, Option<&ExtentRec>) -> ExtentRec + 'a;

/// Removes overlaps from `runs`, each a first block and a number of blocks, if they add up to more
/// than the volume, so that a hostile tree is not read many times over. Returns whether it did.
pub fn once(geometry: &Geometry, runs: &mut Vec<(Blkno, u64)>) -> bool {
    let sum = runs.iter().fold(0_u64, |sum, (_, blocks)| sum.saturating_add(*blocks));
    if sum <= geometry.blocks() {
        return false;
    }
    let mut seen = ClusterSet::default();
    let bits = geometry.bpc_bits();
    let first = |cluster: u32| Blkno(u64::from(cluster) << bits);
    let mut distinct = Vec::new();
    for (start, blocks) in runs.drain(..) {
        let end = start.0.saturating_add(blocks).div_ceil(1 << bits);
        let (Ok(mut at), Ok(end)) = (u32::try_from(start.0 >> bits), u32::try_from(end)) else {
            continue;
        };
        let mut new = |range: Range<u32>| {
            if !range.is_empty() {
                distinct.push((first(range.start), u64::from(range.end - range.start) << bits));
            }
        };
        seen.insert(at..end, |again| {
            new(at..again.start);
            at = again.end;
        });
        new(at..end);
    }
    *runs = distinct;
    true
}

#[cfg(test)]
mod tests {
    use ocfs2_format::{BlockSize, ClusterSize};

    use super::*;

    #[test]
    fn what_a_tree_has_many_times_is_read_once() {
        let block_size = BlockSize::from_bytes(1024).unwrap();
        let cluster_size = ClusterSize::from_bytes(4096).unwrap();
        let geometry = &Geometry::new(block_size, cluster_size, 1000);
        let (blocks, bpc) = (geometry.blocks(), u64::from(geometry.blocks_per_cluster()));
        let mut runs = vec![(Blkno(8 * bpc), 4 * bpc), (Blkno(9 * bpc), bpc)];
        assert!(!once(geometry, &mut runs));
        assert_eq!(runs.len(), 2);

        runs.extend([(Blkno(0), blocks), (Blkno(2 * bpc), blocks - 2 * bpc)]);
        assert!(once(geometry, &mut runs));
        let rest = (Blkno(12 * bpc), blocks - 12 * bpc);
        assert_eq!(runs, [(Blkno(8 * bpc), 4 * bpc), (Blkno(0), 8 * bpc), rest]);
    }
}
