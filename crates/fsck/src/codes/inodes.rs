//! Findings about inodes.

use super::codes;

codes! {
    FEATURE_LACKING {
        pass: Inodes,
        default: Yes,
        condition: "files have holes, unwritten extents or shared clusters, directories have indexes, or there are quota files, and the superblock lacks the feature for it",
        repair: "give the volume the features that its files have",
    }
    INODE_ALLOC_REPAIR {
        pass: Inodes,
        default: Yes,
        condition: "an inode is in use and its bit in the inode allocator is not set, or the other way round",
        repair: "set the bits to what the inodes say",
        safe: true,
    }
    INODE_SIGNATURE {
        pass: Inodes,
        default: Yes,
        condition: "an inode has a signature with wrong bits, and all else says that it is an inode in use",
        repair: "write the signature",
    }
    INODE_SUBALLOC {
        pass: Inodes,
        default: Yes,
        condition: "an inode says that it belongs to the allocator of another slot",
        repair: "write the slot of its allocator into the inode",
    }
    INODE_GEN {
        pass: Inodes,
        default: Yes,
        condition: "an inode is of another generation, and may be left from an older volume (looked at with -G only)",
        repair: "mark the inode as deleted",
    }
    INODE_GEN_FIX {
        pass: Inodes,
        default: Yes,
        condition: "an inode of another generation is to be kept (looked at with -G only)",
        repair: "set the generation of the inode to that of the volume",
    }
    INODE_BLKNO {
        pass: Inodes,
        default: Yes,
        condition: "an inode says that it is in another block than it is",
        repair: "write its block number into the inode",
    }
    BLOCK_MISPLACED {
        pass: Inodes,
        default: Yes,
        condition: "an inode or another block of metadata was written to the place of another one, by its number, bit and group",
        repair: "drop a copy; put back two that were exchanged",
    }
    ROOT_NOTDIR {
        pass: Inodes,
        default: Yes,
        condition: "the root inode is not a directory",
        repair: "make it one again, with what it holds",
    }
    INODE_NZ_DTIME {
        pass: Inodes,
        default: Yes,
        condition: "an inode in use has a time of deletion",
        repair: "set the time to 0",
    }
    INLINE_DATA_FLAG_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "an inode has inline data on a volume without that feature",
        repair: "clear the flag; where there is no extent list, give the volume the feature instead",
    }
    INLINE_DATA_COUNT_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "an inode with inline data states another room for it than there is",
        repair: "set it to the room there is",
    }
    INODE_INLINE_SIZE {
        pass: Inodes,
        default: Yes,
        condition: "an inode with inline data has a size beyond the room for it",
        repair: "set the size to that of the room",
    }
    INODE_INLINE_CLUSTERS {
        pass: Inodes,
        default: Yes,
        condition: "an inode with inline data has clusters",
        repair: "set the number of clusters to 0",
    }
    REFCOUNT_FLAG_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "an inode shares clusters on a volume without that feature",
        repair: "clear the flag; where there is a refcount tree, give the volume the feature instead",
    }
    REFCOUNT_LOC_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "an inode names a refcount tree, and does not say that it shares clusters",
        repair: "have it say so if the tree is there, else clear the reference",
    }
    INODE_SIZE {
        pass: Inodes,
        default: Yes,
        condition: "a directory, or a file on a volume without sparse files, is larger than its clusters, a file is larger than any can be, or a quota file is smaller than its blocks",
        repair: "set the size to that of the clusters or blocks, or clear the one bit that makes it too large",
    }
    INODE_SPARSE_SIZE {
        pass: Inodes,
        default: Yes,
        condition: "a file has whole clusters past its end",
        repair: "make the file so long that they belong to it",
    }
    INODE_CLUSTERS {
        pass: Inodes,
        default: Yes,
        condition: "an inode on a volume without sparse files has another number of clusters than its extents",
        repair: "take the number of the extents",
    }
    INODE_SPARSE_CLUSTERS {
        pass: Inodes,
        default: Yes,
        condition: "an inode has another number of clusters than its extents",
        repair: "take the number of the extents",
    }
    LINK_FAST_DATA {
        pass: Inodes,
        default: Yes,
        condition: "a symbolic link without clusters has extents",
        repair: "take the number of the extents",
        hides: true,
    }
    LINK_NULLTERM {
        pass: Inodes,
        default: Yes,
        condition: "the target of a symbolic link does not end within its block",
        repair: "end the target where the size says",
    }
    LINK_SIZE {
        pass: Inodes,
        default: Yes,
        condition: "a symbolic link has another size than its target",
        repair: "set the size to that of the target",
    }
    LINK_BLOCKS {
        pass: Inodes,
        default: No,
        condition: "a symbolic link has fewer blocks than its target takes",
        repair: "set the size to what the blocks hold; without any, clear the inode",
    }
    DIR_ZERO {
        pass: Inodes,
        default: Yes,
        condition: "a directory has no blocks",
        repair: "make it an empty one",
    }
    DIR_SIZE_ZERO {
        pass: Inodes,
        default: Yes,
        condition: "the size of a directory is too small for its entries `.` and `..` to be in it",
        repair: "set the size to the room there is; without any entry, write . and .. into it",
    }
    DX_TREE_CORRUPT {
        pass: Inodes,
        default: Yes,
        condition: "the index of a directory cannot be followed",
        repair: "drop the index and rebuild it",
    }
    INODE_ECC {
        pass: Inodes,
        default: Yes,
        condition: "the checksum of an inode that is not a directory does not hold",
        repair: "recompute the checksum, if the contents are sound",
    }
    INODE_SUBALLOC_BIT {
        pass: Inodes,
        default: Yes,
        condition: "the bit or group an inode says it was allocated from is another one",
        repair: "write the bit and the group that point to the inode into it",
    }
    INODE_MODE {
        pass: Inodes,
        default: Yes,
        condition: "an inode's mode is not a valid file type, or another one than its entry and its contents have",
        repair: "take the type that the contents look like",
    }
    INODE_FLAGS {
        pass: Inodes,
        default: Yes,
        condition: "an inode has flags that do not exist or do not go together",
        repair: "clear the flags that do not fit",
    }
    INODE_BIT {
        pass: Inodes,
        default: Yes,
        condition: "an inode's type or features are not those of what it holds, by one bit",
        repair: "correct the bit",
    }
    INODE_UNMARKED {
        pass: Inodes,
        default: Yes,
        condition: "an inode that was given out lacks the flag of one in use, or has a generation next to the volume's",
        repair: "set the flag and the generation",
    }
    INODE_SYSTEM_FLAG {
        pass: Inodes,
        default: Yes,
        condition: "an inode of a user says that it is one of the system, or the root or system directory does not",
        repair: "set or clear the flag",
        safe: true,
    }
    INODE_RDEV {
        pass: Inodes,
        default: Yes,
        condition: "an inode that is not a device has a device number",
        repair: "set the number to 0",
    }
    INODE_LAST_EB {
        pass: Inodes,
        default: Yes,
        condition: "an inode names another extent block as the rightmost leaf than its tree has",
        repair: "set it to the rightmost leaf",
        safe: true,
    }
    INLINE_DATA_TAIL {
        pass: Inodes,
        default: Yes,
        condition: "inline data past the end of a file is not zero",
        repair: "fill it with zeros",
    }
}
