//! The local alloc: a window of clusters a slot has reserved in the global bitmap.

use binrw::binrw;

use crate::bitmap::Bitmap;
use crate::error::expect_at_most;
use crate::structure::structure;
use crate::{Blkno, BlockSize, Invalid, Structure, Truncated};

structure! {
    "local alloc", 0x10;

    /// `struct ocfs2_local_alloc` up to its bitmap, at the start of `id2`.
    ///
    /// The bitmap follows; a bit that is 1 is a cluster that was handed out. `i_used` and `i_total`
    /// of the dinode's `id1` are its counts; `i_total` 0 means that there is no window.
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
}

impl LocalAlloc {
    /// What `la_size` has to be.
    pub fn bitmap_size(block_size: BlockSize) -> u16 {
        (block_size.bytes() - 0xd0) as u16
    }

    /// Checks that the window lies in a volume of `clusters` clusters and fits the bitmap;
    /// `used` and `total` are `i_used` and `i_total` of the dinode in `blkno`.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn verify(
        &self,
        blkno: Blkno,
        block_size: BlockSize,
        (used, total): (u32, u32),
        clusters: u32,
    ) -> Result<(), Invalid> {
        let at_most =
            |field, found: u32, limit: u32| expect_at_most(Self::NAME, blkno, field, found, limit);
        at_most("la_size", self.la_size.into(), Self::bitmap_size(block_size).into())?;
        at_most("i_total", total, 8 * u32::from(self.la_size))?;
        at_most("i_used", used, total)?;
        // Without a window, `la_bm_off` has to be 0.
        let last = if total == 0 { 0 } else { clusters.saturating_sub(total) };
        at_most("la_bm_off", self.la_bm_off, last)
    }

    /// The bitmap in `id2`, of `total` (`i_total`) bits or as many as exist.
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
    fn a_window_has_to_lie_in_the_volume_and_fit_the_bitmap() {
        let field = |la_bm_off, la_size, counts| {
            let local_alloc = LocalAlloc { la_bm_off, la_size, ..Default::default() };
            local_alloc.verify(Blkno(9), BlockSize::MIN, counts, 1000).map_err(|err| err.field)
        };
        assert_eq!(field(0, 304, (0, 0)), Ok(()));
        assert_eq!(field(900, 304, (5, 100)), Ok(()));
        assert_eq!(field(901, 304, (5, 100)), Err("la_bm_off"));
        assert_eq!(field(1, 304, (0, 0)), Err("la_bm_off"));
        assert_eq!(field(0, 304, (1, 0)), Err("i_used"));
        assert_eq!(field(0, 10, (1, 81)), Err("i_total"));
        assert_eq!(field(0, 305, (0, 0)), Err("la_size"));
    }

    #[test]
    fn a_total_beyond_the_block_is_cut() {
        assert_eq!(LocalAlloc::bitmap(&[0; 320], u32::MAX).unwrap().len(), 304 * 8);
        assert_eq!(LocalAlloc::bitmap_size(BlockSize::MIN), 304);
        assert!(LocalAlloc::bitmap(&[0; 8], 1).is_err());
    }
}
