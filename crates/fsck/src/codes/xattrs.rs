//! Findings about extended attributes.

use super::codes;

codes! {
    XATTR_BLOCK_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "external xattr block has a bad signature",
        repair: "detach the block",
    }
    XATTR_COUNT_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "entry count does not fit the header's space",
        repair: "set the detected count",
    }
    XATTR_ENTRY_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "entry overlaps used space",
        repair: "clear the entry",
    }
    XATTR_NAME_OFFSET_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "name offset impossible",
        repair: "clear the entry",
    }
    XATTR_LOCATION_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "local flag and value size disagree",
        repair: "clear the entry",
    }
    XATTR_VALUE_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "name+value area overlaps used space",
        repair: "clear the entry",
    }
    XATTR_HASH_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "stored name hash is wrong",
        repair: "rewrite it",
    }
    XATTR_FREE_START_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "free-start of the object is wrong",
        repair: "rewrite it",
    }
    XATTR_VALUE_LEN_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "total name+value length is wrong",
        repair: "rewrite it",
    }
    XATTR_BUCKET_COUNT_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "bucket count of an indexed extent is wrong",
        repair: "rewrite it",
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
        repair: "set the size",
    }
    XATTR_LOC_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "an inode's xattr block is no block of the volume",
        repair: "detach the block",
    }
    XB_BLKNO {
        pass: Inodes,
        default: Yes,
        condition: "xattr block's own block number is wrong",
        repair: "rewrite it",
    }
    XB_GEN {
        pass: Inodes,
        default: Yes,
        condition: "xattr block has another fs generation",
        repair: "set the generation",
    }
    XATTR_PREFIX {
        pass: Inodes,
        default: Yes,
        condition: "an attribute is of a kind that does not exist",
        repair: "clear the entry",
    }
    XATTR_NAME_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "an attribute has a name that none can have",
        repair: "clear the entry",
    }
    XATTR_DUPLICATE {
        pass: Inodes,
        default: Yes,
        condition: "an inode has two attributes of one name",
        repair: "clear the second entry",
    }
    XATTR_VALUE_LONG {
        pass: Inodes,
        default: Yes,
        condition: "a value is longer than any can be",
        repair: "clear the entry",
    }
    XATTR_VALUE_SIZE {
        pass: Inodes,
        default: Yes,
        condition: "a value is longer than its clusters",
        repair: "cut it to what its clusters hold",
    }
    XATTR_CLUSTERS {
        pass: Inodes,
        default: Yes,
        condition: "the tree of a value or of buckets states another number of clusters than it has",
        repair: "rewrite the number",
    }
    XATTR_LAST_EB {
        pass: Inodes,
        default: Yes,
        condition: "the tree of a value or of buckets states another last extent block than it has",
        repair: "rewrite the block number",
    }
    XATTR_BLOCK_BOUNDARY {
        pass: Inodes,
        default: Yes,
        condition: "the name and value of an attribute in a bucket go across two blocks",
        repair: "move them into one block",
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
        repair: "build the buckets anew",
    }
    XATTR_HASH_RANGE {
        pass: Inodes,
        default: Yes,
        condition: "the hashes of a bucket are outside those its extent is for",
        repair: "build the buckets anew",
    }
}
