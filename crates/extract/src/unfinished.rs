//! A file of this machine that has not got all its contents yet.

use std::fs;
use std::path::{Path, PathBuf};

/// Removes a file on drop unless it is finished: a file of its full length that lacks contents would
/// be taken for a copy.
#[derive(Debug)]
pub struct Unfinished(Option<PathBuf>);

impl Unfinished {
    /// A file that is being written. What is not a regular file, such as `/dev/stdout`, stays.
    pub fn new(path: &Path) -> Self {
        // The file itself, if a link was followed.
        let path = path.canonicalize().ok();
        Self(path.filter(|path| path.symlink_metadata().is_ok_and(|it| it.is_file())))
    }

    /// The file stays.
    pub fn finished(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            // It is reported why it is not finished; there is nothing to add.
            let _ = fs::remove_file(path);
        }
    }
}
