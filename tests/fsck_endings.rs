//! Repairs by fsck.ocfs2 that used to damage a file, or to leave something forever: each takes one
//! run, and what could be read before can be read afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::{self, OpenOptions};
use std::path::Path;

use ocfs2_device::{DeviceOptions, open};
use ocfs2_format::dinode::Dinode;
use ocfs2_format::dx::DxRoot;
use ocfs2_format::extent::{ExtentFlags, ExtentListHeader, ExtentRec};
use ocfs2_format::feature::Compat;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::local_alloc::LocalAlloc;
use ocfs2_format::superblock::SUPERBLOCK_BLKNO;
use ocfs2_format::{Blkno, Block, Cpos, Structure};
use ocfs2_testing::damage::{Base, Files, Image, edit_list};
use ocfs2_testing::{Outcome, Run, Scratch, oracle, program};
use ocfs2_volume::allocator::Group;
use ocfs2_volume::{Volume, VolumeOptions};

/// Makes a volume of the given size with the files that `fill` writes.
fn made(options: &[&str], size: &str, fill: impl FnOnce(&Path)) -> Image {
    let scratch = Scratch::new();
    let (folder, path) = (scratch.join("src"), scratch.join("made.img"));
    fs::create_dir(&folder).unwrap();
    fill(&folder);
    let mkfs = Run::new(program("mkfs.ocfs2")).args(["-q", "--seed", "1", "-M", "local"]);
    mkfs.args(options).arg("-d").arg(&folder).arg(&path).arg(size).success();
    Image::open(path, scratch)
}

fn fsck(image: &Image, options: &str) -> Outcome {
    Run::new(program("fsck.ocfs2")).arg(options).arg(image.path()).output()
}

/// Demands that one run repairs everything and loses no file.
fn ends_in_one_run(image: &Image) -> Outcome {
    let before = Files::of(image.path());
    let repaired = fsck(image, "-fy");
    assert_eq!(repaired.status, 1, "{repaired}");
    let again = fsck(image, "-fn");
    assert_eq!(again.status, 0, "{repaired}\n{again}");
    assert_eq!(before.lost(&Files::of(image.path())), [""; 0], "{repaired}");
    repaired
}

/// Moves the data of a file of one cluster to block `place`, whose contents are lost.
fn with_file_at(image: &Image, place: Blkno) {
    let file = image.inode("/file");
    let record = image.first_record(&file);
    let data = image.read(record.e_blkno);
    image.write(place, &data);
    image.edit_dinode(file.blkno, |_, id2| {
        edit_list(id2, |_: &mut ExtentListHeader, records: &mut [ExtentRec]| {
            records[0].e_blkno = place;
        });
    });
}

fn one_file(folder: &Path) {
    fs::write(folder.join("file"), b"sixteen bytes..\n".repeat(256)).unwrap();
}

const PLAIN_4K: [&str; 8] = ["-N", "1", "-b", "4K", "-C", "4K", "-J", "size=4M"];

#[test]
fn a_file_where_a_backup_of_the_superblock_belongs_is_moved_first() {
    let options = [&PLAIN_4K[..], &["--fs-features=nobackup-super"]].concat();
    let image = || {
        let image = made(&options, "1100M", one_file);
        with_file_at(&image, Blkno(262_144));
        image.edit_superblock(SUPERBLOCK_BLKNO, |_, it| {
            it.s_feature_compat |= Compat::BACKUP_SB.bits();
        });
        image
    };
    ends_in_one_run(&image());

    // With -p both stay as they are.
    let left = image();
    let before = (Files::of(left.path()), left.read(Blkno(262_144)));
    let preened = fsck(&left, "-fp");
    assert_eq!(preened.status & !1, 4, "{preened}");
    assert_eq!(before.0.lost(&Files::of(left.path())), [""; 0]);
    assert!(before.1 == left.read(Blkno(262_144)), "{preened}");
}

#[test]
fn a_file_where_a_group_descriptor_belongs_is_moved_first() {
    let image = || {
        let image = made(&PLAIN_4K, "300M", one_file);
        with_file_at(&image, Blkno(32_256));
        image
    };
    ends_in_one_run(&image());

    let left = image();
    let before = left.read(Blkno(32_256));
    let preened = fsck(&left, "-fp");
    assert_eq!(preened.status & !1, 4, "{preened}");
    assert!(before == left.read(Blkno(32_256)), "{preened}");
}

#[test]
fn a_lost_group_and_a_lost_index_do_not_wait_for_each_other() {
    let options = ["-N", "1", "-b", "512", "-C", "1M", "-J", "size=16M"];
    let image = made(&options, "100M", |folder| {
        fs::create_dir(folder.join("many")).unwrap();
        for number in 0..600 {
            fs::write(folder.join(format!("many/with a rather long name {number}")), "").unwrap();
        }
    });
    let root = image.inode("/many").dinode.i_dx_root;
    assert_eq!(image.volume().geometry().groups(), 1);
    let group = image.volume().geometry().first_group;
    for blkno in [root, group] {
        image.edit_raw(blkno, |block| block.fill(0));
    }
    ends_in_one_run(&image);
}

#[test]
fn a_wrong_bit_in_the_signature_of_an_index_or_an_inode_loses_nothing() {
    for features in ["--fs-features=metaecc,indexed-dirs", "--fs-features=indexed-dirs"] {
        let options = [&PLAIN_4K[..], &[features]].concat();
        let image = made(&options, "64M", |folder| {
            one_file(folder);
            fs::create_dir(folder.join("many")).unwrap();
            for number in 0..200 {
                fs::write(folder.join(format!("many/a rather long name {number}")), "").unwrap();
            }
        });
        let before = Files::of(image.path());
        // If there is a block check, that of the first one shows which bit is wrong.
        image.edit_raw(image.inode("/file").blkno, |block| block[1] ^= 1);
        image.edit_dinode(image.inode("/many/a rather long name 7").blkno, |dinode, _| {
            dinode.i_signature[3] ^= 0x11;
        });
        image.edit_dx_root(image.inode("/many").dinode.i_dx_root, |root, _| {
            assert_eq!(root.dr_signature, DxRoot::SIGNATURE);
            root.dr_signature[2] ^= 0x40;
        });
        ends_in_one_run(&image);
        assert_eq!(before.lost(&Files::of(image.path())), [""; 0]);
    }
}

#[test]
fn a_window_of_a_local_alloc_over_metadata_is_given_up() {
    let image = made(&PLAIN_4K, "64M", one_file);
    image.edit_dinode(image.system("local_alloc:0000").blkno, |dinode, id2| {
        dinode.set_bitmap(0, 64);
        let alloc = LocalAlloc::decode(id2).unwrap();
        LocalAlloc { la_bm_off: 0, ..alloc }.encode(id2).unwrap();
    });
    ends_in_one_run(&image);
}

#[test]
fn a_superblock_of_which_only_the_checksum_is_wrong_is_used() {
    let options = [&PLAIN_4K[..], &["--fs-features=metaecc"]].concat();
    let image = made(&options, "64M", one_file);
    image.edit_raw(SUPERBLOCK_BLKNO, |block| {
        block[Dinode::CHECK_OFFSET..Dinode::CHECK_OFFSET + 6].copy_from_slice(b"garble");
    });
    let outcome = ends_in_one_run(&image);
    assert!(outcome.stdout.contains("[BLOCK_ECC] Superblock 2"), "{outcome}");

    // Fields that contradict the rest of the volume are repaired as well.
    image.edit_raw(SUPERBLOCK_BLKNO, |block| {
        // s_system_dir_blkno
        block[0xf0] ^= 0x7f;
        block[0x9a] ^= 0xff;
    });
    let outcome = ends_in_one_run(&image);
    assert!(outcome.stdout.contains("[SUPERBLOCK_FIELD]"), "{outcome}");
}

#[test]
fn slots_that_another_program_could_not_finish_are_taken_back() {
    let Some(tunefs) = oracle("tunefs.ocfs2") else { return };
    let image = made(&PLAIN_4K, "32M", one_file);
    let grown = Run::new(tunefs).args(["-y", "-N", "16"]).arg(image.path()).output();
    assert_ne!(grown.status, 0, "there was room for all: {grown}");
    let outcome = ends_in_one_run(&image);
    assert!(outcome.stdout.contains("SYSTEM_FILE_SURPLUS"), "{outcome}");
    let device = open(image.path(), &DeviceOptions::default()).unwrap();
    let volume = Volume::open(device, &VolumeOptions::default()).unwrap();
    assert_eq!(volume.superblock().s_max_slots, 1, "{outcome}");
}

#[test]
fn a_group_whose_place_is_a_files_is_made_once_that_has_left() {
    // The cluster after it belongs to the file as well.
    let image = made(&PLAIN_4K, "300M", |folder| {
        fs::write(folder.join("file"), b"more than one cluster of data\n".repeat(2048)).unwrap();
    });
    let file = image.inode("/file");
    let record = image.first_record(&file);
    let clusters = u64::from(record.e_leaf_clusters());
    let place = 32_256 - clusters / 2;
    for at in 0..clusters {
        let data = image.read(Blkno(record.e_blkno.0 + at));
        image.write(Blkno(place + at), &data);
    }
    image.edit_dinode(file.blkno, |_, id2| {
        edit_list(id2, |_: &mut ExtentListHeader, records: &mut [ExtentRec]| {
            records[0].e_blkno = Blkno(place);
        });
    });
    ends_in_one_run(&image);
    let group = image.read(Blkno(32_256));
    assert!(group.starts_with(&GroupDesc::SIGNATURE));
}

#[test]
fn a_superblock_with_too_many_clusters_is_one_finding() {
    let image = made(&PLAIN_4K, "64M", one_file);
    let clusters = image.volume().geometry().clusters;
    for wrong in [clusters + 1, 0x8000_0000, u32::MAX] {
        image.edit_superblock(SUPERBLOCK_BLKNO, |dinode, _| dinode.i_clusters = wrong);
        let outcome = ends_in_one_run(&image);
        let found: Vec<_> = outcome.stdout.lines().filter(|line| line.starts_with('[')).collect();
        assert!(
            matches!(found[..], [line] if line.starts_with("[SUPERBLOCK_CLUSTERS]")),
            "{outcome}"
        );
    }
    // If the device was cut, the device is what is too short.
    let half = u64::from(clusters) * 4096 / 2;
    OpenOptions::new().write(true).open(image.path()).unwrap().set_len(half).unwrap();
    let outcome = fsck(&image, "-fy").expect_status(4);
    assert!(outcome.stdout.contains("[DEVICE_SHORT]"), "{outcome}");
}

#[test]
fn a_wrong_digit_in_the_name_of_a_slots_file_makes_no_slots() {
    let options = ["-N", "2", "-b", "4K", "-C", "4K", "-J", "size=4M"];
    for name in ["inode_alloc:0000", "journal:0001", "extent_alloc:0001"] {
        let image = made(&options, "64M", one_file);
        let own = image.system(name).blkno;
        image.edit_entry(image.volume().superblock().s_system_dir_blkno, name, |_, bytes| {
            bytes[name.len() - 4..name.len()].copy_from_slice(b"0130");
        });
        let outcome = ends_in_one_run(&image);
        let device = open(image.path(), &DeviceOptions::default()).unwrap();
        let volume = Volume::open(device, &VolumeOptions::default()).unwrap();
        assert_eq!(volume.superblock().s_max_slots, 2, "{outcome}");
        assert_eq!(volume.system_file_named(name).unwrap().blkno, own, "{outcome}");
    }
}

#[test]
fn slots_whose_files_lost_their_names_stay() {
    let options = ["-N", "2", "-b", "4K", "-C", "4K", "-J", "size=4M"];
    let image = made(&options, "64M", one_file);
    let journal = image.system("journal:0001").blkno;
    let dir = image.volume().superblock().s_system_dir_blkno;
    // No entry after this one can be read.
    image.edit_entry(dir, "orphan_dir:0000", |header, _| header.rec_len = 30);
    let outcome = ends_in_one_run(&image);
    let device = open(image.path(), &DeviceOptions::default()).unwrap();
    let volume = Volume::open(device, &VolumeOptions::default()).unwrap();
    assert_eq!(volume.superblock().s_max_slots, 2, "{outcome}");
    assert!(!outcome.stdout.contains("[SUPERBLOCK_SLOTS]"), "{outcome}");
    assert_eq!(volume.system_file_named("journal:0001").unwrap().blkno, journal, "{outcome}");
}

#[test]
fn a_file_that_claims_the_whole_volume_gives_up_what_is_others() {
    let image = made(&PLAIN_4K, "64M", |folder| {
        one_file(folder);
        fs::write(folder.join("other"), b"not of the first\n".repeat(4096)).unwrap();
    });
    let clusters = image.volume().geometry().clusters as u16 - 1;
    image.edit_dinode(image.inode("/file").blkno, |dinode, id2| {
        (dinode.i_clusters, dinode.i_size) = (clusters.into(), u64::from(clusters) * 4096);
        edit_list(id2, |_: &mut ExtentListHeader, records: &mut [ExtentRec]| {
            records[0] = ExtentRec::leaf(Cpos(0), clusters, ExtentFlags::empty(), Blkno(1));
        });
    });
    let before = Files::of(image.path());
    let repaired = fsck(&image, "-fy").expect_status(1);
    fsck(&image, "-fn").expect_status(0);
    let lost = before.lost(&Files::of(image.path()));
    assert!(lost.iter().all(|path| path == "/file"), "{lost:?}: {repaired}");
}

#[test]
fn wrong_lengths_in_the_system_directory_hide_no_file_for_ever() {
    // The blocks are so small that the directory has several, and they are nearly full.
    let options = ["-N", "4", "-b", "512", "-C", "4K", "-J", "size=4M"];
    for wrong in [&["."][..], &["orphan_dir:0000"], &["orphan_dir:0000", "."]] {
        let image = made(&options, "64M", one_file);
        let dir = image.volume().superblock().s_system_dir_blkno;
        for name in wrong {
            let length = if *name == "." { 0 } else { 0xffff };
            image.edit_entries(dir, name, |bytes, offset| {
                bytes[offset + 8..offset + 10].copy_from_slice(&u16::to_le_bytes(length));
            });
        }
        ends_in_one_run(&image);
    }
}

#[test]
fn a_lost_block_of_the_system_directory_is_made_again() {
    let cases: [(&[&str], &[&str]); 3] = [
        (&["-N", "40", "-b", "4K", "-C", "4K", "-J", "size=4M"], &[]),
        (&["-N", "2", "-b", "512", "-C", "4K", "-J", "size=4M"], &[]),
        // The group that contains the global bitmap's inode is not the one of the other system
        // inodes.
        (
            &["-N", "2", "-b", "512", "-C", "4K", "-J", "size=4M"],
            &["global_inode_alloc", "heartbeat"],
        ),
    ];
    for (options, lost) in cases {
        let image = made(options, "512M", one_file);
        let inodes: Vec<_> = lost.iter().map(|name| image.system(name).blkno).collect();
        let dir = image.volume().system_dir().unwrap();
        let first = image.first_record(&dir).e_blkno;
        for blkno in inodes.into_iter().chain([first]) {
            image.edit_raw(blkno, |block| block.fill(0));
        }
        ends_in_one_run(&image);
    }
}

/// A piece of a group of inodes, none of which is in use, begins within a group of extent blocks.
/// These are copied, and those of a refcount tree point to each other.
#[test]
fn blocks_of_a_refcount_tree_that_are_in_no_group_are_moved_together() {
    let image = Base::Fixture("clean-4k-o2cb").image();
    let group = image.groups("inode_alloc:0001").into_iter().rfind(Group::is_discontiguous);
    let group = group.unwrap().blkno;
    let within = Blkno(image.groups("extent_alloc:0001")[0].blkno.0 + 12);
    image.edit_block(group, GroupDesc::CHECK_OFFSET, |block| {
        let list = &mut block[GroupDesc::LIST_OFFSET..];
        edit_list(list, |header: &mut ExtentListHeader, records: &mut [ExtentRec]| {
            records[usize::from(header.l_next_free_rec) - 1].e_blkno = within;
        });
    });
    let before = Files::of(image.path());
    let repaired = fsck(&image, "-fyF");
    assert_eq!(repaired.status, 1, "{repaired}");
    assert!(repaired.stdout.contains("[BLOCK_UNALLOCATED] Refcount block"), "{repaired}");
    let again = fsck(&image, "-fn");
    assert_eq!(again.status, 0, "{repaired}\n{again}");
    assert_eq!(before.lost(&Files::of(image.path())), [""; 0], "{repaired}");
}

/// Blocks of a directory without an index have no trailers: names reach to their ends.
#[test]
fn a_directory_that_only_lacks_an_index_keeps_every_name() {
    for form in ["-b 512 -C 4K", "-b 1K -C 4K", "-b 4K -C 4K"] {
        let scratch = Scratch::in_memory();
        let image = scratch.image("volume.img", 64 << 20);
        let mkfs = Run::new(program("mkfs.ocfs2")).args(["-q", "-F", "-M", "local", "-N", "1"]);
        let mkfs = mkfs.args(["-J", "size=4M", "--fs-features=noindexed-dirs,noinline-data"]);
        mkfs.args(form.split(' ')).arg(&image).success();
        let mut lines = String::from("mkdir /many\n");
        for number in 0..600 {
            let end = "z".repeat(number * 7 % 60);
            lines += &format!("mknod /many/n{number}{end} p\n");
        }
        let debugfs = || Run::new(program("debugfs.ocfs2"));
        debugfs().args(["-n", "-w"]).arg(&image).stdin(lines).success();
        let names = || {
            let list = debugfs().args(["-R", "ls /many"]).arg(&image).success().stdout;
            let names = list.lines().filter_map(|line| line.split_whitespace().nth(4));
            names.map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
        };
        let before = names();
        assert_eq!(before.len(), 602, "{form}");
        let shown = debugfs().args(["-R", "print <2>.s_feature_incompat"]).arg(&image).success();
        let bits = shown.stdout.split_whitespace().rev();
        let bits: Vec<u32> = bits.filter_map(|word| word.parse().ok()).collect();
        let bits = bits.first().unwrap_or_else(|| panic!("{shown}"))
            | ocfs2_format::feature::Incompat::INDEXED_DIRS.bits();
        let set = format!("ssv --direct feature_incompat {bits}");
        debugfs().args(["-w", "-R", &set]).arg(&image).success();
        let fsck = |option: &str| Run::new(program("fsck.ocfs2")).arg(option).arg(&image).output();
        let done = fsck("-fy").expect_status(1);
        assert!(done.stdout.contains("[DX_TREE_MISSING]"), "{form}: {done}");
        assert!(!done.stdout.contains("NOT_CONNECTED"), "{form}: {done}");
        assert!(names() == before, "{form}");
        fsck("-fn").expect_status(0);
    }
}
