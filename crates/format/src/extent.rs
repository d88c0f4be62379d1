//! Extent trees: lists, records, extent blocks. The roots are embedded in dinodes, dx
//! roots, xattr blocks and values, refcount blocks and group descriptors.

use binrw::binrw;
use bitflags::bitflags;

use crate::block::{Block, block};
use crate::error::expect_at_most;
use crate::list::{List, list, write_list};
use crate::structure::structure;
use crate::{Blkno, BlockCheck, BlockSize, Cpos, Field, Invalid, Structure, Truncated};

structure! {
    "extent list", 0x10;

    /// `struct ocfs2_extent_list` without its records: the header of an extent list.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct ExtentListHeader {
        /// 0x00: 0 where the records point to data, n where they point to extent blocks of depth n
        /// - 1.
        pub l_tree_depth: u16,
        /// 0x02: records that fit.
        pub l_count: u16,
        /// 0x04: records in use, at most `l_count`.
        pub l_next_free_rec: u16,
        /// 0x06: reserved.
        pub l_reserved1: u16,
        /// 0x08: reserved.
        pub l_reserved2: u64,
    }
}

/// Deepest tree the tools accept (`OCFS2_MAX_PATH_DEPTH`).
pub const MAX_TREE_DEPTH: u16 = 5;

bitflags! {
    /// `e_flags` of a leaf record.
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct ExtentFlags: u8 {
        /// Allocated, reads as zeros.
        const UNWRITTEN = 0x01;
        /// The clusters may be shared; counted in the refcount tree.
        const REFCOUNTED = 0x02;
        const _ = !0;
    }
}

impl ExtentFlags {
    /// All flags there are; any other bit is garbage.
    pub const KNOWN: Self = Self::UNWRITTEN.union(Self::REFCOUNTED);
}

/// `struct ocfs2_extent_rec`, 16 bytes: one record of an extent list.
///
/// The word at 0x04 is read as [`e_int_clusters`](Self::e_int_clusters) in a list of
/// depth above 0 and as [`e_leaf_clusters`](Self::e_leaf_clusters) and
/// [`e_flags`](Self::e_flags) at depth 0.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ExtentRec {
    /// 0x00: the first position covered.
    pub e_cpos: Cpos,
    /// 0x04: the word whose meaning depends on the depth.
    pub e_word: u32,
    /// 0x08: the extent's first block, or the extent block.
    pub e_blkno: Blkno,
}

impl ExtentRec {
    /// A leaf record.
    pub fn leaf(cpos: Cpos, clusters: u16, flags: ExtentFlags, blkno: Blkno) -> Self {
        let e_word = u32::from(clusters) | u32::from(flags.bits()) << 24;
        Self { e_cpos: cpos, e_word, e_blkno: blkno }
    }

    /// A record of an interior list.
    pub fn interior(cpos: Cpos, clusters: u32, blkno: Blkno) -> Self {
        Self { e_cpos: cpos, e_word: clusters, e_blkno: blkno }
    }

    /// Interior lists: positions covered.
    pub fn e_int_clusters(&self) -> u32 {
        self.e_word
    }

    /// Leaf lists: clusters of the extent; 0 in an empty record.
    pub fn e_leaf_clusters(&self) -> u16 {
        self.e_word as u16
    }

    /// Leaf lists: the flags.
    pub fn e_flags(&self) -> ExtentFlags {
        ExtentFlags::from_bits_retain((self.e_word >> 24) as u8)
    }

    fn from_bytes(bytes: &[u8; 16]) -> Self {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Self {
            e_cpos: Cpos(word(0)),
            e_word: word(4),
            e_blkno: Blkno(u64::from(word(8)) | u64::from(word(12)) << 32),
        }
    }
}

impl Structure for ExtentRec {
    const NAME: &'static str = "extent record";
    const SIZE: usize = 16;
    const FIELDS: &'static [Field] = &Field::in_a_row(
        [
            Field::new::<Cpos>("e_cpos", &["0x00: the first position covered."]),
            Field::new::<u32>("e_word", &["0x04: the word whose meaning depends on the depth."]),
            Field::new::<Blkno>("e_blkno", &["0x08: the first block, or the extent block."]),
        ],
        16,
    );

    fn decode(bytes: &[u8]) -> Result<Self, Truncated> {
        let head = bytes.first_chunk().ok_or(truncated::<Self>(bytes.len()))?;
        Ok(Self::from_bytes(head))
    }

    fn encode(&self, bytes: &mut [u8]) -> Result<(), Truncated> {
        let available = bytes.len();
        let head: &mut [u8; 16] = bytes.first_chunk_mut().ok_or(truncated::<Self>(available))?;
        head[..4].copy_from_slice(&self.e_cpos.0.to_le_bytes());
        head[4..8].copy_from_slice(&self.e_word.to_le_bytes());
        head[8..].copy_from_slice(&self.e_blkno.0.to_le_bytes());
        Ok(())
    }
}

fn truncated<T: Structure>(available: usize) -> Truncated {
    Truncated { structure: T::NAME, needed: T::SIZE, available }
}

list! {
    ExtentListHeader of ExtentRec; l_count, l_next_free_rec;

    fn verify_others(&self, blkno: Blkno, _: usize) -> Result<(), Invalid> {
        expect_at_most(Self::NAME, blkno, "l_tree_depth", self.l_tree_depth, MAX_TREE_DEPTH)
    }
}

/// An extent list in place.
pub type ExtentList<'a> = List<'a, ExtentListHeader>;

/// [`write_list`] for an extent list.
///
/// # Errors
/// [`Truncated`] if the records do not fit.
pub fn write_extent_list(
    bytes: &mut [u8],
    depth: u16,
    records: &[ExtentRec],
) -> Result<(), Truncated> {
    write_list(bytes, ExtentListHeader { l_tree_depth: depth, ..Default::default() }, records)
}

structure! {
    "extent block", 0x30;

    /// `struct ocfs2_extent_block`: an inner node or a leaf of an extent tree.
    ///
    /// One block. The extent list starts at [`ExtentBlock::LIST_OFFSET`] and fills it.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Debug, Eq, PartialEq)]
    pub struct ExtentBlock {
        /// 0x00: [`ExtentBlock::SIGNATURE`].
        pub h_signature: [u8; 8],
        /// 0x08: covers the whole block.
        pub h_check: BlockCheck,
        /// 0x10: slot of the `extent_alloc` this block came from.
        pub h_suballoc_slot: u16,
        /// 0x12: its bit in that allocator's group.
        pub h_suballoc_bit: u16,
        /// 0x14: generation of the volume; differs on a leftover of an older one.
        pub h_fs_generation: u32,
        /// 0x18: the block this is stored in.
        pub h_blkno: Blkno,
        /// 0x20: the group descriptor it came from, or 0.
        pub h_suballoc_loc: Blkno,
        /// 0x28: leaf to the right, 0 at the end; leaves only.
        pub h_next_leaf_blk: Blkno,
    }
}

block! { ExtentBlock, b"EXBLK01\0", 0x08; h_signature, h_fs_generation, h_blkno }

impl ExtentBlock {
    /// Where the extent list starts.
    pub const LIST_OFFSET: usize = 0x30;

    /// Records that fit into an extent block.
    pub fn list_capacity(block_size: BlockSize) -> u16 {
        ((block_size.bytes() - 0x40) / 16) as u16
    }

    /// The extent list of `block`, the whole block this header was read from.
    ///
    /// # Errors
    /// [`Truncated`] if the block is too short for one.
    pub fn list(block: &[u8]) -> Result<ExtentList<'_>, Truncated> {
        ExtentList::new(block.get(Self::LIST_OFFSET..).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::assert_round_trip;

    #[test]
    fn headers_and_records_keep_every_byte() {
        assert_round_trip::<ExtentListHeader>();
        assert_round_trip::<ExtentRec>();
        assert_round_trip::<ExtentBlock>();
    }

    #[test]
    fn a_list_never_gives_more_records_than_are_there() {
        let mut bytes = [0xff; 0x10 + 3 * 16 + 5];
        let list = ExtentList::new(&bytes).unwrap();
        assert_eq!(list.records().len(), 3);
        assert_eq!(list.record(3), None);
        assert_eq!(list.verify(Blkno(7)).unwrap_err().field, "l_tree_depth");

        let rec = ExtentRec::leaf(Cpos(1), 2, ExtentFlags::UNWRITTEN, Blkno(3));
        write_extent_list(&mut bytes, 0, &[rec]).unwrap();
        let list = ExtentList::new(&bytes).unwrap();
        list.verify(Blkno(7)).unwrap();
        assert_eq!(list.header.l_count, 3);
        assert_eq!(list.records().collect::<Vec<_>>(), [rec]);
        assert_eq!((rec.e_leaf_clusters(), rec.e_flags()), (2, ExtentFlags::UNWRITTEN));
        assert!(write_extent_list(&mut bytes, 0, &[rec; 4]).is_err());
    }

    #[test]
    fn a_misplaced_extent_block_says_where_it_claims_to_be() {
        let mut block = [0; 512];
        block[..8].copy_from_slice(&ExtentBlock::SIGNATURE);
        block[0x18] = 9;
        let header = ExtentBlock::decode(&block).unwrap();
        header.verify(Blkno(9), 0).unwrap();
        assert_eq!(
            header.verify(Blkno(10), 0).unwrap_err().to_string(),
            "extent block 10: h_blkno is 9, expected 10"
        );
        assert_eq!(ExtentBlock::list(&block).unwrap().capacity(), 28);
    }
}
