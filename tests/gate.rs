//! The last check before a volume is written: changes since the first check are reported, and
//! nothing is written.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ocfs2_device::{Device, DeviceOptions, OverlayDevice, open};
use ocfs2_format::dinode::Dinode;
use ocfs2_format::extent::{ExtentFlags, ExtentListHeader, ExtentRec};
use ocfs2_format::heartbeat::HeartbeatBlock;
use ocfs2_format::truncate_log::{TruncateLogHeader, TruncateRec};
use ocfs2_format::{Blkno, Cpos, Structure};
use ocfs2_testing::damage::{Base, Files, Image, edit_list, recipes};
use ocfs2_testing::{LoopDevice, Run, Scratch, fixture, program};
use ocfs2_volume::gate::{Gate, Planned};
use ocfs2_volume::usage::{State, Usage};
use ocfs2_volume::{SystemFile, Volume, VolumeOptions};

/// Returns a fixture that can be written to, in memory.
fn volume() -> (Volume, Arc<dyn Device>) {
    let device = open(&fixture("clean-4k-o2cb"), &DeviceOptions::default()).unwrap();
    let device: Arc<dyn Device> = Arc::new(OverlayDevice::new(device, 4096));
    (Volume::open(Arc::clone(&device), &VolumeOptions::default()).unwrap(), device)
}

/// Returns what a node writes to take slot `slot` when it mounts the volume, and the offset in
/// bytes.
fn slot_taken(volume: &Volume, slot: u16, node: u32) -> (u64, Vec<u8>) {
    let inode = volume.system_file(SystemFile::SlotMap).unwrap();
    let first = volume.tree(&inode).unwrap().extents().next().unwrap().unwrap().blkno;
    let mut block = volume.read_block(first).unwrap();
    assert!(volume.slot_map_format().set(&mut block, slot, Some(node)));
    (first.0 << volume.block_size().bits(), block)
}

/// Takes a slot, as a node does that mounts the volume.
fn take_slot(volume: &Volume, device: &dyn Device, slot: u16, node: u32) {
    let (offset, block) = slot_taken(volume, slot, node);
    device.write_at(&block, offset).unwrap();
}

fn beat(volume: &Volume, device: &dyn Device, node: u8, seq: u64) {
    beat_in(volume, device, device.sector_size() as usize, node, seq);
}

/// As [`beat`], with the sectors of another device.
fn beat_in(volume: &Volume, device: &dyn Device, sector: usize, node: u8, seq: u64) {
    let mut bytes = vec![0; sector];
    let mut block = HeartbeatBlock {
        hb_seq: seq,
        hb_node: node,
        hb_generation: 7,
        hb_dead_ms: 62_000,
        ..Default::default()
    };
    block.encode(&mut bytes).unwrap();
    block.hb_cksum = HeartbeatBlock::checksum(&bytes);
    block.encode(&mut bytes).unwrap();
    let region = volume.heartbeat_region().unwrap();
    device.write_at(&bytes, region.offset_bytes + u64::from(node) * sector as u64).unwrap();
}

#[test]
fn a_node_that_comes_meanwhile_shuts_the_gate_and_one_that_was_known_does_not() {
    let (volume, device) = volume();
    let known = Usage { without_slot: vec![(3, State::Live)], ..Usage::default() };
    let gate = Gate::of_volume(&volume, &known).unwrap();
    gate.open(Planned::default()).unwrap();
    beat(&volume, &device, 3, 1_700_000_000);
    take_slot(&volume, &device, 0, 3);
    let pass = gate.open(Planned::default()).unwrap();
    drop(pass);

    let refused = || gate.open(Planned::default()).err().unwrap().to_string();
    beat(&volume, &device, 1, 1_700_000_000);
    assert_eq!(refused(), "node 1 has written its heartbeat meanwhile");
    take_slot(&volume, &device, 1, 1);
    assert_eq!(refused(), "node 1 has taken slot 1 meanwhile");

    // A node that was there is alive, or was recovered.
    let gate = Gate::of_volume(&volume, &Usage::default()).unwrap();
    let refused = || gate.open(Planned::default()).err().unwrap().to_string();
    gate.open(Planned::default()).unwrap();
    beat(&volume, &device, 1, 1_700_000_002);
    assert_eq!(refused(), "node 1 has written its heartbeat meanwhile");
}

#[test]
fn a_beat_is_seen_among_more_that_another_size_of_a_sector_has_left() {
    let (volume, device) = volume();
    for node in 8..20 {
        beat_in(&volume, &device, 4096, node, 1_600_000_000);
    }
    beat_in(&volume, &device, 512, 1, 1_700_000_000);
    let gate = Gate::of_volume(&volume, &Usage::default()).unwrap();
    gate.open(Planned::default()).unwrap();
    beat_in(&volume, &device, 512, 1, 1_700_000_002);
    let refused = gate.open(Planned::default()).err().unwrap().to_string();
    assert_eq!(refused, "node 1 has written its heartbeat meanwhile");
}

/// Room in the pipe for the output before the volume has been read.
const EARLY: usize = 700;

/// Runs `fsck.ocfs2 -fy` on a damaged image, and `meddle` after `said` bytes of output, while it
/// works out the repairs. Returns its output and its exit status.
fn meddled(image: &Image, said: usize, meddle: impl FnOnce(&File)) -> (String, Option<i32>) {
    // It waits when the pipe that it writes to is full.
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&vec![b'-'; 65_536 - said]).unwrap();
    let (mut errors, error_writer) = std::io::pipe().unwrap();
    let mut fsck = Command::new(program("fsck.ocfs2"))
        .args(["-fyv"])
        .arg(image.path())
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(error_writer)
        .spawn()
        .unwrap();
    let wchan = format!("/proc/{}/wchan", fsck.id());
    let start = Instant::now();
    while !std::fs::read_to_string(&wchan).is_ok_and(|at| at.contains("pipe_write")) {
        assert!(start.elapsed() < Duration::from_secs(60), "it does not wait");
        assert_eq!(fsck.try_wait().unwrap(), None, "it did not wait");
        std::thread::sleep(Duration::from_millis(20));
    }
    meddle(image.raw());
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    errors.read_to_string(&mut text).unwrap();
    (text.trim_start_matches('-').to_owned(), fsck.wait().unwrap().code())
}

#[test]
fn a_repair_is_not_written_to_a_volume_that_changed_meanwhile() {
    let recipes = recipes();
    let recipe = recipes
        .iter()
        .find(|recipe| recipe.code == "CLUSTER_ALLOC_BIT" && recipe.found.len() == 1)
        .expect("there is such a recipe");
    let offset = |image: &Image| 2_u64 << image.volume().block_size().bits();
    let flip = |file: &File, at: u64| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
    };
    // The UUID, as if another volume were there.
    let uuid_at = 0xc0 + 0x90;
    // All images have the same contents.
    let before = recipe.image().contents_digest();
    for (what, at) in [("another volume is on the device now", uuid_at), ("superblock", 0x1ff)] {
        let image = recipe.image();
        let at = offset(&image) + at;
        let (text, status) = meddled(&image, EARLY, |file| flip(file, at));
        flip(image.raw(), at);
        assert!(status == Some(8) && text.contains(what), "{status:?} {text}");
        assert!(text.contains("nothing was written"), "{text}");
        assert_eq!(image.contents_digest(), before, "it was written: {text}");
    }
    // The device is cut short.
    let image = recipe.image();
    let size = image.raw().metadata().unwrap().len();
    let (text, status) = meddled(&image, EARLY, |file| file.set_len(size / 2).unwrap());
    let told = format!("the device has {} bytes now, it had {size}", size / 2);
    assert!(status == Some(8) && text.contains(&told), "{status:?} {text}");
    assert!(text.contains("nothing was written"), "{text}");
    // Without any change the repair is written.
    let image = recipe.image();
    let groups = image.groups("global_bitmap").into_iter().map(|it| it.blkno);
    let groups: Vec<_> = groups.map(|blkno| (blkno, image.read(blkno))).collect();
    let (text, status) = meddled(&image, EARLY, |_| {});
    assert_eq!(status, Some(1), "{text}");

    // Unused bytes of a block that is to be written, after it has been read.
    let written = groups.iter().find(|(blkno, before)| image.read(*blkno) != *before).unwrap().0;
    let image = recipe.image();
    let at = written.0 * u64::from(image.volume().block_size().bytes()) + 0x38;
    let said = text.find("Repairs are worked out").unwrap();
    let (text, status) = meddled(&image, said + 8, |file| flip(file, at));
    flip(image.raw(), at);
    let told = format!("block {written}, which is to be written, was changed meanwhile");
    assert!(status == Some(8) && text.contains(&told), "{status:?} {text}");
    assert_eq!(image.contents_digest(), before, "it was written: {text}");
}

#[test]
fn without_a_cluster_it_is_said_once_that_others_are_only_watched() {
    let said = |fixture, of_device: bool| {
        let image = Base::Fixture(fixture).image();
        let disk = LoopDevice::attach(image.path(), &[])?;
        let path = if of_device { disk.path() } else { image.path() };
        let outcome = Run::new(program("fsck.ocfs2")).arg("-fy").arg(path).success();
        Some(outcome.stdout.matches("their heartbeat is watched instead").count())
    };
    let Some(times) = said("clean-4k-o2cb", true) else { return };
    assert_eq!(times, 1);
    // No other host uses an image, and a local volume has no other nodes.
    assert_eq!((said("clean-4k-o2cb", false), said("clean-1k-local", true)), (Some(0), Some(0)));
}

/// Makes a volume with a journal that has to be recovered; its clusters after the first one belong
/// to a file.
fn journal_over_file() -> Image {
    let image = Base::Fixture("clean-4k-o2cb").image();
    let volume = image.volume();
    let file = image.file();
    let record = image.first_record(&file);
    let journal = image.system("journal:0000");
    // The cluster that the recovery frees makes it write a transaction.
    let cluster = image.free_clusters(1);
    image.mark_cluster(cluster, true);
    image.edit_dinode(image.system("truncate_log:0000").blkno, |_, id2| {
        edit_list(id2, |log: &mut TruncateLogHeader, records: &mut [TruncateRec]| {
            log.tl_used = 1;
            records[0] = TruncateRec { t_start: cluster.0, t_clusters: 1 };
        });
    });
    let (own, bits) = (volume.journal(0).unwrap().blkno, volume.geometry().bpc_bits());
    image.edit_dinode(journal.blkno, |dinode, id2| {
        dinode.set_journal(Dinode::JOURNAL_DIRTY, dinode.journal_recovery_generation());
        let clusters = dinode.i_clusters;
        edit_list(id2, |list: &mut ExtentListHeader, records: &mut [ExtentRec]| {
            list.l_next_free_rec = 3;
            let (flags, of_file) = (ExtentFlags::empty(), record.e_leaf_clusters());
            let behind = Blkno(own.0 + (u64::from(of_file + 1) << bits));
            let rest = (clusters - 1) as u16 - of_file;
            records[0] = ExtentRec::leaf(Cpos(0), 1, flags, own);
            records[1] = ExtentRec::leaf(Cpos(1), of_file, flags, record.e_blkno);
            records[2] = ExtentRec::leaf(Cpos(u32::from(of_file) + 1), rest, flags, behind);
        });
    });
    image
}

/// Makes a volume with a slot that has to be recovered, and with an extent of a file in the place
/// of the slot map.
fn file_over_slot_map() -> Image {
    let image = Base::Fixture("clean-4k-o2cb").image();
    let map = image.first_record(&image.system("slot_map")).e_blkno;
    let (volume, mut slots) = (image.volume(), image.read(map));
    assert!(volume.slot_map_format().set(&mut slots, 0, Some(0)));
    image.write(map, &slots);
    image.edit_dinode(image.system("journal:0000").blkno, |dinode, _| {
        dinode.set_journal(Dinode::JOURNAL_DIRTY, dinode.journal_recovery_generation());
    });
    image.edit_dinode(image.file().blkno, |_, id2| {
        edit_list(id2, |_: &mut ExtentListHeader, records: &mut [ExtentRec]| {
            records[0].e_blkno = map;
        });
    });
    image
}

#[test]
fn a_recovery_does_not_write_over_a_file_in_the_place_of_the_slot_map() {
    let image = file_over_slot_map();
    let (before, expected) = (image.contents_digest(), Files::of(image.path()));
    let run = |option: &str| Run::new(program("fsck.ocfs2")).arg(option).arg(image.path()).output();
    let preened = run("-p").expect_status(4);
    assert!(preened.stdout.contains("nothing is written"), "{preened}");
    assert!(image.contents_digest() == before, "{preened}");
    let repaired = run("-fy").expect_status(1);
    let lost = expected.lost(&Files::of(image.path()));
    // The copy that the file gets may contain the slot map with the freed slot; that is reported
    // then.
    assert!(lost.iter().all(|path| repaired.stdout.contains(path)), "{lost:?} {repaired}");
    assert!(image.volume().taken_slots().unwrap().is_empty(), "{repaired}");
    run("-fn").expect_status(0);
}

#[test]
fn a_recovery_does_not_write_over_a_file_that_a_journal_claims() {
    let expected = Files::of(journal_over_file().path());
    let run = |image: &Path, options: &[&str]| {
        Run::new(program("fsck.ocfs2")).args(options).arg(image).output()
    };
    let image = journal_over_file();
    let before = image.contents_digest();
    let preened = run(image.path(), &["-p"]);
    assert!(preened.stdout.contains("nothing is written"), "{preened}");
    assert_eq!((preened.status, image.contents_digest() == before), (4, true), "{preened}");

    let repaired = run(image.path(), &["-fy"]);
    assert!(repaired.stdout.contains("[DUP_CLUSTERS_SYSFILE_CLONE]"), "{repaired}");
    assert_eq!(repaired.status, 1, "{repaired}");
    let lost = expected.lost(&Files::of(image.path()));
    assert!(lost.is_empty(), "{lost:?} {repaired}");
    let again = run(image.path(), &["-fn"]);
    assert_eq!(again.status, 0, "{again}");
}

/// Runs a program that overwrites a volume up to its question, and `meddle` before it is answered.
/// Returns its error output and its exit status.
fn asked(
    program: &mut Command,
    image: &Image,
    meddle: impl FnOnce(&File, u32),
) -> (String, Option<i32>) {
    let streams = program.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut running = streams.spawn().unwrap();
    let mut errors = running.stderr.take().unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"(y/N): ") {
        let mut byte = [0];
        errors.read_exact(&mut byte).expect("a question");
        text.push(byte[0]);
    }
    meddle(image.raw(), running.id());
    // A program that has ended reads no answer.
    let _ = running.stdin.take().unwrap().write_all(b"y\n");
    errors.read_to_end(&mut text).unwrap();
    (String::from_utf8_lossy(&text).into_owned(), running.wait().unwrap().code())
}

fn mkfs_over(image: &Image) -> Command {
    let mut mkfs = Command::new(program("mkfs.ocfs2"));
    mkfs.args(["-M", "local"]).arg(image.path());
    mkfs
}

/// Runs a program that asks before it overwrites a volume, and replaces the volume before the
/// answer.
#[track_caller]
fn assert_not_overwritten(program: &mut Command, image: &Image) {
    let before = image.contents_digest();
    let uuid_at = (2 << image.volume().block_size().bits()) + 0xc0 + 0x90;
    let mut byte = [0];
    image.raw().read_exact_at(&mut byte, uuid_at).unwrap();
    let (text, status) =
        asked(program, image, |file, _| file.write_all_at(&[byte[0] ^ 1], uuid_at).unwrap());
    assert!(text.contains("another volume is on the device now"), "{text}");
    image.raw().write_all_at(&byte, uuid_at).unwrap();
    assert_eq!((status, image.contents_digest() == before), (Some(1), true), "{text}");
}

#[test]
fn a_volume_that_changes_while_o2image_asks_is_not_overwritten() {
    let image = Base::Fixture("clean-4k-o2cb").image();
    let scratch = Scratch::in_memory();
    let saved = scratch.join("saved");
    Run::new(program("o2image")).arg(fixture("clean-1k-local")).arg(&saved).success();
    let put = || {
        let mut put = Command::new(program("o2image"));
        put.arg("-I").arg(image.path()).arg(&saved);
        put
    };
    assert_not_overwritten(&mut put(), &image);
    // A node that mounts it meanwhile.
    let before = image.contents_digest();
    let (offset, taken) = slot_taken(image.volume(), 0, 1);
    let mut free = vec![0; taken.len()];
    image.raw().read_exact_at(&mut free, offset).unwrap();
    let (text, status) =
        asked(&mut put(), &image, |file, _| file.write_all_at(&taken, offset).unwrap());
    assert!(text.contains("slot 0") && text.contains("nothing was written"), "{text}");
    image.raw().write_all_at(&free, offset).unwrap();
    assert_eq!((status, image.contents_digest() == before), (Some(1), true), "{text}");

    // Overwriting anything other than a volume takes more than an answer.
    let other = scratch.image("other", 64 << 20);
    Run::new("mkfs.ext4").arg("-q").arg(&other).success();
    let over =
        |options: &str| Run::new(program("o2image")).arg(options).arg(&other).arg(&saved).output();
    let refused = over("-Iy").expect_status(1);
    assert!(refused.stderr.contains("ext4"), "{refused}");
    over("-IyF").expect_status(0);
    let found = Run::new("blkid").args(["-p", "-o", "value", "-s", "TYPE"]).arg(&other).success();
    assert_eq!(found.stdout.trim(), "ocfs2");
}

#[test]
fn a_volume_that_changes_while_mkfs_asks_is_not_overwritten() {
    let image = Base::Fixture("clean-4k-o2cb").image();
    assert_not_overwritten(&mut mkfs_over(&image), &image);
    let before = image.contents_digest();

    // A signal counts as an answer, too.
    let signalled = |signal: &str| {
        asked(&mut mkfs_over(&image), &image, |_, id| {
            let kill = Command::new("kill").args([signal, &id.to_string()]).status();
            assert!(kill.unwrap().success());
            std::thread::sleep(Duration::from_millis(500));
        })
    };
    for signal in ["-INT", "-TERM"] {
        let (text, status) = signalled(signal);
        assert_eq!((status, image.contents_digest() == before), (Some(130), true), "{text}");
    }
    assert_eq!(asked(&mut mkfs_over(&image), &image, |_, _| {}).1, Some(0));
}
