//! The dinode: one block per file, directory or system file.

use binrw::binrw;
use bitflags::bitflags;

use crate::block::{Block, block};
use crate::structure::structure;
use crate::{Blkno, BlockCheck, BlockSize, ClusterSize, Invalid, Structure};

bitflags! {
    /// `i_flags`.
    #[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
    pub struct InodeFlags: u32 {
        /// In use.
        const VALID = 0x0001;
        /// Listed in an orphan directory.
        const ORPHANED = 0x0004;
        /// A system file, the system directory or the root directory.
        const SYSTEM = 0x0010;
        /// The superblock.
        const SUPER_BLOCK = 0x0020;
        /// Holds a local alloc.
        const LOCAL_ALLOC = 0x0040;
        /// `id1` is the pair of bitmap counts.
        const BITMAP = 0x0080;
        /// `id1` is the pair of journal fields.
        const JOURNAL = 0x0100;
        /// The heartbeat region.
        const HEARTBEAT = 0x0200;
        /// Holds a chain list.
        const CHAIN = 0x0400;
        /// Holds a truncate log.
        const DEALLOC = 0x0800;
        /// A quota file.
        const QUOTA = 0x1000;
        /// Listed as `dio-...` in an orphan directory.
        const DIO_ORPHANED = 0x2000;
        const _ = !0;
    }

    /// `i_dyn_features`.
    #[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
    pub struct DynFeatures: u16 {
        /// The contents are in the dinode.
        const INLINE_DATA = 0x0001;
        /// Has extended attributes, in the dinode or in `i_xattr_loc`.
        const HAS_XATTR = 0x0002;
        /// The end of the block is an xattr area.
        const INLINE_XATTR = 0x0004;
        /// A directory with an index.
        const INDEXED_DIR = 0x0008;
        /// `i_refcount_loc` is valid.
        const HAS_REFCOUNT = 0x0010;
        const _ = !0;
    }
}

/// The type bits of `i_mode`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum FileKind {
    /// `S_IFIFO`
    Fifo,
    /// `S_IFCHR`
    CharDevice,
    /// `S_IFDIR`
    Directory,
    /// `S_IFBLK`
    BlockDevice,
    /// `S_IFREG`
    Regular,
    /// `S_IFLNK`
    Symlink,
    /// `S_IFSOCK`
    Socket,
}

impl FileKind {
    /// The kind that `i_mode` states; `None` unless it is one of the seven.
    pub fn from_mode(mode: u16) -> Option<Self> {
        Some(match mode & 0o170_000 {
            0o010_000 => Self::Fifo,
            0o020_000 => Self::CharDevice,
            0o040_000 => Self::Directory,
            0o060_000 => Self::BlockDevice,
            0o100_000 => Self::Regular,
            0o120_000 => Self::Symlink,
            0o140_000 => Self::Socket,
            _ => return None,
        })
    }

    /// The type bits, to be combined with permissions.
    pub fn mode_bits(self) -> u16 {
        match self {
            Self::Fifo => 0o010_000,
            Self::CharDevice => 0o020_000,
            Self::Directory => 0o040_000,
            Self::BlockDevice => 0o060_000,
            Self::Regular => 0o100_000,
            Self::Symlink => 0o120_000,
            Self::Socket => 0o140_000,
        }
    }
}

structure! {
    "dinode", 0xc0;

    /// `struct ocfs2_dinode` up to and including `id1`: the part every dinode has.
    ///
    /// What follows, `id2` from [`Dinode::ID2_OFFSET`], depends on [`Dinode::arm`].
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Debug, Default, Eq, PartialEq)]
    pub struct Dinode {
        /// 0x00: [`Dinode::SIGNATURE`], or that of a superblock.
        pub i_signature: [u8; 8],
        /// 0x08: generation of this inode.
        pub i_generation: u32,
        /// 0x0c: slot of the `inode_alloc` it came from, [`Dinode::GLOBAL_SLOT`] for
        /// `global_inode_alloc`.
        pub i_suballoc_slot: u16,
        /// 0x0e: its bit in that allocator's group.
        pub i_suballoc_bit: u16,
        /// 0x10: high half of the link count; with indexed-dirs only.
        pub i_links_count_hi: u16,
        /// 0x12: bytes at the end of the block reserved for xattrs; with INLINE_XATTR.
        pub i_xattr_inline_size: u16,
        /// 0x14: clusters it owns.
        pub i_clusters: u32,
        /// 0x18: owner.
        pub i_uid: u32,
        /// 0x1c: group.
        pub i_gid: u32,
        /// 0x20: bytes.
        pub i_size: u64,
        /// 0x28: type and permissions.
        pub i_mode: u16,
        /// 0x2a: low half of the link count.
        pub i_links_count: u16,
        /// 0x2c: [`InodeFlags`].
        pub i_flags: u32,
        /// 0x30: seconds since 1970.
        pub i_atime: u64,
        /// 0x38: seconds since 1970.
        pub i_ctime: u64,
        /// 0x40: seconds since 1970.
        pub i_mtime: u64,
        /// 0x48: time of deletion; 0 while in use.
        pub i_dtime: u64,
        /// 0x50: the block this is stored in.
        pub i_blkno: Blkno,
        /// 0x58: rightmost leaf extent block, 0 at depth 0.
        pub i_last_eb_blk: Blkno,
        /// 0x60: generation of the volume.
        pub i_fs_generation: u32,
        /// 0x64: nanoseconds.
        pub i_atime_nsec: u32,
        /// 0x68: nanoseconds.
        pub i_ctime_nsec: u32,
        /// 0x6c: nanoseconds.
        pub i_mtime_nsec: u32,
        /// 0x70: attributes as of chattr.
        pub i_attr: u32,
        /// 0x74: slot whose orphan directory lists it; with ORPHANED.
        pub i_orphaned_slot: u16,
        /// 0x76: [`DynFeatures`].
        pub i_dyn_features: u16,
        /// 0x78: xattr block, or 0.
        pub i_xattr_loc: Blkno,
        /// 0x80: covers the whole block.
        pub i_check: BlockCheck,
        /// 0x88: root of the directory index; with INDEXED_DIR.
        pub i_dx_root: Blkno,
        /// 0x90: root of the refcount tree; with HAS_REFCOUNT.
        pub i_refcount_loc: Blkno,
        /// 0x98: the group descriptor it came from, or 0.
        pub i_suballoc_loc: Blkno,
        /// 0xa0: slot whose orphan directory has the direct-I/O entry; with DIO_ORPHANED.
        pub i_dio_orphaned_slot: u16,
        /// 0xa2: reserved.
        pub i_reserved1: [u16; 3],
        /// 0xa8: reserved.
        pub i_reserved2: [u64; 2],
        /// 0xb8: device number, bitmap counts or journal fields, see the accessors.
        pub id1: u64,
    }
}

/// Which structure `id2` of a dinode is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Arm {
    /// [`crate::superblock::SuperBlock`]
    Super,
    /// [`crate::local_alloc::LocalAlloc`]
    LocalAlloc,
    /// [`crate::chain::ChainList`]
    Chain,
    /// [`crate::truncate_log::TruncateLog`]
    TruncateLog,
    /// [`crate::inline::InlineData`]
    InlineData,
    /// The target of a fast symlink, NUL-terminated.
    Symlink,
    /// [`crate::extent::ExtentList`]
    ExtentList,
}

block! {
    Dinode, b"INODE01\0", 0x80; i_signature, i_fs_generation, i_blkno;

    fn verify(&self, blkno: Blkno, fs_generation: u32) -> Result<(), Invalid> {
        self.verify_identity(blkno, fs_generation)?;
        if self.flags().contains(InodeFlags::VALID) {
            return Ok(());
        }
        let (name, found) = (Self::NAME, format_args!("{:#x}", self.i_flags).to_string());
        Err(Invalid::new(name, blkno, "i_flags", found, "the VALID bit"))
    }
}

impl Dinode {
    /// `i_suballoc_slot` of an inode from `global_inode_alloc`.
    pub const GLOBAL_SLOT: u16 = 0xffff;
    /// Where `id2` starts.
    pub const ID2_OFFSET: usize = 0xc0;

    /// `i_flags`.
    pub fn flags(&self) -> InodeFlags {
        InodeFlags::from_bits_retain(self.i_flags)
    }

    /// `i_dyn_features`.
    pub fn dyn_features(&self) -> DynFeatures {
        DynFeatures::from_bits_retain(self.i_dyn_features)
    }

    /// The kind of file; `None` if `i_mode` states none.
    pub fn kind(&self) -> Option<FileKind> {
        FileKind::from_mode(self.i_mode)
    }

    /// The link count; `indexed_dirs` is whether the high half counts.
    pub fn links_count(&self, indexed_dirs: bool) -> u32 {
        let high = if indexed_dirs { self.i_links_count_hi } else { 0 };
        u32::from(high) << 16 | u32::from(self.i_links_count)
    }

    /// Sets the link count; `indexed_dirs` is whether the high half counts.
    pub fn set_links_count(&mut self, count: u32, indexed_dirs: bool) {
        self.i_links_count = count as u16;
        if indexed_dirs {
            self.i_links_count_hi = (count >> 16) as u16;
        }
    }

    /// Which arm `id2` is, by the flags and the mode.
    pub fn arm(&self) -> Arm {
        let flags = self.flags();
        if flags.contains(InodeFlags::SUPER_BLOCK) {
            Arm::Super
        } else if flags.contains(InodeFlags::LOCAL_ALLOC) {
            Arm::LocalAlloc
        } else if flags.contains(InodeFlags::CHAIN) {
            Arm::Chain
        } else if flags.contains(InodeFlags::DEALLOC) {
            Arm::TruncateLog
        } else if self.dyn_features().contains(DynFeatures::INLINE_DATA) {
            Arm::InlineData
        } else if self.kind() == Some(FileKind::Symlink) && self.i_clusters == 0 {
            Arm::Symlink
        } else {
            Arm::ExtentList
        }
    }

    /// Bytes of `id2` that belong to its arm: all but an inline xattr area. Never more than the
    /// block has.
    pub fn id2_size(&self, block_size: BlockSize) -> usize {
        let xattr = match self.dyn_features().contains(DynFeatures::INLINE_XATTR) {
            true => usize::from(self.i_xattr_inline_size),
            false => 0,
        };
        (block_size.size() - Self::ID2_OFFSET).saturating_sub(xattr)
    }

    /// The bytes of `id2` in `block`, without an inline xattr area.
    pub fn id2<'a>(&self, block: &'a [u8]) -> &'a [u8] {
        let size = BlockSize::from_bytes(block.len() as u64).map_or(0, |bs| self.id2_size(bs));
        block.get(Self::ID2_OFFSET..).and_then(|id2| id2.get(..size)).unwrap_or_default()
    }

    /// `i_rdev` of a device node as major and minor.
    pub fn rdev(&self) -> (u32, u32) {
        let dev = self.id1 as u32;
        ((dev >> 8) & 0xfff, (dev & 0xff) | ((dev >> 12) & 0xf_ff00))
    }

    /// `i_used` and `i_total` of a bitmap: bits in use and bits altogether.
    pub fn bitmap(&self) -> (u32, u32) {
        (self.id1 as u32, (self.id1 >> 32) as u32)
    }

    /// The cluster size that an allocator's dinode shows: `i_size` divided by `i_clusters`. `None`
    /// if that is not exact or not a cluster size.
    pub fn cluster_size_of_allocator(&self) -> Option<ClusterSize> {
        let clusters = self.i_clusters.into();
        let bytes = self.i_size.checked_div(clusters)?;
        let is_exact = bytes.checked_mul(clusters) == Some(self.i_size);
        ClusterSize::from_bytes(bytes).filter(|_| is_exact)
    }

    /// Sets `i_used` and `i_total`.
    pub fn set_bitmap(&mut self, used: u32, total: u32) {
        self.id1 = u64::from(used) | u64::from(total) << 32;
    }

    /// `ij_flags` of a journal; bit 0 is [`Dinode::JOURNAL_DIRTY`].
    pub fn journal_flags(&self) -> u32 {
        self.id1 as u32
    }

    /// `ij_recovery_generation` of a journal: recoveries of the slot so far.
    pub fn journal_recovery_generation(&self) -> u32 {
        (self.id1 >> 32) as u32
    }

    /// Sets `ij_flags` and `ij_recovery_generation`.
    pub fn set_journal(&mut self, flags: u32, recovery_generation: u32) {
        self.id1 = u64::from(flags) | u64::from(recovery_generation) << 32;
    }

    /// `ij_flags`: the slot is mounted, or was not unmounted cleanly.
    pub const JOURNAL_DIRTY: u32 = 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::assert_round_trip;

    #[test]
    fn every_byte_is_kept() {
        assert_round_trip::<Dinode>();
    }

    #[test]
    fn the_arm_follows_flags_and_mode_in_order() {
        let with = |flags: InodeFlags, dyns: DynFeatures, mode, clusters| Dinode {
            i_flags: flags.bits(),
            i_dyn_features: dyns.bits(),
            i_mode: mode,
            i_clusters: clusters,
            ..Default::default()
        };
        let none = DynFeatures::empty();
        let arm = |flags| with(flags, none, 0o100_644, 0).arm();
        assert_eq!(arm(InodeFlags::SUPER_BLOCK | InodeFlags::CHAIN), Arm::Super);
        assert_eq!(arm(InodeFlags::LOCAL_ALLOC | InodeFlags::BITMAP), Arm::LocalAlloc);
        assert_eq!(arm(InodeFlags::CHAIN | InodeFlags::BITMAP), Arm::Chain);
        assert_eq!(arm(InodeFlags::DEALLOC), Arm::TruncateLog);
        assert_eq!(arm(InodeFlags::VALID), Arm::ExtentList);
        let valid = InodeFlags::VALID;
        assert_eq!(with(valid, DynFeatures::INLINE_DATA, 0o40_755, 0).arm(), Arm::InlineData);
        assert_eq!(with(valid, none, 0o120_777, 0).arm(), Arm::Symlink);
        assert_eq!(with(valid, none, 0o120_777, 1).arm(), Arm::ExtentList);
    }

    #[test]
    fn an_inline_xattr_area_larger_than_the_block_leaves_nothing() {
        let dinode = Dinode {
            i_dyn_features: DynFeatures::INLINE_XATTR.bits(),
            i_xattr_inline_size: 0xffff,
            ..Default::default()
        };
        assert_eq!(dinode.id2(&[0; 512]), b"");
        assert_eq!(Dinode::default().id2(&[0; 512]).len(), 320);
        assert_eq!(Dinode::default().id2(&[0; 100]), b"");
    }

    #[test]
    fn device_numbers_are_split_as_the_kernel_does() {
        let rdev = |id1| Dinode { id1, ..Default::default() }.rdev();
        assert_eq!(rdev(0x501), (5, 1));
        assert_eq!(rdev(0x803), (8, 3));
        assert_eq!(rdev(0x1000_0a2a), (10, 0x1_002a));
    }
}
