//! Volumes with much to check and little to store: almost nothing but metadata is written.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{FallocateFlags, fallocate};

use crate::fill::{punch, share, text};

const FILES_PER_FOLDER: u64 = 1000;

/// Makes `count` files of all sizes, with links and holes among them, and deletes a tenth of them.
pub fn aged(root: &Path, count: u64) -> Result<()> {
    let folder = |number: u64| root.join(format!("folder-{:04}", number / FILES_PER_FOLDER));
    let name = |number: u64| folder(number).join(format!("file-{number:07}"));
    let sizes = text(0, 2500);
    for number in 0..count {
        if number % FILES_PER_FOLDER == 0 {
            fs::create_dir_all(folder(number))?;
        }
        let path = name(number);
        match number % 20 {
            9 => fs::hard_link(name(number - 1), path)?,
            11 => symlink(format!("file-{:07}", number - 1), path)?,
            12 => {
                let file = File::create_new(path)?;
                fallocate(&file, FallocateFlags::empty(), 40 << 12, 3 << 12)?;
                fallocate(&file, FallocateFlags::empty(), 90 << 12, 5 << 12)?;
            }
            0..6 => {
                let length = (1 + number % 16) << 12;
                fallocate(&File::create_new(path)?, FallocateFlags::empty(), 0, length)?;
            }
            // In the inode.
            _ => {
                let length = (number * 37 % sizes.len() as u64) as usize;
                File::create_new(path)?.write_all(&sizes[..length])?;
            }
        }
    }
    for number in (0..count).filter(|number| number % 10 == 7) {
        fs::remove_file(name(number))?;
    }
    Ok(())
}

/// Makes the disk of a virtual machine of `gib` GiB: preallocated, trimmed in steps of 128 KiB,
/// written in scattered places; and two clones of it that have been written to since.
pub fn disk(root: &Path, gib: u64) -> Result<()> {
    const STEP: u64 = 128 << 10;
    let file = File::options().create_new(true).read(true).write(true).open(root.join("disk.img"));
    let file = file.context("disk.img")?;
    fallocate(&file, FallocateFlags::empty(), 0, gib << 30)?;
    let steps = (gib << 30) / STEP;
    for step in 0..steps {
        punch(&file, step * STEP, 4096)?;
    }
    for step in (0..steps).step_by(100) {
        file.write_all_at(b"written\n", step * STEP + (STEP >> 1))?;
    }
    file.sync_all()?;
    for clone in 1..3 {
        let copy = share(&file, &root.join(format!("clone-{clone}.img")))?;
        for step in (clone..steps).step_by(200) {
            copy.write_all_at(b"of the clone\n", step * STEP + (STEP >> 1))?;
        }
    }
    Ok(())
}
