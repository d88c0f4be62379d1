//! Files of this machine that get what a file of the volume has: contents, owner, mode and times.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ocfs2_volume::file::FileReader;
use ocfs2_volume::{Inode, Timestamp};
use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};

use crate::error::{Explain, Failure, of_file};
use crate::volume::Fs;

/// Bytes copied at a time.
const PIECE: u64 = 1 << 20;

/// The path of this machine that a word names.
pub(super) fn local_path(word: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(word))
}

/// Reads the contents of a file piece by piece, without its holes.
pub(super) fn each_piece(
    fs: &Fs,
    inode: &Inode,
    reader: &FileReader<'_>,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let context = || format!("while reading inode {}", inode.blkno);
    let mut buf = vec![0; PIECE as usize];
    let mut at = 0;
    while let Some(range) = reader.next_data(at).explain(context)? {
        at = range.start;
        while at < range.end {
            fs.check()?;
            let len = (range.end - at).min(PIECE) as usize;
            let Some(piece) = buf.get_mut(..len) else { break };
            let len = reader.read_at(piece, at).explain(context)?;
            let Some(piece) = piece.get(..len).filter(|piece| !piece.is_empty()) else { break };
            each(at, piece)?;
            at += len as u64;
        }
        at = range.end;
    }
    Ok(())
}

/// Writes the contents of a file; holes stay holes.
pub(super) fn write_contents(
    fs: &Fs,
    inode: &Inode,
    mut file: &File,
    path: &Path,
) -> Result<(), Failure> {
    let reader = fs.volume.file(inode);
    let reader = reader.explain(|| format!("while reading inode {}", inode.blkno))?;
    each_piece(fs, inode, &reader, |at, piece| {
        let written = file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(piece));
        written.map_err(|err| of_file(&err, path))
    })?;
    file.set_len(inode.size()).map_err(|err| of_file(&err, path))
}

/// A file of this machine. What is not open is not followed if it is a link.
pub(super) enum Place<'a> {
    /// An open file.
    Open(&'a File),
    /// For what is not opened: a link, a device, a directory.
    Path(&'a Path),
}

impl Place<'_> {
    /// Sets an extended attribute.
    pub(super) fn set_attribute(&self, name: &[u8], value: &[u8]) -> rustix::io::Result<()> {
        match self {
            Self::Open(file) => rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()),
            Self::Path(path) => rustix::fs::lsetxattr(*path, name, value, XattrFlags::empty()),
        }
    }
}

/// Gives a file the owner of the inode; returns whether that is allowed.
pub(super) fn set_owner(inode: &Inode, place: &Place<'_>) -> bool {
    let dinode = &inode.dinode;
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
pub(super) fn set_mode(
    inode: &Inode,
    place: &Place<'_>,
    has_owner: bool,
) -> rustix::io::Result<()> {
    let kept = if has_owner { 0o7777 } else { 0o1777 };
    let mode = Mode::from_raw_mode(u32::from(inode.dinode.i_mode & kept));
    match place {
        Place::Open(file) => rustix::fs::fchmod(file, mode),
        // A link has no mode.
        Place::Path(_) if Fs::is_link(inode) => Ok(()),
        Place::Path(path) => rustix::fs::chmod(*path, mode),
    }
}

/// Gives a file the times of the inode.
pub(super) fn set_times(inode: &Inode, place: &Place<'_>) -> rustix::io::Result<()> {
    let times = Timestamps {
        last_access: timespec(inode.atime()),
        last_modification: timespec(inode.mtime()),
    };
    match place {
        Place::Open(file) => rustix::fs::futimens(file, &times),
        Place::Path(path) => rustix::fs::utimensat(CWD, *path, &times, AtFlags::SYMLINK_NOFOLLOW),
    }
}

fn timespec(stamp: Timestamp) -> Timespec {
    const SECOND: u32 = 1_000_000_000;
    let seconds = stamp.seconds.saturating_add(i64::from(stamp.nanoseconds / SECOND));
    Timespec { tv_sec: seconds, tv_nsec: (stamp.nanoseconds % SECOND).into() }
}
