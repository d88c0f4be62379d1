//! The clusters of a file, and the extent blocks that record them.

use std::ops::Range;

use ocfs2_format::extent::{ExtentBlock, ExtentFlags, ExtentRec, write_extent_list};
use ocfs2_format::geometry::Geometry;
use ocfs2_format::{Blkno, Cluster, Cpos, Structure, Truncated};

use crate::plan::Layout;
use crate::suballocator::Suballocated;

/// Where the contents of a file are.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileData {
    extents: Vec<ExtentRec>,
    /// Extent blocks, in the order in which the growing file needed them.
    pub(crate) tree_blocks: Vec<Suballocated>,
}

impl FileData {
    /// A file of one extent.
    pub(crate) fn contiguous(layout: &Layout, start: Cluster, clusters: u32) -> Self {
        let mut file = Self::default();
        file.append(layout, start, clusters);
        file
    }

    /// Adds clusters at its end, to the last extent if they follow it.
    pub(crate) fn append(&mut self, layout: &Layout, start: Cluster, clusters: u32) {
        let geometry = &layout.geometry;
        let (mut start, mut rest) = (start.0, clusters);
        while rest > 0 {
            let cpos = self.clusters();
            let blkno = geometry.block_of(Cluster(start));
            let last = self.extents.last_mut();
            let follows = |rec: &ExtentRec| {
                let blocks = u64::from(rec.e_leaf_clusters()) << geometry.bpc_bits();
                rec.e_blkno.0 + blocks == blkno.0 && rec.e_leaf_clusters() < u16::MAX
            };
            let count = match last.filter(|rec| follows(rec)) {
                Some(rec) => {
                    let count = rest.min(u32::from(u16::MAX - rec.e_leaf_clusters()));
                    rec.e_word += count;
                    count
                }
                None => {
                    let count = rest.min(u16::MAX.into());
                    let flags = ExtentFlags::empty();
                    self.extents.push(ExtentRec::leaf(Cpos(cpos), count as u16, flags, blkno));
                    count
                }
            };
            start += count;
            rest -= count;
        }
    }

    /// Clusters it has.
    pub(crate) fn clusters(&self) -> u32 {
        let last = self.extents.last();
        last.map_or(0, |rec| rec.e_cpos.0 + u32::from(rec.e_leaf_clusters()))
    }

    pub(crate) fn first_cluster(&self, geometry: &Geometry) -> Option<Cluster> {
        geometry.cluster_of(self.extents.first()?.e_blkno)
    }

    /// The block that holds block `index` of the file.
    pub(crate) fn block(&self, geometry: &Geometry, index: u64) -> Option<Blkno> {
        let cpos = u32::try_from(index >> geometry.bpc_bits()).ok()?;
        let covers = |rec: &&ExtentRec| cpos - rec.e_cpos.0 < rec.e_leaf_clusters().into();
        let rec = self.extents.iter().filter(|rec| rec.e_cpos.0 <= cpos).find(covers)?;
        Some(Blkno(rec.e_blkno.0 + index - (u64::from(rec.e_cpos.0) << geometry.bpc_bits())))
    }

    /// The blocks of its extents.
    pub(crate) fn block_ranges(&self, geometry: &Geometry) -> impl Iterator<Item = Range<u64>> {
        let bits = geometry.bpc_bits();
        self.extents.iter().map(move |rec| {
            rec.e_blkno.0..rec.e_blkno.0 + (u64::from(rec.e_leaf_clusters()) << bits)
        })
    }

    /// Extent blocks its tree takes: a leaf for every full one, and what is above.
    pub(crate) fn tree_blocks_needed(&self, layout: &Layout) -> usize {
        self.levels(layout).iter().sum()
    }

    /// Extent blocks of each level of its tree, leaves first; none at depth 0.
    fn levels(&self, layout: &Layout) -> Vec<usize> {
        let per_block = usize::from(ExtentBlock::list_capacity(layout.geometry.block_size));
        let mut levels = Vec::new();
        let mut records = self.extents.len();
        while records > layout.chain_capacity() {
            records = records.div_ceil(per_block);
            levels.push(records);
        }
        levels
    }

    /// The rightmost leaf of its tree, 0 where there is no tree.
    pub(crate) fn last_leaf(&self, layout: &Layout) -> Blkno {
        let leaves = self.levels(layout).first().copied().unwrap_or(0);
        let last = leaves.checked_sub(1).and_then(|last| self.tree_blocks.get(last));
        last.map_or(Blkno(0), |place| place.blkno)
    }

    /// Writes its extent list into `id2` of its dinode and returns the extent blocks.
    pub(crate) fn write_tree(
        &self,
        layout: &Layout,
        id2: &mut [u8],
    ) -> Result<Vec<(Blkno, Vec<u8>)>, Truncated> {
        let geometry = &layout.geometry;
        let per_block = usize::from(ExtentBlock::list_capacity(geometry.block_size));
        let mut blocks = Vec::new();
        let mut records = self.extents.clone();
        let mut places = self.tree_blocks.iter();
        let levels = self.levels(layout);
        for (depth, count) in levels.iter().enumerate() {
            let level: Vec<_> = places.by_ref().take(*count).collect();
            let mut parents = Vec::new();
            for (index, (place, records)) in level.iter().zip(records.chunks(per_block)).enumerate()
            {
                let next = level.get(index + 1).map_or(Blkno(0), |next| next.blkno);
                let header = ExtentBlock {
                    h_signature: ExtentBlock::SIGNATURE,
                    h_check: Default::default(),
                    h_suballoc_slot: 0,
                    h_suballoc_bit: place.bit,
                    h_fs_generation: layout.generation,
                    h_blkno: place.blkno,
                    h_suballoc_loc: place.loc,
                    h_next_leaf_blk: if depth == 0 { next } else { Blkno(0) },
                };
                let mut block = vec![0; layout.block_size()];
                header.encode(&mut block)?;
                let list = &mut block[ExtentBlock::LIST_OFFSET..];
                write_extent_list(list, depth as u16, records)?;
                blocks.push((place.blkno, block));
                let cover = |rec: &ExtentRec| match depth {
                    0 => u32::from(rec.e_leaf_clusters()),
                    _ => rec.e_int_clusters(),
                };
                let first = records.first().map_or(Cpos(0), |rec| rec.e_cpos);
                let clusters = records.iter().map(cover).sum();
                parents.push(ExtentRec::interior(first, clusters, place.blkno));
            }
            records = parents;
        }
        write_extent_list(id2, levels.len() as u16, &records)?;
        Ok(blocks)
    }
}
