//! What fsck.ocfs2 does not repair: with `-p`, on a device that is too short, or after the answer
//! no. It is reported, and the next run checks again. Also what a run without `-f` examines.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails is a failed test")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;

use ocfs2_device::{DeviceOptions, open};
use ocfs2_format::dinode::{Dinode, FileKind, InodeFlags};
use ocfs2_format::extent::{ExtentListHeader, ExtentRec};
use ocfs2_format::local_alloc::LocalAlloc;
use ocfs2_format::superblock::STATE_ERROR;
use ocfs2_format::{Cpos, Structure};
use ocfs2_fsck::codes;
use ocfs2_testing::damage::{
    Base, Files, Image, Recipe, all, c_fsck, demand_none, edit_list, judge_all, recipes,
};
use ocfs2_testing::{Outcome, Random, Run, Scratch, fixture_copy, oracle, program};
use ocfs2_volume::{Inode, Volume, VolumeOptions};

fn fsck(image: &Path, options: &[&str]) -> Outcome {
    Run::new(program("fsck.ocfs2")).args(options).arg(image).output()
}

fn recipe(code: &str) -> Recipe {
    all().into_iter().find(|recipe| recipe.code == code).unwrap()
}

fn opened(image: &Path) -> Volume {
    let device = open(image, &DeviceOptions::default()).unwrap();
    Volume::open(device, &VolumeOptions::default()).unwrap()
}

fn is_marked(image: &Path) -> bool {
    opened(image).superblock().s_state & STATE_ERROR != 0
}

/// Returns the codes of the findings, in order.
fn found(outcome: &Outcome) -> Vec<&str> {
    let lines = outcome.stdout.lines().filter_map(|line| line.strip_prefix('['));
    lines
        .filter(|line| !line.contains("is left"))
        .filter_map(|line| line.split(']').next())
        .collect()
}

/// Returns the blocks in which two images of a volume differ.
fn differ(one: &Path, other: &Path, block_size: usize) -> Vec<u64> {
    let (one, other) = (fs::read(one).unwrap(), fs::read(other).unwrap());
    let blocks = one.chunks(block_size).zip(other.chunks(block_size));
    (0..).zip(blocks).filter(|(_, (one, other))| one != other).map(|(at, _)| at).collect()
}

/// Makes a small volume with three files.
fn with_files(scratch: &Scratch) -> std::path::PathBuf {
    let tree = scratch.join("tree");
    fs::create_dir(&tree).unwrap();
    for name in ["one", "two", "three"] {
        fs::write(tree.join(name), Random(7).bytes(20_000)).unwrap();
    }
    let image = scratch.join("files.img");
    let mkfs = Run::new(program("mkfs.ocfs2"));
    let mkfs = mkfs.args(["-q", "-M", "local", "-N", "2", "-b", "4K", "-C", "4K", "-J", "size=4M"]);
    mkfs.arg("-d").arg(&tree).arg(&image).arg("64M").success();
    image
}

#[test]
fn an_inode_with_a_wrong_bit_is_not_freed_by_p() {
    let scratch = Scratch::new();
    let image = with_files(&scratch);
    let volume = opened(&image);
    let root = volume.inode(volume.superblock().s_root_blkno).unwrap();
    let two = volume.lookup(&root, b"two").unwrap().unwrap().inode;
    let file = File::options().read(true).write(true).open(&image).unwrap();
    file.write_all_at(b"J", two.0 * 4096).unwrap();
    let damaged = scratch.join("damaged.img");
    fs::copy(&image, &damaged).unwrap();

    let dry = fsck(&image, &["-fp", "--dry-run"]).expect_status(4);
    assert_eq!(differ(&image, &damaged, 4096), [0; 0]);
    let outcome = fsck(&image, &["-fp"]).expect_status(4);
    assert!(outcome.stdout.contains("because of [INODE_SIGNATURE] inode"), "{outcome}");
    assert!(outcome.stdout.contains("1 problem found, none corrected"), "{outcome}");
    assert!(outcome.stdout.contains(&format!("fsck.ocfs2 -fy {}", image.display())), "{outcome}");
    assert_eq!(found(&dry), found(&outcome));
    // Nothing but the mark is written.
    assert_eq!(differ(&image, &damaged, 4096), [2]);

    // Each run without -f checks, until one repairs the volume.
    for (options, status) in [("-p", 4), ("-n", 4), ("-y", 1)] {
        let outcome = fsck(&image, &[options]).expect_status(status);
        assert!(outcome.stdout.contains("errors, check forced."), "{outcome}");
        assert_eq!(is_marked(&image), status != 1);
    }
    assert!(fsck(&image, &["-p"]).expect_status(0).stdout.contains("is clean."));
    fsck(&image, &["-fn"]).expect_status(0);
}

#[test]
fn what_p_repairs_loses_nothing_and_anything_else_is_left_as_it_is() {
    let is_safe = |code: &&str| codes::find(code).is_some_and(|code| code.safe);
    let mut chosen = recipes();
    chosen.retain(|recipe| recipe.found.iter().any(&is_safe));
    let repaired = Mutex::new(BTreeSet::<&str>::new());
    let wrong = judge_all(&chosen, |recipe| {
        let image: Image = recipe.image();
        // It would take too long to compare a volume of many gigabytes.
        if image.raw().metadata().unwrap().len() > 500 << 20 {
            return Ok(());
        }
        let scratch = Scratch::new();
        let damaged = scratch.join("damaged.img");
        let copied = Run::new("cp").arg("--sparse=always").arg(image.path()).arg(&damaged);
        copied.success();
        // An orphan is no longer in any directory.
        let sound = match recipe.code {
            "INODE_ORPHANED" => Files::of(&damaged),
            _ => Files::of(recipe.on.image().path()),
        };
        let outcome = fsck(image.path(), &["-fp"]);
        let again = fsck(image.path(), &["-fn"]);
        let size = image.volume().block_size().size();
        match (outcome.status, again.status) {
            (1, 0) => {
                let lost: Vec<String> = sound.lost(&Files::of(image.path()));
                repaired.lock().unwrap().extend(recipe.found);
                if lost.is_empty() { Ok(()) } else { Err(format!("lost {lost:?}")) }
            }
            (4, 4) => match &differ(image.path(), &damaged, size)[..] {
                [] | [2] => Ok(()),
                blocks => Err(format!("blocks {blocks:?} were written")),
            },
            // A slot was recovered first.
            (5, 4) => Ok(()),
            (first, then) => Err(format!("-fp gives {first}, -fn then {then}\n{outcome}")),
        }
    });
    demand_none(&wrong, chosen.len());
    let repaired = repaired.into_inner().unwrap();
    for code in
        ["GROUP_FREE_BITS", "CHAIN_BITS", "CLUSTER_ALLOC_BIT", "INODE_ORPHANED", "QUOTA_USAGE"]
    {
        assert!(repaired.contains(code) || chosen.len() < 9, "{code} is not in {repaired:?}");
    }
}

#[test]
fn a_short_device_is_one_finding_and_nothing_else_is_done() {
    let scratch = Scratch::new();
    let image = with_files(&scratch);
    let whole = scratch.join("whole.img");
    fs::copy(&image, &whole).unwrap();
    let file = File::options().write(true).open(&image).unwrap();
    file.set_len(20 << 20).unwrap();
    for options in
        [&["-n"][..], &["-p"], &["-y"], &["-fn"], &["-fp"], &["-fy"], &["-fy", "--dry-run"]]
    {
        let outcome = fsck(&image, options).expect_status(4);
        assert_eq!(found(&outcome), ["DEVICE_SHORT"], "{outcome}");
        let missing = 44 << 20;
        assert!(
            outcome.stdout.contains(&format!("ends {missing} bytes (44 MiB) before")),
            "{outcome}"
        );
        assert!(!outcome.stdout.contains('?'), "{outcome}");
        let advice = format!("run fsck.ocfs2 -fy {}", image.display());
        assert!(outcome.stdout.contains(&advice), "{outcome}");
        assert_eq!(file.metadata().unwrap().len(), 20 << 20);
        let expected: &[u64] = if is_marked_short(&image) { &[2] } else { &[] };
        assert_eq!(differ(&image, &whole, 4096), expected, "{options:?}");
    }
    assert!(is_marked_short(&image));
    // The rest of the device is restored.
    let rest = fs::read(&whole).unwrap();
    file.write_all_at(&rest[20 << 20..], 20 << 20).unwrap();
    assert!(fsck(&image, &["-p"]).expect_status(1).stdout.contains("check forced."));
    assert!(fsck(&image, &["-p"]).expect_status(0).stdout.contains("is clean."));
}

/// Returns whether the superblock of a volume with 4 KiB blocks is marked.
fn is_marked_short(image: &Path) -> bool {
    let mut state = [0; 2];
    File::open(image).unwrap().read_exact_at(&mut state, 2 * 4096 + 0xc8).unwrap();
    u16::from_le_bytes(state) & STATE_ERROR != 0
}

#[test]
fn what_a_mount_reads_is_looked_at_without_f() {
    let codes = [
        "JOURNAL_FILE_INVALID",
        "JOURNAL_UNKNOWN_FEATURE",
        "JOURNAL_LENGTH",
        "JOURNAL_ABORTED",
        "LALLOC_SIZE",
        "LALLOC_BM_OVERRUN",
        "LALLOC_USED_OVERRUN",
        "DEALLOC_COUNT",
        "DEALLOC_USED",
        "TRUNCATE_REC_RANGE",
        "INODE_ORPHANED",
        "SYSTEM_FILE_MISSING",
        "DEVICE_SHORT",
        "SLOT_MAP_TAKEN",
    ];
    let chosen: Vec<_> = codes.map(recipe).into();
    let wrong = judge_all(&chosen, |recipe| {
        let image = recipe.image();
        let outcome = fsck(image.path(), &["-n"]);
        match outcome.status == 4 && found(&outcome).contains(&recipe.code) {
            true => Ok(()),
            false => Err(outcome.to_string()),
        }
    });
    demand_none(&wrong, chosen.len());
}

#[test]
fn a_lost_root_directory_is_noticed_without_f() {
    let scratch = Scratch::new();
    let image = with_files(&scratch);
    let root = opened(&image).superblock().s_root_blkno;
    let file = File::options().write(true).open(&image).unwrap();
    file.write_all_at(&[0; 4096], root.0 * 4096).unwrap();
    for options in ["-n", "-p"] {
        let outcome = fsck(&image, &[options]).expect_status(4);
        assert!(found(&outcome).contains(&"ROOT_DIR_MISSING"), "{outcome}");
    }
    fsck(&image, &["-y"]).expect_status(1);
    fsck(&image, &["-fn"]).expect_status(0);
}

#[test]
fn what_is_advised_is_what_works() {
    let scratch = Scratch::new();
    let image = fixture_copy("clean-4k-o2cb", &scratch);
    let system = opened(&image).superblock().s_system_dir_blkno;
    let file = File::options().write(true).open(&image).unwrap();
    file.write_all_at(&[0; 4096], system.0 * 4096).unwrap();
    // Without a slot map it is not known which nodes have it mounted.
    let outcome = fsck(&image, &["-n"]).expect_status(4);
    let advice = format!("fsck.ocfs2 -fyF {}", image.display());
    assert!(outcome.stdout.contains(&advice), "{outcome}");
    // Nothing was examined, so nothing can be counted.
    assert!(!outcome.stdout.contains("0 files"), "{outcome}");
    assert!(!outcome.stdout.contains("to be recovered"), "{outcome}");
    fsck(&image, &["-fy"]).expect_status(8);
    fsck(&image, &["-fyF"]).expect_status(1);
    fsck(&image, &["-fn"]).expect_status(0);
}

#[test]
fn a_local_alloc_of_a_clean_slot_is_emptied_without_f() {
    let image = Base::Made(&["-N", "2", "-M", "local"], "64M").image();
    let file = image.system("local_alloc:0001");
    // A window of 64 clusters that are in use in the global bitmap.
    let start = 9000;
    image.edit_dinode(file.blkno, |dinode, id2| {
        dinode.set_bitmap(0, 64);
        let alloc = LocalAlloc::decode(id2).unwrap();
        LocalAlloc { la_bm_off: start, ..alloc }.encode(id2).unwrap();
    });
    fsck(image.path(), &["-fy"]).expect_status(1);
    image.edit_dinode(file.blkno, |dinode, id2| {
        dinode.set_bitmap(0, 64);
        let alloc = LocalAlloc::decode(id2).unwrap();
        LocalAlloc { la_bm_off: start, ..alloc }.encode(id2).unwrap();
    });
    fsck(image.path(), &["-n"]).expect_status(4);
    let outcome = fsck(image.path(), &["-p"]);
    assert!(outcome.stdout.contains("Slot 1's local alloc replayed successfully"), "{outcome}");
    assert_eq!(opened(image.path()).leftovers(1).unwrap().clusters(), 0);
    fsck(image.path(), &["-fn"]).expect_status(0);
    assert!(fsck(image.path(), &["-p"]).expect_status(0).stdout.contains("is clean."));
}

#[test]
fn a_dry_run_of_a_crashed_volume_says_what_the_run_says() {
    for options in [["-p"], ["-y"]] {
        let scratch = Scratch::new();
        let image = fixture_copy("crashed-512-local", &scratch);
        let before = fs::read(&image).unwrap();
        let dry = fsck(&image, &[options[0], "--dry-run"]).expect_status(1);
        assert!(fs::read(&image).unwrap() == before);
        let done = fsck(&image, &options).expect_status(1);
        let words = dry.stdout.replace(
            "** In memory only, because --dry-run was given. The device is not changed. **\n",
            "",
        );
        assert_eq!(words, done.stdout);
    }
    let image = recipe("EB_BLKNO").image();
    let dry = fsck(image.path(), &["-fy", "--dry-run"]).expect_status(1);
    assert!(dry.stdout.contains("1 problem found, all would be corrected"), "{dry}");
    let done = fsck(image.path(), &["-fy"]).expect_status(1);
    assert!(dry.stdout.contains(": 1 block would be written (--dry-run)\n"), "{dry}");
    assert!(done.stdout.contains(": 1 block written through the journal of slot 0\n"), "{done}");
}

#[test]
fn p_recovers_a_crashed_volume_before_it_leaves_what_is_not_safe() {
    let scratch = Scratch::new();
    let image = fixture_copy("crashed-4k-o2cb", &scratch);
    let volume = opened(&image);
    let is_file = |inode: &Inode| {
        let Dinode { i_links_count, .. } = inode.dinode;
        let is_system = inode.dinode.flags().contains(InodeFlags::SYSTEM);
        inode.dinode.kind() == Some(FileKind::Regular) && !is_system && i_links_count > 0
    };
    let file = File::options().write(true).open(&image).unwrap();
    // Most of them are in the journal, and intact after its replay.
    for inode in volume.inodes().map(Result::unwrap).filter(is_file).step_by(8) {
        file.write_all_at(b"J", inode.blkno.0 * 4096).unwrap();
    }

    let dry = fsck(&image, &["-p", "--dry-run"]).expect_status(5);
    let outcome = fsck(&image, &["-p"]).expect_status(5);
    assert_eq!(found(&dry), found(&outcome));
    assert!(outcome.stdout.contains("Slot 0's journal replayed successfully"), "{outcome}");
    assert!(outcome.stdout.contains("because of [INODE_SIGNATURE] inode"), "{outcome}");
    assert!(is_marked(&image));
    // Nothing is left to recover, and the same is left to repair; the mark is found as well.
    let again = fsck(&image, &["-p"]).expect_status(4);
    assert_eq!(found(&again)[1..], found(&outcome));
    fsck(&image, &["-y"]).expect_status(1);
    fsck(&image, &["-fn"]).expect_status(0);
}

#[test]
fn a_log_that_is_damaged_is_not_replayed_by_p() {
    let image = recipe("JOURNAL_LOG_DAMAGED").image();
    let scratch = Scratch::new();
    let damaged = scratch.join("damaged.img");
    fs::copy(image.path(), &damaged).unwrap();
    let size = opened(&damaged).block_size().size();
    for options in [&["-p", "--dry-run"][..], &["-p"], &["-p"]] {
        let outcome = fsck(image.path(), options).expect_status(4);
        assert!(found(&outcome).contains(&"JOURNAL_LOG_DAMAGED"), "{outcome}");
        let written = differ(image.path(), &damaged, size);
        assert!(written.iter().all(|block| *block == 2), "{written:?}");
    }
    fsck(image.path(), &["-fy"]).expect_status(1);
}

#[test]
fn the_c_fsck_checks_a_marked_volume_and_finds_nothing_wrong_with_the_mark() {
    if oracle("fsck.ocfs2").is_none() {
        return;
    }
    let image = Base::Made(&["-N", "1", "-M", "local"], "64M").image();
    image.edit_superblock(image.volume().found_superblock().blkno, |_, superblock| {
        superblock.s_state |= STATE_ERROR;
    });
    let theirs = c_fsck(image.path(), "-n");
    assert!(theirs.output.contains("check forced"), "{}", theirs.output);
    assert!(theirs.questions.is_empty(), "{}", theirs.output);
}

/// Wrong bits in the fields that identify a journal lose nothing: the log is replayed as usual, and
/// everything else is repaired through it.
#[test]
fn the_log_of_a_journal_with_a_wrong_mark_is_replayed() {
    let scratch = Scratch::new();
    let inode = |image: &Image, change: fn(&mut Dinode, &mut [u8])| {
        image.edit_dinode(image.system("journal:0000").blkno, change);
    };
    let damages: [&dyn Fn(&Image); 11] = [
        &|image| inode(image, |dinode, _| dinode.i_size = 0),
        &|image| inode(image, |dinode, _| dinode.i_clusters += 5),
        &|image| inode(image, |dinode, _| dinode.i_fs_generation ^= 0x0010_1010),
        &|image| inode(image, |dinode, _| dinode.i_flags ^= InodeFlags::JOURNAL.bits()),
        &|image| inode(image, |dinode, _| dinode.i_dyn_features = 0xffff),
        &|image| {
            inode(image, |_, id2| {
                edit_list(id2, |_: &mut ExtentListHeader, records: &mut [ExtentRec]| {
                    records[0].e_cpos = Cpos(7);
                });
            });
        },
        &|image| image.edit_journal(0, |journal| journal.header.h_magic ^= 0x0011_0000),
        &|image| image.edit_journal(0, |journal| journal.header.h_blocktype ^= 1 << 9),
        &|image| image.edit_journal(0, |journal| journal.s_blocksize ^= 1 << 12),
        &|image| image.edit_journal(0, |journal| journal.s_maxlen ^= 1 << 4),
        &|image| inode(image, |dinode, _| dinode.i_signature[2] ^= 0x11),
    ];
    for (index, damage) in damages.into_iter().enumerate() {
        let path = fixture_copy("crashed-512-local", &scratch);
        let to = scratch.join(format!("{index}.img"));
        fs::rename(path, &to).unwrap();
        let image = Image::open(to.clone(), Scratch::new());
        damage(&image);
        let outcome = fsck(&to, &["-fy"]).expect_status(1);
        let codes: BTreeSet<_> = found(&outcome).into_iter().collect();
        assert_eq!(codes, BTreeSet::from(["JOURNAL_MAGIC"]), "{index}: {outcome}");
        // Only these fields are written.
        assert!(outcome.stdout.contains(": 1 block written, not journaled: "), "{outcome}");
        assert!(outcome.stdout.contains("journal replayed successfully"), "{outcome}");
        assert!(outcome.stdout.contains("1 problem found, all corrected\n"), "{outcome}");
        fsck(&to, &["-fn"]).expect_status(0);
    }
}

/// Two exchanged inodes are put back before the log is replayed, which contains one of them: the
/// replay is not taken for a change by another node, and its block is not overwritten with the one
/// that was put back.
#[test]
fn what_a_replay_writes_over_an_early_repair_stays() {
    let scratch = Scratch::new();
    let path = fixture_copy("crashed-4k-linux7-local", &scratch);
    let image = Image::open(path.clone(), Scratch::new());
    let (root, other) = (image.volume().superblock().s_root_blkno, image.inode("/before").blkno);
    let (first, second) = (image.read(root), image.read(other));
    image.write(root, &second);
    image.write(other, &first);
    let outcome = fsck(&path, &["-fy"]).expect_status(1);
    assert!(found(&outcome).contains(&"BLOCK_MISPLACED"), "{outcome}");
    assert!(outcome.stdout.contains("journal replayed successfully"), "{outcome}");
    assert!(!outcome.stdout.contains("what is lost"), "{outcome}");
    fsck(&path, &["-fn"]).expect_status(0);
}
