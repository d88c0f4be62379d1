//! `defragfs.ocfs2 --offline`: volumes whose files and directories lie in pieces, with both fsck, the
//! extents, and what Linux has read as judges.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

#[path = "../tunefs/bench.rs"]
#[allow(dead_code, reason = "half of it is for other tests")]
mod bench;
mod power;
mod refused;
#[path = "../tunefs/rich.rs"]
mod rich;
mod scattered;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ocfs2_testing::{CLEAN, Outcome, Run, Scratch, fixture_copy, program};
use ocfs2_tests::{assert_as_manifest_elsewhere, listed};
use serde_json::Value;

use bench::{all_codes, found_by_c, volume_at};
use scattered::{Lying, lying, scattered};

/// Forms of volumes, and how often files are written in turn.
const FORMS: [(&str, u64); 7] = [
    ("-b 512 -C 4K --fs-feature-level=max-features", 100),
    ("-b 1K -C 4K --fs-features=noinline-data,noindexed-dirs", 100),
    ("-b 1K -C 4K --fs-features=metaecc", 100),
    ("-b 2K -C 8K --fs-feature-level=max-features", 80),
    ("-b 4K -C 4K --fs-feature-level=max-features", 150),
    ("-b 4K -C 4K --fs-feature-level=max-compat", 100),
    ("-b 4K -C 1M -J size=16M", 20),
];

fn defragfs(options: &str, path: &Path, paths: &[&str]) -> Outcome {
    let run = Run::new(program("defragfs.ocfs2")).arg("--offline");
    run.args(options.split_whitespace()).arg(path).args(paths).output()
}

fn json(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|err| panic!("{err}: {outcome}"))
}

/// Demands that neither fsck finds anything new.
fn judge(path: &Path, known: &BTreeSet<String>, what: &str) {
    let found = all_codes(path);
    assert!(found.is_subset(known), "{what}: {found:?}, {known:?}, {:#?}", found_by_c(path));
}

/// Demands that all is as before, but for where it lies.
fn assert_same(
    path: &Path,
    before: &std::collections::BTreeMap<ocfs2_format::Blkno, Lying>,
    what: &str,
) {
    let now = lying(path);
    assert_eq!(now.len(), before.len(), "{what}");
    for ((blkno, now), (old, before)) in now.iter().zip(before) {
        assert_eq!(blkno, old, "{what}");
        let same = Lying { pieces: now.pieces, ..before.clone() };
        assert!(*now == same, "{what}: inode {blkno}: {now:?}\n{same:?}");
    }
}

#[test]
fn files_and_directories_are_in_one_piece_afterwards_and_as_they_were() {
    gathers(FORMS.into_iter().step_by(2));
}

#[test]
#[ignore = "the other half of the forms: cargo xtask test --all runs it"]
fn they_are_in_each_form_of_volume() {
    gathers(FORMS.into_iter().skip(1).step_by(2));
}

fn gathers(forms: impl Iterator<Item = (&'static str, u64)>) {
    for (form, turns) in forms {
        let scratch = Scratch::in_memory();
        let path = scattered(&scratch, form, turns);
        let (known, names) = (all_codes(&path), listed(&volume_at(&path), true));
        let before = lying(&path);
        let pieces = |all: &std::collections::BTreeMap<_, Lying>| -> usize {
            all.values().map(|it| it.pieces).sum()
        };
        assert!(pieces(&before) as u64 > 3 * turns, "{form}: {}", pieces(&before));
        let dirs = before.values().filter(|it| it.is_dir && it.pieces > 1).count();
        // A cluster of 1 MiB has room for all names.
        assert!(dirs >= 2 || form.contains("1M"), "{form}: {dirs} directories in pieces");
        let bytes = fs::read(&path).unwrap();
        let said = json(&defragfs("-n --json --pack", &path, &[]).expect_status(0));
        assert!(bytes == fs::read(&path).unwrap(), "{form}: a dry run writes");
        let done = json(&defragfs("--json --pack", &path, &[]).expect_status(0));
        assert_eq!(said, done, "{form}");
        judge(&path, &known, form);
        assert!(listed(&volume_at(&path), true) == names, "{form}");
        assert_same(&path, &before, form);
        let after = lying(&path);
        for (blkno, it) in after.iter().filter(|(_, it)| it.shared.is_empty()) {
            assert!(it.pieces <= 1, "{form}: inode {blkno} has {} pieces", it.pieces);
        }
        eprintln!("{form}: {} pieces, now {}", pieces(&before), pieces(&after));
        assert_eq!(done["pieces_before"], pieces(&before), "{form}");
        assert_eq!(done["pieces_after"], pieces(&after), "{form}");
        let runs = |when: &str| done[when]["runs"].as_u64().unwrap();
        eprintln!("{form}: {} free runs, now {}", runs("free_before"), runs("free_after"));
        assert!(runs("free_after") < runs("free_before"), "{form}");
        let bytes = fs::read(&path).unwrap();
        let again = json(&defragfs("--json", &path, &[]).expect_status(0));
        assert_eq!((&again["moved_bytes"], &again["fragmented"]), (&0.into(), &0.into()), "{form}");
        assert!(bytes == fs::read(&path).unwrap(), "{form}: a second run writes");
    }
}

#[test]
fn volumes_that_linux_filled_have_everything_afterwards() {
    for name in CLEAN {
        let scratch = Scratch::in_memory();
        let image = fixture_copy(name, &scratch);
        let (known, before) = (all_codes(&image), lying(&image));
        let done = json(&defragfs("--json --pack", &image, &[]).expect_status(0));
        eprintln!("{name}: {} pieces, now {}", done["pieces_before"], done["pieces_after"]);
        judge(&image, &known, name);
        assert_same(&image, &before, name);
        assert_as_manifest_elsewhere(&volume_at(&image), name);
        let pieces = |key: &str| done[key].as_u64().unwrap();
        assert!(pieces("pieces_after") <= pieces("pieces_before"), "{name}");
        assert!(pieces("moved_bytes") > 0, "{name}: nothing to be moved, which tests nothing");
    }
}

#[test]
fn only_what_is_named_moves_and_counts_are_shown() {
    let scratch = Scratch::in_memory();
    let path = scattered(&scratch, "-b 4K -C 4K", 50);
    let before = lying(&path);
    let count = defragfs("-c", &path, &[]).expect_status(0).stdout;
    assert!(count.contains(" files should be defraged in ["), "{count}");
    for text in ["pieces: /turn 0\n", "pieces: /turns 0\n", "\nFree: ", " runs from 8 KiB: "] {
        assert!(count.contains(text), "{text}: {count}");
    }
    let done = defragfs("-v", &path, &["/turn 1", "/turns 0"]).expect_status(0).stdout;
    assert!(done.contains("/turn 1: 50 pieces, now 1\n"), "{done}");
    let volume = volume_at(&path);
    let number = |name: &str| volume.resolve(name.as_bytes()).unwrap().blkno;
    let after = lying(&path);
    // Of a directory, everything below it is meant: what it links to.
    let moved = ["/turn 1", "/turns 0", "/turn 0"].map(number);
    for (blkno, now) in &after {
        let expected = if moved.contains(blkno) { 1 } else { before[blkno].pieces };
        assert_eq!(now.pieces, expected, "inode {blkno}");
    }
    let missing = defragfs("", &path, &["/nothing"]);
    assert_eq!(missing.status, 1, "{missing}");
    assert!(missing.stderr.contains("/nothing"), "{missing}");
}

#[test]
fn what_is_overwritten_is_saved_and_comes_back() {
    let scratch = Scratch::in_memory();
    let path = scattered(&scratch, "-b 1K -C 4K", 60);
    let (bytes, undo) = (fs::read(&path).unwrap(), scratch.join("undo"));
    let run = Run::new(program("defragfs.ocfs2")).args(["--offline", "--undo-file"]).arg(&undo);
    let done = run.arg(&path).output().expect_status(0);
    assert!(done.stderr.contains("--undo"), "{done}");
    assert!(bytes != fs::read(&path).unwrap());
    let back = Run::new(program("fsck.ocfs2")).arg("--undo").arg(&undo).arg(&path).output();
    assert!(back.status <= 1, "{back}");
    assert!(bytes == fs::read(&path).unwrap(), "{back}");
}

#[test]
fn a_file_that_finds_no_room_gets_it_when_free_space_is_put_together() {
    use ocfs2_format::dinode::FileKind;
    use ocfs2_volume::edit::NewInode;
    let scratch = Scratch::in_memory();
    let path = rich::rich(&scratch, "-b 4K -C 4K", "64M", 10);
    // The volume is full of small files in turn with a large one; then some of the small ones go.
    rich::change(&path, |edit| {
        let top = edit.superblock().s_root_blkno;
        let make = |edit: &mut ocfs2_volume::Edit, name: &str| {
            let new = NewInode::of(FileKind::Regular, 0o600);
            edit.create(top, name.as_bytes(), &new).unwrap()
        };
        let large = make(edit, "large");
        for turn in 0..1500_u64 {
            let small = make(edit, &format!("small {turn}"));
            edit.write_file(small, 0, &[7; 4096]).unwrap();
            edit.write_file(large, turn * 8192, &[turn as u8; 8192]).unwrap();
        }
        let left = edit.free_clusters().unwrap() as u32;
        let rest = make(edit, "rest");
        for index in 0..left.saturating_sub(64) {
            edit.allocate(rest, u64::from(index) << 12..u64::from(index + 1) << 12, false).unwrap();
        }
        for turn in (0..1500).step_by(2) {
            edit.unlink(top, format!("small {turn}").as_bytes()).unwrap();
        }
    });
    let (known, names) = (all_codes(&path), listed(&volume_at(&path), true));
    let before = lying(&path);
    let done = json(&defragfs("--json", &path, &[]).expect_status(0));
    judge(&path, &known, "full");
    assert_same(&path, &before, "full");
    assert!(listed(&volume_at(&path), true) == names);
    let large = volume_at(&path).resolve(b"/large").unwrap().blkno;
    let (was, is) = (before[&large].pieces, lying(&path)[&large].pieces);
    eprintln!("{was} pieces, now {is}: {}", done["free_after"]);
    assert!(was >= 1400 && is <= was / 20, "{was}, {is}: {done}");
}
