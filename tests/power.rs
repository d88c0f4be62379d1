//! Programs on devices whose power fails.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use clap::Parser;
use ocfs2_device::{AfterWrites, Device, FailingDevice, OverlayDevice};
use ocfs2_tunefs::{Cli, change_volume, glued};
use ocfs2_volume::{Volume, VolumeOptions};

/// Runs `tunefs.ocfs2` with the words of `line`, one of which stands for the device, on a copy of
/// `base` that fails after `writes` writes, and saves the copy in the file `to`. Returns the number of
/// writes.
pub fn tunefs_until(
    base: &Arc<dyn Device>,
    line: &str,
    writes: u64,
    then: AfterWrites,
    to: &Path,
) -> u64 {
    let disk: Arc<dyn Device> = Arc::new(OverlayDevice::new(base.clone(), 512));
    let volume = Volume::open(disk.clone(), &VolumeOptions::default()).unwrap();
    let failing = FailingDevice::new(disk.clone(), writes, then);
    let words = ["tunefs.ocfs2"].into_iter().chain(line.split(' ')).map(Into::into);
    let cli = Cli::parse_from(glued(words.collect()));
    let made = change_volume(&cli, &volume, &failing);
    assert!(made.is_ok() || failing.writes() > writes, "{line}: {made:?}");
    let mut bytes = vec![0; disk.size_bytes() as usize];
    disk.read_at(&mut bytes, 0).unwrap();
    fs::write(to, bytes).unwrap();
    failing.writes()
}
