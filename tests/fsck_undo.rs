//! `--undo-file` and `--undo`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails is a failed test")]

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

use ocfs2_testing::damage::{Base, Image, all};
use ocfs2_testing::{Outcome, Run, Scratch, fixture_copy, program, while_beating};

fn fsck(image: &Path, options: &[&str]) -> Outcome {
    Run::new(program("fsck.ocfs2")).args(options).arg(image).output()
}

fn damaged() -> Image {
    all().into_iter().find(|recipe| recipe.code == "EB_BLKNO").unwrap().image()
}

/// Offset of the label in the block of the superblock.
const LABEL: u64 = 0x110;

#[test]
fn what_was_overwritten_is_put_back_also_after_a_later_check_that_found_nothing() {
    let scratch = Scratch::new();
    let undo = scratch.join("undo");
    let (save, put_back) =
        (format!("--undo-file={}", undo.display()), format!("--undo={}", undo.display()));
    let crashed = fixture_copy("crashed-1k-o2cb", &scratch);
    let damaged = damaged();
    for path in [damaged.path(), &crashed] {
        let before = fs::read(path).unwrap();
        let repaired = fsck(path, &["-fy", &save]).expect_status(1);
        let command = format!("fsck.ocfs2 {put_back} {} puts it back", path.display());
        assert!(repaired.stdout.contains(&command), "{repaired}");
        assert_eq!(undo.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let refused = fsck(path, &["-fy", &save]).expect_status(8);
        assert!(refused.stderr.contains("exists"), "{refused}");
        // The time of the check is in seconds.
        thread::sleep(Duration::from_millis(1100));
        fsck(path, &["-fy"]).expect_status(0);
        let undone = fsck(path, &[&put_back]).expect_status(0);
        assert!(undone.stdout.contains(" put back as they were before"), "{undone}");
        assert!(fs::read(path).unwrap() == before, "it is put back bit by bit");
        // Once more, as after an interruption.
        let again = fsck(path, &[&put_back]).expect_status(0);
        assert!(again.stdout.contains("nothing had to be put back"), "{again}");

        let file = File::options().write(true).open(path).unwrap();
        let volume = ocfs2_volume::Volume::open(
            ocfs2_device::open(path, &Default::default()).unwrap(),
            &Default::default(),
        );
        let unit = u64::from(volume.unwrap().block_size().bytes());
        // One bit, which a block check can correct.
        let byte = before[(LABEL + 2 * unit) as usize] ^ 1;
        file.write_all_at(&[byte], LABEL + 2 * unit).unwrap();
        let changed = fs::read(path).unwrap();
        let refused = fsck(path, &[&put_back]).expect_status(8);
        assert!(refused.stderr.contains("was changed since"), "{refused}");
        assert!(fs::read(path).unwrap() == changed);
        fs::remove_file(&undo).unwrap();
    }
}

#[test]
fn nothing_is_put_back_under_a_live_node() {
    let scratch = Scratch::new();
    let undo = scratch.join("undo");
    let (save, put_back) =
        (format!("--undo-file={}", undo.display()), format!("--undo={}", undo.display()));
    let image = fixture_copy("crashed-4k-o2cb", &scratch);
    fsck(&image, &["-y", &save]).expect_status(1);
    let repaired = fs::read(&image).unwrap();
    let volume = ocfs2_volume::Volume::open(
        ocfs2_device::open(&image, &Default::default()).unwrap(),
        &Default::default(),
    );
    let region = volume.unwrap().heartbeat_region().unwrap();
    // A node that is about to mount it has no slot yet.
    let refused = while_beating(&image, region.offset_bytes, 1, || fsck(&image, &[&put_back]));
    assert!(refused.expect_status(8).stderr.contains("in use by node 1"));
    let now = fs::read(&image).unwrap();
    let (start, end) = (region.offset_bytes as usize, region.offset_bytes + region.size_bytes);
    assert!(now[..start] == repaired[..start]);
    assert!(now[end as usize..] == repaired[end as usize..]);
}

#[test]
fn a_run_that_changes_nothing_leaves_no_undo_file() {
    let scratch = Scratch::new();
    let undo = scratch.join("undo");
    let save = format!("--undo-file={}", undo.display());
    let image = Base::Made(&["-N", "1", "-M", "local"], "64M").image();
    let outcome = fsck(image.path(), &["-fy", &save]).expect_status(0);
    assert!(outcome.stdout.contains("there is no undo file"), "{outcome}");
    assert!(!undo.exists());
    // The file of an earlier run is not overwritten.
    fs::write(&undo, "mine").unwrap();
    fsck(image.path(), &["-fy", &save]).expect_status(8);
    assert_eq!(fs::read(&undo).unwrap(), b"mine");
}

#[test]
fn an_undo_file_without_room_is_named_and_not_left_behind() {
    let image = damaged();
    let before = image.digest();
    let script = "mount -t tmpfs -o size=8k tmpfs \"$2\" && { head -c 8192 /dev/zero \
                  > \"$2/full\"; \"$0\" -fy --undo-file=\"$2/undo\" \"$1\"; status=$?; \
                  ls \"$2\"; exit $status; }";
    let scratch = Scratch::new();
    let run = Run::new("unshare").args(["--mount", "sh", "-c", script]).arg(program("fsck.ocfs2"));
    let full = run.arg(image.path()).arg(scratch.path()).output();
    if full.stderr.contains("unshare failed") || full.stderr.contains("mount: ") {
        eprintln!("no file system can be mounted in a namespace here");
        return;
    }
    let full = full.expect_status(8);
    assert!(full.stderr.contains("/undo cannot be written: No space left"), "{full}");
    assert!(!full.stdout.lines().any(|line| line == "undo"), "{full}");
    assert!(image.digest() == before, "it was written to");
}

#[test]
fn a_cut_undo_file_is_refused_unless_force_is_given() {
    let scratch = Scratch::new();
    let undo = scratch.join("undo");
    let (save, put_back) =
        (format!("--undo-file={}", undo.display()), format!("--undo={}", undo.display()));
    let image = damaged();
    let before = fs::read(image.path()).unwrap();
    fsck(image.path(), &["-fy", &save]).expect_status(1);
    let after = fs::read(image.path()).unwrap();
    // Without the record of 25 bytes at its end.
    let file = File::options().write(true).open(&undo).unwrap();
    file.set_len(undo.metadata().unwrap().len() - 25).unwrap();
    let refused = fsck(image.path(), &[&put_back]).expect_status(8);
    assert!(refused.stderr.contains("is cut"), "{refused}");
    assert!(refused.stderr.contains("--force"), "{refused}");
    assert!(fs::read(image.path()).unwrap() == after);
    let forced = fsck(image.path(), &[&put_back, "--force"]).expect_status(0);
    assert!(forced.stderr.contains("is cut"), "{forced}");
    assert!(fs::read(image.path()).unwrap() == before);
    for options in [["-f", "--force"], ["-fn", "--force"]] {
        fsck(image.path(), &options).expect_status(16);
    }
}

#[test]
fn another_volume_is_not_written_to() {
    let scratch = Scratch::new();
    let undo = scratch.join("undo");
    let (save, put_back) =
        (format!("--undo-file={}", undo.display()), format!("--undo={}", undo.display()));
    let make = |name: &str, seed: &str| {
        let path = scratch.join(name);
        let mkfs =
            Run::new(program("mkfs.ocfs2")).args(["-q", "-M", "local", "-N", "1", "-b", "4K"]);
        mkfs.args(["--seed", seed]).arg(&path).arg("64M").success();
        path
    };
    let (one, other) = (make("one", "1"), make("other", "2"));
    // The mark that something is wrong.
    let file = File::options().write(true).open(&one).unwrap();
    file.write_all_at(&[1], 2 * 4096 + 0xc8).unwrap();
    fsck(&one, &["-fy", &save]).expect_status(1);
    assert!(undo.exists());
    let before = fs::read(&other).unwrap();
    let refused = fsck(&other, &[&put_back]).expect_status(8);
    assert!(refused.stderr.contains("is another volume"), "{refused}");
    assert!(fs::read(&other).unwrap() == before);
    let empty = scratch.image("empty", 64 << 20);
    fsck(&empty, &[&put_back]).expect_status(8);
}
