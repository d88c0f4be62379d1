//! The check of a block, and whether it is right.

use std::io::Write;

use ocfs2_format::check::compute;
use ocfs2_format::{Block, BlockCheck, Structure};

use super::{Out, Shown};

/// Shows the check of `block`, a `T`, and compares it with the contents if `is_checked`.
pub fn block_check<T: Block>(out: Out<'_>, block: &[u8], is_checked: bool) -> Shown {
    check_at(out, block, T::CHECK_OFFSET, is_checked)
}

/// The same for a check at `offset`.
pub fn check_at(out: Out<'_>, block: &[u8], offset: usize, is_checked: bool) -> Shown {
    let stored = block.get(offset..).unwrap_or_default();
    let stored = BlockCheck::decode(stored).unwrap_or_default();
    writeln!(out, "\tCRC32: {:08x}   ECC: {:04x}", stored.bc_crc32e, stored.bc_ecc)?;
    let found = compute(block, offset);
    if !is_checked || found.bc_crc32e == stored.bc_crc32e {
        return Ok(());
    }
    let (crc, ecc) = (found.bc_crc32e, found.bc_ecc);
    writeln!(out, "\t**FAILED CHECKSUM** Computed CRC32: {crc:08x}   ECC: {ecc:04x}")
}
