//! Why a volume cannot be filled.

use std::io;
use std::path::PathBuf;

use ocfs2_format::Truncated;
use ocfs2_format::dx_leaves::SameHash;

/// Why a volume cannot be filled.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// It happened with this file.
    #[error("{}", ocfs2_cli::shown(path))]
    At {
        /// In the folder or archive the files come from.
        path: PathBuf,
        /// What happened.
        #[source]
        cause: Box<FillError>,
    },
    /// There are no free clusters any more.
    #[error("the volume is too small for the files")]
    Full,
    /// The source could not be read.
    #[error("cannot be read")]
    Read(#[source] io::Error),
    /// The device, or whoever is told how far the work has come.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A block is shorter than what is to be in it.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// It has no files.
    #[error("a heartbeat device has no files")]
    HeartbeatDevice,
    /// A directory that was written already.
    #[error("the directory has been written already")]
    Finished,
    /// A name that no file can have.
    #[error("is not a name of a file")]
    BadName,
    /// A name that is too long.
    #[error("the name is {bytes} bytes long; at most 255 fit")]
    LongName {
        /// Its length.
        bytes: usize,
    },
    /// There is something of that name.
    #[error("occurs twice")]
    Twice,
    /// The count of links has no room for more.
    #[error("has more than {most} links")]
    TooManyLinks {
        /// Most there can be.
        most: u32,
    },
    /// A file that is larger than files can be.
    #[error("is {bytes} bytes long, more than a file on this volume can be")]
    TooLarge {
        /// Its length.
        bytes: u64,
    },
    /// A symbolic link whose target is empty, or longer than the kernel reads.
    #[error("the target of the symbolic link is {bytes} bytes long, not 1 to 4095")]
    Target {
        /// Its length.
        bytes: usize,
    },
    /// A target that ends before its end.
    #[error("the target of the symbolic link has a NUL in it")]
    BadTarget,
    /// Device numbers that the format has no room for.
    #[error("device {major}:{minor} is out of range: 4095:1048575 is the last")]
    DeviceNumber {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// An attribute of a kind that the format does not have.
    #[error(
        "attribute {name} cannot be stored: expected user., trusted., security. or a POSIX access \
         control list"
    )]
    AttributeKind {
        /// Its name.
        name: String,
    },
    /// The volume has no attributes.
    #[error("attribute {name} cannot be stored: the volume lacks the feature xattr")]
    NoAttributes {
        /// Its name.
        name: String,
    },
    /// A name or a value that is too long, or there are too many with the same hash.
    #[error("attribute {name} cannot be stored: {why}")]
    Attribute {
        /// Its name.
        name: String,
        /// What is wrong.
        why: &'static str,
    },
    /// More names of the same hash than a leaf of an index holds.
    #[error("the index of the directory has no room: {0}")]
    SameHash(#[from] SameHash),
    /// What the files are of is not what can be read.
    #[error("{0}")]
    Source(String),
}

impl FillError {
    /// The same, with the file it happened with. The innermost stays.
    #[must_use]
    pub fn at(self, path: impl Into<PathBuf>) -> Self {
        match self {
            Self::At { .. } | Self::Io(_) | Self::Full => self,
            cause => Self::At { path: path.into(), cause: Box::new(cause) },
        }
    }
}
