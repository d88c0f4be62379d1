//! Files and directories that are made, renamed, moved and deleted at random.

use std::collections::BTreeSet;
use std::path::Path;

use ocfs2_format::dinode::FileKind;
use ocfs2_testing::{CLEAN, Random, Run, Scratch, fixture_copy, oracle, program};
use ocfs2_volume::edit::{EditError, NewInode};

use crate::bench::Bench;
use crate::model::{Names, begin, edit_of, read};

/// Number of changes in a batch.
const CHANGES: usize = 150;

/// Changes a tree of small directories in all ways. Returns the number of changes.
pub fn at_random(options: &str, seed: u64, batches: usize) -> usize {
    let (bench, mut names) = begin(options, "64M", seed, 255);
    for _ in 0..batches {
        let mut edit = edit_of(&bench);
        for _ in 0..CHANGES {
            names.change(&mut edit);
        }
        names.settle(&bench, edit);
    }
    batches * CHANGES
}

/// Changes one directory: it gets many names, loses most of them, and gets others.
fn one_large(options: &str, seed: u64, most: usize, longest: usize) {
    let (bench, mut names) = begin(options, "128M", seed, longest);
    let mut edit = edit_of(&bench);
    names.create(&mut edit, b"", b"large", FileKind::Directory);
    let at = |names: &mut Names, size: usize| {
        let mut edit = edit_of(&bench);
        let inside = |names: &Names| -> Vec<_> {
            names.paths.keys().filter(|path| path.starts_with(b"large/")).cloned().collect()
        };
        let mut there = inside(names);
        while there.len() > size {
            let path = there.swap_remove(names.random.below(there.len()));
            names.unlink(&mut edit, &path);
        }
        let wanted = names.paths.len() + size.saturating_sub(there.len());
        while names.paths.len() < wanted {
            let (name, dirs) = (names.name(), names.random.below(50) == 0);
            let kind = if dirs { FileKind::Directory } else { FileKind::Regular };
            names.create(&mut edit, b"large", &name, kind);
        }
        names.settle(&bench, edit);
    };
    names.settle(&bench, edit);
    for size in [10, most / 10, most, most / 3, most, most / 50, 0, 10] {
        at(&mut names, size);
    }
}

#[test]
fn names_changed_at_random_are_a_sound_tree() {
    at_random("-M local -N 1 -b 512 -C 4K -J size=4M", 1, 8);
    at_random("-M local -N 2 -b 1K -C 4K -J size=4M --fs-features=metaecc", 2, 6);
    at_random("-M local -N 1 -b 4K -C 4K -J size=4M --fs-features=noinline-data", 3, 6);
    at_random("-M local -N 1 -b 4K -C 16K -J size=4M --fs-features=metaecc,xattr", 4, 6);
}

#[test]
fn names_changed_at_random_are_counted_for_their_owners() {
    let quota = "--fs-features=usrquota,grpquota";
    at_random(&format!("-M local -N 1 -b 512 -C 4K -J size=4M {quota},metaecc"), 41, 8);
    at_random(&format!("-M local -N 1 -b 1K -C 16K -J size=4M {quota},noindexed-dirs"), 42, 6);
    at_random(&format!("-M local -N 2 -b 4K -C 4K -J size=4M {quota},noinline-data"), 43, 6);
    one_large(&format!("-M local -N 1 -b 512 -C 4K -J size=4M {quota}"), 44, 1500, 255);
}

#[test]
fn names_without_an_index_changed_at_random_are_a_sound_tree() {
    at_random("-M local -N 1 -b 512 -C 4K -J size=4M --fs-features=noindexed-dirs", 5, 6);
    let plain = "--fs-features=metaecc,noindexed-dirs,noinline-data";
    at_random(&format!("-M local -N 1 -b 1K -C 8K -J size=4M {plain}"), 6, 6);
    let plain = "--fs-features=noindexed-dirs,noinline-data";
    at_random(&format!("-M local -N 1 -b 4K -C 4K -J size=4M {plain}"), 7, 6);
}

#[test]
fn a_directory_grows_and_shrinks_by_thousands_of_names() {
    one_large("-M local -N 1 -b 512 -C 4K -J size=4M", 10, 3000, 255);
    one_large("-M local -N 1 -b 1K -C 8K -J size=4M --fs-features=metaecc", 11, 2000, 100);
    one_large("-M local -N 1 -b 4K -C 4K -J size=4M --fs-features=noinline-data", 12, 3000, 60);
    one_large("-M local -N 1 -b 512 -C 32K -J size=4M --fs-features=metaecc", 13, 3000, 20);
}

#[test]
fn a_directory_without_an_index_grows_and_shrinks() {
    one_large("-M local -N 1 -b 512 -C 4K -J size=4M --fs-features=noindexed-dirs", 14, 600, 255);
    let plain = "--fs-features=metaecc,noindexed-dirs";
    one_large(&format!("-M local -N 1 -b 4K -C 8K -J size=4M {plain}"), 15, 800, 255);
}

/// Adds names one by one to a directory of 20,000 names. Returns the largest number of blocks that
/// one of them changes.
fn most_changed(options: &str) -> usize {
    let (bench, mut names) = begin(options, "256M", 20, 30);
    let mut edit = edit_of(&bench);
    let root = names.root;
    let dir = edit.create(root, b"large", &NewInode::of(FileKind::Directory, 0o755)).unwrap();
    let file = edit.create(root, b"one", &NewInode::of(FileKind::Regular, 0o644)).unwrap();
    for number in 0..20_000 {
        edit.hard_link(dir, format!("a name of the file, {number}").as_bytes(), file).unwrap();
    }
    edit.finish().unwrap();
    bench.commit(&edit);
    bench.judge();
    let mut most = 0;
    for _ in 0..200 {
        let mut edit = edit_of(&bench);
        let name = names.name();
        match edit.hard_link(dir, &name, file) {
            Ok(()) => {}
            Err(EditError::Exists(_)) => continue,
            Err(err) => panic!("{err}"),
        }
        edit.finish().unwrap();
        most = most.max(edit.changed_blocks());
        bench.commit(&edit);
    }
    bench.judge();
    most
}

#[test]
fn a_name_more_in_a_directory_of_thousands_writes_a_few_blocks() {
    // Two inodes, a block, the index's root and two leaves, and what a split needs.
    let most = most_changed("-M local -N 1 -b 4K -C 4K -J size=4M");
    assert!(most <= 12, "{most} blocks are changed");
    // A split writes both clusters, of eight leaves each.
    let most = most_changed("-M local -N 1 -b 512 -C 4K -J size=4M --fs-features=metaecc");
    assert!(most <= 12 + 2 * 8, "{most} blocks are changed");
}

/// Changes a volume filled by a kernel, with attributes, shared extents and large directories: some
/// names are moved, others are made, then most are deleted.
fn of_a_kernel(fixture: &str, seed: u64) {
    let scratch = Scratch::new();
    let path = fixture_copy(fixture, &scratch);
    let bench = Bench::open(path, scratch);
    let (ours, theirs) = (program("fsck.ocfs2"), oracle("fsck.ocfs2"));
    let judges = [Some(ours), theirs].into_iter().flatten();
    let judges: Vec<_> = judges.map(|judge| (complaints(&judge, &bench), judge)).collect();
    let volume = bench.volume();
    let (paths, root) = (read(&volume), volume.root().unwrap().blkno);
    let mut names = Names { random: Random(seed), paths, root, longest: 255 };
    for batch in 0..4 {
        let mut edit = edit_of(&bench);
        for _ in 0..200 {
            names.change(&mut edit);
        }
        for _ in 0..names.paths.len() * usize::from(batch > 1) {
            let Some(path) = names.path() else { break };
            names.unlink(&mut edit, &path);
        }
        assert!(read(&edit) == names.paths, "{fixture}, batch {batch}: before the commit");
        edit.finish().unwrap();
        bench.commit(&edit);
        assert!(read(&bench.volume()) == names.paths, "{fixture}, batch {batch}");
        for (before, judge) in &judges {
            let now = complaints(judge, &bench);
            let new: Vec<_> = now.difference(before).collect();
            assert!(new.is_empty(), "{fixture}, batch {batch}: {new:#?}");
        }
    }
}

/// Returns the findings of a judge up to the first comma, because paths change later.
fn complaints(fsck: &Path, bench: &Bench) -> BTreeSet<String> {
    let output = Run::new(fsck).arg("-fn").arg(bench.path()).output();
    let findings = output.stdout.lines().filter(|line| line.starts_with('['));
    let all: Vec<_> = findings.map(|line| line.split(',').next().unwrap().to_owned()).collect();
    if all.is_empty() && output.status != 0 {
        return BTreeSet::from([format!("status {}: {}", output.status, output.stderr)]);
    }
    all.into_iter().collect()
}

#[test]
fn what_kernels_have_made_is_moved_and_deleted() {
    for (seed, fixture) in CLEAN.into_iter().enumerate() {
        of_a_kernel(fixture, seed as u64);
    }
}

#[test]
fn names_hashed_as_newer_kernels_do_are_found_and_taken_out() {
    let bench = Bench::new("-M local -N 1 -b 512 -C 4K -J size=4M", "64M");
    let mut edit = bench.edit();
    let root = edit.root().unwrap().blkno;
    let file = edit.create(root, b"one", &NewInode::of(FileKind::Regular, 0o644)).unwrap();
    let name = |number: u32| format!("gr\u{fc}\u{df}e {number}").into_bytes();
    (0..1000).for_each(|number| edit.hard_link(root, &name(number), file).unwrap());
    (0..1000).step_by(2).for_each(|number| edit.unlink(root, &name(number)).unwrap());
    edit.finish().unwrap();
    bench.commit(&edit);
    let (volume, root) = (bench.volume(), bench.volume().root().unwrap());
    for number in 0..1000 {
        let found = volume.lookup(&root, &name(number)).unwrap();
        assert_eq!(found.map(|entry| entry.inode), (number % 2 == 1).then_some(file));
    }
    // The C fsck cannot find them.
    Run::new(program("fsck.ocfs2")).arg("-fn").arg(bench.path()).output().expect_status(0);
}
