//! Deleted files, restored from what the journals contain of them.

use std::path::Path;

use ocfs2_device::DeviceOptions;
use ocfs2_format::Blkno;
use ocfs2_format::dinode::FileKind;
use ocfs2_testing::{Random, Run, Scratch, fixture_copy, program};
use ocfs2_volume::edit::{Edit, EditOptions, Session};
use ocfs2_volume::{Inode, Timestamp, Volume};

use crate::judge::Judge;
use crate::writing::change;

/// Number of files per volume that are deleted and restored.
const TRIED: usize = 5;

fn open(image: &Path) -> Volume {
    let device = ocfs2_device::open(image, &Default::default()).unwrap();
    Volume::open(device, &Default::default()).unwrap()
}

fn contents(volume: &Volume, inode: &Inode) -> Vec<u8> {
    let mut bytes = vec![0; inode.size() as usize];
    volume.file(inode).unwrap().read_at(&mut bytes, 0).unwrap();
    bytes
}

/// Returns some regular files with one name.
fn files(volume: &Volume, random: &mut Random) -> Vec<(String, Inode)> {
    let root = volume.root().unwrap();
    let found = volume.walk(&root).unwrap().map(Result::unwrap);
    let mut files: Vec<_> = found
        .filter(|it| it.inode.kind() == Some(FileKind::Regular) && it.inode.size() > 0)
        .filter(|it| volume.links_count(&it.inode) == 1)
        .filter_map(|it| Some((String::from_utf8(it.path).ok()?, it.inode)))
        .filter(|(path, _)| path.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c)))
        .collect();
    (0..TRIED.min(files.len())).map(|_| files.swap_remove(random.below(files.len()))).collect()
}

#[test]
fn a_file_that_was_just_deleted_comes_back_as_it_was() {
    let mut random = Random(0x756e_6465);
    let mut back = 0;
    for name in ["clean-2k-local", "clean-1k-local", "clean-512-local"] {
        let scratch = Scratch::in_memory();
        let image = fixture_copy(name, &scratch);
        let judge = Judge::new(&image);
        let before = open(&image);
        for (path, inode) in files(&before, &mut random) {
            let (expected, attributes) =
                (contents(&before, &inode), before.xattrs(&inode).map(Result::unwrap).count());
            change(&image, &format!("rm /{path}")).expect_status(0);
            let undel = format!("undel <{}> /back", inode.blkno);
            let done = change(&image, &undel);
            if !done.stdout.contains("and has what inode") {
                // Another file shares its clusters.
                let refused = done.expect_status(1);
                assert!(refused.stderr.contains("in use again"), "{refused}");
                continue;
            }
            let after = open(&image);
            let made = after.resolve(b"/back").unwrap();
            assert!(contents(&after, &made) == expected, "{name}: {path}");
            let (old, new) = (&inode.dinode, &made.dinode);
            assert_eq!((old.i_mode, old.i_uid, old.i_gid), (new.i_mode, new.i_uid, new.i_gid));
            assert_eq!(old.i_mtime, new.i_mtime, "{name}: {path}");
            let left = after.xattrs(&made).map(Result::unwrap).count();
            assert!(left == attributes || done.status == 1, "{name}: {path}");
            judge.judge(&format!("{name}: {path}"));
            change(&image, "rm /back").expect_status(0);
            back += 1;
        }
    }
    assert!(back >= 5, "{back}");
}

#[test]
fn what_is_not_there_any_more_is_refused() {
    let scratch = Scratch::in_memory();
    let image = fixture_copy("clean-4k-o2cb", &scratch);
    let shown = Run::new(program("debugfs.ocfs2")).args(["-R", "lsdel"]).arg(&image);
    let shown = shown.output().expect_status(0).stdout;
    assert!(shown.contains(" 100644         938895 Sun Nov 22 "), "{shown}");
    // What a replay restores was not deleted.
    let crashed = ocfs2_testing::fixture("crashed-4k-o2cb");
    let run = Run::new(program("debugfs.ocfs2")).args(["-R", "lsdel"]).arg(crashed);
    let refused = run.output().expect_status(1);
    assert!(refused.stderr.contains("has to be replayed first"), "{refused}");
    // What waits for its deletion is listed nevertheless.
    let orphan = "       32263      0  100644         228894 not yet: orphan of slot 1\n";
    assert!(refused.stdout.contains(orphan), "{refused}");
    for (command, says) in [("lsdel 7", "is none of 4 slots"), ("lsdel 0 1", "usage")] {
        let refused = Run::new(program("debugfs.ocfs2")).args(["-R", command]).arg(&image);
        let refused = refused.output().expect_status(1);
        assert!(refused.stderr.contains(says), "{refused}");
    }
    let before = std::fs::read(&image).unwrap();
    for (command, says) in [
        // A kernel deleted it, and its blocks belong to other files now.
        ("undel <12861> /back", "in use again"),
        ("undel <5> /back", "is not in any journal as a file that was deleted"),
        ("undel <12861> /n0", "in use again"),
        ("undel 12861 /back", "in use again"),
        ("undel <12861>", "usage"),
    ] {
        let refused = change(&image, command).expect_status(1);
        assert!(refused.stderr.contains(says), "{command}: {refused}");
        assert!(std::fs::read(&image).unwrap() == before, "{command}");
    }
}

#[test]
fn a_small_file_comes_back_from_its_inode_that_was_freed() {
    let scratch = Scratch::in_memory();
    let image = crate::writing::volume(&scratch, "-b 4096");
    let judge = Judge::new(&image);
    let number = open(&image).resolve(b"/small").unwrap().blkno;
    change(&image, "rm /small").expect_status(0);
    let listed = |command: &str| change(&image, command).expect_status(0).stdout;
    for slot in 0..2 {
        listed(&format!("logclear {slot}"));
    }
    assert!(listed("lsdel").ends_with("\n1 deleted file found\n"));
    assert!(listed("lsdel 0").contains(&format!("{number} ")));
    assert!(!listed("lsdel 1").contains(&format!("{number} ")));
    assert!(listed(&format!("undel <{number}> /back")).contains("and has what inode"));
    let after = open(&image);
    assert_eq!(contents(&after, &after.resolve(b"/back").unwrap()), b"small");
    judge.judge("undel");
}

#[test]
fn an_older_version_in_a_journal_is_not_the_file() {
    let scratch = Scratch::in_memory();
    let image = crate::writing::volume(&scratch, "-b 4096");
    let judge = Judge::new(&image);
    // The journal has the inode as it is before the second change, which is made past it.
    change(&image, "sif /large mtime 1000").expect_status(0);
    let number = open(&image).resolve(b"/large").unwrap().blkno;
    change(&image, "sif --direct /large mtime 2000").expect_status(0);
    change(&image, "rm /large").expect_status(0);
    change(&image, &format!("undel <{number}> /back")).expect_status(0);
    let after = open(&image);
    let back = after.resolve(b"/back").unwrap();
    assert_eq!(back.dinode.i_mtime, 2000);
    assert!(contents(&after, &back) == vec![7; 300_000]);
    judge.judge("undel");
}

/// Allocates all that is free to a file.
fn fill(edit: &mut Edit, file: Blkno) {
    let mut next = 0;
    for bytes in (12..26).rev().map(|bit| 1 << bit) {
        let is_allocated = edit.allocate(file, next..next + bytes, true).is_ok();
        next += if is_allocated { bytes } else { 0 };
    }
}

fn refuse(image: &Path, inode: Blkno, says: &str) {
    let before = std::fs::read(image).unwrap();
    let refused = change(image, &format!("undel <{inode}> /back")).expect_status(1);
    assert!(refused.stderr.contains(says), "{refused}");
    assert!(std::fs::read(image).unwrap() == before, "{says}");
}

#[test]
fn what_another_file_had_since_is_refused() {
    let scratch = Scratch::in_memory();
    let local = scratch.join("empty");
    std::fs::write(&local, "").unwrap();
    let image = crate::writing::volume(&scratch, "-b 4096 -C 4096");
    change(&image, &format!("write {} /other", local.display())).expect_status(0);
    let number = |name: &[u8]| open(&image).resolve(name).unwrap().blkno;
    let (root, large, other) = (number(b"/"), number(b"/large"), number(b"/other"));
    let options = DeviceOptions { write: true, ..DeviceOptions::default() };
    let device = ocfs2_device::open(&image, &options).unwrap();
    let volume = Volume::open(device.clone(), &Default::default()).unwrap();
    // All of it remains in one log, as with a mount.
    let mut seconds = 1_700_000_000;
    let mut session = Session::open(&volume, device, EditOptions::default()).unwrap();
    let mut commit = |change: &dyn Fn(&mut Edit)| {
        seconds += 1;
        let time = Timestamp { seconds, nanoseconds: 0 };
        let options = EditOptions { time, ..EditOptions::default() };
        let mut edit = Edit::new(session.volume(), options);
        change(&mut edit);
        session.commit(edit).unwrap();
    };
    commit(&|edit| edit.unlink(root, b"large").unwrap());
    commit(&|edit| fill(edit, other));
    commit(&|edit| edit.unlink(root, b"other").unwrap());
    session.close().unwrap();
    refuse(&image, large, "in use again since");
    change(&image, "logclear 0").expect_status(0);
    refuse(&image, large, &format!("which the deleted inode {other} had as well"));
    let restored = change(&image, &format!("undel <{other}> /back")).expect_status(0).stdout;
    assert!(restored.contains("and has what inode"), "{restored}");
}

#[test]
fn what_is_left_of_the_earlier_of_two_deleted_files_is_refused() {
    let scratch = Scratch::in_memory();
    let folder = scratch.join("local");
    std::fs::create_dir(&folder).unwrap();
    let local = |name: &str, byte: u8, len: usize| {
        std::fs::write(folder.join(name), vec![byte; len]).unwrap();
        format!("write {} /{name}", folder.join(name).display())
    };
    let image = scratch.image("volume.img", 40 << 20);
    let mkfs = Run::new(program("mkfs.ocfs2")).args(["-q", "-F", "-M", "local", "-N", "2"]);
    mkfs.args(["-b", "4K", "-C", "4K", "-J", "size=4M"]).arg(&image).success();
    let (low, a, b) = (local("low", 1, 5), local("a", 2, 200_000), local("b", 3, 60_000));
    let mut numbers = Vec::new();
    for command in [&low, &a, "rm /a", "rm /low", &b, "rm /b"] {
        change(&image, command).expect_status(0);
        if command == a || command == b {
            let name: &[u8] = if command == a { b"/a" } else { b"/b" };
            numbers.push(open(&image).resolve(name).unwrap().blkno);
        }
    }
    refuse(&image, numbers[0], &format!("which the deleted inode {} had as well", numbers[1]));
    change(&image, &format!("undel <{}> /back", numbers[1])).expect_status(0);
    let after = open(&image);
    assert!(contents(&after, &after.resolve(b"/back").unwrap()) == vec![3; 60_000]);
}

#[test]
fn a_damaged_log_is_not_replayed() {
    let scratch = Scratch::in_memory();
    let image = fixture_copy("crashed-512-local", &scratch);
    let volume = open(&image);
    let journal = volume.journal(0).unwrap();
    let size = u64::from(volume.block_size().bytes());
    // The second descriptor of a transaction: what begins with the first one is not complete.
    let extents = volume.tree(&journal.inode).unwrap().extents().map(Result::unwrap);
    let mut blocks =
        extents.flat_map(|it| (0..u64::from(it.clusters) * 8).map(move |n| it.blkno.0 + n));
    let is_descriptor = |blkno: &u64| {
        let block = volume.read_blocks(Blkno(*blkno), 1).unwrap();
        block.starts_with(&[0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 1])
    };
    let second = blocks.by_ref().filter(|it| is_descriptor(it)).nth(1).unwrap();
    let file = std::fs::File::options().write(true).open(&image).unwrap();
    let bytes = vec![0x5a; size as usize];
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, second * size).unwrap();
    let before = std::fs::read(&image).unwrap();
    let refused = change(&image, "jr").expect_status(1);
    assert!(refused.stderr.contains("nothing was replayed: fsck.ocfs2 -f"), "{refused}");
    assert!(std::fs::read(&image).unwrap() == before);
}
