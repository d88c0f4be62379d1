//! Quota files: one tree of entries for the volume, and what each slot has changed since.
//!
//! The last eight bytes of every block are kept for a block check.

use binrw::binrw;

use crate::error::expect_eq;
use crate::structure::structure;
use crate::{Blkno, BlockCheck, BlockSize, Invalid, Structure};

/// Whose usage is counted.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum QuotaKind {
    /// By owner.
    User,
    /// By group.
    Group,
}

impl QuotaKind {
    /// Name of the global file; the files of the slots have a colon and the slot number after it.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::User => "aquota.user",
            Self::Group => "aquota.group",
        }
    }

    /// `dqh_magic` of the global file.
    pub fn global_magic(self) -> u32 {
        match self {
            Self::User => 0x0cf5_2470,
            Self::Group => 0x0cf5_2471,
        }
    }

    /// `dqh_magic` of a slot's file.
    pub fn local_magic(self) -> u32 {
        match self {
            Self::User => 0x0cf5_24c0,
            Self::Group => 0x0cf5_24c1,
        }
    }
}

/// Where the block check is in a block of a quota file.
pub fn check_offset(block_size: BlockSize) -> usize {
    block_size.size() - BlockCheck::SIZE
}

/// Bytes of a block that are used: all but the check.
pub fn usable_size(block_size: BlockSize) -> usize {
    check_offset(block_size)
}

structure! {
    "quota header", 8;

    /// `struct ocfs2_disk_dqheader`: how every quota file starts.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct QuotaHeader {
        /// 0x00: says which kind of file it is.
        pub dqh_magic: u32,
        /// 0x04: 0.
        pub dqh_version: u32,
    }
}

impl QuotaHeader {
    /// Checks magic and version.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn verify(&self, blkno: Blkno, magic: u32) -> Result<(), Invalid> {
        expect_eq(Self::NAME, blkno, "dqh_magic", self.dqh_magic, magic)?;
        expect_eq(Self::NAME, blkno, "dqh_version", self.dqh_version, 0)
    }
}

structure! {
    "global quota info", 0x18;

    /// `struct ocfs2_global_disk_dqinfo`, after the header of the global file.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    pub struct GlobalInfo {
        /// 0x00: seconds of grace for space.
        pub dqi_bgrace: u32,
        /// 0x04: seconds of grace for inodes.
        pub dqi_igrace: u32,
        /// 0x08: milliseconds between two syncs of a slot's changes.
        pub dqi_syncms: u32,
        /// 0x0c: blocks of the file, `i_size` divided by the block size.
        pub dqi_blocks: u32,
        /// 0x10: first free block, 0 = none.
        pub dqi_free_blk: u32,
        /// 0x14: first leaf with a free entry, 0 = none.
        pub dqi_free_entry: u32,
    }
}

impl Default for GlobalInfo {
    /// A week of grace, a sync every ten seconds, no blocks.
    fn default() -> Self {
        Self {
            dqi_bgrace: 604_800,
            dqi_igrace: 604_800,
            dqi_syncms: 10_000,
            dqi_blocks: 0,
            dqi_free_blk: 0,
            dqi_free_entry: 0,
        }
    }
}

impl GlobalInfo {
    /// Checks that it states the `blocks` of the file, and that its lists start within the file.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn verify(&self, blkno: Blkno, blocks: u32) -> Result<(), Invalid> {
        expect_eq(Self::NAME, blkno, "dqi_blocks", self.dqi_blocks, blocks)?;
        let lists = [("dqi_free_blk", self.dqi_free_blk), ("dqi_free_entry", self.dqi_free_entry)];
        for (field, block) in lists {
            if block >= blocks {
                let expected = format_args!("below {blocks}").to_string();
                return Err(Invalid::new(Self::NAME, blkno, field, block, expected));
            }
        }
        Ok(())
    }
}

/// References in a block of the tree.
pub fn tree_references(block_size: BlockSize) -> u32 {
    (usable_size(block_size) / 4) as u32
}

/// Levels of the tree above the leaves: as many as 32-bit ids need.
pub fn tree_depth(block_size: BlockSize) -> u32 {
    let references = u64::from(tree_references(block_size));
    let mut depth = 1;
    let mut ids = references;
    while ids < 1 << 32 {
        ids *= references;
        depth += 1;
    }
    depth
}

/// Index of the reference that points to `id`, in a tree block `level` levels below the root.
///
/// 0 for a level the tree does not have.
pub fn tree_index(block_size: BlockSize, id: u32, level: u32) -> u32 {
    let references = u64::from(tree_references(block_size));
    let Some(below) = (tree_depth(block_size) - 1).checked_sub(level) else { return 0 };
    (u64::from(id) / references.pow(below) % references) as u32
}

/// The references of a tree block: block numbers of the file, 0 where there is none.
pub fn references(block: &[u8]) -> impl Iterator<Item = u32> + '_ {
    let used = block.len().saturating_sub(BlockCheck::SIZE);
    block[..used].as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes))
}

/// Makes reference `index` of a tree block point to another block of the file.
pub fn set_reference(block: &mut [u8], index: u32, to: u32) {
    let used = block.len().saturating_sub(BlockCheck::SIZE);
    let places = block.get_mut(..used).unwrap_or_default().as_chunks_mut::<4>().0;
    if let Some(place) = places.get_mut(index as usize) {
        *place = to.to_le_bytes();
    }
}

structure! {
    "quota leaf", 16;

    /// `struct ocfs2_qt_disk_dqdbheader`: how a leaf of the tree starts.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct LeafHeader {
        /// 0x00: next leaf with free entries, or next free block; 0 at the end.
        pub dqdh_next_free: u32,
        /// 0x04: the one before.
        pub dqdh_prev_free: u32,
        /// 0x08: entries in use.
        pub dqdh_entries: u16,
        /// 0x0a: padding.
        pub dqdh_pad1: u16,
        /// 0x0c: padding.
        pub dqdh_pad2: u32,
    }
}

impl LeafHeader {
    /// Checks that it counts the entries in use of `block`, the whole block that it heads.
    ///
    /// # Errors
    /// The count is wrong.
    pub fn verify(&self, blkno: Blkno, block: &[u8]) -> Result<(), Invalid> {
        let used = leaf_entries(block).filter(QuotaEntry::is_used).count();
        expect_eq(Self::NAME, blkno, "dqdh_entries", usize::from(self.dqdh_entries), used)
    }
}

structure! {
    "quota entry", 88;

    /// `struct ocfs2_global_disk_dqblk`: limits and usage of an id. All zero = not in use.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct QuotaEntry {
        /// 0x00: the user or group.
        pub dqb_id: u32,
        /// 0x04: slots that refer to it; 0 when nothing is mounted.
        pub dqb_use_count: u32,
        /// 0x08: hard limit, inodes.
        pub dqb_ihardlimit: u64,
        /// 0x10: soft limit, inodes.
        pub dqb_isoftlimit: u64,
        /// 0x18: inodes in use.
        pub dqb_curinodes: u64,
        /// 0x20: hard limit, bytes.
        pub dqb_bhardlimit: u64,
        /// 0x28: soft limit, bytes.
        pub dqb_bsoftlimit: u64,
        /// 0x30: bytes in use.
        pub dqb_curspace: u64,
        /// 0x38: when the grace for space ends, 0 = not running.
        pub dqb_btime: u64,
        /// 0x40: when the grace for inodes ends, 0 = not running.
        pub dqb_itime: u64,
        /// 0x48: padding.
        pub dqb_pad: [u64; 2],
    }
}

impl QuotaEntry {
    /// Whether the entry is in use.
    pub fn is_used(&self) -> bool {
        *self != Self::default()
    }
}

/// All entries of a leaf in order, used or not.
pub fn leaf_entries(block: &[u8]) -> impl Iterator<Item = QuotaEntry> + '_ {
    let used = block.len().saturating_sub(BlockCheck::SIZE);
    let entries = block[..used].get(LeafHeader::SIZE..).unwrap_or_default();
    let entries = entries.chunks_exact(QuotaEntry::SIZE);
    entries.filter_map(|bytes| QuotaEntry::decode(bytes).ok())
}

structure! {
    "local quota info", 12;

    /// `struct ocfs2_local_disk_dqinfo`, after the header of a slot's file.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct LocalInfo {
        /// 0x00: [`LocalInfo::CLEAN`] or 0.
        pub dqi_flags: u32,
        /// 0x04: chunks of the file.
        pub dqi_chunks: u32,
        /// 0x08: blocks of the file.
        pub dqi_blocks: u32,
    }
}

impl LocalInfo {
    /// `dqi_flags`: all changes are in the global file.
    pub const CLEAN: u32 = 1;

    /// Checks that it states the `blocks` of the file, and the number of chunks that follows from
    /// them.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn verify(&self, blkno: Blkno, block_size: BlockSize, blocks: u32) -> Result<(), Invalid> {
        expect_eq(Self::NAME, blkno, "dqi_blocks", self.dqi_blocks, blocks)?;
        let chunks = blocks.saturating_sub(1).div_ceil(local_blocks_per_chunk(block_size) + 1);
        expect_eq(Self::NAME, blkno, "dqi_chunks", self.dqi_chunks, chunks)
    }
}

structure! {
    "local quota chunk", 4;

    /// `struct ocfs2_local_disk_chunk` without its bitmap: the first block of a chunk.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct LocalChunk {
        /// 0x00: free entries in the data blocks there are; the bitmap of used ones follows.
        pub dqc_free: u32,
    }
}

structure! {
    "local quota entry", 24;

    /// `struct ocfs2_local_disk_dqblk`: changes of an id that the global file does not have.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct LocalEntry {
        /// 0x00: the user or group.
        pub dqb_id: u64,
        /// 0x08: change of space in bytes, signed.
        pub dqb_spacemod: i64,
        /// 0x10: change of inodes, signed.
        pub dqb_inodemod: i64,
    }
}

/// Entries in a data block of a slot's file.
pub fn local_entries_per_block(block_size: BlockSize) -> u32 {
    (usable_size(block_size) / LocalEntry::SIZE) as u32
}

/// Data blocks a chunk of a slot's file has at most.
pub fn local_blocks_per_chunk(block_size: BlockSize) -> u32 {
    let bits = (usable_size(block_size) - LocalChunk::SIZE) * 8;
    bits as u32 / local_entries_per_block(block_size)
}

/// The block of a slot's file in which chunk `index` starts.
pub fn local_chunk_block(block_size: BlockSize, index: u32) -> u64 {
    1 + u64::from(index) * (u64::from(local_blocks_per_chunk(block_size)) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::assert_round_trip;

    #[test]
    fn every_byte_is_kept() {
        assert_round_trip::<QuotaHeader>();
        assert_round_trip::<GlobalInfo>();
        assert_round_trip::<LeafHeader>();
        assert_round_trip::<QuotaEntry>();
        assert_round_trip::<LocalInfo>();
        assert_round_trip::<LocalChunk>();
        assert_round_trip::<LocalEntry>();
    }

    #[test]
    fn capacities_are_those_of_the_format() {
        let all = BlockSize::ALL;
        assert_eq!(all.map(tree_references), [126, 254, 510, 1022]);
        assert_eq!(all.map(tree_depth), [5, 5, 4, 4]);
        assert_eq!(all.map(local_entries_per_block), [21, 42, 85, 170]);
        assert_eq!(all.map(local_blocks_per_chunk), [190, 192, 191, 192]);
        let leaf = |bs: BlockSize| leaf_entries(&vec![1; bs.size()]).count();
        assert_eq!(all.map(leaf), [5, 11, 23, 46]);
        assert_eq!(references(&[1; 512]).count(), 126);
        let mut block = [0; 512];
        set_reference(&mut block, 125, 7);
        set_reference(&mut block, 126, 8);
        assert_eq!(references(&block).collect::<Vec<_>>(), [&[0; 125][..], &[7]].concat());
        assert_eq!((references(&[1; 3]).count(), leaf_entries(&[1; 9]).count()), (0, 0));
        assert_eq!(local_chunk_block(BlockSize::MIN, 2), 1 + 2 * 191);
    }

    #[test]
    fn counts_that_are_wrong_are_named() {
        let (at, bs) = (Blkno(8), BlockSize::MIN);
        let global = GlobalInfo { dqi_blocks: 7, dqi_free_entry: 6, ..Default::default() };
        global.verify(at, 7).unwrap();
        assert_eq!(global.verify(at, 8).unwrap_err().field, "dqi_blocks");
        let global = GlobalInfo { dqi_free_blk: 7, ..global };
        assert_eq!(
            global.verify(at, 7).unwrap_err().to_string(),
            "global quota info 8: dqi_free_blk is 7, expected below 7"
        );
        let mut leaf = [0; 512];
        leaf[LeafHeader::SIZE + 88 * 3] = 1;
        let header = LeafHeader { dqdh_entries: 1, ..Default::default() };
        header.verify(at, &leaf).unwrap();
        assert_eq!(header.verify(at, &[0; 512]).unwrap_err().expected, "0");
        for (blocks, chunks) in [(2, 1), (192, 1), (193, 2)] {
            let local = LocalInfo { dqi_chunks: chunks, dqi_blocks: blocks, dqi_flags: 0 };
            local.verify(at, bs, blocks).unwrap();
            let local = LocalInfo { dqi_chunks: 3, ..local };
            assert_eq!(local.verify(at, bs, blocks).unwrap_err().field, "dqi_chunks");
        }
    }

    #[test]
    fn the_way_to_an_id_is_its_digits() {
        let bs = BlockSize::MAX;
        let way = |id| [0, 1, 2, 3].map(|level| tree_index(bs, id, level));
        assert_eq!(way(0), [0; 4]);
        assert_eq!(way(1022 * 1022 + 5), [0, 1, 0, 5]);
        assert_eq!(way(u32::MAX), [4, 24, 48, 31]);
        assert_eq!(tree_index(bs, 1, 99), 0);
    }
}
