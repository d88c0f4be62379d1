//! Parsers that find something on a device by reading the places where formats begin.

use std::sync::Arc;

use ocfs2_device::partition::{open_partition, read_table};
use ocfs2_device::{Device, MemoryDevice};
use ocfs2_format::BlockSize;
use ocfs2_volume::{Volume, VolumeOptions};

const SIZE: u64 = 4 << 20;

/// Returns a device of 4 MiB with `bytes` from `offset` on, as far as they fit.
fn device(offset: u64, bytes: &[u8]) -> MemoryDevice {
    let device = MemoryDevice::new(SIZE);
    let room = (SIZE - offset) as usize;
    device.write_at(&bytes[..bytes.len().min(room)], offset).unwrap();
    device
}

/// Returns a device with all bytes after the first one, which selects one of the places where
/// formats begin.
fn placed(bytes: &[u8]) -> MemoryDevice {
    const PLACES: [u64; 16] = [
        0,
        512,
        1024,
        2048,
        4096,
        8192,
        16 << 10,
        32 << 10,
        64 << 10,
        128 << 10,
        1 << 20,
        SIZE - (1 << 20),
        SIZE - (64 << 10),
        SIZE - 8192,
        SIZE - 4096,
        SIZE - 512,
    ];
    let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
    device(PLACES[usize::from(*first) % PLACES.len()], rest)
}

pub fn probe(bytes: &[u8]) {
    let found = ocfs2_probe::contents(&placed(bytes)).unwrap();
    assert!(found.iter().all(|found| ocfs2_probe::types().any(|name| name == found.kind)));
}

pub fn partition(bytes: &[u8]) {
    let disk: Arc<dyn Device> = Arc::new(device(0, bytes).with_sector_size(512));
    let Some(table) = read_table(&disk).unwrap() else { return };
    assert!(table.partitions.len() <= 4096, "{}", table.partitions.len());
    for partition in &table.partitions {
        table.partition_uuid(partition);
        if let Ok(part) = open_partition(disk.clone(), partition.number) {
            assert!(part.size_bytes() <= SIZE);
        }
    }
}

pub fn open(bytes: &[u8]) {
    let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let block_size = BlockSize::ALL[usize::from(*first) % 4];
    let device: Arc<dyn Device> = Arc::new(device(2 * u64::from(block_size.bytes()), rest));
    let options = VolumeOptions { allow_short: first & 0x80 != 0, ..Default::default() };
    let Ok(volume) = Volume::open(device, &options) else { return };
    assert_eq!(volume.block_size(), block_size);
    let _ = volume.root();
    let _ = volume.system_dir();
    let _ = volume.places();
}
