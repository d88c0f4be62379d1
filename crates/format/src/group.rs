//! Group descriptors: the first block of a block group, with its bitmap.

use binrw::binrw;

use crate::bitmap::{Bitmap, BitmapMut};
use crate::block::{Block, block};
use crate::error::{expect_at_most, expect_eq};
use crate::extent::{ExtentList, ExtentListHeader, ExtentRec};
use crate::structure::structure;
use crate::{Blkno, BlockCheck, BlockSize, Invalid, Structure, Truncated};

structure! {
    "group descriptor", 0x40;

    /// `struct ocfs2_group_desc` up to its bitmap.
    ///
    /// The bitmap of `bg_size` bytes starts at [`GroupDesc::BITMAP_OFFSET`].
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Debug, Default, Eq, PartialEq)]
    pub struct GroupDesc {
        /// 0x00: [`GroupDesc::SIGNATURE`].
        pub bg_signature: [u8; 8],
        /// 0x08: bytes there are for the bitmap.
        pub bg_size: u16,
        /// 0x0a: bits of this group, at most 8 times `bg_size`.
        pub bg_bits: u16,
        /// 0x0c: bits that are 0.
        pub bg_free_bits_count: u16,
        /// 0x0e: index of the chain it is in.
        pub bg_chain: u16,
        /// 0x10: generation of the volume.
        pub bg_generation: u32,
        /// 0x14: global bitmap only: longest run of free bits, a hint; 0 = not known.
        pub bg_contig_free_bits: u16,
        /// 0x16: reserved.
        pub bg_reserved1: u16,
        /// 0x18: next descriptor of the chain, 0 at the end.
        pub bg_next_group: Blkno,
        /// 0x20: the allocator's dinode.
        pub bg_parent_dinode: Blkno,
        /// 0x28: the block this is stored in.
        pub bg_blkno: Blkno,
        /// 0x30: covers the whole block.
        pub bg_check: BlockCheck,
        /// 0x38: reserved.
        pub bg_reserved2: u64,
    }
}

block! { GroupDesc, b"GROUP01\0", 0x30; bg_signature, bg_generation, bg_blkno }

impl GroupDesc {
    /// Where the bitmap starts.
    pub const BITMAP_OFFSET: usize = 0x40;
    /// Where the extent list of a discontiguous group starts.
    pub const LIST_OFFSET: usize = 0x140;
    /// `bg_size` of a suballocator's group on a discontig-bg volume.
    pub const DISCONTIG_BITMAP_SIZE: u16 = 256;

    /// `bg_size` of every other group.
    pub fn bitmap_size(block_size: BlockSize) -> u16 {
        (block_size.bytes() - 0x40) as u16
    }

    /// Bits that a descriptor of the global bitmap holds: `cl_cpg` there.
    pub fn max_bits(block_size: BlockSize) -> u16 {
        8 * Self::bitmap_size(block_size)
    }

    /// Runs that the list of a discontiguous group has room for.
    pub fn list_capacity(block_size: BlockSize) -> usize {
        let list = block_size.size() - Self::LIST_OFFSET - ExtentListHeader::SIZE;
        list / ExtentRec::SIZE
    }

    /// Bits of the group: `bg_bits`, but no more than the bitmap and the block hold.
    pub fn bits(&self, block_size: BlockSize) -> u16 {
        let size = self.bg_size.min(Self::bitmap_size(block_size));
        self.bg_bits.min(size.saturating_mul(8))
    }

    /// The bitmap in `block`, the whole block this header was read from.
    ///
    /// # Errors
    /// [`Truncated`] if `block` does not have the length of a block.
    pub fn bitmap<'a>(&self, block: &'a [u8]) -> Result<Bitmap<'a>, Truncated> {
        let too_short = Truncated {
            structure: Self::NAME,
            needed: BlockSize::MIN.size(),
            available: block.len(),
        };
        let block_size = BlockSize::from_bytes(block.len() as u64).ok_or(too_short)?;
        Ok(Bitmap::new(&block[Self::BITMAP_OFFSET..], self.bits(block_size).into()))
    }

    /// The bitmap in `block` for changing, as in [`GroupDesc::bitmap`].
    ///
    /// # Errors
    /// [`Truncated`] if `block` does not have the length of a block.
    pub fn bitmap_mut<'a>(&self, block: &'a mut [u8]) -> Result<BitmapMut<'a>, Truncated> {
        let too_short = Truncated {
            structure: Self::NAME,
            needed: BlockSize::MIN.size(),
            available: block.len(),
        };
        let block_size = BlockSize::from_bytes(block.len() as u64).ok_or(too_short)?;
        let bits = self.bits(block_size).into();
        Ok(BitmapMut::new(&mut block[Self::BITMAP_OFFSET..], bits))
    }

    /// The list of runs of a discontiguous group; `None` for a contiguous one.
    ///
    /// Only a suballocator's group on a discontig-bg volume can be discontiguous; the caller has to
    /// know whether the volume has the feature.
    pub fn discontiguous<'a>(&self, block: &'a [u8]) -> Option<ExtentList<'a>> {
        if self.bg_size != Self::DISCONTIG_BITMAP_SIZE {
            return None;
        }
        let list = ExtentList::new(block.get(Self::LIST_OFFSET..)?).ok()?;
        (list.header.l_next_free_rec != 0).then_some(list)
    }

    /// Checks its allocator, and that the bits fit.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn verify_bits(
        &self,
        blkno: Blkno,
        parent: Blkno,
        block_size: BlockSize,
    ) -> Result<(), Invalid> {
        let name = Self::NAME;
        expect_eq(name, blkno, "bg_parent_dinode", self.bg_parent_dinode, parent)?;
        let (size, bits) = (self.bg_size, self.bg_bits);
        expect_at_most(name, blkno, "bg_size", size, Self::bitmap_size(block_size))?;
        expect_at_most(name, blkno, "bg_bits", bits, size.saturating_mul(8))?;
        expect_at_most(name, blkno, "bg_free_bits_count", self.bg_free_bits_count, bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::assert_round_trip;

    #[test]
    fn every_byte_is_kept() {
        assert_round_trip::<GroupDesc>();
    }

    #[test]
    fn a_bitmap_never_reaches_past_the_block() {
        let desc = GroupDesc { bg_size: 0xffff, bg_bits: 0xffff, ..Default::default() };
        let mut block = [0; 512];
        assert_eq!(desc.bitmap(&block).unwrap().len(), 3584);
        assert!(desc.bitmap(&block[..100]).is_err());
        desc.bitmap_mut(&mut block).unwrap().set_range(0, 3584);
        assert_eq!(block[..0x40], [0; 0x40]);
        assert_eq!(block[0x40..], [0xff; 448]);
    }

    #[test]
    fn only_a_group_with_a_small_bitmap_can_be_discontiguous() {
        let mut block = [0; 512];
        block[GroupDesc::LIST_OFFSET + 4] = 1;
        let mut desc = GroupDesc { bg_size: 256, ..Default::default() };
        assert_eq!(desc.discontiguous(&block).unwrap().records().len(), 1);
        desc.bg_size = 448;
        assert!(desc.discontiguous(&block).is_none());
    }
}
