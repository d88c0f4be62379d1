//! What is in the place of an image that is to be written.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use ocfs2_cli::{human_size, shown};
use ocfs2_device::holders::is_behind_loop;
use ocfs2_device::{DeviceOptions, open};
use ocfs2_volume::image::PackedImage;
use ocfs2_volume::{Volume, VolumeOptions};

use crate::qcow2;

/// What a new image would replace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum There {
    /// Nothing, or an empty file.
    Nothing,
    /// A packed image, or one for QEMU.
    Image,
    /// A volume, which a raw image is as well.
    Volume {
        /// Whether a journal of it has to be replayed, and is not that of the volume that is saved: it
        /// may be the only one that has what is in there.
        owes: bool,
    },
    /// Another file, in words.
    Other(String),
}

/// What is at `path`, where an image of the volume on `device` is to be.
///
/// # Errors
/// If it is that volume, is not a regular file, is in use, or cannot be read.
pub fn there(path: &Path, device: &Path) -> Result<There> {
    let Ok(there) = path.metadata() else { return Ok(There::Nothing) };
    let is_source = device
        .metadata()
        .is_ok_and(|source| (source.dev(), source.ino()) == (there.dev(), there.ino()));
    if is_source {
        bail!("{}: is the volume itself", shown(path));
    }
    if !there.is_file() {
        bail!("{}: is not a regular file; -I puts an image onto a device", shown(path));
    }
    if is_behind_loop(path) {
        bail!("{}: is in use by a loop device", shown(path));
    }
    if there.len() == 0 {
        return Ok(There::Nothing);
    }
    let file = open(path, &DeviceOptions::default())?;
    if PackedImage::is_one(&*file).with_context(|| shown(path))? || qcow2::is_one(&*file) {
        return Ok(There::Image);
    }
    if ocfs2_users::detect(&*file).with_context(|| shown(path))?.is_some() {
        return Ok(There::Volume { owes: owes(path, device) });
    }
    let size = human_size(there.len());
    let what = ocfs2_probe::instead(&*file, "").map(|what| format!(": {what}"));
    Ok(There::Other(format!(
        "is a file of {size} that is not an image{}",
        what.unwrap_or_default()
    )))
}

fn owes(path: &Path, device: &Path) -> bool {
    let volume = |path: &Path| {
        let device = open(path, &DeviceOptions::default()).ok()?;
        Volume::open(device, &VolumeOptions::default()).ok()
    };
    let Some(there) = volume(path) else { return false };
    let source = volume(device);
    let log = |of: &Volume, slot| of.journal(slot).ok().map(|journal| journal.superblock);
    (0..there.max_slots())
        .filter(|slot| there.journal_is_dirty(*slot).unwrap_or(false))
        .any(|slot| source.as_ref().is_none_or(|source| log(source, slot) != log(&there, slot)))
}
