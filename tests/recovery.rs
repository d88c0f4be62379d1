//! Recovery after a crash: compared with what the kernel made of the same volume, and interrupted
//! anywhere.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use ocfs2_device::{AfterWrites, Device, DeviceOptions, FailingDevice, OverlayDevice, open};
use ocfs2_format::dinode::Dinode;
use ocfs2_format::journal::{JournalIncompat, JournalSuperblock};
use ocfs2_format::quota::{QuotaKind, leaf_entries, references, tree_depth};
use ocfs2_format::{Block, Structure};
use ocfs2_testing::{CRASHED, Scratch, c_fsck_run, fixture, fixture_copy, manifest, oracle};
use ocfs2_tests::assert_as_manifest;
use ocfs2_volume::recovery::{JournalState, RecoverOptions, SlotRecovery, Writes};
use ocfs2_volume::{SystemFile, Volume, VolumeOptions};

fn volume(device: &Arc<dyn Device>) -> Volume {
    Volume::open(device.clone(), &VolumeOptions::default()).unwrap()
}

/// Recovers all slots of the volume that is read from `base`, and writes to `device`.
fn recover(base: &Arc<dyn Device>, device: &dyn Device, writes: Writes) -> Vec<SlotRecovery> {
    let volume = volume(base);
    let slots: Vec<u16> = (0..volume.max_slots()).collect();
    let options =
        RecoverOptions { slots: &slots, writes, time: 1_700_000_000, interrupted: &|| false };
    volume.recover(device, &options)
}

fn assert_recovered(slots: &[SlotRecovery]) {
    for slot in slots {
        assert!(slot.error.is_none() && slot.left.is_empty(), "{slot:?}");
    }
}

/// Returns what the C fsck finds, without what it is wrong about: the missing index of the system
/// directory, clusters of quota files past their end, and the hashes by which kernels since 6.2
/// look names up, which it does not know.
fn c_fsck_finds(fsck: &Path, image: &Path, volume: &Volume) -> Vec<String> {
    let is_unsigned = volume.superblock().label() == b"kcrash4k7";
    let run = c_fsck_run(fsck, "-fn", image);
    let output = format!("{}{}", run.stdout, run.stderr);
    assert!(output.contains("Pass 4b"), "{output}");
    let quota = [QuotaKind::User, QuotaKind::Group]
        .into_iter()
        .filter_map(|kind| volume.system_file(SystemFile::Quota(kind)).ok());
    let quota: Vec<u64> = quota.map(|inode| inode.blkno.0).collect();
    let system = volume.system_dir().unwrap().blkno.0;
    let is_wrong_about = |line: &str| {
        let mut words = line.split_whitespace();
        let (code, _, inode) = (words.next(), words.next(), words.next());
        let inode = inode.and_then(|word| word.parse().ok());
        match (code, inode) {
            (Some("[DX_TREE_MISSING]"), Some(inode)) => inode == system,
            (Some("[INODE_SPARSE_SIZE]"), Some(inode)) => quota.contains(&inode),
            (Some("[DX_LOOKUP_FAILED]" | "[XATTR_HASH_INVALID]"), _) => is_unsigned,
            _ => false,
        }
    };
    let findings = output.lines().filter(|line| line.starts_with('[') && !is_wrong_about(line));
    findings.map(str::to_owned).collect()
}

/// Demands that the C fsck finds nothing.
fn assert_sound(name: &str, image: &Path) {
    if let Some(fsck) = oracle("fsck.ocfs2") {
        let device = open(image, &DeviceOptions::default()).unwrap();
        let found = c_fsck_finds(&fsck, image, &volume(&device));
        assert!(found.is_empty(), "{name}: {found:#?}");
    }
}

#[test]
fn a_recovered_volume_is_what_the_kernel_made_of_it() {
    for name in CRASHED {
        let scratch = Scratch::new();
        let image = fixture_copy(name, &scratch);
        let device = open(&image, &DeviceOptions { write: true, ..Default::default() }).unwrap();
        let slots = recover(&device, &device, Writes::Journaled);
        eprintln!("{name}: {slots:?}");
        assert_recovered(&slots);
        let volume = volume(&device);
        assert!(assert_as_manifest(&volume, name)[0] > 0, "nothing was compared");
        for slot in 0..volume.max_slots() {
            assert!(!volume.journal_is_dirty(slot).unwrap());
            assert!(volume.leftovers(slot).unwrap().is_empty());
            assert_eq!(volume.orphans(slot).unwrap(), []);
        }
        assert_eq!(volume.taken_slots().unwrap(), []);
        assert_sound(name, &image);
    }
}

/// Returns the usage of the ids in a global quota file, in KiB and inodes, without those that use
/// nothing.
fn usage(volume: &Volume, kind: QuotaKind) -> BTreeMap<u32, (u64, u64)> {
    let inode = volume.system_file(SystemFile::Quota(kind)).unwrap();
    let mut bytes = vec![0; inode.size() as usize];
    volume.file(&inode).unwrap().read_at(&mut bytes, 0).unwrap();
    let blocks: Vec<&[u8]> = bytes.chunks_exact(volume.block_size().size()).collect();
    let mut below = BTreeSet::from([1]);
    for _ in 0..tree_depth(volume.block_size()) {
        let next = below.iter().flat_map(|index| references(blocks[*index as usize]));
        below = next.filter(|index| *index != 0).collect();
    }
    let entries = below.iter().flat_map(|index| leaf_entries(blocks[*index as usize]));
    let used = entries.filter(|entry| (entry.dqb_curspace, entry.dqb_curinodes) != (0, 0));
    used.map(|entry| (entry.dqb_id, (entry.dqb_curspace.div_ceil(1024), entry.dqb_curinodes)))
        .collect()
}

#[test]
fn quota_is_after_a_recovery_what_the_kernel_counted_after_its_own() {
    for name in CRASHED {
        let base: Arc<dyn Device> = open(&fixture(name), &DeviceOptions::default()).unwrap();
        let size = volume(&base).block_size().bytes();
        let disk: Arc<dyn Device> = Arc::new(OverlayDevice::new(base, size));
        assert_recovered(&recover(&disk, &disk, Writes::InPlace));
        let volume = volume(&disk);
        let mut expected = manifest(name).quota;
        assert!(expected[0][&0].1 > 0, "{name}: nothing is in use");
        if name == "crashed-4k-linux7-local" {
            // The kernel has left the orphan, and counts it.
            for usage in &mut expected {
                let (space, inodes) = usage.get_mut(&0).unwrap();
                (*space, *inodes) = (*space - 296, *inodes - 1);
            }
        }
        if name.ends_with("-local") {
            // The kernel lists a file of this user, with two names, but has not counted it.
            for (usage, id) in expected.iter_mut().zip([2001, 3001]) {
                assert_eq!(usage.insert(id, (0, 1)), None);
            }
        }
        for (kind, expected) in [QuotaKind::User, QuotaKind::Group].into_iter().zip(expected) {
            assert_eq!(usage(&volume, kind), expected, "{name}: {kind:?}");
        }
    }
}

/// Returns the blocks that a recovery has changed, without the journals and the counts of their
/// recoveries.
fn outcome(
    disk: &OverlayDevice<Arc<dyn Device>>,
    base: &Arc<dyn Device>,
) -> BTreeMap<u64, Vec<u8>> {
    let volume = volume(base);
    let size = volume.block_size().bytes();
    let mut journals = Vec::new();
    let mut inodes = Vec::new();
    for slot in 0..volume.max_slots() {
        let journal = volume.journal(slot).unwrap();
        inodes.push(journal.inode.blkno.0);
        for extent in volume.tree(&journal.inode).unwrap().extents() {
            let extent = extent.unwrap();
            let blocks = u64::from(extent.clusters) << volume.geometry().bpc_bits();
            journals.push(extent.blkno.0..extent.blkno.0 + blocks);
        }
    }
    let mut outcome = BTreeMap::new();
    let collected = disk.for_each_change(|offset, bytes| {
        let blkno = offset / u64::from(size);
        let mut bytes = bytes.to_vec();
        if inodes.contains(&blkno) {
            bytes[Dinode::CHECK_OFFSET..][..8].fill(0);
            bytes[0xbc..0xc0].fill(0);
        }
        if !journals.iter().any(|journal| journal.contains(&blkno)) {
            outcome.insert(blkno, bytes);
        }
        Ok::<_, std::io::Error>(())
    });
    collected.unwrap();
    outcome
}

#[test]
fn interrupted_at_any_write_a_second_recovery_has_the_same_outcome() {
    for name in ["crashed-512-local", "crashed-1k-o2cb"] {
        let base: Arc<dyn Device> = open(&fixture(name), &DeviceOptions::default()).unwrap();
        let size = volume(&base).block_size().bytes();
        let disk = || Arc::new(OverlayDevice::new(base.clone(), size));
        let whole = disk();
        let as_device: Arc<dyn Device> = whole.clone();
        let counting = FailingDevice::new(as_device.clone(), u64::MAX, AfterWrites::Fail);
        let slots = recover(&as_device, &counting, Writes::Journaled);
        assert_recovered(&slots);
        let expected = outcome(&whole, &base);
        let writes = counting.writes();
        for good in 0..writes {
            let then = [AfterWrites::Fail, AfterWrites::Drop, AfterWrites::Tear][good as usize % 3];
            let disk = disk();
            let as_device: Arc<dyn Device> = disk.clone();
            let failing = FailingDevice::new(as_device.clone(), good, then);
            let slots = recover(&as_device, &failing, Writes::Journaled);
            let is_known = slots.iter().any(|slot| slot.error.is_some());
            assert!(is_known || then == AfterWrites::Drop, "{name}: {good}");

            assert_recovered(&recover(&as_device, &as_device, Writes::Journaled));
            let found = outcome(&disk, &base);
            for (blkno, bytes) in &found {
                assert!(expected.get(blkno) == Some(bytes), "{name}: block {blkno} after {good}");
            }
            assert_eq!(found.len(), expected.len(), "{name} after {good}");
        }
        eprintln!("{name}: interrupted at each of {writes} writes");
    }
}

#[test]
fn journals_are_described_without_changing_them() {
    let base: Arc<dyn Device> =
        open(&fixture("crashed-4k-o2cb"), &DeviceOptions::default()).unwrap();
    let disk: Arc<dyn Device> = Arc::new(OverlayDevice::new(base.clone(), 4096));
    let volume = volume(&disk);
    let states = volume.journal_states();
    let dirty: Vec<bool> = states.iter().map(JournalState::is_dirty).collect();
    assert_eq!(dirty, [true, true, false, false]);
    assert!(states.iter().all(|state| state.problems.is_empty()), "{states:?}");

    let change = |slot: u16, change: &dyn Fn(&mut JournalSuperblock)| {
        let journal = volume.journal(slot).unwrap();
        let mut superblock = journal.superblock.clone();
        change(&mut superblock);
        let mut block = volume.read_block(journal.blkno).unwrap();
        superblock.encode(&mut block).unwrap();
        let offset = journal.blkno.offset_bytes(volume.block_size()).unwrap();
        disk.write_at(&block, offset).unwrap();
    };
    change(0, &|superblock| superblock.s_feature_incompat |= 0x120);
    change(1, &|superblock| superblock.s_errno = -5);
    change(2, &|superblock| superblock.s_feature_incompat |= JournalIncompat::BIT64.bits());
    change(3, &|superblock| superblock.header.h_magic = 0);
    let problems: Vec<Vec<String>> = volume
        .journal_states()
        .iter()
        .map(|state| state.problems.iter().map(ToString::to_string).collect())
        .collect();
    let lacks = "lacks features that others have: compat 0x0, incompat 0x2";
    assert_eq!(problems[0], ["unknown features: incompat 0x120, ro_compat 0x0", lacks]);
    assert_eq!(problems[1], ["was aborted with error -5", lacks]);
    assert!(problems[2].is_empty());
    assert!(problems[3][0].starts_with("the superblock cannot be used: "), "{problems:?}");
}

#[test]
fn a_slot_that_can_not_be_recovered_does_not_stop_the_others() {
    let base: Arc<dyn Device> =
        open(&fixture("crashed-4k-o2cb"), &DeviceOptions::default()).unwrap();
    let disk: Arc<dyn Device> = Arc::new(OverlayDevice::new(base.clone(), 4096));
    let volume = volume(&disk);
    let journal = volume.journal(0).unwrap();
    let mut block = volume.read_block(journal.blkno).unwrap();
    block[..4].fill(0);
    disk.write_at(&block, journal.blkno.offset_bytes(volume.block_size()).unwrap()).unwrap();

    let slots = recover(&disk, &disk, Writes::Journaled);
    let error = slots[0].error.as_ref().unwrap().to_string();
    assert!(error.starts_with("journal of slot 0: journal superblock"), "{error}");
    assert!(!slots[0].was_freed && slots[0].replayed.is_none() && slots[0].leftovers.is_none());
    assert_recovered(&slots[1..]);
    assert!(slots[1].replayed.is_some() && slots[1].was_freed, "{slots:?}");
    assert!(volume.journal_is_dirty(0).unwrap() && !volume.journal_is_dirty(1).unwrap());
    let taken: Vec<u16> = volume.taken_slots().unwrap().iter().map(|taken| taken.slot).collect();
    assert_eq!(taken, [0]);
}

#[test]
fn an_overlay_gets_the_same_outcome_without_a_journal() {
    let base: Arc<dyn Device> =
        open(&fixture("crashed-512-o2cb"), &DeviceOptions::default()).unwrap();
    let outcomes = [Writes::Journaled, Writes::InPlace].map(|writes| {
        let disk = Arc::new(OverlayDevice::new(base.clone(), 512));
        let as_device: Arc<dyn Device> = disk.clone();
        assert_recovered(&recover(&as_device, &as_device, writes));
        outcome(&disk, &base)
    });
    assert!(outcomes[0] == outcomes[1]);
    assert!(outcomes[0].len() > 10, "{}", outcomes[0].len());
}
