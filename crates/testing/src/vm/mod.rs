//! The Linux kernel as judge: virtual machines that mount OCFS2 volumes.
//!
//! One machine, or two that form a cluster of o2cb or corosync on one disk, run shell scripts; the
//! test examines what these printed and how they ended. The kernel itself is a judge too: a warning or error of
//! its OCFS2 or journal code fails the run.
//!
//! ```no_run
//! use ocfs2_testing::vm::Lab;
//! # fn main() -> anyhow::Result<()> {
//! # let (image, disk, mounted) = ("a.img", "b.img", "mounted-ocfs2");
//! let lab = Lab::ready()?;
//! let run = lab.vm().disk(image).script("mount-volume /dev/vda /mnt && ls /mnt").run()?;
//! run.assert_ok();
//!
//! let run = lab
//!     .cluster(disk)
//!     .program(mounted)
//!     .node(0, "mount-volume /dev/vda /mnt; barrier up; peer-dead; mounted.ocfs2 -f")
//!     .node(1, "mount-volume /dev/vda /mnt; barrier up; crash")
//!     .run()?;
//! assert!(run.node(0).output.contains("ovs001"));
//! # Ok(()) }
//! ```
//!
//! # What a script finds
//!
//! - the applets of busybox;
//! - the programs it was given, in `/sbin`, under the names the system uses (`mounted-ocfs2`
//!   becomes `mounted.ocfs2`);
//! - the disks as `/dev/vda`, `/dev/vdb`...;
//! - `/mnt`;
//! - its number in `$NODE`, of `$NODES`;
//! - the commands of the folder `guest`:
//!   - `mount-volume [-o OPTIONS] DEV DIR` mounts, with a heartbeat if the volume needs one;
//!   - `barrier NAME [SECONDS]` waits until the other node has reached the same barrier;
//!   - `crash` ends this machine at once;
//!   - `peer-dead [SECONDS]` waits until the other machine is gone.
//!
//! A given program with the name of one of these commands takes its place.
//!
//! A volume that is still mounted when the script ends is unmounted: to leave it dirty, a script
//! needs `crash`.

mod archive;
mod clock;
mod corosync;
mod guest;
mod host;
mod kernel;
mod kernel_log;
mod machine;
mod module;
mod newer;
mod package;
mod running;
mod turn;

pub use host::{Missing, prepare};
pub use machine::{Fencing, Heartbeat, Machines};
pub use running::{End, Node, Run, Running};

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use kernel::{Kernel, Which};
use ocfs2_format::hash::CharSign;

/// Everything that machines are made of: an emulator, a kernel with its modules, a busybox.
#[derive(Debug)]
pub struct Lab {
    kernel: Kernel,
    qemu: PathBuf,
    busybox: PathBuf,
}

impl Lab {
    /// Returns the lab, if [`prepare`] was run before. Needs no network.
    ///
    /// # Errors
    /// If anything is missing; the error names all of it.
    pub fn ready() -> Result<Self> {
        Self::of(Which::Ours)
    }

    /// Returns the lab with the newest kernel that [`prepare`] found; `None` if it is the same
    /// kernel, or not wanted. Needs no network.
    ///
    /// # Errors
    /// Like [`Lab::ready`], and if [`prepare`] has not downloaded it.
    pub fn newest() -> Result<Option<Self>> {
        let ours = Self::ready()?;
        if !host::wants_newest() {
            return Ok(None);
        }
        let newest = Self::of(Which::Newest)?;
        Ok((newest.kernel.release != ours.kernel.release).then_some(newest))
    }

    /// Returns the lab with a kernel between the other two; `None` if there is none, or the newest is
    /// not wanted either. Needs no network.
    ///
    /// # Errors
    /// As [`Lab::newest`].
    pub fn between() -> Result<Option<Self>> {
        let Some(newest) = Self::newest()? else { return Ok(None) };
        let (ours, between) = (Self::ready()?, Self::of(Which::Between)?);
        let release = &between.kernel.release;
        let is_another = *release != newest.kernel.release && *release != ours.kernel.release;
        Ok(is_another.then_some(between))
    }

    fn of(which: Which) -> Result<Self> {
        let missing = host::missing();
        if let (Some(kernel), Some(qemu), Some(busybox)) =
            (Kernel::cached(which)?, host::qemu(), host::busybox())
        {
            return Ok(Self { kernel, qemu, busybox });
        }
        let mut list: Vec<_> = missing.iter().map(ToString::to_string).collect();
        if list.is_empty() {
            list.push("a newer Linux kernel: not downloaded yet".to_owned());
        }
        bail!("no virtual machines here; `cargo xtask kernel` prepares them: {}", list.join("; "))
    }

    /// Release of the kernel, as `uname -r` prints it.
    pub fn kernel_release(&self) -> &str {
        &self.kernel.release
    }

    /// How this kernel hashes names with bytes from 0x80 on, on x86.
    pub fn name_hash(&self) -> CharSign {
        let mut numbers = self.kernel.release.split(['.', '-', '+']).map(str::parse::<u32>);
        let version = (numbers.next().and_then(Result::ok), numbers.next().and_then(Result::ok));
        if version < (Some(6), Some(2)) { CharSign::Signed } else { CharSign::Unsigned }
    }

    /// Makes one machine, in no cluster.
    pub fn vm(&self) -> Machines<'_> {
        Machines::new(self, 1)
    }

    /// Makes two connected machines on one `disk`, in no cluster: their scripts make one.
    pub fn pair(&self, disk: impl AsRef<Path>) -> Machines<'_> {
        Machines::new(self, 2).disk(disk)
    }

    /// Makes two machines on one `disk`: nodes 1 and 2, `ovs001` and `ovs002`, of the cluster
    /// `ovscluster` of corosync.
    ///
    /// # Errors
    /// If [`prepare`] has not downloaded its services.
    pub fn corosync(&self, disk: impl AsRef<Path>, fencing: Fencing) -> Result<Machines<'_>> {
        Ok(Machines::new(self, 2).corosync(fencing)?.disk(disk))
    }

    /// Makes two machines on one `disk`: `ovs001` and `ovs002` of the cluster `ovscluster`.
    pub fn cluster(&self, disk: impl AsRef<Path>) -> Machines<'_> {
        Machines::new(self, 2).o2cb(Heartbeat::Local).disk(disk)
    }
}
