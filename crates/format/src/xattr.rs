//! Extended attributes: the area in a dinode, xattr blocks, buckets, and their entries.

use binrw::binrw;
use bitflags::bitflags;

use crate::block::{Block, block};
use crate::error::expect_at_most;
use crate::extent::{ExtentList, ExtentListHeader, ExtentRec};
use crate::structure::structure;
use crate::{Blkno, BlockCheck, BlockSize, Invalid, Structure, Truncated};

/// Bytes of a bucket: whole blocks of any block size.
pub const BUCKET_SIZE: usize = 4096;

/// Entries a bucket may have: those that fit, after the header, into its first block.
///
/// Where blocks are small, Linux writes more entries, and from 6.12.114 on it refuses such buckets.
pub fn bucket_entries(block_size: BlockSize) -> usize {
    (block_size.size() - XattrHeader::SIZE) / XattrEntry::SIZE
}

/// Longest value that is kept beside its name, in bytes.
pub const MAX_LOCAL_VALUE: u64 = 80;
/// Longest value there can be, in bytes.
pub const MAX_VALUE: u64 = 65_536;

structure! {
    "xattr header", 16;

    /// `struct ocfs2_xattr_header` without its entries.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct XattrHeader {
        /// 0x00: entries.
        pub xh_count: u16,
        /// 0x02: buckets: offset of the lowest name or value; elsewhere 0.
        pub xh_free_start: u16,
        /// 0x04: buckets: bytes of all names and values; elsewhere 0.
        pub xh_name_value_len: u16,
        /// 0x06: first bucket of an extent: buckets in use there; elsewhere 0.
        pub xh_num_buckets: u16,
        /// 0x08: buckets: covers the whole bucket.
        pub xh_check: BlockCheck,
    }
}

impl XattrHeader {
    /// Where the check of a bucket is.
    pub const CHECK_OFFSET: usize = 0x08;
}

/// The part of an attribute's name before the stored name, kept as a code.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum XattrPrefix {
    /// `user.`
    User,
    /// `system.posix_acl_access`; the stored name is empty.
    PosixAclAccess,
    /// `system.posix_acl_default`; the stored name is empty.
    PosixAclDefault,
    /// `trusted.`
    Trusted,
    /// `security.`
    Security,
}

impl XattrPrefix {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::User, Self::PosixAclAccess, Self::PosixAclDefault, Self::Trusted, Self::Security];

    /// The prefix of a code; `None` for an unknown code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }

    /// The prefix and the stored part of a full name; `None` if no attribute has that name. An access
    /// control list has no name but its prefix, and all others have one.
    pub fn split(name: &[u8]) -> Option<(Self, &[u8])> {
        Self::ALL.into_iter().find_map(|prefix| {
            let rest = name.strip_prefix(prefix.as_str().as_bytes())?;
            (prefix.is_acl() == rest.is_empty()).then_some((prefix, rest))
        })
    }

    /// Whether the value is an access control list, as in [`crate::acl`].
    pub fn is_acl(self) -> bool {
        matches!(self, Self::PosixAclAccess | Self::PosixAclDefault)
    }

    /// The code of the prefix, 1 to 5.
    pub fn code(self) -> u8 {
        self as u8 + 1
    }

    /// The prefix as text, with its dot; for the access control lists, the whole name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user.",
            Self::PosixAclAccess => "system.posix_acl_access",
            Self::PosixAclDefault => "system.posix_acl_default",
            Self::Trusted => "trusted.",
            Self::Security => "security.",
        }
    }
}

structure! {
    "xattr entry", 16;

    /// `struct ocfs2_xattr_entry`, 16 bytes.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct XattrEntry {
        /// 0x00: [`crate::hash::xattr_hash`] of the stored name.
        pub xe_name_hash: u32,
        /// 0x04: where the name is, from the start of the header.
        pub xe_name_offset: u16,
        /// 0x06: bytes of the stored name.
        pub xe_name_len: u8,
        /// 0x07: prefix in the low seven bits; [`XattrEntry::LOCAL`].
        pub xe_type: u8,
        /// 0x08: bytes of the value.
        pub xe_value_size: u64,
    }
}

/// A number of bytes rounded up to a multiple of four.
const fn aligned(bytes: usize) -> usize {
    bytes.next_multiple_of(4)
}

impl XattrEntry {
    /// `xe_type`: the value is beside the name.
    pub const LOCAL: u8 = 0x80;

    /// Whether the value is beside the name, and not in clusters of its own.
    pub fn is_local(&self) -> bool {
        self.xe_type & Self::LOCAL != 0
    }

    /// The prefix; `None` for an unknown code.
    pub fn prefix(&self) -> Option<XattrPrefix> {
        XattrPrefix::from_code(self.xe_type & !Self::LOCAL)
    }

    /// Bytes that the name and the value (or the root of the value) take.
    ///
    /// `None` for a local value of more than 65535 bytes.
    pub fn storage_size(&self) -> Option<usize> {
        let name = aligned(self.xe_name_len.into());
        if !self.is_local() {
            return Some(name + XattrValueRoot::FULL_SIZE);
        }
        let value = usize::try_from(self.xe_value_size).ok()?;
        (value <= usize::from(u16::MAX)).then(|| name + aligned(value))
    }
}

/// A header with its entries, in place: an inline area, the part of an xattr block after its
/// header, or a bucket.
#[derive(Clone, Copy, Debug)]
pub struct XattrArea<'a> {
    /// The header.
    pub header: XattrHeader,
    bytes: &'a [u8],
}

/// An attribute in its area.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct XattrItem<'a> {
    /// The entry.
    pub entry: XattrEntry,
    /// The stored name, without its prefix.
    pub name: &'a [u8],
    /// The value if it is local, else the root of its tree.
    pub stored: &'a [u8],
}

/// An entry whose name or value does not fit its area.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "xattr entry {index}: a name of {name_len} bytes at {name_offset} with its value does not \
     fit the area of {area} bytes"
)]
pub struct BadXattr {
    /// Which entry, from 0.
    pub index: usize,
    /// `xe_name_offset`.
    pub name_offset: u16,
    /// `xe_name_len`.
    pub name_len: u8,
    /// Bytes of the area.
    pub area: usize,
}

impl<'a> XattrArea<'a> {
    /// The area that fills `bytes`.
    ///
    /// # Errors
    /// [`Truncated`] if there is no room for the header.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Truncated> {
        Ok(Self { header: XattrHeader::decode(bytes)?, bytes })
    }

    /// Entries that would fit if there were no names.
    pub fn capacity(&self) -> usize {
        (self.bytes.len() - XattrHeader::SIZE) / XattrEntry::SIZE
    }

    /// The entries, as far as they fit.
    pub fn entries(&self) -> impl Iterator<Item = XattrEntry> + 'a {
        let count = usize::from(self.header.xh_count);
        let entries = self.bytes[XattrHeader::SIZE..].chunks_exact(XattrEntry::SIZE);
        entries.take(count).filter_map(|bytes| XattrEntry::decode(bytes).ok())
    }

    /// The attributes, each with its name and the stored value or its root.
    pub fn items(&self) -> impl Iterator<Item = Result<XattrItem<'a>, BadXattr>> + 'a {
        let bytes = self.bytes;
        self.entries().enumerate().map(move |(index, entry)| {
            let bad = BadXattr {
                index,
                name_offset: entry.xe_name_offset,
                name_len: entry.xe_name_len,
                area: bytes.len(),
            };
            let item = || {
                let name = bytes.get(usize::from(entry.xe_name_offset)..)?;
                let stored = name.get(aligned(entry.xe_name_len.into())..)?;
                let size = match entry.is_local() {
                    true => usize::try_from(entry.xe_value_size).ok()?,
                    false => XattrValueRoot::FULL_SIZE,
                };
                let name = &name[..entry.xe_name_len.into()];
                Some(XattrItem { entry, name, stored: stored.get(..size)? })
            };
            item().ok_or(bad)
        })
    }

    /// Checks that all entries fit, and each of them: a known prefix, a value that is local if and
    /// only if it is short, name and value after the entries and inside the area.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn verify(&self, blkno: Blkno) -> Result<(), Invalid> {
        let count = usize::from(self.header.xh_count);
        expect_at_most(XattrHeader::NAME, blkno, "xh_count", count, self.capacity())?;
        let wrong = |field, found: u64, expected: String| {
            Err(Invalid::new(XattrEntry::NAME, blkno, field, found, expected))
        };
        let end_of_entries = XattrHeader::SIZE + count * XattrEntry::SIZE;
        for (entry, item) in self.entries().zip(self.items()) {
            let XattrEntry { xe_type, xe_name_offset, xe_value_size, .. } = entry;
            if entry.prefix().is_none() {
                return wrong("xe_type", xe_type.into(), "a prefix from 1 to 5".to_owned());
            }
            if xe_value_size > MAX_VALUE {
                return wrong("xe_value_size", xe_value_size, format!("at most {MAX_VALUE}"));
            }
            if entry.is_local() != (xe_value_size <= MAX_LOCAL_VALUE) {
                let place = if entry.is_local() { "at most" } else { "more than" };
                return wrong("xe_value_size", xe_value_size, format!("{place} {MAX_LOCAL_VALUE}"));
            }
            if item.is_err() || usize::from(xe_name_offset) < end_of_entries {
                let size = entry.storage_size().unwrap_or(usize::MAX);
                let last = self.bytes.len().saturating_sub(size);
                let expected = format!("{end_of_entries} to {last}");
                return wrong("xe_name_offset", xe_name_offset.into(), expected);
            }
        }
        Ok(())
    }
}

structure! {
    "xattr value root", 16;

    /// `struct ocfs2_xattr_value_root` up to its one extent record.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct XattrValueRoot {
        /// 0x00: clusters of the value.
        pub xr_clusters: u32,
        /// 0x04: reserved.
        pub xr_reserved0: u32,
        /// 0x08: rightmost leaf extent block, 0 at depth 0.
        pub xr_last_eb_blk: Blkno,
    }
}

impl XattrValueRoot {
    /// Where the extent list, of one record, starts.
    pub const LIST_OFFSET: usize = 0x10;
    /// Bytes of the root with its extent list.
    pub const FULL_SIZE: usize = Self::SIZE + ExtentListHeader::SIZE + ExtentRec::SIZE;

    /// The extent list of a stored root.
    ///
    /// # Errors
    /// [`Truncated`] if there is no room for one.
    pub fn list(stored: &[u8]) -> Result<ExtentList<'_>, Truncated> {
        let end = stored.len().min(Self::FULL_SIZE);
        ExtentList::new(stored[..end].get(Self::LIST_OFFSET..).unwrap_or_default())
    }
}

bitflags! {
    /// `xb_flags`.
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct XattrBlockFlags: u16 {
        /// The block is the root of a tree of buckets.
        const INDEXED = 0x0001;
        const _ = !0;
    }
}

structure! {
    "xattr block", 0x30;

    /// `struct ocfs2_xattr_block` up to its header or root.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct XattrBlock {
        /// 0x00: [`XattrBlock::SIGNATURE`].
        pub xb_signature: [u8; 8],
        /// 0x08: slot of the `extent_alloc` this block came from.
        pub xb_suballoc_slot: u16,
        /// 0x0a: its bit in that allocator's group.
        pub xb_suballoc_bit: u16,
        /// 0x0c: generation of the volume.
        pub xb_fs_generation: u32,
        /// 0x10: the block this is stored in.
        pub xb_blkno: Blkno,
        /// 0x18: covers the whole block.
        pub xb_check: BlockCheck,
        /// 0x20: [`XattrBlockFlags`].
        pub xb_flags: u16,
        /// 0x22: reserved.
        pub xb_reserved0: u16,
        /// 0x24: reserved.
        pub xb_reserved1: u32,
        /// 0x28: the group descriptor it came from, or 0.
        pub xb_suballoc_loc: Blkno,
    }
}

block! { XattrBlock, b"XATTR01\0", 0x18; xb_signature, xb_fs_generation, xb_blkno }

impl XattrBlock {
    /// Where the header of the entries or the root of the tree starts.
    pub const AREA_OFFSET: usize = 0x30;

    /// Whether the attributes are in buckets.
    pub fn is_indexed(&self) -> bool {
        XattrBlockFlags::from_bits_retain(self.xb_flags).contains(XattrBlockFlags::INDEXED)
    }

    /// The attributes in `block`, which is not indexed.
    ///
    /// # Errors
    /// [`Truncated`] if the block is too short.
    pub fn area(block: &[u8]) -> Result<XattrArea<'_>, Truncated> {
        XattrArea::new(block.get(Self::AREA_OFFSET..).unwrap_or_default())
    }
}

structure! {
    "xattr tree root", 16;

    /// `struct ocfs2_xattr_tree_root` without its list, at [`XattrBlock::AREA_OFFSET`] of an
    /// indexed block.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct XattrTreeRoot {
        /// 0x00: clusters of buckets.
        pub xt_clusters: u32,
        /// 0x04: reserved.
        pub xt_reserved0: u32,
        /// 0x08: rightmost leaf extent block, 0 at depth 0.
        pub xt_last_eb_blk: Blkno,
    }
}

impl XattrTreeRoot {
    /// Where the extent list starts in the block.
    pub const LIST_OFFSET: usize = 0x40;

    /// The root in `block`, an indexed block.
    ///
    /// # Errors
    /// [`Truncated`] if the block is too short.
    pub fn of_block(block: &[u8]) -> Result<Self, Truncated> {
        Self::decode(block.get(XattrBlock::AREA_OFFSET..).unwrap_or_default())
    }

    /// The extent list of `block`: extents of buckets, keyed by name hash.
    ///
    /// # Errors
    /// [`Truncated`] if the block is too short.
    pub fn list(block: &[u8]) -> Result<ExtentList<'_>, Truncated> {
        ExtentList::new(block.get(Self::LIST_OFFSET..).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::structure::assert_round_trip;

    #[test]
    fn a_bucket_has_the_entries_of_its_first_block() {
        assert_eq!(BlockSize::ALL.map(bucket_entries), [31, 63, 127, 255]);
    }

    #[test]
    fn every_byte_is_kept() {
        assert_round_trip::<XattrHeader>();
        assert_round_trip::<XattrEntry>();
        assert_round_trip::<XattrValueRoot>();
        assert_round_trip::<XattrBlock>();
        assert_round_trip::<XattrTreeRoot>();
    }

    #[test]
    fn an_area_gives_names_and_values() {
        let mut area = vec![0; 256];
        XattrHeader { xh_count: 2, ..Default::default() }.encode(&mut area).unwrap();
        let local = XattrEntry {
            xe_name_offset: 240,
            xe_name_len: 5,
            xe_type: XattrPrefix::User.code() | XattrEntry::LOCAL,
            xe_value_size: 3,
            ..Default::default()
        };
        let outside = XattrEntry {
            xe_name_offset: 188,
            xe_name_len: 2,
            xe_type: XattrPrefix::Trusted.code(),
            xe_value_size: 100,
            ..Default::default()
        };
        local.encode(&mut area[16..]).unwrap();
        outside.encode(&mut area[32..]).unwrap();
        area[240..251].copy_from_slice(b"color\0\0\0red");
        area[188..190].copy_from_slice(b"xy");
        let read = XattrArea::new(&area).unwrap();
        let items: Vec<_> = read.items().map(Result::unwrap).collect();
        assert_eq!((items[0].name, items[0].stored), (&b"color"[..], &b"red"[..]));
        assert_eq!(items[0].entry.prefix(), Some(XattrPrefix::User));
        assert_eq!((items[1].name, items[1].stored.len()), (&b"xy"[..], 48));
        assert_eq!(XattrValueRoot::list(items[1].stored).unwrap().capacity(), 1);
        assert_eq!((local.storage_size(), outside.storage_size()), (Some(12), Some(52)));
        read.verify(Blkno(5)).unwrap();
    }

    #[test]
    fn an_entry_that_can_not_be_is_named() {
        let good = XattrEntry {
            xe_name_offset: 100,
            xe_name_len: 4,
            xe_type: XattrPrefix::User.code() | XattrEntry::LOCAL,
            xe_value_size: 80,
            ..Default::default()
        };
        let verify = |count: u16, entry: XattrEntry| {
            let mut area = [0; 184];
            XattrHeader { xh_count: count, ..Default::default() }.encode(&mut area).unwrap();
            entry.encode(&mut area[16..]).unwrap();
            let verified = XattrArea::new(&area).unwrap().verify(Blkno(5));
            verified.map_err(|invalid| invalid.to_string())
        };
        assert_eq!(verify(1, good), Ok(()));
        let rows = [
            (11, good, "xattr header 5: xh_count is 11, expected at most 10"),
            (
                1,
                XattrEntry { xe_type: 0x86, ..good },
                "xattr entry 5: xe_type is 134, expected a prefix from 1 to 5",
            ),
            (
                1,
                XattrEntry { xe_value_size: 81, ..good },
                "xattr entry 5: xe_value_size is 81, expected at most 80",
            ),
            (
                1,
                XattrEntry { xe_type: 1, ..good },
                "xattr entry 5: xe_value_size is 80, expected more than 80",
            ),
            (
                1,
                XattrEntry { xe_name_offset: 101, ..good },
                "xattr entry 5: xe_name_offset is 101, expected 32 to 100",
            ),
            (
                1,
                XattrEntry { xe_name_offset: 28, ..good },
                "xattr entry 5: xe_name_offset is 28, expected 32 to 100",
            ),
        ];
        for (count, entry, message) in rows {
            assert_eq!(verify(count, entry), Err(message.to_owned()));
        }
    }

    #[test]
    fn prefixes_have_their_codes() {
        for prefix in XattrPrefix::ALL {
            assert_eq!(XattrPrefix::from_code(prefix.code()), Some(prefix));
        }
        assert_eq!((XattrPrefix::from_code(0), XattrPrefix::from_code(6)), (None, None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            if let Ok(area) = XattrArea::new(&bytes) {
                prop_assert!(area.items().count() <= area.capacity());
                prop_assert!(area.entries().all(|entry| entry.storage_size() != Some(usize::MAX)));
            }
            let _ = XattrBlock::area(&bytes).map(|area| area.items().count());
            let _ = XattrTreeRoot::list(&bytes).map(|list| list.records().count());
            let _ = XattrValueRoot::list(&bytes).map(|list| list.records().count());
        }
    }
}
