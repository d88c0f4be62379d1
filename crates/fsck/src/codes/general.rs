//! Findings that any structure can give.

use super::codes;

codes! {
    IO_ERROR {
        pass: Start,
        default: No,
        condition: "the device cannot read a block",
        repair: "rewrite what is known of the block, so that the device replaces it",
    }
    BLOCK_ECC {
        pass: Inodes,
        default: Yes,
        condition: "the checksum of a block of metadata does not hold",
        repair: "recompute the checksum, if the contents are sound",
    }
}
