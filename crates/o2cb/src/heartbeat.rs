//! Devices of heartbeat regions.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ocfs2_cluster::RegionPlace;
use ocfs2_device::{DeviceOptions, open};
use ocfs2_volume::find::{Identity, find, resolve};
use ocfs2_volume::{Volume, VolumeOptions};
use uuid::Uuid;

/// A region and its open device, as the kernel needs them to start a heartbeat.
#[derive(Debug)]
pub struct OpenRegion {
    /// The device, open for reading and writing.
    pub device: File,
    /// The place of the region on the device.
    pub place: RegionPlace,
}

/// Opens the device of a region.
///
/// # Errors
/// If there is no volume or heartbeat device on it, or it cannot be opened for writing.
pub fn open_region(path: &Path) -> Result<OpenRegion> {
    let volume = open_volume(path)?;
    let region = volume
        .heartbeat_region()
        .with_context(|| format!("{}: no heartbeat region", ocfs2_cli::shown(path)))?;
    let place = RegionPlace::new(
        volume.superblock().uuid_string(),
        region.offset_bytes,
        region.size_bytes,
        volume.device().sector_size(),
    );
    let device = File::options().read(true).write(true).open(path);
    let device =
        device.with_context(|| format!("{}: opening it for writing", ocfs2_cli::shown(path)))?;
    Ok(OpenRegion { device, place })
}

/// Returns the UUID of the volume or heartbeat device on `path`, 32 upper-case digits.
///
/// # Errors
/// If there is neither.
pub fn uuid_of(path: &Path) -> Result<String> {
    Ok(open_volume(path)?.superblock().uuid_string())
}

fn open_volume(path: &Path) -> Result<Volume> {
    let device = open(path, &DeviceOptions::default())?;
    let options = VolumeOptions { heartbeat_device: true, ..Default::default() };
    Volume::open(device, &options).with_context(|| ocfs2_cli::shown(path))
}

/// Finds the block device with the volume or heartbeat device of that UUID.
///
/// # Errors
/// If `region` is not a UUID, or no device has it.
pub fn region_device(region: &str) -> Result<PathBuf> {
    let uuid = Uuid::parse_str(region)
        .with_context(|| format!("heartbeat region `{region}`: expected a UUID of 32 digits"))?;
    let found = find(&Identity::Uuid(uuid)).context("looking through the block devices")?;
    match found.into_iter().next() {
        Some(path) => Ok(path),
        None => bail!(
            "heartbeat region {region}: no block device of this machine has a volume of that UUID; \
             is the disk connected?"
        ),
    }
}

/// Returns the name of a region, given its UUID or its device.
///
/// # Errors
/// If `text` is neither a UUID nor a device with a volume.
pub fn region_name(text: &str) -> Result<String> {
    match Uuid::parse_str(text) {
        Ok(uuid) => Ok(format!("{:X}", uuid.simple())),
        Err(_) if text.contains('/') || Identity::parse(text).is_some() => {
            uuid_of(&resolve(Path::new(text))?)
        }
        Err(_) => bail!("`{text}` is neither a UUID nor the path of a device"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_named_by_its_uuid_in_any_form() {
        let name = "0123456789ABCDEF0123456789ABCDEF";
        for text in [name, "01234567-89ab-cdef-0123-456789abcdef"] {
            assert_eq!(region_name(text).unwrap(), name);
        }
        let err = region_name("vda").unwrap_err().to_string();
        assert_eq!(err, "`vda` is neither a UUID nor the path of a device");
        assert!(region_name("/dev/null").is_err());
        assert!(region_device("vda").unwrap_err().to_string().contains("32 digits"));
    }
}
