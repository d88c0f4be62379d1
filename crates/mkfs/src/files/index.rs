//! The index of a directory: its entries by the hashes of their names.

use ocfs2_format::dx::{DxEntry, DxFlags, DxLeaf, DxRoot, write_dx_entries};
use ocfs2_format::extent::{ExtentFlags, ExtentRec};
use ocfs2_format::hash::NameHash;
use ocfs2_format::{Blkno, Cpos, Structure};

use super::{Files, FillError};
use crate::file::{FileData, list_capacity};
use crate::suballocator::Suballocated;

/// A name, and which block of the directory has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashed {
    pub(super) hash: NameHash,
    pub(super) block: usize,
}

impl Files<'_> {
    /// Writes the index of `directory`, whose blocks are `blocks`; those from `free` on have
    /// holes. Its root is at `place`, if that is known. Gives the root.
    pub(super) fn write_index(
        &mut self,
        place: Option<Suballocated>,
        directory: Blkno,
        mut hashed: Vec<Hashed>,
        blocks: &[Blkno],
        free: Blkno,
    ) -> Result<Blkno, FillError> {
        let place = match place {
            Some(place) => place,
            None => self.new_block()?,
        };
        let layout = &self.plan.layout;
        let geometry = layout.geometry;
        let mut root = DxRoot {
            dr_signature: DxRoot::SIGNATURE,
            dr_suballoc_slot: 0,
            dr_suballoc_bit: place.bit,
            dr_fs_generation: layout.generation,
            dr_blkno: place.blkno,
            dr_dir_blkno: directory,
            dr_num_entries: hashed.len() as u32,
            dr_free_blk: free,
            dr_suballoc_loc: place.loc,
            ..Default::default()
        };
        let mut block = vec![0; layout.block_size()];
        let entry = |hashed: &Hashed| DxEntry {
            dx_major_hash: hashed.hash.major,
            dx_minor_hash: hashed.hash.minor,
            dx_dirent_blk: blocks.get(hashed.block).copied().unwrap_or_default(),
        };
        if hashed.len() <= DxRoot::entry_capacity(geometry.block_size).into() {
            root.dr_flags = DxFlags::INLINE.bits();
            let entries: Vec<_> = hashed.iter().map(entry).collect();
            write_dx_entries(&mut block[DxRoot::LIST_OFFSET..], &entries)?;
        } else {
            hashed.sort_by_key(|hashed| hashed.hash);
            let mut leaves = FileData::default();
            let mut rest = &hashed[..];
            while !rest.is_empty() {
                let count = self.entries_of_cluster(rest)?;
                let (cluster, next) = rest.split_at(count);
                let lowest = if leaves.clusters() == 0 { 0 } else { cluster[0].hash.major };
                let (start, _) = self.new_clusters(1)?;
                let first = geometry.block_of(start);
                leaves.push(ExtentRec::leaf(Cpos(lowest), 1, ExtentFlags::empty(), first));
                self.write_leaves(first, cluster, &entry)?;
                rest = next;
            }
            let list = &mut block[DxRoot::LIST_OFFSET..];
            self.put_tree(&mut leaves, list)?;
            root.dr_clusters = leaves.clusters();
            root.dr_last_eb_blk = leaves.last_leaf(&self.plan.layout, list_capacity(list));
        }
        root.encode(&mut block)?;
        self.stamp(&mut block, DxRoot::CHECK_OFFSET);
        self.blocks.put(place, &block)?;
        Ok(place.blkno)
    }

    /// How many of the entries, which are sorted, one cluster of leaves takes: those of the same
    /// major hash stay together, and a quarter of each leaf stays free for names to come.
    fn entries_of_cluster(&self, hashed: &[Hashed]) -> Result<usize, FillError> {
        let geometry = self.plan.layout.geometry;
        let per_cluster = geometry.blocks_per_cluster() as usize;
        let capacity = usize::from(DxLeaf::entry_capacity(geometry.block_size));
        let mut used = vec![0; per_cluster];
        let mut taken = 0;
        for same in hashed.chunk_by(|a, b| a.hash.major == b.hash.major) {
            for hashed in same {
                used[hashed.hash.minor as usize % per_cluster] += 1;
            }
            let most = used.iter().copied().max().unwrap_or(0);
            if most > capacity - capacity / 4 {
                return match (taken, most > capacity) {
                    (0, true) => Err(FillError::SameHash),
                    (0, false) => Ok(same.len()),
                    _ => Ok(taken),
                };
            }
            taken += same.len();
        }
        Ok(taken)
    }

    /// Writes the leaves of one cluster.
    fn write_leaves(
        &mut self,
        first: Blkno,
        hashed: &[Hashed],
        entry: &dyn Fn(&Hashed) -> DxEntry,
    ) -> Result<(), FillError> {
        let geometry = self.plan.layout.geometry;
        let per_cluster = u64::from(geometry.blocks_per_cluster());
        let size = geometry.block_size.size();
        let mut entries = vec![Vec::new(); per_cluster as usize];
        for hashed in hashed {
            entries[(u64::from(hashed.hash.minor) % per_cluster) as usize].push(entry(hashed));
        }
        let mut bytes = vec![0; entries.len() * size];
        for ((blkno, block), entries) in (first.0..).zip(bytes.chunks_mut(size)).zip(&entries) {
            let leaf = DxLeaf {
                dl_signature: DxLeaf::SIGNATURE,
                dl_blkno: Blkno(blkno),
                dl_fs_generation: self.plan.layout.generation,
                ..Default::default()
            };
            leaf.encode(block)?;
            write_dx_entries(&mut block[DxLeaf::LIST_OFFSET..], entries)?;
            self.stamp(block, DxLeaf::CHECK_OFFSET);
        }
        self.data.put(first.0 * size as u64, &bytes)?;
        Ok(())
    }
}
