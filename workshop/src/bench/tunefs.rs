//! tunefs.ocfs2: a feature that changes every block of metadata, more and fewer clusters and slots.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ocfs2_cli::human_size;
use ocfs2_testing::{Run, Scratch};
use xtask::cargo;

use super::fsck::{AGED, prepare};
use super::volumes::{cached, program};
use super::{Options, Row, programs, table};

/// Size of the volume that is extended, and how much it gains.
const LARGE: u64 = 16 << 40;

/// Measures and adds the tables.
pub fn run(options: &Options, folder: &Path, text: &mut String) -> Result<()> {
    metaecc(options, folder, text)?;
    grow(options, folder, text)?;
    slots(options, folder, text)?;
    shrink(options, folder, text)
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
            let scratch = Scratch::in_memory();
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

/// From 4 slots to 32, and from 32 to 4, with journals of 4 MiB.
fn slots(options: &Options, folder: &Path, text: &mut String) -> Result<()> {
    let [mkfs, _] = programs(folder, "mkfs.ocfs2")?;
    eprintln!("tunefs.ocfs2 -N, {} x", options.runs);
    for (from, to) in [("4", "32"), ("32", "4")] {
        let mut rows = programs(folder, "tunefs.ocfs2")?;
        for _ in 0..options.runs.max(1) {
            for row in &mut rows {
                let scratch = Scratch::in_memory();
                let image = scratch.image("slots.img", 20 << 30);
                let make = ["-q", "-F", "-M", "local", "-N", from, "-J", "size=4M"];
                Run::new(&mkfs.program).args(make).arg(&image).success();
                row.run_to(&[0], &words(&format!("-y -q -N {to}"), &image))?;
            }
        }
        let title = format!("## tunefs.ocfs2 -N, {from} slots to {to}, in memory");
        let _ = write!(text, "\n{title}\n\n{}", table(&rows));
    }
    Ok(())
}

/// Bytes of the file that was there first, and of all others together.
const HALF: u64 = 2 << 30;

/// Bytes of each of the others.
const EACH: u64 = 8 << 20;

/// A volume whose second half moves to its first one, compared with a copy of as many bytes, from
/// disk to disk. The C program has nothing of that kind.
fn shrink(options: &Options, folder: &Path, text: &mut String) -> Result<()> {
    let image = half_empty(folder)?;
    let [ours, _] = programs(folder, "tunefs.ocfs2")?;
    let mut rows = [ours, Row::new("dd of as many bytes", &program("dd")?)];
    eprintln!("tunefs.ocfs2 -S to a smaller size, {} x", options.runs);
    let scratch = tempfile::tempdir_in(cargo::target_dir().join("bench"))?;
    let (volume, copy) = (scratch.path().join("volume.img"), scratch.path().join("copy.img"));
    for _ in 0..options.runs.max(1) {
        Run::new("cp").arg("--sparse=always").arg(&image).arg(&volume).success();
        File::open(&volume)?.sync_all()?;
        prepare(&volume, true)?;
        let size = format!("{}", HALF + HALF / 8);
        let mut arguments = words("-y -q -Sbytes", &volume);
        arguments.push(OsStr::new(&size));
        rows[0].run_to(&[0], &arguments)?;
        prepare(&image, true)?;
        let words = format!("bs=1M count={} conv=fsync status=none", HALF >> 20);
        let (from, to) = (of("if=", &image), of("of=", &copy));
        rows[1].run(|dd| dd.args(words.split(' ')).args([from, to]))?;
        fs::remove_file(&volume)?;
        fs::remove_file(&copy)?;
    }
    let title = format!("## tunefs.ocfs2 -S, {} of files move, cold cache", human_size(HALF));
    let _ = write!(text, "\n{title}\n\n{}", table(&rows));
    Ok(())
}

/// The operand `name` of dd.
fn of(name: &str, path: &Path) -> OsString {
    [OsStr::new(name), path.as_os_str()].into_iter().collect()
}

/// A volume whose first half is free: what was there first is removed.
fn half_empty(folder: &Path) -> Result<PathBuf> {
    cached("half-empty.img", 2 * HALF + (HALF >> 2), |image| {
        let scratch = tempfile::tempdir_in(cargo::target_dir().join("bench"))?;
        let tree = scratch.path();
        for name in ["a", "b"] {
            fs::create_dir(tree.join(name))?;
        }
        write(&tree.join("a/first"), HALF)?;
        (0..HALF / EACH).try_for_each(|file| write(&tree.join(format!("b/{file}")), EACH))?;
        let [mkfs, _] = programs(folder, "mkfs.ocfs2")?;
        let make = ["-q", "-F", "-M", "local", "-N", "1", "-J", "size=32M", "-d"];
        Run::new(&mkfs.program).args(make).args([tree, image]).success();
        let [debugfs, _] = programs(folder, "debugfs.ocfs2")?;
        let remove = ["-w", "-R", "rm /a/first"];
        Run::new(&debugfs.program).args(remove).arg(image).success();
        Ok(())
    })
}

/// Makes a file of that many bytes that are not zeros.
fn write(path: &Path, bytes: u64) -> Result<()> {
    let mut file = File::create_new(path)?;
    let piece = vec![b'x'; 1 << 20];
    (0..bytes >> 20).try_for_each(|_| file.write_all(&piece))?;
    Ok(())
}
