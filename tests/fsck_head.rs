//! An unusable superblock on a volume without a backup of it: it is rebuilt from the rest of the
//! volume, and nothing is written if that leaves a doubt.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails is a failed test")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use ocfs2_format::dinode::Dinode;
use ocfs2_format::feature::{Compat, Incompat, RoCompat};
use ocfs2_format::slot_map::SlotMapFormat;
use ocfs2_format::superblock::{SUPERBLOCK_BLKNO, SuperBlock};
use ocfs2_format::{Blkno, Block, Structure};
use ocfs2_testing::damage::{Base, Files, Image, c_fsck, complaints};
use ocfs2_testing::{Outcome, Run, Scratch, oracle, program, while_beating};
use ocfs2_tests::assert_as_manifest;
use serde_json::Value;

fn fsck(image: &Path, options: &[&str]) -> Outcome {
    Run::new(program("fsck.ocfs2")).args(options).arg(image).output()
}

/// Returns a fixture in which nothing is found.
fn base(name: &'static str) -> Base {
    match name {
        "clean-512-local" => Base::Repaired(name),
        _ => Base::Fixture(name),
    }
}

type Damage = fn(&mut Dinode, &mut SuperBlock);

/// Fields with values that make it impossible to open a volume, alone and together.
const FIELDS: [(&str, Damage); 17] = [
    ("i_signature: as wipefs leaves it", |dinode, _| dinode.i_signature[..6].fill(0)),
    ("i_blkno", |dinode, _| dinode.i_blkno = Blkno(77)),
    ("i_fs_generation and i_blkno", |dinode, _| {
        (dinode.i_fs_generation, dinode.i_blkno) = (7, Blkno(7));
    }),
    ("i_clusters and i_blkno", |dinode, _| (dinode.i_clusters, dinode.i_blkno) = (0, Blkno(0))),
    ("s_blocksize_bits: none", |_, it| it.s_blocksize_bits = 200),
    ("s_blocksize_bits: another one", |_, it| it.s_blocksize_bits ^= 1),
    ("s_clustersize_bits", |_, it| it.s_clustersize_bits = 99),
    ("s_root_blkno", |_, it| it.s_root_blkno = Blkno(u64::MAX)),
    ("s_system_dir_blkno", |_, it| it.s_system_dir_blkno = Blkno(0)),
    ("both", |_, it| (it.s_root_blkno, it.s_system_dir_blkno) = (Blkno(1), Blkno(1 << 40))),
    ("s_first_cluster_group", |_, it| it.s_first_cluster_group = Blkno(u64::MAX)),
    ("s_max_slots: 0", |_, it| it.s_max_slots = 0),
    ("s_max_slots: too many", |_, it| it.s_max_slots = 9999),
    ("HEARTBEAT_DEV", |_, it| it.s_feature_incompat |= Incompat::HEARTBEAT_DEV.bits()),
    ("s_feature_incompat: one bit, and nothing of what there is", |_, it| {
        it.s_feature_incompat = 0x8000_0000;
    }),
    ("s_tunefs_flag: garbage", |_, it| {
        it.s_feature_incompat |= Incompat::TUNEFS_INPROG.bits();
        it.s_tunefs_flag = 0xa5a5;
    }),
    ("all numbers", |dinode, it| {
        dinode.i_blkno = Blkno(0x1234_5678);
        (it.s_clustersize_bits, it.s_max_slots) = (0, 0xffff);
        (it.s_root_blkno, it.s_system_dir_blkno) = (Blkno(0), Blkno(0));
        it.s_first_cluster_group = Blkno(0);
    }),
];

/// Returns the superblock without what each run of fsck.ocfs2 sets, and its incompatible features
/// separately: additional ones that such a volume may have do no harm.
fn told(image: &Image) -> (Dinode, SuperBlock, u32) {
    let block = image.read(SUPERBLOCK_BLKNO);
    let dinode = Dinode::decode(&block).unwrap();
    let superblock = SuperBlock::of_block(&block).unwrap();
    let incompat = superblock.s_feature_incompat;
    let dinode = Dinode { i_check: Default::default(), ..dinode };
    let superblock =
        SuperBlock { s_lastcheck: 0, s_mnt_count: 0, s_feature_incompat: 0, ..superblock };
    (dinode, superblock, incompat)
}

#[test]
fn a_field_that_can_not_be_is_mended_by_what_is_around_it() {
    for base in ["clean-512-local", "clean-2k-local", "clean-4k-o2cb"].map(base) {
        let sound = base.image();
        let before = Files::of(sound.path());
        let head = told(&sound);
        for (name, damage) in FIELDS {
            let image = base.image();
            image.edit_superblock(SUPERBLOCK_BLKNO, damage);
            let story = |outcome: &Outcome| format!("{base:?}, {name}: {outcome}");
            let digest = image.digest();
            let preened = fsck(image.path(), &["-fpF"]);
            assert_eq!(preened.status, 8, "{}", story(&preened));
            assert!(preened.stderr.contains("fsck.ocfs2 -y "), "{}", story(&preened));
            // No kernel mounts it, so it is checked without -f as well.
            for options in ["-fnF", "-nF"] {
                let looked = fsck(image.path(), &[options]);
                assert_eq!(looked.status, 4, "{}", story(&looked));
            }
            assert!(image.digest() == digest, "{base:?}, {name}: it was written to");
            let mended = fsck(image.path(), &["-fyF"]);
            assert_eq!(mended.status, 1, "{}", story(&mended));
            assert!(mended.stdout.contains("all corrected"), "{}", story(&mended));
            let again = fsck(image.path(), &["-fnF"]);
            assert_eq!(again.status, 0, "{}", story(&again));
            let now = told(&image);
            assert_eq!((&now.0, &now.1), (&head.0, &head.1), "{base:?}, {name}");
            // A local volume of several slots cannot be told from a cluster volume.
            let kept = head.2 & !Incompat::LOCAL_MOUNT.bits();
            assert_eq!(now.2 & kept, kept, "{base:?}, {name}: {:#x} {:#x}", now.2, head.2);
            assert_eq!(before.lost(&Files::of(image.path())), [""; 0], "{base:?}, {name}");
        }
    }
}

#[test]
fn wrong_bits_under_a_checksum_are_no_features_of_a_later_age() {
    let image = base("clean-512-local").image();
    image.edit_raw(SUPERBLOCK_BLKNO, |block| {
        let mut superblock = SuperBlock::of_block(block).unwrap();
        superblock.s_feature_compat |= 0x40;
        superblock.s_feature_ro_compat |= 0x800;
        superblock.s_label[40] ^= 1;
        superblock.encode(&mut block[Dinode::ID2_OFFSET..]).unwrap();
    });
    fsck(image.path(), &["-fy"]).expect_status(1);
    fsck(image.path(), &["-fn"]).expect_status(0);
    // If the checksum matches, they may be features of a later version.
    let image = base("clean-512-local").image();
    image.edit_superblock(SUPERBLOCK_BLKNO, |_, it| it.s_feature_incompat |= 0x1_0000);
    let digest = image.digest();
    for options in ["-fy", "-fn", "-fp"] {
        let outcome = fsck(image.path(), &[options]).expect_status(8);
        assert!(outcome.stderr.contains("features that are not known"), "{outcome}");
    }
    assert!(image.digest() == digest, "it was written to");
}

#[test]
fn a_superblock_that_is_gone_is_made_again() {
    let bases =
        ["clean-512-local", "clean-1k-local", "clean-2k-local", "clean-4k-o2cb", "clean-1m-global"];
    for name in bases {
        let base = base(name);
        let image = base.image();
        let (before, uuid) = (Files::of(image.path()), image.volume().superblock().uuid());
        image.edit_raw(SUPERBLOCK_BLKNO, |block| block.fill(0));
        let digest = image.digest();
        fsck(image.path(), &["-fpF"]).expect_status(8);
        fsck(image.path(), &["-fnF"]).expect_status(4);
        assert!(image.digest() == digest, "{name}: it was written to");
        let made = fsck(image.path(), &["-fyF", "--json"]).expect_status(1);
        let report: Value = serde_json::from_str(&made.stdout).unwrap();
        let lost: Vec<_> =
            report["lost"].as_array().unwrap().iter().map(|it| &it["lost"]).collect();
        assert_eq!(lost, [&serde_json::json!(["superblock"])], "{name}: {report:#}");
        fsck(image.path(), &["-fnF"]).expect_status(0);
        let again = Image::open(image.path().to_owned(), Scratch::new());
        assert_eq!(again.volume().superblock().uuid(), uuid, "{name}");
        assert_eq!(before.lost(&Files::of(image.path())), [""; 0], "{name}");
        if oracle("fsck.ocfs2").is_some() {
            let theirs = c_fsck(image.path(), "-fn");
            // A rebuilt index has hashes of names with bytes from 0x80 on that the C fsck does not
            // know.
            let codes = theirs.codes_beyond(&complaints(base, "-fn")).into_iter();
            let codes: Vec<_> = codes.filter(|code| code != "DX_LOOKUP_FAILED").collect();
            assert_eq!(codes, [""; 0], "{name}");
        }
    }
}

#[test]
fn what_was_written_over_a_volume_is_left_alone() {
    let small = base("clean-4k-o2cb").image();
    let with_backup =
        Base::Made(&["-M", "local", "-N", "1", "-b", "4K", "-C", "4K"], "1100M").image();
    for image in [small, with_backup] {
        // As `wipefs` and `mkswap` leave it: the rest of our superblock is still there.
        image.edit_raw(SUPERBLOCK_BLKNO, |block| block[..8].fill(0));
        let swap = b"SWAPSPACE2";
        image.raw().write_all_at(&[1, 0, 0, 0, 255, 0, 0, 0], 1024).unwrap();
        image.raw().write_all_at(swap, 4096 - swap.len() as u64).unwrap();
        let digest = image.digest();
        for options in ["-fyF", "-yF", "-fnF", "-fpF", "-fF"] {
            let outcome = fsck(image.path(), &[options]).expect_status(8);
            assert!(outcome.stderr.contains("it holds: swap"), "{outcome}");
        }
        assert!(image.digest() == digest, "it was written to");
        image.raw().write_all_at(&[0; 10], 4096 - swap.len() as u64).unwrap();
        fsck(image.path(), &["-fyF"]).expect_status(1);
        fsck(image.path(), &["-fnF"]).expect_status(0);
    }
}

#[test]
fn a_superblock_that_was_not_mended_is_not_written_to() {
    let image = base("clean-2k-local").image();
    image.edit_superblock(SUPERBLOCK_BLKNO, |_, it| it.s_root_blkno = Blkno(0));
    image.edit_dinode(image.inode("/xattrs-replaced-and-removed").blkno, |dinode, _| {
        dinode.i_links_count = 3
    });
    let before = image.read(SUPERBLOCK_BLKNO);
    // The superblock is used for this run but not written; the other finding is corrected.
    let answers = "maybe\ny\nn\ny\ny\ny\ny\n";
    let run = Run::new(program("fsck.ocfs2")).args(["-f"]).arg(image.path()).stdin(answers);
    let outcome = run.output().expect_status(5);
    assert!(outcome.stdout.contains("SUPERBLOCK_FIELD"), "{outcome}");
    assert!(outcome.stderr.contains("y is yes"), "{outcome}");
    assert!(image.read(SUPERBLOCK_BLKNO) == before, "{outcome}");
    let outcome = fsck(image.path(), &["-y"]).expect_status(1);
    assert!(outcome.stdout.contains("SUPERBLOCK_FIELD"), "{outcome}");
    fsck(image.path(), &["-fn"]).expect_status(0);
}

#[test]
fn who_holds_a_slot_of_such_a_volume_may_be_alive() {
    let gone: Damage = |dinode, superblock| {
        *dinode = Dinode { i_dyn_features: 0x5555, ..Dinode::default() };
        *superblock = SuperBlock::of_block(&[0; 4096]).unwrap();
    };
    let one_field: Damage = |dinode, superblock| {
        dinode.i_blkno = Blkno(0);
        superblock.s_cluster_info.ci_stackflags = 0;
    };
    let few_slots: Damage = |_, superblock| superblock.s_max_slots = 1;
    let none: Damage = |_, _| {};
    let pcmk = &["-N", "1", "--cluster-stack=pcmk", "--cluster-name=one"];
    for (base, slot, damage) in [
        (base("clean-1m-global"), 0, gone),
        (base("clean-1m-global"), 0, one_field),
        (base("clean-1m-global"), 2, few_slots),
        (Base::Made(pcmk, "64M"), 0, gone),
        (Base::Made(&["-N", "2", "-M", "local"], "64M"), 0, one_field),
        // The place where this one has its heartbeat has none of it.
        (base("clean-4k-o2cb"), 0, none),
    ] {
        let image = base.image();
        let map = image.system("slot_map");
        image.edit_raw(image.first_record(&map).e_blkno, |map| {
            assert!(SlotMapFormat::Extended.set(map, slot, Some(3)));
        });
        image.edit_superblock(SUPERBLOCK_BLKNO, damage);
        let digest = image.digest();
        let outcome = fsck(image.path(), &["-fy"]).expect_status(8);
        assert!(outcome.stderr.contains("perhaps in use by node 3"), "{base:?}: {outcome}");
        assert!(image.digest() == digest, "{base:?}: it was written to");
        fsck(image.path(), &["-fyF"]).expect_status(1);
    }
}

#[test]
fn a_wrong_bit_does_not_hide_that_others_may_use_the_volume() {
    const OPTIONS: &[&str] = &["-N", "2", "-b", "4K", "-C", "4K", "--fs-features=metaecc"];
    let image = Base::Made(OPTIONS, "64M").image();
    let map = image.system("slot_map");
    image.edit_raw(image.first_record(&map).e_blkno, |map| {
        assert!(SlotMapFormat::Extended.set(map, 0, Some(3)));
    });
    // With a bit of the label, so that the checksum does not correct it.
    image.edit_raw(SUPERBLOCK_BLKNO, |block| {
        let mut superblock = SuperBlock::of_block(block).unwrap();
        superblock.s_feature_incompat |= Incompat::LOCAL_MOUNT.bits();
        superblock.s_label[40] ^= 1;
        superblock.encode(&mut block[Dinode::ID2_OFFSET..]).unwrap();
    });
    let digest = image.digest();
    for options in ["-fy", "-p", "-fp"] {
        let outcome = fsck(image.path(), &[options]).expect_status(8);
        assert!(outcome.stderr.contains("in use by node 3"), "{outcome}");
    }
    assert!(image.digest() == digest, "it was written to");
}

#[test]
fn wrong_bits_of_a_superblock_get_no_new_checksum() {
    const OPTIONS: &[&str] = &["-M", "local", "-b", "4K", "-C", "4K", "--fs-features=metaecc"];
    let image = Base::Made(OPTIONS, "64M").image();
    image.edit_raw(SUPERBLOCK_BLKNO, |block| block[Dinode::ID2_OFFSET + 0x50] ^= 4);
    let before = image.read(SUPERBLOCK_BLKNO);
    let outcome = fsck(image.path(), &["-fp"]).expect_status(4);
    assert!(image.read(SUPERBLOCK_BLKNO) == before, "{outcome}");
    // Nothing is marked, and the next run sees it all the same.
    let outcome = fsck(image.path(), &["-n"]).expect_status(4);
    assert!(outcome.stdout.contains("BLOCK_ECC"), "{outcome}");
    fsck(image.path(), &["-y"]).expect_status(1);
    fsck(image.path(), &["-n"]).expect_status(0);
}

#[test]
fn features_that_the_superblock_has_lost_are_seen_by_the_files() {
    let (none, no_ro) = (Incompat::empty(), RoCompat::empty());
    let quotas = RoCompat::USRQUOTA | RoCompat::GRPQUOTA;
    for (name, incompat, ro_compat, is_without_dir) in [
        ("clean-1m-global", Incompat::SPARSE_ALLOC, RoCompat::UNWRITTEN, false),
        ("clean-1m-global", none, RoCompat::UNWRITTEN, false),
        ("clean-4k-o2cb", Incompat::REFCOUNT_TREE, no_ro, false),
        ("clean-1k-local", Incompat::all(), no_ro, false),
        ("clean-4k-o2cb", none, quotas, true),
        ("clean-1k-local", none, quotas, true),
        ("clean-2k-local", none, quotas, true),
    ] {
        let what = format!("{name} without {incompat:?}, {ro_compat:?}");
        let image = base(name).image();
        let volume = image.volume();
        image.edit_superblock(SUPERBLOCK_BLKNO, |_, superblock| {
            superblock.s_feature_incompat &= !incompat.bits();
            superblock.s_feature_ro_compat &= !ro_compat.bits();
        });
        if is_without_dir {
            image.edit_raw(volume.superblock().s_system_dir_blkno, |block| block.fill(0));
        }
        let outcome = fsck(image.path(), &["-fyF", "--json"]).expect_status(1);
        let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
        // Where all features are gone, the superblock is not known to be right.
        let lost = report["lost"].as_array().unwrap().iter();
        let mut of_files = lost.filter(|loss| loss["inode"] != SUPERBLOCK_BLKNO.0);
        assert_eq!(of_files.next(), None, "{what}: {report:#}");
        fsck(image.path(), &["-fnF"]).expect_status(0);
        let again = Image::open(image.path().to_owned(), Scratch::new());
        assert_as_manifest(again.volume(), name);
    }
}

#[test]
fn of_two_volumes_none_is_chosen() {
    let scratch = Scratch::new();
    let image = scratch.image("twice.img", 64 << 20);
    let mkfs = |options: &str| {
        let mkfs = Run::new(program("mkfs.ocfs2")).args(["-q", "-F", "-M", "local"]);
        mkfs.args(options.split(' ')).arg(&image).success();
    };
    mkfs("-b 4K -C 4K -N 1");
    let old = fs::read(&image).unwrap();
    mkfs("-b 1K -C 4K -N 1");
    // The system files of the older volume, somewhat after those of the new one.
    let file = File::options().write(true).open(&image).unwrap();
    let is_inode = |block: &[u8]| block.starts_with(&Dinode::SIGNATURE);
    for (number, block) in (0..).zip(old.chunks(4096)).filter(|(_, block)| is_inode(block)) {
        file.write_all_at(block, number * 4096).unwrap();
    }
    let gone = |file: &File| file.write_all_at(&[0; 4096], 2048).unwrap();
    gone(&file);
    let digest = fs::read(&image).unwrap();
    for options in ["-fy", "-fn"] {
        let outcome = fsck(&image, &[options]).expect_status(8);
        assert!(outcome.stderr.contains("is not an OCFS2 volume"), "{outcome}");
    }
    assert!(fs::read(&image).unwrap() == digest, "it was written to");
}

#[test]
fn a_seed_that_is_wrong_is_one_finding_a_directory_and_no_doubt_about_names() {
    let image = base("clean-1k-local").image();
    let before = Files::of(image.path());
    image.edit_superblocks(|_, it| it.s_dx_seed[1] ^= 0x100);
    let outcome = fsck(image.path(), &["-fy", "--json"]).expect_status(1);
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(report["lost"], serde_json::json!([]), "{report:#}");
    assert!(report["findings"].as_array().unwrap().len() < 10, "{report:#}");
    fsck(image.path(), &["-fn"]).expect_status(0);
    assert_eq!(before.lost(&Files::of(image.path())), [""; 0]);
    assert!(image.volume().features().compat.contains(Compat::BACKUP_SB));
}

/// Changes a volume by commands of `debugfs.ocfs2`.
fn debugfs(image: &Path, commands: &str) {
    let run = Run::new(program("debugfs.ocfs2")).arg("-w").arg(image).stdin(commands);
    run.output().expect_status(0);
}

/// Returns the superblock's features.
fn features(image: &Image) -> ocfs2_format::feature::Features {
    SuperBlock::of_block(&image.read(SUPERBLOCK_BLKNO)).unwrap().features()
}

/// Repairs a volume with status 1 and returns what it has lost, as (path, kinds of loss, doubt).
fn repaired(image: &Image, options: &str) -> Vec<(Option<String>, usize, bool)> {
    let outcome = fsck(image.path(), &[options, "--json"]).expect_status(1);
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let again = fsck(image.path(), &["-fn"]);
    assert_eq!(again.status, 0, "{again}");
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let lost = report["lost"].as_array().unwrap().iter();
    lost.map(|it| {
        let kinds = it["lost"].as_array().map_or(0, Vec::len);
        (text(&it["path"]), kinds, it["doubt"].is_string())
    })
    .collect()
}

#[test]
fn a_bit_of_the_features_is_corrected_by_what_the_volume_is() {
    const LOCAL: &[&str] = &["-N", "2", "-M", "local", "-b", "1K", "-C", "4K"];
    const CLUSTER: &[&str] = &["-N", "2", "-b", "4K", "-C", "4K"];
    const ECC: &[&str] = &["-M", "local", "-b", "4K", "-C", "4K", "--fs-features=metaecc"];
    const QUOTA: &[&str] =
        &["-M", "local", "-b", "4K", "-C", "4K", "--fs-features=usrquota,grpquota"];
    let incompat: fn(&mut SuperBlock, Incompat) =
        |superblock, bit| superblock.s_feature_incompat ^= bit.bits();
    type Change = fn(&mut SuperBlock, fn(&mut SuperBlock, Incompat));
    let cases: [(&str, &'static [&str], Change); 9] = [
        ("metaecc", LOCAL, |it, flip| flip(it, Incompat::META_ECC)),
        ("extended-slotmap", LOCAL, |it, flip| flip(it, Incompat::EXTENDED_SLOT_MAP)),
        ("extended-slotmap", CLUSTER, |it, flip| flip(it, Incompat::EXTENDED_SLOT_MAP)),
        ("clusterinfo", LOCAL, |it, flip| flip(it, Incompat::CLUSTERINFO)),
        ("userspace", CLUSTER, |it, flip| flip(it, Incompat::USERSPACE_STACK)),
        ("indexed-dirs", LOCAL, |it, flip| flip(it, Incompat::INDEXED_DIRS)),
        ("indexed-dirs", ECC, |it, flip| flip(it, Incompat::INDEXED_DIRS)),
        ("quota", QUOTA, |it, _| it.s_feature_ro_compat = RoCompat::UNWRITTEN.bits()),
        ("compat", LOCAL, |it, _| it.s_feature_compat = u32::MAX),
    ];
    for (name, options, change) in cases {
        let image = Base::Made(options, "64M").image();
        let names: String = (0..80).map(|name| format!("mkdir /d/{name:0>60}\n")).collect();
        debugfs(image.path(), &format!("mkdir /d\n{names}"));
        let (sound, files) = (features(&image), Files::of(image.path()));
        image.edit_superblock(SUPERBLOCK_BLKNO, |_, superblock| change(superblock, incompat));
        assert_ne!(features(&image), sound, "{name}");
        let digest = image.digest();
        let looked = fsck(image.path(), &["-fn"]);
        assert_eq!(looked.status, 4, "{name}: {looked}");
        assert!(image.digest() == digest);
        let lost = repaired(&image, "-fy");
        assert_eq!(features(&image), sound, "{name} {options:?}");
        assert_eq!(files.lost(&Files::of(image.path())), [""; 0], "{name}");
        // More than three unknown features are garbage, so that others may be as well.
        let may_be_wrong = if name == "compat" { 1 } else { 0 };
        assert!(lost.len() == may_be_wrong && lost.iter().all(|it| it.2), "{name}: {lost:?}");
    }
}

#[test]
fn checksums_prove_what_one_extent_says_of_a_feature() {
    const OPTIONS: &[&str] = &["-M", "local", "-b", "4K", "-C", "4K"];
    const ECC: &[&str] = &["-M", "local", "-b", "4K", "-C", "4K", "--fs-features=metaecc"];
    let scratch = Scratch::new();
    let local = scratch.join("local");
    fs::write(&local, vec![7; 5 * 4096]).unwrap();
    let hole = format!("write {} /f\npunch /f 2 2\n", local.display());
    let empty = scratch.join("empty");
    fs::write(&empty, "").unwrap();
    // One unwritten extent, apart from all others.
    let unwritten = format!("write {} /f\ntruncate /f 40960\nfallocate /f 4 4\n", empty.display());
    for (commands, options, incompat, path) in [
        (&hole, OPTIONS, Incompat::SPARSE_ALLOC, None),
        (&hole, ECC, Incompat::SPARSE_ALLOC, None),
        (&unwritten, ECC, Incompat::empty(), None),
        // Nothing decides here whether the extent or the superblock is right.
        (&unwritten, OPTIONS, Incompat::empty(), Some("/f")),
    ] {
        let image = Base::Made(options, "64M").image();
        debugfs(image.path(), commands);
        let (sound, files) = (features(&image), Files::of(image.path()));
        image.edit_raw(SUPERBLOCK_BLKNO, |block| {
            let mut superblock = SuperBlock::of_block(block).unwrap();
            superblock.s_feature_incompat &= !incompat.bits();
            superblock.s_feature_ro_compat = 0;
            superblock.encode(&mut block[Dinode::ID2_OFFSET..]).unwrap();
            // More than a single bit, which the checksum would correct.
            block[3000..3002].fill(0xff);
        });
        let lost = repaired(&image, "-fy");
        let what = format!("{commands:?} {options:?}: {lost:?}");
        assert!(lost.iter().all(|it| it.1 == 0), "{what}");
        let paths: Vec<_> = lost.iter().filter_map(|it| it.0.as_deref()).collect();
        assert_eq!(paths, path.into_iter().collect::<Vec<_>>(), "{what}");
        if path.is_none() {
            assert!(features(&image).incompat == sound.incompat, "{what}");
            assert_eq!(files.lost(&Files::of(image.path())), [""; 0], "{what}");
        }
    }
}

#[test]
fn a_checksum_that_is_corrected_can_be_taken_back() {
    const ECC: &[&str] = &["-M", "local", "-b", "4K", "-C", "4K", "--fs-features=metaecc"];
    let image = Base::Made(ECC, "64M").image();
    image.edit_raw(SUPERBLOCK_BLKNO, |block| {
        let mut superblock = SuperBlock::of_block(block).unwrap();
        superblock.s_label[..9].copy_from_slice(b"something");
        superblock.encode(&mut block[Dinode::ID2_OFFSET..]).unwrap();
    });
    let (digest, scratch) = (image.contents_digest(), Scratch::new());
    let undo = scratch.join("undo").display().to_string();
    let outcome = fsck(image.path(), &["-fy", "--undo-file", &undo]).expect_status(1);
    assert!(outcome.stdout.contains("the superblock: it may be wrong"), "{outcome}");
    fsck(image.path(), &[&format!("--undo={undo}")]).expect_status(0);
    assert!(image.contents_digest() == digest);
}

#[test]
fn a_node_that_beats_is_seen_whatever_hides_it() {
    let userspace: Damage = |_, it| it.s_feature_incompat |= Incompat::USERSPACE_STACK.bits();
    let cluster_size: Damage = |_, it| it.s_clustersize_bits += 1;
    let generation: Damage = |dinode, _| dinode.i_fs_generation ^= 1;
    for (damage, has_slot, options) in [
        (userspace, false, "-fy"),
        (userspace, false, "-fp"),
        (userspace, true, "-fyF"),
        (cluster_size, true, "-fyF"),
        (generation, true, "-fyF"),
    ] {
        let image = Base::Made(&["-N", "4", "-b", "4K", "-C", "4K"], "64M").image();
        let region = image.volume().heartbeat_region().unwrap().offset_bytes;
        if has_slot {
            let map = image.system("slot_map");
            image.edit_raw(image.first_record(&map).e_blkno, |map| {
                assert!(SlotMapFormat::Extended.set(map, 3, Some(5)));
            });
        }
        image.edit_superblock(SUPERBLOCK_BLKNO, damage);
        let block = image.read(SUPERBLOCK_BLKNO);
        let outcome = while_beating(image.path(), region, 5, || fsck(image.path(), &[options]));
        match options {
            // It leaves such a volume to the others.
            "-fp" => assert!(outcome.stdout.contains("not checked"), "{outcome}"),
            _ => assert_eq!(outcome.status, 8, "{outcome}"),
        }
        assert!(outcome.to_string().contains("in use by node 5"), "{outcome}");
        assert!(image.read(SUPERBLOCK_BLKNO) == block, "{options}: it was written to");
    }
}
