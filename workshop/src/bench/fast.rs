//! fsck.ocfs2 on the fastest possible device: the disk of this machine may be slower than any of
//! the programs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use ocfs2_testing::LoopDevice;
use rustix::fs::{Advice, fadvise};
use tempfile::TempDir;

use super::Options;
use super::fsck::{AGED, MANY, Volume};
use super::shown::{Shown, Work, measure};
use super::volumes::{program, run as run_program};

const WORKS: [Work; 2] = [
    Work { title: "900,000 names, made by Linux", volume: Volume::ByKernel(AGED), others: None },
    Work { title: "1,000,000 files", volume: Volume::Tree(MANY), others: Some(MANY) },
];

/// Measures and adds the tables.
pub fn run(options: &Options, folder: &Path, text: &mut String) -> Result<()> {
    text.push_str(
        "\nThe images are copied into memory (`/dev/shm`) and seen through loop devices, of which\n\
         nothing is in the page cache before a run. The raw read is that of all bytes that are\n\
         allocated in the image, with 16 reads of at most 1 MiB in flight, past the page cache.\n",
    );
    measure(options, folder, text, &WORKS, Fast::show, "a disk in memory, cold cache")
}

/// An image in memory, shown as a block device.
struct Fast {
    device: LoopDevice,
    _folder: TempDir,
}

impl Fast {
    fn show(image: &Path) -> Result<Self> {
        let folder = tempfile::tempdir_in("/dev/shm")?;
        let copy = folder.path().join("image");
        let mut cp = Command::new(program("cp")?);
        run_program(cp.arg("--sparse=always").args([image, &copy]))?;
        let device = LoopDevice::attach(&copy, &[]).context("a loop device takes root")?;
        Ok(Self { device, _folder: folder })
    }
}

impl Shown for Fast {
    fn device(&self) -> PathBuf {
        self.device.path().to_owned()
    }

    fn prepare(&self) -> Result<()> {
        Ok(fadvise(&File::open(self.device.path())?, 0, None, Advice::DontNeed)?)
    }
}
