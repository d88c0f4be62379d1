//! Where inodes are in the tree of directories.
//!
//! Nothing on the volume leads from a file to its name. All directories are read once, when the
//! first path is asked for, and of each entry is kept which directory it is in; the names are read
//! again where they are wanted.

use std::collections::{HashMap, HashSet, VecDeque};

use ocfs2_cli::Interrupt;
use ocfs2_format::Blkno;
use ocfs2_volume::Volume;

use super::raw;

/// Entries of which is kept where they are, at most: 64 MiB. Files beyond that have no path.
const MOST: usize = 4 << 20;
/// Entries of directories that are kept with their names.
const KEPT: usize = 1 << 18;
/// Blocks of directories that are read for all paths together: those of some ten million files.
const BLOCKS: u64 = 1 << 20;
/// Directories above each other at most; a way up that is longer goes in a circle.
const DEEPEST: usize = 100_000;
/// Bytes of a path at most.
const LONGEST: usize = 1 << 20;

/// The paths of the inodes of a volume.
#[derive(Debug)]
pub struct Paths {
    volume: Volume,
    interrupt: Interrupt,
    index: Option<Index>,
    /// The names of some directories, by where they lead.
    names: HashMap<Blkno, HashMap<Blkno, Vec<Vec<u8>>>>,
    kept: usize,
    /// Blocks of directories that may still be read for names.
    blocks: u64,
    /// Inodes that were in these directories under these names, whatever entries say.
    led: HashMap<Blkno, (Blkno, Vec<u8>)>,
    /// The directory that was asked for last, and its path.
    last: Option<(Blkno, Option<Vec<u8>>)>,
}

/// Which directories have an entry for which inode.
#[derive(Debug, Default)]
struct Index {
    dirs: Vec<Blkno>,
    /// By inode: the inode, and the number of the directory.
    entries: Vec<(Blkno, u32)>,
}

impl Paths {
    /// Those of a volume; `interrupt` stops looking for them.
    pub fn new(volume: &Volume, interrupt: &Interrupt) -> Self {
        Self {
            volume: volume.on(volume.device().clone()),
            interrupt: interrupt.clone(),
            index: None,
            names: HashMap::new(),
            kept: 0,
            led: HashMap::new(),
            blocks: volume.geometry().blocks().saturating_mul(4).min(BLOCKS),
            last: None,
        }
    }

    /// The path of an inode, from the root directory on; the first of several.
    pub fn path(&mut self, inode: Blkno) -> Option<Vec<u8>> {
        if inode == self.volume.superblock().s_root_blkno {
            return Some(b"/".to_vec());
        }
        let (dir, name) = self.first_entry(inode)?;
        self.of_entry(dir, &name)
    }

    /// Takes inodes to be in these directories under these names.
    pub fn lead(&mut self, led: HashMap<Blkno, (Blkno, Vec<u8>)>) {
        self.led = led;
        self.last = None;
    }

    /// The directory that has an inode, and its name there; the first of several.
    pub fn first_entry(&mut self, inode: Blkno) -> Option<(Blkno, Vec<u8>)> {
        if let Some(led) = self.led.get(&inode) {
            return Some(led.clone());
        }
        let dir = self.dirs_of(inode).into_iter().next()?;
        let name = self.names_in(dir, inode).into_iter().next()?;
        Some((dir, name))
    }

    /// The path of an entry: its directory's and its name.
    pub fn of_entry(&mut self, dir: Blkno, name: &[u8]) -> Option<Vec<u8>> {
        if self.last.as_ref().is_none_or(|(last, _)| *last != dir) {
            self.last = Some((dir, self.path_up(dir)));
        }
        let path = self.last.as_ref().and_then(|(_, path)| path.clone())?;
        Some(joined(path, name))
    }

    /// The directories that have an entry for an inode, and its names there.
    pub fn entries(&mut self, inode: Blkno) -> Vec<(Blkno, Vec<u8>)> {
        let mut all = Vec::new();
        let mut dirs = self.dirs_of(inode);
        dirs.dedup();
        for dir in dirs {
            all.extend(self.names_in(dir, inode).into_iter().map(|name| (dir, name)));
        }
        all
    }

    fn path_up(&mut self, inode: Blkno) -> Option<Vec<u8>> {
        let root = self.volume.superblock().s_root_blkno;
        let mut parts: Vec<Vec<u8>> = Vec::new();
        let mut length = 0;
        let mut at = inode;
        while at != root {
            let (dir, name) = self.first_entry(at)?;
            length += name.len() + 1;
            if parts.len() > DEEPEST || length > LONGEST {
                return None;
            }
            parts.push(name);
            at = dir;
        }
        let path = parts.iter().rev().fold(Vec::new(), |mut path, name| {
            path.push(b'/');
            path.extend_from_slice(name);
            path
        });
        Some(if path.is_empty() { b"/".to_vec() } else { path })
    }

    fn dirs_of(&mut self, inode: Blkno) -> Vec<Blkno> {
        if self.index.is_none() {
            self.index = Some(Index::of(&self.volume, &self.interrupt));
        }
        self.index.as_ref().map(|index| index.dirs_of(inode)).unwrap_or_default()
    }

    fn names_in(&mut self, dir: Blkno, inode: Blkno) -> Vec<Vec<u8>> {
        if !self.names.contains_key(&dir) {
            let read = raw::directory(&self.volume, dir, &mut self.blocks);
            let entries = read.map(|read| read.entries).unwrap_or_default();
            if self.kept + entries.len() > KEPT {
                self.names.clear();
                self.kept = 0;
            }
            self.kept += entries.len() + 1;
            let names = self.names.entry(dir).or_default();
            for entry in entries {
                names.entry(entry.inode).or_default().push(entry.name);
            }
        }
        self.names.get(&dir).and_then(|names| names.get(&inode)).cloned().unwrap_or_default()
    }
}

impl Index {
    /// Reads all directories below the root.
    fn of(volume: &Volume, interrupt: &Interrupt) -> Self {
        let mut index = Self::default();
        // Each block of the volume is read once, whatever directories say they have.
        let mut blocks = volume.geometry().blocks().min(BLOCKS);
        let root = volume.superblock().s_root_blkno;
        let mut queue = VecDeque::from([root]);
        let mut seen = HashSet::from([root]);
        while let Some(dir) = queue.pop_front() {
            if interrupt.requested() || blocks == 0 || index.entries.len() >= MOST {
                break;
            }
            let Some(read) = raw::directory(volume, dir, &mut blocks) else { continue };
            let number = index.dirs.len() as u32;
            index.dirs.push(dir);
            for entry in read.entries.iter().take(MOST - index.entries.len()) {
                index.entries.push((entry.inode, number));
            }
            let below = read.entries.iter().filter(|entry| entry.may_be_dir);
            queue.extend(below.map(|entry| entry.inode).filter(|inode| seen.insert(*inode)));
        }
        index.entries.sort_unstable();
        index
    }

    fn dirs_of(&self, inode: Blkno) -> Vec<Blkno> {
        let start = self.entries.partition_point(|(target, _)| *target < inode);
        let entries = self.entries.get(start..).unwrap_or_default().iter();
        let entries = entries.take_while(|(target, _)| *target == inode);
        entries.filter_map(|(_, dir)| self.dirs.get(*dir as usize).copied()).collect()
    }
}

/// The path of what is in a directory.
pub(super) fn joined(mut dir: Vec<u8>, name: &[u8]) -> Vec<u8> {
    if dir != b"/" {
        dir.push(b'/');
    }
    dir.extend_from_slice(name);
    dir
}
