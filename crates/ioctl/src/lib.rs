//! Ioctls on files of a mounted OCFS2 volume.
//!
//! This is the only crate of the workspace with `unsafe`: in `raw`, where each block explains why
//! it is sound. Everything else here deals with plain bytes. The calls are made only on files of an
//! OCFS2 volume, because the same numbers mean something else to other file systems and drivers.
#![deny(missing_docs)]

mod change;
mod extents;
mod info;
mod raw;

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

pub use change::{Goal, Moved, NewGroup};
pub use extents::{Extent, ExtentFlags};
pub use info::{Fragments, InodeRoom, Row};

/// `f_type` of a mounted OCFS2 volume.
const MAGIC: i64 = 0x7461_636f;

/// A file or folder on a mounted OCFS2 volume: the kernel can be asked about it, and told to change
/// it or the volume.
#[derive(Debug)]
pub struct Mounted {
    file: File,
    /// Whether cluster locks are taken, to include changes of other nodes.
    is_coherent: bool,
}

impl Mounted {
    /// Opens a path for reading; `None` if it is not on an OCFS2 volume. If `is_coherent`, cluster
    /// locks are taken, to include changes of other nodes.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path, is_coherent: bool) -> io::Result<Option<Self>> {
        Self::open_with(path, OpenOptions::new().read(true), is_coherent)
    }

    /// Opens a file for reading and writing; `None` if it is not on an OCFS2 volume.
    ///
    /// # Errors
    /// If it cannot be opened, as a folder or a file of somebody else.
    pub fn open_to_change(path: &Path) -> io::Result<Option<Self>> {
        Self::open_with(path, OpenOptions::new().read(true).write(true), true)
    }

    /// Opens a regular file, also for writing if `writes`; `None` if it is not on an OCFS2 volume. What
    /// a symbolic link points to is not opened: in a folder of somebody else it may be anything.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open_file(path: &Path, writes: bool) -> io::Result<Option<Self>> {
        use std::os::unix::fs::OpenOptionsExt;
        let mut how = OpenOptions::new();
        // A pipe in its place would block otherwise.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        how.read(true).write(writes).custom_flags(flags.bits() as i32);
        match path.symlink_metadata()?.is_file() {
            true => Self::open_with(path, &how, true),
            false => Ok(None),
        }
    }

    /// Number of blocks of the volume, as the kernel has it: the device may be behind.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn blocks(&self) -> io::Result<u64> {
        Ok(rustix::fs::fstatfs(&self.file)?.f_blocks)
    }

    /// The size of the file in bytes.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Whether the volume is mounted read-only.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn is_read_only(&self) -> io::Result<bool> {
        let flags = rustix::fs::fstatvfs(&self.file)?.f_flag;
        Ok(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY))
    }

    /// Takes the lock of this file or folder, as flock(2), if nobody has it: on this host, and in
    /// the cluster unless the volume was mounted with `localflocks`. It is held until this is
    /// dropped.
    ///
    /// # Errors
    /// Those of the kernel, other than that somebody has it.
    pub fn try_lock(&self) -> io::Result<bool> {
        use rustix::fs::{FlockOperation, flock};
        match flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(err) => Err(err.into()),
        }
    }

    fn open_with(path: &Path, how: &OpenOptions, is_coherent: bool) -> io::Result<Option<Self>> {
        // Opening a special file might block or have side effects.
        let kind = path.metadata()?.file_type();
        if !kind.is_file() && !kind.is_dir() {
            return Ok(None);
        }
        let file = how.open(path)?;
        let is_ocfs2 = rustix::fs::fstatfs(&file)?.f_type as i64 == MAGIC;
        Ok(is_ocfs2.then_some(Self { file, is_coherent }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_ocfs2_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Mounted::open(folder.path(), false).unwrap().is_none());
        assert!(Mounted::open(Path::new("/dev/null"), false).unwrap().is_none());
        assert!(Mounted::open(Path::new("/proc/self/maps"), true).unwrap().is_none());
        assert!(Mounted::open(&folder.path().join("none"), false).is_err());
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        assert!(Mounted::open_to_change(&file).unwrap().is_none());
        assert!(Mounted::open_to_change(folder.path()).is_err());
    }
}
