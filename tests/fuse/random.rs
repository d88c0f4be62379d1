//! Random operations on a mounted volume, beside a model in memory: afterwards, and after a second
//! mount, the volume reads as the model, and neither fsck finds anything.

use std::env;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use ocfs2_testing::{Random, Scratch};
use rustix::fs::{FallocateFlags, RenameFlags, XattrFlags, renameat_with};
use rustix::io::Errno;

use crate::model::{Body, Model, Node, Number, compare, read};
use crate::mount::{Written, is_possible, judge, volume};

/// Largest file.
const MOST_BYTES: usize = 600_000;

/// The model, the mounted volume, and the source of randomness.
pub struct Stress {
    pub random: Random,
    pub model: Model,
    pub folder: PathBuf,
    last: Number,
    /// Open files, some of which have no name any more.
    open: Vec<(File, Number)>,
    /// Whether contents that exist may be overwritten.
    pub overwrites: bool,
    /// The paths of the last rename.
    pub renamed: Option<(PathBuf, PathBuf)>,
}

impl Stress {
    pub fn new(seed: u64, folder: &Path) -> Self {
        let (model, open) = (Model::default(), Vec::new());
        let random = Random(seed);
        let (folder, renamed) = (folder.to_owned(), None);
        Self { random, model, folder, last: 0, open, overwrites: true, renamed }
    }

    fn at(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    fn any_folder(&mut self) -> PathBuf {
        let names = self.model.names.keys().filter(|path| self.model.is_folder(path));
        let folders: Vec<_> = names.cloned().collect();
        let index = self.random.below(folders.len() + 1);
        folders.get(index).cloned().unwrap_or_default()
    }

    fn any_path(&mut self) -> Option<PathBuf> {
        let index = self.random.below(self.model.names.len().max(1));
        self.model.names.keys().nth(index).cloned()
    }

    fn new_path(&mut self) -> PathBuf {
        let longest = if self.random.below(6) == 0 { 200 } else { 10 };
        let len = 1 + self.random.below(longest);
        let name: String =
            (0..len).map(|_| char::from(b'a' + self.random.below(26) as u8)).collect();
        self.any_folder().join(name)
    }

    /// A file, its path and its number.
    fn any_file(&mut self) -> Option<(PathBuf, Number)> {
        let is_file = |number: &Number| matches!(self.model.nodes[number].body, Body::File(_));
        let files: Vec<_> = self.model.names.iter().filter(|(_, number)| is_file(number)).collect();
        let index = self.random.below(files.len().max(1));
        files.get(index).map(|(path, number)| ((*path).clone(), **number))
    }

    fn contents(&mut self, number: Number) -> &mut Vec<u8> {
        let Body::File(bytes) = &mut self.model.nodes.get_mut(&number).unwrap().body else {
            panic!("no file");
        };
        Arc::make_mut(bytes)
    }

    fn add(&mut self, path: PathBuf, body: Body, mode: u32) -> Number {
        self.last += 1;
        let node = Node { body, mode, attributes: Default::default() };
        self.model.nodes.insert(self.last, node);
        self.model.names.insert(path, self.last);
        self.last
    }

    fn forget(&mut self, path: &Path) {
        let number = self.model.names.remove(path).unwrap();
        let is_named = self.model.names.values().any(|other| *other == number);
        let is_open = self.open.iter().any(|(_, other)| *other == number);
        if !is_named && !is_open {
            self.model.nodes.remove(&number);
        }
    }

    fn create(&mut self) -> Result<(), Errno> {
        let path = self.new_path();
        let full = self.at(&path);
        let is_there = self.model.names.contains_key(&path);
        let made = match self.random.below(8) {
            0 => {
                let target = PathBuf::from("t".repeat(1 + self.random.below(500)));
                symlink(&target, &full).map(|()| (Body::Symlink(target), 0o777))
            }
            1 => {
                let mode = rustix::fs::Mode::from(0o640);
                let kind = rustix::fs::FileType::Fifo;
                let made = rustix::fs::mknodat(rustix::fs::CWD, &full, kind, mode, 0);
                made.map(|()| (Body::Fifo, 0o640)).map_err(Into::into)
            }
            2 | 3 => fs::create_dir(&full).map(|()| (Body::Directory, 0o755)),
            _ => File::create_new(&full).map(|_| (Body::File(Arc::default()), 0o644)),
        };
        match made {
            Ok((body, mode)) => {
                assert!(!is_there, "{} was made twice", path.display());
                self.add(path, body, mode);
                Ok(())
            }
            Err(err) if is_there && err.raw_os_error() == Some(17) => Ok(()),
            Err(err) => Err(errno(&err)),
        }
    }

    /// Where to write, and how much.
    fn place(&mut self, size: usize) -> (usize, usize) {
        let len = match self.random.below(4) {
            0 => 1 + self.random.below(100_000),
            1 => (1 + self.random.below(8)) * 4096,
            _ => 1 + self.random.below(5000),
        };
        let at = match self.random.below(5) {
            _ if !self.overwrites => size,
            0 => self.random.below(MOST_BYTES - len),
            1 => self.random.below(size + 1) & !4095,
            2 => size,
            _ => self.random.below(size + 1),
        };
        (at.min(MOST_BYTES), len.min(MOST_BYTES.saturating_sub(at)))
    }

    fn write(&mut self) -> Result<(), Errno> {
        let chosen = match self.random.below(4) {
            0 if !self.open.is_empty() => {
                let index = self.random.below(self.open.len());
                let (file, number) = &self.open[index];
                Some((file.try_clone().unwrap(), *number))
            }
            _ => self.any_file().map(|(path, number)| {
                let options = OpenOptions::new().read(true).write(true).open(self.at(&path));
                (options.unwrap_or_else(|err| panic!("{}: {err}", path.display())), number)
            }),
        };
        let Some((file, number)) = chosen else { return Ok(()) };
        let size = self.contents(number).len();
        let (at, len) = self.place(size);
        if len == 0 {
            return Ok(());
        }
        let bytes = self.random.bytes(len);
        let written = file.write_at(&bytes, at as u64).map_err(|err| errno(&err))?;
        let contents = self.contents(number);
        contents.resize(contents.len().max(at + written), 0);
        contents[at..at + written].copy_from_slice(&bytes[..written]);
        self.check(&file, number);
        Ok(())
    }

    /// Reads a part of a file.
    fn check(&mut self, mut file: &File, number: Number) {
        let size = self.contents(number).len();
        let at = self.random.below(size + 1);
        let len = self.random.below(size - at + 1).min(50_000);
        let mut bytes = vec![0; len];
        file.seek(SeekFrom::Start(at as u64)).unwrap();
        file.read_exact(&mut bytes).unwrap();
        assert!(bytes == self.contents(number)[at..at + len], "contents at {at}");
    }

    fn resize(&mut self) -> Result<(), Errno> {
        let Some((path, number)) = self.any_file() else { return Ok(()) };
        let file = OpenOptions::new().read(true).write(true).open(self.at(&path)).unwrap();
        let size = self.contents(number).len();
        let (at, len) = (self.random.below(MOST_BYTES), 1 + self.random.below(200_000));
        let end = at + len;
        let flags = match self.random.below(4) {
            0 => {
                let new = if self.random.below(2) == 0 { at } else { self.random.below(size + 1) };
                file.set_len(new as u64).map_err(|err| errno(&err))?;
                self.contents(number).resize(new, 0);
                self.check(&file, number);
                return Ok(());
            }
            1 => FallocateFlags::empty(),
            2 => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            _ => FallocateFlags::ZERO_RANGE,
        };
        match rustix::fs::fallocate(&file, flags, at as u64, len as u64) {
            // A volume without unwritten extents.
            Err(Errno::OPNOTSUPP) => return Ok(()),
            done => done?,
        }
        let contents = self.contents(number);
        if !flags.contains(FallocateFlags::KEEP_SIZE) {
            contents.resize(contents.len().max(end), 0);
        }
        if !flags.is_empty() {
            let (from, to) = (at.min(contents.len()), end.min(contents.len()));
            contents[from..to].fill(0);
        }
        self.check(&file, number);
        Ok(())
    }

    fn unlink(&mut self) -> Result<(), Errno> {
        let Some(path) = self.any_path() else { return Ok(()) };
        let full = self.at(&path);
        if !self.model.is_folder(&path) {
            fs::remove_file(&full).map_err(|err| errno(&err))?;
            self.forget(&path);
            return Ok(());
        }
        let is_empty = self.model.is_empty(&path);
        match fs::remove_dir(&full) {
            Ok(()) => {
                assert!(is_empty);
                self.forget(&path);
            }
            Err(err) if !is_empty => assert_eq!(errno(&err), Errno::NOTEMPTY),
            Err(err) => return Err(errno(&err)),
        }
        Ok(())
    }

    fn rename(&mut self) -> Result<(), Errno> {
        let Some(from) = self.any_path() else { return Ok(()) };
        let to = match self.random.below(2) {
            0 => self.new_path(),
            _ => self.any_path().unwrap(),
        };
        let flags = match self.random.below(4) {
            0 => RenameFlags::NOREPLACE,
            1 => RenameFlags::EXCHANGE,
            _ => RenameFlags::empty(),
        };
        let cwd = rustix::fs::CWD;
        self.renamed = Some((from.clone(), to.clone()));
        let done = renameat_with(cwd, self.at(&from), cwd, self.at(&to), flags);
        let is_there = self.model.names.contains_key(&to);
        let (is_folder, over_folder) = (self.model.is_folder(&from), self.model.is_folder(&to));
        let is_same = self.model.names.get(&from) == self.model.names.get(&to);
        let is_inside = is_folder && to != from && to.starts_with(&from)
            || flags == RenameFlags::EXCHANGE && over_folder && to != from && from.starts_with(&to);
        let expected = match () {
            () if flags == RenameFlags::EXCHANGE && !is_there => Err(Errno::NOENT),
            () if flags == RenameFlags::NOREPLACE && is_there => Err(Errno::EXIST),
            () if is_inside => Err(Errno::INVAL),
            () if is_same || flags == RenameFlags::EXCHANGE || !is_there => Ok(()),
            () if from.starts_with(&to) => Err(Errno::NOTEMPTY),
            () if is_folder && !over_folder => Err(Errno::NOTDIR),
            () if !is_folder && over_folder => Err(Errno::ISDIR),
            () if over_folder && !self.model.is_empty(&to) => Err(Errno::NOTEMPTY),
            () => Ok(()),
        };
        match (done, expected) {
            (Ok(()), Ok(())) => {}
            (Err(err), Err(expected)) => {
                assert_eq!(err, expected, "{} to {} {flags:?}", from.display(), to.display());
                return Ok(());
            }
            (Err(err), Ok(())) => return Err(err),
            (Ok(()), Err(expected)) => {
                panic!("{} to {}: {flags:?}, not {expected}", from.display(), to.display())
            }
        }
        if is_same {
            return Ok(());
        }
        if flags == RenameFlags::EXCHANGE {
            let aside = PathBuf::from("/aside");
            self.model.rename(&from, &aside);
            self.model.rename(&to, &from);
            self.model.rename(&aside, &to);
            return Ok(());
        }
        if is_there {
            self.forget(&to);
        }
        self.model.rename(&from, &to);
        Ok(())
    }

    fn link(&mut self) -> Result<(), Errno> {
        let (Some(from), to) = (self.any_path(), self.new_path()) else { return Ok(()) };
        let done = fs::hard_link(self.at(&from), self.at(&to));
        match done {
            Ok(()) => {
                assert!(!self.model.is_folder(&from) && !self.model.names.contains_key(&to));
                let number = self.model.names[&from];
                self.model.names.insert(to, number);
                Ok(())
            }
            Err(_) if self.model.is_folder(&from) || self.model.names.contains_key(&to) => Ok(()),
            Err(err) => Err(errno(&err)),
        }
    }

    fn attributes(&mut self) -> Result<(), Errno> {
        let Some(path) = self.any_path() else { return Ok(()) };
        let (full, number) = (self.at(&path), self.model.names[&path]);
        let is_plain = matches!(self.model.nodes[&number].body, Body::File(_) | Body::Directory);
        if !is_plain {
            return Ok(());
        }
        let name = format!("user.{}", self.random.below(12));
        match self.random.below(4) {
            0 => {
                let mode = 0o600 | self.random.below(0o1000) as u32;
                fs::set_permissions(&full, Permissions::from_mode(mode))
                    .map_err(|err| errno(&err))?;
                self.model.nodes.get_mut(&number).unwrap().mode = mode;
            }
            1 => match rustix::fs::removexattr(&full, name.as_str()) {
                Ok(()) => {
                    let known = &mut self.model.nodes.get_mut(&number).unwrap().attributes;
                    known.remove(&name).unwrap();
                }
                Err(Errno::NODATA) => {
                    assert!(!self.model.nodes[&number].attributes.contains_key(&name));
                }
                Err(err) => return Err(err),
            },
            _ => {
                let most = if self.random.below(5) == 0 { 9000 } else { 100 };
                let len = self.random.below(most);
                let value = self.random.bytes(len);
                rustix::fs::setxattr(&full, name.as_str(), &value, XattrFlags::empty())?;
                let known = &mut self.model.nodes.get_mut(&number).unwrap().attributes;
                known.insert(name, value);
            }
        }
        Ok(())
    }

    fn copy(&mut self) -> Result<(), Errno> {
        let Some((from, number)) = self.any_file() else { return Ok(()) };
        let to = self.new_path();
        if self.model.names.contains_key(&to) {
            return Ok(());
        }
        let (source, target) = (File::open(self.at(&from)), File::create_new(self.at(&to)));
        let (source, target) = (source.unwrap(), target.map_err(|err| errno(&err))?);
        let bytes = self.contents(number).clone();
        let copy = self.add(to, Body::File(Arc::default()), 0o644);
        let mut done = 0;
        while done < bytes.len() {
            let left = bytes.len() - done;
            let count = rustix::fs::copy_file_range(&source, None, &target, None, left)?;
            assert!(count > 0);
            done += count;
            let copied = bytes[..done].to_vec();
            *self.contents(copy) = copied;
        }
        Ok(())
    }

    /// Opens a file, or closes one.
    fn hold(&mut self) -> Result<(), Errno> {
        if self.open.len() > 3 || self.open.len() > self.random.below(4) {
            let index = self.random.below(self.open.len());
            let (file, number) = self.open.swap_remove(index);
            self.check(&file, number);
            drop(file);
            let is_named = self.model.names.values().any(|other| *other == number);
            let is_open = self.open.iter().any(|(_, other)| *other == number);
            if !is_named && !is_open {
                self.model.nodes.remove(&number);
            }
            return Ok(());
        }
        let Some((path, number)) = self.any_file() else { return Ok(()) };
        let file = OpenOptions::new().read(true).write(true).open(self.at(&path));
        self.open.push((file.map_err(|err| errno(&err))?, number));
        Ok(())
    }

    /// Syncs a file or a directory. Returns whether it did.
    pub fn sync(&mut self) -> Result<bool, Errno> {
        let folder = self.any_folder();
        let file = File::open(self.at(&folder)).map_err(|err| errno(&err))?;
        rustix::fs::fsync(&file).map(|()| true)
    }

    /// Does something. Returns whether everything before is permanent now.
    pub fn step(&mut self) -> Result<bool, Errno> {
        self.renamed = None;
        match self.random.below(40) {
            0..=9 => self.create()?,
            10..=19 => self.write()?,
            20..=22 if self.overwrites => self.resize()?,
            20..=25 => self.unlink()?,
            26..=30 => self.rename()?,
            31..=32 => self.link()?,
            33..=36 => self.attributes()?,
            37 if self.overwrites => self.copy()?,
            38 if self.overwrites => self.hold()?,
            _ => return self.sync(),
        }
        Ok(false)
    }

    fn close_all(&mut self) {
        for (_, number) in std::mem::take(&mut self.open) {
            if !self.model.names.values().any(|other| *other == number) {
                self.model.nodes.remove(&number);
            }
        }
    }
}

pub fn errno(err: &std::io::Error) -> Errno {
    Errno::from_io_error(err).unwrap_or(Errno::IO)
}

/// Prints the seed if the test fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("OCFS2_FUSE_SEED={}", self.0);
        }
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|number| number.parse().unwrap())
}

fn at_random(options: &str, size: &str, seed: u64, steps: u64) {
    let _named = Seed(seed);
    let scratch = Scratch::new();
    let image = volume(&scratch, options, size);
    let folder = scratch.join("mnt");
    let mut stress = Stress::new(seed, &folder);
    for round in 0..2 {
        let mounted = Written::new(&image, &folder);
        if round > 0 {
            compare(&read(&folder), &stress.model.shown(), "mounted again");
        }
        for _ in 0..steps {
            match stress.step() {
                Ok(_) | Err(Errno::NOSPC) => {}
                Err(err) => panic!("{err}"),
            }
        }
        stress.close_all();
        compare(&read(&folder), &stress.model.shown(), "mounted");
        mounted.unmount();
        judge(&image);
    }
}

#[test]
fn a_volume_reads_as_it_was_written() {
    if !is_possible() {
        return;
    }
    let steps = number("OCFS2_FUSE_STEPS").unwrap_or(400);
    let seeds = number("OCFS2_FUSE_SEED").map_or(1..4, |seed| seed..seed + 1);
    let kinds = [
        ("-b 4K -C 4K -J size=4M", "64M"),
        ("-b 1K -C 32K -J size=4M --fs-features=metaecc,usrquota,grpquota", "64M"),
        ("-b 512 -C 4K -J size=4M --fs-features=noinline-data,noindexed-dirs", "48M"),
        ("-b 2K -C 16K -J size=4M --fs-features=norefcount,nosparse,nounwritten", "64M"),
    ];
    for (seed, (options, size)) in seeds.cycle().zip(kinds) {
        at_random(options, size, seed, steps);
    }
}

#[test]
fn a_full_volume_stays_in_order() {
    if !is_possible() {
        return;
    }
    at_random("-b 4K -C 4K -J size=4M", "16M", 7, number("OCFS2_FUSE_STEPS").unwrap_or(400));
}
