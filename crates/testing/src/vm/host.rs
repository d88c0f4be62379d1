//! What the host needs to have.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Result;

use super::corosync;
use super::kernel::{Kernel, Which};
use crate::find_program;

/// Something that virtual machines need and the host lacks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Missing {
    /// What is missing: a program and its package, or the kernel.
    pub what: String,
    /// What it is needed for, or why it cannot be had.
    pub why: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

/// Puts the distribution's kernel, two newer ones and the services of a cluster of corosync into the
/// user's cache folder, if they are not there yet.
///
/// Returns what machines still lack, and why: nothing is installed here. `OCFS2_NEWEST_KERNEL=no`
/// in the environment turns the newer kernels off.
///
/// # Errors
/// If there is no cache folder.
pub fn prepare() -> Result<Vec<Missing>> {
    let mut missing = missing_programs();
    if let Err(err) = Kernel::get(Which::Ours) {
        missing.push(Missing { what: "a Linux kernel".into(), why: format!("{err:#}") });
    }
    if let Err(err) = corosync::get() {
        let what = "corosync and dlm-controld".into();
        missing.push(Missing { what, why: format!("{err:#}") });
    }
    let newer =
        [(Which::Newest, "the newest Linux kernel"), (Which::Between, "a third Linux kernel")];
    for (which, what) in newer.into_iter().filter(|_| wants_newest()) {
        if let Err(err) = Kernel::get(which) {
            missing.push(Missing { what: what.into(), why: format!("{err:#}") });
        }
    }
    Ok(missing)
}

/// Returns what is missing now.
pub fn missing() -> Vec<Missing> {
    let mut missing = missing_programs();
    if !matches!(Kernel::cached(Which::Ours), Ok(Some(_))) {
        let why = "the distribution's, not downloaded yet".into();
        missing.push(Missing { what: "a Linux kernel".into(), why });
    }
    missing
}

/// Returns whether tests also run with newer kernels.
pub fn wants_newest() -> bool {
    std::env::var_os("OCFS2_NEWEST_KERNEL").is_none_or(|it| it != "no")
}

/// Path of the emulator.
pub fn qemu() -> Option<PathBuf> {
    find_program("qemu-system-x86_64")
}

/// Path of busybox, which has the programs of the machines.
pub fn busybox() -> Option<PathBuf> {
    find_program("busybox")
}

fn missing_programs() -> Vec<Missing> {
    let emulator = ("qemu-system-x86_64 (package qemu-system-x86)", "runs the machines", qemu());
    let programs = ("busybox (package busybox-static)", "the machines' programs", busybox());
    let absent = [emulator, programs].into_iter().filter(|(.., path)| path.is_none());
    absent.map(|(what, why, _)| Missing { what: what.into(), why: why.into() }).collect()
}

/// Downloads the lists of packages again, as root or by `sudo`. Returns whether that succeeded.
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
