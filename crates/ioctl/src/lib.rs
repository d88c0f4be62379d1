//! What the kernel is asked about a mounted OCFS2 volume by ioctl.
//!
//! This is the only crate of the workspace with `unsafe`: `raw`, in which each block says why it is
//! sound. Everything else here is bytes in and bytes out. A file is asked only if it is on an OCFS2
//! volume: to the file systems and drivers of others the same numbers mean something else.
#![deny(missing_docs)]

mod extents;
mod info;
mod raw;

use std::fs::File;
use std::io;
use std::path::Path;

pub use extents::{Extent, ExtentFlags};
pub use info::{Fragments, InodeRoom, Row};

/// `f_type` of a mounted OCFS2 volume.
const MAGIC: i64 = 0x7461_636f;

/// A file or a folder on a mounted OCFS2 volume, whose kernel can be asked.
#[derive(Debug)]
pub struct Mounted {
    file: File,
    /// Whether cluster locks are taken for what other nodes change.
    is_coherent: bool,
}

impl Mounted {
    /// Opens a path for reading; nothing if it is not on an OCFS2 volume. Where `is_coherent`, locks
    /// of the cluster are taken for what other nodes change.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path, is_coherent: bool) -> io::Result<Option<Self>> {
        // What is no file might wait, or do something, when it is opened.
        let kind = path.metadata()?.file_type();
        if !kind.is_file() && !kind.is_dir() {
            return Ok(None);
        }
        let file = File::open(path)?;
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
    }
}
