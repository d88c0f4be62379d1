//! The system files a volume has, in the order in which they get their inodes.

use ocfs2_format::dinode::InodeFlags;

use crate::plan::Layout;
use crate::quota::QuotaKind;

/// What a system inode is for, in the order of the inode numbers.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum SystemFileKind {
    RootDir,
    SystemDir,
    BadBlocks,
    GlobalInodeAlloc,
    SlotMap,
    Heartbeat,
    GlobalBitmap,
    GlobalQuota(QuotaKind),
    OrphanDir,
    ExtentAlloc,
    InodeAlloc,
    Journal,
    LocalAlloc,
    TruncateLog,
    LocalQuota(QuotaKind),
}

/// One system inode; all slots of a kind come before the next kind.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct SystemFile {
    pub(crate) kind: SystemFileKind,
    /// 0 for what there is once a volume.
    pub(crate) slot: u16,
}

impl SystemFile {
    /// Those that a volume has, in order.
    pub(crate) fn all(layout: &Layout) -> Vec<Self> {
        use SystemFileKind::*;
        let once = |kind: SystemFileKind| vec![Self { kind, slot: 0 }];
        if layout.slots == 0 {
            let kinds = [RootDir, SystemDir, GlobalInodeAlloc, Heartbeat, GlobalBitmap];
            return kinds.into_iter().flat_map(once).collect();
        }
        let global =
            [RootDir, SystemDir, BadBlocks, GlobalInodeAlloc, SlotMap, Heartbeat, GlobalBitmap];
        let local = [OrphanDir, ExtentAlloc, InodeAlloc, Journal, LocalAlloc, TruncateLog];
        let local = local.into_iter().chain(layout.quotas().map(LocalQuota));
        let mut files: Vec<_> = global.into_iter().flat_map(once).collect();
        files.extend(layout.quotas().map(GlobalQuota).flat_map(once));
        files.extend(local.flat_map(|kind| (0..layout.slots).map(move |slot| Self { kind, slot })));
        files
    }

    /// Name of its entry in the system directory; `None` for the root and for that itself.
    pub(crate) fn name(self) -> Option<String> {
        use SystemFileKind::*;
        let slotted = |stem: &str| Some(format!("{stem}:{:04}", self.slot));
        match self.kind {
            RootDir | SystemDir => None,
            BadBlocks => Some("bad_blocks".to_owned()),
            GlobalInodeAlloc => Some("global_inode_alloc".to_owned()),
            SlotMap => Some("slot_map".to_owned()),
            Heartbeat => Some("heartbeat".to_owned()),
            GlobalBitmap => Some("global_bitmap".to_owned()),
            GlobalQuota(kind) => Some(kind.file_name().to_owned()),
            OrphanDir => slotted("orphan_dir"),
            ExtentAlloc => slotted("extent_alloc"),
            InodeAlloc => slotted("inode_alloc"),
            Journal => slotted("journal"),
            LocalAlloc => slotted("local_alloc"),
            TruncateLog => slotted("truncate_log"),
            LocalQuota(kind) => slotted(kind.file_name()),
        }
    }

    /// Whether it is a directory.
    pub(crate) fn is_dir(self) -> bool {
        use SystemFileKind::*;
        matches!(self.kind, RootDir | SystemDir | OrphanDir)
    }

    /// `i_flags`.
    pub(crate) fn flags(self) -> InodeFlags {
        use SystemFileKind::*;
        let more = match self.kind {
            RootDir | SystemDir | BadBlocks | SlotMap | OrphanDir => InodeFlags::empty(),
            GlobalInodeAlloc | GlobalBitmap | ExtentAlloc | InodeAlloc => {
                InodeFlags::BITMAP | InodeFlags::CHAIN
            }
            Heartbeat => InodeFlags::HEARTBEAT,
            GlobalQuota(_) | LocalQuota(_) => InodeFlags::QUOTA,
            Journal => InodeFlags::JOURNAL,
            LocalAlloc => InodeFlags::BITMAP | InodeFlags::LOCAL_ALLOC,
            TruncateLog => InodeFlags::DEALLOC,
        };
        InodeFlags::VALID | InodeFlags::SYSTEM | more
    }
}
