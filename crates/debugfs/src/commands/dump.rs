//! Copying files out of the volume.

use std::fs::{self as local, File, FileTimes, OpenOptions, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ocfs2_format::Blkno;
use ocfs2_format::dinode::FileKind;
use ocfs2_volume::{Inode, Timestamp};

use ocfs2_cli::shown;

use super::files::inode_of;
use super::{only, option};
use crate::error::{Explain, Failure, Problem, of_file};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::volume::{Entry, Fs, Visited};

/// Bytes copied at a time.
const PIECE: u64 = 1 << 20;

fn local_path(word: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(word))
}

/// `dump`
pub(super) fn dump(shell: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let (keep, words) = option(words, "-p");
    let [word, path, ..] = words else { return Err(Failure::Usage) };
    let inode = inode_of(shell, fs, word)?;
    let path = local_path(path);
    if Fs::is_link(&inode) {
        return make_link(fs, &inode, path);
    }
    let file = File::create(path).map_err(|err| of_file(&err, path))?;
    copy(fs, &inode, &file, path)?;
    if keep && !restore(&inode, &file, path)? {
        out.say(&format!("dump: {}: only root may give it its owner", shown(path)));
    }
    Ok(())
}

/// Copies contents; holes stay holes.
fn copy(fs: &Fs, inode: &Inode, mut file: &File, path: &Path) -> Result<(), Failure> {
    let has_contents = matches!(inode.kind(), Some(FileKind::Regular | FileKind::Directory) | None);
    if !has_contents {
        return Ok(());
    }
    let context = || format!("while reading inode {}", inode.blkno);
    let reader = fs.volume.file(inode).explain(context)?;
    let mut buf = vec![0; PIECE as usize];
    let mut at = 0;
    while let Some(range) = reader.next_data(at).explain(context)? {
        at = range.start;
        while at < range.end {
            fs.check()?;
            let len = (range.end - at).min(PIECE) as usize;
            let Some(piece) = buf.get_mut(..len) else { break };
            let len = reader.read_at(piece, at).explain(context)?;
            if len == 0 {
                break;
            }
            let written =
                file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(&piece[..len]));
            written.map_err(|err| of_file(&err, path))?;
            at += len as u64;
        }
    }
    file.set_len(inode.size()).map_err(|err| of_file(&err, path))
}

fn make_link(fs: &Fs, inode: &Inode, path: &Path) -> Result<(), Failure> {
    let target = fs.link_target(inode);
    let target = target.explain(|| format!("while reading inode {}", inode.blkno))?;
    symlink(local_path(&target), path).map_err(|err| of_file(&err, path))?;
    // The owner of a link hardly matters, and only root can set it.
    let _ = lchown(path, Some(inode.dinode.i_uid), Some(inode.dinode.i_gid));
    Ok(())
}

fn time(stamp: Timestamp) -> Option<SystemTime> {
    let nanoseconds = Duration::from_nanos(stamp.nanoseconds.into());
    let seconds = Duration::from_secs(stamp.seconds.unsigned_abs());
    let start = match stamp.seconds < 0 {
        true => SystemTime::UNIX_EPOCH.checked_sub(seconds),
        false => SystemTime::UNIX_EPOCH.checked_add(seconds),
    };
    start?.checked_add(nanoseconds)
}

/// Sets the owner, mode and times of the inode on a file. Returns whether the owner could be set.
/// If not, the set-user-ID and set-group-ID bits are left out, which would lend the rights of
/// somebody else.
fn restore(inode: &Inode, file: &File, path: &Path) -> Result<bool, Failure> {
    let dinode = &inode.dinode;
    let mut mode = u32::from(dinode.i_mode & 0o7777);
    let has_owner = fchown(file, Some(dinode.i_uid), Some(dinode.i_gid)).is_ok();
    if !has_owner {
        mode &= 0o1777;
    }
    let times = [(true, inode.atime()), (false, inode.mtime())];
    let times = times.into_iter().filter_map(|(is_access, stamp)| Some((is_access, time(stamp)?)));
    let times = times.fold(FileTimes::new(), |times, (is_access, time)| match is_access {
        true => times.set_accessed(time),
        false => times.set_modified(time),
    });
    let set =
        file.set_permissions(Permissions::from_mode(mode)).and_then(|()| file.set_times(times));
    set.map_err(|err| of_file(&err, path))?;
    Ok(has_owner)
}

/// `rdump`
pub(super) fn rdump(shell: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let (is_verbose, words) = option(words, "-v");
    let [word, target, ..] = words else { return Err(Failure::Usage) };
    let target = local_path(target);
    let metadata = target.metadata().map_err(|err| of_file(&err, target))?;
    if !metadata.is_dir() {
        return Err(of_file(&io::ErrorKind::NotADirectory.into(), target));
    }
    let inode = inode_of(shell, fs, only(words)?)?;
    let name = word.rsplit(|byte| *byte == b'/').find(|part| !part.is_empty());
    let path = match name.filter(|name| is_name(name)) {
        Some(name) => target.join(local_path(name)),
        // The C tool makes a folder named after the time.
        None => target.to_owned(),
    };
    writeln!(out, "Copying to {}", ocfs2_cli::shown(&path))?;
    let mut copying = Copying { fs, is_verbose, has_failed: false, without_owner: 0 };
    copying.all(&inode, &path, path == target, out)?;
    if copying.without_owner > 0 {
        let count = copying.without_owner;
        out.say(&format!(
            "rdump: {count} files belong to you: only root may give them their owners"
        ));
    }
    if copying.has_failed { Err(Failure::Said) } else { Ok(()) }
}

/// Whether a name is that of a single file, so that a hostile one does not point out of the folder.
fn is_name(name: &[u8]) -> bool {
    let is_dots = name == b"." || name == b"..";
    !is_dots && !name.is_empty() && !name.contains(&b'/') && !name.contains(&0)
}

/// A folder that is being copied.
struct Level {
    inode: Inode,
    path: PathBuf,
    /// The remaining entries, in reverse order.
    entries: Vec<Entry>,
}

struct Copying<'f> {
    fs: &'f Fs,
    is_verbose: bool,
    has_failed: bool,
    /// Number of files whose owner could not be set.
    without_owner: u64,
}

impl Copying<'_> {
    fn all(
        &mut self,
        inode: &Inode,
        path: &Path,
        is_there: bool,
        out: &mut Screen,
    ) -> Result<(), Failure> {
        let mut visited = Visited::default();
        let first = self.start(inode, path, is_there, &mut visited, out)?;
        let mut levels: Vec<_> = first.into_iter().collect();
        while let Some(level) = levels.last_mut() {
            let Some(entry) = level.entries.pop() else {
                // Its times change while it is filled, so they are set last.
                if let Some(level) = levels.pop().filter(|_| !(is_there && levels.is_empty())) {
                    let restored = File::open(&level.path)
                        .map_err(|err| of_file(&err, &level.path))
                        .and_then(|folder| self.restore(&level.inode, &folder, &level.path));
                    self.passed_over(restored, out)?;
                }
                continue;
            };
            if !is_name(&entry.name) {
                let name = ocfs2_cli::terminal(&entry.name);
                let text = format!("'{name}' is not a name of a file");
                self.passed_over(Err(Failure::Failed(text)), out)?;
                continue;
            }
            let path = level.path.join(local_path(&entry.name));
            let number = entry.inode;
            let found = self.fs.inode(number).explain(|| format!("while reading inode {number}"));
            let next = found.and_then(|inode| self.start(&inode, &path, false, &mut visited, out));
            match next {
                Ok(next) => levels.extend(next),
                Err(err) => self.passed_over(Err(err), out)?,
            }
        }
        Ok(())
    }

    fn restore(&mut self, inode: &Inode, file: &File, path: &Path) -> Result<(), Failure> {
        if !restore(inode, file, path)? {
            self.without_owner += 1;
        }
        Ok(())
    }

    /// Reports a failure; only one that ends the command is returned.
    fn passed_over(&mut self, done: Result<(), Failure>, out: &mut Screen) -> Result<(), Failure> {
        match done {
            Err(Failure::Failed(text)) => {
                self.has_failed = true;
                out.say(&format!("rdump: {text}"));
                Ok(())
            }
            done => done,
        }
    }

    /// Copies a file; for a folder, returns what has to be copied into it. Existing files are
    /// neither overwritten nor followed.
    fn start(
        &mut self,
        inode: &Inode,
        path: &Path,
        is_there: bool,
        visited: &mut Visited,
        out: &mut Screen,
    ) -> Result<Option<Level>, Failure> {
        if self.is_verbose && !is_there {
            writeln!(out, "{}", ocfs2_cli::shown(path))?;
        }
        match inode.kind() {
            Some(FileKind::Directory) => {
                if !visited.first(inode.blkno) {
                    let text = format!("directory {} was copied before", inode.blkno);
                    return Err(Failure::Failed(text));
                }
                if !is_there {
                    let made = local::create_dir(path);
                    made.map_err(|err| of_file(&err, path))?;
                }
                let entries = self.below(inode.blkno)?;
                Ok(Some(Level { inode: inode.clone(), path: path.to_owned(), entries }))
            }
            Some(FileKind::Regular) => {
                let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
                let file = file.map_err(|err| of_file(&err, path))?;
                copy(self.fs, inode, &file, path)?;
                self.restore(inode, &file, path)?;
                Ok(None)
            }
            Some(FileKind::Symlink) => make_link(self.fs, inode, path).map(|()| None),
            // Devices, pipes and sockets are skipped.
            _ => Ok(None),
        }
    }

    fn below(&self, dir: Blkno) -> Result<Vec<Entry>, Failure> {
        let context = || format!("while reading directory {dir}");
        let inode = self.fs.inode(dir).explain(context)?;
        let mut entries = Vec::new();
        let walked = self.fs.dir_blocks::<Problem>(&inode, |block| {
            entries.extend(block.entries().filter(|entry| !entry.is_dot()));
            Ok(true)
        });
        walked.explain(context)?;
        entries.reverse();
        Ok(entries)
    }
}
