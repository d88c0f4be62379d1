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
}
