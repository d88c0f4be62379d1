//! The clusters of a file, and the extent blocks that record them.

use std::ops::Range;

use ocfs2_format::extent::{
    ExtentBlock, ExtentFlags, ExtentListHeader, ExtentRec, write_extent_list,
};
use ocfs2_format::geometry::Geometry;
use ocfs2_format::{Blkno, Block, Cluster, Cpos, Structure, Truncated};

use crate::plan::Layout;
use crate::suballocator::Suballocated;

/// The place of a file's contents.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileData {
    extents: Vec<ExtentRec>,
    /// Number of its clusters.
    clusters: u32,
    /// Position after its last extent, in clusters.
    end: u32,
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

    /// Adds clusters at the end of the file, to the last extent if they continue it.
    pub(crate) fn append(&mut self, layout: &Layout, start: Cluster, clusters: u32) {
        self.append_at(layout, Cpos(self.end), start, clusters);
    }

    /// Adds clusters at position `cpos` after the end, which leaves a hole.
    pub(crate) fn append_at(&mut self, layout: &Layout, cpos: Cpos, start: Cluster, clusters: u32) {
        let geometry = &layout.geometry;
        let (mut cpos, mut start, mut rest) = (cpos.0, start.0, clusters);
        while rest > 0 {
            let blkno = geometry.block_of(Cluster(start));
            let last = self.extents.last_mut();
            let follows = |rec: &ExtentRec| {
                let count = u32::from(rec.e_leaf_clusters());
                let blocks = u64::from(count) << geometry.bpc_bits();
                rec.e_cpos.0 + count == cpos
                    && rec.e_blkno.0 + blocks == blkno.0
                    && rec.e_leaf_clusters() < u16::MAX
            };
            let count = match last.filter(|rec| follows(rec)) {
                Some(rec) => {
                    let count = rest.min(u32::from(u16::MAX - rec.e_leaf_clusters()));
                    rec.e_word += count;
                    self.clusters += count;
                    self.end += count;
                    count
                }
                None => {
                    let count = rest.min(u16::MAX.into());
                    let flags = ExtentFlags::empty();
                    self.push(ExtentRec::leaf(Cpos(cpos), count as u16, flags, blkno));
                    count
                }
            };
            (cpos, start, rest) = (cpos + count, start + count, rest - count);
        }
    }

    /// Adds an extent without joining it to the one before, for a tree keyed by hashes.
    pub(crate) fn push(&mut self, rec: ExtentRec) {
        self.clusters += u32::from(rec.e_leaf_clusters());
        self.end = rec.e_cpos.0.saturating_add(rec.e_leaf_clusters().into());
        self.extents.push(rec);
    }

    /// Number of clusters.
    pub(crate) fn clusters(&self) -> u32 {
        self.clusters
    }

    pub(crate) fn first_cluster(&self, geometry: &Geometry) -> Option<Cluster> {
        geometry.cluster_of(self.extents.first()?.e_blkno)
    }

    /// The block that contains block `index` of the file; `None` in a hole.
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

    /// Number of extent blocks in its tree: as many leaves as its extents fill, and the levels
    /// above. `root` is the number of records in the root.
    pub(crate) fn tree_blocks_needed(&self, layout: &Layout, root: usize) -> usize {
        self.levels(layout, root).iter().sum()
    }

    /// Number of extent blocks in each level of its tree, leaves first; empty at depth 0.
    fn levels(&self, layout: &Layout, root: usize) -> Vec<usize> {
        let per_block = usize::from(ExtentBlock::list_capacity(layout.geometry.block_size));
        let mut levels = Vec::new();
        let mut records = self.extents.len();
        while records > root {
            records = records.div_ceil(per_block);
            levels.push(records);
        }
        levels
    }

    /// The rightmost leaf of its tree, or 0 if there is none.
    pub(crate) fn last_leaf(&self, layout: &Layout, root: usize) -> Blkno {
        let leaves = self.levels(layout, root).first().copied().unwrap_or(0);
        let last = leaves.checked_sub(1).and_then(|last| self.tree_blocks.get(last));
        last.map_or(Blkno(0), |place| place.blkno)
    }

    /// Writes its extent list to `list`, all of which the list occupies, and returns the extent
    /// blocks.
    pub(crate) fn write_tree(
        &self,
        layout: &Layout,
        list: &mut [u8],
    ) -> Result<Vec<(Blkno, Vec<u8>)>, Truncated> {
        let geometry = &layout.geometry;
        let per_block = usize::from(ExtentBlock::list_capacity(geometry.block_size));
        let mut blocks = Vec::new();
        let mut records = self.extents.clone();
        let mut places = self.tree_blocks.iter();
        let levels = self.levels(layout, list_capacity(list));
        for (depth, count) in levels.iter().enumerate() {
            let level: Vec<_> = places.by_ref().take(*count).collect();
            let mut parents = Vec::new();
            let mut lists = records.chunks(per_block).peekable();
            for (index, place) in level.iter().enumerate() {
                let records = lists.next().unwrap_or_default();
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
                // Up to the start of the next record, across any hole.
                let first = records.first().map_or(Cpos(0), |rec| rec.e_cpos);
                let next = lists.peek().and_then(|records| records.first());
                let end = next.map_or(self.end, |rec| rec.e_cpos.0);
                parents.push(ExtentRec::interior(first, end - first.0, place.blkno));
            }
            records = parents;
        }
        write_extent_list(list, levels.len() as u16, &records)?;
        Ok(blocks)
    }
}

/// Number of records in an extent list that occupies all of `list`.
pub(crate) fn list_capacity(list: &[u8]) -> usize {
    list.len().saturating_sub(ExtentListHeader::SIZE) / ExtentRec::SIZE
}
