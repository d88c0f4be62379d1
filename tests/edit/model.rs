//! A tree of names in memory, which is changed along with a volume.

use std::collections::BTreeMap;

use ocfs2_format::Blkno;
use ocfs2_format::dinode::FileKind;
use ocfs2_format::dir::FileType;
use ocfs2_format::hash::CharSign;
use ocfs2_testing::Random;
use ocfs2_volume::edit::{Edit, EditError, EditOptions, NewInode};
use ocfs2_volume::{Timestamp, Volume};

use crate::bench::Bench;

/// What a path is: its inode, type, target as a symbolic link, and device number.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Node {
    pub inode: Blkno,
    pub kind: FileKind,
    pub target: Vec<u8>,
    pub rdev: (u32, u32),
    /// Number of links: names or, of a directory, names and subdirectories.
    pub links: u32,
}

/// All paths, without a leading slash.
pub type Paths = BTreeMap<Vec<u8>, Node>;

const KINDS: [FileKind; 6] = [
    FileKind::Fifo,
    FileKind::CharDevice,
    FileKind::BlockDevice,
    FileKind::Regular,
    FileKind::Symlink,
    FileKind::Socket,
];

pub fn edit_of(bench: &Bench) -> Edit {
    let time = Timestamp { seconds: 1_700_000_000, nanoseconds: 5 };
    // The C fsck knows no other hash.
    let name_hash = CharSign::Signed;
    Edit::new(&bench.volume(), EditOptions { time, name_hash, ..EditOptions::default() })
}

pub fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Reads the paths of a volume entry by entry; the index also has to find each name.
pub fn read(volume: &Volume) -> Paths {
    let mut paths = Paths::new();
    let root = volume.root().unwrap();
    let mut dirs = BTreeMap::from([(Vec::new(), root.clone())]);
    for found in volume.walk(&root).unwrap() {
        let found = found.unwrap();
        let (dir, name) = split(&found.path);
        let entry = volume.lookup(&dirs[dir], name).unwrap().unwrap();
        assert_eq!(entry, found.entry);
        let kind = found.inode.kind().unwrap();
        assert_eq!(entry.file_type, Some(FileType::from(kind)));
        let target = match kind {
            FileKind::Symlink => volume.symlink_target(&found.inode).unwrap(),
            _ => Vec::new(),
        };
        let is_device = matches!(kind, FileKind::CharDevice | FileKind::BlockDevice);
        let rdev = if is_device { found.inode.dinode.rdev() } else { (0, 0) };
        let (inode, links) = (entry.inode, volume.links_count(&found.inode));
        if kind == FileKind::Directory {
            let parent = volume.lookup(&found.inode, b"..").unwrap().unwrap();
            assert_eq!(parent.inode, dirs[dir].blkno);
            dirs.insert(found.path.clone(), found.inode);
        }
        paths.insert(found.path, Node { inode, kind, target, rdev, links });
    }
    paths
}

/// The model of a volume, and the source of randomness.
pub struct Names {
    pub random: Random,
    pub paths: Paths,
    pub root: Blkno,
    pub longest: usize,
}

impl Names {
    pub fn name(&mut self) -> Vec<u8> {
        let most = if self.random.below(4) == 0 { self.longest } else { self.longest.min(12) };
        let len = 1 + self.random.below(most);
        let byte = |byte: u8| if matches!(byte, 0 | b'/' | b'.') { b'a' } else { byte };
        self.random.bytes(len).into_iter().map(byte).collect()
    }

    /// Returns one of the paths that may be changed.
    pub fn path(&mut self) -> Option<Vec<u8>> {
        let own = |path: &&Vec<u8>| !path.starts_with(b"lost+found");
        let count = self.paths.keys().filter(own).count();
        let index = self.random.below(count.max(1));
        self.paths.keys().filter(own).nth(index).cloned()
    }

    /// Returns the path of a directory, which is empty for the root.
    pub fn dir(&mut self) -> Vec<u8> {
        let dirs = self.paths.iter().filter(|(path, node)| {
            node.kind == FileKind::Directory && !path.starts_with(b"lost+found")
        });
        let dirs: Vec<_> = dirs.map(|(path, _)| path.clone()).collect();
        let index = self.random.below(dirs.len() + 1);
        dirs.get(index).cloned().unwrap_or_default()
    }

    pub fn inode(&self, path: &[u8]) -> Blkno {
        self.paths.get(path).map_or(self.root, |node| node.inode)
    }

    pub fn is_dir(&self, path: &[u8]) -> bool {
        self.paths.get(path).is_none_or(|node| node.kind == FileKind::Directory)
    }

    pub fn is_empty(&self, path: &[u8]) -> bool {
        !self.paths.keys().any(|other| split(other).0 == path)
    }

    /// Adjusts the link count of all names of an inode, or of a directory.
    pub fn count(&mut self, inode: Blkno, by: i32) {
        for node in self.paths.values_mut().filter(|node| node.inode == inode) {
            node.links = node.links.checked_add_signed(by).unwrap();
        }
    }

    /// Returns an owner and a group; quota files already have some of them.
    fn owner(&mut self) -> (u32, u32) {
        let id = |random: &mut Random| match random.below(3) {
            0 => random.below(4) as u32,
            1 => 1000 + random.below(90) as u32,
            _ => u32::MAX - random.below(5) as u32 * 70_000_000,
        };
        (id(&mut self.random), id(&mut self.random))
    }

    /// Changes the owner and group of an inode.
    pub fn give(&mut self, edit: &mut Edit) {
        let Some(path) = self.path() else { return };
        let ((uid, gid), inode) = (self.owner(), self.inode(&path));
        edit.set_owner(inode, uid, gid).unwrap();
        let dinode = edit.inode(inode).unwrap().dinode;
        assert_eq!((dinode.i_uid, dinode.i_gid), (uid, gid));
    }

    pub fn create(&mut self, edit: &mut Edit, dir: &[u8], name: &[u8], kind: FileKind) {
        let target = match (kind, self.random.below(3)) {
            (FileKind::Symlink, 0) => vec![b't'; 1 + self.random.below(4095)],
            (FileKind::Symlink, _) => b"../where/it/leads".to_vec(),
            _ => Vec::new(),
        };
        let is_device = matches!(kind, FileKind::CharDevice | FileKind::BlockDevice);
        let rdev = if is_device { (8, self.random.below(1 << 20) as u32) } else { (0, 0) };
        let (uid, gid) = self.owner();
        let new = NewInode { uid, gid, rdev, target: &target, ..NewInode::of(kind, 0o640) };
        let (at, path) = (self.inode(dir), join(dir, name));
        let made = edit.create(at, name, &new);
        if self.paths.contains_key(&path) {
            assert!(matches!(made, Err(EditError::Exists(_))), "{made:?}");
            return;
        }
        let links = if kind == FileKind::Directory { 2 } else { 1 };
        if links == 2 {
            self.count(at, 1);
        }
        self.paths.insert(path, Node { inode: made.unwrap(), kind, target, rdev, links });
    }

    pub fn link(&mut self, edit: &mut Edit) {
        let (Some(from), dir, name) = (self.path(), self.dir(), self.name()) else { return };
        let (node, path) = (self.paths[&from].clone(), join(&dir, &name));
        let made = edit.hard_link(self.inode(&dir), &name, node.inode);
        if self.paths.contains_key(&path) || node.kind == FileKind::Directory {
            assert!(made.is_err());
            return;
        }
        made.unwrap();
        self.paths.insert(path, node.clone());
        self.count(node.inode, 1);
    }

    pub fn unlink(&mut self, edit: &mut Edit, path: &[u8]) {
        let ((dir, name), node) = (split(path), self.paths[path].clone());
        let done = edit.unlink(self.inode(dir), name);
        if node.kind == FileKind::Directory && !self.is_empty(path) {
            assert!(matches!(done, Err(EditError::Refused(_))), "{done:?}");
            return;
        }
        done.unwrap();
        self.forget(path);
    }

    pub fn forget(&mut self, path: &[u8]) {
        let Some(node) = self.paths.remove(path) else { return };
        match node.kind {
            FileKind::Directory => self.count(self.inode(split(path).0), -1),
            _ => self.count(node.inode, -1),
        }
    }

    pub fn rename(&mut self, edit: &mut Edit) {
        let (Some(from), Some(over), dir, name) =
            (self.path(), self.path(), self.dir(), self.name())
        else {
            return;
        };
        let to = if self.random.below(4) == 0 { over } else { join(&dir, &name) };
        let ((dir, name), (to_dir, new_name)) = (split(&from), split(&to));
        let done = edit.rename(self.inode(dir), name, self.inode(to_dir), new_name);
        let node = self.paths[&from].clone();
        let there = self.paths.get(&to).cloned();
        if there.as_ref().is_some_and(|there| there.inode == node.inode) {
            return done.unwrap();
        }
        let is_dir = node.kind == FileKind::Directory;
        let is_within = is_dir && (to_dir == from || to_dir.starts_with(&join(&from, b"")));
        let fits = there.is_none() || self.is_dir(&to) == is_dir && self.is_empty(&to);
        if is_within || !fits {
            assert!(matches!(done, Err(EditError::Refused(_))), "{done:?}");
            return;
        }
        done.unwrap();
        self.forget(&to);
        let below = join(&from, b"");
        let moved: Vec<_> =
            self.paths.keys().filter(|path| path.starts_with(&below)).cloned().collect();
        for path in moved {
            let node = self.paths.remove(&path).unwrap();
            self.paths.insert(join(&to, &path[below.len()..]), node);
        }
        self.paths.remove(&from);
        self.paths.insert(to.clone(), node);
        if is_dir {
            self.count(self.inode(split(&from).0), -1);
            self.count(self.inode(split(&to).0), 1);
        }
    }

    /// Makes two names change places.
    pub fn exchange(&mut self, edit: &mut Edit) {
        let (Some(one), Some(other)) = (self.path(), self.path()) else { return };
        let ((dir, name), (to, new_name)) = (split(&one), split(&other));
        let at = (self.inode(dir), self.inode(to));
        let done = edit.exchange((at.0, name), (at.1, new_name));
        let (first, second) = (self.paths[&one].clone(), self.paths[&other].clone());
        if first.inode == second.inode {
            return done.unwrap();
        }
        if one.starts_with(&join(&other, b"")) || other.starts_with(&join(&one, b"")) {
            assert!(matches!(done, Err(EditError::Refused(_))), "{done:?}");
            return;
        }
        done.unwrap();
        let mut moved = Vec::new();
        for (from, to) in [(&one, &other), (&other, &one)] {
            let below = join(from, b"");
            let is_moved = |path: &&Vec<u8>| *path == from || path.starts_with(&below);
            for path in self.paths.keys().filter(is_moved) {
                let new = [&to[..], &path[from.len()..]].concat();
                moved.push((path.clone(), new, self.paths[path].clone()));
            }
        }
        moved.iter().for_each(|(path, ..)| drop(self.paths.remove(path)));
        self.paths.extend(moved.into_iter().map(|(_, path, node)| (path, node)));
        for (node, from, to) in [(first, dir, to), (second, to, dir)] {
            if node.kind == FileKind::Directory {
                self.count(self.inode(from), -1);
                self.count(self.inode(to), 1);
            }
        }
    }

    pub fn change(&mut self, edit: &mut Edit) {
        match self.random.below(25) {
            23..=24 => self.exchange(edit),
            0..=2 => {
                let (dir, name) = (self.dir(), self.name());
                self.create(edit, &dir, &name, FileKind::Directory);
            }
            3..=8 => {
                let (dir, name) = (self.dir(), self.name());
                let kind = *self.random.of(&KINDS);
                self.create(edit, &dir, &name, kind);
            }
            9..=11 => self.link(edit),
            12..=15 => self.rename(edit),
            16..=18 => self.give(edit),
            _ => {
                if let Some(path) = self.path() {
                    self.unlink(edit, &path);
                }
            }
        }
    }

    /// Commits the changes, and compares the volume with the model before and after that.
    pub fn settle(&self, bench: &Bench, mut edit: Edit) {
        assert!(read(&edit) == self.paths, "before the commit");
        edit.finish().unwrap();
        bench.commit(&edit);
        assert!(read(&bench.volume()) == self.paths, "after the commit");
        bench.judge();
    }
}

pub fn begin(options: &str, size: &str, seed: u64, longest: usize) -> (Bench, Names) {
    let bench = Bench::new(options, size);
    let volume = bench.volume();
    let (paths, root) = (read(&volume), volume.root().unwrap().blkno);
    (bench, Names { random: Random(seed), paths, root, longest })
}
