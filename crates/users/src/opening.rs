//! Opening a volume to be changed, and the error if there is none.

use std::path::Path;

use anyhow::{Context, Result};
use ocfs2_device::{Device, DeviceOptions, open};
use ocfs2_volume::{OpenVolumeError, Volume, VolumeOptions};

/// Opens the volume on the device `path` or in a partition of it, to be changed if `write`.
///
/// # Errors
/// It cannot be opened, or has no volume: then the error says what there is instead.
pub fn open_volume(
    path: &Path,
    partition: Option<u32>,
    write: bool,
    options: &VolumeOptions,
) -> Result<Volume> {
    let device = DeviceOptions { write, exclusive: write, partition, ..Default::default() };
    let device = open(path, &device)?;
    let volume = Volume::open(device.clone(), options).map_err(|err| explained(err, &device));
    volume.with_context(|| ocfs2_cli::shown(path))
}

/// The error of a volume that cannot be opened, with what the device holds in its place.
pub fn explained(err: OpenVolumeError, device: &dyn Device) -> anyhow::Error {
    match &err {
        OpenVolumeError::NotOcfs2 { backups } => {
            let choose = ": --partition NUMBER chooses one";
            let text = ocfs2_probe::explained(&err, device, choose, !backups.is_empty());
            anyhow::anyhow!("{text}")
        }
        _ => err.into(),
    }
}
