//! Entries that cannot point where they do, and inodes that lack a name.
//!
//! An entry may point to an inode that is not in use, to one of another type than it states, to a
//! system file, or to a directory that is in another one. If its number differs by one bit from
//! that of the only inode that lacks a name, it pointed to that one. A file lacks names if it has
//! fewer than it states. A directory lacks one if it is in no directory; its `..` then says where
//! it was.

use std::collections::{HashMap, HashSet};

use ocfs2_format::Blkno;
use ocfs2_format::dinode::FileKind;

use super::{Directories, Known};
use crate::codes::directories as codes;
use crate::repair::directory;
use crate::state::State;
use crate::tables::inodes::InodeTable;
use crate::tables::suballocs::{Bit, Suballocs};
use crate::{Context, Finding, Place};

/// An inode: its bit and its block.
pub(super) type Found = (Bit, Blkno);

/// An entry that cannot point where it does.
#[derive(Debug)]
pub(super) struct Astray {
    /// Its directory, its name, and the inode it points to.
    pub dir: Blkno,
    pub name: Vec<u8>,
    pub leads_to: Blkno,
    /// The inodes it may have pointed to.
    pub candidates: Vec<Found>,
    /// The finding if it pointed to none of them.
    pub finding: Finding,
    /// The inode that it refers to in that case.
    pub otherwise: Option<Found>,
}

/// An entry for a directory that another directory has already, or that can be in none.
#[derive(Debug)]
pub(super) struct Second {
    /// The directory of the entry, its name, and the directory it points to.
    pub dir: Blkno,
    pub name: Vec<u8>,
    pub child: Blkno,
    /// The finding if it really pointed there.
    pub finding: Finding,
}

/// Returns the inodes of this type whose numbers differ from `from` by one bit and that are not of
/// the system.
fn around(
    inodes: &InodeTable,
    suballocs: &Suballocs,
    from: Blkno,
    kind: FileKind,
) -> impl Iterator<Item = Found> {
    (0..u64::BITS).map(move |bit| Blkno(from.0 ^ 1 << bit)).filter_map(move |blkno| {
        let at = suballocs.find(blkno)?;
        let facts = inodes.get(at).filter(|facts| facts.in_use && !facts.is_system)?;
        (facts.kind == Some(kind)).then_some((at, blkno))
    })
}

/// Returns the inodes of this type that an entry which points to `leads_to` may have pointed to.
pub(super) fn candidates(known: &Known<'_>, leads_to: Blkno, kind: Option<FileKind>) -> Vec<Found> {
    // An inode whose name is in a directory that is not known yet lacks none.
    let kind = kind.filter(|_| !known.lost_groups);
    let all = kind.map(|kind| around(known.inodes, known.suballocs, leads_to, kind));
    all.into_iter().flatten().collect()
}

/// Returns the only inode of the same type that lacks names and whose number differs from that of
/// `inode` by one bit. `None` for a directory: it has one name, and says where.
pub(crate) fn lacking_beside(state: &State<'_>, inode: Blkno, kind: FileKind) -> Option<Blkno> {
    if kind == FileKind::Directory {
        return None;
    }
    let all = around(&state.inodes, &state.suballocs, inode, kind);
    one(all.filter(|(at, _)| lacking_links(state, *at) > 0)).map(|(_, blkno)| blkno)
}

/// Returns, for each type of file, the first inode that lacks names and is in no orphan directory.
pub(crate) fn lacking(state: &State<'_>, waiting: &HashSet<Blkno>) -> Vec<(FileKind, Blkno)> {
    let mut all: Vec<(FileKind, Blkno)> = Vec::new();
    for (at, inode, facts) in state.inodes.in_use_at(&state.suballocs) {
        let kind = facts.kind.filter(|kind| *kind != FileKind::Directory && !facts.is_system);
        let Some(kind) = kind.filter(|kind| all.iter().all(|(other, _)| other != kind)) else {
            continue;
        };
        if !waiting.contains(&inode) && lacking_links(state, at) > 0 {
            all.push((kind, inode));
        }
    }
    all
}

/// Returns how many names a file has less than it states.
fn lacking_links(state: &State<'_>, at: Bit) -> u32 {
    let facts = state.inodes.get(at).filter(|facts| !facts.claims.is_deleted());
    facts.map_or(0, |facts| facts.links.saturating_sub(state.references.get(at)))
}

/// Returns the only item, if there is exactly one.
fn one<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.next().is_none().then_some(first)
}

/// Restores where entries pointed before, or reports what is wrong with them.
pub(super) fn settle(
    context: &Context<'_>,
    state: &mut State<'_>,
    directories: &mut Directories,
    entries: Vec<Astray>,
    seconds: Vec<Second>,
) {
    let waiting = directories.orphans.iter().map(|orphan| orphan.inode).collect();
    Settling { context, state, directories, waiting }.all(entries, seconds);
}

struct Settling<'a, 'o> {
    context: &'a Context<'a>,
    state: &'a mut State<'o>,
    directories: &'a mut Directories,
    /// The inodes in orphan directories.
    waiting: HashSet<Blkno>,
}

impl Settling<'_, '_> {
    fn all(mut self, entries: Vec<Astray>, seconds: Vec<Second>) {
        let meant: Vec<_> = entries.iter().map(|entry| self.meant(entry)).collect();
        let mut wanted: HashMap<Blkno, u32> = HashMap::new();
        for (_, blkno) in meant.iter().flatten() {
            *wanted.entry(*blkno).or_default() += 1;
        }
        let is_enough = |settling: &Self, (at, blkno): &Found| {
            wanted.get(blkno).is_some_and(|wanted| *wanted <= settling.lacking(*at, *blkno))
        };
        let meant: Vec<_> =
            meant.into_iter().map(|it| it.filter(|found| is_enough(&self, found))).collect();
        for (entry, meant) in entries.into_iter().zip(meant) {
            self.entry(entry, meant);
        }
        for second in seconds {
            self.second(second);
        }
    }

    /// Returns how many names an inode lacks.
    fn lacking(&self, at: Bit, blkno: Blkno) -> u32 {
        if self.waiting.contains(&blkno) {
            return 0;
        }
        match self.directories.parents.get(&blkno) {
            Some(parent) => {
                let superblock = self.context.volume.superblock();
                let tops = [superblock.s_root_blkno, superblock.s_system_dir_blkno];
                u32::from(parent.entry_in.is_none() && !tops.contains(&blkno))
            }
            None => lacking_links(self.state, at),
        }
    }

    /// Returns the directory in which a directory says it is.
    fn dotdot(&self, dir: Blkno) -> Option<Blkno> {
        self.directories.parents.get(&dir)?.dotdot
    }

    /// Returns the inode that an entry pointed to, if exactly one can be meant.
    fn meant(&self, entry: &Astray) -> Option<Found> {
        // An inode that lacks a name itself is the one that is meant, whatever its type is now.
        if entry.otherwise.is_some_and(|(at, blkno)| self.lacking(at, blkno) > 0) {
            return None;
        }
        let may_be = |(at, blkno): &&Found| {
            let is_there = self.dotdot(*blkno).is_none_or(|dotdot| dotdot == entry.dir);
            is_there && self.lacking(*at, *blkno) > 0
        };
        one(entry.candidates.iter().filter(may_be)).copied()
    }

    fn entry(&mut self, entry: Astray, meant: Option<Found>) {
        let Astray { dir, name, leads_to, finding, otherwise, .. } = entry;
        if let Some(meant) = meant {
            let text = finding.text;
            return self.lead_back((dir, name, leads_to), meant, &text, finding.place);
        }
        self.state.found(finding);
        let Some(found) = otherwise else { return };
        self.note_lost_found(dir, &name);
        if let Some(second) = self.directories.enter(self.context, dir, found.1, &name) {
            self.state.found(second.finding);
        } else {
            self.state.references.add(found.0);
        }
    }

    /// Of two entries for one directory, the one in its `..` is right. The other one pointed to a
    /// directory whose `..` names the directory of that entry.
    fn second(&mut self, second: Second) {
        let Second { dir, name, child, finding } = second;
        let first = self.directories.parents.get(&child).and_then(|parent| parent.entry_in);
        let own = self.dotdot(child);
        let strange = match first {
            Some(first) if first != dir && own == Some(dir) => Some(first),
            Some(first) if first == dir => None,
            _ => Some(dir),
        };
        let meant = strange.and_then(|strange| {
            let all = around(&self.state.inodes, &self.state.suballocs, child, FileKind::Directory);
            let is_there = |(at, blkno): &Found| {
                self.dotdot(*blkno) == Some(strange) && self.lacking(*at, *blkno) > 0
            };
            one(all.filter(is_there)).map(|found| (strange, found))
        });
        let Some((strange, found)) = meant else { return self.state.found(finding) };
        let (name, place) = match strange == dir {
            true => (name, finding.place),
            false => {
                let Some(name) = self.name_in(strange, child) else {
                    return self.state.found(finding);
                };
                let place = Place::block(child).of(strange).named(&name);
                (name, place)
            }
        };
        if strange != dir
            && let Some(parent) = self.directories.parents.get_mut(&child)
        {
            parent.entry_in = Some(dir);
        }
        let text = format!("directory {strange}: has an entry for directory {child}");
        self.lead_back((strange, name, child), found, &text, place);
    }

    /// Returns the name of a directory's entry for an inode.
    fn name_in(&self, dir: Blkno, inode: Blkno) -> Option<Vec<u8>> {
        let volume = self.context.volume;
        let dir = volume.inode(dir).ok()?;
        let mut entries = volume.entries(&dir).ok()?.map_while(Result::ok);
        let is_dots = |name: &[u8]| name == b"." || name == b"..";
        entries.find(|it| it.inode == inode && !is_dots(&it.name)).map(|entry| entry.name)
    }

    /// Notes an entry of that name, which may be `lost+found` of the root.
    fn note_lost_found(&mut self, dir: Blkno, name: &[u8]) {
        let is_root = dir == self.context.volume.superblock().s_root_blkno;
        self.directories.has_lost_found |= is_root && name == b"lost+found";
    }

    /// Reports that an entry pointed to an inode that lacks a name, and treats it as if it still
    /// did.
    fn lead_back(
        &mut self,
        (dir, name, leads_to): (Blkno, Vec<u8>, Blkno),
        (at, blkno): Found,
        text: &str,
        place: Place,
    ) {
        let text = format!("{text}; inode {blkno}, whose number differs by one bit, lacks a name");
        let finding = Finding::new(codes::DIRENT_INODE_BIT, place, text);
        self.note_lost_found(dir, &name);
        self.state.found(finding.repaired_by(directory::lead(dir, name, leads_to, blkno)));
        self.state.references.add(at);
        if let Some(parent) = self.directories.parents.get_mut(&blkno) {
            parent.entry_in = Some(dir);
        }
    }
}
