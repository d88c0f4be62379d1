//! Writing a planned volume to a device.

use std::io;

use ocfs2_device::Device;
use ocfs2_format::ocfs1;
use ocfs2_format::superblock::{BACKUP_OFFSETS, SUPERBLOCK_BLKNO, SUPERBLOCK_SIGNATURE};

use crate::files::{Files, FillError};
use crate::plan::Plan;

/// The stages of writing, in order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Stage {
    /// Discarding the old contents.
    Discard,
    /// Zeroing what must read as zero: journals, heartbeat region, both ends.
    Zero,
    /// Writing the files.
    Files,
    /// Writing the metadata: group descriptors, inodes, directories.
    Metadata,
    /// Writing the superblock and its backups, which makes it a volume.
    Superblock,
}

/// The progress of a stage.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Progress {
    /// The stage.
    pub stage: Stage,
    /// Bytes done so far.
    pub done: u64,
    /// Bytes in total.
    pub total: u64,
}

/// How a volume is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WriteOptions {
    /// Discard all old contents first.
    pub discard: bool,
}

/// Bytes that are discarded at a time, so that progress can be reported.
const DISCARD_BYTES: u64 = 2 << 30;

/// Most bytes per write to the device.
const WRITE_BYTES: usize = 1 << 20;

impl Plan {
    /// Writes the volume to `device`, which must be at least as large.
    ///
    /// The old superblock is destroyed first and the new one written last, each followed by a
    /// flush. So wherever the work ends, the device holds either the whole volume or nothing that
    /// looks like one. `report` receives the progress, and can stop the work by returning an error.
    ///
    /// # Errors
    /// Those of the device, and of `report`.
    pub fn write(
        &self,
        device: &dyn Device,
        options: WriteOptions,
        report: &mut dyn FnMut(Progress) -> io::Result<()>,
    ) -> io::Result<()> {
        self.begin(device, options, report)?;
        self.finish(device, report)
    }

    /// Writes the volume with the files that `fill` puts into it. These are written before anything
    /// that makes it a volume.
    ///
    /// # Errors
    /// Those of [`Plan::write`], and of `fill`.
    pub fn write_with(
        &mut self,
        device: &dyn Device,
        options: WriteOptions,
        fill: &mut dyn FnMut(&mut Files<'_>) -> Result<(), FillError>,
        report: &mut dyn FnMut(Progress) -> io::Result<()>,
    ) -> Result<(), FillError> {
        self.begin(device, options, report)?;
        let mut files = Files::new(self, device, report)?;
        fill(&mut files)?;
        files.end()?;
        self.finish(device, report)?;
        Ok(())
    }

    /// Makes the device look empty.
    fn begin(
        &self,
        device: &dyn Device,
        options: WriteOptions,
        report: &mut dyn FnMut(Progress) -> io::Result<()>,
    ) -> io::Result<()> {
        let geometry = self.layout.geometry;
        let size = geometry.size_bytes();
        let block_size = u64::from(geometry.block_size.bytes());
        if device.size_bytes() < size {
            let text = format!("it is smaller than the volume of {size} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.wipe(device)?;
        let mut reads_zero = options.discard;
        if options.discard {
            for start in (0..size).step_by(DISCARD_BYTES as usize) {
                report(Progress { stage: Stage::Discard, done: start, total: size })?;
                reads_zero &= device.discard(start, DISCARD_BYTES.min(size - start))?;
            }
            report(Progress { stage: Stage::Discard, done: size, total: size })?;
        }
        if !reads_zero {
            let ranges = self.zeroed();
            let total = ranges.iter().map(|range| (range.end - range.start) * block_size).sum();
            let mut done = 0;
            for range in ranges {
                let len = (range.end - range.start) * block_size;
                device.zero(range.start * block_size, len)?;
                done += len;
                report(Progress { stage: Stage::Zero, done, total })?;
            }
        }

        Ok(())
    }

    /// Writes the metadata and superblocks.
    fn finish(
        &self,
        device: &dyn Device,
        report: &mut dyn FnMut(Progress) -> io::Result<()>,
    ) -> io::Result<()> {
        let geometry = self.layout.geometry;
        let block_size = u64::from(geometry.block_size.bytes());
        let blocks = self.blocks().map_err(io::Error::other)?;
        let mut leading = vec![0; 2 * geometry.block_size.size()];
        ocfs1::write_fake_header(&mut leading);
        let mut writer = Writer { device, start: 0, bytes: leading };
        let total = blocks.len() as u64 * block_size;
        let mut done = 0;
        for (blkno, block) in &blocks {
            let bytes = self.render(block).map_err(io::Error::other)?;
            if writer.put(blkno.0 * block_size, &bytes)? {
                report(Progress { stage: Stage::Metadata, done, total })?;
            }
            done += block_size;
        }
        writer.finish()?;
        device.flush()?;
        report(Progress { stage: Stage::Metadata, done, total })?;

        let finished = self.write_superblocks(device, report);
        if finished.is_err() {
            // Some may have been written. If wiping fails, nothing else is left to try.
            let _ = self.wipe(device);
        }
        finished
    }

    fn write_superblocks(
        &self,
        device: &dyn Device,
        report: &mut dyn FnMut(Progress) -> io::Result<()>,
    ) -> io::Result<()> {
        let block_size = u64::from(self.layout.geometry.block_size.bytes());
        let total = (self.backups.len() as u64 + 1) * block_size;
        report(Progress { stage: Stage::Superblock, done: 0, total })?;
        for blkno in &self.backups {
            let block = self.superblock(*blkno).map_err(io::Error::other)?;
            device.write_at(&block, blkno.0 * block_size)?;
        }
        let block = self.superblock(SUPERBLOCK_BLKNO).map_err(io::Error::other)?;
        device.write_at(&block, SUPERBLOCK_BLKNO.0 * block_size)?;
        device.flush()?;
        report(Progress { stage: Stage::Superblock, done: total, total })
    }

    /// Destroys every superblock by which an older volume could be found.
    pub(crate) fn wipe(&self, device: &dyn Device) -> io::Result<()> {
        let size = self.layout.geometry.size_bytes();
        // With the possible block sizes, superblocks are at 1 KiB to 8 KiB.
        device.zero(0, (16 << 10).min(size))?;
        for offset in BACKUP_OFFSETS.into_iter().filter(|offset| offset + 4096 <= size) {
            let mut block = [0; 4096];
            device.read_at(&mut block, offset)?;
            if block.starts_with(&SUPERBLOCK_SIGNATURE) {
                device.zero(offset, 4096)?;
            }
        }
        device.flush()
    }
}

/// Combines consecutive bytes into large writes.
pub(crate) struct Writer<'a> {
    device: &'a dyn Device,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(device: &'a dyn Device) -> Self {
        Self { device, start: 0, bytes: Vec::new() }
    }

    /// Adds `bytes` at `offset`. Returns whether something was written to the device.
    pub(crate) fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<bool> {
        let follows = self.start + self.bytes.len() as u64 == offset;
        let full = self.bytes.len() + bytes.len() > WRITE_BYTES;
        let write = !follows || full;
        if write {
            self.finish()?;
            self.start = offset;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(write)
    }

    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if !self.bytes.is_empty() {
            self.device.reserve(self.start, self.bytes.len() as u64)?;
            self.device.write_at(&self.bytes, self.start)?;
        }
        self.bytes.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ocfs2_device::{AfterWrites, FailingDevice, MemoryDevice};
    use ocfs2_format::feature::Features;
    use ocfs2_format::geometry::Geometry;
    use ocfs2_format::{BlockSize, ClusterSize};
    use uuid::Uuid;

    use super::*;
    use crate::{PlanError, Settings};

    fn settings(clusters: u32) -> Settings {
        let geometry = Geometry::new(BlockSize::MAX, ClusterSize::MIN, clusters);
        Settings {
            geometry,
            slots: 2,
            label: b"test".to_vec(),
            uuid: Uuid::from_u128(7),
            features: Features::MAX_FEATURES,
            cluster_info: Default::default(),
            journal_bytes: Some(4 << 20),
            journal_block64: false,
            extent_groups: 0,
            generation: 9,
            dx_seed: [1, 2, 3],
            name_hash: Default::default(),
            time: 1_700_000_000,
        }
    }

    fn write(plan: &Plan, device: &dyn Device, discard: bool) -> io::Result<()> {
        plan.write(device, WriteOptions { discard }, &mut |_| Ok(()))
    }

    /// A device full of old bytes, with superblocks at all possible places.
    fn old_device(bytes: u64) -> MemoryDevice {
        let device = MemoryDevice::new(bytes);
        for start in (0..bytes).step_by(1 << 20) {
            device.write_at(&[0xaa; 1 << 20], start).unwrap();
        }
        for offset in [1024, 2048, 4096, 8192, 1 << 30] {
            if offset < bytes {
                device.write_at(&SUPERBLOCK_SIGNATURE, offset).unwrap();
            }
        }
        device
    }

    fn signature_at(device: &dyn Device, offset: u64) -> bool {
        let mut bytes = [0; 8];
        device.read_at(&mut bytes, offset).unwrap();
        bytes == SUPERBLOCK_SIGNATURE
    }

    #[test]
    fn two_volumes_of_the_same_settings_have_the_same_bytes() {
        let plan = Plan::new(&settings(8192)).unwrap();
        let (first, second) = (MemoryDevice::new(32 << 20), MemoryDevice::new(32 << 20));
        write(&plan, &first, true).unwrap();
        write(&plan, &second, false).unwrap();
        assert!(first.to_bytes() == second.to_bytes());
        assert!(signature_at(&first, 8192));
    }

    #[test]
    fn however_far_it_came_no_superblock_is_there_before_the_end() {
        let plan = Plan::new(&settings(8192)).unwrap();
        let old = old_device(32 << 20);
        let mut good_writes = 0;
        loop {
            let bytes = MemoryDevice::from_bytes(&old.to_bytes());
            let device = FailingDevice::new(bytes, good_writes, AfterWrites::Fail);
            let result = write(&plan, &device, false);
            let device = device.into_inner();
            if result.is_ok() {
                assert!(signature_at(&device, 8192));
                break;
            }
            // The very first write may have failed; after it nothing must be found.
            let found = [1024, 2048, 4096, 8192].map(|offset| signature_at(&device, offset));
            assert!(good_writes == 0 || found == [false; 4], "{good_writes}: {found:?}");
            good_writes += 1;
        }
        assert!(good_writes > 10, "the test saw only {good_writes} writes");
    }

    #[test]
    fn a_report_that_fails_stops_the_work() {
        let plan = Plan::new(&settings(8192)).unwrap();
        let device = old_device(32 << 20);
        let mut stop = |progress: Progress| match progress.stage {
            Stage::Metadata => Err(io::ErrorKind::Interrupted.into()),
            _ => Ok(()),
        };
        let result = plan.write(&device, WriteOptions { discard: false }, &mut stop);
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::Interrupted);
        assert!(!signature_at(&device, 8192));
    }

    #[test]
    fn a_device_smaller_than_the_volume_is_left_alone() {
        let plan = Plan::new(&settings(8192)).unwrap();
        let device = old_device(31 << 20);
        assert!(write(&plan, &device, true).is_err());
        assert!(signature_at(&device, 8192));
    }

    #[test]
    fn a_volume_that_does_not_fit_says_what_has_no_room() {
        let err = Plan::new(&settings(2500)).unwrap_err();
        assert_eq!(
            err.to_string(),
            "the volume is too small: no room for the journals among its 2500 clusters of 4096 \
             bytes"
        );
        for clusters in 0..3000 {
            let _ = Plan::new(&settings(clusters));
        }
        let geometry = Geometry::new(BlockSize::MIN, ClusterSize::MAX, 1 << 20);
        let crowded = Settings { geometry, slots: 255, ..settings(0) };
        assert!(matches!(Plan::new(&crowded), Err(PlanError::TooManyInodes { slots: 255, .. })));
    }
}
