//! The local alloc: a window of clusters a slot has reserved in the global bitmap.

use binrw::binrw;

use crate::bitmap::Bitmap;
use crate::structure::structure;
use crate::{BlockSize, Structure, Truncated};

/// `struct ocfs2_local_alloc` up to its bitmap, at the start of `id2`.
///
/// The bitmap follows; a bit that is 1 was handed out. `i_used` and `i_total` of the
/// dinode's `id1` are its counts; `i_total` 0 means that there is no window.
#[binrw]
#[brw(little)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LocalAlloc {
    /// 0x00: first cluster of the window.
    pub la_bm_off: u32,
    /// 0x04: bytes of the bitmap.
    pub la_size: u16,
    /// 0x06: reserved.
    pub la_reserved1: u16,
    /// 0x08: reserved.
    pub la_reserved2: u64,
}
structure!(LocalAlloc, "local alloc", 0x10);

impl LocalAlloc {
    /// What `la_size` has to be.
    pub fn bitmap_size(block_size: BlockSize) -> u16 {
        (block_size.bytes() - 0xd0) as u16
    }

    /// The bitmap in `id2`; `total` is `i_total`, of which as many bits are given as exist.
    ///
    /// # Errors
    /// [`Truncated`] if there is no room for the header.
    pub fn bitmap(id2: &[u8], total: u32) -> Result<Bitmap<'_>, Truncated> {
        Self::decode(id2)?;
        let total = usize::try_from(total).unwrap_or(usize::MAX);
        Ok(Bitmap::new(&id2[Self::SIZE..], total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::assert_round_trip;

    #[test]
    fn every_byte_is_kept() {
        assert_round_trip::<LocalAlloc>();
    }

    #[test]
    fn a_total_beyond_the_block_is_cut() {
        assert_eq!(LocalAlloc::bitmap(&[0; 320], u32::MAX).unwrap().len(), 304 * 8);
        assert_eq!(LocalAlloc::bitmap_size(BlockSize::MIN), 304);
        assert!(LocalAlloc::bitmap(&[0; 8], 1).is_err());
    }
}
