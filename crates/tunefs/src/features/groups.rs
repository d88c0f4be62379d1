//! Discontiguous groups of the allocators.

use anyhow::Result;
use ocfs2_users::work::Work;

/// Gives the bitmaps of all groups the size they have without discontiguous groups.
pub(super) fn widen(work: &mut Work<'_>) -> Result<()> {
    let groups = work.edit.volume().short_groups()?;
    work.begin("Scanning suballocators", groups.len());
    for group in groups {
        work.edit.widen_group(group)?;
        work.settle()?;
        work.advance(1);
    }
    Ok(())
}
