//! Files and directories made, named, moved and deleted at random.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ocfs2_format::Blkno;
use ocfs2_format::dinode::FileKind;
use ocfs2_format::dir::FileType;
use ocfs2_format::hash::CharSign;
use ocfs2_testing::{Random, Run, Scratch, fixture_copy, oracle, program};
use ocfs2_volume::allocator::Want;
use ocfs2_volume::edit::{Edit, EditError, EditOptions, NewInode};
use ocfs2_volume::{Error, Timestamp, Volume};

use crate::bench::Bench;

/// What has a path: the inode, what it is, and where it leads as a symbolic link.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Node {
    inode: Blkno,
    kind: FileKind,
    target: Vec<u8>,
    rdev: (u32, u32),
    /// Names, or for a directory names and what is in it.
    links: u32,
}

/// All paths, without a slash in front.
type Paths = BTreeMap<Vec<u8>, Node>;

/// Volumes that kernels have filled and unmounted.
const FIXTURES: [&str; 6] = [
    "clean-1k-linux7-local",
    "clean-1k-local",
    "clean-1m-global",
    "clean-2k-local",
    "clean-4k-o2cb",
    "clean-512-local",
];

const KINDS: [FileKind; 6] = [
    FileKind::Fifo,
    FileKind::CharDevice,
    FileKind::BlockDevice,
    FileKind::Regular,
    FileKind::Symlink,
    FileKind::Socket,
];

fn edit_of(bench: &Bench) -> Edit {
    let time = Timestamp { seconds: 1_700_000_000, nanoseconds: 5 };
    // The C fsck knows no other.
    let name_hash = CharSign::Signed;
    Edit::new(&bench.volume(), EditOptions { time, name_hash, ..EditOptions::default() })
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// What a volume has, read entry by entry; each name has to be found by the index, too.
fn read(volume: &Volume) -> Paths {
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

/// A volume with its model, and where the randomness comes from.
struct Names {
    random: Random,
    paths: Paths,
    root: Blkno,
    longest: usize,
}

impl Names {
    fn name(&mut self) -> Vec<u8> {
        let most = if self.random.below(4) == 0 { self.longest } else { self.longest.min(12) };
        let len = 1 + self.random.below(most);
        let byte = |byte: u8| if matches!(byte, 0 | b'/' | b'.') { b'a' } else { byte };
        self.random.bytes(len).into_iter().map(byte).collect()
    }

    /// One of the paths that may be changed.
    fn path(&mut self) -> Option<Vec<u8>> {
        let own = |path: &&Vec<u8>| !path.starts_with(b"lost+found");
        let count = self.paths.keys().filter(own).count();
        let index = self.random.below(count.max(1));
        self.paths.keys().filter(own).nth(index).cloned()
    }

    /// The path of a directory; that of the root is empty.
    fn dir(&mut self) -> Vec<u8> {
        let dirs = self.paths.iter().filter(|(path, node)| {
            node.kind == FileKind::Directory && !path.starts_with(b"lost+found")
        });
        let dirs: Vec<_> = dirs.map(|(path, _)| path.clone()).collect();
        let index = self.random.below(dirs.len() + 1);
        dirs.get(index).cloned().unwrap_or_default()
    }

    fn inode(&self, path: &[u8]) -> Blkno {
        self.paths.get(path).map_or(self.root, |node| node.inode)
    }

    fn is_dir(&self, path: &[u8]) -> bool {
        self.paths.get(path).is_none_or(|node| node.kind == FileKind::Directory)
    }

    fn is_empty(&self, path: &[u8]) -> bool {
        !self.paths.keys().any(|other| split(other).0 == path)
    }

    /// Counts links: of all names of an inode, or of a directory.
    fn count(&mut self, inode: Blkno, by: i32) {
        for node in self.paths.values_mut().filter(|node| node.inode == inode) {
            node.links = node.links.checked_add_signed(by).unwrap();
        }
    }

    fn create(&mut self, edit: &mut Edit, dir: &[u8], name: &[u8], kind: FileKind) {
        let target = match (kind, self.random.below(3)) {
            (FileKind::Symlink, 0) => vec![b't'; 1 + self.random.below(4095)],
            (FileKind::Symlink, _) => b"../where/it/leads".to_vec(),
            _ => Vec::new(),
        };
        let is_device = matches!(kind, FileKind::CharDevice | FileKind::BlockDevice);
        let rdev = if is_device { (8, self.random.below(1 << 20) as u32) } else { (0, 0) };
        let new = NewInode { rdev, target: &target, ..NewInode::of(kind, 0o640) };
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

    fn link(&mut self, edit: &mut Edit) {
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

    fn unlink(&mut self, edit: &mut Edit, path: &[u8]) {
        let ((dir, name), node) = (split(path), self.paths[path].clone());
        let done = edit.unlink(self.inode(dir), name);
        if node.kind == FileKind::Directory && !self.is_empty(path) {
            assert!(matches!(done, Err(EditError::Refused(_))), "{done:?}");
            return;
        }
        done.unwrap();
        self.forget(path);
    }

    fn forget(&mut self, path: &[u8]) {
        let Some(node) = self.paths.remove(path) else { return };
        match node.kind {
            FileKind::Directory => self.count(self.inode(split(path).0), -1),
            _ => self.count(node.inode, -1),
        }
    }

    fn rename(&mut self, edit: &mut Edit) {
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

    fn change(&mut self, edit: &mut Edit) {
        match self.random.below(20) {
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
            _ => {
                if let Some(path) = self.path() {
                    self.unlink(edit, &path);
                }
            }
        }
    }

    /// Brings what was changed to the volume, and looks at it before and after.
    fn settle(&self, bench: &Bench, mut edit: Edit) {
        assert!(read(&edit) == self.paths, "before the commit");
        edit.finish().unwrap();
        bench.commit(&edit);
        assert!(read(&bench.volume()) == self.paths, "after the commit");
        bench.judge();
    }
}

fn begin(options: &str, size: &str, seed: u64, longest: usize) -> (Bench, Names) {
    let bench = Bench::new(options, size);
    let volume = bench.volume();
    let (paths, root) = (read(&volume), volume.root().unwrap().blkno);
    (bench, Names { random: Random(seed), paths, root, longest })
}

/// A tree of small directories that changes in all ways.
fn at_random(options: &str, seed: u64, batches: usize) {
    let (bench, mut names) = begin(options, "64M", seed, 255);
    for _ in 0..batches {
        let mut edit = edit_of(&bench);
        for _ in 0..150 {
            names.change(&mut edit);
        }
        names.settle(&bench, edit);
    }
}

/// One directory that gets many names, loses most of them, and gets others.
fn one_large(options: &str, seed: u64, most: usize, longest: usize) {
    let (bench, mut names) = begin(options, "128M", seed, longest);
    let mut edit = edit_of(&bench);
    names.create(&mut edit, b"", b"large", FileKind::Directory);
    let at = |names: &mut Names, size: usize| {
        let mut edit = edit_of(&bench);
        let inside = |names: &Names| -> Vec<_> {
            names.paths.keys().filter(|path| path.starts_with(b"large/")).cloned().collect()
        };
        let mut there = inside(names);
        while there.len() > size {
            let path = there.swap_remove(names.random.below(there.len()));
            names.unlink(&mut edit, &path);
        }
        let wanted = names.paths.len() + size.saturating_sub(there.len());
        while names.paths.len() < wanted {
            let (name, dirs) = (names.name(), names.random.below(50) == 0);
            let kind = if dirs { FileKind::Directory } else { FileKind::Regular };
            names.create(&mut edit, b"large", &name, kind);
        }
        names.settle(&bench, edit);
    };
    names.settle(&bench, edit);
    for size in [10, most / 10, most, most / 3, most, most / 50, 0, 10] {
        at(&mut names, size);
    }
}

#[test]
fn names_changed_at_random_are_a_sound_tree() {
    at_random("-M local -N 1 -b 512 -C 4K -J size=4M", 1, 8);
    at_random("-M local -N 2 -b 1K -C 4K -J size=4M --fs-features=metaecc", 2, 6);
    at_random("-M local -N 1 -b 4K -C 4K -J size=4M --fs-features=noinline-data", 3, 6);
    at_random("-M local -N 1 -b 4K -C 16K -J size=4M --fs-features=metaecc,xattr", 4, 6);
}

#[test]
fn names_without_an_index_changed_at_random_are_a_sound_tree() {
    at_random("-M local -N 1 -b 512 -C 4K -J size=4M --fs-features=noindexed-dirs", 5, 6);
    let plain = "--fs-features=metaecc,noindexed-dirs,noinline-data";
    at_random(&format!("-M local -N 1 -b 1K -C 8K -J size=4M {plain}"), 6, 6);
    let plain = "--fs-features=noindexed-dirs,noinline-data";
    at_random(&format!("-M local -N 1 -b 4K -C 4K -J size=4M {plain}"), 7, 6);
}

#[test]
fn a_directory_grows_and_shrinks_by_thousands_of_names() {
    one_large("-M local -N 1 -b 512 -C 4K -J size=4M", 10, 3000, 255);
    one_large("-M local -N 1 -b 1K -C 8K -J size=4M --fs-features=metaecc", 11, 2000, 100);
    one_large("-M local -N 1 -b 4K -C 4K -J size=4M --fs-features=noinline-data", 12, 3000, 60);
    one_large("-M local -N 1 -b 512 -C 32K -J size=4M --fs-features=metaecc", 13, 3000, 20);
}

#[test]
fn a_directory_without_an_index_grows_and_shrinks() {
    one_large("-M local -N 1 -b 512 -C 4K -J size=4M --fs-features=noindexed-dirs", 14, 600, 255);
    let plain = "--fs-features=metaecc,noindexed-dirs";
    one_large(&format!("-M local -N 1 -b 4K -C 8K -J size=4M {plain}"), 15, 800, 255);
}

/// A directory of 20,000 names, to which others are added one by one: the most blocks that one of
/// them changes.
fn most_changed(options: &str) -> usize {
    let (bench, mut names) = begin(options, "256M", 20, 30);
    let mut edit = edit_of(&bench);
    let root = names.root;
    let dir = edit.create(root, b"large", &NewInode::of(FileKind::Directory, 0o755)).unwrap();
    let file = edit.create(root, b"one", &NewInode::of(FileKind::Regular, 0o644)).unwrap();
    for number in 0..20_000 {
        edit.hard_link(dir, format!("a name of the file, {number}").as_bytes(), file).unwrap();
    }
    edit.finish().unwrap();
    bench.commit(&edit);
    bench.judge();
    let mut most = 0;
    for _ in 0..200 {
        let mut edit = edit_of(&bench);
        let name = names.name();
        match edit.hard_link(dir, &name, file) {
            Ok(()) => {}
            Err(EditError::Exists(_)) => continue,
            Err(err) => panic!("{err}"),
        }
        edit.finish().unwrap();
        most = most.max(edit.changed_blocks());
        bench.commit(&edit);
    }
    bench.judge();
    most
}

#[test]
fn a_name_more_in_a_directory_of_thousands_writes_a_few_blocks() {
    // Two inodes, a block, the index's root and two leaves, and what a split takes.
    let most = most_changed("-M local -N 1 -b 4K -C 4K -J size=4M");
    assert!(most <= 12, "{most} blocks are changed");
    // A split writes both clusters of eight leaves.
    let most = most_changed("-M local -N 1 -b 512 -C 4K -J size=4M --fs-features=metaecc");
    assert!(most <= 12 + 2 * 8, "{most} blocks are changed");
}

/// Names of a volume that a kernel has filled, with attributes, shared extents, large directories:
/// some are moved, others made beside them, then most are deleted.
fn of_a_kernel(fixture: &str, seed: u64) {
    let scratch = Scratch::new();
    let path = fixture_copy(fixture, &scratch);
    let bench = Bench::open(path, scratch);
    let (ours, theirs) = (program("fsck.ocfs2"), oracle("fsck.ocfs2"));
    let judges = [Some(ours), theirs].into_iter().flatten();
    let judges: Vec<_> = judges.map(|judge| (complaints(&judge, &bench), judge)).collect();
    let volume = bench.volume();
    let (paths, root) = (read(&volume), volume.root().unwrap().blkno);
    let mut names = Names { random: Random(seed), paths, root, longest: 255 };
    for batch in 0..4 {
        let mut edit = edit_of(&bench);
        for _ in 0..200 {
            names.change(&mut edit);
        }
        for _ in 0..names.paths.len() * usize::from(batch > 1) {
            let Some(path) = names.path() else { break };
            names.unlink(&mut edit, &path);
        }
        assert!(read(&edit) == names.paths, "{fixture}, batch {batch}: before the commit");
        edit.finish().unwrap();
        bench.commit(&edit);
        assert!(read(&bench.volume()) == names.paths, "{fixture}, batch {batch}");
        for (before, judge) in &judges {
            let now = complaints(judge, &bench);
            let new: Vec<_> = now.difference(before).collect();
            assert!(new.is_empty(), "{fixture}, batch {batch}: {new:#?}");
        }
    }
}

/// What a judge says, up to the first comma of each finding: paths are others later. Quotas are
/// not counted, so that what is said of those does not matter.
fn complaints(fsck: &Path, bench: &Bench) -> BTreeSet<String> {
    let output = Run::new(fsck).arg("-fn").arg(bench.path()).output();
    let findings = output.stdout.lines().filter(|line| line.starts_with('['));
    let all: Vec<_> = findings.map(|line| line.split(',').next().unwrap().to_owned()).collect();
    if all.is_empty() && output.status != 0 {
        return BTreeSet::from([format!("status {}: {}", output.status, output.stderr)]);
    }
    all.into_iter().filter(|line| !line.starts_with("[QUOTA_")).collect()
}

#[test]
fn what_kernels_have_made_is_moved_and_deleted() {
    for (seed, fixture) in FIXTURES.into_iter().enumerate() {
        of_a_kernel(fixture, seed as u64);
    }
}

#[test]
fn a_step_that_fails_within_another_one_takes_nothing_with_it() {
    let bench = Bench::new("-M local -N 1 -b 1K -C 4K -J size=4M", "64M");
    let mut edit = edit_of(&bench);
    let (root, folder) = (edit.root().unwrap().blkno, NewInode::of(FileKind::Directory, 0o700));
    let before = edit.take_clusters(Want::exactly(1)).unwrap();
    edit.create(root, b"file", &folder).unwrap_err();
    let after = edit.take_clusters(Want::exactly(1)).unwrap();
    assert_ne!(before, after);
    edit.give_clusters(before).unwrap();
    edit.give_clusters(after).unwrap();
    edit.finish().unwrap();
    bench.commit(&edit);
    bench.judge();
}

#[test]
fn a_directory_that_is_damaged_stays_as_it_is() {
    let (bench, mut names) = begin("-M local -N 1 -b 512 -C 4K -J size=4M", "64M", 21, 40);
    let mut edit = edit_of(&bench);
    names.create(&mut edit, b"", b"large", FileKind::Directory);
    for number in 0..100_u32 {
        names.create(&mut edit, b"large", format!("{number}").as_bytes(), FileKind::Regular);
    }
    names.settle(&bench, edit);
    let large = names.inode(b"large");
    // The list of blocks with room leads to what is no block of the directory.
    let volume = bench.volume();
    let dx = volume.inode(large).unwrap().dinode.i_dx_root;
    let mut block = volume.read_block(dx).unwrap();
    block[0x40..0x48].copy_from_slice(&dx.0.to_le_bytes());
    volume.write_raw(dx, &block).unwrap();
    let mut edit = edit_of(&bench);
    let made = edit.create(large, b"one more", &NewInode::of(FileKind::Regular, 0o644));
    assert!(matches!(made, Err(EditError::Volume(Error::Invalid(_)))), "{made:?}");
    edit.finish().unwrap();
    assert_eq!(edit.changed_blocks(), 0);
}

#[test]
fn what_cannot_be_named_or_moved_is_refused_and_changes_nothing() {
    let bench = Bench::new("-M local -N 1 -b 1K -C 4K -J size=4M", "64M");
    let mut edit = edit_of(&bench);
    let (root, file) = (edit.root().unwrap().blkno, bench.file());
    let (regular, folder) =
        (NewInode::of(FileKind::Regular, 0o600), NewInode::of(FileKind::Directory, 0o700));
    let outer = edit.create(root, b"outer", &folder).unwrap();
    let inner = edit.create(outer, b"inner", &folder).unwrap();
    let before = read(&edit);
    for name in [&b""[..], b"a/b", b"a\0b"] {
        assert!(matches!(edit.create(root, name, &regular), Err(EditError::Refused(_))));
    }
    for name in [&b"."[..], b"..", b"outer"] {
        assert!(matches!(edit.create(root, name, &regular), Err(EditError::Exists(_))));
        assert!(matches!(edit.unlink(root, name), Err(EditError::Refused(_))));
    }
    let long = [b'n'; 256];
    assert!(matches!(edit.create(root, &long, &regular), Err(EditError::TooLarge(_))));
    assert!(matches!(
        edit.link(root, b"x", Blkno(0), FileType::Regular),
        Err(EditError::Refused(_))
    ));
    let missing = edit.unlink(root, b"missing");
    assert!(matches!(missing, Err(EditError::Volume(Error::NotFound { .. }))));
    let is_refused = |done: Result<(), EditError>| matches!(done, Err(EditError::Refused(_)));
    assert!(is_refused(edit.rename(root, b"outer", inner, b"x")));
    assert!(is_refused(edit.rename(root, b"outer", outer, b"x")));
    assert!(is_refused(edit.rename(outer, b"inner", root, b"file")));
    assert!(is_refused(edit.rename(root, b"file", outer, b"inner")));
    assert!(is_refused(edit.rename(root, b".", outer, b"x")));
    assert!(is_refused(edit.rename(outer, b"inner", root, b"outer")));
    assert!(is_refused(edit.hard_link(root, b"x", outer)));
    assert!(is_refused(edit.hard_link(root, b"x", root)));
    assert!(matches!(edit.create(file, b"x", &regular), Err(EditError::Volume(_))));
    assert!(read(&edit) == before);
    edit.finish().unwrap();
    bench.commit(&edit);
    bench.judge();
}

#[test]
fn without_an_index_a_file_has_at_most_32000_names() {
    let bench =
        Bench::new("-M local -N 1 -b 1K -C 4K -J size=4M --fs-features=noindexed-dirs", "64M");
    let mut edit = edit_of(&bench);
    let root = edit.root().unwrap().blkno;
    let file = edit.create(root, b"one", &NewInode::of(FileKind::Regular, 0o644)).unwrap();
    edit.update_dinode(file, |dinode, _| dinode.set_links_count(31_999, false)).unwrap();
    edit.hard_link(root, b"two", file).unwrap();
    assert!(matches!(edit.hard_link(root, b"three", file), Err(EditError::TooLarge(_))));
}
