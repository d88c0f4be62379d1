//! Changes committed through a journal: if interrupted anywhere, all of them or none are there.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::io::{self, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ocfs2_device::{AfterWrites, Device, DeviceOptions, FailingDevice, OverlayDevice, open};
use ocfs2_format::dinode::{Dinode, FileKind};
use ocfs2_format::feature::Incompat;
use ocfs2_format::journal::JBD2_MAGIC;
use ocfs2_format::superblock::{SUPERBLOCK_BLKNO, SuperBlock};
use ocfs2_format::{Blkno, Block, Structure};
use ocfs2_testing::{Scratch, fixture, fixture_copy, oracle};
use ocfs2_volume::commit::CommitError;
use ocfs2_volume::{Inode, Volume, VolumeOptions};

/// A block and its new contents.
type Change = (Blkno, Vec<u8>);

fn volume(device: Arc<dyn Device>) -> Volume {
    Volume::open(device, &VolumeOptions::default()).unwrap()
}

/// Returns some changes that leave the volume sound: the times of `count` inodes, the mount count
/// of the superblock, the journal's own inode, and a file whose first block starts with bytes that
/// the log has to escape.
fn changes(volume: &Volume, count: usize) -> Vec<Change> {
    let mut changes = Vec::new();
    let inodes: Vec<_> = volume.inodes().map(Result::unwrap).collect();
    let stamped = |dinode: &Dinode, mut block: Vec<u8>| {
        dinode.encode(&mut block).unwrap();
        if volume.has(Incompat::META_ECC) {
            Dinode::stamp(&mut block);
        }
        (dinode.i_blkno, block)
    };
    let journal = volume.journal(0).unwrap().inode;
    let is_file =
        |inode: &&Inode| inode.kind() == Some(FileKind::Regular) && inode.blkno != journal.blkno;
    let files = inodes.iter().filter(is_file).take(count);
    for inode in files.chain([&journal]) {
        let dinode = Dinode { i_ctime: 1_234_567_890, ..inode.dinode.clone() };
        changes.push(stamped(&dinode, inode.block().to_vec()));
    }
    let data = inodes.iter().find_map(|inode| {
        let plain = inode.kind() == Some(FileKind::Regular) && inode.dinode.i_dyn_features == 0;
        let extent = volume.tree(inode).ok()?.extents().next()?.ok()?;
        plain.then_some(extent.blkno)
    });
    let data = data.unwrap();
    let mut block = volume.read_block(data).unwrap();
    block[..4].copy_from_slice(&JBD2_MAGIC.to_be_bytes());
    changes.push((data, block));

    let mut block = volume.read_block(SUPERBLOCK_BLKNO).unwrap();
    let superblock = SuperBlock { s_mnt_count: 7, ..volume.superblock().clone() };
    superblock.encode(&mut block[Dinode::ID2_OFFSET..]).unwrap();
    if volume.has(Incompat::META_ECC) {
        Dinode::stamp(&mut block);
    }
    changes.push((SUPERBLOCK_BLKNO, block));
    changes
}

/// Returns an overlay of `device` with the changes.
fn overlay(device: Arc<dyn Device>, changes: &[Change]) -> OverlayDevice<Arc<dyn Device>> {
    let size = volume(device.clone()).block_size();
    let overlay = OverlayDevice::new(device, size.bytes());
    for (blkno, bytes) in changes {
        overlay.write_at(bytes, blkno.offset_bytes(size).unwrap()).unwrap();
    }
    overlay
}

/// Replays the journals, as the recovery of a crashed node does.
fn recover(device: &Arc<dyn Device>) {
    let volume = volume(device.clone());
    for slot in 0..volume.max_slots() {
        if volume.journal_is_dirty(slot).unwrap() {
            let replay = volume.replay(slot).unwrap();
            replay.apply(&volume, device).unwrap();
            replay.finish(&volume, device).unwrap();
            replay.mark_clean(&volume, device).unwrap();
        }
    }
}

/// Returns a block without the fields that a recovery changes in the inode of a journal, so that
/// two states can be compared.
fn comparable(volume: &Volume, blkno: Blkno, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if blkno == volume.journal(0).unwrap().inode.blkno {
        bytes[Dinode::CHECK_OFFSET..][..8].fill(0);
        bytes[0xb8..0xc0].fill(0);
    }
    bytes
}

/// A device with room for a number of further blocks; writes are counted, not done.
struct Full(Arc<dyn Device>, AtomicU64, AtomicU64);

impl Device for Full {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, _buf: &[u8], _offset: u64) -> io::Result<()> {
        self.2.fetch_add(1, Relaxed);
        Ok(())
    }

    fn reserve(&self, _offset: u64, _len: u64) -> io::Result<()> {
        let room = self.1.fetch_update(Relaxed, Relaxed, |room| room.checked_sub(1));
        room.map(drop).map_err(|_| io::ErrorKind::StorageFull.into())
    }

    fn zero(&self, _offset: u64, _len: u64) -> io::Result<()> {
        self.2.fetch_add(1, Relaxed);
        Ok(())
    }

    fn discard(&self, _offset: u64, _len: u64) -> io::Result<bool> {
        Ok(false)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn nothing_is_written_where_there_is_no_room_for_all_of_it() {
    let base: Arc<dyn Device> = open(&fixture("clean-4k-o2cb"), &DeviceOptions::default()).unwrap();
    let volume = volume(base.clone());
    let overlay = overlay(base.clone(), &changes(&volume, 20));
    let in_place = |device: &Full| volume.write_in_place(&overlay, device);
    let journaled = |device: &Full| volume.plan_commit(&overlay, 0).unwrap().write(device);
    for room in [0, 5, 20] {
        for write in [&in_place as &dyn Fn(&Full) -> Result<(), CommitError>, &journaled] {
            let device = Full(base.clone(), room.into(), 0.into());
            let err = write(&device).unwrap_err();
            assert!(matches!(err, CommitError::NoRoom { .. }) && err.is_before_writes(), "{err}");
            assert_eq!(device.2.into_inner(), 0);
            let device = Full(base.clone(), 1000.into(), 0.into());
            write(&device).unwrap();
            assert!(device.2.into_inner() > 20);
        }
    }
}

#[test]
fn interrupted_at_any_write_a_replay_gives_all_changes_or_none() {
    for name in ["clean-512-local", "clean-4k-o2cb"] {
        let base: Arc<dyn Device> = open(&fixture(name), &DeviceOptions::default()).unwrap();
        let before = volume(base.clone());
        let changes = changes(&before, 100);
        let metadata = &changes[..changes.len() - 1];
        let mut committed = 0;
        for then in [AfterWrites::Fail, AfterWrites::Drop, AfterWrites::Tear] {
            for writes in 0.. {
                let disk: Arc<dyn Device> =
                    Arc::new(OverlayDevice::new(base.clone(), before.block_size().bytes()));
                let failing = FailingDevice::new(disk.clone(), writes, then);
                let overlay = overlay(disk.clone(), &changes);
                let through = volume(disk.clone());
                let result = through.plan_commit(&overlay, 0).unwrap().write(&failing);
                let done = failing.writes() <= writes;
                assert_eq!(result.is_ok(), done || then == AfterWrites::Drop, "{writes}");

                recover(&disk);
                let after = volume(disk.clone());
                let is_new = |(blkno, new): &Change| {
                    let found = after.read_block(*blkno).unwrap();
                    let old = before.read_block(*blkno).unwrap();
                    let as_found = comparable(&before, *blkno, &found);
                    let new = as_found == comparable(&before, *blkno, new);
                    let old = as_found == comparable(&before, *blkno, &old);
                    assert!(new || old, "{name}: block {blkno} after {writes} writes");
                    new
                };
                let new = metadata.iter().filter(|change| is_new(change)).count();
                assert!([0, metadata.len()].contains(&new), "{name}: {new} after {writes}");
                let journal = after.journal(0).unwrap();
                assert!(!journal.is_dirty() && journal.superblock.s_start <= 1, "{name}");
                committed += usize::from(new > 0);
                if done {
                    assert_eq!(new, metadata.len());
                    assert!(is_new(changes.last().unwrap()), "the superblock comes last");
                    break;
                }
            }
        }
        // Every interruption after the log was written: that is more than half of them.
        assert!(committed > 300, "{name}: {committed}");
    }
}

#[test]
fn the_c_fsck_replays_what_was_interrupted() {
    let Some(fsck) = oracle("fsck.ocfs2") else { return };
    let scratch = Scratch::new();
    let image = fixture_copy("clean-4k-o2cb", &scratch);
    let disk = open(&image, &DeviceOptions { write: true, ..Default::default() }).unwrap();
    let before = volume(disk.clone());
    let changes = changes(&before, 100);
    let overlay = overlay(disk.clone(), &changes);
    let commit = before.plan_commit(&overlay, 0).unwrap();
    // The log, the journal's inode and its superblock, and the first blocks in their places.
    let failing = FailingDevice::new(disk.clone(), 10, AfterWrites::Fail);
    commit.write(&failing).unwrap_err();
    assert!(volume(disk.clone()).journal_is_dirty(0).unwrap());

    let mut child = Command::new(&fsck)
        .args(["-F", "-y"])
        .arg(&image)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(b"yyyy").unwrap();
    let said = child.wait_with_output().unwrap().stdout;
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("journal replayed successfully"), "{said}");
    let after = volume(disk);
    for (blkno, new) in &changes[..changes.len() - 1] {
        let found = after.read_block(*blkno).unwrap();
        let (found, new) = (comparable(&before, *blkno, &found), comparable(&before, *blkno, new));
        assert!(found == new, "block {blkno}");
    }
}

#[test]
fn what_does_not_fit_or_is_the_log_itself_is_refused_before_anything_is_written() {
    let base: Arc<dyn Device> =
        open(&fixture("clean-512-local"), &DeviceOptions::default()).unwrap();
    let before = volume(base.clone());
    let journal = before.journal(0).unwrap();
    let size = before.block_size();

    let own = [(Blkno(journal.blkno.0 + 5), vec![1; size.size()])];
    let err = before.plan_commit(&overlay(base.clone(), &own), 0).unwrap_err();
    assert!(matches!(err, CommitError::OwnBlock { .. }), "{err}");

    let many = u64::from(journal.superblock.s_maxlen);
    let end = before.geometry().blocks();
    let large: Vec<_> =
        (end - many..end).map(|blkno| (Blkno(blkno), vec![1; size.size()])).collect();
    let err = before.plan_commit(&overlay(base.clone(), &large), 0).unwrap_err();
    assert!(matches!(err, CommitError::TooLarge { .. }), "{err}");

    let crashed = open(&fixture("crashed-512-local"), &DeviceOptions::default()).unwrap();
    let err = volume(crashed.clone()).plan_commit(&overlay(crashed, &[]), 0).unwrap_err();
    assert!(matches!(err, CommitError::Dirty { slot: 0 }), "{err}");
}
