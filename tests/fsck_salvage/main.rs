//! The head of the disk is gone: what `fsck.ocfs2` copies out with `--rescue-to`, and makes again
//! with `--salvage`, of what survives.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails is a failed test")]

mod census;
mod random;
mod volumes;

use std::ops::Range;
use std::path::Path;

use census::{Census, Rates};
use ocfs2_testing::damage::{Base, CReport, c_fsck, complaints};
use ocfs2_testing::{LoopDevice, Outcome, Run, Scratch, oracle, program};
use volumes::{Damage, ELSEWHERE, HEAD, Made, make, make_room, source, volume};

/// Volumes by block size and checksums.
const SHAPES: [(&str, &[&str]); 3] = [
    ("1k", &["-b", "1K", "-C", "4K", "-N", "2", "-M", "local"]),
    ("4k-ecc", &["-b", "4K", "-C", "4K", "-N", "2", "-M", "local", "--fs-features=metaecc"]),
    ("4k-64k", &["-b", "4K", "-C", "64K", "-N", "4"]),
];

fn fsck(image: &Path, options: &[&str]) -> Outcome {
    Run::new(program("fsck.ocfs2")).args(options).arg(image).output()
}

/// A volume, what is on it, and what a damage has hit.
struct Case {
    scratch: Scratch,
    made: Made,
    census: Census,
    hit: Vec<Range<u64>>,
    name: String,
    /// What the C fsck says of the volume before the damage.
    theirs: Option<CReport>,
}

/// Which shapes and damages are tried.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Cases {
    /// Each damage of one shape, the first two in turn.
    Some,
    All,
}

/// Calls `judge` for shapes of a volume and damages.
fn each(cases: Cases, megabytes: u64, damages: &[Damage], mut judge: impl FnMut(&Case) -> Rates) {
    let mut worst: Vec<String> = Vec::new();
    for (index, (shape, options)) in SHAPES.into_iter().enumerate() {
        let scratch = Scratch::in_memory();
        let folder = scratch.join("source");
        source(&folder);
        for (number, damage) in damages.iter().enumerate() {
            if cases == Cases::Some && number % 2 != index {
                continue;
            }
            let made = make(&scratch, &folder, "disk.img", megabytes, options);
            if let Damage::Cut(_) = damage {
                make_room(&made.path);
            }
            let census = Census::of(&volume(&made.path).unwrap());
            assert!(census.items.len() > 2000, "{}", census.items.len());
            let theirs = oracle("fsck.ocfs2").map(|_| c_fsck(&made.path, "-fn"));
            let Some(hit) = damage.make(&made.path) else { continue };
            let name = format!("{shape}, {damage:?}");
            let case = Case { scratch: Scratch::in_memory(), made, census, hit, name, theirs };
            let rates = judge(&case);
            println!("{}: {rates:?}", case.name);
            if rates.saved_percent() < 99.0 || rates.named_percent() < 95.0 {
                worst.push(format!("{}: {rates:?}", case.name));
            }
        }
    }
    assert!(worst.is_empty(), "{}", worst.join("\n"));
}

fn copied_out(cases: Cases) {
    each(cases, 600, &HEAD, |case| {
        let before = std::fs::read(&case.made.path).unwrap();
        let to = case.scratch.join("saved");
        let outcome = fsck(&case.made.path, &["--rescue-to", to.to_str().unwrap()]);
        assert!([0, 4].contains(&outcome.status), "{}: {outcome}", case.name);
        assert!(std::fs::read(&case.made.path).unwrap() == before, "{}: written to", case.name);
        case.census.after_rescue(&case.hit, &to)
    });
}

#[test]
fn what_survives_a_lost_head_is_copied_out_and_nothing_is_written() {
    copied_out(Cases::Some);
}

#[test]
#[ignore = "slow: every damage of every shape"]
fn what_survives_a_lost_head_is_copied_out_of_every_shape() {
    copied_out(Cases::All);
}

fn made_again(cases: Cases, megabytes: u64, damages: &[Damage]) {
    each(cases, megabytes, damages, |case| {
        let outcome = fsck(&case.made.path, &["-fyF", "--salvage"]);
        assert_eq!(outcome.status, 1, "{}: {outcome}", case.name);
        fsck(&case.made.path, &["-fnF"]).expect_status(0);
        judged(case);
        let after = Census::of(&volume(&case.made.path).unwrap());
        case.census.after_repair(&case.hit, &after)
    });
}

#[test]
fn a_volume_without_its_head_is_made_again() {
    made_again(Cases::Some, 600, &HEAD);
}

#[test]
#[ignore = "slow: every damage of every shape"]
fn a_volume_of_every_shape_without_its_head_is_made_again() {
    made_again(Cases::All, 600, &HEAD);
}

#[test]
fn a_volume_that_is_damaged_in_many_places_is_made_again() {
    made_again(Cases::Some, 600, &ELSEWHERE[..2]);
}

#[test]
#[ignore = "slow: every damage of every shape"]
fn a_volume_of_every_shape_that_is_damaged_elsewhere_is_made_again() {
    made_again(Cases::All, 600, &ELSEWHERE);
}

#[test]
#[ignore = "slow: 5 GiB are read several times"]
fn a_large_volume_is_made_again() {
    let damages = [Damage::Zeros(1 << 20), Damage::AndBlocks(&Damage::Zeros(64 << 10))];
    made_again(Cases::All, 5 << 10, &damages);
}

#[test]
fn a_local_volume_of_several_slots_is_local_again_if_that_is_said() {
    let scratch = Scratch::in_memory();
    let folder = scratch.join("source");
    source(&folder);
    for (option, is_local) in [("--mount=local", true), ("--mount=cluster", false)] {
        let made = make(&scratch, &folder, "disk.img", 200, SHAPES[0].1);
        assert_eq!(SHAPES[0].1[4..], ["-N", "2", "-M", "local"]);
        Damage::Zeros(1 << 20).make(&made.path).unwrap();
        let outcome = fsck(&made.path, &["-fyF", "--salvage", option]);
        assert_eq!(outcome.status, 1, "{outcome}");
        let after = volume(&made.path).unwrap();
        let features = after.features().incompat;
        assert_eq!(features.contains(ocfs2_format::feature::Incompat::LOCAL_MOUNT), is_local);
        assert_eq!(after.max_slots(), 2);
    }
}

/// The C fsck finds nothing that it did not say of the sound volume.
fn judged(case: &Case) {
    if let Some(before) = &case.theirs {
        let theirs = c_fsck(&case.made.path, "-fn");
        assert!(theirs.finished, "{}: {}", case.name, theirs.output);
        assert_eq!(theirs.codes_beyond(before), [""; 0], "{}: {}", case.name, theirs.output);
    }
}

#[test]
fn a_volume_whose_device_was_cut_is_cut_to_it_and_what_lay_beyond_is_told_by_path() {
    // Without any free space there is no room for lost+found.
    each(Cases::Some, 180, &[Damage::Cut(70 << 20), Damage::Cut(70 << 20)], |case| {
        let outcome = fsck(&case.made.path, &["-fyF"]);
        assert_eq!(outcome.status, 4, "{}: {outcome}", case.name);
        let outcome = fsck(&case.made.path, &["-fyF", "--salvage"]);
        assert_eq!(outcome.status, 1, "{}: {outcome}", case.name);
        assert!(outcome.stdout.contains("[DEVICE_CUT]"), "{}: {outcome}", case.name);
        assert!(outcome.stdout.contains("what is lost:"), "{}: {outcome}", case.name);
        fsck(&case.made.path, &["-fnF"]).expect_status(0);
        judged(case);
        let after = Census::of(&volume(&case.made.path).unwrap());
        case.census.after_repair(&case.hit, &after)
    });
}

#[test]
fn volumes_that_linux_filled_are_made_again_without_their_head() {
    let heads = [64 << 10, 8 << 20, 64 << 10];
    for (name, head) in ["clean-1k-local", "clean-2k-local", "clean-4k-o2cb"].into_iter().zip(heads)
    {
        let damage = Damage::Zeros(head);
        let base = Base::Fixture(name);
        let image = base.image();
        let census = Census::of(image.volume());
        let hit = damage.make(image.path()).unwrap();
        let repaired = fsck(image.path(), &["-fyF", "--salvage"]);
        assert_eq!(repaired.status, 1, "{name}, {damage:?}: {repaired}");
        fsck(image.path(), &["-fnF"]).expect_status(0);
        let rates = census.after_repair(&hit, &Census::of(&volume(image.path()).unwrap()));
        println!("{name}, {damage:?}: {rates:?}");
        assert!(rates.savable > 2000 && rates.saved_percent() >= 99.0, "{name}: {rates:?}");
        assert!(rates.named_percent() >= 95.0, "{name}: {rates:?}");
        if oracle("fsck.ocfs2").is_some() {
            let theirs = c_fsck(image.path(), "-fn");
            let codes = theirs.codes_beyond(&complaints(base, "-fn"));
            assert_eq!(codes, [""; 0], "{name}, {damage:?}: {}", theirs.output);
        }
    }
}

#[test]
fn an_older_volume_below_a_new_one_is_copied_out_by_its_generation() {
    let scratch = Scratch::in_memory();
    let folder = scratch.join("source");
    source(&folder);
    let made = make(&scratch, &folder, "disk.img", 600, SHAPES[1].1);
    let before = volume(&made.path).unwrap();
    let (census, generation) = (Census::of(&before), before.generation());
    let old = std::fs::read(&made.path).unwrap();
    let mkfs = Run::new(program("mkfs.ocfs2")).args(["-F", "-x", "--nodiscard", "-J", "size=4M"]);
    mkfs.args(SHAPES[1].1).arg(&made.path).output().expect_status(0);
    let hit = volumes::differ(&old, &std::fs::read(&made.path).unwrap());
    let number = format!("{generation:#010x}");
    let to = scratch.join("new");
    let listed = fsck(&made.path, &["--rescue-to", to.to_str().unwrap()]).expect_status(0);
    let line = format!("Found: generation {number}");
    assert!(listed.stdout.contains(&line), "{listed}");
    let to = scratch.join("old");
    let options = ["--rescue-to", to.to_str().unwrap(), "--generation", &number];
    fsck(&made.path, &options).expect_status(4);
    let rates = census.after_rescue(&hit, &to);
    assert!(rates.savable > 1000 && rates.saved == rates.savable, "{rates:?}");
}

#[test]
fn an_older_volume_below_a_new_one_is_made_again_by_its_generation() {
    let scratch = Scratch::in_memory();
    let folder = scratch.join("source");
    source(&folder);
    for (shape, options) in &SHAPES[..2] {
        let made = make(&scratch, &folder, "disk.img", 600, options);
        let before = volume(&made.path).unwrap();
        let (census, generation) = (Census::of(&before), before.generation());
        drop(before);
        let hit = Damage::Formatted(options).make(&made.path).unwrap();
        let number = format!("{generation:#010x}");
        let outcome = fsck(&made.path, &["-fyF", "--salvage", "--generation", &number]);
        assert_eq!(outcome.status, 1, "{shape}: {outcome}");
        fsck(&made.path, &["-fnF"]).expect_status(0);
        let after = volume(&made.path).unwrap();
        assert_eq!(after.generation(), generation);
        let rates = census.after_repair(&hit, &Census::of(&after));
        println!("{shape}, formatted: {rates:?}");
        assert!(rates.savable > 1000 && rates.saved_percent() >= 99.0, "{shape}: {rates:?}");
        assert!(rates.named_percent() >= 95.0, "{shape}: {rates:?}");
    }
}

#[test]
fn a_device_with_read_errors_is_copied_out_and_made_again() {
    let scratch = Scratch::in_memory();
    let folder = scratch.join("source");
    source(&folder);
    let made = make(&scratch, &folder, "disk.img", 200, SHAPES[1].1);
    let census = Census::of(&volume(&made.path).unwrap());
    // A loop device cannot read what its file has no longer.
    let Some(device) = LoopDevice::attach(&made.path, &[]) else { return };
    let readable = 80 << 20;
    let file = std::fs::File::options().write(true).open(&made.path).unwrap();
    file.set_len(readable).unwrap();
    let hit: Vec<Range<u64>> = std::iter::once(readable..u64::MAX).collect();
    let to = scratch.join("saved");
    let outcome = fsck(device.path(), &["--rescue-to", to.to_str().unwrap()]);
    assert_eq!(outcome.status, 4, "{outcome}");
    assert!(outcome.stdout.contains("Bytes that cannot be read"), "{outcome}");
    let rates = census.after_rescue(&hit, &to);
    println!("read errors, copied: {rates:?}");
    assert!(rates.savable > 500 && rates.saved == rates.savable, "{rates:?}");
    assert!(rates.named_percent() >= 95.0, "{rates:?}");
    // What is written is there again, as on a disk that has replaced its bad sectors.
    let outcome = fsck(device.path(), &["-fyF", "--salvage"]);
    assert_eq!(outcome.status, 1, "{outcome}");
    fsck(device.path(), &["-fn"]).expect_status(0);
    drop(device);
    file.set_len(200 << 20).unwrap();
    let after = Census::of(&volume(&made.path).unwrap());
    let rates = census.after_repair(&hit, &after);
    println!("read errors, made again: {rates:?}");
    assert!(rates.saved_percent() >= 99.0 && rates.named_percent() >= 95.0, "{rates:?}");
}

#[test]
fn a_tar_stream_has_the_same_files_as_a_folder() {
    let scratch = Scratch::in_memory();
    let folder = scratch.join("source");
    source(&folder);
    let made = make(&scratch, &folder, "disk.img", 200, SHAPES[1].1);
    let tar = scratch.join("saved.tar");
    let command = "\"$0\" --rescue-to=- \"$1\" > \"$2\"";
    let run = Run::new("sh").args(["-c", command]).arg(program("fsck.ocfs2"));
    run.arg(&made.path).arg(&tar).output().expect_status(0);
    let to = scratch.join("unpacked");
    std::fs::create_dir(&to).unwrap();
    Run::new("tar").arg("-xf").arg(&tar).arg("-C").arg(&to).output().expect_status(0);
    let rates = Census::of(&volume(&made.path).unwrap()).after_rescue(&[], &to);
    assert!(rates.savable > 2000 && rates.named == rates.savable, "{rates:?}");
    // JSON would be in the same place.
    let both = fsck(&made.path, &["--rescue-to=-", "--json"]);
    assert_eq!(both.status, 8, "{both}");
}
