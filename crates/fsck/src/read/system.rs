//! What belongs to the system by itself, whatever the system directory says.

use ocfs2_format::Blkno;
use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_volume::{Inode, Volume};

/// Whether an inode is that of the root or of the system directory.
pub(crate) fn is_top(volume: &Volume, blkno: Blkno) -> bool {
    let superblock = volume.superblock();
    [superblock.s_root_blkno, superblock.s_system_dir_blkno].contains(&blkno)
}

/// Whether it is an inode of the system, by where it was allocated or by its own word.
pub(crate) fn is_system(inode: &Inode) -> bool {
    inode.dinode.i_suballoc_slot == Dinode::GLOBAL_SLOT
        || inode.dinode.flags().contains(InodeFlags::SYSTEM)
}
