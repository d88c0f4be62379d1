//! tunefs.ocfs2: a feature that changes every block of metadata, more clusters, more and fewer slots.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};
use ocfs2_testing::{Run, Scratch};
use xtask::cargo;

use super::fsck::{AGED, prepare};
use super::{Options, programs, table};

/// Size of the volume that is extended, and how much it gains.
const LARGE: u64 = 16 << 40;

/// Measures and adds the tables.
pub fn run(options: &Options, folder: &Path, text: &mut String) -> Result<()> {
    metaecc(options, folder, text)?;
    grow(options, folder, text)?;
    slots(options, folder, text)
}

/// The words of a command line.
fn words<'a>(options: &'a str, image: &'a Path) -> Vec<&'a OsStr> {
    options.split(' ').map(OsStr::new).chain([image.as_os_str()]).collect()
}

/// Block checks for all metadata of many files, from disk to disk.
fn metaecc(options: &Options, folder: &Path, text: &mut String) -> Result<()> {
    let image = AGED.ocfs2(folder)?;
    let mut rows = programs(folder, "tunefs.ocfs2")?;
    eprintln!("tunefs.ocfs2 --fs-features=metaecc, {} x", options.runs);
    let scratch = tempfile::tempdir_in(cargo::target_dir().join("bench"))?;
    let copy = scratch.path().join("copy.img");
    for _ in 0..options.runs.max(1) {
        for row in &mut rows {
            Run::new("cp").arg("--sparse=always").arg(&image).arg(&copy).success();
            File::open(&copy)?.sync_all()?;
            prepare(&copy, true)?;
            row.run_to(&[0], &words("-y -q --fs-features=metaecc", &copy))?;
            fs::remove_file(&copy)?;
        }
    }
    let title = "## tunefs.ocfs2 --fs-features=metaecc, 900,000 files that Linux made, cold cache";
    let _ = write!(text, "\n{title}\n\n{}", table(&rows));
    Ok(())
}

/// An empty volume that doubles. In memory, because ext4 has no files of that size.
fn grow(options: &Options, folder: &Path, text: &mut String) -> Result<()> {
    let [mkfs, _] = programs(folder, "mkfs.ocfs2")?;
    let mut rows = programs(folder, "tunefs.ocfs2")?;
    eprintln!("tunefs.ocfs2 -S, {} x", options.runs);
    for _ in 0..options.runs.max(1) {
        for row in &mut rows {
            let scratch = Scratch::new();
            let image = scratch.image("large.img", LARGE);
            let make = ["-q", "-F", "-M", "local", "-N", "4", "-C", "16K", "-J", "block64"];
            Run::new(&mkfs.program).args(make).arg(&image).success();
            let file = File::options().write(true).open(&image)?;
            file.set_len(2 * LARGE).context("a sparse file of 32 TiB")?;
            row.run_to(&[0], &words("-y -q -S", &image))?;
        }
    }
    let title = "## tunefs.ocfs2 -S, an empty volume from 16 TiB to 32 TiB, in memory";
    let _ = write!(text, "\n{title}\n\n{}", table(&rows));
    Ok(())
}

/// From 4 slots to 32, and back, with journals of 4 MiB.
fn slots(options: &Options, folder: &Path, text: &mut String) -> Result<()> {
    let [mkfs, _] = programs(folder, "mkfs.ocfs2")?;
    eprintln!("tunefs.ocfs2 -N, {} x", options.runs);
    let mut more = programs(folder, "tunefs.ocfs2")?;
    for _ in 0..options.runs.max(1) {
        for row in &mut more {
            let scratch = Scratch::new();
            let image = scratch.image("slots.img", 20 << 30);
            let make = ["-q", "-F", "-M", "local", "-N", "4", "-J", "size=4M"];
            Run::new(&mkfs.program).args(make).arg(&image).success();
            row.run_to(&[0], &words("-y -q -N 32", &image))?;
        }
    }
    let _ = write!(text, "\n## tunefs.ocfs2 -N, 4 slots to 32, in memory\n\n{}", table(&more));
    Ok(())
}
