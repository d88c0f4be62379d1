//! A block that the device cannot read is a finding, and the check goes on.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ocfs2_cli::Interrupt;
use ocfs2_device::{Device, DeviceOptions, OverlayDevice, open};
use ocfs2_format::Blkno;
use ocfs2_fsck::plan::plan;
use ocfs2_fsck::repair::commit::commit;
use ocfs2_fsck::{Context, Found, Observer, Options, Pass, check};
use ocfs2_testing::damage::{Files, Metadata};
use ocfs2_testing::fixture;
use ocfs2_tests::Yes;
use ocfs2_volume::{Volume, VolumeOptions};

/// Fails to read a range of bytes, like a disk with a bad sector.
struct BadBlock {
    inner: Arc<dyn Device>,
    bad: std::ops::Range<u64>,
    /// Whether they were written, so that the disk has put them in another place.
    replaced: AtomicBool,
}

impl BadBlock {
    fn device(inner: Arc<dyn Device>, bad: std::ops::Range<u64>) -> Arc<dyn Device> {
        Arc::new(Self { inner, bad, replaced: AtomicBool::new(false) })
    }
}

impl Device for BadBlock {
    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let is_bad = offset < self.bad.end && offset + buf.len() as u64 > self.bad.start;
        if is_bad && !self.replaced.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        if offset <= self.bad.start && offset + buf.len() as u64 >= self.bad.end {
            self.replaced.store(true, Ordering::Relaxed);
        }
        self.inner.write_at(buf, offset)
    }

    fn zero(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn discard(&self, _offset: u64, _len: u64) -> io::Result<bool> {
        Ok(false)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The blocks that could not be read, and the passes that were started.
#[derive(Default)]
struct Seen {
    unreadable: Vec<(u64, String)>,
    passes: Vec<Pass>,
}

impl Observer for Seen {
    fn pass(&mut self, pass: Pass, _total: u64) {
        self.passes.push(pass);
    }

    fn found(&mut self, found: Found<'_>) {
        if found.finding.code.name == "IO_ERROR" {
            let block = found.finding.place.block.expect("an unreadable block has a number");
            self.unreadable.push((block, found.finding.text.clone()));
        }
    }
}

#[test]
fn a_block_that_can_not_be_read_is_named_and_the_check_goes_on() {
    for name in ["clean-1k-local", "clean-4k-o2cb"] {
        let device = open(&fixture(name), &DeviceOptions::default()).unwrap();
        let sound = Volume::open(Arc::clone(&device), &VolumeOptions::default()).unwrap();
        let size = u64::from(sound.block_size().bytes());
        let kinds = Metadata::of(&sound).places();
        assert!(kinds.len() > 8, "{name}");
        let mut unnamed = Vec::new();
        // Some of every kind; none of the last one, which contains the blocks of empty logs.
        let kinds = kinds.split_last().unwrap().1;
        let some = (0..).zip(kinds).flat_map(|(kind, all): (usize, &Vec<Blkno>)| {
            all.iter().step_by(all.len().div_ceil(15)).map(move |blkno| (kind, *blkno))
        });
        for (kind, blkno) in some {
            let bad = blkno.0 * size..(blkno.0 + 1) * size;
            let device = BadBlock::device(Arc::clone(&device), bad);
            let Ok(volume) = Volume::open(device, &VolumeOptions::default()) else {
                assert_eq!(blkno, Blkno(2), "{name}: only the superblock has to be readable");
                continue;
            };
            let (options, interrupt) = (Options::default(), Interrupt::default());
            let context = Context { volume: &volume, options: &options, interrupt: &interrupt };
            let mut seen = Seen::default();
            check(&context, &mut seen).unwrap();
            assert!(seen.passes.contains(&Pass::Links), "{name}: block {blkno}");
            let named = seen
                .unreadable
                .iter()
                .any(|(block, text)| *block == blkno.0 && text.contains("os error 5"));
            if !named {
                unnamed.push((kind, blkno.0, seen.unreadable));
            }
        }
        assert!(unnamed.is_empty(), "{name}: {unnamed:#?}");
    }
}

#[test]
fn a_block_that_can_not_be_read_is_written_anew_and_the_rest_repaired() {
    let name = "clean-1k-local";
    let sound = open(&fixture(name), &DeviceOptions::default()).unwrap();
    let volume = Volume::open(Arc::clone(&sound), &VolumeOptions::default()).unwrap();
    let size = u64::from(volume.block_size().bytes());
    let before = Files::of_volume(&volume);
    let kinds = Metadata::of(&volume).places();
    // Without the superblock, which has no backup here, and without the logs.
    let some =
        kinds[..kinds.len() - 1].iter().flat_map(|all| all.iter().step_by(all.len().div_ceil(3)));
    let mut lost = Vec::new();
    for blkno in some.filter(|blkno| **blkno != Blkno(2)) {
        let disk: Arc<dyn Device> = Arc::new(OverlayDevice::new(Arc::clone(&sound), 512));
        let disk = BadBlock::device(disk, blkno.0 * size..(blkno.0 + 1) * size);
        let overlay = Arc::new(OverlayDevice::new(Arc::clone(&disk), size as u32));
        let on: Arc<dyn Device> = overlay.clone();
        let open = || Volume::open(Arc::clone(&on), &VolumeOptions::default());
        let (options, interrupt) = (Options::default(), Interrupt::default());
        let plan = plan(&open, &options, &interrupt, &mut Yes).unwrap();
        let left: Vec<_> = plan.findings.iter().filter(|it| !it.is_repaired).collect();
        assert!(left.is_empty(), "block {blkno}: {left:?}");
        let volume = Volume::open(Arc::clone(&disk), &VolumeOptions::default()).unwrap();
        commit(&volume, &overlay, &disk, &HashSet::new()).unwrap();
        let volume = Volume::open(disk, &VolumeOptions::default()).unwrap();
        let context = Context { volume: &volume, options: &options, interrupt: &interrupt };
        let mut seen = Seen::default();
        let outcome = check(&context, &mut seen).unwrap();
        assert_eq!((outcome.findings, seen.unreadable.len()), (0, 0), "block {blkno}");
        lost.push(before.lost(&Files::of_volume(&volume)).len());
    }
    // An inode is lost with its block; a group is not a loss.
    assert!(lost.iter().all(|lost| *lost <= 1), "{lost:?}");
    assert!(lost.iter().filter(|lost| **lost == 0).count() > lost.len() / 2, "{lost:?}");
}
