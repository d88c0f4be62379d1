//! Block checks.

use std::sync::Arc;

use anyhow::Result;

use super::inodes_that;
use crate::work::Work;

/// Gives all blocks of directories trailers, then all metadata block checks. Without the feature,
/// nothing reads either.
pub(super) fn stamp(work: &mut Work<'_>) -> Result<()> {
    let volume = work.edit.volume();
    let dirs = inodes_that(volume, |inode| {
        Ok(inode.is_dir() && !inode.is_inline() && !volume.has_dir_trailers(inode))
    })?;
    work.begin("Installing dir trailers", dirs.len());
    for dir in dirs {
        work.edit.install_trailers(dir)?;
        work.settle()?;
        work.advance(1);
    }
    work.flush()?;
    // The volume as it is now: checks change nothing of what is read to find the metadata.
    let now = work.edit.volume().on(Arc::clone(work.edit.volume().device()));
    work.begin("Writing blocks", 0);
    for run in now.metadata() {
        let run = run?;
        if !work.is_read_by_nobody() {
            work.edit.stamp(&run)?;
            work.settle()?;
        }
        work.advance(run.blocks);
    }
    Ok(())
}
