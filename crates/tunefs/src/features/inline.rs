//! What is kept in inodes: data and extended attributes.

use anyhow::Result;
use ocfs2_format::dinode::DynFeatures;
use ocfs2_users::work::Work;

use crate::walk::inodes_that;

/// Moves the contents of files and directories out of their inodes.
pub(super) fn expand(work: &mut Work<'_>) -> Result<()> {
    let found = inodes_that(work.edit.volume(), |inode| Ok(inode.is_inline()))?;
    work.begin("Expanding inline files", found.len());
    for blkno in found {
        work.edit.leave_inode(blkno)?;
        work.settle()?;
        work.advance(1);
    }
    Ok(())
}

/// Removes the extended attributes of all inodes.
pub(super) fn drop_xattrs(work: &mut Work<'_>) -> Result<()> {
    let has = DynFeatures::HAS_XATTR | DynFeatures::INLINE_XATTR;
    let found = inodes_that(work.edit.volume(), |inode| {
        Ok(inode.dinode.dyn_features().intersects(has) || !inode.dinode.i_xattr_loc.is_none())
    })?;
    work.begin("Removing extended attributes", found.len());
    for blkno in found {
        work.edit.drop_xattrs(blkno)?;
        work.settle()?;
        work.advance(1);
    }
    Ok(())
}
