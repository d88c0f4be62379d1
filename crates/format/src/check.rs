//! `struct ocfs2_block_check` and how it is computed (metaecc).

use binrw::binrw;

/// `struct ocfs2_block_check`: eight bytes that guard a metadata block.
///
/// Meaningful only on a volume with the metaecc feature; otherwise ignored, and written
/// as zero.
#[binrw]
#[brw(little)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct BlockCheck {
    /// 0x00: CRC-32 of the block with these eight bytes zero.
    pub bc_crc32e: u32,
    /// 0x04: Hamming parity of the same.
    pub bc_ecc: u16,
    /// 0x06: 0.
    pub bc_reserved1: u16,
}
