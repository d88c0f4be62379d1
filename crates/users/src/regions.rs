//! Search for the heartbeat region that the volumes of a cluster share.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use ocfs2_cluster::{Sources, heartbeat_regions};
use ocfs2_device::{self, Caching, Device, DeviceOptions};
use ocfs2_volume::usage::Region;
use ocfs2_volume::{Volume, VolumeOptions};

use crate::detect;

/// A volume with its UUID, 32 upper-case digits.
pub type Known = (String, Arc<dyn Device>);

/// The volumes of this machine, each of which may hold the region.
pub struct GlobalRegions<'a> {
    sources: &'a Sources,
    listed: Vec<Known>,
    others: OnceLock<Vec<Known>>,
}

impl<'a> GlobalRegions<'a> {
    /// Searches the volumes in `listed` first.
    pub fn new(sources: &'a Sources, listed: Vec<Known>) -> Self {
        Self { sources, listed, others: OnceLock::new() }
    }

    /// Returns a heartbeat region of `cluster` and the device it is on. Any region will do, because
    /// all nodes beat in all regions.
    pub fn find(&self, cluster: &str) -> Option<(Arc<dyn Device>, Region)> {
        let wanted = heartbeat_regions(self.sources, cluster);
        let among = |known: &[Known]| {
            let wanted = |uuid: &String| wanted.iter().any(|w| w.eq_ignore_ascii_case(uuid));
            let mut devices = known.iter().filter(|(uuid, _)| wanted(uuid)).map(|known| &known.1);
            devices.find_map(|device| Some((device.clone(), region(device)?)))
        };
        if wanted.is_empty() {
            return None;
        }
        among(&self.listed).or_else(|| among(self.others.get_or_init(Self::machine)))
    }

    fn machine() -> Vec<Known> {
        let open = |path: PathBuf| {
            // Direct, because other nodes may have written since this machine cached it.
            let options = DeviceOptions { caching: Caching::Direct, ..DeviceOptions::default() };
            let device = ocfs2_device::open(&path, &options).ok()?;
            let superblock = detect(&device).ok()??;
            Some((superblock.uuid_string(), device))
        };
        all_devices().unwrap_or_default().into_iter().filter_map(open).collect()
    }
}

/// Returns all block devices that can hold a volume. A disk with partitions cannot.
///
/// # Errors
/// If the list of devices cannot be read.
pub fn all_devices() -> io::Result<Vec<PathBuf>> {
    const TOO_SMALL_BYTES: u64 = 1 << 20;
    let devices = ocfs2_device::list()?.into_iter();
    let candidates = devices.filter(|d| !d.has_partitions && d.size_bytes > TOO_SMALL_BYTES);
    Ok(candidates.map(|device| device.path).collect())
}

fn region(device: &Arc<dyn Device>) -> Option<Region> {
    let options =
        VolumeOptions { heartbeat_device: true, allow_short: true, ..VolumeOptions::default() };
    Volume::open(device.clone(), &options).ok()?.heartbeat_region().ok()
}
