//! `ocfs2`: all programs in one file.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::fs;

use ocfs2_testing::{Run, Scratch, program};

#[test]
fn each_program_is_there_by_its_name_by_a_link_and_by_its_short_name() {
    let scratch = Scratch::new();
    let ocfs2 = program("ocfs2");
    let link = || Run::new(&ocfs2).arg("--link").arg(scratch.path());
    link().success();
    let list = Run::new(&ocfs2).arg("--list").success().stdout;
    assert_eq!(list.lines().count(), 16, "{list}");
    for name in list.lines() {
        let by_link = Run::new(scratch.join(name)).arg("--version").success().stdout;
        assert!(by_link.starts_with(&format!("{name} ")), "{by_link}");
        let by_name = Run::new(&ocfs2).args([name, "--version"]).success().stdout;
        assert_eq!(by_name, by_link);
    }
    let fuse = Run::new(scratch.join("mount.fuse.ocfs2")).arg("--version").success().stdout;
    assert!(fuse.starts_with("ocfs2-fuse "), "{fuse}");
    // Links that are right stay, and other files, too.
    link().success();
    fs::remove_file(scratch.join("fsck.ocfs2")).unwrap();
    fs::write(scratch.join("fsck.ocfs2"), "another one").unwrap();
    let refused = link().output().expect_status(1);
    assert!(refused.stderr.contains("fsck.ocfs2: File exists"), "{refused}");
    assert_eq!(fs::read_to_string(scratch.join("fsck.ocfs2")).unwrap(), "another one");
}

#[test]
fn a_volume_is_made_checked_and_changed_by_one_file() {
    let scratch = Scratch::new();
    let image = scratch.image("disk.img", 64 << 20);
    let run = |words: &str| {
        let run = Run::new(program("ocfs2")).args(words.split(' ')).arg(&image);
        run.output()
    };
    let made = run("mkfs -q -F -M local -N 2 -L one");
    assert_eq!(made.status, 0, "{made}");
    assert_eq!(run("tunefs.ocfs2 -q -N 3").status, 0);
    let checked = run("fsck -fn");
    assert!(checked.status == 0 && checked.stdout.contains("one"), "{checked}");
    // Messages are those of the program, with its own exit statuses.
    let wrong = run("fsck --bogus");
    assert_eq!(wrong.status, 16, "{wrong}");
    assert!(wrong.stderr.starts_with("fsck.ocfs2: "), "{wrong}");
    let unknown = run("format");
    assert_eq!(unknown.status, 1, "{unknown}");
    let text = "ocfs2: format: there is no such program; --list shows all\n";
    assert_eq!(unknown.stderr, text);
}
