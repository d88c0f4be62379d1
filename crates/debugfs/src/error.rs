//! Reasons for which a command fails.

use std::io;

use ocfs2_cli::{Interrupted, OutputClosed, shown};
use ocfs2_volume::Error as VolumeError;

/// What is wrong with something on the volume, in the words of the C tool if it has any.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A path does not exist.
    #[error("Directory entry not found")]
    NotFound,
    /// The number is not a block of the volume.
    #[error("Invalid block number")]
    InvalidBlock,
    /// The block has another signature.
    #[error("Bad magic number in {0}")]
    BadMagic(&'static str),
    /// A block is not one of a directory's index.
    #[error("OCFS2 directory corrupted")]
    DirCorrupt,
    /// An entry of a directory cannot be, and those after it are not found.
    #[error("Bad entry in directory block {block} at byte {offset}: names behind it are missing")]
    BadEntry {
        /// The block.
        block: ocfs2_format::Blkno,
        /// Where the entry is in it.
        offset: usize,
    },
    /// A directory is needed.
    #[error("OCFS2 inode is not a directory")]
    NotDir,
    /// The contents are in the inode, or there are none.
    #[error("Inode type does not contain extents")]
    NoExtents,
    /// Entries of attributes point outside their area.
    #[error("Names or values of attributes are outside their area")]
    NotAttributes,
    /// No file can have this name.
    #[error("A name has neither zero bytes nor slashes")]
    NotName,
    /// A circle of symbolic links, or too many of them.
    #[error("Too many symbolic links encountered")]
    TooManyLinks,
    /// Anything else.
    #[error(transparent)]
    Volume(VolumeError),
    /// A signal came.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl From<VolumeError> for Problem {
    fn from(err: VolumeError) -> Self {
        match err {
            VolumeError::OutsideVolume { .. } => Self::InvalidBlock,
            err => Self::Volume(err),
        }
    }
}

impl From<ocfs2_format::Truncated> for Problem {
    fn from(source: ocfs2_format::Truncated) -> Self {
        let blkno = ocfs2_format::Blkno(0);
        Self::Volume(VolumeError::Truncated { blkno, source })
    }
}

/// The reason why a command ended early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It failed, with the text after its name.
    #[error("{0}")]
    Failed(String),
    /// Its arguments are wrong.
    #[error("wrong arguments")]
    Usage,
    /// One of its arguments is wrong, as the text says.
    #[error("{0}")]
    Argument(String),
    /// No volume is open.
    #[error("No device open")]
    NoDevice,
    /// A part of it failed, which was already reported.
    #[error("some of it failed")]
    Said,
    /// A signal came.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// Its output cannot be written.
    #[error(transparent)]
    Output(#[from] io::Error),
}

impl Failure {
    /// Whether the reader of the output has gone away.
    pub fn is_closed_output(&self) -> bool {
        let Self::Output(err) = self else { return false };
        err.kind() == io::ErrorKind::BrokenPipe
            || err.get_ref().is_some_and(|inner| inner.is::<OutputClosed>())
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Interrupted(err) => Self::Interrupted(err),
            problem => Self::Failed(problem.to_string()),
        }
    }
}

impl From<ocfs2_extract::CopyError> for Failure {
    fn from(err: ocfs2_extract::CopyError) -> Self {
        use ocfs2_extract::CopyError;
        match err {
            CopyError::Failed(text)
            | CopyError::Unreadable(text)
            | CopyError::Incomplete(text)
            | CopyError::Ended(text) => Self::Failed(text),
            CopyError::Interrupted(err) => Self::Interrupted(err),
            CopyError::Output(err) => Self::Output(err),
        }
    }
}

/// Errors of a change whose text is reported as it is.
macro_rules! said_as_it_is {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(err: $error) -> Self {
                Self::Failed(err.to_string())
            }
        }
    )*};
}

impl From<ocfs2_volume::EditError> for Failure {
    fn from(err: ocfs2_volume::EditError) -> Self {
        use ocfs2_volume::EditError::Volume;
        match &err {
            // The structure is damaged, unlike when it is only not the wanted one.
            Volume(
                VolumeError::Checksum { .. }
                | VolumeError::Truncated { .. }
                | VolumeError::Repeated { .. }
                | VolumeError::OutsideVolume { .. },
            ) => Self::Failed(format!("{err}; fsck.ocfs2 -f checks the volume")),
            _ => Self::Failed(err.to_string()),
        }
    }
}

said_as_it_is!(ocfs2_volume::commit::CommitError, ocfs2_volume::gate::Changed);

impl From<VolumeError> for Failure {
    fn from(err: VolumeError) -> Self {
        Problem::from(err).into()
    }
}

impl From<ocfs2_format::Truncated> for Failure {
    fn from(err: ocfs2_format::Truncated) -> Self {
        Problem::from(err).into()
    }
}

/// Adds to a problem where it occurred.
pub trait Explain<T> {
    /// The error `problem while ...`: `context` includes the first of these words.
    fn explain(self, context: impl FnOnce() -> String) -> Result<T, Failure>;

    /// The error `problem 'path'`, for something that was named on the command line.
    fn of(self, word: &[u8]) -> Result<T, Failure>
    where
        Self: Sized,
    {
        self.explain(|| format!("'{}'", ocfs2_cli::terminal(word)))
    }
}

impl<T, E: Into<Problem>> Explain<T> for Result<T, E> {
    fn explain(self, context: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|err| match err.into() {
            Problem::Interrupted(err) => Failure::Interrupted(err),
            problem => Failure::Failed(format!("{problem} {}", context())),
        })
    }
}

/// An error of the local system about a file, in the form of the C tool.
pub fn of_file(err: &io::Error, path: &std::path::Path) -> Failure {
    Failure::Failed(format!("{} '{}'", plain(err), shown(path)))
}

/// The text of a system error without its number.
pub fn plain(err: &io::Error) -> String {
    ocfs2_cli::without_error_numbers(&err.to_string())
}
