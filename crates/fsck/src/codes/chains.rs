//! Findings about chain allocators, their groups and bitmaps.

use super::codes;

codes! {
    CHAIN_CPG {
        pass: Clusters,
        default: Yes,
        condition: "an allocator states a different number of clusters for a group than its groups have, or than the block size gives",
        repair: "write the number that its groups have",
    }
    FIXED_CHAIN_CLUSTERS {
        pass: Clusters,
        default: Yes,
        condition: "the chains of the global bitmap, once they were repaired, have another number of clusters than before",
        repair: "take the new number, and look at the bitmap again",
    }
    GROUP_EXPECTED_DESC {
        pass: Clusters,
        default: Yes,
        condition: "where a group of the global bitmap has to be there is none, or one that no chain points to",
        repair: "recreate the group where it is needed, and link it into a chain",
    }
    GROUP_UNEXPECTED_DESC {
        pass: Clusters,
        default: Yes,
        condition: "a chain of the global bitmap points to a group where none can be",
        repair: "take the group out of the chain",
    }
    CHAIN_LINK_RANGE {
        pass: Clusters,
        default: Yes,
        condition: "a group names a next group outside the volume",
        repair: "rebuild the chains from the groups found",
    }
    CHAIN_LINK_MAGIC {
        pass: Clusters,
        default: Yes,
        condition: "a chain points to a block that is not a group descriptor",
        repair: "rebuild the chains from the groups found",
    }
    CHAIN_LINK_GEN {
        pass: Clusters,
        default: Yes,
        condition: "a chain points to a group of another generation, which may be left from an older volume",
        repair: "rebuild the chains from the groups found",
    }
    GROUP_GEN {
        pass: Clusters,
        default: Yes,
        condition: "a group of another generation is to stay in its chain",
        repair: "set the generation of the group to that of the volume",
    }
    GROUP_DUPLICATE {
        pass: Clusters,
        default: Yes,
        condition: "a chain comes to a group of another chain or another allocator, which the group names",
        repair: "leave the group to the chain it names",
    }
    GROUP_PARENT {
        pass: Clusters,
        default: Yes,
        condition: "a group names another allocator than the one whose chain points to it",
        repair: "write the allocator into the group",
    }
    GROUP_BLKNO {
        pass: Clusters,
        default: Yes,
        condition: "a group says that it is in another block than it is",
        repair: "write its block number into the group",
    }
    GROUP_CHAIN {
        pass: Clusters,
        default: Yes,
        condition: "a group says that it is in another chain than it is",
        repair: "write the number of the chain into the group",
    }
    GROUP_FREE_BITS {
        pass: Clusters,
        default: Yes,
        condition: "a group states more free bits than its bitmap has",
        repair: "take the number from the bitmap",
        safe: true,
    }
    GROUP_CHAIN_LOOP {
        pass: Clusters,
        default: Yes,
        condition: "a chain is longer than there can be groups: it comes back to one of its own",
        repair: "end the chain where it comes back",
    }
    DISCONTIG_BG_DEPTH {
        pass: InodeAllocators,
        default: Yes,
        condition: "the extent list of a discontiguous group claims to be a tree",
        repair: "set its depth to 0",
    }
    DISCONTIG_BG_COUNT {
        pass: InodeAllocators,
        default: Yes,
        condition: "the extent list of a discontiguous group states room for more or fewer records than fit",
        repair: "set it to what fits",
    }
    DISCONTIG_BG_REC_RANGE {
        pass: InodeAllocators,
        default: Yes,
        condition: "a discontiguous group has an extent outside the volume, or where nothing is of the group",
        repair: "take the extents that the blocks allocated from the group show",
    }
    DISCONTIG_BG_CORRUPT_LEAVES {
        pass: InodeAllocators,
        default: Yes,
        condition: "several extents of a discontiguous group are each larger than the whole group",
        repair: "take the extents that the blocks allocated from the group show",
    }
    DISCONTIG_BG_CLUSTERS {
        pass: InodeAllocators,
        default: Yes,
        condition: "the extents of a discontiguous group have more clusters than a group",
        repair: "take the extents that the blocks allocated from the group show",
    }
    DISCONTIG_BG_LESS_CLUSTERS {
        pass: InodeAllocators,
        default: Yes,
        condition: "the extents of a discontiguous group have fewer clusters than a group",
        repair: "take the extents that the blocks allocated from the group show",
    }
    DISCONTIG_BG_NEXT_FREE_REC {
        pass: InodeAllocators,
        default: Yes,
        condition: "a discontiguous group counts its extents wrongly, while the extents are right",
        repair: "set the number to that of the extents",
    }
    DISCONTIG_BG_LIST_CORRUPT {
        pass: InodeAllocators,
        default: Yes,
        condition: "a discontiguous group counts its extents wrongly, and an extent is wrong, too",
        repair: "take the extents that the blocks allocated from the group show",
    }
    DISCONTIG_BG_REC_CORRUPT {
        pass: InodeAllocators,
        default: Yes,
        condition: "an extent of a discontiguous group is too large, and the others fill the group already",
        repair: "take the extents that the blocks allocated from the group show",
    }
    DISCONTIG_BG_LEAF_CLUSTERS {
        pass: InodeAllocators,
        default: Yes,
        condition: "an extent of a discontiguous group is too large, and the others show how large it has to be",
        repair: "set its size to what the others leave",
    }
    DISCONTIG_BG_CPOS {
        pass: InodeAllocators,
        default: Yes,
        condition: "an extent of a discontiguous group is not at the position where the one before it ends",
        repair: "set its position",
    }
    DISCONTIG_BG_START {
        pass: InodeAllocators,
        default: Yes,
        condition: "the first extent of a discontiguous group does not begin with its descriptor",
        repair: "set its block",
    }
    GROUP_SIZE {
        pass: Clusters,
        default: Yes,
        condition: "a group states another size for its bitmap than there is room for",
        repair: "set the size to that of the room",
    }
    GROUP_BITS {
        pass: Clusters,
        default: Yes,
        condition: "a group states a different number of bits than its place or its allocator gives it",
        repair: "write the number it has to have",
    }
    GROUP_BITMAP_TAIL {
        pass: Clusters,
        default: Yes,
        condition: "bits after the last one of a group are set",
        repair: "clear those bits",
    }
    GROUP_FREE_BITS_LOW {
        pass: Clusters,
        default: Yes,
        condition: "a group states fewer free bits than are clear in its bitmap",
        repair: "raise the number to those that are clear",
        safe: true,
    }
    GROUP_DESC_BIT {
        pass: InodeAllocators,
        default: Yes,
        condition: "the bit that stands for the descriptor of a group itself is clear",
        repair: "set the bit",
    }
    GROUP_PLACE {
        pass: InodeAllocators,
        default: Yes,
        condition: "a group of blocks does not begin with a cluster, or does not lie in the volume",
        repair: "take the group out of its chain",
    }
    GROUP_OVERLAP {
        pass: ExtentAllocators,
        default: Yes,
        condition: "a group of blocks lies where another one is, or a descriptor of the global bitmap",
        repair: "take the group out of its chain",
    }
    GROUP_UNLINKED {
        pass: Inodes,
        default: Yes,
        condition: "no chain points to a group of blocks that names its allocator, and from which blocks are in use",
        repair: "search for all such groups, and link them into chains of the allocators they name",
    }
    CHAIN_BPC {
        pass: Clusters,
        default: Yes,
        condition: "an allocator states a different number of bits for a cluster than it has",
        repair: "write the number it has",
    }
    CHAIN_REC_BEYOND {
        pass: Clusters,
        default: Yes,
        condition: "there is something in a chain record after those in use",
        repair: "use it if it points to a group that names it, else clear it",
    }
    CHAIN_COUNT {
        pass: Clusters,
        default: Yes,
        condition: "an allocator states room for more or fewer chains than fit into an inode",
        repair: "set it to what fits",
    }
    CHAIN_NEXT_FREE {
        pass: Clusters,
        default: Yes,
        condition: "an allocator uses more chains than it has room for",
        repair: "set the number of used chains to the room there is",
    }
    CHAIN_HEAD_LINK_RANGE {
        pass: Clusters,
        default: Yes,
        condition: "a chain begins outside the volume",
        repair: "rebuild the chains from the groups found",
    }
    CHAIN_EMPTY {
        pass: InodeAllocators,
        default: Yes,
        condition: "a chain that is in use has no group",
        repair: "move the last chain to its place",
    }
    CHAIN_BITS {
        pass: Clusters,
        default: Yes,
        condition: "a chain states other numbers of bits than its groups have together",
        repair: "take the numbers of the groups",
        safe: true,
    }
    CHAIN_GROUP_BITS {
        pass: Clusters,
        default: Yes,
        condition: "an allocator states other numbers of bits than its chains have together",
        repair: "take the numbers of the chains",
        safe: true,
    }
    CHAIN_I_CLUSTERS {
        pass: Clusters,
        default: Yes,
        condition: "the inode of an allocator has another number of clusters than its chains",
        repair: "take the number of the chains",
        safe: true,
    }
    CHAIN_I_SIZE {
        pass: Clusters,
        default: Yes,
        condition: "the inode of an allocator has another size than its clusters",
        repair: "set the size to that of the clusters",
        safe: true,
    }
    CLUSTER_ALLOC_BIT {
        pass: Inodes,
        default: Yes,
        condition: "the global bitmap says that clusters are free which are in use, or that some are in use which nothing uses",
        repair: "set the bits to what was found",
        safe: true,
    }
    EXTENT_ALLOC_BIT {
        pass: Inodes,
        default: Yes,
        condition: "the bitmap of an extent allocator disagrees with the blocks that were found in use",
        repair: "set the bits to what was found",
        safe: true,
    }
    BLOCK_UNALLOCATED {
        pass: Inodes,
        default: Yes,
        condition: "a block of metadata that is in use lies in no group of an extent allocator",
        repair: "copy it to a block that is allocated",
    }
    BLOCK_SHARED {
        pass: Inodes,
        default: Yes,
        condition: "a block of metadata is used twice",
        repair: "give the second one a copy",
    }
    BLOCK_SUBALLOC {
        pass: Inodes,
        default: Yes,
        condition: "a block of metadata states another slot's allocator than the one it is from",
        repair: "write the slot of its allocator",
    }
    BLOCK_SUBALLOC_BIT {
        pass: Inodes,
        default: Yes,
        condition: "a block of metadata does not state the bit or the group that stand for it",
        repair: "write bit and group",
    }
}
