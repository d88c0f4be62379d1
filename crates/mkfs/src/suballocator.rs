//! Chain allocators for single blocks: of dinodes and of other metadata.

use ocfs2_format::bitmap::{Bitmap, BitmapMut};
use ocfs2_format::chain::{ChainRec, suballocator_cpg};
use ocfs2_format::{Blkno, Cluster};

use crate::cluster_map::ClusterMap;
use crate::plan::Layout;

/// An allocated block and its origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suballocated {
    pub(crate) blkno: Blkno,
    pub(crate) bit: u16,
    /// Block of the group descriptor.
    pub(crate) loc: Blkno,
}

/// A block group of a suballocator.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) blkno: Blkno,
    pub(crate) bits: u16,
    pub(crate) chain: u16,
    /// Index of the next group in the chain.
    pub(crate) next: Option<usize>,
    bitmap: Vec<u8>,
    free: u16,
    /// Bits below this one are not handed out any more.
    at: u16,
}

impl Group {
    /// A group in which only the descriptor is taken.
    fn new(blkno: Blkno, bits: u16, chain: u16, next: Option<usize>) -> Self {
        let mut bitmap = vec![0; usize::from(bits).div_ceil(8)];
        BitmapMut::new(&mut bitmap, bits.into()).set_range(0, 1);
        Self { blkno, bits, chain, next, bitmap, free: bits.saturating_sub(1), at: 1 }
    }

    pub(crate) fn bitmap(&self) -> Bitmap<'_> {
        Bitmap::new(&self.bitmap, self.bits.into())
    }

    pub(crate) fn bitmap_bytes(&self) -> &[u8] {
        &self.bitmap
    }

    pub(crate) fn free(&self) -> u16 {
        self.free
    }

    fn take_next(&mut self) -> Option<u16> {
        let bit = self.bitmap().next(false, self.at.into())?;
        BitmapMut::new(&mut self.bitmap, self.bits.into()).set_range(bit, 1);
        self.free -= 1;
        self.at = bit as u16 + 1;
        Some(bit as u16)
    }

    fn give_back(&mut self, bit: u16) {
        BitmapMut::new(&mut self.bitmap, self.bits.into()).clear_range(bit.into(), 1);
        self.free += 1;
    }
}

/// The groups of one suballocator.
#[derive(Clone, Debug, Default)]
pub(crate) struct Suballocator {
    /// In the order in which they were added. This is the order of their blocks, unless the volume
    /// is almost full and allocation has wrapped around.
    pub(crate) groups: Vec<Group>,
    /// Number of clusters per group, `cl_cpg`.
    pub(crate) clusters_per_group: u16,
    /// Index of the first group of each chain.
    heads: Vec<usize>,
    /// Groups before this one are exhausted.
    at: usize,
}

impl Suballocator {
    /// An allocator without groups, for inodes or extent blocks of a slot.
    pub(crate) fn new(layout: &Layout) -> Self {
        let geometry = layout.geometry;
        let clusters_per_group = suballocator_cpg(geometry.block_size, geometry.cluster_size);
        Self { clusters_per_group, ..Self::default() }
    }

    /// An allocator with one group of `clusters` clusters, allocated at `start`.
    pub(crate) fn with_group(layout: &Layout, start: Cluster, clusters: u16) -> Self {
        let blkno = layout.geometry.block_of(start);
        let bits = clusters * layout.geometry.blocks_per_cluster() as u16;
        let groups = vec![Group::new(blkno, bits, 0, None)];
        Self { groups, clusters_per_group: clusters, heads: vec![0], at: 0 }
    }

    /// Adds a group of contiguous clusters to the next chain.
    pub(crate) fn add_group(&mut self, layout: &Layout, map: &mut ClusterMap) -> Option<()> {
        let clusters = u32::from(self.clusters_per_group);
        let (start, _) = map.allocate(clusters, clusters)?;
        let bits = self.clusters_per_group * layout.geometry.blocks_per_cluster() as u16;
        let index = self.groups.len();
        let (chain, next) = if self.heads.len() < layout.chain_capacity() {
            self.heads.push(index);
            (self.heads.len() - 1, None)
        } else {
            let chain = index % layout.chain_capacity();
            (chain, Some(std::mem::replace(&mut self.heads[chain], index)))
        };
        let blkno = layout.geometry.block_of(start);
        self.groups.push(Group::new(blkno, bits, chain as u16, next));
        Some(())
    }

    /// Allocates the first free block, and adds a group if there is none.
    pub(crate) fn allocate(
        &mut self,
        layout: &Layout,
        map: &mut ClusterMap,
    ) -> Option<Suballocated> {
        loop {
            if self.at == self.groups.len() {
                self.add_group(layout, map)?;
            }
            let group = &mut self.groups[self.at];
            if let Some(bit) = group.take_next() {
                let blkno = Blkno(group.blkno.0 + u64::from(bit));
                return Some(Suballocated { blkno, bit, loc: group.blkno });
            }
            self.at += 1;
        }
    }

    /// Skips a free block, which stays free.
    pub(crate) fn skip(&mut self, layout: &Layout, map: &mut ClusterMap) -> Option<()> {
        let bit = self.allocate(layout, map)?.bit;
        self.groups[self.at].give_back(bit);
        Some(())
    }

    /// Number of bits in use, and of all bits.
    pub(crate) fn counts(&self) -> (u32, u32) {
        let total: u32 = self.groups.iter().map(|group| u32::from(group.bits)).sum();
        let free: u32 = self.groups.iter().map(|group| u32::from(group.free())).sum();
        (total - free, total)
    }

    /// The chain records.
    pub(crate) fn chains(&self) -> Vec<ChainRec> {
        let chain = |head: &usize| {
            let mut record = ChainRec { c_blkno: self.groups[*head].blkno, ..Default::default() };
            let mut at = Some(*head);
            while let Some(group) = at.map(|index| &self.groups[index]) {
                record.c_free += u32::from(group.free());
                record.c_total += u32::from(group.bits);
                at = group.next;
            }
            record
        };
        self.heads.iter().map(chain).collect()
    }
}
