//! The root and the system directory: the two directories without a parent.

use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::quota::{QuotaHeader, QuotaKind};
use ocfs2_format::{Blkno, Block, ClusterSize, Structure};

use crate::open::mended;
use crate::{Inode, Volume};

impl Volume {
    /// The cluster size with which the allocators among the first blocks were made, if all of them
    /// agree. Besides the superblock, nothing else shows it.
    pub fn cluster_size_of_allocators(&self) -> Option<ClusterSize> {
        mended::cluster_size(self)
    }

    /// Whether neither the superblock nor any system inode among the first blocks has a checksum,
    /// so that the volume has none, whatever the superblock says.
    pub fn has_no_checks(&self) -> bool {
        mended::has_no_checks(self)
    }

    /// The kind of a global quota file, by its header; `None` for any other file.
    pub fn global_quota_of(&self, inode: &Inode) -> Option<QuotaKind> {
        let mut bytes = [0; QuotaHeader::SIZE];
        self.file(inode).ok()?.read_at(&mut bytes, 0).ok()?;
        let magic = QuotaHeader::decode(&bytes).ok()?.dqh_magic;
        [QuotaKind::User, QuotaKind::Group].into_iter().find(|kind| kind.global_magic() == magic)
    }

    /// The inode in a block, if it states this block number, whatever its checksum is.
    pub fn stated_inode(&self, blkno: Blkno) -> Option<Inode> {
        if !self.geometry().is_valid_block(blkno) {
            return None;
        }
        let mut block = self.read_block(blkno).ok()?;
        if !block.starts_with(&Dinode::SIGNATURE) {
            return None;
        }
        Dinode::correct(&mut block);
        Inode::decode(blkno, block).ok().filter(|inode| inode.dinode.i_blkno == blkno)
    }

    /// Whether an inode is a directory in use without a parent: the system directory if
    /// `is_system`, else the root directory. Its checksums need not hold: they are repaired later,
    /// and are no reason to lose the directory.
    pub fn is_top(&self, inode: &Inode, is_system: bool) -> bool {
        let target = |name: &[u8]| Some(self.torn_entry(inode, name)?.inode);
        inode.is_dir()
            && inode.dinode.i_suballoc_slot == Dinode::GLOBAL_SLOT
            && inode.dinode.flags().contains(InodeFlags::VALID)
            && target(b"..") == Some(inode.blkno)
            && target(b"global_bitmap").is_some() == is_system
            // A root directory that has run into the system directory has the names of both.
            && !(is_system && target(b"lost+found").is_some())
    }
}
