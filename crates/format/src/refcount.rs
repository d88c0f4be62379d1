//! Refcount trees: how many extents share physical clusters.

use binrw::binrw;
use bitflags::bitflags;

use crate::block::{Block, block};
use crate::error::expect_eq;
use crate::extent::ExtentList;
use crate::list::{List, list, write_list};
use crate::structure::structure;
use crate::{Blkno, BlockCheck, BlockSize, Invalid, Structure, Truncated};

bitflags! {
    /// `rf_flags`.
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct RefcountFlags: u32 {
        /// A block of records below the root.
        const LEAF = 0x1;
        /// A root with an extent list of leaves.
        const TREE = 0x2;
        const _ = !0;
    }
}

structure! {
    "refcount block", 0x80;

    /// `struct ocfs2_refcount_block` up to its records or its extent list.
    ///
    /// From [`RefcountBlock::LIST_OFFSET`] on there is an extent list with TREE, else a list
    /// of records.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct RefcountBlock {
        /// 0x00: [`RefcountBlock::SIGNATURE`].
        pub rf_signature: [u8; 8],
        /// 0x08: slot of the `extent_alloc` this block came from.
        pub rf_suballoc_slot: u16,
        /// 0x0a: its bit in that allocator's group.
        pub rf_suballoc_bit: u16,
        /// 0x0c: generation of the volume.
        pub rf_fs_generation: u32,
        /// 0x10: the block this is stored in.
        pub rf_blkno: Blkno,
        /// 0x18: of a leaf: the root's block; of a root: 0.
        pub rf_parent: Blkno,
        /// 0x20: covers the whole block.
        pub rf_check: BlockCheck,
        /// 0x28: of a root with TREE: rightmost leaf extent block.
        pub rf_last_eb_blk: Blkno,
        /// 0x30: of a root: inodes that use the tree.
        pub rf_count: u32,
        /// 0x34: [`RefcountFlags`].
        pub rf_flags: u32,
        /// 0x38: of a root with TREE: leaves.
        pub rf_clusters: u32,
        /// 0x3c: of a leaf: `e_cpos` of the record that points to it.
        pub rf_cpos: u32,
        /// 0x40: the same in all blocks of a tree.
        pub rf_generation: u32,
        /// 0x44: reserved.
        pub rf_reserved0: u32,
        /// 0x48: the group descriptor it came from, or 0.
        pub rf_suballoc_loc: Blkno,
        /// 0x50: reserved.
        pub rf_reserved1: [u64; 6],
    }
}

block! { RefcountBlock, b"REFCNT1\0", 0x20; rf_signature, rf_fs_generation, rf_blkno }

impl RefcountBlock {
    /// Where the records or the extent list start.
    pub const LIST_OFFSET: usize = 0x80;

    /// `rf_flags`.
    pub fn flags(&self) -> RefcountFlags {
        RefcountFlags::from_bits_retain(self.rf_flags)
    }

    /// Whether it is a root whose records are in leaves.
    pub fn is_tree(&self) -> bool {
        self.flags().contains(RefcountFlags::TREE)
    }

    /// Records that fit into a block.
    pub fn record_capacity(block_size: BlockSize) -> u16 {
        ((block_size.bytes() - 0x90) / 16) as u16
    }

    /// The records of `block`, which does not have TREE.
    ///
    /// # Errors
    /// [`Truncated`] if the block is too short for a list.
    pub fn records(block: &[u8]) -> Result<RefcountList<'_>, Truncated> {
        RefcountList::new(block.get(Self::LIST_OFFSET..).unwrap_or_default())
    }

    /// The extent list of `block`, a root with TREE: one record per leaf block, keyed by physical
    /// cluster.
    ///
    /// # Errors
    /// [`Truncated`] if the block is too short for a list.
    pub fn extents(block: &[u8]) -> Result<ExtentList<'_>, Truncated> {
        ExtentList::new(block.get(Self::LIST_OFFSET..).unwrap_or_default())
    }

    /// Checks that it belongs to the tree `root`; for a root block itself, `root` is 0.
    ///
    /// # Errors
    /// It belongs to another tree.
    pub fn verify_root(&self, blkno: Blkno, root: Blkno) -> Result<(), Invalid> {
        expect_eq(Self::NAME, blkno, "rf_parent", self.rf_parent, root)
    }
}

structure! {
    "refcount list", 16;

    /// `struct ocfs2_refcount_list` without its records.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct RefcountListHeader {
        /// 0x00: records that fit.
        pub rl_count: u16,
        /// 0x02: records in use, at most `rl_count`.
        pub rl_used: u16,
        /// 0x04: reserved.
        pub rl_reserved2: u32,
        /// 0x08: reserved.
        pub rl_reserved1: u64,
    }
}

structure! {
    "refcount record", 16;

    /// `struct ocfs2_refcount_rec`, 16 bytes.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct RefcountRec {
        /// 0x00: first physical cluster; 32 bits are used.
        pub r_cpos: u64,
        /// 0x08: clusters.
        pub r_clusters: u32,
        /// 0x0c: extents that refer to them, at least 1.
        pub r_refcount: u32,
    }
}

list! { RefcountListHeader of RefcountRec; rl_count, rl_used }

/// A list of refcount records in place.
pub type RefcountList<'a> = List<'a, RefcountListHeader>;

/// Appends a record, or extends the last one if the record continues it with the same count. A
/// record without clusters or without references is dropped.
pub fn push_refcount(records: &mut Vec<RefcountRec>, record: RefcountRec) {
    if record.r_clusters == 0 || record.r_refcount == 0 {
        return;
    }
    if let Some(last) = records.last_mut() {
        let end = last.r_cpos.checked_add(last.r_clusters.into());
        let sum = last.r_clusters.checked_add(record.r_clusters);
        if let Some(sum) = sum
            && end == Some(record.r_cpos)
            && last.r_refcount == record.r_refcount
        {
            last.r_clusters = sum;
            return;
        }
    }
    records.push(record);
}

/// [`write_list`] for refcount records, with zeros after them.
///
/// # Errors
/// [`Truncated`] if the records do not fit.
pub fn write_refcounts(bytes: &mut [u8], records: &[RefcountRec]) -> Result<(), Truncated> {
    bytes.fill(0);
    write_list(bytes, RefcountListHeader::default(), records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::assert_round_trip;

    #[test]
    fn every_byte_is_kept() {
        assert_round_trip::<RefcountBlock>();
        assert_round_trip::<RefcountListHeader>();
        assert_round_trip::<RefcountRec>();
    }

    #[test]
    fn no_more_records_are_given_than_fit() {
        assert_eq!(BlockSize::ALL.map(RefcountBlock::record_capacity), [23, 55, 119, 247]);
        let block = [0xff; 512];
        let list = RefcountBlock::records(&block).unwrap();
        assert_eq!((list.capacity(), list.records().count()), (23, 23));
        assert_eq!(list.verify(Blkno(4)).unwrap_err().field, "rl_count");
        assert_eq!(RefcountBlock::extents(&block).unwrap().records().len(), 23);
        assert!(RefcountBlock::records(&[0; 0x8f]).is_err());
    }

    #[test]
    fn a_leaf_of_another_tree_is_seen() {
        let leaf = RefcountBlock {
            rf_signature: RefcountBlock::SIGNATURE,
            rf_blkno: Blkno(5),
            rf_parent: Blkno(3),
            rf_flags: RefcountFlags::LEAF.bits(),
            ..Default::default()
        };
        leaf.verify(Blkno(5), 0).unwrap();
        leaf.verify_root(Blkno(5), Blkno(3)).unwrap();
        assert_eq!(leaf.verify_root(Blkno(5), Blkno(4)).unwrap_err().field, "rf_parent");
        assert!(!leaf.is_tree());
    }
}
