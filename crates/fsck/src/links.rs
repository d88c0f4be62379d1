//! Passes 4a and 4b: orphans, and whether every inode has as many links as it says.
//!
//! Needs the references that passes 2 and 3 counted.

use std::collections::HashSet;

use ocfs2_format::Blkno;
use ocfs2_format::dinode::InodeFlags;
use ocfs2_format::feature::Incompat;

use crate::check::State;
use crate::codes::connectivity as codes;
use crate::directories::Directories;
use crate::repair::Repair;
use crate::start::SystemFile;
use crate::{Context, Finding, Pass, Place};

pub(crate) fn check(context: &Context<'_>, state: &mut State<'_>, directories: &Directories) {
    let orphans = orphans(state, directories);
    links(context, state, &orphans);
}

/// Gives the inodes that wait to be deleted.
fn orphans(state: &mut State<'_>, directories: &Directories) -> HashSet<Blkno> {
    state.begin(Pass::Orphans, 0);
    for slot in 0..state.system.slots() {
        let file = SystemFile::OrphanDir(slot);
        if state.system.find(file).is_none() {
            let text = format!("there is no {}", file.name());
            state.found(Finding::new(codes::ORPHAN_DIR_MISSING, Place::slot(slot), text));
        }
    }
    let mut waiting = HashSet::new();
    for orphan in &directories.orphans {
        let (inode, slot) = (orphan.inode, orphan.slot);
        let place = Place::inode(inode).in_slot(slot);
        if orphan.is_direct_write {
            let text = format!(
                "inode {inode} is listed by slot {slot}, whose direct write to it was interrupted"
            );
            state.found(Finding::new(codes::ORPHAN_DIO, place, text));
            continue;
        }
        waiting.insert(inode);
        let text = format!("inode {inode} is in the orphan directory of slot {slot}");
        state.found(Finding::new(codes::INODE_ORPHANED, place, text));
    }
    waiting
}

fn links(context: &Context<'_>, state: &mut State<'_>, orphans: &HashSet<Blkno>) {
    state.begin(Pass::Links, 0);
    let superblock = context.volume.superblock();
    let tops = [superblock.s_root_blkno, superblock.s_system_dir_blkno];
    let mut findings = Vec::new();
    for (at, inode, facts) in state.inodes.in_use_at(&state.suballocs) {
        let references = state.references.get(at);
        if orphans.contains(&inode) {
            continue;
        }
        if references == 0 && !tops.contains(&inode) {
            let text = format!("inode {inode} is in no directory");
            let finding = Finding::new(codes::INODE_NOT_CONNECTED, Place::inode(inode), text);
            findings.push(finding);
            continue;
        }
        if facts.is_orphaned {
            let text =
                format!("inode {inode} says that it is in an orphan directory, and is in none");
            let repair = Repair::dinode(inode, |dinode, _| {
                dinode.i_flags &= !InodeFlags::ORPHANED.bits();
            });
            let finding = Finding::new(codes::ORPHAN_FLAG, Place::inode(inode), text);
            findings.push(finding.repaired_by(repair));
        }
        if facts.links != references {
            let text =
                format!("inode {inode}: link count is {}, expected {references}", facts.links);
            let wide = context.volume.has(Incompat::INDEXED_DIRS);
            let repair =
                Repair::dinode(inode, move |dinode, _| dinode.set_links_count(references, wide));
            let finding = Finding::new(codes::INODE_COUNT, Place::inode(inode), text);
            findings.push(finding.repaired_by(repair));
        }
    }
    state.found_all(findings);
}
