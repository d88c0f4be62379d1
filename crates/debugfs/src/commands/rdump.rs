//! `rdump`: copies a tree out of the volume, into a folder or a tar archive.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use ocfs2_extract::{Archive, Copied, CopyError, Existing, Folder, Target, is_name, local_path};
use ocfs2_format::Blkno;
use ocfs2_format::dinode::FileKind;
use ocfs2_volume::Inode;

use super::change::counted;
use super::files::inode_of;
use crate::error::{Failure, Problem};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::volume::{Entry, Fs, Visited};

/// The most files with further names that are remembered, each with its path.
const MOST_LINKS: usize = 1 << 18;

/// `rdump`
pub(super) fn rdump(shell: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let (mut is_verbose, mut is_archive, mut existing) = (false, false, Existing::Left);
    let mut words = words;
    while let Some((first, rest)) = words.split_first() {
        match first.as_slice() {
            b"-v" => is_verbose = true,
            b"-f" => existing = Existing::Replaced,
            b"--tar" => is_archive = true,
            _ => break,
        }
        words = rest;
    }
    let [word, target, ..] = words else { return Err(Failure::Usage) };
    let inode = inode_of(shell, fs, word)?;
    let name = word.rsplit(|byte| *byte == b'/').find(|part| !part.is_empty());
    // The C tool makes a folder named after the time.
    let name = name.filter(|name| is_name(name)).unwrap_or_default();
    let path = local_path(name);
    let mut copying = Copying {
        fs,
        is_verbose,
        missing: 0,
        incomplete: 0,
        visited: Visited::default(),
        links: HashMap::new(),
        forgotten: 0,
        without_contents: 0,
    };
    if is_archive {
        let mut archive = Archive::new(target, out.is_json())?;
        let copied = copying.all(&inode, path, &mut archive, out);
        let left = if archive.is_output() { "" } else { ", and was removed" };
        ended(copied, &format!("the archive is not complete{left}"), out)?;
    } else {
        let mut folder = Folder::new(local_path(target), existing)?;
        writeln!(out, "Copying to {}", folder.shown(path))?;
        let copied = copying.all(&inode, path, &mut folder, out);
        ended(copied, "the copy is not complete; the same command goes on with it", out)?;
        if folder.others() > 0 {
            out.say("rdump: -f replaces files that are there already and are not the same");
        }
    }
    copying.outcome(out)
}

/// The outcome of a copy; one that ended early is reported.
fn ended(copied: Result<(), CopyError>, what: &str, out: &mut Screen) -> Result<(), Failure> {
    match copied {
        Ok(()) => Ok(()),
        Err(CopyError::Output(err)) => Err(err.into()),
        Err(err @ CopyError::Interrupted(_)) => {
            out.say(&format!("rdump: {err}: {what}"));
            Err(err.into())
        }
        Err(err) => Err(Failure::Failed(format!("{err}: {what}"))),
    }
}

/// A directory that is being copied.
struct Level {
    inode: Inode,
    path: PathBuf,
    /// The remaining entries, in reverse order.
    entries: Vec<Entry>,
}

/// The first name of an inode that has several.
struct First {
    path: PathBuf,
    /// Names that are still to come.
    left: u32,
}

struct Copying<'f> {
    fs: &'f Fs,
    is_verbose: bool,
    /// Files that were not copied.
    missing: u64,
    /// Files of which a part was not copied.
    incomplete: u64,
    visited: Visited,
    /// Inodes with further names, until the last one has come.
    links: HashMap<Blkno, First>,
    /// Files with further names that were too many to remember.
    forgotten: u64,
    /// Files whose contents an image lacks.
    without_contents: u64,
}

impl Copying<'_> {
    /// Copies an inode, with everything below it.
    fn all(
        &mut self,
        inode: &Inode,
        path: &Path,
        target: &mut dyn Target,
        out: &mut Screen,
    ) -> Result<(), CopyError> {
        let first = self.start(inode, path, target, out);
        let mut levels: Vec<_> =
            self.passed_over(first, path, target, out)?.flatten().into_iter().collect();
        while let Some(level) = levels.last_mut() {
            let Some(entry) = level.entries.pop() else {
                if let Some(Level { inode, path, .. }) = levels.pop() {
                    let done = target.filled(&copied(self.fs, &inode, &path), out);
                    self.passed_over(done, &path, target, out)?;
                }
                continue;
            };
            if !is_name(&entry.name) {
                let name = ocfs2_cli::terminal(&entry.name);
                let text = format!("'{name}' is not a name of a file");
                let path = level.path.clone();
                let wrong = Err::<(), _>(CopyError::Unreadable(text));
                self.passed_over(wrong, &path, target, out)?;
                continue;
            }
            let path = level.path.join(local_path(&entry.name));
            let found = self.fs.inode(entry.inode).map_err(|err| unread(err, entry.inode));
            let next = found.and_then(|inode| self.start(&inode, &path, target, out));
            levels.extend(self.passed_over(next, &path, target, out)?.flatten());
        }
        let notes = target.end(out)?;
        notes.iter().for_each(|note| out.note(&format!("rdump: {note}")));
        if let Some(text) = target.refused() {
            self.incomplete += 1;
            out.say(&format!("rdump: {text}"));
        }
        if self.without_contents > 0 {
            let files = counted(self.without_contents, "file");
            out.note(&format!(
                "rdump: note: the contents of {files} are holes of {}, and zeros in the copy: an \
                 image that was made without -a has none",
                ocfs2_cli::shown(&self.fs.device)
            ));
        }
        if self.forgotten > 0 {
            self.incomplete += self.forgotten;
            let count = self.forgotten;
            out.say(&format!("rdump: further names of {count} files became their own files"));
        }
        Ok(())
    }

    /// Reports and counts a failure; only one that ends the command is returned. A success has a
    /// value.
    fn passed_over<T>(
        &mut self,
        done: Result<T, CopyError>,
        path: &Path,
        target: &dyn Target,
        out: &mut Screen,
    ) -> Result<Option<T>, CopyError> {
        let text = match done {
            Ok(value) => return Ok(Some(value)),
            Err(CopyError::Failed(text)) => {
                self.missing += 1;
                text
            }
            Err(CopyError::Unreadable(text)) => {
                self.missing += 1;
                format!("{}: {text}", target.shown(path))
            }
            Err(CopyError::Incomplete(text)) => {
                self.incomplete += 1;
                format!("{}: {text}", target.shown(path))
            }
            Err(err) => return Err(err),
        };
        out.say(&format!("rdump: {text}"));
        Ok(None)
    }

    /// Says how many files the copy lacks.
    fn outcome(&self, out: &mut Screen) -> Result<(), Failure> {
        let count = |count, what| (count > 0).then(|| format!("{} {what}", counted(count, "file")));
        let parts = [count(self.missing, "missing"), count(self.incomplete, "incomplete")];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        if parts.is_empty() {
            return Ok(());
        }
        out.say(&format!("rdump: the copy is not complete: {}", parts.join(", ")));
        Err(Failure::Said)
    }

    /// Copies a file; of a directory, returns what has to be copied into it.
    fn start(
        &mut self,
        inode: &Inode,
        path: &Path,
        target: &mut dyn Target,
        out: &mut Screen,
    ) -> Result<Option<Level>, CopyError> {
        if self.is_verbose && !path.as_os_str().is_empty() {
            match target.is_output() {
                true => out.say(&target.shown(path)),
                false => writeln!(out, "{}", target.shown(path))?,
            }
        }
        let it = copied(self.fs, inode, path);
        if inode.is_dir() {
            if !self.visited.first(inode.blkno) {
                let text = format!("directory {} was copied before", inode.blkno);
                return Err(CopyError::Unreadable(text));
            }
            target.directory(&it, out)?;
            let (entries, problems) = self.below(inode)?;
            for problem in problems {
                let lacking = Err::<(), _>(CopyError::Incomplete(problem));
                self.passed_over(lacking, path, target, out)?;
            }
            return Ok(Some(Level { inode: inode.clone(), path: path.to_owned(), entries }));
        }
        if let Some(first) = self.links.get_mut(&inode.blkno) {
            first.left = first.left.saturating_sub(1);
            let linked = target.link(&it, &first.path, out);
            if first.left == 0 {
                self.links.remove(&inode.blkno);
            }
            linked?;
            return Ok(None);
        }
        let made = target.file(&it, out);
        if made.is_ok() && lies_in_holes(self.fs, inode) {
            self.without_contents += 1;
        }
        let left = self.fs.volume.links_count(inode).saturating_sub(1);
        if left > 0 && matches!(made, Ok(()) | Err(CopyError::Incomplete(_))) {
            match self.links.len() >= MOST_LINKS {
                true => self.forgotten += 1,
                false => {
                    self.links.insert(inode.blkno, First { path: path.to_owned(), left });
                }
            }
        }
        made.map(|()| None)
    }

    /// The entries of a directory in reverse order, and what is wrong with it.
    fn below(&self, dir: &Inode) -> Result<(Vec<Entry>, Vec<String>), CopyError> {
        let (mut entries, mut problems) = (Vec::new(), Vec::new());
        let walked = self.fs.dir_blocks::<Problem>(dir, |block| {
            entries.extend(block.entries().filter(|entry| !entry.is_dot()));
            problems.extend(block.problem().map(|problem| problem.to_string()));
            Ok(true)
        });
        match walked {
            Ok(()) => {}
            Err(Problem::Interrupted(err)) => return Err(err.into()),
            Err(err) => problems.push(format!("a part of the directory cannot be read: {err}")),
        }
        // The second of a name would be taken for one that is there already.
        let mut names = HashSet::new();
        let is_first: Vec<_> = entries.iter().map(|entry| names.insert(&entry.name)).collect();
        let twice = is_first.iter().filter(|is_first| !**is_first).count();
        if twice > 0 {
            problems.push(format!("{twice} of its entries have the name of another one"));
        }
        let mut is_first = is_first.into_iter();
        entries.retain(|_| is_first.next().unwrap_or(true));
        entries.reverse();
        Ok((entries, problems))
    }
}

/// The error that an inode cannot be read.
fn unread(err: Problem, blkno: Blkno) -> CopyError {
    match err {
        Problem::Interrupted(err) => err.into(),
        err => CopyError::Unreadable(format!("{err} while reading inode {blkno}")),
    }
}

fn copied<'a>(fs: &'a Fs, inode: &'a Inode, path: &'a Path) -> Copied<'a> {
    Copied { volume: fs.contents(), interrupt: fs.interrupt(), inode, path }
}

/// The most extents of a file that are looked up.
const MOST_LOOKED_UP: usize = 64;

/// Whether all contents of a file, as far as they are looked up, lie in holes of an image.
pub(super) fn lies_in_holes(fs: &Fs, inode: &Inode) -> bool {
    let Some(tree) = fs.volume.tree(inode).ok().filter(|_| inode.kind() == Some(FileKind::Regular))
    else {
        return false;
    };
    let geometry = fs.volume.geometry();
    let extents = tree.extents().take(MOST_LOOKED_UP).filter_map(Result::ok);
    let mut written = extents.filter(|extent| !extent.is_unwritten()).peekable();
    written.peek().is_some()
        && written.all(|extent| {
            let start = extent.blkno.0.saturating_mul(geometry.block_size.bytes().into());
            let bytes = u64::from(extent.clusters) << geometry.cluster_size.bits();
            fs.volume.device().next_data(start).start >= start.saturating_add(bytes)
        })
}
