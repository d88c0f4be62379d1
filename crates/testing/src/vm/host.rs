//! What the host has to have.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Result;

use super::kernel::{Kernel, Which};
use crate::find_program;

/// Something virtual machines need that is not there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Missing {
    /// What it is: a program and its package, the kernel.
    pub what: String,
    /// What it is for, or why it could not be got.
    pub why: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

/// Gets the distribution's kernel and the newest there is into the user's cache folder, if they
/// are not there yet.
///
/// Gives what machines still lack, and why: nothing is installed here. `OCFS2_NEWEST_KERNEL=no`
/// in the environment does without the newest.
///
/// # Errors
/// There is no cache folder.
pub fn prepare() -> Result<Vec<Missing>> {
    let mut missing = missing_programs();
    if let Err(err) = Kernel::get(Which::Ours) {
        missing.push(Missing { what: "a Linux kernel".into(), why: format!("{err:#}") });
    }
    if wants_newest()
        && let Err(err) = Kernel::get(Which::Newest)
    {
        missing.push(Missing { what: "the newest Linux kernel".into(), why: format!("{err:#}") });
    }
    Ok(missing)
}

/// What is missing now.
pub fn missing() -> Vec<Missing> {
    let mut missing = missing_programs();
    if !matches!(Kernel::cached(Which::Ours), Ok(Some(_))) {
        let why = "the distribution's, not downloaded yet".into();
        missing.push(Missing { what: "a Linux kernel".into(), why });
    }
    missing
}

/// Whether tests have a second kernel judge.
pub fn wants_newest() -> bool {
    std::env::var_os("OCFS2_NEWEST_KERNEL").is_none_or(|it| it != "no")
}

/// The emulator.
pub fn qemu() -> Option<PathBuf> {
    find_program("qemu-system-x86_64")
}

/// The programs of the machines.
pub fn busybox() -> Option<PathBuf> {
    find_program("busybox")
}

fn missing_programs() -> Vec<Missing> {
    let emulator = ("qemu-system-x86_64 (package qemu-system-x86)", "runs the machines", qemu());
    let programs = ("busybox (package busybox-static)", "the machines' programs", busybox());
    let absent = [emulator, programs].into_iter().filter(|(.., path)| path.is_none());
    absent.map(|(what, why, _)| Missing { what: what.into(), why: why.into() }).collect()
}

/// Fetches the lists of packages anew, which root may and whoever becomes root by `sudo`.
pub fn update_package_lists() -> bool {
    let mut apt = if rustix::process::geteuid().is_root() {
        Command::new("apt-get")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "apt-get"]);
        sudo
    };
    apt.args(["update", "-qq"]).stdin(Stdio::null()).stdout(Stdio::null());
    apt.status().is_ok_and(|status| status.success())
}
