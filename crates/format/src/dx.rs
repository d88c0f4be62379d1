//! Directory indexes: the root, leaves, and their entries.

use binrw::binrw;
use bitflags::bitflags;

use crate::block::{Block, block};
use crate::error::expect_eq;
use crate::extent::ExtentList;
use crate::hash::NameHash;
use crate::list::{List, list, write_list};
use crate::structure::structure;
use crate::{Blkno, BlockCheck, BlockSize, Invalid, Structure, Truncated};

bitflags! {
    /// `dr_flags`.
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct DxFlags: u8 {
        /// The entries are in the root itself.
        const INLINE = 0x01;
        const _ = !0;
    }
}

structure! {
    "dx root", 0xc0;

    /// `struct ocfs2_dx_root_block` up to its list.
    ///
    /// From [`DxRoot::LIST_OFFSET`] on there is an entry list with INLINE, else an extent list
    /// of leaf clusters keyed by major hash.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Debug, Default, Eq, PartialEq)]
    pub struct DxRoot {
        /// 0x00: [`DxRoot::SIGNATURE`].
        pub dr_signature: [u8; 8],
        /// 0x08: covers the whole block.
        pub dr_check: BlockCheck,
        /// 0x10: slot of the `extent_alloc` this block came from.
        pub dr_suballoc_slot: u16,
        /// 0x12: its bit in that allocator's group.
        pub dr_suballoc_bit: u16,
        /// 0x14: generation of the volume.
        pub dr_fs_generation: u32,
        /// 0x18: the block this is stored in.
        pub dr_blkno: Blkno,
        /// 0x20: rightmost leaf extent block, 0 at depth 0.
        pub dr_last_eb_blk: Blkno,
        /// 0x28: clusters of leaves.
        pub dr_clusters: u32,
        /// 0x2c: [`DxFlags`].
        pub dr_flags: u8,
        /// 0x2d: reserved.
        pub dr_reserved0: u8,
        /// 0x2e: reserved.
        pub dr_reserved1: u16,
        /// 0x30: the directory's dinode.
        pub dr_dir_blkno: Blkno,
        /// 0x38: entries of the index, those of `.` and `..` included.
        pub dr_num_entries: u32,
        /// 0x3c: reserved.
        pub dr_reserved2: u32,
        /// 0x40: first directory block with a hole, 0 = none; a hint.
        pub dr_free_blk: Blkno,
        /// 0x48: the group descriptor it came from, or 0.
        pub dr_suballoc_loc: Blkno,
        /// 0x50: reserved.
        pub dr_reserved3: [u64; 14],
    }
}

block! { DxRoot, b"DXDIR01\0", 0x08; dr_signature, dr_fs_generation, dr_blkno }

impl DxRoot {
    /// Where the extent list or the entry list starts.
    pub const LIST_OFFSET: usize = 0xc0;

    /// Whether the entries are in this block.
    pub fn is_inline(&self) -> bool {
        DxFlags::from_bits_retain(self.dr_flags).contains(DxFlags::INLINE)
    }

    /// Entries that fit into the root.
    pub fn entry_capacity(block_size: BlockSize) -> u16 {
        ((block_size.bytes() - 0xc8) / 16) as u16
    }

    /// The extent list of `block`, a root that is not inline.
    ///
    /// # Errors
    /// [`Truncated`] if the block is too short for one.
    pub fn extents(block: &[u8]) -> Result<ExtentList<'_>, Truncated> {
        ExtentList::new(block.get(Self::LIST_OFFSET..).unwrap_or_default())
    }

    /// The entries of `block`, an inline root.
    ///
    /// # Errors
    /// [`Truncated`] if the block is too short for a list.
    pub fn entries(block: &[u8]) -> Result<DxEntryList<'_>, Truncated> {
        DxEntryList::new(block.get(Self::LIST_OFFSET..).unwrap_or_default())
    }

    /// Checks that it is the index of the directory `dir`.
    ///
    /// # Errors
    /// It is the index of another directory.
    pub fn verify_dir(&self, blkno: Blkno, dir: Blkno) -> Result<(), Invalid> {
        expect_eq(Self::NAME, blkno, "dr_dir_blkno", self.dr_dir_blkno, dir)
    }
}

structure! {
    "dx leaf", 0x28;

    /// `struct ocfs2_dx_leaf` up to its entry list.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Debug, Default, Eq, PartialEq)]
    pub struct DxLeaf {
        /// 0x00: [`DxLeaf::SIGNATURE`].
        pub dl_signature: [u8; 8],
        /// 0x08: covers the whole block.
        pub dl_check: BlockCheck,
        /// 0x10: the block this is stored in.
        pub dl_blkno: Blkno,
        /// 0x18: generation of the volume.
        pub dl_fs_generation: u32,
        /// 0x1c: reserved.
        pub dl_reserved0: u32,
        /// 0x20: reserved.
        pub dl_reserved1: u64,
    }
}

block! { DxLeaf, b"DXLEAF1\0", 0x08; dl_signature, dl_fs_generation, dl_blkno }

impl DxLeaf {
    /// Where the entry list starts.
    pub const LIST_OFFSET: usize = 0x28;

    /// Entries that fit into a leaf.
    pub fn entry_capacity(block_size: BlockSize) -> u16 {
        ((block_size.bytes() - 0x30) / 16) as u16
    }

    /// The entries of `block`.
    ///
    /// # Errors
    /// [`Truncated`] if the block is too short for a list.
    pub fn entries(block: &[u8]) -> Result<DxEntryList<'_>, Truncated> {
        DxEntryList::new(block.get(Self::LIST_OFFSET..).unwrap_or_default())
    }
}

structure! {
    "dx entry list", 8;

    /// `struct ocfs2_dx_entry_list` without its entries.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct DxEntryListHeader {
        /// 0x00: reserved.
        pub de_reserved: u32,
        /// 0x04: entries that fit.
        pub de_count: u16,
        /// 0x06: entries in use, at most `de_count`.
        pub de_num_used: u16,
    }
}

structure! {
    "dx entry", 16;

    /// `struct ocfs2_dx_entry`, 16 bytes: where the entry with a hash is.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct DxEntry {
        /// 0x00: [`NameHash::major`].
        pub dx_major_hash: u32,
        /// 0x04: [`NameHash::minor`].
        pub dx_minor_hash: u32,
        /// 0x08: the directory block that holds the entry.
        pub dx_dirent_blk: Blkno,
    }
}

impl DxEntry {
    /// The hash of the name.
    pub fn hash(&self) -> NameHash {
        NameHash { major: self.dx_major_hash, minor: self.dx_minor_hash }
    }
}

list! {
    DxEntryListHeader of DxEntry; de_count, de_num_used;

    fn verify_others(&self, blkno: Blkno, capacity: usize) -> Result<(), Invalid> {
        expect_eq(Self::NAME, blkno, "de_count", self.de_count.into(), capacity)
    }
}

/// An entry list in place; its entries are in no particular order.
pub type DxEntryList<'a> = List<'a, DxEntryListHeader>;

/// [`write_list`] for an entry list.
///
/// # Errors
/// [`Truncated`] if the entries do not fit.
pub fn write_dx_entries(bytes: &mut [u8], entries: &[DxEntry]) -> Result<(), Truncated> {
    write_list(bytes, DxEntryListHeader::default(), entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::assert_round_trip;

    #[test]
    fn every_byte_is_kept() {
        assert_round_trip::<DxRoot>();
        assert_round_trip::<DxLeaf>();
        assert_round_trip::<DxEntryListHeader>();
        assert_round_trip::<DxEntry>();
    }

    #[test]
    fn capacities_are_those_of_the_format() {
        let roots = BlockSize::ALL.map(DxRoot::entry_capacity);
        let leaves = BlockSize::ALL.map(DxLeaf::entry_capacity);
        assert_eq!((roots, leaves), ([19, 51, 115, 243], [29, 61, 125, 253]));
        assert_eq!(DxRoot::entries(&[0xff; 512]).unwrap().records().count(), 19);
        assert_eq!(DxLeaf::entries(&[0xff; 512]).unwrap().records().count(), 29);
        assert!(DxLeaf::entries(&[0; 0x2f]).is_err());
    }

    #[test]
    fn a_list_gives_what_was_written() {
        let entry = DxEntry { dx_major_hash: 1, dx_minor_hash: 2, dx_dirent_blk: Blkno(3) };
        let mut block = [0; 512];
        write_dx_entries(&mut block[DxRoot::LIST_OFFSET..], &[entry, entry]).unwrap();
        let list = DxRoot::entries(&block).unwrap();
        assert_eq!(list.header.de_count, 19);
        assert_eq!(list.records().collect::<Vec<_>>(), [entry, entry]);
        list.verify(Blkno(9)).unwrap();
        block[DxRoot::LIST_OFFSET + 6] = 20;
        assert_eq!(
            DxRoot::entries(&block).unwrap().verify(Blkno(9)).unwrap_err().to_string(),
            "dx entry list 9: de_num_used is 20, expected at most 19"
        );
        assert!(write_dx_entries(&mut block[..24], &[entry, entry]).is_err());
    }
}
