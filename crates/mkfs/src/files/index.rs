//! The index of a directory, which has its entries by the hashes of their names.

use ocfs2_format::dx::{DxEntry, DxFlags, DxLeaf, DxRoot, write_dx_entries};
use ocfs2_format::dx_leaves::{LeafCluster, pack_leaves};
use ocfs2_format::extent::{ExtentFlags, ExtentRec};
use ocfs2_format::hash::NameHash;
use ocfs2_format::{Blkno, Block, Cpos, Structure};

use super::{Files, FillError};
use crate::file::{FileData, list_capacity};
use crate::suballocator::Suballocated;

/// The hash of a name, and the index of the directory block that contains it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashed {
    pub(super) hash: NameHash,
    pub(super) block: usize,
}

impl Files<'_> {
    /// Writes the index of `directory`, which consists of `blocks`. The list of blocks with holes
    /// starts at `free`. The root is at `place`, or in a new block. Returns the block of the root,
    /// and the number of clusters of the leaves.
    pub(super) fn write_index(
        &mut self,
        place: Option<Suballocated>,
        directory: Blkno,
        mut hashed: Vec<Hashed>,
        blocks: &[Blkno],
        free: Blkno,
    ) -> Result<(Blkno, u32), FillError> {
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
        let entry = |hashed: Hashed| DxEntry {
            dx_major_hash: hashed.hash.major,
            dx_minor_hash: hashed.hash.minor,
            dx_dirent_blk: blocks.get(hashed.block).copied().unwrap_or_default(),
        };
        let is_inline = hashed.len() <= DxRoot::entry_capacity(geometry.block_size).into();
        if !is_inline {
            hashed.sort_by_key(|hashed| hashed.hash);
        }
        let entries: Vec<_> = hashed.into_iter().map(entry).collect();
        if is_inline {
            root.dr_flags = DxFlags::INLINE.bits();
            write_dx_entries(&mut block[DxRoot::LIST_OFFSET..], &entries)?;
        } else {
            let mut leaves = FileData::default();
            let spare = DxLeaf::entry_capacity(geometry.block_size) / 4;
            let per_cluster = geometry.blocks_per_cluster();
            for cluster in pack_leaves(&entries, geometry.block_size, per_cluster, spare) {
                let cluster = cluster?;
                let (start, _) = self.new_clusters(1)?;
                let first = geometry.block_of(start);
                let cpos = Cpos(cluster.lowest);
                leaves.push(ExtentRec::leaf(cpos, 1, ExtentFlags::empty(), first));
                self.write_leaves(first, cluster)?;
            }
            let list = &mut block[DxRoot::LIST_OFFSET..];
            self.put_tree(&mut leaves, list)?;
            root.dr_clusters = leaves.clusters();
            root.dr_last_eb_blk = leaves.last_leaf(&self.plan.layout, list_capacity(list));
        }
        root.encode(&mut block)?;
        self.plan.stamp::<DxRoot>(&mut block);
        self.blocks.put(place, &block)?;
        Ok((place.blkno, root.dr_clusters))
    }

    fn write_leaves(&mut self, first: Blkno, cluster: LeafCluster<'_>) -> Result<(), FillError> {
        let layout = &self.plan.layout;
        let (geometry, generation) = (layout.geometry, layout.generation);
        let place = (first, geometry.blocks_per_cluster());
        let mut blocks = cluster.blocks(place, geometry.block_size, generation)?;
        blocks.iter_mut().for_each(|block| self.plan.stamp::<DxLeaf>(block));
        self.data.put(first.0 << geometry.block_size.bits(), &blocks.concat())?;
        Ok(())
    }
}
