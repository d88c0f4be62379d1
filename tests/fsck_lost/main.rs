//! fsck.ocfs2 says what is lost, by path: each file that is not as it was on the undamaged volume,
//! and no other.
//!
//! A case that fails is printed with its seed. `OCFS2_SEED=N` runs that one alone,
//! `OCFS2_CASES=N` so many of each kind.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ocfs2_format::dinode::{Arm, InodeFlags};
use ocfs2_testing::damage::Metadata;
use ocfs2_testing::{Outcome, Random, Run, Scratch, fixture, fixture_copy, program};
use ocfs2_volume::device::{DeviceOptions, open};
use ocfs2_volume::{Device, Volume, VolumeOptions};
use serde_json::Value;

mod judge;
use judge::{Case, Contents};

/// Cases of each kind.
const CASES: u64 = 12;

fn seeds(start: u64) -> Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|it| it.parse::<u64>().unwrap());
    match number("OCFS2_SEED") {
        Some(seed) => seed..seed + 1,
        None => start..start + number("OCFS2_CASES").unwrap_or(CASES),
    }
}

fn fsck(options: &[&str], image: &Path) -> Outcome {
    Run::new(program("fsck.ocfs2")).args(options).arg(image).output()
}

fn report(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|err| panic!("{err}: {outcome}"))
}

fn opened(image: &Path) -> (std::sync::Arc<dyn Device>, Volume) {
    let options = DeviceOptions { write: true, ..Default::default() };
    let device = open(image, &options).unwrap();
    let volume = Volume::open(device.clone(), &VolumeOptions::default()).unwrap();
    (device, volume)
}

/// Repairs a damaged volume, and gives what of the report is wrong.
fn judged(sound: &Contents, image: &Path) -> (Vec<String>, Value) {
    let damaged = Contents::of(image);
    let outcome = fsck(&["-fy", "-F", "--json"], image);
    let report = report(&outcome);
    if !matches!(outcome.status, 0 | 1) {
        return (Vec::new(), report);
    }
    let repaired = Contents::of(image);
    let case = Case { sound, damaged: &damaged, repaired: &repaired, report: &report };
    (case.faults(), report)
}

/// A volume with some hundred files.
fn filled(scratch: &Scratch) -> PathBuf {
    let tree = scratch.join("tree");
    for dir in 0..12 {
        let dir = tree.join(format!("directory-{dir:02}/inner"));
        fs::create_dir_all(&dir).unwrap();
        for file in 0..25_usize {
            let byte = |at: usize| (at / 100 + file + 1) as u8 | 1;
            let size = [10, 700, 5_000, 20_000, 70_000][file % 5] + file * 13;
            let contents: Vec<u8> = (0..size).map(byte).collect();
            let dir = if file % 2 == 0 { dir.as_path() } else { dir.parent().unwrap() };
            fs::write(dir.join(format!("file \u{e4}{file}")), contents).unwrap();
        }
        std::os::unix::fs::symlink("somewhere", dir.join("link")).unwrap();
    }
    let image = scratch.join("filled.img");
    let run = Run::new(program("mkfs.ocfs2")).args(["-q", "-M", "local", "-b", "1024", "-d"]);
    run.arg(&tree).arg(&image).arg("64M").success();
    image
}

/// Garbage in blocks of inodes and directories.
fn damage(image: &Path, seed: u64) -> Vec<String> {
    let (device, volume) = opened(image);
    let mut random = Random(seed);
    let mut blocks = Vec::new();
    for inode in volume.inodes().flatten() {
        if inode.dinode.flags().contains(InodeFlags::SYSTEM)
            || inode.blkno == volume.root().unwrap().blkno
        {
            continue;
        }
        blocks.push(inode.blkno);
        if inode.is_dir() && inode.dinode.arm() == Arm::ExtentList {
            let found = volume.dir_blocks(&inode).unwrap().flatten();
            blocks.extend(found.map(|block| block.blkno));
        }
    }
    let size = volume.block_size().size();
    let mut steps = Vec::new();
    for _ in 0..blocks.len() / 6 {
        let blkno = *random.of(&blocks);
        let mut block = volume.read_block(blkno).unwrap();
        let at = random.below(size / 4) * 4;
        let kind = random.below(4);
        match kind {
            0 => block.fill(0),
            1 => {
                let garbage = random.bytes(64);
                let end = (at + 64).min(size);
                block[at..end].copy_from_slice(&garbage[..end - at]);
            }
            2 => block[at..].fill(0),
            // What is behind the header of an inode, or a directory's entries.
            _ => block[0xc0..].copy_from_slice(&random.bytes(size - 0xc0)),
        }
        steps.push(format!("{blkno}: kind {kind} at {at}"));
        device.write_at(&block, blkno.0 * size as u64).unwrap();
    }
    device.flush().unwrap();
    steps
}

#[test]
fn each_of_300_damaged_inodes_that_lost_something_is_told_by_its_path() {
    let scratch = Scratch::new();
    let image = filled(&scratch);
    let sound = Contents::of(&image);
    let mut faults = Vec::new();
    for seed in seeds(100) {
        let copy = scratch.join("copy.img");
        fs::copy(&image, &copy).unwrap();
        let steps = damage(&copy, seed);
        let (wrong, report) = judged(&sound, &copy);
        if report["exit_status"] == 1 {
            assert!(report["summary"]["lost"].as_u64().unwrap() > 0, "OCFS2_SEED={seed}");
        }
        let count = steps.len();
        faults.extend(wrong.into_iter().map(|it| format!("OCFS2_SEED={seed} ({count}): {it}")));
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn whatever_chance_damages_each_loss_is_told_and_nothing_else() {
    let mut faults = Vec::new();
    for name in ["clean-512-local", "clean-1k-local", "clean-4k-o2cb"] {
        let device = open(&fixture(name), &DeviceOptions::default()).unwrap();
        let volume = Volume::open(device, &VolumeOptions::default()).unwrap();
        let metadata = Metadata::of(&volume);
        let sound = Contents::of(&fixture(name));
        for seed in seeds(7_000_000) {
            let scratch = Scratch::new();
            let image = fixture_copy(name, &scratch);
            let damage = metadata.damage(seed, &*opened(&image).0);
            if damage.size.is_some() {
                continue;
            }
            let (wrong, _) = judged(&sound, &image);
            let steps = damage.steps.join("; ");
            faults.extend(
                wrong.into_iter().map(|it| format!("OCFS2_SEED={seed} on {name} ({steps}): {it}")),
            );
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
