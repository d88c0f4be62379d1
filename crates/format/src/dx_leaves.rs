//! How the entries of an index lie in its leaves.
//!
//! A cluster of leaves holds all names from one major hash up to that of the next cluster. Within
//! it the minor hash selects the block. Names of one major hash are never in two clusters, so that
//! one lookup finds all of them.

use crate::dx::{DxEntry, DxLeaf, write_dx_entries};
use crate::{Blkno, Block, BlockSize, Structure, Truncated};

/// More names have the same hash than fit into a leaf, so that no index can hold them.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("too many names have the same hash for an index")]
pub struct SameHash;

/// One cluster of leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LeafCluster<'e> {
    /// The lowest major hash that belongs here: the position of the cluster's extent.
    pub lowest: u32,
    /// Its entries.
    pub entries: &'e [DxEntry],
}

impl LeafCluster<'_> {
    /// The entries of block `index` of the cluster.
    pub fn leaf(&self, index: u32, blocks_per_cluster: u32) -> impl Iterator<Item = DxEntry> {
        let is_here = move |entry: &&DxEntry| entry.dx_minor_hash % blocks_per_cluster == index;
        self.entries.iter().filter(is_here).copied()
    }

    /// The blocks of the cluster, which are placed from `first` on, without block checks.
    /// `generation` is the generation of the volume.
    ///
    /// # Errors
    /// [`Truncated`] if a leaf has more entries than it has room for.
    pub fn blocks(
        &self,
        (first, blocks_per_cluster): (Blkno, u32),
        block_size: BlockSize,
        generation: u32,
    ) -> Result<Vec<Vec<u8>>, Truncated> {
        let block = |index: u32| {
            let entries: Vec<_> = self.leaf(index, blocks_per_cluster).collect();
            DxLeaf::block(Blkno(first.0 + u64::from(index)), &entries, block_size, generation)
        };
        (0..blocks_per_cluster).map(block).collect()
    }
}

impl DxLeaf {
    /// A whole leaf at `blkno`, without its block check.
    ///
    /// # Errors
    /// [`Truncated`] if it has no room for so many entries.
    pub fn block(
        blkno: Blkno,
        entries: &[DxEntry],
        block_size: BlockSize,
        generation: u32,
    ) -> Result<Vec<u8>, Truncated> {
        let leaf = Self {
            dl_signature: Self::SIGNATURE,
            dl_blkno: blkno,
            dl_fs_generation: generation,
            ..Self::default()
        };
        let mut block = vec![0; block_size.size()];
        leaf.encode(&mut block)?;
        write_dx_entries(block.get_mut(Self::LIST_OFFSET..).unwrap_or_default(), entries)?;
        Ok(block)
    }
}

/// Iterator over clusters of entries, each as full as it may be; see [`pack_leaves`].
#[derive(Clone, Debug)]
pub struct PackedLeaves<'e> {
    rest: &'e [DxEntry],
    is_first: bool,
    blocks_per_cluster: u32,
    capacity: usize,
    most: usize,
}

/// Distributes `entries`, which are sorted by their hashes, over clusters of leaves. In each leaf,
/// room for `spare` entries (fewer than a leaf holds) stays free for future names, unless the names
/// of one major hash need it.
pub fn pack_leaves(
    entries: &[DxEntry],
    block_size: BlockSize,
    blocks_per_cluster: u32,
    spare: u16,
) -> PackedLeaves<'_> {
    let capacity = DxLeaf::entry_capacity(block_size);
    PackedLeaves {
        rest: entries,
        is_first: true,
        blocks_per_cluster: blocks_per_cluster.max(1),
        capacity: capacity.into(),
        most: capacity.saturating_sub(spare).max(1).into(),
    }
}

impl PackedLeaves<'_> {
    /// How many of the entries the next cluster takes.
    fn next_count(&self) -> Result<usize, SameHash> {
        let mut used = vec![0; self.blocks_per_cluster as usize];
        let mut taken = 0;
        for same in self.rest.chunk_by(|a, b| a.dx_major_hash == b.dx_major_hash) {
            for entry in same {
                let index = (entry.dx_minor_hash % self.blocks_per_cluster) as usize;
                used.get_mut(index).into_iter().for_each(|count| *count += 1);
            }
            let fullest = used.iter().copied().max().unwrap_or(0);
            if fullest > self.most {
                return match (taken, fullest > self.capacity) {
                    (0, true) => Err(SameHash),
                    (0, false) => Ok(same.len()),
                    _ => Ok(taken),
                };
            }
            taken += same.len();
        }
        Ok(taken)
    }
}

impl<'e> Iterator for PackedLeaves<'e> {
    type Item = Result<LeafCluster<'e>, SameHash>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.rest.first()?;
        let lowest = if std::mem::take(&mut self.is_first) { 0 } else { first.dx_major_hash };
        let count = match self.next_count() {
            Ok(count) => count,
            Err(err) => {
                self.rest = &[];
                return Some(Err(err));
            }
        };
        let (entries, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(Ok(LeafCluster { lowest, entries }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: BlockSize = BlockSize::MIN;

    fn entry(dx_major_hash: u32, dx_minor_hash: u32) -> DxEntry {
        DxEntry { dx_major_hash, dx_minor_hash, dx_dirent_blk: Blkno(9) }
    }

    #[test]
    fn names_of_one_hash_stay_together_and_none_is_left_out() {
        // 29 entries fit into a leaf of 512 bytes.
        let entries: Vec<_> = (0..300).map(|n| entry(n / 20, n)).collect();
        let clusters: Vec<_> = pack_leaves(&entries, SIZE, 2, 7).map(Result::unwrap).collect();
        assert_eq!(clusters.first().unwrap().lowest, 0);
        let all: Vec<_> = clusters.iter().flat_map(|it| it.entries).copied().collect();
        assert_eq!(all, entries);
        for pair in clusters.windows(2) {
            let last = pair[0].entries.last().unwrap().dx_major_hash;
            assert_eq!(pair[1].lowest, pair[1].entries[0].dx_major_hash);
            assert!(last < pair[1].lowest);
        }
        for cluster in &clusters {
            assert!((0..2).all(|index| cluster.leaf(index, 2).count() <= 22));
            let blocks = cluster.blocks((Blkno(40), 2), SIZE, 7).unwrap();
            let second = DxLeaf::decode(&blocks[1]).unwrap();
            second.verify(Blkno(41), 7).unwrap();
            let there: Vec<_> = DxLeaf::entries(&blocks[1]).unwrap().records().collect();
            assert!(there.iter().all(|entry| entry.dx_minor_hash % 2 == 1));
        }
    }

    #[test]
    fn a_hash_that_leaves_nothing_spare_has_a_cluster_and_one_that_does_not_fit_has_none() {
        let entries: Vec<_> = (0..29).map(|_| entry(5, 0)).collect();
        let mut packed = pack_leaves(&entries, SIZE, 1, 7);
        assert_eq!(packed.next().unwrap().unwrap().entries.len(), 29);
        assert_eq!(packed.next(), None);
        let entries: Vec<_> = (0..30).map(|_| entry(5, 0)).collect();
        let mut packed = pack_leaves(&entries, SIZE, 1, 7);
        assert_eq!((packed.next(), packed.next()), (Some(Err(SameHash)), None));
    }
}
