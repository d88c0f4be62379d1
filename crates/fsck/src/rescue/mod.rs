//! Copying out whatever can be found, without changing the device.
//!
//! Files are copied under the paths that directories give them. A directory whose inode is gone is
//! made of the blocks that say they are of it. What no directory names is put into `lost+found`,
//! named after its inode.

mod names;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use ocfs2_cli::Interrupt;
use ocfs2_extract::{Copied, CopyError, Output, Target, is_name, local_path};
use ocfs2_format::Blkno;
use ocfs2_format::dinode::{Dinode, FileKind, InodeFlags};
use ocfs2_volume::survey::{BlockSet, Remains};
use ocfs2_volume::{Inode, Volume};
use serde::Serialize;

use names::{Name, Names};

/// The most files with further names that are remembered, each with its path.
const MOST_LINKS: usize = 1 << 18;

/// The directory for what has no path.
const LOST_FOUND: &str = "lost+found";

/// What was copied, and what was not.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct Rescued {
    /// Files of any kind but directories, that were copied as a whole.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Further names of files.
    pub links: u64,
    /// Files and directories of which a part is missing.
    pub incomplete: u64,
    /// Names whose files are gone.
    pub gone: u64,
    /// What could not be copied at all.
    pub failed: u64,
    /// Files and directories without a path, in `lost+found`.
    pub without_path: u64,
}

impl Rescued {
    /// Whether all that was found was copied as a whole.
    pub fn is_whole(&self) -> bool {
        self.incomplete + self.gone + self.failed == 0
    }
}

/// Something that was not copied, or not as a whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Missing {
    /// Where it was to be copied to.
    pub path: PathBuf,
    /// What is missing, and why.
    pub text: String,
}

/// Where things are copied from and to.
pub(crate) struct Rescue<'a> {
    /// The volume, as it is with its journals replayed.
    pub volume: &'a Volume,
    /// What was found of it.
    pub remains: &'a Remains,
    /// Blocks of directories, as multiples of 512 bytes.
    pub directory_blocks: &'a BlockSet,
    /// Asked during long work.
    pub interrupt: &'a Interrupt,
    /// What is copied to.
    pub target: &'a mut dyn Target,
    /// Standard output, for an archive.
    pub out: &'a mut dyn Output,
    /// Told what is missing.
    pub tell: &'a mut dyn FnMut(Missing),
    /// Told how many inodes were copied.
    pub progress: &'a mut dyn FnMut(u64),
}

/// A directory that is being copied.
struct Level {
    /// `None` if its inode is gone.
    inode: Option<Inode>,
    path: PathBuf,
    /// The remaining names, in reverse order.
    names: Vec<Name>,
}

/// The first name of an inode that has several.
struct First {
    path: PathBuf,
    /// Names that are still to come.
    left: u32,
}

/// A rescue that is under way.
struct Copying<'r, 'a> {
    it: &'r mut Rescue<'a>,
    names: Names,
    done: BlockSet,
    links: HashMap<Blkno, First>,
    rescued: Rescued,
    has_lost_found: bool,
}

/// Copies everything.
///
/// # Errors
/// An interruption, or what keeps all else from being copied.
pub(crate) fn copy(mut it: Rescue<'_>) -> Result<Rescued, CopyError> {
    let names = Names::new(&it)?;
    let mut copying = Copying {
        it: &mut it,
        names,
        done: BlockSet::default(),
        links: HashMap::new(),
        rescued: Rescued::default(),
        has_lost_found: false,
    };
    copying.all()?;
    Ok(copying.rescued)
}

impl Copying<'_, '_> {
    fn all(&mut self) -> Result<(), CopyError> {
        let root = self.it.volume.superblock().s_root_blkno;
        self.tree(root, PathBuf::new())?;
        // The tops of trees first, so that what is below them keeps its path there.
        let named = |copying: &Self, blkno| copying.names.named.contains(blkno);
        let tops: Vec<_> = {
            let lost = self.names.lost.keys().copied();
            let there = self.it.remains.directories.iter();
            let all = there.chain(lost).filter(|it| !self.done.contains(*it));
            all.filter(|it| !named(self, *it)).collect()
        };
        for top in tops {
            self.without_path(top)?;
        }
        let directories: Vec<_> = self.it.remains.directories.iter().collect();
        let inodes = self.it.remains.inodes.clone();
        for blkno in directories.into_iter().chain(inodes.iter()) {
            self.without_path(blkno)?;
        }
        for note in self.it.target.end(self.it.out)? {
            (self.it.tell)(Missing { path: PathBuf::new(), text: note });
        }
        if let Some(text) = self.it.target.refused() {
            self.rescued.incomplete += 1;
            (self.it.tell)(Missing { path: PathBuf::new(), text });
        }
        Ok(())
    }

    /// Copies an inode that no directory names, with everything below it.
    fn without_path(&mut self, blkno: Blkno) -> Result<(), CopyError> {
        if self.done.contains(blkno) {
            return Ok(());
        }
        let inode = self.inode(blkno);
        if inode.as_ref().is_some_and(is_deleted) {
            return Ok(());
        }
        if !std::mem::replace(&mut self.has_lost_found, true) {
            let path = Path::new(LOST_FOUND);
            let made = self.make_directory(None, path);
            self.passed_over(made, path)?;
        }
        self.rescued.without_path += 1;
        self.tree(blkno, Path::new(LOST_FOUND).join(format!("#{blkno}")))
    }

    /// Copies an inode with everything below it.
    fn tree(&mut self, blkno: Blkno, path: PathBuf) -> Result<(), CopyError> {
        let mut levels: Vec<Level> = self.start(blkno, &path)?.into_iter().collect();
        while let Some(level) = levels.last_mut() {
            self.it.interrupt.check()?;
            let Some(name) = level.names.pop() else {
                if let Some(level) = levels.pop() {
                    self.end(&level)?;
                }
                continue;
            };
            if !is_name(&name.name) {
                continue;
            }
            let path = level.path.join(local_path(&name.name));
            levels.extend(self.start(name.inode, &path)?);
        }
        Ok(())
    }

    /// Copies what is no directory; of a directory, returns what is in it.
    fn start(&mut self, blkno: Blkno, path: &Path) -> Result<Option<Level>, CopyError> {
        let Some(inode) = self.inode(blkno) else {
            if self.names.lost.contains_key(&blkno) || path.as_os_str().is_empty() {
                return self.lost_directory(blkno, path);
            }
            self.rescued.gone += 1;
            self.missing(path, format!("its inode {blkno} is gone"));
            return Ok(None);
        };
        let is_root = blkno == self.it.volume.superblock().s_root_blkno;
        if inode.dinode.flags().contains(InodeFlags::SYSTEM) && !is_root {
            return Ok(None);
        }
        if inode.is_dir() {
            return self.directory(inode, path);
        }
        self.file(&inode, path)?;
        Ok(None)
    }

    fn directory(&mut self, inode: Inode, path: &Path) -> Result<Option<Level>, CopyError> {
        if !self.done.insert(inode.blkno) {
            self.missing(path, format!("directory {} was copied before", inode.blkno));
            return Ok(None);
        }
        let made = self.make_directory(Some(&inode), path);
        if !self.passed_over(made, path)? {
            // What is in it is copied under another path.
            return Ok(None);
        }
        self.rescued.directories += 1;
        let (mut names, problem) = names::of(self.it.volume, &inode);
        if let Some(problem) = problem {
            self.rescued.incomplete += 1;
            self.missing(path, format!("a part of the directory cannot be read: {problem}"));
            // Blocks that its tree no longer leads to.
            names.extend(self.names.take_lost(self.it.volume, inode.blkno));
            names::once(&mut names);
        }
        names.reverse();
        Ok(Some(Level { inode: Some(inode), path: path.to_owned(), names }))
    }

    /// Makes a directory whose inode is gone of the blocks that are left.
    fn lost_directory(&mut self, blkno: Blkno, path: &Path) -> Result<Option<Level>, CopyError> {
        if !self.done.insert(blkno) {
            return Ok(None);
        }
        let made = self.make_directory(None, path);
        if !self.passed_over(made, path)? {
            return Ok(None);
        }
        self.rescued.directories += 1;
        self.rescued.incomplete += 1;
        let text = "its inode is gone: owner, mode, times and attributes are lost";
        self.missing(path, format!("directory {blkno}: {text}"));
        let mut names = self.names.take_lost(self.it.volume, blkno);
        names::once(&mut names);
        names.reverse();
        Ok(Some(Level { inode: None, path: path.to_owned(), names }))
    }

    fn make_directory(&mut self, inode: Option<&Inode>, path: &Path) -> Result<(), CopyError> {
        if path.as_os_str() == LOST_FOUND {
            self.has_lost_found = true;
        }
        let plain = plain_directory();
        let inode = inode.unwrap_or(&plain);
        let Rescue { volume, interrupt, .. } = *self.it;
        self.it.target.directory(&Copied { volume, interrupt, inode, path }, self.it.out)
    }

    fn end(&mut self, level: &Level) -> Result<(), CopyError> {
        let plain = plain_directory();
        let inode = level.inode.as_ref().unwrap_or(&plain);
        let Rescue { volume, interrupt, .. } = *self.it;
        let it = Copied { volume, interrupt, inode, path: &level.path };
        let ended = self.it.target.filled(&it, self.it.out);
        self.passed_over(ended, &level.path).map(|_| ())
    }

    fn file(&mut self, inode: &Inode, path: &Path) -> Result<(), CopyError> {
        let Rescue { volume, interrupt, .. } = *self.it;
        let it = Copied { volume, interrupt, inode, path };
        if let Some(first) = self.links.get_mut(&inode.blkno) {
            first.left = first.left.saturating_sub(1);
            let linked = self.it.target.link(&it, &first.path, self.it.out);
            if first.left == 0 {
                self.links.remove(&inode.blkno);
            }
            if self.passed_over(linked, path)? {
                self.rescued.links += 1;
            }
            return Ok(());
        }
        let left = volume.links_count(inode).saturating_sub(1);
        if left > 0 && self.links.len() < MOST_LINKS {
            self.links.insert(inode.blkno, First { path: path.to_owned(), left });
        }
        self.done.insert(inode.blkno);
        (self.it.progress)(self.done.len());
        match self.it.target.file(&it, self.it.out) {
            Ok(()) => self.rescued.files += 1,
            Err(
                CopyError::Failed(text) | CopyError::Unreadable(text) | CopyError::Incomplete(text),
            ) => {
                self.rescued.incomplete += 1;
                self.missing(path, text);
            }
            Err(err) => return Err(err),
        }
        Ok(())
    }

    /// Reports a failure; only one that ends the rescue is returned. Returns whether there was none.
    fn passed_over(&mut self, done: Result<(), CopyError>, path: &Path) -> Result<bool, CopyError> {
        match done {
            Ok(()) => Ok(true),
            Err(
                CopyError::Failed(text) | CopyError::Unreadable(text) | CopyError::Incomplete(text),
            ) => {
                self.rescued.failed += 1;
                self.missing(path, text);
                Ok(false)
            }
            Err(err) => Err(err),
        }
    }

    fn missing(&mut self, path: &Path, text: String) {
        (self.it.tell)(Missing { path: path.to_owned(), text });
    }

    /// The inode in a block, if it is one in use of this volume.
    fn inode(&self, blkno: Blkno) -> Option<Inode> {
        let inode = self.it.volume.stated_inode(blkno)?;
        let is_one = inode.dinode.flags().contains(InodeFlags::VALID)
            && inode.dinode.i_fs_generation == self.it.volume.generation();
        is_one.then_some(inode)
    }
}

/// Whether a file has no name because it was deleted while it was open.
fn is_deleted(inode: &Inode) -> bool {
    inode.dinode.flags().contains(InodeFlags::ORPHANED) && inode.dinode.i_links_count == 0
}

/// An inode for a directory of which only the contents are known.
fn plain_directory() -> Inode {
    let dinode = Dinode { i_mode: FileKind::Directory.mode_bits() | 0o700, ..Dinode::default() };
    Inode::without_block(dinode)
}

/// Directories whose inodes are gone, with their blocks.
type Lost = BTreeMap<Blkno, Vec<Blkno>>;
