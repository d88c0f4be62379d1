//! How names are hashed in indexes that are built.

use anyhow::Result;
use ocfs2_cli::Interrupt;
use ocfs2_format::hash::CharSign;
use ocfs2_volume::Volume;

/// The hash that the first index of the volume shows for which it matters; `None` if none does.
///
/// # Errors
/// A directory is damaged; interrupts.
pub(crate) fn shown(volume: &Volume, interrupt: &Interrupt) -> Result<Option<CharSign>> {
    for inode in volume.inodes() {
        interrupt.check()?;
        let inode = inode?;
        if inode.is_dir()
            && let Some(sign) = volume.shown_name_hash(&inode)?
        {
            return Ok(Some(sign));
        }
    }
    Ok(None)
}
