//! Findings about extent trees.

use super::codes;

codes! {
    EB_BLKNO {
        pass: Inodes,
        default: Yes,
        condition: "an extent block says that it is in another block than it is",
        repair: "write its block number into the extent block",
    }
    EB_GEN {
        pass: Inodes,
        default: Yes,
        condition: "an extent block is of another generation, and may be left from an older volume",
        repair: "rebuild the tree with what fits of it",
    }
    EB_GEN_FIX {
        pass: Inodes,
        default: Yes,
        condition: "an extent block of another generation is to be kept",
        repair: "set the generation of the extent block to that of the volume",
    }
    EXTENT_LIST_DEPTH {
        pass: Inodes,
        default: Yes,
        condition: "an extent list states another depth than it has in its tree",
        repair: "set the depth to where it is in the tree",
    }
    EXTENT_LIST_COUNT {
        pass: Inodes,
        default: Yes,
        condition: "an extent list states room for none, for more records than fit, or for fewer where all of it is to be used",
        repair: "set it to what fits",
    }
    EXTENT_LIST_FREE {
        pass: Inodes,
        default: Yes,
        condition: "an extent list uses more records than it has room for",
        repair: "set the number of used records to the room there is",
    }
    EXTENT_EB_INVALID {
        pass: Inodes,
        default: Yes,
        condition: "a record of an extent tree points to a block that is not an extent block",
        repair: "remove the record, and with it what was beneath it",
    }
    EXTENT_BLKNO_RANGE {
        pass: Inodes,
        default: Yes,
        condition: "an extent is outside the volume",
        repair: "remove the extent",
    }
    EXTENT_BLKNO_UNALIGNED {
        pass: Inodes,
        default: Yes,
        condition: "an extent does not begin with a cluster",
        repair: "begin it where that cluster begins",
    }
    EXTENT_CLUSTERS_OVERRUN {
        pass: Inodes,
        default: Yes,
        condition: "an extent goes past the end of the volume",
        repair: "end it where the volume ends",
    }
    EXTENT_LENGTH {
        pass: Inodes,
        default: Yes,
        condition: "an extent is longer than size and number of clusters of its inode leave it, and what is too much is free or belongs to others",
        repair: "end the extent where the inode says; its size stays",
    }
    EXTENT_MARKED_UNWRITTEN {
        pass: Inodes,
        default: Yes,
        condition: "an extent is marked as unwritten on a volume without that feature",
        repair: "clear the mark",
    }
    EXTENT_MARKED_REFCOUNTED {
        pass: Inodes,
        default: Yes,
        condition: "an extent is marked as shared, and the volume or the file has no shared clusters",
        repair: "clear the mark",
    }
    EXTENT_ORDER {
        pass: Inodes,
        default: Yes,
        condition: "the records of an extent list are not in the order of their positions, and otherwise sound",
        repair: "put the records in order",
    }
    EXTENT_OVERLAP {
        pass: Inodes,
        default: Yes,
        condition: "an extent begins, in the file, before the end of the one in front of it",
        repair: "move it after the one in front, or end it where those after it begin",
    }
    NO_HOLES {
        pass: Inodes,
        default: Yes,
        condition: "what must not have holes, such as a directory, has one",
        repair: "move the extent after the hole up",
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
        safe: true,
    }
}
