//! The head of the disk is gone: what `fsck.ocfs2` copies out with `--rescue-to`, and makes again
//! with `--salvage`, of what survives.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails is a failed test")]

mod census;
mod volumes;

use std::ops::Range;
use std::path::Path;

use census::{Census, Rates};
use ocfs2_testing::{Outcome, Run, Scratch, oracle, program};
use volumes::{Damage, HEAD, Made, make, source, volume};

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
}

/// Calls `judge` for each shape of a volume and each damage.
fn each(megabytes: u64, damages: &[Damage], mut judge: impl FnMut(&Case) -> Rates) {
    let mut worst: Vec<String> = Vec::new();
    for (shape, options) in SHAPES {
        let scratch = Scratch::in_memory();
        let folder = scratch.join("source");
        source(&folder);
        for damage in damages {
            let made = make(&scratch, &folder, "disk.img", megabytes, options);
            let census = Census::of(&volume(&made.path).unwrap());
            assert!(census.items.len() > 2000, "{}", census.items.len());
            let Some(hit) = damage.make(&made.path) else { continue };
            let name = format!("{shape}, {damage:?}");
            let case = Case { scratch: Scratch::in_memory(), made, census, hit, name };
            let rates = judge(&case);
            println!("{}: {rates:?}", case.name);
            if rates.saved_percent() < 99.0 || rates.named_percent() < 95.0 {
                worst.push(format!("{}: {rates:?}", case.name));
            }
        }
    }
    assert!(worst.is_empty(), "{}", worst.join("\n"));
}

#[test]
fn what_survives_a_lost_head_is_copied_out_and_nothing_is_written() {
    each(600, &HEAD, |case| {
        let before = std::fs::read(&case.made.path).unwrap();
        let to = case.scratch.join("saved");
        let outcome = fsck(&case.made.path, &["--rescue-to", to.to_str().unwrap()]);
        assert!([0, 4].contains(&outcome.status), "{}: {outcome}", case.name);
        assert!(std::fs::read(&case.made.path).unwrap() == before, "{}: written to", case.name);
        case.census.after_rescue(&case.hit, &to)
    });
}

#[test]
fn a_volume_without_its_head_is_made_again() {
    each(600, &HEAD, |case| {
        let outcome = fsck(&case.made.path, &["-fyF", "--salvage"]);
        assert_eq!(outcome.status, 1, "{}: {outcome}", case.name);
        fsck(&case.made.path, &["-fnF"]).expect_status(0);
        if let Some(theirs) = oracle("fsck.ocfs2") {
            let theirs = Run::new(theirs).args(["-fn", "-F"]).arg(&case.made.path).output();
            assert_eq!(theirs.status, 0, "{}: {theirs}", case.name);
        }
        let after = Census::of(&volume(&case.made.path).unwrap());
        case.census.after_repair(&case.hit, &after)
    });
}
