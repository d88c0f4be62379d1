//! Commands, words, and error messages.

use std::fs;
use std::io::Read;
use std::path::Path;

use ocfs2_testing::damage::Image;
use ocfs2_testing::{LoopDevice, Run, Scratch, fixture, fixture_copy, program};

fn debugfs() -> Run {
    Run::new(program("debugfs.ocfs2"))
}

fn one(image: &Path, command: &str) -> ocfs2_testing::Outcome {
    debugfs().arg("-R").arg(command).arg(image).output()
}

#[test]
fn a_command_that_fails_is_seen_in_the_status() {
    let image = fixture("clean-512-local");
    for (command, said) in [
        ("stat /nonexistent", "stat: Directory entry not found '/nonexistent'\n"),
        ("stat", "usage: stat [-t|-T] <filespec>\n"),
        ("stat <999999999>", "stat: Invalid block number '<999999999>'\n"),
        (
            "group <5>",
            "group: Bad magic number in group descriptor while reading block group \
          descriptor 5\n",
        ),
        ("remove /", "remove: command not found\n"),
        ("locate <3>", "locate: Directory entry not found  \n"),
        (
            "ls //slot_map",
            "ls: OCFS2 inode is not a directory while checking directory at block 12\n",
        ),
        ("logdump 99", "logdump: Invalid node slot number\n"),
        (
            "controld dump",
            "controld: Unable to access cluster service while obtaining the debug \
          buffer\n",
        ),
    ] {
        let outcome = one(&image, command).expect_status(1);
        let said = said.replace("at block 12", "at block ");
        assert!(
            outcome
                .stderr
                .replace("at block 12", "at block ")
                .starts_with(said.trim_end_matches('\n'))
                || outcome.stderr == said,
            "{outcome}"
        );
        assert_eq!(outcome.stdout, "", "{outcome}");
    }
    one(&image, "stat /").expect_status(0);
    one(&image, "quit").expect_status(0);
}

#[test]
fn commands_of_a_file_are_done_to_the_end_and_one_that_fails_is_not_forgotten() {
    let (image, scratch) = (fixture("clean-512-local"), Scratch::new());
    let file = scratch.join("commands");
    fs::write(&file, "# a comment\n\n  curdev\nstat /nonexistent\npwd\n").unwrap();
    let outcome = debugfs().arg("-f").arg(&file).arg(&image).output().expect_status(1);
    let expected = format!(
        "debugfs: # a comment\ndebugfs: curdev\n{}\ndebugfs: stat /nonexistent\ndebugfs: pwd\n/\n",
        image.display()
    );
    assert_eq!(outcome.stdout, expected);
    let quiet = debugfs().args(["-n", "-f"]).arg(&file).arg(&image).output().expect_status(1);
    assert_eq!(quiet.stdout, format!("{}\n/\n", image.display()));
    fs::write(&file, "pwd\nquit\nfoo\n").unwrap();
    debugfs().arg("-f").arg(&file).arg(&image).output().expect_status(0);
    // Commands from a pipe are treated as those from a file.
    let piped = debugfs().arg(&image).stdin("cd //\npwd\ncd ..\nfoo").output().expect_status(1);
    assert_eq!(piped.stdout, "debugfs: cd //\ndebugfs: pwd\n//\ndebugfs: cd ..\ndebugfs: foo\n");
    assert_eq!(piped.stderr, "foo: command not found; help lists the commands\n");
}

#[test]
fn a_device_is_opened_closed_and_named() {
    let (image, other) = (fixture("crashed-512-local"), fixture("clean-1k-local"));
    let lines = format!(
        "curdev\nopen {}\ncurdev\nclose\nls\nopen /nonexistent\nopen {} -s 3\n",
        other.display(),
        other.display()
    );
    let outcome = debugfs().arg("-n").arg(&image).stdin(lines).output().expect_status(1);
    assert_eq!(outcome.stdout, format!("{}\n{}\n", image.display(), other.display()));
    let said: Vec<_> = outcome.stderr.lines().collect();
    assert_eq!(said[0], "No device open");
    assert!(said[1].starts_with("open: /nonexistent: ") && said[2].contains("backup"), "{said:?}");
    assert_eq!(said.len(), 3);
    let closed = debugfs().args(["-R", "stat /", "/nonexistent"]).output().expect_status(1);
    assert!(closed.stderr.contains("open: ") && closed.stdout.is_empty(), "{closed}");
}

#[test]
fn a_path_is_followed_through_links_and_a_change_of_root() {
    let scratch = Scratch::new();
    let folder = scratch.join("folder");
    fs::create_dir_all(folder.join("a/b c")).unwrap();
    fs::write(folder.join("a/b c/file"), "found").unwrap();
    for (link, target) in [("up", "a"), ("abs", "/a/b c"), ("loop", "loop"), ("a/back", "../a")] {
        std::os::unix::fs::symlink(target, folder.join(link)).unwrap();
    }
    let image = scratch.join("links.img");
    let mkfs = Run::new(program("mkfs.ocfs2")).args(["-q", "-M", "local", "-N", "1", "-d"]);
    mkfs.arg(&folder).arg(&image).arg("32M").success();
    for path in ["up/b\\ c/file", "\"/up/back/back/b c/file\"", "'abs/file'", "//../abs/file"] {
        let outcome = one(&image, &format!("cat {path}"));
        if path.starts_with("//") {
            // The system directory is its own parent.
            outcome.expect_status(1);
        } else {
            assert_eq!(outcome.expect_status(0).stdout, "found", "{path}");
        }
    }
    let looped = one(&image, "cat loop/x").expect_status(1);
    assert_eq!(looped.stderr, "cat: Too many symbolic links encountered 'loop/x'\n");
    // A link as the last component is not followed.
    assert!(one(&image, "stat up").stdout.contains("Fast Symlink Destination: a\n"));
    let lines = "chroot \"/a/b c\"\ncat /file\ncd /\npwd\nls /\n";
    let outcome = debugfs().arg("-n").arg(&image).stdin(lines).output().expect_status(0);
    assert!(outcome.stdout.starts_with("found/a/b c\n"), "{outcome}");
}

#[test]
fn all_names_of_an_inode_are_found_or_only_the_first() {
    let image = fixture("clean-1k-local");
    let all = "\t13003\t/names/linked\n\t13003\t/names/linked-2\n\t13003\t/linked-3\n";
    assert_eq!(one(&image, "locate <13003>").expect_status(0).stdout, all);
    assert_eq!(one(&image, "ncheck <13003>").expect_status(0).stdout, all);
    let first = one(&image, "findpath <13003>").expect_status(0).stdout;
    assert_eq!(first, "\t13003\t/names/linked\n");
    let lock = "findpath <M00000000000000000032cb00000000>";
    assert_eq!(one(&image, lock).expect_status(0).stdout, first);
}

#[test]
fn names_of_locks_are_decoded_and_encoded_without_a_volume() {
    let outcome = debugfs().args(["-e", "N", "0xdeadbeef", "5"]).success();
    assert_eq!(outcome.stdout, "N0000000000000005deadbeef\n");
    let outcome = debugfs().args(["-d", "N0000000000000005deadbeef", "nothing"]).output();
    assert!(outcome.stdout.contains("Block:      3735928559\nParent:     5\n"), "{outcome}");
    assert!(outcome.stderr.contains("nothing: is not a name of a lock"), "{outcome}");
    assert_eq!(outcome.status, 1);
    for letter in ["M", "D", "S", "R", "W", "O", "F"] {
        let name = debugfs().args(["-e", letter, "17", "5"]).success().stdout;
        let Some(c) = ocfs2_testing::oracle("debugfs.ocfs2") else { return };
        assert_eq!(name, Run::new(c).args(["-e", letter, "17", "5"]).output().stdout);
    }
}

#[test]
fn who_stops_reading_ends_a_command() {
    let line = "\"$0\" -R 'logdump 0' \"$1\" | head -1; echo ${PIPESTATUS[0]}";
    let run = Run::new("bash").args(["-c", line]).arg(program("debugfs.ocfs2"));
    let outcome = run.arg(fixture("clean-4k-o2cb")).success();
    assert_eq!(outcome.stdout, "\tBlock 0: Journal Superblock\n141\n");
    assert_eq!(outcome.stderr, "");
}

#[test]
fn fields_are_those_of_the_format() {
    let image = fixture("crashed-512-local");
    let fields = one(&image, "fields dinode").expect_status(0).stdout;
    assert!(fields.contains("0x0020  8     i_size                    bytes."), "{fields}");
    assert!(one(&image, "fields").stdout.lines().any(|line| line == "refcount block"));
    assert!(one(&image, "fields dx_root").stdout.contains("dr_num_entries"));
    one(&image, "fields nothing").expect_status(1);

    let all = one(&image, "print //global_bitmap").expect_status(0).stdout;
    assert!(all.contains("i_signature = \"INODE01\"\n") && all.contains("cl_cpg = 3584 (0xe00)\n"));
    assert_eq!(one(&image, "print //global_bitmap.cl_bpc").stdout, "cl_bpc = 1\n");
    let check = one(&image, "print <17>.i_check").expect_status(0).stdout;
    assert!(check.starts_with("i_check.bc_crc32e = ") && check.lines().count() == 3, "{check}");
    assert!(one(&image, "print <2>").stdout.contains("s_max_slots = 1\n"));
    one(&image, "print <17>.i_nothing").expect_status(1);
    one(&image, "print <3>").expect_status(1);
}

#[test]
fn all_commands_are_listed() {
    let help = one(&fixture("crashed-512-local"), "help").expect_status(0).stdout;
    assert!(help.lines().count() > 60 && help.contains("quit, q"), "{help}");
}

#[test]
fn a_disk_is_shown_as_it_is_now_and_not_as_it_was_read_before() {
    let scratch = Scratch::new();
    let image = Image::open(fixture_copy("crashed-512-local", &scratch), scratch);
    let Some(device) = LoopDevice::attach(image.path(), &["--read-only"]) else { return };
    // The kernel keeps cached blocks of a disk as long as anybody has it open.
    let mut disk = fs::File::open(device.path()).unwrap();
    disk.read_exact(&mut vec![0; 1 << 20]).unwrap();
    image.edit_superblocks(|_, sb| sb.s_label = [b'x'; 64]);
    let label = "x".repeat(64);
    let shown = one(device.path(), "stats -h").expect_status(0).stdout;
    assert!(shown.contains(&label), "{shown}");
    let info = Run::new(program("o2info")).arg("--volinfo").arg(device.path()).success().stdout;
    assert!(info.contains(&label), "{info}");
}
