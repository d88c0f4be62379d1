//! Why an operation failed, as a number of errno and as text.

use rustix::io::Errno;

use crate::commit::CommitError;
use crate::{EditError, Error};

/// Why an operation failed. Nothing of it was done.
#[derive(Debug)]
pub struct Failure {
    /// What the program that asked is told.
    pub errno: Errno,
    /// What is wrong with the volume or its device, if that is the reason: for a log.
    pub report: Option<String>,
    /// Whether it may fit into a transaction of its own, or in parts.
    pub(super) is_large: bool,
}

impl Failure {
    fn of(errno: Errno, report: Option<String>) -> Self {
        Self { errno, report, is_large: false }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::of(errno, None)
    }
}

impl From<Error> for Failure {
    fn from(err: Error) -> Self {
        match err {
            Error::NotFound { .. } => Errno::NOENT.into(),
            err => Self::of(Errno::IO, Some(err.to_string())),
        }
    }
}

impl From<EditError> for Failure {
    fn from(err: EditError) -> Self {
        match err {
            EditError::Volume(err) => err.into(),
            EditError::NoRoom(_) => Errno::NOSPC.into(),
            EditError::Exists(_) => Errno::EXIST.into(),
            EditError::TooLarge(_) => Errno::FBIG.into(),
            EditError::Quota { .. } => Errno::DQUOT.into(),
            // What has an errno of its own was looked at before.
            EditError::Refused(_) => Errno::PERM.into(),
            EditError::ManyBlocks { .. } => Self { is_large: true, ..Errno::NOSPC.into() },
            EditError::Changes(err) => Self::of(Errno::IO, Some(err.to_string())),
        }
    }
}

impl From<CommitError> for Failure {
    fn from(err: CommitError) -> Self {
        Self::of(Errno::IO, Some(err.to_string()))
    }
}
