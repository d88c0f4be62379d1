//! Pass 3: whether every directory is below the root or the system directory.
//!
//! Needs what pass 2 collected. When it ends, every directory has its place, and the references to
//! directories by the `..` of their subdirectories are counted.

use std::collections::HashSet;

use ocfs2_format::Blkno;
use ocfs2_format::dinode::FileKind;

use crate::codes::connectivity as codes;
use crate::directories::Directories;
use crate::repair::{Repair, directory, lost_found, root};
use crate::state::State;
use crate::{Context, Finding, Pass, Place, Stop};

/// Checks all directories.
///
/// # Errors
/// [`Stop`] if the check was interrupted.
pub(crate) fn check(
    context: &Context<'_>,
    state: &mut State<'_>,
    directories: &Directories,
) -> Result<(), Stop> {
    state.begin(Pass::Connectivity, 0);
    let superblock = context.volume.superblock();
    let (root, system) = (superblock.s_root_blkno, superblock.s_system_dir_blkno);
    let lost = match state.inodes.find(&state.suballocs, root) {
        None => {
            let text = format!("root directory {root} is not in use");
            let finding = Finding::new(codes::ROOT_DIR_MISSING, Place::inode(root), text);
            let place = state.suballocs.find(root);
            let place = place.and_then(|at| Some((at, state.suballocs.group(at)?)));
            let repair = match (&directories.root, place) {
                (Some(repair), _) => repair.clone(),
                (None, Some((at, group))) => {
                    let (slot, bit) = (group.suballoc.slot(), at.bit as u16);
                    root::make(slot, bit, group.blkno)
                }
                // Without its group nothing shows where it is to be made.
                (None, None) => {
                    Repair::waiting("the allocator of its inode has to be mended first")
                }
            };
            state.found(finding.repaired_by(repair));
            // What was in it belongs into the new one.
            let is_top = |dir: &Blkno| {
                let parent = directories.parents.get(dir);
                *dir != system && parent.is_some_and(|parent| parent.entry_in.is_none())
            };
            in_order(state).into_iter().filter(is_top).collect()
        }
        Some(_) => {
            if !directories.has_lost_found && !state.unlinked_groups {
                let text = "the root directory has no directory lost+found";
                let finding = Finding::new(codes::LOSTFOUND_MISSING, Place::inode(root), text);
                state.found(finding.repaired_by(lost_found::make()));
            }
            connect(context, state, directories, [root, system])?
        }
    };
    dotdots(context, state, directories, [root, system], &lost)?;
    references(state, directories, [root, system], &lost);
    context.check_interrupt()
}

/// All directories in use, in the order of the inode table.
fn in_order(state: &State<'_>) -> Vec<Blkno> {
    let inodes = state.inodes.in_use(&state.suballocs);
    let directories = inodes.filter(|(_, facts)| facts.kind == Some(FileKind::Directory));
    directories.map(|(blkno, _)| blkno).collect()
}

/// Follows every directory upwards. Returns those that are in no directory, and one of each cycle.
fn connect(
    context: &Context<'_>,
    state: &mut State<'_>,
    directories: &Directories,
    tops: [Blkno; 2],
) -> Result<HashSet<Blkno>, Stop> {
    let mut lost = HashSet::new();
    // Directories whose way up has been followed.
    let mut done: HashSet<Blkno> = tops.into();
    for dir in in_order(state) {
        context.check_interrupt()?;
        let mut way = Vec::new();
        let mut at = dir;
        let circle = loop {
            if done.contains(&at) {
                break way.contains(&at);
            }
            done.insert(at);
            way.push(at);
            match directories.parents.get(&at).and_then(|parent| parent.entry_in) {
                Some(above) => at = above,
                None => break true,
            }
        };
        if circle {
            let above = directories.parents.get(&at).and_then(|parent| parent.entry_in);
            let (text, repair) = match above {
                Some(above) => (
                    format!("directory {at} is below itself, in directory {above}"),
                    lost_found::reconnect_from(at, above),
                ),
                None => {
                    let repair = lost_found::reconnect(at, context.options.last_names.of(at));
                    (format!("directory {at} is in no directory"), repair)
                }
            };
            lost.insert(at);
            if above.is_none() && state.unlinked_groups {
                // Its parent may be in one of the unlinked groups.
                continue;
            }
            let finding = Finding::new(codes::DIR_NOT_CONNECTED, Place::inode(at), text);
            state.found(finding.repaired_by(repair));
        }
    }
    Ok(lost)
}

fn dotdots(
    context: &Context<'_>,
    state: &mut State<'_>,
    directories: &Directories,
    tops: [Blkno; 2],
    lost: &HashSet<Blkno>,
) -> Result<(), Stop> {
    let orphans: HashSet<Blkno> = directories.orphans.iter().map(|orphan| orphan.inode).collect();
    for dir in in_order(state) {
        context.check_interrupt()?;
        let Some(parent) = directories.parents.get(&dir) else { continue };
        let above = match parent.entry_in {
            _ if tops.contains(&dir) => dir,
            Some(above) if !lost.contains(&dir) => above,
            _ => continue,
        };
        // The `..` of an orphan still points to where it was.
        if let Some(dotdot) = parent.dotdot.filter(|dotdot| *dotdot != above)
            && !orphans.contains(&dir)
        {
            let text = format!("directory {dir}: \"..\" points to {dotdot}, expected {above}");
            let finding = Finding::new(codes::DIR_DOTDOT, Place::inode(dir), text);
            state.found(finding.repaired_by(directory::dotdot(dir, above)));
        }
    }
    Ok(())
}

/// Counts the reference of each directory to its parent.
fn references(
    state: &mut State<'_>,
    directories: &Directories,
    tops: [Blkno; 2],
    lost: &HashSet<Blkno>,
) {
    let refer = |state: &mut State<'_>, to: Blkno| {
        if let Some(at) = state.suballocs.find(to) {
            state.references.add(at);
        }
    };
    for dir in in_order(state) {
        if tops.contains(&dir) {
            refer(state, dir);
        } else if lost.contains(&dir) {
            // For the entry that it will have in lost+found.
            refer(state, dir);
        } else if let Some(above) = directories.parents.get(&dir).and_then(|it| it.entry_in) {
            refer(state, above);
        }
    }
}
