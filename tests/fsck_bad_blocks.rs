//! A block the device can not read is a finding, and the check goes on.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io;
use std::sync::Arc;

use ocfs2_cli::Interrupt;
use ocfs2_format::Blkno;
use ocfs2_fsck::{Context, Found, Observer, Options, Pass, check};
use ocfs2_testing::damage::Metadata;
use ocfs2_testing::fixture;
use ocfs2_volume::device::{DeviceOptions, open};
use ocfs2_volume::{Device, Volume, VolumeOptions};

/// Fails to read a range of bytes, as a disk with a bad sector does.
struct BadBlock {
    inner: Arc<dyn Device>,
    bad: std::ops::Range<u64>,
}

impl Device for BadBlock {
    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if offset < self.bad.end && offset + buf.len() as u64 > self.bad.start {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, _buf: &[u8], _offset: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
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

/// The blocks that could not be read, and the passes that were begun.
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
        // Of every kind some; not of the last, which has the blocks of logs that are empty.
        let kinds = kinds.split_last().unwrap().1;
        let some = (0..).zip(kinds).flat_map(|(kind, all): (usize, &Vec<Blkno>)| {
            all.iter().step_by(all.len().div_ceil(15)).map(move |blkno| (kind, *blkno))
        });
        for (kind, blkno) in some {
            let bad = blkno.0 * size..(blkno.0 + 1) * size;
            let device = Arc::new(BadBlock { inner: Arc::clone(&device), bad });
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
