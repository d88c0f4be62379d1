//! Findings about extent trees.

use super::codes;

codes! {
    EB_BLKNO {
        pass: Inodes,
        default: Yes,
        condition: "extent block's own block number is wrong",
        repair: "rewrite it",
    }
    EB_GEN {
        pass: Inodes,
        default: Yes,
        condition: "extent block has another fs generation",
        repair: "treat as invalid",
    }
    EB_GEN_FIX {
        pass: Inodes,
        default: Yes,
        condition: "something of another generation is to be kept",
        repair: "set the generation",
    }
    EXTENT_LIST_DEPTH {
        pass: Inodes,
        default: Yes,
        condition: "list depth differs from its place in the tree",
        repair: "rewrite the depth",
    }
    EXTENT_LIST_COUNT {
        pass: Inodes,
        default: Yes,
        condition: "list capacity larger than its block",
        repair: "clamp",
    }
    EXTENT_LIST_FREE {
        pass: Inodes,
        default: Yes,
        condition: "next-free record past capacity",
        repair: "clamp",
    }
    EXTENT_EB_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "record points at a block that is not an extent block",
        repair: "zero the pointer (record removed by the next check)",
    }
    EXTENT_BLKNO_RANGE {
        pass: Inodes,
        default: Yes,
        condition: "record's block outside the volume",
        repair: "remove the record, shift the rest",
    }
    EXTENT_BLKNO_UNALIGNED {
        pass: Inodes,
        default: Yes,
        condition: "leaf extent does not start on a cluster boundary",
        repair: "round the start down",
    }
    EXTENT_CLUSTERS_OVERRUN {
        pass: Inodes,
        default: Yes,
        condition: "leaf extent runs past the volume",
        repair: "shorten it",
    }
    EXTENT_MARKED_UNWRITTEN {
        pass: Inodes,
        default: Yes,
        condition: "unwritten flag on a volume without unwritten",
        repair: "clear the flag",
    }
    EXTENT_MARKED_REFCOUNTED {
        pass: Inodes,
        default: Yes,
        condition: "refcounted flag where volume or inode has none",
        repair: "clear the flag",
    }
    EXTENT_OVERLAP {
        pass: Inodes,
        default: Yes,
        condition: "record starts before the end of the previous one",
        repair: "move its logical start up",
    }
    NO_HOLES {
        pass: Inodes,
        default: Yes,
        condition: "hole in an object that must be dense (directories etc.)",
        repair: "set the logical start to the expected offset",
    }
    EXTENT_RANGE {
        pass: Inodes,
        default: Yes,
        condition: "a record and the record above it do not cover the same positions of a file",
        repair: "set what the record above covers to what is beneath it",
    }
    EXTENT_LOOP {
        pass: Inodes,
        default: Yes,
        condition: "an extent tree reaches one of its extent blocks a second time",
        repair: "remove the second record",
    }
    EXTENT_EMPTY {
        pass: Inodes,
        default: Yes,
        condition: "an empty record is in the middle of an extent list",
        repair: "remove the record and shift the rest",
    }
    EXTENT_FLAGS {
        pass: Inodes,
        default: Yes,
        condition: "an extent has flags that do not exist",
        repair: "clear the unknown flags",
    }
    EB_NEXT_LEAF {
        pass: Inodes,
        default: Yes,
        condition: "a leaf of an extent tree names another leaf as the next than the tree does",
        repair: "link the leaves as the tree orders them",
    }
}
