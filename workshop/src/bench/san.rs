//! fsck.ocfs2 on a device where each read takes a millisecond, as on a slow SAN.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ocfs2_testing::Scratch;

use super::Options;
use super::fsck::{AGED, MANY, Volume, prepare};
use super::shown::{Shown, Work, measure};
use super::volumes::{Tree, program};

const WORKS: [Work; 3] = [
    Work { title: "1,000,000 files", volume: Volume::Tree(MANY), others: Some(MANY) },
    Work { title: "900,000 names, made by Linux", volume: Volume::ByKernel(AGED), others: None },
    Work {
        title: "100,000 files in 10,000 directories",
        volume: Volume::Tree(Tree::new(20 << 30, 100_000, 10)),
        others: None,
    },
];

/// Measures and adds the tables.
pub fn run(options: &Options, folder: &Path, text: &mut String) -> Result<()> {
    text.push_str(
        "\nThe images are seen through `nbdkit --filter=delay file IMAGE delay-read=1ms` and \
         `nbdfuse`,\nso that each read takes a millisecond longer, whatever its length, and any \
         number of reads\ncan wait at the same time. The images themselves are in the page cache. \
         The raw read is that\nof all bytes that are allocated in the image, with 16 reads of at \
         most 1 MiB in flight.\n",
    );
    measure(options, folder, text, &WORKS, Slow::show, "1 ms a read")
}

/// An image that is shown as a slow file, until it is dropped.
struct Slow {
    image: PathBuf,
    folder: Scratch,
    server: Child,
    fuse: Child,
}

impl Slow {
    fn show(image: &Path) -> Result<Self> {
        let folder = Scratch::new();
        let (socket, device) = (folder.join("socket"), folder.join("device"));
        File::create(&device)?;
        let server = Command::new(program("nbdkit")?)
            .args(["--foreground", "--readonly", "--filter=delay", "--unix"])
            .arg(&socket)
            .arg("file")
            .arg(image)
            .arg("delay-read=1ms")
            .spawn()?;
        wait_for(|| socket.exists())?;
        let fuse = Command::new(program("nbdfuse")?)
            .arg("--readonly")
            .args([&device, Path::new("--unix"), &socket])
            .stdin(Stdio::null())
            .spawn()?;
        let slow = Self { image: image.to_owned(), folder, server, fuse };
        let size = image.metadata()?.len();
        wait_for(|| device.metadata().is_ok_and(|it| it.len() == size))?;
        Ok(slow)
    }
}

impl Shown for Slow {
    fn device(&self) -> PathBuf {
        self.folder.join("device")
    }

    fn prepare(&self) -> Result<()> {
        prepare(&self.image, false)
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        let _ = Command::new("fusermount3").arg("-u").arg(self.device()).status();
        let _ = self.fuse.wait();
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn wait_for(mut done: impl FnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !done() {
        ensure!(start.elapsed() < Duration::from_secs(10), "nbdkit or nbdfuse does not start");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
