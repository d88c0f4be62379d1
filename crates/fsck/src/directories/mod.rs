//! Pass 2: the entries of every directory.
//!
//! Several threads read directories, each one as a whole. Entries and block trailers are verified,
//! and that names are distinct (invariants D-1 to D-9). Collected are the references to every
//! inode, the parent of each directory, its `..`, and the contents of the orphan directories. An
//! entry that a repair would remove counts as removed.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use ocfs2_format::dinode::{Dinode, FileKind};
use ocfs2_format::{Blkno, Structure};
use ocfs2_volume::SystemFile;

use crate::codes::{directories as codes, general};
use crate::name_hashes::Signs;
use crate::repair::{Repair, directory};
use crate::state::State;
use crate::system_files::SystemFiles;
use crate::tables::inodes::{InodeTable, References};
use crate::tables::suballocs::{Bit, Suballocs};
use crate::tables::visits::Visits;
use crate::{Context, Finding, Pass, Place, Stop, parallel};
use astray::{Astray, Second};
use lost::{Leading, Lost};

pub(crate) mod astray;
mod block;
mod contents;
mod entry;
pub(crate) mod index;
mod lost;
mod names;

/// Directories that are read as one piece of work.
const PIECE: usize = 16;

/// Findings about the entries and blocks of one directory that are reported one by one. The rest is
/// summed up.
const MOST_FINDINGS: u64 = 256;

/// The directory that a directory is in, by its entry and by its own `..`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Parent {
    /// The directory that has the entry; `None` if there is no entry.
    pub entry_in: Option<Blkno>,
    /// The inode that its `..` points to, if it has one.
    pub dotdot: Option<Blkno>,
}

/// An entry of an orphan directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Orphan {
    /// The slot of the orphan directory.
    pub slot: u16,
    pub inode: Blkno,
    /// Whether the entry is that of an interrupted direct write: the file is to be kept.
    pub is_direct_write: bool,
}

/// The results of pass 2 for later passes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directories {
    /// All directories in use.
    pub parents: HashMap<Blkno, Parent>,
    /// The contents of the orphan directories, in order.
    pub orphans: Vec<Orphan>,
    /// Whether the root directory has a `lost+found`.
    pub has_lost_found: bool,
    /// The repair of a root whose inode is gone and blocks of which are left.
    pub root: Option<Repair>,
}

/// What is known before a directory is read. Shared by all threads.
#[derive(Clone, Copy)]
struct Known<'a> {
    context: &'a Context<'a>,
    suballocs: &'a Suballocs,
    inodes: &'a InodeTable,
    /// Whether there may be inodes that are not known.
    lost_groups: bool,
    /// Directories whose inodes are gone.
    lost: &'a Lost,
    /// Where the system files are.
    system: &'a SystemFiles,
    /// The orphan directories and their slots.
    orphan_dirs: &'a BTreeMap<Blkno, u16>,
    /// The clusters of directories and indexes that were read.
    visits: &'a Visits,
}

/// The contents of a directory.
#[derive(Debug, Default)]
struct Read {
    dir: Blkno,
    /// The first findings, and the last of those beyond the limit.
    findings: Vec<Finding>,
    left_out: Option<Finding>,
    /// The number of all findings.
    found: u64,
    /// The inodes other than directories that entries point to, once for each entry; and the
    /// directory itself, for its `.`.
    references: Vec<Bit>,
    /// The directories that entries point to, with their names.
    directories: Vec<(Bit, Blkno, Vec<u8>)>,
    dotdot: Option<Blkno>,
    orphans: Vec<Orphan>,
    has_lost_found: bool,
    /// Entries that cannot point where they do.
    astray: Vec<Astray>,
    /// Entries that lead to directories whose inodes are gone.
    leading: Vec<Leading>,
    /// The hashes of names in its index.
    signs: Signs,
}

impl Read {
    /// Adds a finding about an entry or a block.
    fn found(&mut self, finding: Finding) {
        self.found += 1;
        // A block that cannot be read is always reported: no repair of the directory mends it.
        if self.found > MOST_FINDINGS && finding.code != general::IO_ERROR {
            self.left_out = Some(finding);
        } else {
            self.findings.push(finding);
        }
    }

    /// Adds the findings beyond the limit, as one finding.
    fn sum_up(&mut self) {
        let Some(mut last) = self.left_out.take() else { return };
        let count = self.found - MOST_FINDINGS;
        if count > 1 {
            last.text += &format!(", and {} more like it", count - 1);
        }
        self.findings.push(last);
    }
}

/// Checks all directories. `unowned` are clusters in use without an owner.
///
/// # Errors
/// [`Stop`] if the check was interrupted.
pub(crate) fn check(
    context: &Context<'_>,
    state: &mut State<'_>,
    unowned: &[Range<u32>],
) -> Result<Directories, Stop> {
    let suballocs = std::mem::take(&mut state.suballocs);
    let system = std::mem::take(&mut state.system);
    let inodes = std::mem::take(&mut state.inodes);
    let mut all: Vec<Blkno> = inodes
        .in_use(&suballocs)
        .filter(|(_, facts)| facts.kind == Some(FileKind::Directory))
        .map(|(blkno, _)| blkno)
        .collect();
    // The system directory comes first, so that its entries count where another directory has one
    // for the same child.
    let top = context.volume.superblock().s_system_dir_blkno;
    if let Some(before) = all.iter().position(|dir| *dir == top).and_then(|at| all.get_mut(..=at)) {
        before.rotate_right(1);
    }
    let slots = 0..system.slots();
    let orphan_dirs =
        slots.filter_map(|slot| Some((system.find(SystemFile::OrphanDir(slot))?, slot))).collect();
    state.begin(Pass::Directories, all.len() as u64);
    state.references = References::new(&suballocs);

    let visits = Visits::default();
    let lost = Lost::search(context, state, (&suballocs, &inodes, &system), unowned);
    let lost = lost?;
    let known = Known {
        context,
        visits: &visits,
        lost: &lost,
        suballocs: &suballocs,
        inodes: &inodes,
        system: &system,
        lost_groups: state.lost_groups,
        orphan_dirs: &orphan_dirs,
    };
    let work = |dirs: &[Blkno]| -> Vec<Read> {
        let blocks = context.read_scattered(Dinode::NAME, dirs);
        let dirs = dirs.iter().zip(blocks);
        let dirs = dirs.take_while(|_| !context.interrupt.requested());
        dirs.map(|(dir, block)| contents::read(&known, *dir, block)).collect()
    };
    let mut merge = Merge::new(context, &all);
    let mut done = 0;
    parallel::ordered(context.options.threads, all.chunks(PIECE), work, |read| {
        done += read.len() as u64;
        for read in read {
            merge.add(read, state);
        }
        state.progress(done);
        !context.interrupt.requested()
    });
    let Merge { mut directories, astray, seconds, leading, .. } = merge;
    (state.suballocs, state.inodes, state.system) = (suballocs, inodes, system);
    context.check_interrupt()?;
    astray::settle(context, state, &mut directories, astray, seconds);
    directories.root = lost.settle(context, state, &directories, leading);
    Ok(directories)
}

/// Merges the directories in their order.
struct Merge<'a> {
    context: &'a Context<'a>,
    directories: Directories,
    /// Entries that wait until all are known.
    astray: Vec<Astray>,
    seconds: Vec<Second>,
    leading: Vec<Leading>,
}

impl<'a> Merge<'a> {
    fn new(context: &'a Context<'a>, all: &[Blkno]) -> Self {
        let parents = all.iter().map(|dir| (*dir, Parent::default())).collect();
        let directories = Directories { parents, ..Directories::default() };
        Self { context, directories, astray: Vec::new(), seconds: Vec::new(), leading: Vec::new() }
    }

    fn add(&mut self, read: Read, state: &mut State<'_>) {
        let Read {
            dir, findings, references, directories, dotdot, orphans, has_lost_found, ..
        } = read;
        state.found_all(findings);
        state.totals.name_hashes.names += read.signs;
        for at in references {
            state.references.add(at);
        }
        if let Some(parent) = self.directories.parents.get_mut(&dir) {
            parent.dotdot = dotdot;
        }
        for (at, child, name) in directories {
            match self.directories.enter(self.context, dir, child, &name) {
                None => state.references.add(at),
                Some(second) => self.seconds.push(second),
            }
        }
        self.astray.extend(read.astray);
        self.leading.extend(read.leading);
        self.directories.orphans.extend(orphans);
        self.directories.has_lost_found |= has_lost_found;
    }
}

impl Directories {
    /// Notes that `dir` has an entry for `child`. Returns the entry if `child` is a directory that
    /// is in another one, or the root or the system directory.
    fn enter(
        &mut self,
        context: &Context<'_>,
        dir: Blkno,
        child: Blkno,
        name: &[u8],
    ) -> Option<Second> {
        let superblock = context.volume.superblock();
        let tops = [superblock.s_root_blkno, superblock.s_system_dir_blkno];
        let parent = self.parents.get_mut(&child)?;
        let first = match parent.entry_in {
            Some(first) => format!("directory {first}"),
            None if tops.contains(&child) => "no other directory".to_owned(),
            None => {
                parent.entry_in = Some(dir);
                return None;
            }
        };
        let text =
            format!("directory {dir}: has an entry for directory {child}, which is in {first}");
        let place = Place::block(child).of(dir).named(name);
        let repair = directory::remove(dir, name.to_vec(), child);
        let finding = Finding::new(codes::DIR_PARENT_DUP, place, text).repaired_by(repair);
        Some(Second { dir, name: name.to_vec(), child, finding })
    }
}
