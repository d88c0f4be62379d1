//! Commands that change a volume: what they do, what they refuse, and what they leave behind.

use std::fs;
use std::path::{Path, PathBuf};

use ocfs2_testing::{Outcome, Run, Scratch, fixture_copy, program, while_beating};

use crate::judge::{Judge, found_by_c};

/// Makes a volume of 64 MiB with some files.
pub fn volume(scratch: &Scratch, options: &str) -> PathBuf {
    let (folder, image) = (scratch.join("folder"), scratch.join("volume.img"));
    fs::create_dir_all(folder.join("sub")).unwrap();
    fs::write(folder.join("small"), "small").unwrap();
    fs::write(folder.join("large"), vec![7; 300_000]).unwrap();
    fs::write(folder.join("sub/inner"), vec![8; 10_000]).unwrap();
    let mkfs = Run::new(program("mkfs.ocfs2")).args(["-q", "-M", "local", "-N", "2", "-J"]);
    let mkfs = mkfs.arg("size=4M").args(options.split_whitespace()).arg("-d");
    mkfs.arg(&folder).arg(&image).arg("64M").success();
    image
}

pub fn change(image: &Path, command: &str) -> Outcome {
    Run::new(program("debugfs.ocfs2")).args(["-w", "-R", command]).arg(image).output()
}

fn shown(image: &Path, command: &str) -> String {
    let run = Run::new(program("debugfs.ocfs2")).args(["-R", command]).arg(image);
    run.output().expect_status(0).stdout
}

/// Commands in the order in which they are run, each with the beginning of its output.
const STEPS: &[(&str, &str)] = &[
    ("mkdir /new", "/new is inode "),
    ("mkdir \"/new/with blank\"", "/new/with blank is inode "),
    ("write LOCAL /new/copy", "/new/copy is inode "),
    ("write LOCAL //../new2", "the directory"),
    ("symlink /new/link ../large", "/new/link is inode "),
    ("mknod /new/pipe p", "/new/pipe is inode "),
    ("mknod /new/socket s", "/new/socket is inode "),
    ("mknod /new/null c 1 3", "/new/null is inode "),
    ("mknod /new/disk b 8 0x11", "/new/disk is inode "),
    ("ln /small /new/linked", "/new/linked is inode "),
    ("ea_set /small user.color red", "user.color of inode "),
    ("ea_set -f LOCAL /new user.large", "user.large of inode "),
    ("ea_set /small user.color green", "user.color of inode "),
    ("reflink /large /new/shared", "/new/shared is inode "),
    ("truncate /large 100K", "/large had 300000 bytes and has 102400"),
    ("truncate /large 1000000", "/large had 102400 bytes and has 1000000"),
    ("punch /new/shared 10 20", "/new/shared had "),
    ("punch /large 2", "/large had "),
    ("fallocate /small 0 99", "/small had 0 clusters and has "),
    ("fallocate -k /sub/inner 0 99", "/sub/inner had "),
    ("rename /new/copy /sub/moved", "/new/copy is now /sub/moved"),
    ("mv /sub /new/sub", "/sub is now /new/sub"),
    ("rename /new/pipe /new/socket", "/new/pipe is now /new/socket"),
    ("rm /new/linked", "/new/linked is gone; inode "),
    ("unlink /small", "/small and inode "),
    ("rmdir \"/new/with blank\"", "/new/with blank and inode "),
    ("ea_rm /new user.large", "user.large of inode "),
    ("kill_file /new/sub/moved", "inode "),
    ("rm /new/shared", "/new/shared and inode "),
    ("rm /large", "/large and inode "),
];

#[test]
fn after_each_command_a_check_finds_nothing_and_undo_gives_the_bytes_back() {
    for options in ["-b 4096 -C 4096", "-b 1024 -C 8192 --fs-features=metaecc,usrquota,grpquota"] {
        let scratch = Scratch::in_memory();
        let (image, local) = (volume(&scratch, options), scratch.join("local"));
        fs::write(&local, (0..60_000_u32).map(|at| (at / 9) as u8).collect::<Vec<_>>()).unwrap();
        let judge = Judge::new(&image);
        for (command, says) in STEPS {
            let (before, undo) = (fs::read(&image).unwrap(), scratch.join("undo"));
            let command = command.replace("LOCAL", &local.display().to_string());
            let run = Run::new(program("debugfs.ocfs2")).arg("-w").arg("--undo-file").arg(&undo);
            let done = run.args(["-R", &command]).arg(&image).output();
            if *says == "the directory" {
                let refused = done.expect_status(1);
                assert!(refused.stderr.contains("belongs to the volume itself"), "{refused}");
                assert!(refused.stderr.contains("Nothing was overwritten"), "{refused}");
                assert!(fs::read(&image).unwrap() == before && !undo.exists());
                continue;
            }
            let done = done.expect_status(0);
            assert!(done.stdout.starts_with(says) && done.stdout.ends_with("changed\n"), "{done}");
            judge.judge(&command);
            let after = fs::read(&image).unwrap();
            let back = Run::new(program("fsck.ocfs2")).arg(format!("--undo={}", undo.display()));
            back.arg(&image).output().expect_status(0);
            assert!(fs::read(&image).unwrap() == before, "{command}");
            fs::write(&image, after).unwrap();
            fs::remove_file(&undo).unwrap();
        }
        assert_eq!(shown(&image, "ls /new").lines().count(), 7, "{}", shown(&image, "ls /new"));
    }
}

#[test]
fn what_is_put_in_is_what_comes_out() {
    let scratch = Scratch::in_memory();
    let (image, local) = (volume(&scratch, "-b 4096 -C 4096"), scratch.join("local"));
    let mut bytes = vec![0; 5 << 20];
    bytes[..10_000].fill(1);
    bytes[3_000_000..3_000_100].fill(2);
    fs::write(&local, &bytes).unwrap();
    change(&image, &format!("write {} /file", local.display())).expect_status(0);
    let copy = scratch.join("copy");
    shown(&image, &format!("dump /file {}", copy.display()));
    assert!(fs::read(&copy).unwrap() == bytes);
    // Zeros take no room, except those that are written in the same piece as data.
    let clusters: u32 = shown(&image, "print /file.i_clusters")
        .trim_start_matches("i_clusters = ")
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(clusters <= 512, "{clusters}");
    change(&image, "ea_set /file user.key \"v\\x00\\xff\"").expect_status(0);
    change(&image, "ea_set /file trusted.other x").expect_status(0);
    assert_eq!(shown(&image, "ea_list /file"), "user.key (3 bytes)\ntrusted.other (1 bytes)\n");
    assert_eq!(shown(&image, "ea_get /file user.key"), "v\\u{0}\\xff\n");
    let value = scratch.join("value");
    shown(&image, &format!("ea_get -f {} /file user.key", value.display()));
    assert_eq!(fs::read(&value).unwrap(), b"v\0\xff");
    change(&image, "reflink /file /again").expect_status(0);
    change(&image, "truncate /file 0").expect_status(0);
    shown(&image, &format!("dump /again {}", copy.display()));
    assert!(fs::read(&copy).unwrap() == bytes);
    Judge::new(&image).judge("the end");
}

#[test]
fn a_name_is_hashed_as_the_other_names_in_its_directory() {
    let scratch = Scratch::in_memory();
    let (image, folder) = (scratch.image("v.img", 300 << 20), scratch.join("folder"));
    fs::create_dir_all(folder.join("dir")).unwrap();
    fs::write(folder.join("dir/\u{e4}"), "").unwrap();
    for hash in ["signed", "unsigned"] {
        let mkfs = Run::new(program("mkfs.ocfs2")).args(["-q", "-F", "-M", "local", "-N", "1"]);
        let mkfs =
            mkfs.args(["--fs-features=indexed-dirs,noinline-data", "--name-hash", hash, "-d"]);
        mkfs.arg(&folder).arg(&image).success();
        change(&image, "mkdir /dir/\u{f6}").expect_status(0);
        // A directory that does not show it follows the others.
        change(&image, "mkdir /other").expect_status(0);
        change(&image, "mkdir /other/\u{f6}").expect_status(0);
        // The directory shows by the new name alone how it is hashed.
        change(&image, "rm /dir/\u{e4}").expect_status(0);
        let device = ocfs2_device::open(&image, &Default::default()).unwrap();
        let volume = ocfs2_volume::Volume::open(device, &Default::default()).unwrap();
        for dir in ["/dir", "/other"] {
            let dir = volume.resolve(dir.as_bytes()).unwrap();
            let found = volume.shown_name_hash(&dir).unwrap().unwrap();
            assert_eq!(format!("{found:?}").to_lowercase(), hash);
        }
        Judge::new(&image).judge(hash);
    }
}

#[test]
fn an_access_control_list_is_stored_as_linux_stores_it() {
    let scratch = Scratch::in_memory();
    let image = volume(&scratch, "-b 4096 -C 4096");
    let entry = |tag: u8, permissions: u8| [&[tag, 0, permissions, 0][..], &[0xff; 4]].concat();
    let user = [&[2, 0, 7, 0][..], &1000_u32.to_le_bytes()].concat();
    let minimal = [entry(1, 6), entry(4, 4), entry(0x20, 1)].concat();
    let full = [entry(1, 6), user, entry(4, 4), entry(0x10, 5), entry(0x20, 0)].concat();
    let (from, to) = (scratch.join("from"), scratch.join("to"));
    for value in [full.clone(), [&[2, 0, 0, 0], &full[..]].concat()] {
        fs::write(&from, value).unwrap();
        let set = |file: &str, kind: &str| {
            change(&image, &format!("ea_set -f {} {file} system.posix_acl_{kind}", from.display()))
        };
        set("/small", "access").expect_status(0);
        shown(&image, &format!("ea_get -f {} /small system.posix_acl_access", to.display()));
        assert_eq!(fs::read(&to).unwrap(), full);
        // Permissions of the group are those of the mask.
        assert!(shown(&image, "stat /small").contains("Mode: 0650"));
        set("/sub", "default").expect_status(0);
        let refused = set("/small", "default").expect_status(1);
        assert!(refused.stderr.contains("is not a directory"), "{refused}");
    }
    let set = format!("ea_set -f {} /small system.posix_acl_access", from.display());
    fs::write(&from, minimal).unwrap();
    // The second time there is no list to remove.
    for _ in 0..2 {
        let done = change(&image, &set).expect_status(0).stdout;
        assert!(done.contains("has mode 100641, which says all of"), "{done}");
        assert!(shown(&image, "stat /small").contains("Mode: 0641"));
        assert_eq!(shown(&image, "ea_list /small"), "");
    }
    change(&image, "symlink /link small").expect_status(0);
    let refused = change(&image, &set.replace("/small", "/link")).expect_status(1);
    assert!(refused.stderr.contains("is a symbolic link"), "{refused}");
    Judge::new(&image).judge("a list");
}

#[test]
fn what_is_refused_changes_nothing() {
    let scratch = Scratch::in_memory();
    let image = volume(&scratch, "-b 4096 -C 4096");
    let before = fs::read(&image).unwrap();
    for (command, says) in [
        ("mkdir /small", "small is there already"),
        ("mkdir /none/new", "Directory entry not found"),
        ("mkdir /small/new", "Directory entry not found"),
        ("mkdir <5>", "is not a name in a directory"),
        ("mkdir", "usage: mkdir <new>"),
        ("mknod /x c 1", "usage"),
        ("mknod /x c 9999 1", "a device has a major number of 12 bits"),
        ("symlink /x \"\"", "a symbolic link points to a path"),
        ("rm /sub", "is a directory: rmdir"),
        ("rmdir /small", "is not a directory"),
        ("rmdir /sub", "the directory is not empty"),
        ("rm /none", "Directory entry not found"),
        ("rm /.", "is a directory"),
        ("rmdir /sub/..", "cannot"),
        ("kill_file /sub", "the directory is not empty"),
        ("kill_file /", "belongs to the volume itself"),
        ("rename /sub /sub/in", "a directory cannot be moved into itself"),
        ("rename /sub /small", "cannot replace each other"),
        ("rm //journal:0000", "belongs to the volume itself"),
        ("mkdir //new", "belongs to the volume itself"),
        ("truncate //global_bitmap 0", "belongs to the volume itself"),
        ("truncate /sub 0", "is not a regular file"),
        ("truncate /small x", "is not a number of bytes"),
        ("punch /small 3 2", "is after the last block"),
        ("fallocate /small 0", "usage"),
        ("ln /sub /new", "a directory has one name only"),
        ("write /nonexistent /new", "No such file or directory"),
        ("write /dev/null /new", "is not a regular file"),
        ("ea_set /small color red", "is not the name of an attribute"),
        ("ea_set /small system.posix_acl_access x", "is not an access control list"),
        ("ea_rm /small user.none", "user.none"),
        ("reflink /sub /new", "is not a regular file"),
        ("clri /small", "--direct"),
    ] {
        let refused = change(&image, command).expect_status(1);
        assert!(refused.stderr.contains(says), "{command}: {refused}");
        assert_eq!(refused.stdout, "", "{command}");
        assert!(fs::read(&image).unwrap() == before, "{command}");
        // Without -w all of these fail as well.
        let run = Run::new(program("debugfs.ocfs2")).args(["-R", command]).arg(&image);
        run.output().expect_status(1);
    }
    let only_read = Run::new(program("debugfs.ocfs2")).args(["-R", "mkdir /new"]).arg(&image);
    let only_read = only_read.output().expect_status(1);
    assert!(only_read.stderr.contains("only read: debugfs.ocfs2 -w"), "{only_read}");
    assert!(fs::read(&image).unwrap() == before);
}

#[test]
fn a_volume_that_is_in_use_or_unfinished_is_not_opened_for_writing() {
    let scratch = Scratch::new();
    let crashed = fixture_copy("crashed-4k-o2cb", &scratch);
    let before = fs::read(&crashed).unwrap();
    let refused = change(&crashed, "mkdir /new").expect_status(1);
    assert!(refused.stderr.contains("was not unmounted by all nodes"), "{refused}");
    Run::new(program("fsck.ocfs2")).arg("-fy").arg(&crashed).output().expect_status(1);
    let region = ocfs2_volume::Volume::open(
        ocfs2_device::open(&crashed, &Default::default()).unwrap(),
        &Default::default(),
    );
    let offset = region.unwrap().heartbeat_region().unwrap().offset_bytes;
    let sound = fs::read(&crashed).unwrap();
    assert!(sound != before);
    let refused = while_beating(&crashed, offset, 1, || change(&crashed, "mkdir /new"));
    assert!(refused.expect_status(1).stderr.contains("in use by node 1"));
    // Opened by a backup of the superblock, nothing is written either.
    let by_backup = Run::new(program("debugfs.ocfs2")).args(["-w", "-s", "1"]).arg(&crashed);
    by_backup.output().expect_status(1);
}

#[test]
fn a_shell_makes_one_transaction_a_command_and_one_that_fails_is_seen() {
    let scratch = Scratch::in_memory();
    let (image, undo) = (volume(&scratch, "-b 4096 -C 4096"), scratch.join("undo"));
    let before = fs::read(&image).unwrap();
    let lines = "mkdir /a\ncd /a\nmkdir b\nrmdir /none\nsymlink l /small\nls\nopen IMAGE -w\n\
                 mkdir c\nls /\nclose\nmkdir /d\n";
    let lines = lines.replace("IMAGE", &image.display().to_string());
    let run = Run::new(program("debugfs.ocfs2")).args(["-n", "-w", "--undo-file"]).arg(&undo);
    let done = run.arg(&image).stdin(lines).output().expect_status(1);
    assert!(done.stdout.contains("b is inode") && done.stdout.contains("l is inode"), "{done}");
    assert!(done.stdout.contains("c is inode"), "{done}");
    assert!(done.stderr.contains("No device open"), "{done}");
    let judge = Judge::new(&image);
    judge.judge("the shell");
    assert!(found_by_c(&image).is_empty());
    // The undo file covers what was done before the volume was opened again, not what came after.
    let put_back = format!("--undo={}", undo.display());
    let refused = Run::new(program("fsck.ocfs2")).arg(&put_back).arg(&image).output();
    assert!(refused.expect_status(8).stderr.contains("was changed since"));
    assert!(fs::read(&image).unwrap() != before);
}

#[test]
fn what_no_journal_has_room_for_is_written_in_place() {
    let scratch = Scratch::in_memory();
    let (image, local) = (volume(&scratch, "-b 4096 -C 4096"), scratch.join("local"));
    fs::write(&local, vec![9; 10 << 20]).unwrap();
    let done = change(&image, &format!("write {} /large2", local.display())).expect_status(0);
    assert!(done.stdout.contains("in place, as no journal has room for them"), "{done}");
    Judge::new(&image).judge("a large file");
}

#[test]
fn a_copy_that_shares_contents_has_the_attributes_too() {
    let scratch = Scratch::in_memory();
    let image = volume(&scratch, "");
    let large = scratch.join("value");
    fs::write(&large, vec![b'v'; 5000]).unwrap();
    change(&image, "ea_set /large user.color red").expect_status(0);
    let set = format!("ea_set -f {} /large user.long", large.display());
    change(&image, &set).expect_status(0);
    change(&image, "reflink /large /shared").expect_status(0);
    assert_eq!(shown(&image, "ea_list /shared"), shown(&image, "ea_list /large"));
    assert_eq!(shown(&image, "ea_get /shared user.color"), "red\n");
    assert_eq!(shown(&image, "ea_get /shared user.long").trim().len(), 5000);
    Run::new(program("fsck.ocfs2")).arg("-fn").arg(&image).success();
    change(&image, "sif /shared mtime 2026-01-02T03:04:05Z").expect_status(0);
    let stated = shown(&image, "print /shared.i_mtime");
    assert!(stated.contains("1767323045"), "{stated}");
    assert!(
        change(&image, "sif /shared mtime yesterday").expect_status(1).stderr.contains("no time")
    );
}

/// Each block that is overwritten in place must not cost a write of its own to the undo file.
#[test]
fn what_is_written_in_place_is_saved_at_once_and_put_back() {
    let scratch = Scratch::in_memory();
    let image = volume(&scratch, "");
    let (local, undo) = (scratch.join("local"), scratch.join("undo"));
    fs::write(&local, vec![9; 20 << 20]).unwrap();
    let before = fs::read(&image).unwrap();
    let command = format!("write {} /big", local.display());
    let run = Run::new(program("debugfs.ocfs2")).arg("-w").arg("--undo-file").arg(&undo);
    let made = run.args(["-R", &command]).arg(&image).output().expect_status(0);
    assert!(made.stdout.contains("in place"), "{made}");
    let mut undone = std::ffi::OsString::from("--undo=");
    undone.push(&undo);
    Run::new(program("fsck.ocfs2")).arg(&undone).arg(&image).success();
    assert!(fs::read(&image).unwrap() == before);
}
