//! What belongs to the system, whatever the system directory states.

use ocfs2_format::Blkno;
use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_volume::{Inode, Volume};

/// Returns whether an inode is that of the root or of the system directory.
pub(crate) fn is_top(volume: &Volume, blkno: Blkno) -> bool {
    let superblock = volume.superblock();
    [superblock.s_root_blkno, superblock.s_system_dir_blkno].contains(&blkno)
}

/// Returns whether it is an inode of the system, by the allocator or the flag that it states.
pub(crate) fn is_system(inode: &Inode) -> bool {
    inode.dinode.i_suballoc_slot == Dinode::GLOBAL_SLOT
        || inode.dinode.flags().contains(InodeFlags::SYSTEM)
}
