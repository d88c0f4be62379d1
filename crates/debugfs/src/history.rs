//! The file with the lines of earlier shells. Without it the shell is as good: nothing about it is
//! an error.

use std::path::PathBuf;

/// The most lines that are kept.
pub const MOST_LINES: usize = 1000;
/// The greatest file that is read, in bytes.
const MOST_BYTES: u64 = 1 << 20;

/// Where the file is, if it may be used; its folder is made.
pub fn path() -> Option<PathBuf> {
    ocfs2_cli::state_file("debugfs_history", MOST_BYTES)
}
