//! Block devices for tests.

use std::path::{Path, PathBuf};

use crate::{Run, find_program, skip};

/// A loop device over an image; detached when dropped.
#[derive(Debug)]
pub struct LoopDevice(PathBuf);

impl LoopDevice {
    /// Attaches `image`, with more arguments for losetup such as `--read-only`. `None`, with a
    /// message on standard error, if this user or machine cannot do that.
    ///
    /// # Panics
    /// Under `CI=true` if it cannot.
    pub fn attach(image: &Path, arguments: &[&str]) -> Option<Self> {
        let Some(losetup) = find_program("losetup") else {
            skip("there is no losetup on this machine");
            return None;
        };
        let attach = Run::new(losetup).args(["--find", "--show"]).args(arguments).arg(image);
        let outcome = attach.output();
        if outcome.status != 0 {
            skip(&format!("loop devices cannot be attached here: {}", outcome.stderr.trim()));
            return None;
        }
        Some(Self(outcome.stdout.trim().into()))
    }

    /// Path of the device, such as `/dev/loop0`.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        Run::new("losetup").arg("--detach").arg(&self.0).output();
    }
}
