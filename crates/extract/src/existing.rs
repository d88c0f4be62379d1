//! Files that are in the folder already, such as those of a copy that was interrupted.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use ocfs2_format::dinode::FileKind;

use crate::local::{local_path, timespec};
use crate::{Copied, CopyError};

/// What happens to files that are there already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Existing {
    /// Each is an error.
    Refused,
    /// Folders are used. What is the same is left as it is: a file of the same size and time, a link
    /// to the same target, a device of the same number. Anything else is an error.
    Left,
    /// The same, but what is not the same is replaced, unless it is a folder.
    Replaced,
}

/// Whether something of a copy is there already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum There {
    /// It has to be made.
    No,
    /// It is, and stays.
    Same,
}

impl Existing {
    /// Whether `path` is there already; what is to be replaced is removed. `is_same` says whether
    /// it is what the copy would make.
    pub(crate) fn check(
        self,
        path: &Path,
        is_same: impl FnOnce(&Metadata) -> bool,
    ) -> Result<There, CopyError> {
        // What a link points to is not meant.
        let metadata = match path.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(There::No),
            Err(err) => return Err(CopyError::of_file(&err, path)),
        };
        if self != Self::Refused && is_same(&metadata) {
            return Ok(There::Same);
        }
        match self {
            Self::Replaced if !metadata.is_dir() => {
                fs::remove_file(path).map_err(|err| CopyError::of_file(&err, path))?;
                Ok(There::No)
            }
            _ => Err(CopyError::of_file(&rustix::io::Errno::EXIST.into(), path)),
        }
    }
}

/// Whether a file has the size of the inode and its time, which a copy gets last.
pub(crate) fn is_same_file(it: &Copied<'_>, metadata: &Metadata) -> bool {
    let time = timespec(it.inode.mtime());
    // Some file systems have no fractions of seconds.
    let is_same_time = metadata.mtime() == time.tv_sec
        && (metadata.mtime_nsec() == time.tv_nsec || metadata.mtime_nsec() == 0);
    metadata.is_file() && metadata.len() == it.inode.size() && is_same_time
}

/// Whether a file is a link to this target.
pub(crate) fn is_same_link(path: &Path, to: &[u8]) -> bool {
    fs::read_link(path).is_ok_and(|there| there == local_path(to))
}

/// Whether a file is a device, a FIFO or a socket as the inode is.
pub(crate) fn is_same_special(kind: FileKind, device: u64, metadata: &Metadata) -> bool {
    let there = metadata.file_type();
    match kind {
        FileKind::CharDevice => there.is_char_device() && metadata.rdev() == device,
        FileKind::BlockDevice => there.is_block_device() && metadata.rdev() == device,
        FileKind::Socket => there.is_socket(),
        _ => there.is_fifo(),
    }
}
