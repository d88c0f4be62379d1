//! How the clusters of files are: with holes, unwritten, shared.

use anyhow::Result;
use ocfs2_format::Blkno;
use ocfs2_format::dinode::{FileKind, InodeFlags};
use ocfs2_format::feature::RoCompat;
use ocfs2_users::work::{Piece, Work};
use ocfs2_volume::edit::Plain;
use ocfs2_volume::{Inode, Volume};

use super::refused;
use crate::walk::inodes_that;

/// Frees clusters of files beyond their ends: with sparse files, these would appear with their old
/// contents when a file grows; without, nothing expects them.
pub(super) fn cut_beyond_ends(work: &mut Work<'_>) -> Result<()> {
    let volume = work.edit.volume();
    let bits = volume.geometry().cluster_size.bits();
    let files = inodes_that(volume, |inode| {
        if !is_file(inode) || inode.dinode.i_clusters == 0 {
            return Ok(false);
        }
        let end = inode.size().div_ceil(1 << bits);
        Ok(volume.tree(inode)?.extents().last().transpose()?.is_some_and(|last| last.end() > end))
    })?;
    work.begin("Truncating files", files.len());
    for blkno in files {
        work.edit.cut_to_size(blkno)?;
        work.settle()?;
        work.advance(1);
    }
    Ok(())
}

/// Fills the holes of all files with zeros.
pub(super) fn fill(work: &mut Work<'_>) -> Result<()> {
    if work.edit.features().ro_compat.contains(RoCompat::UNWRITTEN) {
        refused("unwritten is enabled, which needs sparse")?;
    }
    cut_beyond_ends(work)?;
    // What was freed may be taken again, and is then written to before the transaction.
    work.flush()?;
    make_plain(work, Plain::Filled)
}

/// Fills unwritten extents of all files with zeros.
pub(super) fn write(work: &mut Work<'_>) -> Result<()> {
    make_plain(work, Plain::Written)
}

fn make_plain(work: &mut Work<'_>, what: Plain) -> Result<()> {
    let edit = &work.edit;
    let files =
        inodes_that(edit.volume(), |inode| Ok(is_file(inode) && !edit.is_plain(inode, what)?))?;
    work.begin("Filling files", files.len());
    for blkno in files {
        make_file_plain(work, blkno, what)?;
        work.advance(1);
    }
    Ok(())
}

fn make_file_plain(work: &mut Work<'_>, blkno: Blkno, what: Plain) -> Result<()> {
    let mut at = Some(0);
    while let Some(from) = at {
        let (next, contents) = work.edit.make_plain(blkno, what, from)?;
        work.before.extend(contents.into_iter().map(Piece::from));
        work.settle()?;
        at = next;
    }
    Ok(())
}

/// Gives all files, and all values of attributes, their own clusters. The trees that have counted
/// the shared ones go.
pub(super) fn own(work: &mut Work<'_>) -> Result<()> {
    let volume: &Volume = work.edit.volume();
    let sharing = inodes_that(volume, |inode| Ok(!work.edit.is_plain(inode, Plain::Own)?))?;
    work.begin("Copying what files share", sharing.len());
    for blkno in sharing {
        make_file_plain(work, blkno, Plain::Own)?;
        loop {
            let (more, contents) = work.edit.unshare_xattrs(blkno)?;
            work.before.extend(contents.into_iter().map(Piece::from));
            work.settle()?;
            if !more {
                break;
            }
        }
        work.edit.leave_refcounts(blkno)?;
        work.settle()?;
        work.advance(1);
    }
    Ok(())
}

fn is_file(inode: &Inode) -> bool {
    let is_own = inode.dinode.flags().contains(InodeFlags::SYSTEM);
    inode.kind() == Some(FileKind::Regular) && !inode.is_inline() && !is_own
}
