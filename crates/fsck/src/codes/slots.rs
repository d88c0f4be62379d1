//! Findings about local allocs and truncate logs.

use super::codes;

codes! {
    LALLOC_SIZE {
        pass: Inodes,
        default: Yes,
        condition: "local alloc bitmap size field too large",
        repair: "clamp it",
    }
    LALLOC_NZ_USED {
        pass: Inodes,
        default: Yes,
        condition: "idle local alloc has a used count",
        repair: "zero it",
    }
    LALLOC_NZ_BM {
        pass: Inodes,
        default: Yes,
        condition: "idle local alloc has a window offset",
        repair: "zero it",
    }
    LALLOC_BM_OVERRUN {
        pass: Inodes,
        default: Yes,
        condition: "window starts past the end of the volume",
        repair: "reset the local alloc",
    }
    LALLOC_BM_SIZE {
        pass: Inodes,
        default: Yes,
        condition: "window has more bits than the bitmap holds",
        repair: "clamp",
    }
    LALLOC_BM_STRADDLE {
        pass: Inodes,
        default: Yes,
        condition: "window runs past the end of the volume",
        repair: "reset the local alloc",
    }
    LALLOC_USED_OVERRUN {
        pass: Inodes,
        default: Yes,
        condition: "used bits > total bits",
        repair: "clamp used",
    }
    LALLOC_CLEAR {
        pass: Inodes,
        default: Yes,
        condition: "any of the above was found and not yet reset",
        repair: "reset the local alloc",
    }
    DEALLOC_COUNT {
        pass: Inodes,
        default: Yes,
        condition: "truncate log capacity field too large",
        repair: "clamp",
    }
    DEALLOC_USED {
        pass: Inodes,
        default: Yes,
        condition: "truncate log used > capacity",
        repair: "clamp",
    }
    TRUNCATE_REC_START_RANGE {
        pass: Inodes,
        default: Yes,
        condition: "truncate record starts past the volume",
        repair: "zero the record",
    }
    TRUNCATE_REC_WRAP {
        pass: Inodes,
        default: Yes,
        condition: "truncate record's start+count wraps 32 bits",
        repair: "zero the record",
    }
    TRUNCATE_REC_RANGE {
        pass: Inodes,
        default: Yes,
        condition: "truncate record runs past the volume",
        repair: "zero the record",
    }
}
