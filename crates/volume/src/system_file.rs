//! The system files: which ones a volume has, their names, and how they are told apart.

use std::collections::BTreeSet;

use ocfs2_format::dinode::{FileKind, InodeFlags};
use ocfs2_format::feature::{Features, Incompat};
use ocfs2_format::quota::QuotaKind;
use ocfs2_format::superblock::MAX_SLOTS;

use crate::Volume;

/// Digits of the slot in a name.
const SLOT_DIGITS: usize = 4;

/// A system file by its purpose.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum SystemFile {
    /// `bad_blocks`
    BadBlocks,
    /// `global_inode_alloc`
    GlobalInodeAlloc,
    /// `slot_map`
    SlotMap,
    /// `heartbeat`
    Heartbeat,
    /// `global_bitmap`
    GlobalBitmap,
    /// `aquota.user`, `aquota.group`
    Quota(QuotaKind),
    /// `orphan_dir` of a slot.
    OrphanDir(u16),
    /// `extent_alloc` of a slot.
    ExtentAlloc(u16),
    /// `inode_alloc` of a slot.
    InodeAlloc(u16),
    /// `journal` of a slot.
    Journal(u16),
    /// `local_alloc` of a slot.
    LocalAlloc(u16),
    /// `truncate_log` of a slot.
    TruncateLog(u16),
    /// `aquota.user` and `aquota.group` of a slot.
    LocalQuota(QuotaKind, u16),
}

impl SystemFile {
    /// Those of the volume as a whole.
    pub const GLOBAL: [Self; 7] = [
        Self::BadBlocks,
        Self::GlobalInodeAlloc,
        Self::SlotMap,
        Self::Heartbeat,
        Self::GlobalBitmap,
        Self::Quota(QuotaKind::User),
        Self::Quota(QuotaKind::Group),
    ];

    /// Those of a slot.
    pub fn of_slot(slot: u16) -> [Self; 8] {
        [
            Self::OrphanDir(slot),
            Self::ExtentAlloc(slot),
            Self::InodeAlloc(slot),
            Self::Journal(slot),
            Self::LocalAlloc(slot),
            Self::TruncateLog(slot),
            Self::LocalQuota(QuotaKind::User, slot),
            Self::LocalQuota(QuotaKind::Group, slot),
        ]
    }

    /// Its slot; `None` for a file of the volume as a whole.
    pub fn slot(self) -> Option<u16> {
        match self {
            Self::BadBlocks
            | Self::GlobalInodeAlloc
            | Self::SlotMap
            | Self::Heartbeat
            | Self::GlobalBitmap
            | Self::Quota(_) => None,
            Self::OrphanDir(slot)
            | Self::ExtentAlloc(slot)
            | Self::InodeAlloc(slot)
            | Self::Journal(slot)
            | Self::LocalAlloc(slot)
            | Self::TruncateLog(slot)
            | Self::LocalQuota(_, slot) => Some(slot),
        }
    }

    /// The system file of that name; `None` if it is not a name of one.
    pub fn of_name(name: &[u8]) -> Option<Self> {
        let Some(colon) = name.iter().position(|byte| *byte == b':') else {
            return Self::GLOBAL.into_iter().find(|file| file.stem().as_bytes() == name);
        };
        let (stem, digits) = (name.get(..colon)?, name.get(colon + 1..)?);
        if digits.len() != SLOT_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let slot = digits.iter().fold(0, |slot, digit| slot * 10 + u16::from(digit - b'0'));
        let mut files = Self::of_slot(slot).into_iter().filter(|_| slot < MAX_SLOTS);
        files.find(|file| file.stem().as_bytes() == stem)
    }

    /// Whether that is the name of a system file.
    pub fn is_name(name: &[u8]) -> bool {
        Self::of_name(name).is_some()
    }

    /// Whether an inode that the names of both files point to is taken to be this one's: both have
    /// the same type and flags, and this one comes first.
    pub fn precedes(self, other: Self) -> bool {
        (self.kind(), self.flags()) == (other.kind(), other.flags()) && self < other
    }

    /// Its name in the system directory.
    pub fn name(self) -> String {
        let stem = self.stem();
        self.slot().map_or(stem.to_owned(), |slot| format!("{stem}:{slot:0SLOT_DIGITS$}"))
    }

    /// Its name without the slot.
    fn stem(self) -> &'static str {
        match self {
            Self::BadBlocks => "bad_blocks",
            Self::GlobalInodeAlloc => "global_inode_alloc",
            Self::SlotMap => "slot_map",
            Self::Heartbeat => "heartbeat",
            Self::GlobalBitmap => "global_bitmap",
            Self::Quota(kind) | Self::LocalQuota(kind, _) => kind.file_name(),
            Self::OrphanDir(_) => "orphan_dir",
            Self::ExtentAlloc(_) => "extent_alloc",
            Self::InodeAlloc(_) => "inode_alloc",
            Self::Journal(_) => "journal",
            Self::LocalAlloc(_) => "local_alloc",
            Self::TruncateLog(_) => "truncate_log",
        }
    }

    /// Its file type.
    pub fn kind(self) -> FileKind {
        match self {
            Self::OrphanDir(_) => FileKind::Directory,
            _ => FileKind::Regular,
        }
    }

    /// The `i_flags` of its inode.
    pub fn flags(self) -> InodeFlags {
        let purpose = match self {
            Self::BadBlocks | Self::SlotMap | Self::OrphanDir(_) => InodeFlags::empty(),
            Self::GlobalInodeAlloc
            | Self::GlobalBitmap
            | Self::ExtentAlloc(_)
            | Self::InodeAlloc(_) => InodeFlags::BITMAP | InodeFlags::CHAIN,
            Self::Heartbeat => InodeFlags::HEARTBEAT,
            Self::Quota(_) | Self::LocalQuota(..) => InodeFlags::QUOTA,
            Self::Journal(_) => InodeFlags::JOURNAL,
            Self::LocalAlloc(_) => InodeFlags::BITMAP | InodeFlags::LOCAL_ALLOC,
            Self::TruncateLog(_) => InodeFlags::DEALLOC,
        };
        purpose | InodeFlags::VALID | InodeFlags::SYSTEM
    }

    /// All files of a volume with `slots` slots, in the order in which they get their inodes.
    pub fn expected(volume: &Volume, slots: u16) -> impl Iterator<Item = Self> + use<> {
        Self::with_features(volume.features(), slots)
    }

    /// All files of a volume with these features, as in [`SystemFile::expected`].
    pub fn with_features(features: Features, slots: u16) -> impl Iterator<Item = Self> + use<> {
        let of_slots: BTreeSet<_> = (0..slots).flat_map(Self::of_slot).collect();
        let all = Self::GLOBAL.into_iter().chain(of_slots);
        all.filter(move |file| file.is_expected(features))
    }

    /// The kind of quota of a quota file; `None` for other files.
    pub fn quota(self) -> Option<QuotaKind> {
        match self {
            Self::Quota(kind) | Self::LocalQuota(kind, _) => Some(kind),
            _ => None,
        }
    }

    /// Whether a volume with these features has it.
    pub fn is_expected(self, features: Features) -> bool {
        match self {
            Self::GlobalInodeAlloc | Self::Heartbeat | Self::GlobalBitmap => true,
            Self::Quota(kind) | Self::LocalQuota(kind, _) => features.has_quota(kind),
            _ => !features.incompat.contains(Incompat::HEARTBEAT_DEV),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_flags_and_slots_are_those_of_the_format() {
        let file = SystemFile::InodeAlloc(7);
        assert_eq!((file.name().as_str(), file.slot()), ("inode_alloc:0007", Some(7)));
        let flags = |file: SystemFile| file.flags().bits();
        assert_eq!(flags(SystemFile::GlobalBitmap), 0x491);
        assert_eq!(flags(SystemFile::LocalAlloc(0)), 0xd1);
        assert_eq!(flags(SystemFile::TruncateLog(0)), 0x811);
        assert_eq!(flags(SystemFile::LocalQuota(QuotaKind::Group, 3)), 0x1011);
        assert_eq!(SystemFile::LocalQuota(QuotaKind::Group, 3).name(), "aquota.group:0003");
        assert!(SystemFile::is_name(b"journal:0254") && !SystemFile::is_name(b"journal:0255"));
    }

    #[test]
    fn a_file_is_found_by_its_name_and_by_no_other() {
        for file in
            SystemFile::GLOBAL.into_iter().chain((0..MAX_SLOTS).flat_map(SystemFile::of_slot))
        {
            assert_eq!(SystemFile::of_name(file.name().as_bytes()), Some(file));
        }
        let others = ["", ":", ":0001", "journal", "journal:", "journal:1", "journal:00001"];
        let more =
            ["journal:000a", "journal:+001", "journal:0001:0001", "slot_map:0000", "Journal:0001"];
        for name in others.into_iter().chain(more) {
            assert_eq!(SystemFile::of_name(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn files_are_in_the_order_of_their_inodes() {
        let (volume, _) = crate::sample::volume();
        let names: Vec<_> = SystemFile::expected(&volume, 2).map(SystemFile::name).collect();
        assert_eq!(
            names[..5].join(" "),
            "bad_blocks global_inode_alloc slot_map heartbeat global_bitmap"
        );
        assert_eq!(
            names[5..9].join(" "),
            "orphan_dir:0000 orphan_dir:0001 extent_alloc:0000 extent_alloc:0001"
        );
    }
}
