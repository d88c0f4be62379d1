//! Running the tasks that need the programs' own code.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;
use xtask::cargo;

/// Builds the workshop and runs one of its tasks.
///
/// # Errors
/// If it cannot be built, or the task fails.
pub fn run(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<()> {
    let mut task = cargo::cargo(["run", "--quiet", "--package", "workshop", "--"]);
    cargo::run(task.args(args))
}

/// Runs a task of the workshop that is already built.
///
/// # Errors
/// If the task fails.
pub fn run_built(bin_dir: &Path, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<()> {
    let mut workshop = Command::new(bin_dir.join("workshop"));
    cargo::run(workshop.args(args).current_dir(cargo::root()).stdin(Stdio::null()))
}
