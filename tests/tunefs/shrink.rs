//! Volumes that are made smaller.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use ocfs2_device::{AfterWrites, Device, DeviceOptions, open};
use ocfs2_testing::{CLEAN, Outcome, Run, Scratch, fixture_copy, program};
use ocfs2_tests::{assert_as_manifest_elsewhere, listed};

use crate::bench::{all_codes, found_by_c, volume_at};
use crate::power::{self, Points};
use crate::rich::rich;

/// Number of points at which the power fails, per scenario.
const POINTS: Points = Points::Sampled(8);

fn tunefs(path: &Path, options: &str, size: &str) -> Outcome {
    let tunefs = Run::new(program("tunefs.ocfs2")).args(options.split(' '));
    tunefs.arg(path).arg(size).output()
}

/// Demands that neither fsck finds anything new.
fn judge(path: &Path, known: &BTreeSet<String>, what: &str) {
    let found = all_codes(path);
    assert!(found.is_subset(known), "{what}: {found:?}, {known:?}, {:#?}", found_by_c(path));
}

fn clusters(path: &Path) -> u32 {
    volume_at(path).geometry().clusters
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

#[test]
fn volumes_that_linux_filled_shrink_and_grow_back() {
    for name in CLEAN {
        let scratch = Scratch::in_memory();
        let image = fixture_copy(name, &scratch);
        let known = all_codes(&image);
        let (full, bytes) = (clusters(&image), length(&image));
        let half = full / 2;
        for size in [half.to_string(), "min".to_owned()] {
            let what = format!("{name} to {size}");
            let done = tunefs(&image, "-y -v -Sclusters", &size);
            if size != "min" && done.status != 0 {
                // Not everything fits into half.
                assert!(done.stderr.contains("are not enough"), "{what}: {done}");
                continue;
            }
            assert_eq!(done.status, 0, "{what}: {done}");
            judge(&image, &known, &what);
            assert_eq!(length(&image), volume_at(&image).geometry().size_bytes(), "{what}");
            assert_as_manifest_elsewhere(&volume_at(&image), name);
        }
        let least = clusters(&image);
        eprintln!("{name}: {full} clusters, at least {least}");
        assert!(least < full, "{name}");
        assert_is_least(&image, name);
        File::options().write(true).open(&image).unwrap().set_len(bytes).unwrap();
        assert_eq!(tunefs(&image, "-y -Sclusters", &full.to_string()).status, 0, "{name}");
        assert_eq!(clusters(&image), full, "{name}");
        judge(&image, &known, name);
        assert_as_manifest_elsewhere(&volume_at(&image), name);
    }
}

/// Demands that a volume, which was made as small as possible, cannot be smaller.
fn assert_is_least(image: &Path, what: &str) {
    let least = clusters(image);
    let before = fs::read(image).unwrap();
    for fewer in [1, 2] {
        let refused = tunefs(image, "-y -q -Sclusters", &(least - fewer).to_string());
        assert_eq!(refused.status, 2, "{what}, {fewer} less than {least}: {refused}");
        assert!(refused.stderr.contains("are not enough"), "{what}: {refused}");
    }
    let again = tunefs(image, "-y -v -Sclusters", "min").expect_status(0);
    let text = format!("is already {least} clusters; nothing to do");
    assert!(again.stderr.contains(&text), "{what}: {again}");
    assert!(before == fs::read(image).unwrap(), "{what}");
}

/// Forms of volumes on which everything is at its end, as they were made and filled when a part of
/// them was in use.
const FORMS: [&str; 5] = [
    "-b 512 -C 4K --fs-feature-level=max-features",
    "-b 1K -C 4K --fs-features=noinline-data,noindexed-dirs",
    "-b 2K -C 8K --fs-feature-level=max-features",
    "-b 4K -C 4K --fs-feature-level=max-features",
    "-b 4K -C 64K",
];

#[test]
fn an_interruption_at_any_write_leaves_a_sound_volume_and_the_next_run_goes_on() {
    interrupt_shrinking(POINTS);
}

#[test]
#[ignore = "slow: run by cargo xtask test --all"]
fn an_interruption_at_any_write_leaves_a_sound_volume_and_the_next_run_goes_on_and_at_all_others() {
    interrupt_shrinking(Points::Dense);
}

fn interrupt_shrinking(chosen: Points) {
    for form in FORMS {
        let scratch = Scratch::in_memory();
        let path = at_the_end(&scratch, form);
        let (known, before) = (all_codes(&path), listed(&volume_at(&path), true));
        let to = clusters(&path) / 2;
        let base: Arc<dyn Device> = open(&path, &DeviceOptions::default()).unwrap();
        let after = scratch.join("after.img");
        let all = power::change_to(&base, to, u64::MAX, AfterWrites::Fail, &after);
        judge(&after, &known, form);
        assert_eq!(clusters(&after), to, "{form}");
        assert!(listed(&volume_at(&after), true) == before, "{form}");
        let modes = [AfterWrites::Fail, AfterWrites::Drop, AfterWrites::Tear];
        for (writes, then) in chosen.of(all).zip(modes.into_iter().cycle()) {
            power::change_to(&base, to, writes, then, &after);
            let what = format!("{form}: {then:?} after {writes} of {all} writes");
            let fsck =
                |options: &str| Run::new(program("fsck.ocfs2")).arg(options).arg(&after).output();
            let replayed = fsck("-y");
            assert!(replayed.status <= 1, "{what}: {replayed}");
            judge(&after, &known, &what);
            assert!(listed(&volume_at(&after), true) == before, "{what}");
            let done = tunefs(&after, "-y -q -Sclusters", &to.to_string());
            assert_eq!(done.status, 0, "{what}: {done}");
            judge(&after, &known, &what);
            assert_eq!(clusters(&after), to, "{what}");
            assert!(listed(&volume_at(&after), true) == before, "{what}");
        }
    }
}

/// A volume whose first half is free: it was filled when a large file was there.
fn at_the_end(scratch: &Scratch, form: &str) -> std::path::PathBuf {
    use ocfs2_format::dinode::FileKind;
    use ocfs2_volume::edit::NewInode;
    let size = if form.contains("64K") { "256M" } else { "96M" };
    let path = rich(scratch, form, size, 150);
    // What is to be moved is copied to the second half while the first one is taken.
    crate::rich::change(&path, |edit| {
        let top = edit.superblock().s_root_blkno;
        let large = NewInode::of(FileKind::Regular, 0o600);
        let large = edit.create(top, b"large", &large).unwrap();
        let half = edit.geometry().size_bytes() / 2;
        edit.allocate(large, 0..half, false).unwrap();
    });
    // Journals that continue there, too.
    let larger = Run::new(program("tunefs.ocfs2")).args(["-q", "-J", "size=6M"]);
    larger.arg(&path).success();
    for slot in [0, 1] {
        crate::rich::change_in(&path, slot, |edit| crate::rich::more(edit, slot));
    }
    crate::rich::change(&path, |edit| {
        let top = edit.superblock().s_root_blkno;
        edit.unlink(top, b"large").unwrap();
    });
    path
}

#[test]
fn a_dry_run_says_what_moves_and_changes_nothing() {
    let scratch = Scratch::in_memory();
    let path = at_the_end(&scratch, "-b 4K -C 4K");
    let before = fs::read(&path).unwrap();
    let said = tunefs(&path, "--dry-run -Sclusters", "12288");
    assert_eq!(said.status, 0, "{said}");
    for text in ["from 24576 to 12288 clusters? n", "inodes, renumbered", "New size: 48 MiB"] {
        assert!(said.stdout.contains(text), "{text}: {said}");
    }
    let refused = tunefs(&path, "-y --keep-inode-numbers -Sclusters", "12288");
    assert_eq!(refused.status, 1, "{refused}");
    assert!(refused.stderr.contains("inodes would get other numbers"), "{refused}");
    let small = tunefs(&path, "-y -Sclusters", "900");
    assert_eq!(small.status, 2, "{small}");
    assert!(small.stderr.contains("900 clusters are not enough"), "{small}");
    assert!(before == fs::read(&path).unwrap());
}

#[test]
fn what_has_no_room_in_the_smaller_volume_is_found_before_it_is_smaller() {
    let scratch = Scratch::in_memory();
    let path = at_the_end(&scratch, "-b 4K -C 4K");
    let before = fs::read(&path).unwrap();
    for options in ["-y -q -N 9 -S", "-y -q -J size=9M -S", "-n -q -N 9 -S"] {
        let refused = tunefs(&path, options, "min");
        assert_eq!(refused.status, 2, "{options}: {refused}");
        let text = "with its new size, the volume cannot get the other changes";
        let is_preview = options.starts_with("-n");
        assert!(is_preview || refused.stderr.contains(text), "{options}: {refused}");
        assert!(refused.stderr.contains("there is no room left"), "{options}: {refused}");
        assert!(before == fs::read(&path).unwrap(), "{options}");
    }
    let (known, files) = (all_codes(&path), listed(&volume_at(&path), true));
    assert_eq!(tunefs(&path, "-y -q -N 3 -L new -Sclusters", "16384").status, 0);
    assert_eq!((clusters(&path), volume_at(&path).max_slots()), (16384, 3));
    judge(&path, &known, "smaller, with more slots");
    assert!(listed(&volume_at(&path), true) == files);
}

#[test]
fn the_smallest_size_is_found_and_said_before() {
    for form in FORMS {
        let scratch = Scratch::in_memory();
        let path = at_the_end(&scratch, form);
        let (known, before) = (all_codes(&path), listed(&volume_at(&path), true));
        let said = tunefs(&path, "--dry-run -Sclusters", "min").expect_status(0).stdout;
        assert_eq!(tunefs(&path, "-y -q -Sclusters", "min").status, 0, "{form}");
        let least = clusters(&path);
        eprintln!("{form}: at least {least} clusters");
        assert!(said.contains(&format!("to {least} clusters? n\n")), "{form}: {least}: {said}");
        judge(&path, &known, form);
        assert!(listed(&volume_at(&path), true) == before, "{form}");
        assert_is_least(&path, form);
    }
}
