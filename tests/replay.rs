//! Journal replay: compared with the C fsck on volumes left by crashed kernels, and on logs made
//! for one rule each.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::process::{Command, Stdio};
use std::sync::Arc;

use ocfs2_device::{Device, DeviceOptions, MemoryDevice, OverlayDevice, open};
use ocfs2_format::feature::{Features, Incompat};
use ocfs2_format::geometry::Geometry;
use ocfs2_format::journal::{
    BlockType, CommitBlock, JBD2_MAGIC, JournalHeader, JournalIncompat, JournalTag, TagFlags,
    TransactionChecksum, write_descriptor,
};
use ocfs2_format::{Blkno, BlockSize, ClusterSize, Cpos, Structure};
use ocfs2_mkfs::{Plan, Settings, WriteOptions};
use ocfs2_testing::{CRASHED, Scratch, fixture_copy, oracle};
use ocfs2_volume::replay::{LogDamage, LogEnd, Replay, ReplayError};
use ocfs2_volume::{Volume, VolumeOptions};

/// Replays every dirty journal. Returns the number of blocks of each.
fn replay_all(device: &Arc<dyn Device>) -> Vec<(u16, usize)> {
    let volume = Volume::open(device.clone(), &VolumeOptions::default()).unwrap();
    let dirty = (0..volume.max_slots()).filter(|slot| volume.journal_is_dirty(*slot).unwrap());
    let replayed = dirty.map(|slot| {
        let replay = volume.replay(slot).unwrap();
        assert_eq!(replay.end, LogEnd::Complete, "slot {slot}");
        replay.apply(&volume, device).unwrap();
        replay.finish(&volume, device).unwrap();
        (slot, replay.blocks().len())
    });
    replayed.collect()
}

#[test]
fn a_replayed_volume_equals_that_of_the_c_fsck_byte_by_byte() {
    let Some(fsck) = oracle("fsck.ocfs2") else { return };
    for name in CRASHED {
        let scratch = Scratch::new();
        let ours = fixture_copy(name, &scratch);
        let theirs = scratch.join("theirs.img");
        assert!(Command::new("cp").arg(&ours).arg(&theirs).status().unwrap().success());

        // It asks whether to go on without a cluster, replays, and then gives up because there is
        // none: it has written only the replay by then.
        let mut child = Command::new(&fsck)
            .args(["-F", "-y"])
            .arg(&theirs)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"yyyy").unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("journal replayed successfully"), "{name}: {said}");

        let device = open(&ours, &DeviceOptions { write: true, ..Default::default() }).unwrap();
        let blocks: usize = replay_all(&device).iter().map(|(_, blocks)| blocks).sum();
        assert!(blocks > 0, "{name} has nothing to replay");
        let equal = Command::new("cmp").arg(&ours).arg(&theirs).status().unwrap();
        assert!(equal.success(), "{name}: not as the C fsck leaves it");
    }
}

#[test]
fn a_replay_into_an_overlay_leaves_the_volume_alone_and_can_be_repeated() {
    let scratch = Scratch::new();
    let image = fixture_copy("crashed-512-local", &scratch);
    let device = open(&image, &DeviceOptions::default()).unwrap();
    let overlay: Arc<dyn Device> = Arc::new(OverlayDevice::new(device, 512));
    assert_eq!(replay_all(&overlay), [(0, 826)]);
    let volume = Volume::open(overlay.clone(), &VolumeOptions::default()).unwrap();
    // The log is empty now, but the journal is still dirty: a second replay does nothing.
    assert_eq!(replay_all(&overlay), [(0, 0)]);
    let replay = volume.replay(0).unwrap();
    replay.mark_clean(&volume, &overlay).unwrap();
    assert!(!volume.journal_is_dirty(0).unwrap());
    let journal = volume.journal(0).unwrap();
    assert_eq!(journal.recovery_generation(), replay.journal.recovery_generation() + 1);
}

/// A small volume whose journal is written by the tests.
struct Bench {
    device: Arc<dyn Device>,
    volume: Volume,
    features: JournalIncompat,
    /// Position of the next block in the log.
    at: u32,
    sequence: u32,
    checksum: Option<TransactionChecksum>,
}

impl Bench {
    fn new() -> Self {
        let geometry = Geometry::new(BlockSize::MIN, ClusterSize::MIN, 4096);
        let settings = Settings {
            geometry,
            slots: 1,
            label: Vec::new(),
            uuid: uuid::Uuid::from_u128(5),
            features: Features {
                incompat: Features::DEFAULT.incompat | Incompat::LOCAL_MOUNT,
                ..Features::DEFAULT
            },
            cluster_info: Default::default(),
            journal_bytes: Some(4 << 20),
            journal_block64: false,
            extent_groups: 0,
            generation: 3,
            dx_seed: [1, 2, 3],
            name_hash: Default::default(),
            time: 1,
        };
        let device: Arc<dyn Device> = Arc::new(MemoryDevice::new(16 << 20));
        let options = WriteOptions { discard: false };
        Plan::new(&settings).unwrap().write(&device, options, &mut |_| Ok(())).unwrap();
        let volume = Volume::open(device.clone(), &VolumeOptions::default()).unwrap();
        let features = JournalIncompat::empty();
        let mut bench = Self { device, volume, features, at: 2, sequence: 7, checksum: None };
        bench.set_start(2);
        bench
    }

    fn write(&self, blkno: Blkno, block: &[u8]) {
        self.device.write_at(block, blkno.offset_bytes(BlockSize::MIN).unwrap()).unwrap();
    }

    /// Makes the log begin at block `start`, with the current transaction.
    fn set_start(&mut self, start: u32) {
        let mut journal = self.volume.journal(0).unwrap();
        journal.superblock.s_start = start;
        journal.superblock.s_sequence = self.sequence;
        journal.superblock.s_feature_incompat = self.features.bits();
        let mut block = [0; 512];
        journal.superblock.encode(&mut block).unwrap();
        self.write(journal.blkno, &block);
        self.at = start;
    }

    fn log_place(&self, index: u32) -> Blkno {
        let inode = self.volume.journal(0).unwrap().inode;
        let extent = self.volume.tree(&inode).unwrap().map(Cpos(index / 8)).unwrap().unwrap();
        Blkno(extent.blkno.0 + u64::from(index) - 8 * u64::from(extent.cpos.0))
    }

    fn log(&mut self, block: &[u8]) {
        self.write(self.log_place(self.at), block);
        if let Some(checksum) = &mut self.checksum {
            checksum.update(block);
        }
        let end = self.volume.journal(0).unwrap().superblock.s_maxlen;
        self.at = if self.at + 1 == end { 2 } else { self.at + 1 };
    }

    /// Logs blocks that are each filled with one byte.
    fn blocks(&mut self, contents: &[(u64, u8)]) {
        let tag = |blkno| JournalTag { blkno: Blkno(blkno), ..Default::default() };
        let tags: Vec<_> = contents.iter().map(|(blkno, _)| tag(*blkno)).collect();
        self.descriptor(&tags);
        for (_, byte) in contents {
            self.log(&[*byte; 512]);
        }
    }

    fn descriptor(&mut self, tags: &[JournalTag]) {
        let mut block = [0; 512];
        let bit64 = self.features.contains(JournalIncompat::BIT64);
        let count = write_descriptor(&mut block, self.sequence, bit64, tags).unwrap();
        assert_eq!(count, tags.len());
        self.log(&block);
    }

    fn revoke(&mut self, blkno: u32) {
        let mut block = [0; 512];
        JournalHeader::new(BlockType::Revoke, self.sequence).encode(&mut block).unwrap();
        block[12..16].copy_from_slice(&20_u32.to_be_bytes());
        block[16..20].copy_from_slice(&blkno.to_be_bytes());
        // Revoke blocks are not part of the checksum.
        let checksum = self.checksum.take();
        self.log(&block);
        self.checksum = checksum;
    }

    fn commit(&mut self) {
        let mut commit = CommitBlock {
            header: JournalHeader::new(BlockType::Commit, self.sequence),
            ..Default::default()
        };
        if let Some(checksum) = self.checksum.take() {
            (commit.h_chksum_type, commit.h_chksum_size) = (1, 4);
            commit.h_chksum[0] = checksum.value();
            self.checksum = Some(TransactionChecksum::default());
        }
        let mut block = [0; 512];
        commit.encode(&mut block).unwrap();
        let checksum = self.checksum.take();
        self.log(&block);
        self.checksum = checksum;
        self.sequence = self.sequence.wrapping_add(1);
    }

    fn replay(&self) -> Replay {
        self.volume.replay(0).unwrap()
    }

    /// Replays the log, and returns the first byte of each of the blocks.
    fn replayed(&self, blknos: &[u64]) -> Vec<u8> {
        let replay = self.replay();
        replay.apply(&self.volume, &self.device).unwrap();
        let first = |blkno: &u64| self.volume.read_block(Blkno(*blkno)).unwrap()[0];
        blknos.iter().map(first).collect()
    }
}

#[test]
fn the_last_complete_transaction_counts() {
    let mut bench = Bench::new();
    bench.blocks(&[(30000, 1), (30001, 2)]);
    bench.commit();
    bench.blocks(&[(30000, 3)]);
    bench.commit();
    bench.blocks(&[(30001, 9), (30002, 9)]);
    let replay = bench.replay();
    assert_eq!((replay.transactions, replay.end), (2, LogEnd::Complete));
    assert_eq!(bench.replayed(&[30000, 30001, 30002]), [3, 2, 0]);

    replay.finish(&bench.volume, &bench.device).unwrap();
    let journal = bench.volume.journal(0).unwrap();
    assert_eq!((journal.superblock.s_start, journal.superblock.s_sequence), (0, 10));
    assert_eq!(bench.replay().transactions, 0);
}

#[test]
fn a_revoked_block_is_replayed_only_from_later_transactions() {
    let mut bench = Bench::new();
    bench.blocks(&[(30000, 1), (30001, 1), (30002, 1)]);
    bench.commit();
    bench.blocks(&[(30001, 2)]);
    bench.revoke(30000);
    bench.revoke(30001);
    bench.commit();
    bench.blocks(&[(30001, 3)]);
    bench.commit();
    assert_eq!(bench.replayed(&[30000, 30001, 30002]), [0, 3, 1]);
}

#[test]
fn a_block_that_begins_with_the_magic_gets_it_back() {
    let mut bench = Bench::new();
    let tag = JournalTag { blkno: Blkno(30000), flags: TagFlags::ESCAPE, checksum: 0 };
    bench.descriptor(&[tag]);
    let mut block = [7; 512];
    block[..4].fill(0);
    bench.log(&block);
    bench.commit();
    bench.replayed(&[]);
    let block = bench.volume.read_block(Blkno(30000)).unwrap();
    assert_eq!(block[..4], JBD2_MAGIC.to_be_bytes());
    assert_eq!(block[4..], [7; 508]);
}

#[test]
fn a_log_goes_on_at_its_first_block() {
    let mut bench = Bench::new();
    let last = bench.volume.journal(0).unwrap().superblock.s_maxlen - 1;
    bench.set_start(last - 1);
    bench.blocks(&[(30000, 1), (30001, 2), (30002, 3)]);
    bench.commit();
    bench.blocks(&[(30003, 4)]);
    bench.commit();
    assert_eq!(bench.replay().transactions, 2);
    assert_eq!(bench.replayed(&[30000, 30001, 30002, 30003]), [1, 2, 3, 4]);
}

#[test]
fn transaction_numbers_wrap() {
    let mut bench = Bench::new();
    bench.sequence = u32::MAX;
    bench.set_start(2);
    bench.blocks(&[(30000, 1), (30001, 1)]);
    bench.commit();
    bench.blocks(&[(30001, 2)]);
    bench.revoke(30000);
    bench.commit();
    assert_eq!(bench.replay().transactions, 2);
    assert_eq!(bench.replayed(&[30000, 30001]), [0, 2]);
}

#[test]
fn block_numbers_of_64_bits_are_read() {
    let mut bench = Bench::new();
    bench.features = JournalIncompat::BIT64 | JournalIncompat::REVOKE;
    bench.set_start(2);
    bench.blocks(&[(30000, 1), (30001, 2)]);
    bench.commit();
    assert_eq!(bench.replayed(&[30000, 30001]), [1, 2]);
}

#[test]
fn a_checksum_that_does_not_hold_ends_the_replay_before_its_transaction() {
    let mut bench = Bench::new();
    bench.checksum = Some(TransactionChecksum::default());
    bench.blocks(&[(30000, 1)]);
    bench.revoke(20000);
    bench.commit();
    let damaged = bench.at + 1;
    bench.blocks(&[(30001, 2)]);
    bench.commit();
    bench.blocks(&[(30002, 3)]);
    bench.commit();
    assert_eq!((bench.replay().transactions, bench.replay().end), (3, LogEnd::Complete));

    bench.write(bench.log_place(damaged), &[4; 512]);
    let end = LogEnd::Damaged { sequence: 8, damage: LogDamage::Checksum };
    assert_eq!((bench.replay().transactions, bench.replay().end), (1, end));
    assert_eq!(end.to_string(), "transaction 8 is damaged: its checksum does not hold");
    assert_eq!(bench.replayed(&[30000, 30001, 30002]), [1, 0, 0]);
}

#[test]
fn a_transaction_that_would_change_what_no_journal_may_is_not_replayed() {
    let mut bench = Bench::new();
    let journal = bench.log_place(100);
    for outside in [0, 2, 4096 * 8, u64::from(u32::MAX), journal.0] {
        bench.sequence = 7;
        bench.set_start(2);
        bench.blocks(&[(30000, 1), (outside, 2)]);
        bench.commit();
        let damage = LogDamage::Destination(Blkno(outside));
        assert_eq!(bench.replay().end, LogEnd::Damaged { sequence: 7, damage });
        assert_eq!(bench.replay().blocks().len(), 0);
    }
}

#[test]
fn an_unknown_feature_names_the_journal_and_the_bits() {
    let mut bench = Bench::new();
    bench.features = JournalIncompat::FAST_COMMIT | JournalIncompat::BIT64;
    bench.set_start(2);
    let err = bench.volume.replay(0).unwrap_err();
    assert!(matches!(err, ReplayError::UnknownFeatures { slot: 0, features: 0x20 }));
    assert_eq!(err.to_string(), "journal of slot 0: unknown incompatible features 0x20");
}

#[test]
fn a_log_full_of_one_transaction_ends() {
    let mut bench = Bench::new();
    // Descriptors without a commit in the whole log.
    let end = bench.volume.journal(0).unwrap().superblock.s_maxlen;
    for _ in 2..end {
        let tag = JournalTag { blkno: Blkno(30000), ..Default::default() };
        bench.descriptor(&[tag]);
    }
    assert_eq!((bench.replay().transactions, bench.replay().end), (0, LogEnd::Complete));
}

/// CRC-32C without the final inversion, bit by bit.
fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| {
        let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        (0..8).fold(crc ^ u32::from(*byte), step)
    })
}

/// Returns the log blocks of a transaction as jbd2 writes it with CSUM_V2 or CSUM_V3.
fn checked_transaction(
    features: JournalIncompat,
    sequence: u32,
    uuid: &[u8; 16],
    blocks: &[(u64, u8)],
) -> Vec<[u8; 512]> {
    let seed = crc32c(!0, uuid);
    let mut descriptor = [0; 512];
    JournalHeader::new(BlockType::Descriptor, sequence).encode(&mut descriptor).unwrap();
    let mut log = Vec::new();
    let mut tags = Vec::new();
    for (index, (blkno, byte)) in blocks.iter().enumerate() {
        let block = [*byte; 512];
        let crc = crc32c(crc32c(seed, &sequence.to_be_bytes()), &block);
        let same_uuid = if index > 0 { 0x2 } else { 0 };
        let flags: u32 = same_uuid | if index + 1 == blocks.len() { 0x8 } else { 0 };
        tags.extend((*blkno as u32).to_be_bytes());
        let high = ((*blkno >> 32) as u32).to_be_bytes();
        if features.contains(JournalIncompat::CSUM_V3) {
            tags.extend(flags.to_be_bytes());
            tags.extend(high);
            tags.extend(crc.to_be_bytes());
        } else {
            tags.extend((crc as u16).to_be_bytes());
            tags.extend((flags as u16).to_be_bytes());
            if features.contains(JournalIncompat::BIT64) {
                tags.extend(high);
            }
            tags.extend([0; 2]);
        }
        if index == 0 {
            tags.extend([0; 16]);
        }
        log.push(block);
    }
    descriptor[12..12 + tags.len()].copy_from_slice(&tags);
    let tail = crc32c(seed, &descriptor);
    descriptor[508..].copy_from_slice(&tail.to_be_bytes());
    log.insert(0, descriptor);
    let mut commit = [0; 512];
    JournalHeader::new(BlockType::Commit, sequence).encode(&mut commit).unwrap();
    let crc = crc32c(seed, &commit);
    commit[16..20].copy_from_slice(&crc.to_be_bytes());
    log.push(commit);
    log
}

#[test]
fn later_checksums_are_looked_at_in_every_layout() {
    let v2 = JournalIncompat::CSUM_V2;
    let v3 = JournalIncompat::CSUM_V3;
    for features in [v2, v2 | JournalIncompat::BIT64, v3, v3 | JournalIncompat::BIT64] {
        let mut bench = Bench::new();
        bench.features = features;
        bench.set_start(2);
        let uuid = bench.volume.journal(0).unwrap().superblock.s_uuid;
        let first = checked_transaction(features, 7, &uuid, &[(30000, 1), (30001, 2), (30002, 3)]);
        let second = checked_transaction(features, 8, &uuid, &[(30002, 4), (30003, 5)]);
        first.iter().chain(&second).for_each(|block| bench.log(block));
        let replay = bench.replay();
        assert_eq!((replay.transactions, replay.end), (2, LogEnd::Complete), "{features:?}");

        // In the second transaction: its descriptor, a block, and its commit.
        for (index, at) in [(7, 100), (9, 5), (10, 0x31)] {
            let place = bench.log_place(index);
            let good = bench.volume.read_block(place).unwrap();
            let mut bad = good.clone();
            bad[at] ^= 1;
            bench.write(place, &bad);
            let end = LogEnd::Damaged { sequence: 8, damage: LogDamage::Checksum };
            let replay = bench.replay();
            assert_eq!((replay.transactions, replay.end), (1, end), "{features:?} {index}");
            bench.write(place, &good);
        }
        let found = bench.replayed(&[30000, 30001, 30002, 30003]);
        assert_eq!(found, [1, 2, 4, 5], "{features:?}");
    }
}
