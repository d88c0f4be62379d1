//! Findings about chain allocators, their groups and bitmaps.

use super::codes;

codes! {
    CHAIN_CPG {
        pass: Clusters,
        default: Yes,
        condition: "single-group global bitmap whose clusters-per-group differs from 8 x the group's bitmap bytes",
        repair: "set cl_cpg from the group descriptor",
    }
    FIXED_CHAIN_CLUSTERS {
        pass: Clusters,
        default: Yes,
        condition: "repairing the global bitmap changed its cluster count",
        repair: "accept the new count, rebuild state and rescan the bitmap",
    }
    GROUP_EXPECTED_DESC {
        pass: Clusters,
        default: Yes,
        condition: "a fixed global-bitmap group location is unreadable-as-group or not linked in any chain",
        repair: "re-initialise if needed, recount free bits and link at the head of a chain",
    }
    GROUP_UNEXPECTED_DESC {
        pass: Clusters,
        default: Yes,
        condition: "a group linked in the global bitmap is not at one of the computed locations",
        repair: "unlink it and subtract its counts",
    }
    CHAIN_LINK_RANGE {
        pass: Clusters,
        default: Yes,
        condition: "next-group pointer outside the volume",
        repair: "cut the chain there",
    }
    CHAIN_LINK_MAGIC {
        pass: Clusters,
        default: Yes,
        condition: "block referenced by a chain has no group-descriptor signature",
        repair: "cut the chain there",
    }
    CHAIN_LINK_GEN {
        pass: Clusters,
        default: Yes,
        condition: "referenced group has another fs generation",
        repair: "treat it as foreign and cut the chain there",
    }
    GROUP_GEN {
        pass: Clusters,
        default: Yes,
        condition: "a group of another generation stays in its chain",
        repair: "set the group's generation to the volume's",
    }
    GROUP_DUPLICATE {
        pass: Clusters,
        default: Yes,
        condition: "group's parent pointer names another allocator and the group is really found in that allocator's chain",
        repair: "drop the group (and everything after it) from this chain",
    }
    GROUP_PARENT {
        pass: Clusters,
        default: Yes,
        condition: "group's parent pointer is not this allocator inode",
        repair: "rewrite the parent pointer",
    }
    GROUP_BLKNO {
        pass: Clusters,
        default: Yes,
        condition: "group's recorded own block number is wrong",
        repair: "rewrite it",
    }
    GROUP_CHAIN {
        pass: Clusters,
        default: Yes,
        condition: "group's recorded chain index is wrong",
        repair: "rewrite it",
    }
    GROUP_FREE_BITS {
        pass: Clusters,
        default: Yes,
        condition: "free-bit count larger than clear bits in the bitmap",
        repair: "lower it to the counted value",
    }
    GROUP_CHAIN_LOOP {
        pass: Clusters,
        default: Yes,
        condition: "chain longer than the possible number of groups",
        repair: "cut the loop",
    }
    DISCONTIG_BG_DEPTH {
        pass: InodeAllocators,
        default: Yes,
        condition: "extent list inside a discontiguous group has depth > 0",
        repair: "set depth 0",
    }
    DISCONTIG_BG_COUNT {
        pass: InodeAllocators,
        default: Yes,
        condition: "that list's capacity field exceeds what fits",
        repair: "clamp it",
    }
    DISCONTIG_BG_REC_RANGE {
        pass: InodeAllocators,
        default: Yes,
        condition: "a record of that list lies outside the volume",
        repair: "drop the group",
    }
    DISCONTIG_BG_CORRUPT_LEAVES {
        pass: InodeAllocators,
        default: Yes,
        condition: "more than one record claims more clusters than a whole group",
        repair: "drop the group",
    }
    DISCONTIG_BG_CLUSTERS {
        pass: InodeAllocators,
        default: Yes,
        condition: "records add up to more clusters than a group",
        repair: "drop the group",
    }
    DISCONTIG_BG_LESS_CLUSTERS {
        pass: InodeAllocators,
        default: Yes,
        condition: "records add up to fewer clusters than a group",
        repair: "drop the group",
    }
    DISCONTIG_BG_NEXT_FREE_REC {
        pass: InodeAllocators,
        default: Yes,
        condition: "used-record count is off but the filled records are right",
        repair: "set the count",
    }
    DISCONTIG_BG_LIST_CORRUPT {
        pass: InodeAllocators,
        default: Yes,
        condition: "used-record count is off and a record is bad too",
        repair: "drop the group",
    }
    DISCONTIG_BG_REC_CORRUPT {
        pass: InodeAllocators,
        default: Yes,
        condition: "one record too big while the others already fill the group",
        repair: "drop the group",
    }
    DISCONTIG_BG_LEAF_CLUSTERS {
        pass: InodeAllocators,
        default: Yes,
        condition: "one record too big, the others leave a definite remainder",
        repair: "set that record to the remainder",
    }
    CHAIN_COUNT {
        pass: Clusters,
        default: Yes,
        condition: "cl_count larger than an inode can hold",
        repair: "clamp it",
    }
    CHAIN_NEXT_FREE {
        pass: Clusters,
        default: Yes,
        condition: "cl_next_free_rec larger than cl_count",
        repair: "clamp it",
    }
    CHAIN_HEAD_LINK_RANGE {
        pass: Clusters,
        default: Yes,
        condition: "first-group pointer of a chain outside the volume",
        repair: "clear it",
    }
    CHAIN_EMPTY {
        pass: InodeAllocators,
        default: Yes,
        condition: "an in-use chain slot has no group",
        repair: "move the last chain into the hole and shrink the array",
    }
    CHAIN_BITS {
        pass: Clusters,
        default: Yes,
        condition: "chain record totals differ from the sum of its groups",
        repair: "rewrite the totals",
    }
    CHAIN_GROUP_BITS {
        pass: Clusters,
        default: Yes,
        condition: "allocator inode used/total differ from the sum of chains",
        repair: "rewrite both",
    }
    CHAIN_I_CLUSTERS {
        pass: Clusters,
        default: Yes,
        condition: "allocator inode i_clusters differs from chain totals",
        repair: "rewrite it",
    }
    CHAIN_I_SIZE {
        pass: Clusters,
        default: Yes,
        condition: "allocator inode i_size differs from clusters x cluster size",
        repair: "rewrite it",
    }
    CLUSTER_ALLOC_BIT {
        pass: Inodes,
        default: Yes,
        condition: "global bitmap bit disagrees with what was found in use",
        repair: "flip the bit",
    }
}
