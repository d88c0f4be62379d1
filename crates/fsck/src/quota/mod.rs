//! Pass 5: quota files, where the volume has them.
//!
//! Verifies header, tree, entries and free lists of the global files and of the files of the slots
//! (invariants ), and compares the usage that they state with what pass 1 counted.

mod file;
mod local;
mod tree;
mod usage;

use std::collections::BTreeMap;

use ocfs2_format::quota::{GlobalInfo, QuotaKind};
use ocfs2_volume::SystemFile;

use crate::repair::Repair;
use crate::repair::quota::QuotaFiles;
use crate::state::State;
use crate::tables::collected::Collected;
use crate::tables::usage::Usage;
use crate::{Context, Finding, Pass, Stop};
use file::QuotaFile;

/// Checks all quota files.
///
/// # Errors
/// [`Stop`] if the check was interrupted.
pub(crate) fn check(context: &Context<'_>, state: &mut State<'_>) -> Result<(), Stop> {
    let kinds = [QuotaKind::User, QuotaKind::Group];
    if kinds.iter().all(|kind| !context.volume.features().has_quota(*kind)) {
        return Ok(());
    }
    state.begin(Pass::Quota, 0);
    for kind in kinds.into_iter().filter(|kind| context.volume.features().has_quota(*kind)) {
        context.check_interrupt()?;
        let mut out = Collected::default();
        let mut pending = Usage::default();
        let mut files = QuotaFiles {
            kind,
            global: None,
            locals: Vec::new(),
            info: GlobalInfo::default(),
            entries: BTreeMap::new(),
        };
        for slot in 0..state.system.slots() {
            let file = SystemFile::LocalQuota(kind, slot);
            if let Some(inode) = state.system.inode(context, file) {
                files.locals.push(inode.blkno);
                let file = QuotaFile::new(context, file, inode);
                local::check(&file, kind, &mut pending, &mut out.findings);
                context.check_interrupt()?;
            }
        }
        let file = SystemFile::Quota(kind);
        if let Some(inode) = state.system.inode(context, file) {
            files.global = Some(inode.blkno);
            let file = QuotaFile::new(context, file, inode);
            if let Some(finding) = tree::cut(&file, kind) {
                state.found_all(Some(finding));
                continue;
            }
            let entries = tree::check(&file, kind, &mut out.findings);
            context.check_interrupt()?;
            if !out.findings.is_empty() {
                files.info = tree::info(&file);
            }
            // Without the lost inodes the counted usage is too low.
            if !state.lost_groups {
                usage::compare(&file, kind, &entries, &pending, &state.usage, &mut out.findings);
            }
            files.entries = entries;
        }
        if !out.findings.is_empty() {
            let repair = rewrite(files, &state.usage);
            let mend = |finding: Finding| {
                let may_lose = tree::loses(&finding);
                finding.repaired_otherwise_by(Some(repair.clone())).losing(may_lose)
            };
            out.findings = out.findings.into_iter().map(mend).collect();
        }
        state.found_all(out.findings);
    }
    Ok(())
}

/// Returns the repair that rewrites the files of a kind with the counted usage.
fn rewrite(mut files: QuotaFiles, counted: &Usage) -> Repair {
    let counted = counted.of(files.kind);
    for (id, entry) in &mut files.entries {
        if !counted.contains_key(id) {
            (entry.dqb_curinodes, entry.dqb_curspace) = (0, 0);
        }
    }
    for (id, amount) in counted {
        let entry = files.entries.entry(*id).or_default();
        entry.dqb_curinodes = amount.inodes.cast_unsigned();
        entry.dqb_curspace = amount.bytes.cast_unsigned();
    }
    let number = u64::from(files.kind.global_magic());
    Repair::once("quota", number, move |editor| files.write(editor))
}
