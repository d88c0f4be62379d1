//! Fewer node slots.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use ocfs2_device::{AfterWrites, Device, DeviceOptions, open};
use ocfs2_format::dinode::FileKind;
use ocfs2_format::xattr::XattrPrefix;
use ocfs2_testing::{CLEAN, Run, Scratch, fixture_copy, program};
use ocfs2_tests::{assert_as_manifest_elsewhere, listed};
use ocfs2_volume::edit::NewInode;
use ocfs2_volume::{SystemFile, Volume};

use crate::bench::{Bench, all_codes, found_by_c, volume_at};
use crate::power::{self, Points};
use crate::rich::{change, change_in, rich};

/// Number of points at which the power fails, per scenario.
const POINTS: Points = Points::Sampled(16);

fn tunefs(path: &Path, options: &str) {
    let done = Run::new(program("tunefs.ocfs2")).args(options.split(' ')).arg(path).success();
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("", ""), "{options}");
}

/// Demands that a volume has `slots` slots, that nothing belongs to others, and that neither fsck
/// finds anything new.
fn assert_slots(path: &Path, slots: u16, known: &BTreeSet<String>, what: &str) {
    let found = all_codes(path);
    assert!(found.is_subset(known), "{what}: {found:?}, {known:?}, {:#?}", found_by_c(path));
    let volume = volume_at(path);
    assert_eq!(volume.max_slots(), slots, "{what}");
    assert_eq!(volume.surplus_slot_files().unwrap(), [], "{what}");
    for inode in volume.inodes() {
        let slot = inode.unwrap().dinode.i_suballoc_slot;
        assert!(slot < slots || slot == 0xffff, "{what}: {slot}");
    }
}

/// Bytes of all groups of the allocators of a slot.
fn room(volume: &Volume, slot: u16) -> u64 {
    let files = [SystemFile::InodeAlloc(slot), SystemFile::ExtentAlloc(slot)];
    files.into_iter().map(|file| volume.system_file(file).unwrap().size()).sum()
}

#[test]
fn volumes_that_linux_filled_lose_slots_and_no_file() {
    let mut moved = BTreeSet::new();
    for name in CLEAN {
        let scratch = Scratch::in_memory();
        let image = fixture_copy(name, &scratch);
        let (known, volume) = (all_codes(&image), volume_at(&image));
        let slots = volume.max_slots();
        if slots == 1 {
            continue;
        }
        if (1..slots).any(|slot| room(&volume, slot) > 0) {
            moved.insert(name);
        }
        for fewer in (1..slots).rev() {
            tunefs(&image, &format!("-N {fewer}"));
            assert_slots(&image, fewer, &known, name);
        }
        assert_as_manifest_elsewhere(&volume_at(&image), name);
        tunefs(&image, "-N 3");
        assert_slots(&image, 3, &known, name);
        tunefs(&image, "-N 1 -J size=5M,block64");
        assert_slots(&image, 1, &known, name);
        let journal = volume_at(&image).journal(0).unwrap();
        let bits = volume.geometry().cluster_size.bits();
        assert_eq!(journal.inode.size(), (5_u64 << 20).next_multiple_of(1 << bits), "{name}");
        assert_as_manifest_elsewhere(&volume_at(&image), name);
    }
    assert!(moved.contains("clean-4k-o2cb"), "{moved:?}");
}

/// A volume with three slots, and something of everything in each of them.
fn used_by_all(scratch: &Scratch, options: &str) -> std::path::PathBuf {
    let path = rich(scratch, &format!("{options} -N 3"), "48M", 60);
    for slot in [1, 2] {
        change_in(&path, slot, |edit| {
            let top = edit.superblock().s_root_blkno;
            let dir = NewInode::of(FileKind::Directory, 0o755);
            let dir = edit.create(top, format!("slot {slot}").as_bytes(), &dir).unwrap();
            for index in 0..60 {
                let name = format!("{index} {}", "y".repeat(100));
                let file = NewInode::of(FileKind::Regular, 0o600);
                let file = edit.create(dir, name.as_bytes(), &file).unwrap();
                if index % 7 == 0 {
                    for at in 0..30 {
                        edit.write_file(file, at * 20_000, b"of a slot").unwrap();
                    }
                    edit.set_xattr(file, XattrPrefix::User, b"large", &[b'x'; 3000]).unwrap();
                    edit.set_xattr(file, XattrPrefix::User, b"more", &[b'z'; 70]).unwrap();
                }
            }
        });
    }
    path
}

#[test]
fn a_removal_of_slots_that_is_interrupted_leaves_a_sound_volume_and_goes_on() {
    interrupt_removals(POINTS);
}

#[test]
#[ignore = "slow: run by cargo xtask test --all"]
fn a_removal_of_slots_that_is_interrupted_leaves_a_sound_volume_and_goes_on_and_at_all_others() {
    interrupt_removals(Points::Dense);
}

fn interrupt_removals(chosen: Points) {
    for options in ["-b 512 -C 4K --fs-feature-level=max-features", "-b 4K -C 4K"] {
        let scratch = Scratch::in_memory();
        let path = used_by_all(&scratch, options);
        let (known, before) = (all_codes(&path), listed(&volume_at(&path), true));
        let base: Arc<dyn Device> = open(&path, &DeviceOptions::default()).unwrap();
        let (after, line) = (scratch.join("after.img"), "-y -q -N 1");
        let all = power::change(&base, line, u64::MAX, AfterWrites::Fail, &after);
        assert_slots(&after, 1, &known, options);
        assert!(listed(&volume_at(&after), true) == before, "{options}");
        let modes = [AfterWrites::Fail, AfterWrites::Drop, AfterWrites::Tear];
        for (writes, then) in chosen.of(all).zip(modes.into_iter().cycle()) {
            power::change(&base, line, writes, then, &after);
            let what = format!("{options}: {then:?} after {writes} of {all} writes");
            let fsck =
                |options: &str| Run::new(program("fsck.ocfs2")).arg(options).arg(&after).output();
            // A replay, and nothing else.
            let replayed = fsck("-y");
            assert!(replayed.status <= 1, "{what}: {replayed}");
            let found = all_codes(&after);
            assert!(found.is_subset(&known), "{what}: {found:?}");
            assert!(listed(&volume_at(&after), true) == before, "{what}");
            tunefs(&after, "-N 1");
            assert_slots(&after, 1, &known, &what);
            assert!(listed(&volume_at(&after), true) == before, "{what}");
        }
    }
}

#[test]
fn what_is_left_of_removed_slots_says_nothing_about_the_features() {
    let bench = Bench::new("-b 512 -C 8K -N 6", "96M");
    bench.done("-N 20");
    bench.done("-N 3");
    // Inline directories of slots that are gone are still where they were.
    bench.done("--fs-features=noinline-data");
    bench.judge("without inline-data");
    bench.done("-L data");
    bench.done("--fs-features=inline-data -N 4");
    bench.judge("with inline-data");
}

#[test]
fn a_slot_that_still_has_orphans_is_kept() {
    let scratch = Scratch::in_memory();
    let path = rich(&scratch, "-b 4K -C 4K", "48M", 10);
    change_in(&path, 1, |edit| {
        let dir = edit.resolve(b"/few").unwrap().blkno;
        edit.unlink_open(dir, b"empty").unwrap();
    });
    let (known, before) = (all_codes(&path), std::fs::read(&path).unwrap());
    let refused = Run::new(program("tunefs.ocfs2")).args(["-N", "1"]).arg(&path).output();
    assert_eq!(refused.status, 1, "{refused}");
    let text = "the orphan directory of slot 1 is not empty: run fsck.ocfs2 -f first";
    assert!(refused.stderr.contains(text), "{refused}");
    assert!(before == std::fs::read(&path).unwrap());
    change(&path, |edit| {
        let orphans = edit.system_file(SystemFile::OrphanDir(1)).unwrap();
        let entries = edit.entries(&orphans).unwrap().map(Result::unwrap);
        let orphan = entries.into_iter().find(|entry| !entry.is_dot()).unwrap().inode;
        edit.delete_orphan(orphan).unwrap();
    });
    tunefs(&path, "-N 1");
    assert_slots(&path, 1, &known, "without orphans");
}
