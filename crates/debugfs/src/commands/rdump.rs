//! `rdump`: copies a tree out of the volume, into a folder or a tar archive.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use ocfs2_extract::{Archive, Copied, Folder, Target, is_name, local_path};
use ocfs2_format::Blkno;
use ocfs2_volume::Inode;

use super::files::inode_of;
use crate::error::{Explain, Failure, Problem};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::volume::{Entry, Fs, Visited};

/// The most files with further names that are remembered, each with its path.
const MOST_LINKS: usize = 1 << 18;

/// `rdump`
pub(super) fn rdump(shell: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let (mut is_verbose, mut is_archive) = (false, false);
    let mut words = words;
    while let Some((first, rest)) = words.split_first() {
        match first.as_slice() {
            b"-v" => is_verbose = true,
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
        has_failed: false,
        visited: Visited::default(),
        links: HashMap::new(),
        forgotten: 0,
    };
    if is_archive {
        let mut archive = Archive::new(target, out.is_json())?;
        copying.all(&inode, path, &mut archive, out)?;
    } else {
        let mut folder = Folder::new(local_path(target))?;
        writeln!(out, "Copying to {}", folder.shown(path))?;
        copying.all(&inode, path, &mut folder, out)?;
    }
    if copying.has_failed { Err(Failure::Said) } else { Ok(()) }
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
    has_failed: bool,
    visited: Visited,
    /// Inodes with further names, until the last one has come.
    links: HashMap<Blkno, First>,
    /// Files with further names that were too many to remember.
    forgotten: u64,
}

impl Copying<'_> {
    /// Copies an inode, with everything below it.
    fn all(
        &mut self,
        inode: &Inode,
        path: &Path,
        target: &mut dyn Target,
        out: &mut Screen,
    ) -> Result<(), Failure> {
        let mut levels: Vec<_> = self.start(inode, path, target, out)?.into_iter().collect();
        while let Some(level) = levels.last_mut() {
            let Some(entry) = level.entries.pop() else {
                if let Some(Level { inode, path, .. }) = levels.pop() {
                    let done = target.filled(&copied(self.fs, &inode, &path), out);
                    self.passed_over(done.map_err(Failure::from), out)?;
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
            match found.and_then(|inode| self.start(&inode, &path, target, out)) {
                Ok(next) => levels.extend(next),
                Err(err) => self.passed_over(Err(err), out)?,
            }
        }
        match target.end(out) {
            Ok(notes) => notes.iter().for_each(|note| out.say(&format!("rdump: {note}"))),
            Err(err) => self.passed_over(Err(err.into()), out)?,
        }
        if let Some(text) = target.refused() {
            self.passed_over(Err(Failure::Failed(text)), out)?;
        }
        if self.forgotten > 0 {
            let text = format!("further names of {} files became their own files", self.forgotten);
            self.passed_over(Err(Failure::Failed(text)), out)?;
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
            Err(Failure::Said) => {
                self.has_failed = true;
                Ok(())
            }
            done => done,
        }
    }

    /// Copies a file; of a directory, returns what has to be copied into it.
    fn start(
        &mut self,
        inode: &Inode,
        path: &Path,
        target: &mut dyn Target,
        out: &mut Screen,
    ) -> Result<Option<Level>, Failure> {
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
                return Err(Failure::Failed(text));
            }
            target.directory(&it, out)?;
            let entries = self.below(inode.blkno)?;
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
        target.file(&it, out)?;
        let left = self.fs.volume.links_count(inode).saturating_sub(1);
        if left > 0 && self.links.len() >= MOST_LINKS {
            self.forgotten += 1;
        } else if left > 0 {
            self.links.insert(inode.blkno, First { path: path.to_owned(), left });
        }
        Ok(None)
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

fn copied<'a>(fs: &'a Fs, inode: &'a Inode, path: &'a Path) -> Copied<'a> {
    Copied { volume: fs.contents(), interrupt: fs.interrupt(), inode, path }
}
