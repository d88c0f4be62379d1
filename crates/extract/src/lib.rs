//! Copying files out of a volume, with all they have, into a folder or a tar archive.
//!
//! Which files are copied, and under which paths, is up to the caller. What of a file cannot be
//! read is left out, and the rest of it is copied.
#![deny(missing_docs)]

mod archive;
mod attributes;
mod existing;
mod folder;
mod local;
mod unfinished;

use std::io;
use std::path::Path;

use ocfs2_cli::{Interrupt, Interrupted, shown};
use ocfs2_format::dinode::FileKind;
use ocfs2_volume::{Error, Inode, Volume};

pub use archive::Archive;
pub use existing::Existing;
pub use folder::Folder;
pub use local::{Place, each_piece, local_path, set_mode, set_owner, set_times, write_contents};
pub use unfinished::Unfinished;

/// Why something could not be copied, or not all of it. The texts are to be shown.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// This machine refused something; the text names the file.
    #[error("{0}")]
    Failed(String),
    /// Nothing of it can be read; the text does not name the file.
    #[error("{0}")]
    Unreadable(String),
    /// A part of it cannot be read, and the rest was copied; the text does not name the file.
    #[error("{0}")]
    Incomplete(String),
    /// This machine takes nothing more, such as a full disk.
    #[error("{0}")]
    Ended(String),
    /// A signal came.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// Standard output cannot be written.
    #[error(transparent)]
    Output(#[from] io::Error),
}

impl CopyError {
    /// An error of this machine about a file.
    pub fn of_file(err: &io::Error, path: &Path) -> Self {
        use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let text = ocfs2_cli::without_error_numbers(&err.to_string());
        let text = format!("{text} '{}'", shown(path));
        match err.kind() {
            // It would be the same with every other file.
            StorageFull | QuotaExceeded | ReadOnlyFilesystem => Self::Ended(text),
            _ => Self::Failed(text),
        }
    }
}

/// The text of an error of the volume.
fn reason(err: &Error) -> String {
    match err {
        Error::OutsideVolume { .. } => "Invalid block number".to_owned(),
        err => ocfs2_cli::without_error_numbers(&err.to_string()),
    }
}

/// Something to be copied.
#[derive(Clone, Copy, Debug)]
pub struct Copied<'a> {
    /// The volume it is on.
    pub volume: &'a Volume,
    /// Asked during long work.
    pub interrupt: &'a Interrupt,
    /// The inode.
    pub inode: &'a Inode,
    /// Where it is copied to, relative to the target; empty for the target itself.
    pub path: &'a Path,
}

impl Copied<'_> {
    /// The error that nothing of the inode can be read.
    pub(crate) fn failed(&self, err: &Error) -> CopyError {
        CopyError::Unreadable(format!("{} while reading inode {}", reason(err), self.inode.blkno))
    }
}

/// Standard output, to which an archive can be written.
pub trait Output {
    /// Writes bytes as they are.
    ///
    /// # Errors
    /// Those of the writer.
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// What files are copied to.
pub trait Target {
    /// The path as messages have it.
    fn shown(&self, path: &Path) -> String;

    /// Whether standard output has the copy, and so no messages.
    fn is_output(&self) -> bool {
        false
    }

    /// Begins a directory.
    ///
    /// # Errors
    /// [`CopyError`].
    fn directory(&mut self, it: &Copied<'_>, out: &mut dyn Output) -> Result<(), CopyError>;

    /// Ends a directory, after everything in it.
    ///
    /// # Errors
    /// [`CopyError`].
    fn filled(&mut self, it: &Copied<'_>, out: &mut dyn Output) -> Result<(), CopyError>;

    /// Makes a file with its contents.
    ///
    /// # Errors
    /// [`CopyError`], also if only a part could be copied.
    fn regular(&mut self, it: &Copied<'_>, out: &mut dyn Output) -> Result<(), CopyError>;

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// [`CopyError`].
    fn symlink(
        &mut self,
        it: &Copied<'_>,
        to: &[u8],
        out: &mut dyn Output,
    ) -> Result<(), CopyError>;

    /// Makes a device, a FIFO or a socket.
    ///
    /// # Errors
    /// [`CopyError`].
    fn special(
        &mut self,
        it: &Copied<'_>,
        kind: FileKind,
        out: &mut dyn Output,
    ) -> Result<(), CopyError>;

    /// Makes another name of something that was copied as `first`.
    ///
    /// # Errors
    /// [`CopyError`].
    fn link(
        &mut self,
        it: &Copied<'_>,
        first: &Path,
        out: &mut dyn Output,
    ) -> Result<(), CopyError>;

    /// Ends the copy: writes what comes last. Returns what was left out for reasons of this
    /// machine, in words.
    ///
    /// # Errors
    /// [`CopyError`].
    fn end(&mut self, out: &mut dyn Output) -> Result<Vec<String>, CopyError>;

    /// What this machine refused for no reason that is known, in words.
    fn refused(&self) -> Option<String> {
        None
    }

    /// Copies what is no directory.
    ///
    /// # Errors
    /// [`CopyError`].
    fn file(&mut self, it: &Copied<'_>, out: &mut dyn Output) -> Result<(), CopyError> {
        match it.inode.kind() {
            Some(FileKind::Regular) => self.regular(it, out),
            Some(FileKind::Symlink) => {
                let to = it.volume.symlink_target(it.inode).map_err(|err| it.failed(&err))?;
                self.symlink(it, &to, out)
            }
            Some(FileKind::Directory) => self.directory(it, out),
            Some(kind) => self.special(it, kind, out),
            None => {
                let (blkno, mode) = (it.inode.blkno, it.inode.dinode.i_mode);
                let text = format!("inode {blkno} is of no known kind: mode {mode:o}");
                Err(CopyError::Unreadable(text))
            }
        }
    }
}

/// Whether a name is that of a single file, so that a hostile one does not point out of the target.
pub fn is_name(name: &[u8]) -> bool {
    let is_dots = name == b"." || name == b"..";
    !is_dots && !name.is_empty() && !name.contains(&b'/') && !name.contains(&0)
}
