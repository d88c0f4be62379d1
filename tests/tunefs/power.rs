//! The power fails at any write: fsck repairs the volume, with every file.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use ocfs2_device::{AfterWrites, Device, DeviceOptions, open};
use ocfs2_testing::{Run, c_fsck_run, oracle, program};
use ocfs2_tests::{listed, tunefs_until};

use crate::bench::{Bench, found_by_c, new_by_c, volume_at};
use crate::rich::rich;

/// The writes after which the power fails.
#[derive(Clone, Copy, Debug)]
pub enum Points {
    /// This number of them at most, from the first to the last.
    Sampled(u64),
    /// Each of them, or each tenth where there are very many.
    Dense,
}

impl Points {
    /// Chooses some of `all` writes.
    pub fn of(self, all: u64) -> impl Iterator<Item = u64> {
        let step = match self {
            Self::Sampled(count) => all.div_ceil(count).max(1),
            Self::Dense if all <= FEW => 1,
            Self::Dense => 10,
        };
        (0..all).step_by(step as usize)
    }
}

/// Number of writes each of which is a point where they are to be dense.
const FEW: u64 = 100;

/// Points per scenario.
const POINTS: Points = Points::Sampled(24);

/// Makes the changes on a device that fails after `writes` writes. Returns the number of writes.
pub fn change(
    base: &Arc<dyn Device>,
    line: &str,
    writes: u64,
    then: AfterWrites,
    to: &Path,
) -> u64 {
    tunefs_until(base, &format!("{line} x"), writes, then, to)
}

/// Gives a volume another number of clusters in the same way.
pub fn change_to(
    base: &Arc<dyn Device>,
    clusters: u32,
    writes: u64,
    then: AfterWrites,
    to: &Path,
) -> u64 {
    tunefs_until(base, &format!("-y -q -Sclusters x {clusters}"), writes, then, to)
}

#[test]
fn a_change_that_is_interrupted_is_repaired_with_every_file() {
    interrupt_changes(POINTS);
}

#[test]
#[ignore = "slow: run by cargo xtask test --all"]
fn a_change_that_is_interrupted_is_repaired_with_every_file_and_at_all_others() {
    interrupt_changes(Points::Dense);
}

fn interrupt_changes(chosen: Points) {
    for (form, larger, line) in [
        ("-b 512 -C 4K", false, "-N 4 -L new"),
        ("-b 1K -C 4K --fs-features=metaecc,usrquota", false, "-N 5"),
        ("-b 4K -C 4K", false, "-J size=6M,block64"),
        ("-b 4K -C 4K --fs-features=metaecc", true, "-S"),
        ("-b 512 -C 4K", true, "-S"),
        ("-b 2K -C 4K", false, "--fs-features=noextended-slotmap"),
        ("-b 2K -C 4K -J size=6M", false, "-J size=4M"),
    ] {
        let bench = Bench::new(form, "48M");
        if larger {
            File::options().write(true).open(&bench.path).unwrap().set_len(60 << 20).unwrap();
        }
        let base: Arc<dyn Device> = open(&bench.path, &DeviceOptions::default()).unwrap();
        let after = bench.scratch.join("after.img");
        let all = change(&base, line, u64::MAX, AfterWrites::Fail, &after);
        bench.judge_at(&after, line);
        let mut is_repaired = false;
        for then in [AfterWrites::Fail, AfterWrites::Drop, AfterWrites::Tear] {
            for writes in chosen.of(all) {
                change(&base, line, writes, then, &after);
                let what = format!("{form} {line}: {then:?} after {writes} of {all} writes");
                let fsck = Run::new(program("fsck.ocfs2")).arg("-fy").arg(&after).output();
                assert!(fsck.status <= 1, "{what}: {fsck}");
                is_repaired |= fsck.status == 1;
                bench.judge_at(&after, &what);
            }
        }
        assert!(is_repaired, "{line}: no point at which anything is to be repaired");
    }
}

/// Number of last writes; the power fails after every third of them.
const LAST: u64 = 30;

#[test]
fn there_is_no_moment_at_which_superblock_and_volume_have_different_sizes_or_slots() {
    for (form, line) in [
        ("-b 4K -C 4K", "-S"),
        ("-b 512 -C 4K", "-S"),
        ("-b 1K -C 4K", "-N 4"),
        ("-b 1K -C 4K --fs-features=metaecc,usrquota", "-N 1"),
        ("-b 4K -C 4K", "-N 1"),
        ("-b 2K -C 8K --fs-features=metaecc", "-Sclusters"),
    ] {
        let bench = Bench::new(form, "48M");
        let size = |path: &Path| {
            let volume = volume_at(path);
            (volume.geometry().clusters, volume.max_slots())
        };
        let old = size(&bench.path);
        if line == "-S" {
            File::options().write(true).open(&bench.path).unwrap().set_len(60 << 20).unwrap();
        }
        let base: Arc<dyn Device> = open(&bench.path, &DeviceOptions::default()).unwrap();
        let after = bench.scratch.join("after.img");
        let changed = |writes, then| match line {
            "-Sclusters" => change_to(&base, old.0 - 500, writes, then, &after),
            _ => change(&base, line, writes, then, &after),
        };
        let all = changed(u64::MAX, AfterWrites::Fail);
        let new = size(&after);
        let modes = [AfterWrites::Fail, AfterWrites::Drop, AfterWrites::Tear];
        let mut seen = Vec::new();
        for (writes, then) in
            (all.saturating_sub(LAST)..all).step_by(3).zip(modes.into_iter().cycle())
        {
            changed(writes, then);
            let what = format!("{form} {line}: {then:?} after {writes} of {all} writes");
            // The C fsck replays it as well. What comes next it does not do without a cluster.
            if let Some(fsck) = oracle("fsck.ocfs2") {
                let copy = bench.scratch.join("by C.img");
                fs::copy(&after, &copy).unwrap();
                let by_c = c_fsck_run(&fsck, "-fy", &copy).stdout;
                let is_dirty = by_c.contains("Replaying slot 0's journal");
                assert!(!is_dirty || by_c.contains("journal replayed successfully"), "{by_c}");
                Run::new(program("fsck.ocfs2")).arg("-y").arg(&copy).output();
                bench.judge_at(&copy, &format!("{what}, replayed by C: {by_c}"));
                assert!([old, new].contains(&size(&copy)), "{what}: {:?}", size(&copy));
            }
            let replayed = Run::new(program("fsck.ocfs2")).arg("-y").arg(&after).output();
            assert!(replayed.status <= 1, "{what}: {replayed}");
            bench.judge_at(&after, &what);
            let now = size(&after);
            assert!([old, new].contains(&now), "{what}: {now:?}");
            seen.push(now);
        }
        seen.dedup();
        assert!(seen.contains(&new) && seen.contains(&old), "{line}: {seen:?}");
    }
}

/// Number of points at which the power fails, per feature.
const FEWER_POINTS: Points = Points::Sampled(7);

#[test]
fn a_feature_whose_switch_is_interrupted_leaves_a_sound_volume_and_is_switched_by_the_next_run() {
    interrupt_switches(FEWER_POINTS);
}

#[test]
#[ignore = "slow: run by cargo xtask test --all"]
fn a_feature_whose_switch_is_interrupted_leaves_a_sound_volume_and_is_switched_by_the_next_run_and_at_all_others()
 {
    interrupt_switches(Points::Dense);
}

fn interrupt_switches(chosen: Points) {
    let full = "-b 1K -C 4K --fs-feature-level=max-features";
    let plain = "-b 1K -C 4K --fs-feature-level=max-compat";
    for (form, feature, allowed) in [
        (plain, "indexed-dirs", "DX_TREE_MISSING"),
        (full, "noindexed-dirs", "DX_TREE_MISSING"),
        (full, "noinline-data", ""),
        (full, "nosparse", ""),
        (full, "norefcount", ""),
        (full, "noxattr", ""),
        (full, "nodiscontig-bg", ""),
        (plain, "usrquota,grpquota", ""),
        (full, "nousrquota", ""),
        (plain, "metaecc", ""),
    ] {
        let scratch = ocfs2_testing::Scratch::in_memory();
        let path = rich(&scratch, form, "40M", 200);
        let (known, has_xattrs) = (found_by_c(&path), feature != "noxattr");
        let before = listed(&volume_at(&path), has_xattrs);
        let base: Arc<dyn Device> = open(&path, &DeviceOptions::default()).unwrap();
        let (after, line) = (scratch.join("after.img"), format!("-y -q --fs-features={feature}"));
        let all = change(&base, &line, u64::MAX, AfterWrites::Fail, &after);
        let modes = [AfterWrites::Fail, AfterWrites::Drop, AfterWrites::Tear];
        for (writes, then) in chosen.of(all).zip(modes.into_iter().cycle()) {
            change(&base, &line, writes, then, &after);
            let what = format!("{form} {feature}: {then:?} after {writes} of {all} writes");
            let fsck =
                |options: &str| Run::new(program("fsck.ocfs2")).arg(options).arg(&after).output();
            let replayed = fsck("-y");
            assert!(replayed.status <= 1, "{what}: {replayed}");
            let checked = fsck("-fn");
            let lines = checked.stdout.lines().filter(|line| line.starts_with('['));
            let wrong: Vec<_> =
                lines.filter(|line| allowed.is_empty() || !line.contains(allowed)).collect();
            assert!(wrong.is_empty(), "{what}: {wrong:#?}");
            // What is lost with the attributes is lost bit by bit.
            assert!(
                listed(&volume_at(&after), false) == listed(&volume_at(&path), false),
                "{what}"
            );
            let tunefs = Run::new(program("tunefs.ocfs2")).args(line.split(' '));
            let done = tunefs.arg(&after).output();
            assert_eq!(done.status, 0, "{what}: {done}");
            assert_eq!(fsck("-fn").status, 0, "{what}: {}", fsck("-fn"));
            let volume = volume_at(&after);
            assert!(listed(&volume, has_xattrs) == before, "{what}");
            let names = volume.features().names();
            for word in feature.split(',') {
                let off = word.strip_prefix("no");
                assert_eq!(names.contains(&off.unwrap_or(word)), off.is_none(), "{what}");
            }
        }
        let new = new_by_c(&after, &known);
        assert!(new.is_empty(), "{feature}: {new:#?}");
    }
}
