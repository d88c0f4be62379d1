//! Errors of filling a volume.

use std::io;
use std::path::PathBuf;

use ocfs2_format::Truncated;
use ocfs2_format::dx_leaves::SameHash;

/// The reason why a volume cannot be filled.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// The file that caused the error.
    #[error("{}", ocfs2_cli::shown(path))]
    At {
        /// Its path in the source folder or archive.
        path: PathBuf,
        /// The error itself.
        #[source]
        cause: Box<FillError>,
    },
    /// The volume has no more free clusters.
    #[error("the volume is too small for the files")]
    Full,
    /// The source could not be read.
    #[error("cannot be read")]
    Read(#[source] io::Error),
    /// An error of the device, or of the progress report.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A block is too short for its contents.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// A heartbeat device cannot have files.
    #[error("a heartbeat device has no files")]
    HeartbeatDevice,
    /// The directory was already written.
    #[error("the directory has been written already")]
    Finished,
    /// The name is not valid for a file.
    #[error("is not a name of a file")]
    BadName,
    /// The name is too long.
    #[error("the name is {bytes} bytes long; at most 255 fit")]
    LongName {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The name already exists.
    #[error("occurs twice")]
    Twice,
    /// There are more links than the inode can count.
    #[error("has more than {most} links")]
    TooManyLinks {
        /// The largest possible number.
        most: u32,
    },
    /// The file is larger than the volume supports.
    #[error("is {bytes} bytes long, more than a file on this volume can be")]
    TooLarge {
        /// Its size in bytes.
        bytes: u64,
    },
    /// The target of a symbolic link is empty, or longer than the kernel reads.
    #[error("the target of the symbolic link is {bytes} bytes long, not 1 to 4095")]
    Target {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The target of a symbolic link contains a NUL.
    #[error("the target of the symbolic link has a NUL in it")]
    BadTarget,
    /// The device numbers are out of range.
    #[error("device {major}:{minor} is out of range: 4095:1048575 is the last")]
    DeviceNumber {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// The format does not support attributes of this kind.
    #[error(
        "attribute {name} cannot be stored: expected user., trusted., security. or a POSIX access \
         control list"
    )]
    AttributeKind {
        /// Its name.
        name: String,
    },
    /// The volume does not support attributes.
    #[error("attribute {name} cannot be stored: the volume lacks the feature xattr")]
    NoAttributes {
        /// Its name.
        name: String,
    },
    /// The name or value of an attribute is too long, or too many names have the same hash.
    #[error("attribute {name} cannot be stored: {why}")]
    Attribute {
        /// Its name.
        name: String,
        /// The reason.
        why: &'static str,
    },
    /// More names have the same hash than fit into a leaf of an index.
    #[error("the index of the directory has no room: {0}")]
    SameHash(#[from] SameHash),
    /// The source contains something that is not supported.
    #[error("{0}")]
    Source(String),
}

impl FillError {
    /// Adds the path of the file that caused the error, unless there is one already.
    #[must_use]
    pub fn at(self, path: impl Into<PathBuf>) -> Self {
        match self {
            Self::At { .. } | Self::Io(_) | Self::Full => self,
            cause => Self::At { path: path.into(), cause: Box::new(cause) },
        }
    }
}
