//! Pass 5: quota files, where the volume has them.
//!
//! Verifies header, tree, entries and free lists of the global files and the files of the slots
//! (invariants ), and compares the usage they state with what pass 1 has counted.

mod file;
mod local;
mod tree;
mod usage;

pub use usage::{Amount, Usage};

use ocfs2_format::quota::QuotaKind;

use crate::check::State;
use crate::collected::Collected;
use crate::start::{SystemFile, has_quota};
use crate::{Context, Pass, Stop};
use file::QuotaFile;

/// Checks all quota files.
///
/// # Errors
/// [`Stop`].
pub(crate) fn check(context: &Context<'_>, state: &mut State<'_>) -> Result<(), Stop> {
    let kinds = [QuotaKind::User, QuotaKind::Group];
    if kinds.iter().all(|kind| !has_quota(context.volume, *kind)) {
        return Ok(());
    }
    state.begin(Pass::Quota, 0);
    for kind in kinds.into_iter().filter(|kind| has_quota(context.volume, *kind)) {
        context.check_interrupt()?;
        let mut out = Collected::default();
        let mut pending = Usage::default();
        for slot in 0..state.system.slots() {
            let file = SystemFile::LocalQuota(kind, slot);
            if let Some(inode) = state.system.inode(context, file) {
                let file = QuotaFile::new(context, file, inode);
                local::check(&file, kind, &mut pending, &mut out.findings);
            }
        }
        let file = SystemFile::Quota(kind);
        if let Some(inode) = state.system.inode(context, file) {
            let file = QuotaFile::new(context, file, inode);
            let entries = tree::check(&file, kind, &mut out.findings);
            // What is used by inodes that were lost, nobody has counted.
            if !state.lost_groups {
                usage::compare(&file, kind, &entries, &pending, &state.usage, &mut out.findings);
            }
        }
        state.found_all(out.findings);
    }
    Ok(())
}
