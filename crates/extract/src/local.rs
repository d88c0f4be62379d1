//! Files of this machine that get what a file of the volume has: contents, owner, mode and times.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ocfs2_format::dinode::FileKind;
use ocfs2_volume::file::FileReader;
use ocfs2_volume::{Error, Inode, Timestamp};
use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};

use crate::{Copied, CopyError, reason};

/// Bytes copied at a time.
const PIECE: u64 = 1 << 20;

/// The path of this machine that a word names.
pub fn local_path(word: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(word))
}

/// What of a file cannot be read.
#[derive(Debug, Default)]
struct Lost {
    /// Bytes whose place is known.
    bytes: u64,
    /// The first of them.
    first: Option<u64>,
    /// Why.
    reason: Option<String>,
}

impl Lost {
    fn add(&mut self, at: u64, len: u64, err: &Error) {
        self.bytes += len;
        self.first.get_or_insert(at);
        self.add_unknown(err);
    }

    /// A part of the tree, with an unknown part of the contents.
    fn add_unknown(&mut self, err: &Error) {
        self.reason.get_or_insert_with(|| reason(err));
    }

    /// The outcome for a file of this size, of which something was copied or not.
    fn outcome(self, size: u64, is_any: bool) -> Result<(), CopyError> {
        let Self { bytes, first, reason } = self;
        let Some(reason) = reason else { return Ok(()) };
        if !is_any {
            return Err(CopyError::Unreadable(format!("nothing of it can be read: {reason}")));
        }
        let what = match first {
            Some(first) => {
                format!("{bytes} of {size} bytes cannot be read, the first at byte {first}")
            }
            None => "a part of it cannot be read".to_owned(),
        };
        Err(CopyError::Incomplete(format!("{what}: {reason}; the copy has zeros there")))
    }
}

/// Reads the contents of a file piece by piece, without its holes and what cannot be read.
///
/// # Errors
/// What cannot be read, after everything else; the first error of `each`.
pub fn each_piece(
    it: &Copied<'_>,
    reader: &FileReader<'_>,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), CopyError>,
) -> Result<(), CopyError> {
    let block = u64::from(it.volume.block_size().bytes());
    let mut buf = vec![0; PIECE as usize];
    let (mut lost, mut is_any) = (Lost::default(), false);
    for stored in reader.stored() {
        it.interrupt.check()?;
        let stored = match stored {
            Ok(stored) => stored,
            Err(err) => {
                lost.add_unknown(&err);
                continue;
            }
        };
        let mut at = stored.range.start;
        // What cannot be read in one piece is read block by block, up to here.
        let mut slow_until = at;
        while at < stored.range.end {
            it.interrupt.check()?;
            let most = if at < slow_until { block } else { PIECE };
            let len = (stored.range.end - at).min(most);
            let Some(piece) = buf.get_mut(..len as usize) else { break };
            match reader.read_stored(&stored, piece, at) {
                Ok(()) => {
                    is_any = true;
                    each(at, piece)?;
                }
                Err(_) if len > block => {
                    slow_until = at + len;
                    continue;
                }
                Err(err) => lost.add(at, len, &err),
            }
            at += len;
        }
    }
    lost.outcome(reader.size(), is_any)
}

/// Writes the contents of a file; holes stay holes, and so does what cannot be read.
///
/// # Errors
/// [`CopyError`]; after [`CopyError::Incomplete`] what can be read was written.
pub fn write_contents(it: &Copied<'_>, mut file: &File, path: &Path) -> Result<(), CopyError> {
    let reader = it.volume.file(it.inode).map_err(|err| it.failed(&err))?;
    let read = each_piece(it, &reader, |at, piece| {
        let written = file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(piece));
        written.map_err(|err| CopyError::of_file(&err, path))
    });
    if let Ok(()) | Err(CopyError::Incomplete(_)) = read {
        file.set_len(it.inode.size()).map_err(|err| CopyError::of_file(&err, path))?;
    }
    read
}

/// A file of this machine. What is not open is not followed if it is a link.
#[derive(Debug)]
pub enum Place<'a> {
    /// An open file.
    Open(&'a File),
    /// For what is not opened: a link, a device, a directory.
    Path(&'a Path),
}

impl Place<'_> {
    /// Sets an extended attribute.
    ///
    /// # Errors
    /// Those of the system.
    pub fn set_attribute(&self, name: &[u8], value: &[u8]) -> rustix::io::Result<()> {
        match self {
            Self::Open(file) => rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()),
            Self::Path(path) => rustix::fs::lsetxattr(*path, name, value, XattrFlags::empty()),
        }
    }
}

/// Gives a file the owner of the inode; returns whether that is allowed. Nobody can have the number
/// that stands for no change.
pub fn set_owner(inode: &Inode, place: &Place<'_>) -> bool {
    let dinode = &inode.dinode;
    if dinode.i_uid == u32::MAX || dinode.i_gid == u32::MAX {
        return false;
    }
    let owner = Some(Uid::from_raw(dinode.i_uid));
    let group = Some(Gid::from_raw(dinode.i_gid));
    let given = match place {
        Place::Open(file) => rustix::fs::fchown(file, owner, group),
        Place::Path(path) => {
            rustix::fs::chownat(CWD, *path, owner, group, AtFlags::SYMLINK_NOFOLLOW)
        }
    };
    given.is_ok()
}

/// Gives a file the mode of the inode: after the owner, whose change takes bits away. Without the
/// owner the set-user-ID and set-group-ID bits are left out, which would lend the rights of
/// somebody else.
///
/// # Errors
/// Those of the system.
pub fn set_mode(inode: &Inode, place: &Place<'_>, has_owner: bool) -> rustix::io::Result<()> {
    let kept = if has_owner { 0o7777 } else { 0o1777 };
    let mode = Mode::from_raw_mode(u32::from(inode.dinode.i_mode & kept));
    match place {
        Place::Open(file) => rustix::fs::fchmod(file, mode),
        // A link has no mode.
        Place::Path(_) if inode.kind() == Some(FileKind::Symlink) => Ok(()),
        Place::Path(path) => rustix::fs::chmod(*path, mode),
    }
}

/// Gives a file the times of the inode.
///
/// # Errors
/// Those of the system.
pub fn set_times(inode: &Inode, place: &Place<'_>) -> rustix::io::Result<()> {
    let times = Timestamps {
        last_access: timespec(inode.atime()),
        last_modification: timespec(inode.mtime()),
    };
    match place {
        Place::Open(file) => rustix::fs::futimens(file, &times),
        Place::Path(path) => rustix::fs::utimensat(CWD, *path, &times, AtFlags::SYMLINK_NOFOLLOW),
    }
}

/// A time as the system takes it.
pub(crate) fn timespec(stamp: Timestamp) -> Timespec {
    const SECOND: u32 = 1_000_000_000;
    let seconds = stamp.seconds.saturating_add(i64::from(stamp.nanoseconds / SECOND));
    Timespec { tv_sec: seconds, tv_nsec: (stamp.nanoseconds % SECOND).into() }
}
