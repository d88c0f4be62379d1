//! Findings about extended attributes.

use super::codes;

codes! {
    XATTR_BLOCK_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "the block an inode names for its attributes is none of attributes",
        repair: "detach the block",
        hides: true,
    }
    XATTR_COUNT_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "an area of attributes states more entries than fit into it, or another number than there are",
        repair: "set the number to the entries found",
        hides: true,
    }
    XATTR_ENTRY_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "an attribute's entry is where names and values are",
        repair: "remove the attribute",
        hides: true,
    }
    XATTR_NAME_OFFSET_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "the name of an attribute is where none can be",
        repair: "remove the attribute",
        hides: true,
    }
    XATTR_LOCATION_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "whether the value of an attribute is stored with its name does not agree with the value's size",
        repair: "put it where what is there belongs, or remove the attribute",
        hides: true,
    }
    XATTR_VALUE_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "name and value of an attribute overlap those of another",
        repair: "remove the attribute",
        hides: true,
    }
    XATTR_HASH_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "an attribute has a hash that is not that of its name",
        repair: "compute the hash from the name",
    }
    XATTR_FREE_START_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "an area of attributes says that its free space ends elsewhere than it does",
        repair: "set the end of the free space",
    }
    XATTR_VALUE_LEN_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "an area of attributes states another length of names and values than they have together",
        repair: "set the length",
    }
    XATTR_BUCKET_COUNT_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "the first bucket of an extent states a different number of buckets than there are",
        repair: "set the number of buckets",
        hides: true,
    }
    XATTR_ENTRY_BIT {
        pass: Inodes,
        default: Yes,
        condition: "the place, the length, the kind or the size in an attribute's entry is wrong by one bit, as its hash and its neighbours show",
        repair: "correct the bit",
    }
    XATTR_BUCKETS_LOST {
        pass: Inodes,
        default: Yes,
        condition: "the first bucket of an extent states more buckets than there are, and not by one wrong bit",
        repair: "set the number of buckets; what the others held is lost",
    }
    XATTR_EXTENT_LENGTH {
        pass: Inodes,
        default: Yes,
        condition: "an extent of buckets has fewer clusters than its buckets take, or more than it can have",
        repair: "set the number of clusters to those that its buckets take",
    }
    XATTR_FLAGS {
        pass: Inodes,
        default: Yes,
        condition: "an inode's flags and its attributes do not agree on whether there are any",
        repair: "set the flag as the attributes say",
    }
    XATTR_INLINE_SIZE {
        pass: Inodes,
        default: Yes,
        condition: "the attribute area of an inode has another size than the superblock says",
        repair: "set the size to that of the superblock",
    }
    XATTR_LOC_SHARED {
        pass: Inodes,
        default: Yes,
        condition: "two inodes have one block of attributes, and another such block is nobody's",
        repair: "lead one of them to the other block",
    }
    XATTR_LOC_MISSING {
        pass: Inodes,
        default: Yes,
        condition: "an inode says that it has attributes, and points to none, and a block of attributes is nobody's",
        repair: "have the inode point to the block",
    }
    XATTR_LOC_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "an inode's xattr block is not a block of the volume",
        repair: "detach the block",
        hides: true,
    }
    XB_BLKNO {
        pass: Inodes,
        default: Yes,
        condition: "an xattr block says that it is in another block than it is",
        repair: "write its block number into the xattr block",
    }
    XB_GEN {
        pass: Inodes,
        default: Yes,
        condition: "an xattr block is of another generation",
        repair: "set the generation of the xattr block to that of the volume",
    }
    XATTR_PREFIX {
        pass: Inodes,
        default: Yes,
        condition: "an attribute is of a kind that does not exist",
        repair: "remove the attribute",
    }
    XATTR_NAME_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "an attribute has a name that none can have",
        repair: "remove the attribute",
    }
    XATTR_DUPLICATE {
        pass: Inodes,
        default: Yes,
        condition: "an inode has two attributes of one name",
        repair: "remove the second attribute",
    }
    XATTR_VALUE_LONG {
        pass: Inodes,
        default: Yes,
        condition: "the value of an attribute is longer than any can be",
        repair: "cut it to what its clusters hold",
    }
    XATTR_VALUE_SIZE {
        pass: Inodes,
        default: Yes,
        condition: "the value of an attribute is longer than its clusters",
        repair: "cut it to what its clusters hold",
    }
    XATTR_CLUSTERS {
        pass: Inodes,
        default: Yes,
        condition: "the tree of a value or of buckets states a different number of clusters than it has",
        repair: "set the number to that of the tree",
    }
    XATTR_LAST_EB {
        pass: Inodes,
        default: Yes,
        condition: "the tree of a value or of buckets states another last extent block than it has",
        repair: "set it to the last one of the tree",
    }
    XATTR_BLOCK_BOUNDARY {
        pass: Inodes,
        default: Yes,
        condition: "the name and value of an attribute in a bucket go across two blocks",
        repair: "move them into one block",
    }
    XATTR_BUCKET_FULL {
        pass: Inodes,
        default: Yes,
        condition: "a bucket has more attributes than fit into its first block, which Linux writes and, from 6.12.114 on, refuses to read",
        repair: "distribute them to more buckets",
        safe: true,
    }
    XATTR_ENTRY_ORDER {
        pass: Inodes,
        default: Yes,
        condition: "the entries of a bucket are not in the order of their hashes",
        repair: "sort them",
    }
    XATTR_BUCKET_ORDER {
        pass: Inodes,
        default: Yes,
        condition: "the hashes of a bucket are not all above those of the bucket before it",
        repair: "rebuild the buckets",
    }
    XATTR_HASH_RANGE {
        pass: Inodes,
        default: Yes,
        condition: "the hashes of a bucket are outside those its extent is for, or the first extent does not begin at 0",
        repair: "set where the extents begin",
    }
}
