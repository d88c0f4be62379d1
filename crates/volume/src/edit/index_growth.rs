//! Creation and growth of an index: entries move from a full root to a cluster of leaves, and from
//! a full leaf about half of them move to another cluster.

use ocfs2_format::dx::{DxEntry, DxFlags, DxLeaf, DxRoot};
use ocfs2_format::dx_leaves::LeafCluster;
use ocfs2_format::extent::ExtentFlags;
use ocfs2_format::{Blkno, Block, Cluster, Cpos, Structure};

use super::index::{Index, Leaf};
use super::{Edit, EditError, Holds, Root};
use crate::InBlock;
use crate::allocator::{Suballocated, Want};
use crate::tree::Extent;

/// The error if all entries of a full leaf have the same hash, so that it cannot be split.
const SAME_HASH: &str = "too many names of the directory have the same hash";
const MANY: &str = "the directory has too many names";

impl Index {
    /// Creates an index with these entries, which have to fit into its root. The root is not
    /// written yet.
    pub fn create(edit: &mut Edit, dir: Blkno, entries: &[DxEntry]) -> Result<Self, EditError> {
        let Suballocated { blkno, slot, bit, loc, .. } = edit.take_block(DxRoot::NAME)?;
        let root = DxRoot {
            dr_signature: DxRoot::SIGNATURE,
            dr_suballoc_slot: slot,
            dr_suballoc_bit: bit,
            dr_suballoc_loc: loc,
            dr_fs_generation: edit.generation(),
            dr_blkno: blkno,
            dr_flags: DxFlags::INLINE.bits(),
            dr_dir_blkno: dir,
            dr_num_entries: u32::try_from(entries.len()).map_err(|_| EditError::TooLarge(MANY))?,
            ..DxRoot::default()
        };
        let block = vec![0; edit.block_size().size()];
        let mut index = Self { root, block };
        index.set_entries(entries)?;
        Ok(index)
    }

    /// Adds an entry. The root is not written yet.
    pub fn insert(&mut self, edit: &mut Edit, new: DxEntry) -> Result<(), EditError> {
        let count = self.root.dr_num_entries.checked_add(1);
        self.root.dr_num_entries = count.ok_or(EditError::TooLarge(MANY))?;
        let block_size = edit.block_size();
        if self.root.is_inline() {
            let mut entries = self.entries()?;
            if entries.len() < usize::from(DxRoot::entry_capacity(block_size)) {
                entries.push(new);
                return Ok(self.set_entries(&entries)?);
            }
            self.leave_root(edit, &entries)?;
        }
        let capacity = usize::from(DxLeaf::entry_capacity(block_size));
        // Each split leaves fewer entries in the leaf for the hash.
        for _ in 0..=capacity {
            let Some(mut leaf) = self.leaf(edit.volume(), new.hash())? else { break };
            if leaf.entries.len() < capacity {
                leaf.entries.push(new);
                return Ok(leaf.write(edit.volume())?);
            }
            self.split(edit, &leaf, &new)?;
        }
        Err(EditError::TooLarge(SAME_HASH))
    }

    /// Moves the entries of the root to a first cluster of leaves.
    fn leave_root(&mut self, edit: &mut Edit, entries: &[DxEntry]) -> Result<(), EditError> {
        let (blkno, room) = (self.root.dr_blkno, self.block.len() - DxRoot::LIST_OFFSET);
        let tree = Root::empty(blkno, Holds::Keyed, room).in_block(blkno)?;
        let first = self.add_cluster(edit, tree, Cpos(0))?;
        let flags = DxFlags::from_bits_retain(self.root.dr_flags) - DxFlags::INLINE;
        self.root.dr_flags = flags.bits();
        let per_cluster = edit.geometry().blocks_per_cluster();
        let cluster = LeafCluster { lowest: 0, entries };
        for index in 0..per_cluster {
            let entries = cluster.leaf(index, per_cluster).collect();
            let leaf = Leaf::new(edit.volume(), Blkno(first.0 + u64::from(index)), entries);
            leaf.write(edit.volume())?;
        }
        Ok(())
    }

    /// Splits the cluster of a full leaf: entries with hashes from about the middle of that leaf on
    /// move, from each leaf of the cluster, to the corresponding leaf of a new one.
    fn split(&mut self, edit: &mut Edit, full: &Leaf, new: &DxEntry) -> Result<(), EditError> {
        let at = split_at(&full.entries, new.dx_major_hash);
        let at = at.ok_or(EditError::TooLarge(SAME_HASH))?;
        let Some((_, first)) = self.cluster(edit.volume(), new.hash())? else { return Ok(()) };
        let blkno = self.root.dr_blkno;
        let list = self.block.get(DxRoot::LIST_OFFSET..).unwrap_or_default().to_vec();
        let (last_leaf, clusters) = (self.root.dr_last_eb_blk, self.root.dr_clusters);
        let tree = Root::new(blkno, Holds::Keyed, list, last_leaf, clusters);
        let second = self.add_cluster(edit, tree, Cpos(at))?;
        for index in 0..u64::from(edit.geometry().blocks_per_cluster()) {
            let mut leaf = Leaf::read(edit.volume(), Blkno(first.0 + index))?;
            let (stay, go): (Vec<_>, Vec<_>) =
                leaf.entries.iter().partition(|entry| entry.dx_major_hash < at);
            if !go.is_empty() {
                leaf.entries = stay;
                leaf.write(edit.volume())?;
            }
            Leaf::new(edit.volume(), Blkno(second.0 + index), go).write(edit.volume())?;
        }
        Ok(())
    }

    /// Adds a cluster of leaves to the tree and returns its first block.
    fn add_cluster(
        &mut self,
        edit: &mut Edit,
        mut tree: Root,
        cpos: Cpos,
    ) -> Result<Blkno, EditError> {
        let run = edit.take_clusters(Want::exactly(1))?;
        let blkno = edit.geometry().block_of(Cluster(run.start));
        let dir = edit.inode(self.root.dr_dir_blkno)?;
        edit.count_index(&dir.dinode, 1);
        let flags = ExtentFlags::empty();
        edit.tree_insert(&mut tree, Extent { cpos, clusters: 1, blkno, flags })?;
        self.root.dr_last_eb_blk = tree.last_leaf();
        self.root.dr_clusters = tree.clusters();
        let list = self.block.get_mut(DxRoot::LIST_OFFSET..).unwrap_or_default();
        if list.len() == tree.list().len() {
            list.copy_from_slice(tree.list());
        }
        Ok(blkno)
    }
}

/// The major hash from which on entries leave a full leaf to make room for `new`: the one nearest
/// to the middle at which they can be divided. `None` if all hashes, `new` included, are the same.
fn split_at(entries: &[DxEntry], new: u32) -> Option<u32> {
    let mut hashes: Vec<u32> = entries.iter().map(|entry| entry.dx_major_hash).collect();
    hashes.sort_unstable();
    let middle = hashes.len() / 2;
    let steps = hashes.windows(2).enumerate().filter_map(|(at, pair)| match pair {
        [one, next] if one < next => Some((at + 1, *next)),
        _ => None,
    });
    if let Some((_, hash)) = steps.min_by_key(|(at, _)| at.abs_diff(middle)) {
        return Some(hash);
    }
    let only = hashes.first().copied()?;
    // Either the new one begins the new cluster or all others do.
    (only != new).then(|| only.max(new))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hashes: &[u32], new: u32) -> Option<u32> {
        let entry = |hash: &u32| DxEntry { dx_major_hash: *hash, ..DxEntry::default() };
        split_at(&hashes.iter().map(entry).collect::<Vec<_>>(), new)
    }

    #[test]
    fn a_leaf_is_divided_between_two_hashes_near_its_middle() {
        assert_eq!(at(&[4, 1, 3, 2], 9), Some(3));
        assert_eq!(at(&[1, 1, 1, 1, 1, 2], 9), Some(2));
        assert_eq!(at(&[1, 2, 2, 2, 2, 2], 9), Some(2));
        assert_eq!(at(&[1, 2, 2, 2, 3, 3], 0), Some(3));
    }

    #[test]
    fn a_leaf_of_one_hash_is_divided_from_another_one_only() {
        assert_eq!(at(&[5, 5, 5], 5), None);
        assert_eq!(at(&[5, 5, 5], 7), Some(7));
        assert_eq!(at(&[5, 5, 5], 3), Some(5));
    }
}
