//! Finding the heartbeat region that volumes of a cluster share.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use ocfs2_cluster::{Sources, heartbeat_regions};
use ocfs2_volume::usage::Region;
use ocfs2_volume::{Device, Volume, VolumeOptions};

use crate::list::{all_devices, find};

/// A volume by its UUID, 32 upper-case digits.
pub type Known = (String, Arc<dyn Device>);

/// The volumes of this machine, as places a region may be.
pub struct GlobalRegions<'a> {
    sources: &'a Sources,
    listed: Vec<Known>,
    others: OnceLock<Vec<Known>>,
}

impl<'a> GlobalRegions<'a> {
    /// Looks at those `listed` first.
    pub fn new(sources: &'a Sources, listed: Vec<Known>) -> Self {
        Self { sources, listed, others: OnceLock::new() }
    }

    /// A region of `cluster`, and the device it is on. All nodes beat in all regions, so
    /// the first is as good as any.
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
            let (device, superblock) = find(&path, None, false).ok()?;
            Some((superblock.uuid_string(), device))
        };
        all_devices().unwrap_or_default().into_iter().filter_map(open).collect()
    }
}

fn region(device: &Arc<dyn Device>) -> Option<Region> {
    let options =
        VolumeOptions { heartbeat_device: true, allow_short: true, ..VolumeOptions::default() };
    Volume::open(device.clone(), &options).ok()?.heartbeat_region().ok()
}
