//! The files of a folder.

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ocfs2_format::dinode::FileKind;
use ocfs2_volume::Timestamp;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use crate::files::{Attributes, Contents, DirectoryId, FileId, Files, FillError};

/// A folder whose files are being copied.
struct Open {
    folder: OwnedFd,
    path: PathBuf,
    id: DirectoryId,
    /// Names still to copy, the next one last.
    names: Vec<CString>,
}

/// Copies the contents of the folder `path`, sorted by name, and its attributes to the root.
pub(super) fn fill(
    path: &Path,
    files: &mut Files<'_>,
    image: Option<(u64, u64)>,
) -> Result<(), FillError> {
    raise_limit();
    let failed = |err: Errno| FillError::Read(err.into()).at(path);
    let folder = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty());
    let folder = folder.map_err(failed)?;
    let stat = rustix::fs::fstat(&folder).map_err(failed)?;
    let attributes = attributes(&stat, &Place::Open(folder.as_fd())).map_err(|err| err.at(path))?;
    files.set_attributes(Files::ROOT, attributes)?;
    let mut links: HashMap<(u64, u64), FileId> = HashMap::new();
    let mut stack = vec![opened(folder, path.to_owned(), Files::ROOT)?];
    while let Some(open) = stack.last_mut() {
        let Some(name) = open.names.pop() else {
            files.finish(open.id).map_err(|err| err.at(&open.path))?;
            stack.pop();
            continue;
        };
        let path = open.path.join(OsStr::from_bytes(name.as_bytes()));
        match copy(open, &name, &path, files, &mut links, image) {
            Ok(None) => {}
            Ok(Some((folder, id))) => stack.push(opened(folder, path, id)?),
            Err(err) => return Err(err.at(path)),
        }
    }
    Ok(())
}

/// Raises the limit of open files, because each level of a deep tree keeps a folder open. Without
/// success, opening will fail with an error.
fn raise_limit() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised);
}

fn opened(folder: OwnedFd, path: PathBuf, id: DirectoryId) -> Result<Open, FillError> {
    let mut names = Vec::new();
    let list = Dir::read_from(&folder).map_err(|err| FillError::Read(err.into()).at(&path))?;
    for entry in list {
        let entry = entry.map_err(|err| FillError::Read(err.into()).at(&path))?;
        let name = entry.file_name();
        if name.to_bytes() != b"." && name.to_bytes() != b".." {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(Open { folder, path, id, names })
}

/// Copies a file. A folder is created and returned open.
fn copy(
    open: &Open,
    name: &CString,
    path: &Path,
    files: &mut Files<'_>,
    links: &mut HashMap<(u64, u64), FileId>,
    image: Option<(u64, u64)>,
) -> Result<Option<(OwnedFd, DirectoryId)>, FillError> {
    let read = |err: Errno| FillError::Read(err.into());
    let (id, bytes) = (open.id, name.to_bytes());
    let stat = rustix::fs::statat(&open.folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(read)?;
    let identity = (stat.st_dev, stat.st_ino);
    let kind = FileKind::from_mode(stat.st_mode as u16);
    let Some(kind) = kind else {
        return Err(FillError::Source(format!("is of an unknown kind: mode {:o}", stat.st_mode)));
    };
    if image == Some(identity) {
        return Err(FillError::Source("is the image that is being made".to_owned()));
    }
    if let Some(file) = links.get(&identity).filter(|_| kind != FileKind::Directory) {
        files.link(id, bytes, *file)?;
        return Ok(None);
    }
    let by_path = || attributes(&stat, &Place::Path(path));
    let file = match kind {
        FileKind::Directory | FileKind::Regular => {
            // Non-blocking, because it may have become a pipe meanwhile.
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file =
                rustix::fs::openat(&open.folder, name, flags, Mode::empty()).map_err(read)?;
            let now = rustix::fs::fstat(&file).map_err(read)?;
            if FileKind::from_mode(now.st_mode as u16) != Some(kind) {
                return Err(FillError::Source("has changed while it was read".to_owned()));
            }
            let attributes = attributes(&now, &Place::Open(file.as_fd()))?;
            if kind == FileKind::Directory {
                return Ok(Some((file, files.directory(id, bytes, attributes)?)));
            }
            let mut contents = OnDisk { file: File::from(file), size: now.st_size as u64 };
            files.regular(id, bytes, &attributes, &mut contents)?
        }
        FileKind::Symlink => {
            let target = rustix::fs::readlinkat(&open.folder, name, Vec::new()).map_err(read)?;
            files.symlink(id, bytes, &by_path()?, target.as_bytes())?
        }
        _ => {
            let numbers = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
            files.special(id, bytes, &by_path()?, kind, numbers)?
        }
    };
    if stat.st_nlink > 1 {
        links.insert(identity, file);
    }
    Ok(None)
}

/// A regular file.
struct OnDisk {
    file: File,
    size: u64,
}

impl Contents for OnDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn data(&mut self) -> io::Result<Vec<Range<u64>>> {
        let mut ranges = Vec::new();
        let mut end = 0;
        while end < self.size {
            let start = match rustix::fs::seek(&self.file, SeekFrom::Data(end)) {
                Ok(start) => start,
                Err(Errno::NXIO) => break,
                Err(err) => return Err(err.into()),
            };
            end = rustix::fs::seek(&self.file, SeekFrom::Hole(start))?;
            ranges.push(start..end);
        }
        Ok(ranges)
    }

    fn read(&mut self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset).map_err(|err| match err.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::other("it has become shorter meanwhile"),
            _ => err,
        })
    }
}

/// How to ask for the attributes of a file.
enum Place<'a> {
    Open(std::os::fd::BorrowedFd<'a>),
    /// For a symbolic link or a device node, which is not opened.
    Path(&'a Path),
}

impl Place<'_> {
    fn list(&self, buf: &mut [u8]) -> rustix::io::Result<usize> {
        match self {
            Self::Open(file) => rustix::fs::flistxattr(file, buf),
            Self::Path(path) => rustix::fs::llistxattr(*path, buf),
        }
    }

    fn get(&self, name: &[u8], buf: &mut [u8]) -> rustix::io::Result<usize> {
        match self {
            Self::Open(file) => rustix::fs::fgetxattr(file, name, buf),
            Self::Path(path) => rustix::fs::lgetxattr(*path, name, buf),
        }
    }
}

fn attributes(stat: &Stat, place: &Place<'_>) -> Result<Attributes, FillError> {
    Ok(Attributes {
        permissions: stat.st_mode as u16 & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: Timestamp { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 },
        xattrs: xattrs(place).map_err(FillError::Read)?,
    })
}

fn xattrs(place: &Place<'_>) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let list = match whole(|buf| place.list(buf)) {
        Err(err) if err == Errno::OPNOTSUPP => return Ok(Vec::new()),
        list => list?,
    };
    let mut xattrs = Vec::new();
    for name in list.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match whole(|buf| place.get(name, buf)) {
            Ok(value) => xattrs.push((name.to_vec(), value)),
            // It was removed meanwhile.
            Err(Errno::NODATA) => {}
            Err(err) => return Err(err.into()),
        }
    }
    Ok(xattrs)
}

/// Repeats a call with larger buffers until the result fits.
fn whole(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut buf = vec![0; 256];
    loop {
        match call(&mut buf) {
            Ok(len) => {
                buf.truncate(len);
                return Ok(buf);
            }
            Err(Errno::RANGE) if buf.len() < 1 << 20 => buf.resize(buf.len() * 16, 0),
            Err(err) => return Err(err),
        }
    }
}
