//! A node that other nodes see as alive: its block in the heartbeat region changes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ocfs2_device::DeviceOptions;
use ocfs2_format::heartbeat::HeartbeatBlock;
use ocfs2_format::{Cpos, Structure};
use ocfs2_volume::{SystemFile, Volume, VolumeOptions};

/// Runs `work` while `node` beats in the heartbeat region at byte `offset` of `image`, which has
/// sectors of 512 bytes.
///
/// # Panics
/// If the image cannot be written.
pub fn while_beating<T>(image: &Path, offset: u64, node: u8, work: impl FnOnce() -> T) -> T {
    let image = File::options().write(true).open(image).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                beat(&image, offset, node);
                thread::sleep(Duration::from_millis(200));
            }
        });
        // Also when `work` panics: otherwise the other thread would beat forever.
        let _stop = StopAtEnd(&stop);
        work()
    })
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Writes one beat of `node` into the heartbeat region at byte `offset` of `image`.
///
/// # Panics
/// If the image cannot be written.
pub fn beat(image: &File, offset: u64, node: u8) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut sector = [0; 512];
    let mut block = HeartbeatBlock {
        // The kernel writes seconds; tenths of them here, so that a test need not wait.
        hb_seq: now.as_millis() as u64 / 100,
        hb_node: node,
        hb_generation: 77,
        hb_dead_ms: 62_000,
        ..Default::default()
    };
    block.encode(&mut sector).unwrap();
    block.hb_cksum = HeartbeatBlock::checksum(&sector);
    block.encode(&mut sector).unwrap();
    image.write_all_at(&sector, offset + u64::from(node) * 512).unwrap();
}

/// Returns where the heartbeat region of the volume in `image` starts, in bytes.
///
/// # Panics
/// If there is no such volume.
pub fn heartbeat_offset(image: &Path) -> u64 {
    let device = ocfs2_device::open(image, &DeviceOptions::default()).unwrap();
    let volume = Volume::open(device, &VolumeOptions::default()).unwrap();
    volume.heartbeat_region().unwrap().offset_bytes
}

/// Makes `node` the holder of a slot of the volume in `image`, or frees the slot.
///
/// # Panics
/// If there is no such slot.
pub fn hold_slot(image: &Path, slot: u16, node: Option<u32>) {
    let options = DeviceOptions { write: true, ..DeviceOptions::default() };
    let device = ocfs2_device::open(image, &options).unwrap();
    let volume = Volume::open(device.clone(), &VolumeOptions::default()).unwrap();
    let inode = volume.system_file(SystemFile::SlotMap).unwrap();
    let extent = volume.tree(&inode).unwrap().map(Cpos(0)).unwrap().unwrap();
    let mut map = volume.read_block(extent.blkno).unwrap();
    assert!(volume.slot_map_format().set(&mut map, slot, node));
    device.write_at(&map, extent.blkno.offset_bytes(volume.block_size()).unwrap()).unwrap();
}
