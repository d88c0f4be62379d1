//! Changes of more blocks than a journal has room for: they go through it all the same, or not at all.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocfs2_device::{AfterWrites, Device, DeviceOptions, open};
use ocfs2_format::dinode::FileKind;
use ocfs2_format::{Blkno, Cpos};
use ocfs2_testing::{Run, Scratch, program};
use ocfs2_tests::listed;
use ocfs2_volume::edit::NewInode;

use crate::bench::{all_codes, volume_at};
use crate::power::{self, Points};
use crate::rich::change;

/// Number of points at which the power fails, per scenario.
const POINTS: Points = Points::Sampled(3);

/// Blocks of the journals.
const JOURNAL: usize = 1024;

/// A volume whose first half is free, and with journals of 1024 blocks; `fill` makes what follows.
fn after_a_large_file(scratch: &Scratch, fill: impl FnOnce(&Path)) -> PathBuf {
    let (source, path) = (scratch.join("source"), scratch.join("volume.img"));
    fs::create_dir_all(source.join("a")).unwrap();
    fs::write(source.join("a/large"), vec![1; 56 << 20]).unwrap();
    fill(&source);
    let mkfs = Run::new(program("mkfs.ocfs2")).args(["-q", "-M", "local", "-J", "size=4M"]);
    let mkfs = mkfs.args("-N 1 -b 4K -C 4K --fs-feature-level=max-features".split(' '));
    mkfs.arg("-d").arg(&source).arg(&path).arg("112M").success();
    path
}

fn remove_the_large_file(path: &Path) {
    change(path, |edit| {
        let dir = edit.resolve(b"/a").unwrap().blkno;
        edit.unlink(dir, b"large").unwrap();
    });
}

/// A directory whose blocks are more than a journal has.
fn with_a_large_directory(scratch: &Scratch) -> PathBuf {
    let path = after_a_large_file(scratch, |source| {
        let dir = source.join("b");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("0"), "of many names").unwrap();
        for index in 1..20_000 {
            let name = format!("{index}{}", "n".repeat(220));
            fs::hard_link(dir.join("0"), dir.join(name)).unwrap();
        }
    });
    remove_the_large_file(&path);
    let volume = volume_at(&path);
    assert!(volume.resolve(b"/b").unwrap().size() > (JOURNAL << 12) as u64);
    path
}

/// Moves the inode of the file in that directory to another group of its allocator, after everything
/// else.
fn to_the_end(path: &Path) {
    change(path, |edit| {
        let top = edit.superblock().s_root_blkno;
        let large = NewInode::of(FileKind::Regular, 0o600);
        let large = edit.create(top, b"large", &large).unwrap();
        edit.allocate(large, 0..56 << 20, false).unwrap();
        let dir = NewInode::of(FileKind::Directory, 0o700);
        let dir = edit.create(top, b"c", &dir).unwrap();
        for index in 0..JOURNAL {
            let file = NewInode::of(FileKind::Regular, 0o600);
            edit.create(dir, index.to_string().as_bytes(), &file).unwrap();
        }
        let file = edit.resolve(b"/b/0").unwrap().blkno;
        let beyond = edit.beyond(file.0 as u32).unwrap();
        let mut names = edit.inodes_beyond(&beyond).unwrap();
        edit.move_inode(&mut names, file).unwrap();
        edit.unlink(top, b"large").unwrap();
        for index in 0..JOURNAL {
            edit.unlink(dir, index.to_string().as_bytes()).unwrap();
        }
    });
}

/// A file that more inodes share than a journal has blocks.
fn with_many_reflinks(scratch: &Scratch) -> PathBuf {
    let path = after_a_large_file(scratch, |source| {
        fs::create_dir(source.join("b")).unwrap();
        fs::write(source.join("b/0"), vec![2; 300_000]).unwrap();
    });
    change(&path, |edit| {
        let dir = edit.resolve(b"/b").unwrap().blkno;
        let first = edit.lookup(&edit.inode(dir).unwrap(), b"0").unwrap().unwrap().inode;
        for index in 1..JOURNAL + 200 {
            let copy = NewInode::of(FileKind::Regular, 0o600);
            let copy = edit.create(dir, index.to_string().as_bytes(), &copy).unwrap();
            edit.reflink(first, copy).unwrap();
        }
    });
    remove_the_large_file(&path);
    path
}

fn fsck(path: &Path, options: &str) -> ocfs2_testing::Outcome {
    Run::new(program("fsck.ocfs2")).arg(options).arg(path).output()
}

/// The places where the files of a directory begin.
fn places(path: &Path) -> BTreeSet<Option<Blkno>> {
    let volume = volume_at(path);
    let files = volume.entries(&volume.resolve(b"/b").unwrap()).unwrap().map(Result::unwrap);
    let files =
        files.filter(|entry| !entry.is_dot()).map(|entry| volume.inode(entry.inode).unwrap());
    files
        .filter(|inode| !inode.is_inline())
        .map(|inode| volume.tree(&inode).unwrap().map(Cpos(0)).unwrap().map(|extent| extent.blkno))
        .collect()
}

#[test]
fn the_power_may_fail_while_more_moves_than_a_journal_holds() {
    interrupt_large_steps(POINTS);
}

#[test]
#[ignore = "slow: run by cargo xtask test --all"]
fn the_power_may_fail_while_more_moves_than_a_journal_holds_and_at_all_others() {
    interrupt_large_steps(Points::Dense);
}

fn interrupt_large_steps(chosen: Points) {
    for make in [with_a_large_directory, with_many_reflinks] {
        let scratch = Scratch::in_memory();
        let path = make(&scratch);
        let (known, before) = (all_codes(&path), listed(&volume_at(&path), true));
        let to = volume_at(&path).geometry().clusters / 2;
        let base: Arc<dyn Device> = open(&path, &DeviceOptions::default()).unwrap();
        let after = scratch.join("after.img");
        let all = power::change_to(&base, to, u64::MAX, AfterWrites::Fail, &after);
        assert!(all_codes(&after).is_subset(&known));
        assert!(listed(&volume_at(&after), true) == before);
        assert_eq!(places(&after).len(), places(&path).len(), "what is shared stays shared");
        let modes = [AfterWrites::Fail, AfterWrites::Drop, AfterWrites::Tear];
        for (writes, then) in chosen.of(all).zip(modes.into_iter().cycle()) {
            power::change_to(&base, to, writes, then, &after);
            let what = format!("{then:?} after {writes} of {all} writes");
            let replayed = fsck(&after, "-y");
            assert!(replayed.status <= 1, "{what}: {replayed}");
            let found = all_codes(&after);
            assert!(found.is_subset(&known), "{what}: {found:?}");
            assert!(listed(&volume_at(&after), true) == before, "{what}");
            let base: Arc<dyn Device> = open(&after, &DeviceOptions::default()).unwrap();
            let again = scratch.join("again.img");
            power::change_to(&base, to, u64::MAX, AfterWrites::Fail, &again);
            assert_eq!(volume_at(&again).geometry().clusters, to, "{what}");
            assert!(all_codes(&again).is_subset(&known), "{what}");
        }
    }
}

#[test]
fn what_no_journal_holds_is_refused_until_the_journals_are_larger() {
    // An inode that moves changes all its names.
    let scratch = Scratch::in_memory();
    let path = with_a_large_directory(&scratch);
    to_the_end(&path);
    let least = volume_at(&path).geometry().clusters / 2;
    assert!(volume_at(&path).resolve(b"/b/0").unwrap().blkno.0 > least.into());
    let shrink = |size: u32| {
        let tunefs = Run::new(program("tunefs.ocfs2")).args(["-y", "-q", "-Sclusters"]);
        tunefs.arg(&path).arg(size.to_string()).output()
    };
    let before = fs::read(&path).unwrap();
    let refused = shrink(least);
    assert_eq!(refused.status, 1, "{refused}");
    for text in ["blocks would have to change at once", "-J size=SIZE"] {
        assert!(refused.stderr.contains(text), "{refused}");
    }
    assert!(before == fs::read(&path).unwrap());
    let (known, files) = (all_codes(&path), listed(&volume_at(&path), true));
    let larger = Run::new(program("tunefs.ocfs2")).args(["-q", "-J", "size=16M"]);
    larger.arg(&path).success();
    let done = shrink(least);
    assert_eq!(done.status, 0, "{done}");
    assert!(all_codes(&path).is_subset(&known));
    assert!(listed(&volume_at(&path), true) == files);
}
