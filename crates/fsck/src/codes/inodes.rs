//! Findings about inodes.

use super::codes;

codes! {
    INODE_ALLOC_REPAIR {
        pass: Inodes,
        default: Yes,
        condition: "inode's valid flag and its bit in the inode allocator disagree",
        repair: "flip this and every later differing bit, allocators written at end of pass 1",
    }
    INODE_SUBALLOC {
        pass: Inodes,
        default: Yes,
        condition: "inode says it belongs to another slot's allocator",
        repair: "set i_suballoc_slot",
    }
    INODE_GEN {
        pass: Inodes,
        default: Yes,
        condition: "inode has another fs generation",
        repair: "mark it deleted",
    }
    INODE_GEN_FIX {
        pass: Inodes,
        default: Yes,
        condition: "something of another generation is to be kept",
        repair: "set the generation",
    }
    INODE_BLKNO {
        pass: Inodes,
        default: Yes,
        condition: "i_blkno is not the block it was read from",
        repair: "rewrite it",
    }
    ROOT_NOTDIR {
        pass: Inodes,
        default: Yes,
        condition: "root inode is not a directory",
        repair: "clear it so pass 3 can make a new root",
    }
    INODE_NZ_DTIME {
        pass: Inodes,
        default: Yes,
        condition: "in-use inode has a deletion time",
        repair: "zero it",
    }
    INLINE_DATA_FLAG_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "inline flag on a volume without inline-data",
        repair: "clear the flag",
    }
    INLINE_DATA_COUNT_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "id_count of inline data is not the computed maximum",
        repair: "rewrite it",
    }
    INODE_INLINE_SIZE {
        pass: Inodes,
        default: Yes,
        condition: "inline inode's i_size beyond inline space",
        repair: "clamp it",
    }
    INODE_INLINE_CLUSTERS {
        pass: Inodes,
        default: Yes,
        condition: "inline inode has i_clusters > 0",
        repair: "zero it",
    }
    REFCOUNT_FLAG_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "refcounted flag on a volume without refcount",
        repair: "clear the flag",
    }
    REFCOUNT_LOC_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "i_refcount_loc set without the flag",
        repair: "zero it",
    }
    INODE_SIZE {
        pass: Inodes,
        default: Yes,
        condition: "directory (any fs) or file (non-sparse fs) larger than its allocation",
        repair: "set i_size to the allocation; a directory also loses its index",
    }
    INODE_SPARSE_SIZE {
        pass: Inodes,
        default: Yes,
        condition: "sparse fs: file has a whole cluster beyond i_size",
        repair: "raise i_size to cover it",
    }
    INODE_CLUSTERS {
        pass: Inodes,
        default: Yes,
        condition: "non-sparse fs: i_clusters differs from what was walked",
        repair: "rewrite it",
    }
    INODE_SPARSE_CLUSTERS {
        pass: Inodes,
        default: Yes,
        condition: "sparse fs: i_clusters differs from what was walked",
        repair: "rewrite it",
    }
    LINK_FAST_DATA {
        pass: Inodes,
        default: Yes,
        condition: "symlink with i_clusters 0 but blocks mapped",
        repair: "clear the inode",
    }
    LINK_NULLTERM {
        pass: Inodes,
        default: Yes,
        condition: "symlink target has no terminating zero",
        repair: "clear the inode",
    }
    LINK_SIZE {
        pass: Inodes,
        default: Yes,
        condition: "symlink i_size differs from target length",
        repair: "rewrite i_size",
    }
    LINK_BLOCKS {
        pass: Inodes,
        default: No,
        condition: "symlink has fewer blocks than its target needs",
        repair: "clear the inode",
    }
    DIR_ZERO {
        pass: Inodes,
        default: Yes,
        condition: "directory without any block",
        repair: "clear the inode",
    }
    DX_TREE_CORRUPT {
        pass: Inodes,
        default: Yes,
        condition: "directory index tree cannot be walked",
        repair: "drop the index, rebuilt in pass 2",
    }
    INODE_ECC {
        pass: Inodes,
        default: Yes,
        condition: "the checksum of an inode that is not a directory does not hold",
        repair: "compute the checksum anew, if the contents are sound",
    }
    INODE_SUBALLOC_BIT {
        pass: Inodes,
        default: Yes,
        condition: "the bit or group an inode says it was allocated from is another one",
        repair: "set bit and group to those that lead to the inode",
    }
    INODE_MODE {
        pass: Inodes,
        default: Yes,
        condition: "an inode's mode is no type of file",
        repair: "take the type from a directory entry that names it, or make it a regular file",
    }
    INODE_FLAGS {
        pass: Inodes,
        default: Yes,
        condition: "an inode has flags that do not exist or do not go together",
        repair: "clear the flags that do not fit",
    }
    INODE_LAST_EB {
        pass: Inodes,
        default: Yes,
        condition: "an inode names another extent block as the rightmost leaf than its tree has",
        repair: "set it to the rightmost leaf",
    }
    INLINE_DATA_TAIL {
        pass: Inodes,
        default: Yes,
        condition: "inline data behind the end of a file is not zero",
        repair: "fill it with zeros",
    }
}
