//! Findings that any structure can give.

use super::codes;

codes! {
    IO_ERROR {
        pass: Start,
        default: No,
        condition: "the device cannot read a block",
        repair: "rewrite what is known of the block, so that the device replaces it",
        hides: true,
    }
    BLOCK_SIGNATURE {
        pass: Inodes,
        default: Yes,
        condition: "bits of the signature of an extent block, or of a block of attributes, are wrong, and all else says that it is one",
        repair: "write the signature",
    }
    BLOCK_ECC {
        pass: Inodes,
        default: Yes,
        condition: "the checksum of a block of metadata does not hold",
        repair: "recompute the checksum, if the contents are sound",
    }
}
