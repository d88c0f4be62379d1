//! Passes 4a and 4b: orphans, and the link count of every inode.
//!
//! Needs the references that passes 2 and 3 counted.

use std::collections::HashSet;
use std::fmt::Write as _;

use ocfs2_format::Blkno;
use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::feature::Incompat;
use ocfs2_volume::SystemFile;

use crate::codes::connectivity as codes;
use crate::directories::{Directories, astray};
use crate::repair::{Repair, lost_found, system};
use crate::state::State;
use crate::{Context, Finding, Pass, Place, Stop};

/// Checks the orphans and the link counts of all inodes.
///
/// # Errors
/// [`Stop`] if the check was interrupted.
pub(crate) fn check(
    context: &Context<'_>,
    state: &mut State<'_>,
    directories: &Directories,
) -> Result<(), Stop> {
    let orphans = orphans(context, state, directories)?;
    links(context, state, &orphans)
}

/// The contents of the orphan directories.
#[derive(Debug, Default)]
struct Listed {
    /// Inodes that wait for deletion.
    waiting: HashSet<Blkno>,
    /// Inodes to which a direct write was interrupted.
    written: HashSet<Blkno>,
}

fn orphans(
    context: &Context<'_>,
    state: &mut State<'_>,
    directories: &Directories,
) -> Result<Listed, Stop> {
    state.begin(Pass::Orphans, 0);
    for slot in 0..state.system.slots() {
        let file = SystemFile::OrphanDir(slot);
        if state.system.find(file).is_none() {
            let named = state.system.overwritten(file);
            let text = match named {
                Some(inode) => format!("{}: inode {inode} is that of another one", file.name()),
                None => format!("there is no {}", file.name()),
            };
            let finding = Finding::new(codes::ORPHAN_DIR_MISSING, Place::slot(slot), text);
            let repair = system::make(file, named, state.system.lost());
            state.found(finding.repaired_by(repair));
        }
    }
    let mut all = Listed::default();
    for listed in &directories.orphans {
        context.check_interrupt()?;
        let (inode, slot) = (listed.inode, listed.slot);
        let dir = state.system.find(SystemFile::OrphanDir(slot)).unwrap_or_default();
        let place = Place::inode(inode).in_slot(slot);
        if listed.is_direct_write {
            all.written.insert(inode);
            let text = format!(
                "inode {inode} is listed by slot {slot}, whose direct write to it was interrupted"
            );
            let repair = orphan(dir, inode, InodeFlags::DIO_ORPHANED);
            state.found(Finding::new(codes::ORPHAN_DIO, place, text).repaired_by(repair));
            continue;
        }
        all.waiting.insert(inode);
        let text = format!("inode {inode} is in the orphan directory of slot {slot}");
        let repair = orphan(dir, inode, InodeFlags::ORPHANED);
        state.found(Finding::new(codes::INODE_ORPHANED, place, text).repaired_by(repair));
    }
    Ok(all)
}

/// Removes the entry of an orphan directory. An inode that waits to be deleted is deleted, unless
/// its own flag says otherwise or it has links elsewhere. What a direct write has left allocated
/// past the end of a file stays with it.
fn orphan(dir: Blkno, inode: Blkno, flag: InodeFlags) -> Repair {
    Repair::new(move |editor| {
        let prefix = if flag == InodeFlags::DIO_ORPHANED { "dio-" } else { "" };
        editor.remove_later(dir, format!("{prefix}{:016x}", inode.0).into_bytes(), inode);
        let dinode = editor.inode(inode)?.dinode;
        let waits = dinode.flags().contains(InodeFlags::ORPHANED) && dinode.i_links_count == 0;
        if flag == InodeFlags::ORPHANED && waits {
            return editor.delete_inode(inode);
        }
        editor.dinode(inode, |dinode, _| unlisted(dinode, flag))
    })
}

/// Clears `flag` of an inode, and with it the slot of a direct write.
fn unlisted(dinode: &mut Dinode, flag: InodeFlags) {
    dinode.i_flags &= !flag.bits();
    if flag == InodeFlags::DIO_ORPHANED {
        dinode.i_dio_orphaned_slot = 0;
    }
}

/// Returns the finding that an inode has a flag without an entry in an orphan directory.
fn unfounded(inode: Blkno, flag: InodeFlags, what: &str) -> Finding {
    let text = format!("inode {inode} says that {what}, and is in no orphan directory");
    let repair = Repair::dinode(inode, move |dinode, _| unlisted(dinode, flag));
    Finding::new(codes::ORPHAN_FLAG, Place::inode(inode), text).repaired_by(repair)
}

/// Returns the finding that an inode has a wrong link count.
fn wrong_count(context: &Context<'_>, inode: Blkno, links: u32, references: u32) -> Finding {
    let wide = context.volume.has(Incompat::INDEXED_DIRS);
    // A count that wrapped around would free the inode while it still has names.
    let most = if wide { u32::MAX } else { u16::MAX.into() };
    let mut text = format!("inode {inode}: link count is {links}, expected {references}");
    if references > most {
        let _ = write!(text, ", more than the {most} that an inode of this volume can count: ");
        text.push_str("names have to be removed");
    }
    let count = references.min(most);
    let repair = Repair::dinode(inode, move |dinode, _| dinode.set_links_count(count, wide));
    let finding = Finding::new(codes::INODE_COUNT, Place::inode(inode), text);
    // The count may be right and a name missing.
    let may_lose = links > references;
    finding.repaired_otherwise_by((links != count).then_some(repair)).losing(may_lose)
}

/// The same for an inode with a name too many, which may be the one that inode `lacking` lacks.
fn with_other_name(count: Finding, lacking: Blkno, which: &str) -> Finding {
    let text = format!("{}, and inode {lacking}{which} lacks a name", count.text);
    Finding { code: codes::INODE_NAMES, text, ..count }
}

fn links(context: &Context<'_>, state: &mut State<'_>, listed: &Listed) -> Result<(), Stop> {
    state.begin(Pass::Links, 0);
    let superblock = context.volume.superblock();
    let tops = [superblock.s_root_blkno, superblock.s_system_dir_blkno];
    let mut findings = Vec::new();
    // While the inode of the root or its allocator is lost, everything in the root seems to be
    // nowhere. Link counts stay as they are until then: the root may be found with its names.
    let has_root = state.suballocs.find(superblock.s_root_blkno).is_some();
    let is_root_lost =
        has_root && state.inodes.find(&state.suballocs, superblock.s_root_blkno).is_none();
    let may_have_more = state.unlinked_groups || is_root_lost;
    let mut lacking_names = None;
    for (at, inode, facts) in state.inodes.in_use_at(&state.suballocs) {
        context.check_interrupt()?;
        let references = state.references.get(at);
        if listed.waiting.contains(&inode) {
            continue;
        }
        if references == 0 && !tops.contains(&inode) {
            if may_have_more {
                // Its directory may be in an unlinked group, or be the root.
                continue;
            }
            let text = format!("inode {inode} is in no directory");
            let finding = Finding::new(codes::INODE_NOT_CONNECTED, Place::inode(inode), text);
            findings.push(finding.repaired_by(match has_root {
                true => lost_found::reconnect(inode, context.options.last_names.of(inode)),
                false => Repair::waiting("the root directory has to be found first"),
            }));
            continue;
        }
        if facts.claims.is_deleted() {
            findings.push(unfounded(inode, InodeFlags::ORPHANED, "it waits to be deleted"));
        }
        if facts.claims.is_direct_write() && !listed.written.contains(&inode) {
            let what = "a direct write to it was interrupted";
            findings.push(unfounded(inode, InodeFlags::DIO_ORPHANED, what));
        }
        if facts.links != references && !(may_have_more && facts.links > references) {
            let finding = wrong_count(context, inode, facts.links, references);
            let lacking = facts.kind.filter(|_| facts.links < references && !may_have_more);
            let beside = lacking.and_then(|kind| astray::lacking_beside(state, inode, kind));
            let mut any = |kind| {
                let all =
                    lacking_names.get_or_insert_with(|| astray::lacking(state, &listed.waiting));
                all.iter().find(|(other, _)| *other == kind).map(|(_, blkno)| *blkno)
            };
            findings.push(match (beside, lacking.and_then(&mut any)) {
                (Some(beside), _) => {
                    with_other_name(finding, beside, ", whose number differs by one bit,")
                }
                (None, Some(other)) => with_other_name(finding, other, ""),
                (None, None) => finding,
            });
        }
    }
    for finding in findings {
        context.check_interrupt()?;
        state.found(finding);
    }
    Ok(())
}
