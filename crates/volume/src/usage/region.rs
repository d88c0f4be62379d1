//! One look at the heartbeat region.

use std::io;
use std::time::{Duration, SystemTime};

use ocfs2_format::Structure;
use ocfs2_format::heartbeat::{HeartbeatBlock, MAX_NODES};

use ocfs2_device::Device;

/// Where the nodes write their beats: the extent of the system file `heartbeat`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Region {
    /// Where it starts on the device.
    pub offset_bytes: u64,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// The possible sizes of a sector, in bytes.
pub(crate) const SECTOR_SIZES: [u32; 4] = [512, 1024, 2048, 4096];

/// What a node's sector holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Beat {
    pub seq: u64,
    pub generation: u64,
    pub dead_ms: u32,
}

/// Dead thresholds below this are mistakes: the kernel wants more than two beats.
const MIN_THRESHOLD: Duration = Duration::from_secs(6);
/// Nobody waits longer than this for a dead node to be declared one.
const MAX_THRESHOLD: Duration = Duration::from_secs(600);

impl Beat {
    /// Whether the node ever wrote here.
    pub fn is_any(&self) -> bool {
        (self.seq, self.generation) != (0, 0)
    }

    /// Whether the node runs its heartbeat, as far as this block goes.
    pub fn is_started(&self) -> bool {
        self.generation != 0
    }

    /// After how long without a change the node is dead.
    pub fn threshold(&self) -> Duration {
        Duration::from_millis(self.dead_ms.into()).clamp(MIN_THRESHOLD, MAX_THRESHOLD)
    }

    /// When it was written, by the clock of the node.
    pub fn time(&self) -> Option<SystemTime> {
        // The kernel writes 1 where its clock says 0.
        (self.seq > 1).then(|| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.seq)))?
    }
}

/// One node's part of a sample; `None` is a missed one: wrong checksum or node number.
pub(crate) type Reading = Option<Beat>;

/// What the sectors of all nodes held at one time, by node.
///
/// The nodes use the sector size of their device. An image does not show what that was, and blocks
/// left over from another size may outnumber those that nodes write now.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// With the size with which the most checksums are right.
    pub nodes: Vec<Reading>,
    /// With each of [`SECTOR_SIZES`].
    pub by_size: [Vec<Reading>; SECTOR_SIZES.len()],
}

impl Region {
    /// Reads the sectors of all nodes.
    pub(crate) fn sample(&self, device: &dyn Device) -> io::Result<Sample> {
        let (bytes, sector_size) = self.read(device)?;
        let by_size = SECTOR_SIZES.map(|size| readings(&bytes, size));
        Ok(Sample { nodes: readings(&bytes, sector_size), by_size })
    }

    /// Whether a node ever wrote its heartbeat there.
    pub(crate) fn is_written(&self, device: &dyn Device) -> bool {
        let is_any = |reading: &Reading| reading.is_some_and(|beat| beat.is_any());
        self.sample(device).is_ok_and(|sample| sample.by_size.iter().flatten().any(is_any))
    }

    /// What the sectors of all nodes hold, from node 0 on, right or wrong.
    ///
    /// # Errors
    /// Those of the device.
    pub fn blocks(&self, device: &dyn Device) -> io::Result<Vec<HeartbeatBlock>> {
        let (bytes, sector_size) = self.read(device)?;
        let decoded =
            sectors(&bytes, sector_size).map(|(sector, _)| HeartbeatBlock::decode(sector));
        Ok(decoded.filter_map(Result::ok).collect())
    }

    /// The sectors of all nodes, and how large one is.
    fn read(&self, device: &dyn Device) -> io::Result<(Vec<u8>, u32)> {
        let largest = u64::from(MAX_NODES) * 4096;
        let mut bytes = vec![0; self.size_bytes.min(largest) as usize];
        device.read_fresh_at(&mut bytes, self.offset_bytes)?;
        let mut best = device.sector_size();
        for other in SECTOR_SIZES {
            if written(&readings(&bytes, other)) > written(&readings(&bytes, best)) {
                best = other;
            }
        }
        Ok((bytes, best))
    }
}

fn written(readings: &[Reading]) -> usize {
    readings.iter().flatten().filter(|beat| beat.seq != 0).count()
}

/// The sectors with their nodes.
fn sectors(bytes: &[u8], sector_size: u32) -> impl Iterator<Item = (&[u8], u8)> {
    bytes.chunks_exact((sector_size as usize).max(512)).zip(0..MAX_NODES)
}

fn readings(bytes: &[u8], sector_size: u32) -> Vec<Reading> {
    sectors(bytes, sector_size).map(|(sector, node)| reading(sector, node)).collect()
}

fn reading(sector: &[u8], node: u8) -> Reading {
    let block = HeartbeatBlock::decode(sector).ok()?;
    let beat =
        Beat { seq: block.hb_seq, generation: block.hb_generation, dead_ms: block.hb_dead_ms };
    block.verify(sector, node).is_ok().then_some(beat)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use ocfs2_device::MemoryDevice;

    /// Writes the beat of `node` as the kernel does.
    pub fn write_beat(device: &dyn Device, region: Region, sector: u32, node: u8, beat: Beat) {
        let mut bytes = vec![0; sector as usize];
        let mut block = HeartbeatBlock {
            hb_seq: beat.seq,
            hb_node: node,
            hb_generation: beat.generation,
            hb_dead_ms: beat.dead_ms,
            ..Default::default()
        };
        block.encode(&mut bytes).unwrap();
        block.hb_cksum = HeartbeatBlock::checksum(&bytes);
        block.encode(&mut bytes).unwrap();
        let offset = region.offset_bytes + u64::from(node) * u64::from(sector);
        device.write_at(&bytes, offset).unwrap();
    }

    #[test]
    fn the_sector_size_of_an_image_is_found_by_the_checksums() {
        let region = Region { offset_bytes: 8192, size_bytes: 256 * 4096 };
        let beat = Beat { seq: 1_700_000_000, generation: 7, dead_ms: 62_000 };
        for sector in [512, 1024, 2048, 4096] {
            let device = MemoryDevice::new(2 << 20);
            for node in [0, 3, 254] {
                write_beat(&device, region, sector, node, beat);
            }
            let readings = region.sample(&device).unwrap().nodes;
            assert_eq!(readings.len(), 255);
            let started: Vec<_> = readings
                .iter()
                .enumerate()
                .filter(|(_, reading)| **reading == Some(beat))
                .map(|(node, _)| node)
                .collect();
            assert_eq!(started, [0, 3, 254], "sectors of {sector}");
        }
    }

    #[test]
    fn a_wrong_checksum_or_node_is_a_missed_sample() {
        let region = Region { offset_bytes: 0, size_bytes: 256 * 512 };
        let device = MemoryDevice::new(256 * 512);
        let beat = Beat { seq: 5, generation: 7, dead_ms: 62_000 };
        write_beat(&device, region, 512, 0, beat);
        write_beat(&device, region, 512, 1, beat);
        device.write_at(&[1], 512 + 100).unwrap();
        let mut moved = vec![0; 512];
        device.read_at(&mut moved, 0).unwrap();
        device.write_at(&moved, 2 * 512).unwrap();
        let readings = region.sample(&device).unwrap().nodes;
        assert_eq!(readings[0], Some(beat));
        assert_eq!(readings[1..3], [None, None]);
        assert!(!readings[3].unwrap().is_started());
        assert!(region.sample(&MemoryDevice::new(1000)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..5000),
            offset_bytes in 0_u64..600,
            size_bytes in 0_u64..6000,
        ) {
            let device = MemoryDevice::from_bytes(&bytes);
            let readings = Region { offset_bytes, size_bytes }.sample(&device);
            let fits = offset_bytes + size_bytes <= bytes.len() as u64;
            proptest::prop_assert_eq!(readings.is_ok(), fits);
        }
    }

    #[test]
    fn thresholds_and_times_that_make_no_sense_are_not_believed() {
        let beat = |seq, dead_ms| Beat { seq, generation: 1, dead_ms };
        assert_eq!(beat(9, 16_000).threshold(), Duration::from_secs(16));
        assert_eq!(beat(9, 0).threshold(), MIN_THRESHOLD);
        assert_eq!(beat(9, u32::MAX).threshold(), MAX_THRESHOLD);
        assert_eq!(beat(1, 0).time(), None);
        assert_eq!(beat(u64::MAX, 0).time(), None);
    }
}
