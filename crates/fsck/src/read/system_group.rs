//! The size of the groups of the system's inodes, which was chosen when the volume was made.

use ocfs2_format::dinode::Dinode;
use ocfs2_format::geometry::Geometry;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::{Blkno, Block, Structure};
use ocfs2_volume::{Inode, SystemFile, Volume};

/// Returns the clusters per group of the allocator of the system's inodes, to which the system
/// directory and the root belong: as its group states, or else up to where the contents of another
/// system file begin. Both mkfs make it as large as the first files need, and put their contents
/// after it. A group as large as those of other allocators would reach into a journal, and the
/// copies of inodes there would be taken for inodes.
pub(crate) fn system_cpg(volume: &Volume, allocator: Blkno) -> Option<u32> {
    let superblock = volume.superblock();
    let tops = [superblock.s_system_dir_blkno, superblock.s_root_blkno];
    let groups = tops.into_iter().filter_map(|blkno| {
        let inode = Inode::decode(blkno, volume.read_block(blkno).ok()?).ok()?;
        let Dinode { i_suballoc_loc: loc, i_suballoc_bit: bit, .. } = inode.dinode;
        // Older inodes only state the bit: their groups are in one piece.
        if loc.is_none() { blkno.0.checked_sub(bit.into()).map(Blkno) } else { Some(loc) }
    });
    let groups: Vec<_> = groups.collect();
    let stated = groups.iter().find_map(|group| {
        let desc = GroupDesc::decode(&volume.read_block(*group).ok()?).ok()?;
        let is_its_own = desc.bg_signature == GroupDesc::SIGNATURE
            && desc.bg_generation == volume.generation()
            && desc.bg_parent_dinode == allocator;
        clusters(volume.geometry(), &desc).filter(|_| is_its_own)
    });
    let room = || room_before_contents(volume, *groups.first()?);
    stated.or_else(|| Some(room().unwrap_or(u32::MAX).min(usual_cpg(volume))))
}

/// Blocks that both mkfs give the group at least, however few slots there are.
const LEAST_BLOCKS: u64 = 4 + 255 + 10;

/// Returns the clusters per group with which both mkfs make the allocator: the descriptor, the root,
/// the system directory and its files fit into one group.
fn usual_cpg(volume: &Volume) -> u32 {
    let files = SystemFile::expected(volume, volume.max_slots()).count() as u64;
    let blocks = LEAST_BLOCKS.max(files + 3);
    let clusters = blocks.div_ceil(volume.geometry().blocks_per_cluster().into());
    u32::try_from(clusters).unwrap_or(u32::MAX).min(most_clusters(volume.geometry()))
}

/// Returns the clusters from a group of the system's inodes up to the contents of the first system
/// file after it.
fn room_before_contents(volume: &Volume, group: Blkno) -> Option<u32> {
    let geometry = volume.geometry();
    let start = geometry.cluster_of(group)?;
    let files = SystemFile::expected(volume, volume.max_slots());
    let inodes = files.filter_map(|file| volume.system_file(file).ok());
    let first = |inode: Inode| {
        let tree = volume.tree(&inode).ok()?;
        geometry.cluster_of(tree.extents().next()?.ok()?.blkno)
    };
    let end = inodes.filter_map(first).filter(|cluster| *cluster > start).min()?;
    end.0.checked_sub(start.0).filter(|clusters| *clusters <= most_clusters(geometry))
}

/// Returns the clusters of a group of blocks, if the descriptor states a possible number.
pub(crate) fn clusters(geometry: &Geometry, desc: &GroupDesc) -> Option<u32> {
    let (bits, bpc) = (u32::from(desc.bg_bits), geometry.blocks_per_cluster());
    let clusters = bits / bpc;
    let is_possible = bits.is_multiple_of(bpc) && clusters <= most_clusters(geometry);
    (clusters > 0 && is_possible).then_some(clusters)
}

/// Returns the largest number of clusters of a group of blocks.
pub(crate) fn most_clusters(geometry: &Geometry) -> u32 {
    let bits = u32::from(GroupDesc::max_bits(geometry.block_size));
    (bits / geometry.blocks_per_cluster()).max(1)
}
