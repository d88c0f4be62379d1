//! The cost of a repair compared with a check.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use ocfs2_device::{DeviceOptions, open};
use ocfs2_format::dinode::{FileKind, InodeFlags};
use ocfs2_volume::edit::{Edit, EditOptions, How};
use ocfs2_volume::{Volume, VolumeOptions};

use super::fsck::{AGED, prepare};
use super::{Options, Row, programs, table};

/// Number of damaged inodes.
const DAMAGED: usize = 1000;

/// Measures `-fn` and `-fy` of the same damage.
pub fn run(options: &Options, folder: &Path, text: &mut String) -> Result<()> {
    let image = AGED.ocfs2(folder)?;
    let [ours, theirs] = programs(folder, "fsck.ocfs2")?;
    let mut rows = [
        (Row::new("ours, -fn", &ours.program), "-fn", 4),
        (Row::new("ours, -fy", &ours.program), "-fy", 1),
        (Row::new("C 1.8, -fn", &theirs.program), "-fn", 0),
        (Row::new("C 1.8, -fy", &theirs.program), "-fy", 0),
    ];
    let runs = options.runs.max(1);
    eprintln!("fsck.ocfs2 -fy, {DAMAGED} findings, {runs} x");
    let measured = (0..runs).try_for_each(|_| {
        rows.iter_mut().try_for_each(|(row, how, status)| {
            damage(&image)?;
            prepare(&image, true)?;
            row.run_to(&[*status], &[OsStr::new(how), image.as_os_str()])
        })
    });
    // Also repaired for the next user if a run failed.
    damage(&image)?;
    Row::new("", &ours.program).run_to(&[1], &[OsStr::new("-fy"), image.as_os_str()])?;
    measured?;
    let _ = write!(
        text,
        "\n## 900,000 names, made by Linux, {DAMAGED} files with a wrong link count, cold cache\n\n{}",
        table(&rows.map(|(row, ..)| row))
    );
    Ok(())
}

/// Gives files all over the volume a wrong number of links.
fn damage(image: &Path) -> Result<()> {
    let device = open(image, &DeviceOptions { write: true, ..DeviceOptions::default() })?;
    let volume = Volume::open(device, &VolumeOptions::default())?;
    let files = volume.inodes().filter_map(Result::ok).filter(|inode| {
        let is_system = inode.dinode.flags().contains(InodeFlags::SYSTEM);
        inode.kind() == Some(FileKind::Regular) && !is_system
    });
    // About 800,000 files.
    let files: Vec<_> = files.step_by(800).take(DAMAGED).collect();
    let mut edit = Edit::new(&volume, EditOptions::default());
    for inode in files {
        edit.update_dinode(inode.blkno, |dinode, _| dinode.i_links_count = 3)?;
    }
    edit.commit(How::Unguarded, &**volume.device())?;
    Ok(())
}
