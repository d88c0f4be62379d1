//! Volumes that the Linux kernel fills, in a virtual machine.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use ocfs2_testing::vm::Lab;

use super::volumes::{cached, run};
use crate::kernel;

/// What the kernel writes. The contents of files are allocated and not written, so that the image
/// has little but metadata.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Contents {
    /// This number of files of all sizes, with links and holes, before a tenth of them is deleted.
    Aged(u32),
    /// The disk of a virtual machine of this many GiB, in pieces of 124 KiB, and two clones of it.
    Disk(u32),
}

impl Contents {
    /// Returns the image of a volume with these contents, with two slots and the default features.
    pub fn ocfs2(self, folder: &Path) -> Result<PathBuf> {
        cached(&format!("by-kernel-{self}.img"), 30 << 30, |image| {
            run(Command::new(folder.join("mkfs-ocfs2"))
                .args(["-q", "-F", "-N", "2", "-L", "bench", "-M", "local"])
                .arg(image))?;
            kernel::prepare()?;
            let contents = match self {
                Self::Aged(files) => format!("aged /mnt/many {files}"),
                Self::Disk(gib) => format!("disk /mnt/many {gib}"),
            };
            let script = format!(
                "set -e; mount-volume /dev/vda /mnt; mkdir /mnt/many
                volume-contents {contents}
                umount /mnt"
            );
            let lab = Lab::ready()?;
            let machine = lab.vm().disk(image).program(folder.join("volume-contents"));
            // The kernel prints this about a journal that was never used.
            let machine = machine.allow("Ignoring recovery information on journal");
            machine.script(script).timeout(Duration::from_secs(3600)).run()?.assert_ok();
            Ok(())
        })
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aged(files) => write!(f, "aged-{files}"),
            Self::Disk(gib) => write!(f, "disk-{gib}"),
        }
    }
}
