//! Findings about local allocs and truncate logs.

use super::codes;

codes! {
    LALLOC_SIZE {
        pass: Inodes,
        default: Yes,
        condition: "a local alloc states no bitmap, or a larger one than fits into its inode",
        repair: "set it to what fits",
    }
    LALLOC_NZ_USED {
        pass: Inodes,
        default: Yes,
        condition: "a local alloc without a window has used bits",
        repair: "set the number of used bits to 0",
    }
    LALLOC_NZ_BM {
        pass: Inodes,
        default: Yes,
        condition: "a local alloc without a window says where its window begins",
        repair: "set the beginning to 0",
    }
    LALLOC_BM_OVERRUN {
        pass: Inodes,
        default: Yes,
        condition: "the window of a local alloc begins past the end of the volume",
        repair: "empty the local alloc",
    }
    LALLOC_BM_SIZE {
        pass: Inodes,
        default: Yes,
        condition: "the window of a local alloc has more bits than its bitmap",
        repair: "set it to the bits of the bitmap",
    }
    LALLOC_BM_STRADDLE {
        pass: Inodes,
        default: Yes,
        condition: "the window of a local alloc goes past the end of the volume",
        repair: "empty the local alloc",
    }
    LALLOC_USED_OVERRUN {
        pass: Inodes,
        default: Yes,
        condition: "a local alloc uses more bits than its window has",
        repair: "set the number of used bits to those there are",
    }
    LALLOC_USED_BITS {
        pass: Inodes,
        default: Yes,
        condition: "a local alloc states a different number of used clusters than bits are set",
        repair: "empty the local alloc",
    }
    LALLOC_CLEAR {
        pass: Inodes,
        default: Yes,
        condition: "something is wrong with a local alloc that is not emptied yet",
        repair: "empty the local alloc",
    }
    DEALLOC_COUNT {
        pass: Inodes,
        default: Yes,
        condition: "a truncate log states room for no records, or for more than fit into its inode",
        repair: "set it to what fits",
    }
    DEALLOC_USED {
        pass: Inodes,
        default: Yes,
        condition: "a truncate log has more records than it has room for",
        repair: "set the number of records to the room there is",
    }
    TRUNCATE_REC_START_RANGE {
        pass: Inodes,
        default: Yes,
        condition: "a record of a truncate log begins past the end of the volume",
        repair: "clear the record",
    }
    TRUNCATE_REC_WRAP {
        pass: Inodes,
        default: Yes,
        condition: "a record of a truncate log is so long that its end cannot be expressed",
        repair: "clear the record",
    }
    TRUNCATE_REC_RANGE {
        pass: Inodes,
        default: Yes,
        condition: "a record of a truncate log goes past the end of the volume",
        repair: "clear the record",
    }
}
