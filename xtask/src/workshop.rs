//! The tasks that need the programs' own code.

use std::ffi::OsStr;

use anyhow::Result;
use xtask::cargo;

/// Builds the workshop and has it run a task.
///
/// # Errors
/// It cannot be built, or the task fails.
pub fn run(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<()> {
    let mut task = cargo::cargo(["run", "--quiet", "--package", "workshop", "--"]);
    cargo::run(task.args(args))
}
