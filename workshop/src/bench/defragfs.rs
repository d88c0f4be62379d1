//! defragfs.ocfs2 --offline: files in very many pieces, from disk to disk.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use ocfs2_cli::human_size;
use ocfs2_device::{Device, DeviceOptions, open};
use ocfs2_format::dinode::FileKind;
use ocfs2_testing::Run;
use ocfs2_volume::edit::{Edit, EditOptions, How, NewInode};
use ocfs2_volume::{Volume, VolumeOptions};
use xtask::cargo;

use super::fsck::prepare;
use super::volumes::{cached, program};
use super::{Options, Row, programs, table};

/// Bytes of all files together. `OCFS2_BENCH_DEFRAGFS_GIB` chooses another number of GiB.
const SIZE_GIB: u64 = 2;

/// Bytes of each piece, and number of files that are written in turn.
const PIECE: u64 = 128 << 10;
const FILES: u64 = 8;

/// Pieces that are written by one transaction.
const AT_ONCE: u64 = 400;

/// Measures and adds the table.
pub fn run(options: &Options, folder: &Path, text: &mut String) -> Result<()> {
    let gib = match std::env::var("OCFS2_BENCH_DEFRAGFS_GIB") {
        Ok(text) => text.parse().context("OCFS2_BENCH_DEFRAGFS_GIB")?,
        Err(_) => SIZE_GIB,
    };
    let bytes = gib << 30;
    let image = in_pieces(folder, gib)?;
    let ours = Row::new("ours", &folder.join("defragfs-ocfs2"));
    let mut rows = [ours, Row::new("cp of the image", &program("cp")?)];
    eprintln!("defragfs.ocfs2 --offline, {} x", options.runs);
    let scratch = tempfile::tempdir_in(cargo::target_dir().join("bench"))?;
    let (volume, copy) = (scratch.path().join("volume.img"), scratch.path().join("copy.img"));
    for _ in 0..options.runs.max(1) {
        Run::new("cp")
            .args(["--sparse=always", "--reflink=never"])
            .args([&image, &volume])
            .success();
        File::open(&volume)?.sync_all()?;
        prepare(&volume, true)?;
        rows[0].run_to(&[0], &[OsStr::new("--offline"), volume.as_os_str()])?;
        // There need not be room for both.
        fs::remove_file(&volume)?;
        prepare(&image, true)?;
        // What is copied has to be on the disk, as ours is.
        let words = ["-c", "cp --sparse=always --reflink=never \"$0\" \"$1\" && sync \"$1\""];
        rows[1].program = program("sh")?;
        rows[1].run(|sh| sh.args(words).args([&image, &copy]))?;
        fs::remove_file(&copy)?;
    }
    let (size, pieces) = (human_size(bytes), bytes / PIECE);
    let title = format!("## defragfs.ocfs2 --offline, {size} in {pieces} pieces, cold cache");
    let _ = write!(text, "\n{title}\n\n{}", table(&rows));
    Ok(())
}

/// A volume with files that were written in turn.
fn in_pieces(folder: &Path, gib: u64) -> Result<PathBuf> {
    let bytes = gib << 30;
    cached(&format!("in-pieces-{gib}.img"), bytes + bytes / 2 + (1 << 30), |image| {
        let [mkfs, _] = programs(folder, "mkfs.ocfs2")?;
        let make = ["-q", "-F", "-M", "local", "-N", "1", "-J", "size=64M"];
        Run::new(&mkfs.program).args(make).arg(image).success();
        let device: Arc<dyn Device> =
            open(image, &DeviceOptions { write: true, ..DeviceOptions::default() })?;
        let (mut at, mut files) = (0, Vec::new());
        while at < bytes / PIECE {
            let volume = Volume::open(device.clone(), &VolumeOptions::default())?;
            let mut edit = Edit::new(&volume, EditOptions::default());
            let top = edit.superblock().s_root_blkno;
            while files.len() < FILES as usize {
                let new = NewInode::of(FileKind::Regular, 0o600);
                files.push(edit.create(top, format!("file {}", files.len()).as_bytes(), &new)?);
            }
            let end = (at + AT_ONCE).min(bytes / PIECE);
            while at < end {
                let text = format!("piece {at} ");
                let piece: Vec<u8> = text.bytes().cycle().take(PIECE as usize).collect();
                let file = files[(at % FILES) as usize];
                edit.write_file(file, at / FILES * PIECE, &piece)?;
                at += 1;
            }
            edit.finish()?;
            edit.commit(How::Unguarded, &device)?;
        }
        let defragfs = folder.join("defragfs-ocfs2");
        let count = Run::new(&defragfs).args(["--offline", "-c", "--json"]).arg(image).success();
        let expected = format!("\"pieces_before\": {}", bytes / PIECE);
        ensure!(count.stdout.contains(&expected), "{count}");
        Ok(())
    })
}
