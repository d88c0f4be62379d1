//! `rdump` and `dump` where a copy cannot be whole: what is left of it, what is said, and how it goes
//! on.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use ocfs2_cli::Interrupt;
use ocfs2_extract::{Copied, CopyError, Existing, Folder, Target};
use ocfs2_testing::{LoopDevice, Outcome, Run, Scratch, fixture_copy, program, skip};

fn debugfs(image: &Path, command: &str) -> Outcome {
    Run::new(program("debugfs.ocfs2")).args(["-R", command]).arg(image).output()
}

fn change(image: &Path, command: &str) {
    Run::new(program("debugfs.ocfs2")).args(["-w", "-R", command]).arg(image).success();
}

/// A volume with a file of three pieces, and others.
fn volume(scratch: &Scratch) -> PathBuf {
    let (folder, image) = (scratch.join("tree"), scratch.join("volume.img"));
    fs::create_dir_all(folder.join("sub")).unwrap();
    let pieces = File::create(folder.join("sub/pieces")).unwrap();
    for place in [0, 1 << 20, 2 << 20] {
        pieces.write_all_at(&[7; 10_000], place).unwrap();
    }
    fs::write(folder.join("sub/large"), vec![5; 300_000]).unwrap();
    fs::write(folder.join("small"), "small").unwrap();
    fs::hard_link(folder.join("small"), folder.join("sub/again")).unwrap();
    symlink("small", folder.join("link")).unwrap();
    let mkfs = Run::new(program("mkfs.ocfs2"))
        .args(["-q", "-F", "-b4096", "-M", "local", "-N", "1", "-d"]);
    mkfs.arg(&folder).arg(&image).arg("64M").success();
    image
}

const LOST: &str = "99999999";

#[test]
fn a_file_that_lacks_a_part_is_named_with_it_and_one_that_lacks_everything_is_not_there() {
    let scratch = Scratch::new();
    let image = volume(&scratch);
    change(&image, &format!("set --direct /sub/pieces.l_recs[1].e_blkno {LOST}"));
    change(&image, &format!("set --direct /sub/large.l_recs[0].e_blkno {LOST}"));
    let out = scratch.join("out");
    fs::create_dir(&out).unwrap();
    let said = debugfs(&image, &format!("rdump / {}", out.display())).expect_status(1);
    let pieces = out.join("sub/pieces");
    let part = format!("rdump: {}: a part of it cannot be read: ", pieces.display());
    assert!(said.stderr.contains(&part), "{said}");
    let large = out.join("sub/large");
    let nothing = format!("rdump: {}: nothing of it can be read: ", large.display());
    assert!(said.stderr.contains(&nothing), "{said}");
    let end = "rdump: the copy is not complete: 1 file missing, 1 file incomplete\n";
    assert!(said.stderr.ends_with(end), "{said}");
    assert!(!large.exists() && out.join("small").exists());
    let bytes = fs::read(&pieces).unwrap();
    assert_eq!(bytes.len(), 2_107_152);
    assert!(bytes[..10_000].iter().all(|byte| *byte == 7));
    assert!(bytes[1 << 20..][..10_000].iter().all(|byte| *byte == 0));
    // Its time is not that of the original: a later copy does not take it for whole.
    let original = scratch.join("tree/sub/pieces").metadata().unwrap();
    assert_ne!(pieces.metadata().unwrap().mtime_nsec(), original.mtime_nsec());

    // The same holds for one file.
    let one = scratch.join("one");
    let said = debugfs(&image, &format!("dump -p /sub/pieces {}", one.display())).expect_status(1);
    assert!(said.stderr.contains("copy has zeros there") && said.stderr.contains("/one: a part"));
    assert!(fs::read(&one).unwrap() == bytes);
    assert_ne!(one.metadata().unwrap().mtime_nsec(), original.mtime_nsec());
    let said = debugfs(&image, &format!("dump /sub/large {}", one.display())).expect_status(1);
    assert!(said.stderr.contains("nothing of it can be read"), "{said}");
    assert!(!one.exists());
}

#[test]
fn it_is_said_how_much_of_a_file_is_missing_and_where() {
    let scratch = Scratch::new();
    let image = volume(&scratch);
    let device = ocfs2_device::open(&image, &Default::default()).unwrap();
    let volume = ocfs2_volume::Volume::open(device, &Default::default()).unwrap();
    let inode = volume.resolve_following(b"/sub/pieces").unwrap();
    let second = volume.tree(&inode).unwrap().extents().nth(1).unwrap().unwrap().blkno;
    // The device ends after the first block of the second piece.
    let size = u64::from(volume.block_size().bytes());
    assert_eq!(size, 4096);
    File::options().write(true).open(&image).unwrap().set_len((second.0 + 1) * size).unwrap();
    let copy = scratch.join("copy");
    let said = debugfs(&image, &format!("dump /sub/pieces {}", copy.display())).expect_status(1);
    let missing = " of 2107152 bytes cannot be read, the first at byte 1052672: ";
    assert!(said.stderr.contains(missing), "{said}");
    let bytes = fs::read(&copy).unwrap();
    assert!(bytes[1 << 20..][..4096].iter().all(|byte| *byte == 7) && bytes.len() == 2_107_152);
}

#[test]
fn a_copy_goes_on_where_another_one_ended() {
    let scratch = Scratch::new();
    let image = volume(&scratch);
    let out = scratch.join("out");
    fs::create_dir(&out).unwrap();
    let command = format!("rdump / {}", out.display());
    debugfs(&image, &command).expect_status(0);
    let identity = |name: &str| out.join(name).symlink_metadata().unwrap().ino();
    let before = ["small", "sub/pieces", "sub", "link"].map(identity);
    fs::remove_file(out.join("sub/large")).unwrap();
    let said = debugfs(&image, &command).expect_status(0);
    assert_eq!(said.stderr, "rdump: 4 files were there already, and were left as they are\n");
    assert_eq!(["small", "sub/pieces", "sub", "link"].map(identity), before);
    assert_eq!(fs::read(out.join("sub/large")).unwrap(), vec![5; 300_000]);
    assert_eq!(out.join("small").metadata().unwrap().nlink(), 2);

    // What is not the same is replaced only if that is asked for, and no link is followed.
    let elsewhere = scratch.join("elsewhere");
    fs::write(&elsewhere, "mine").unwrap();
    fs::write(out.join("sub/pieces"), "other").unwrap();
    fs::remove_file(out.join("sub/large")).unwrap();
    symlink(&elsewhere, out.join("sub/large")).unwrap();
    let said = debugfs(&image, &command).expect_status(1);
    assert_eq!(said.stderr.matches("File exists").count(), 2, "{said}");
    assert!(said.stderr.contains("rdump: -f replaces files that are there already"), "{said}");
    assert_eq!(fs::read(out.join("sub/pieces")).unwrap(), b"other");
    debugfs(&image, &command.replace("rdump", "rdump -f")).expect_status(0);
    assert_eq!(fs::read(out.join("sub/large")).unwrap(), vec![5; 300_000]);
    assert_eq!(fs::read(out.join("sub/pieces")).unwrap().len(), 2_107_152);
    assert_eq!(fs::read(&elsewhere).unwrap(), b"mine");
    // A folder is not replaced, and none is entered through a link.
    fs::remove_dir_all(out.join("sub")).unwrap();
    fs::create_dir(scratch.join("other")).unwrap();
    symlink(scratch.join("other"), out.join("sub")).unwrap();
    let said = debugfs(&image, &command.replace("rdump", "rdump -f")).expect_status(1);
    assert!(said.stderr.contains("File exists"), "{said}");
    assert_eq!(fs::read_dir(scratch.join("other")).unwrap().count(), 0);
}

#[test]
fn an_interrupted_file_is_removed() {
    let scratch = Scratch::new();
    let image = volume(&scratch);
    let device = ocfs2_device::open(&image, &Default::default()).unwrap();
    let volume = ocfs2_volume::Volume::open(device, &Default::default()).unwrap();
    let inode = volume.resolve_following(b"/sub/large").unwrap();
    let interrupt = Interrupt::default();
    let mut folder = Folder::new(scratch.path(), Existing::Left).unwrap();
    let path = Path::new("copy");
    let it = Copied { volume: &volume, interrupt: &interrupt, inode: &inode, path };
    interrupt.request();
    let mut out = ocfs2_debugfs::Screen::standard();
    let copied = folder.regular(&it, &mut out);
    assert!(matches!(copied, Err(CopyError::Interrupted(_))), "{copied:?}");
    assert!(!scratch.join("copy").exists());
    interrupt.clear();
    folder.regular(&it, &mut out).unwrap();
    assert_eq!(fs::read(scratch.join("copy")).unwrap().len(), 300_000);
}

#[test]
fn a_full_disk_ends_the_copy_with_one_line_and_leaves_nothing_half_done() {
    let scratch = Scratch::new();
    let image = volume(&scratch);
    let out = scratch.join("out");
    fs::create_dir(&out).unwrap();
    let on_small_disk = |command: &str| {
        let line = "mount -t tmpfs -o size=200k none \"$2\" && cd \"$2\" || exit 99
            \"$0\" -R \"$3\" \"$1\"; echo \"status $?\"; find . -type f";
        let run = Run::new("unshare").args(["-m", "sh", "-c", line]).arg(program("debugfs.ocfs2"));
        run.arg(&image).arg(&out).arg(command).output()
    };
    let said = on_small_disk("rdump / .");
    if said.status == 99 || said.stderr.contains("unshare") {
        skip("a small disk takes root");
        return;
    }
    let end = "No space left on device './sub/large': the copy is not complete; the same command goes \
               on with it\n";
    assert_eq!(said.stderr, format!("rdump: {end}"), "{said}");
    assert!(said.stdout.contains("status 1") && !said.stdout.contains("sub/large"), "{said}");
    let said = on_small_disk("rdump --tar / all.tar");
    let end =
        "rdump: No space left on device 'all.tar': the archive is not complete, and was removed\n";
    assert_eq!(said.stderr, end, "{said}");
    assert!(!said.stdout.contains("all.tar"), "{said}");
    let said = on_small_disk("dump /sub/large copy");
    assert_eq!(said.stderr, "dump: No space left on device 'copy'\n", "{said}");
    assert!(!said.stdout.contains("copy"), "{said}");
    let full = Run::new("sh").args(["-c", "\"$0\" -R 'ls /' \"$1\" >/dev/full"]);
    let said = full.arg(program("debugfs.ocfs2")).arg(&image).output();
    assert!(said.stderr.contains("No space left on device") && !said.stderr.contains("os error"));
}

#[test]
fn neither_the_volume_nor_a_device_is_overwritten() {
    let scratch = Scratch::new();
    let image = volume(&scratch);
    let before = fs::read(&image).unwrap();
    let said = debugfs(&image, &format!("dump /small {}", image.display())).expect_status(1);
    assert!(said.stderr.contains("is the volume itself"), "{said}");
    let other = fixture_copy("clean-512-local", &scratch);
    if let Some(device) = LoopDevice::attach(&other, &[]) {
        let command = format!("dump /small {}", device.path().display());
        let said = debugfs(&image, &command).expect_status(1);
        assert!(said.stderr.contains("is a block device, which is not overwritten"), "{said}");
        let said = debugfs(&image, &format!("dump /small {}", other.display())).expect_status(1);
        assert!(said.stderr.contains("is in use by a loop device"), "{said}");
    }
    assert!(fs::read(&image).unwrap() == before);
    let file = scratch.join("file");
    fs::write(&file, "longer than it").unwrap();
    debugfs(&image, &format!("dump /small {}", file.display())).expect_status(0);
    assert_eq!(fs::read(&file).unwrap(), b"small");
}

#[test]
fn two_entries_of_one_name_are_not_taken_for_one_that_was_there() {
    let scratch = Scratch::new();
    let image = volume(&scratch);
    // "link" becomes a second "small", of five bytes.
    change(&image, "mknod /smalk p");
    let said = Run::new(program("debugfs.ocfs2")).args(["-R", "print /"]).arg(&image).success();
    let entry = said.stdout.lines().find(|line| line.ends_with("\"smalk\""));
    let place = entry.and_then(|line| line.split_once(".name")).map(|(place, _)| place);
    let place = place.unwrap_or_else(|| panic!("{said}")).to_owned();
    change(&image, &format!("set --direct /.{place}.name small"));
    let out = scratch.join("out");
    fs::create_dir(&out).unwrap();
    let said = debugfs(&image, &format!("rdump / {}", out.display())).expect_status(1);
    assert!(said.stderr.contains("1 of its entries have the name of another one"), "{said}");
    assert!(out.join("small").metadata().unwrap().is_file());
}

#[test]
fn what_is_wrong_with_a_number_is_said() {
    let scratch = Scratch::new();
    let image = volume(&scratch);
    for (command, says) in [
        (
            "group -5",
            "group: a block is <NUMBER>, <LOCK> or NUMBER, and '-5' is none\nusage: group",
        ),
        ("findpath /small", "and '/small' is a path\nusage: findpath"),
        ("logdump x", "logdump: 'x' is not a number\nusage: logdump"),
        ("gq user 99999999999", "gq: 99999999999 is too large a number\nusage: gq"),
        ("hb -w 0", "hb: 0 is too small a number\nusage: hb"),
        ("freefrag -c 3", "freefrag: 3 is not a power of 2 from 4 (a cluster) on\nusage"),
        ("testb -1", "testb: '-1' is not a number\nusage: testb"),
        ("dx_hash -s 1:2 x", "dx_hash: '1:2' is not three numbers with : between them\nusage"),
    ] {
        let said = debugfs(&image, command).expect_status(1);
        assert!(said.stderr.contains(says), "{command}: {said}");
    }
}
