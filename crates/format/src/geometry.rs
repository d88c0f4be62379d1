//! Arithmetic on blocks, clusters and the groups of the global bitmap.

use crate::group::GroupDesc;
use crate::{Blkno, BlockSize, Cluster, ClusterSize};

/// The sizes that place everything on a volume.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Geometry {
    /// Bytes of a block.
    pub block_size: BlockSize,
    /// Bytes of a cluster.
    pub cluster_size: ClusterSize,
    /// Clusters of the volume.
    pub clusters: u32,
    /// `s_first_cluster_group`: descriptor of the global bitmap's first group.
    pub first_group: Blkno,
}

impl Geometry {
    /// The geometry of a new volume.
    pub fn new(block_size: BlockSize, cluster_size: ClusterSize, clusters: u32) -> Self {
        let bpc_bits = cluster_size.bits().saturating_sub(block_size.bits());
        // The first cluster after the three blocks up to and including the superblock.
        let first_group = Blkno(3_u64.div_ceil(1 << bpc_bits) << bpc_bits);
        Self { block_size, cluster_size, clusters, first_group }
    }

    /// log2 of the blocks in a cluster. A cluster is never smaller than a block.
    pub fn bpc_bits(&self) -> u32 {
        self.cluster_size.bits() - self.block_size.bits()
    }

    /// Blocks in a cluster, 1 to 2048.
    pub fn blocks_per_cluster(&self) -> u32 {
        1 << self.bpc_bits()
    }

    /// Blocks of the volume: those of its clusters.
    pub fn blocks(&self) -> u64 {
        u64::from(self.clusters) << self.bpc_bits()
    }

    /// Bytes of the volume.
    pub fn size_bytes(&self) -> u64 {
        u64::from(self.clusters) << self.cluster_size.bits()
    }

    /// First block of a cluster.
    pub fn block_of(&self, cluster: Cluster) -> Blkno {
        Blkno(u64::from(cluster.0) << self.bpc_bits())
    }

    /// The cluster a block is in; `None` past the end of the volume.
    pub fn cluster_of(&self, blkno: Blkno) -> Option<Cluster> {
        if blkno.0 >= self.blocks() {
            return None;
        }
        u32::try_from(blkno.0 >> self.bpc_bits()).ok().map(Cluster)
    }

    /// Clusters that hold `bytes`; `None` if the number does not fit 32 bits.
    pub fn clusters_for(&self, bytes: u64) -> Option<u32> {
        u32::try_from(bytes.div_ceil(self.cluster_size.bytes().into())).ok()
    }

    /// Blocks that hold `bytes`.
    pub fn blocks_for(&self, bytes: u64) -> u64 {
        bytes.div_ceil(self.block_size.bytes().into())
    }

    /// Whether a field may point to `blkno`: it is after the superblock and inside the volume.
    pub fn is_valid_block(&self, blkno: Blkno) -> bool {
        blkno > crate::superblock::SUPERBLOCK_BLKNO && blkno.0 < self.blocks()
    }

    /// Whether all of the `count` blocks from `blkno` on are valid, as in
    /// [`Geometry::is_valid_block`].
    pub fn is_valid_range(&self, blkno: Blkno, count: u64) -> bool {
        let end = blkno.0.checked_add(count);
        self.is_valid_block(blkno) && end.is_some_and(|end| end <= self.blocks())
    }

    /// Largest size of a file in bytes: every cluster position but the last one.
    pub fn most_file_bytes(&self) -> u64 {
        u64::from(u32::MAX) << self.cluster_size.bits()
    }

    /// Clusters a group of the global bitmap covers, `cl_cpg`.
    pub fn clusters_per_group(&self) -> u32 {
        GroupDesc::max_bits(self.block_size).into()
    }

    /// Groups of the global bitmap.
    pub fn groups(&self) -> u32 {
        self.clusters.div_ceil(self.clusters_per_group())
    }

    /// Clusters the last group covers.
    pub fn tail_clusters(&self) -> u32 {
        let tail = self.clusters % self.clusters_per_group();
        if tail == 0 { self.clusters_per_group().min(self.clusters) } else { tail }
    }

    /// Clusters group `index` covers.
    pub fn group_clusters(&self, index: u32) -> u32 {
        let is_last = index.saturating_add(1) >= self.groups();
        if is_last { self.tail_clusters() } else { self.clusters_per_group() }
    }

    /// The group of the global bitmap that covers `cluster`, and its bit there.
    pub fn group_of(&self, cluster: Cluster) -> (u32, u32) {
        (cluster.0 / self.clusters_per_group(), cluster.0 % self.clusters_per_group())
    }

    /// First cluster that group `index` covers.
    pub fn group_start(&self, index: u32) -> Cluster {
        Cluster(index.saturating_mul(self.clusters_per_group()))
    }

    /// Where the descriptor of group `index` of the global bitmap is.
    pub fn group_blkno(&self, index: u32) -> Blkno {
        if index == 0 { self.first_group } else { self.block_of(self.group_start(index)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(bs: u64, cs: u64, clusters: u32) -> Geometry {
        let bs = BlockSize::from_bytes(bs).unwrap();
        Geometry::new(bs, ClusterSize::from_bytes(cs).unwrap(), clusters)
    }

    #[test]
    fn groups_are_laid_out_as_the_c_mkfs_does() {
        // Volume in clusters, block size, groups, tail; from mkfs.ocfs2 -n.
        let rows: &[(u32, u64, u64, u32, u32)] = &[
            (10_240, 1024, 4096, 2, 2560),
            (76_800, 1024, 4096, 10, 7680),
            (131_072, 2048, 4096, 9, 4096),
            (1_048_233, 4096, 4096, 33, 16041),
            (26_214_400, 4096, 4096, 813, 22528),
            (204_800, 4096, 524_288, 7, 11264),
            (2_684_354_560, 4096, 8192, 83221, 10240),
        ];
        for (clusters, bs, cs, groups, tail) in rows.iter().copied() {
            let g = geometry(bs, cs, clusters);
            assert_eq!((g.groups(), g.tail_clusters()), (groups, tail), "{clusters}");
            assert_eq!(g.group_clusters(groups - 1), tail);
            let last = g.group_of(Cluster(clusters - 1));
            assert_eq!(last, (groups - 1, tail - 1));
        }
    }

    #[test]
    fn the_first_descriptor_is_in_the_first_cluster_behind_the_superblock() {
        let first = |bs, cs| geometry(bs, cs, 10_000).first_group.0;
        assert_eq!(first(4096, 4096), 3);
        assert_eq!(first(2048, 4096), 4);
        assert_eq!(first(1024, 4096), 4);
        assert_eq!(first(512, 4096), 8);
        assert_eq!(first(4096, 1 << 20), 256);
        assert_eq!(geometry(4096, 8192, 1 << 20).group_blkno(1), Blkno(32256 * 2));
    }

    #[test]
    fn a_volume_smaller_than_a_group_has_one() {
        let g = geometry(4096, 4096, 3000);
        assert_eq!((g.groups(), g.tail_clusters()), (1, 3000));
        assert_eq!((g.group_clusters(0), g.group_clusters(u32::MAX)), (3000, 3000));
        assert_eq!(g.cluster_of(Blkno(2999)), Some(Cluster(2999)));
        assert_eq!(g.cluster_of(Blkno(3000)), None);
        assert!(g.is_valid_range(Blkno(2990), 10) && !g.is_valid_range(Blkno(2990), 11));
        assert!(!g.is_valid_range(Blkno(5), u64::MAX) && !g.is_valid_block(Blkno(2)));
    }
}
