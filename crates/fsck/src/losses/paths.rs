//! Paths of inodes.
//!
//! Nothing on the volume points from a file to its name. All directories are read once, when the
//! first path is wanted. For each entry only its directory is kept; names are read again when
//! needed.

use std::collections::{HashMap, HashSet, VecDeque};

use ocfs2_cli::Interrupt;
use ocfs2_format::Blkno;
use ocfs2_volume::Volume;

use super::raw;

/// The most entries that are kept: 64 MiB. Files beyond that have no path.
const MOST: usize = 4 << 20;
/// The most entries of directories that are kept with their names.
const KEPT: usize = 1 << 18;
/// The most blocks of directories that are read for all paths together: those of some ten million
/// files.
const BLOCKS: u64 = 1 << 20;
/// The greatest depth of a directory; a longer way up is a circle.
const DEEPEST: usize = 100_000;
/// The greatest length of a path in bytes.
const LONGEST: usize = 1 << 20;

/// The paths of the inodes of a volume.
#[derive(Debug)]
pub struct Paths {
    volume: Volume,
    interrupt: Interrupt,
    index: Option<Index>,
    /// The names in some directories, by the inode they point to.
    names: HashMap<Blkno, HashMap<Blkno, Vec<Vec<u8>>>>,
    kept: usize,
    /// Blocks of directories that may still be read for names.
    blocks: u64,
    /// Inodes taken to be in these directories under these names, whatever the entries say.
    led: HashMap<Blkno, (Blkno, Vec<u8>)>,
    /// The last directory that was looked up, and its path.
    last: Option<(Blkno, Option<Vec<u8>>)>,
}

/// The directories that have an entry for an inode.
#[derive(Debug, Default)]
struct Index {
    dirs: Vec<Blkno>,
    /// The inode, and the index of its directory in `dirs`; sorted by inode.
    entries: Vec<(Blkno, u32)>,
}

impl Paths {
    /// The paths of a volume; `interrupt` ends the search for them.
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

    /// The path of an inode from the root directory; of several names the first one.
    pub fn path(&mut self, inode: Blkno) -> Option<Vec<u8>> {
        if inode == self.volume.superblock().s_root_blkno {
            return Some(b"/".to_vec());
        }
        let (dir, name) = self.first_entry(inode)?;
        self.of_entry(dir, &name)
    }

    /// Takes inodes to be in these directories under these names, whatever the entries say.
    pub fn lead(&mut self, led: HashMap<Blkno, (Blkno, Vec<u8>)>) {
        self.led = led;
        self.last = None;
    }

    /// The directory of an inode and its name there; of several the first one.
    pub fn first_entry(&mut self, inode: Blkno) -> Option<(Blkno, Vec<u8>)> {
        if let Some(led) = self.led.get(&inode) {
            return Some(led.clone());
        }
        let dir = self.dirs_of(inode).into_iter().next()?;
        let name = self.names_in(dir, inode).into_iter().next()?;
        Some((dir, name))
    }

    /// The path of an entry, from its directory and its name.
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
    /// Reads all directories below the root directory.
    fn of(volume: &Volume, interrupt: &Interrupt) -> Self {
        let mut index = Self::default();
        // Each block of the volume at most once, whatever the directories claim to have.
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

/// The path of an entry in the directory with the path `dir`.
pub(super) fn joined(mut dir: Vec<u8>, name: &[u8]) -> Vec<u8> {
    if dir != b"/" {
        dir.push(b'/');
    }
    dir.extend_from_slice(name);
    dir
}
