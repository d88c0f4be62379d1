//! Blocks overwritten as they are, and their checks.

use std::path::Path;

use ocfs2_testing::{Run, Scratch, fixture_copy, program};

use crate::judge::Judge;
use crate::writing::change;

fn block(image: &Path, number: usize) -> Vec<u8> {
    std::fs::read(image).unwrap()[number * 4096..][..4096].to_vec()
}

#[test]
fn a_check_is_shown_broken_and_mended() {
    let scratch = Scratch::in_memory();
    let image = fixture_copy("clean-4k-o2cb", &scratch);
    let judge = Judge::new(&image);
    // An inode, a leaf of an index, and a block of a directory.
    for (place, shape) in [("<12865>", ""), ("<81819>", ""), ("<78731>", "-t directory")] {
        let run = |option: &str| change(&image, &format!("crc {option} {shape} {place}"));
        let number = place.trim_matches(['<', '>']).parse().unwrap();
        let good = block(&image, number);
        let shown = run("-v").expect_status(0).stdout;
        assert!(shown.contains(" holds: CRC32 and ECC "), "{shown}");
        let broken = run("-i").expect_status(0).stdout;
        assert!(broken.contains("does not hold any more; 1 block changed"), "{broken}");
        let changed = block(&image, number).iter().zip(&good).filter(|(a, b)| a != b).count();
        assert_eq!(changed, 4, "{place}");
        let shown = run("-v").expect_status(1);
        assert!(shown.stdout.contains(" does not hold: CRC32 and ECC "), "{shown}");
        assert!(shown.stdout.contains(", computed ") && shown.stderr.contains("does not hold"));
        assert!(run("").expect_status(1).stdout.is_empty());
        let fsck = Run::new(program("fsck.ocfs2")).arg("-fn").arg(&image).output();
        assert_ne!(fsck.status, 0, "{place}: {fsck}");
        run("-r").expect_status(0);
        assert!(block(&image, number) == good, "{place}");
        assert!(run("-r").expect_status(0).stdout.contains(" holds"));
    }
    judge.judge("crc");
    change(&image, "fill <60000> 00").expect_status(0);
    for (command, says) in [
        ("crc -x /", "usage"),
        ("crc -v", "usage"),
        ("crc <60000>", "has no signature that is known"),
        ("crc -t other /", "can be taken for one of"),
    ] {
        let refused = change(&image, command).expect_status(1);
        assert!(refused.stderr.contains(says), "{command}: {refused}");
    }
}

#[test]
fn blocks_are_filled_with_a_pattern() {
    let scratch = Scratch::in_memory();
    let image = fixture_copy("clean-4k-o2cb", &scratch);
    let before = block(&image, 60_003);
    change(&image, "fill -n 3 <60000> 00ff7a").expect_status(0);
    for number in 60_000..60_003 {
        let expected: Vec<u8> = [0, 0xff, 0x7a].into_iter().cycle().take(4096).collect();
        assert!(block(&image, number) == expected, "{number}");
    }
    assert!(block(&image, 60_003) == before);
    let all = std::fs::read(&image).unwrap();
    for (command, says) in [
        ("fill <60000>", "usage"),
        ("fill -n 0 <60000> 00", "usage"),
        ("fill <60000> 0x00", "is no pattern"),
        ("fill <60000> 0", "usage"),
        ("fill <999999999> 00", "Invalid block number"),
        ("fill -n 99999999999 <60000> 00", "is not followed by so many blocks"),
        ("fill -n 0xffffffffffffffff <60000> 00", "is not followed by so many blocks"),
        ("fill -n 16385 <60000> 00", "is not followed by so many blocks"),
    ] {
        let refused = change(&image, command).expect_status(1);
        assert!(refused.stderr.contains(says), "{command}: {refused}");
    }
    assert!(std::fs::read(&image).unwrap() == all);
    let run = Run::new(program("debugfs.ocfs2")).args(["-R", "fill <60000> 00"]).arg(&image);
    assert!(run.output().expect_status(1).stderr.contains("only read"));
}
