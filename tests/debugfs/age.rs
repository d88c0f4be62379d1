//! What is shown of a volume whose journals hold something newer.

use std::path::Path;

use ocfs2_testing::{Outcome, Run, Scratch, fixture, fixture_copy, program};

fn debugfs(image: &Path, command: &str) -> Outcome {
    Run::new(program("debugfs.ocfs2")).args(["-R", command]).arg(image).output()
}

const NOTE: &str = "the journal of slot 0 is dirty, and what is shown may be older";

#[test]
fn it_is_said_once_that_journals_hold_something_newer_and_only_where_that_shows() {
    let crashed = fixture("crashed-4k-o2cb");
    for command in ["ls /", "cat /n1/reflink/inline", "stat /", "findpath <5>", "icheck 5000"] {
        let said = debugfs(&crashed, command);
        assert_eq!(said.stderr.matches(NOTE).count(), 1, "{command}: {said}");
        assert!(!said.stdout.contains("dirty"), "{said}");
    }
    for command in
        ["stats", "stats -h", "slotmap", "hb", "who", "logdump 0", "stat //journal:0000", "help"]
    {
        let said = debugfs(&crashed, command);
        assert!(!said.stderr.contains("dirty"), "{command}: {said}");
    }
    let lines = Run::new(program("debugfs.ocfs2")).arg(&crashed).stdin("stats -h\nls /\nls /\n");
    assert_eq!(lines.output().stderr.matches(NOTE).count(), 1);
    let clean = debugfs(&fixture("clean-4k-o2cb"), "ls /").expect_status(0);
    assert_eq!(clean.stderr, "");
    let one = debugfs(&fixture("crashed-512-local"), "ls /").expect_status(0);
    assert!(one.stderr.contains("the journal of slot 0 is dirty"), "{one}");
    let json = Run::new(program("debugfs.ocfs2")).args(["--json", "-R", "ls /"]).arg(&crashed);
    let said = json.output().expect_status(0);
    assert!(said.stderr.contains(NOTE) && said.stdout.contains("\"errors\":[]"), "{said}");
}

/// What a copy has, without what tells when it was made.
fn copied(image: &Path, scratch: &Scratch, name: &str) -> String {
    let out = scratch.join(name);
    std::fs::create_dir(&out).unwrap();
    let said = debugfs(image, &format!("rdump / {}", out.display()));
    assert!(!said.stderr.contains("dirty"), "{said}");
    let list = "find . -type f -exec sha256sum {} + -o -printf '%y %p %l\\n' | sort";
    Run::new("sh").args(["-c", list]).current_dir(&out).success().stdout
}

#[test]
fn what_the_note_advises_gives_what_a_recovery_of_the_volume_gives() {
    let scratch = Scratch::new();
    let crashed = fixture_copy("crashed-4k-o2cb", &scratch);
    let advice = debugfs(&crashed, "ls /").stderr;
    let advice = advice.split_once("brought up to date: ").unwrap().1.trim_end();
    assert!(advice.starts_with("o2image -a -r "), "{advice}");
    let copy = scratch.join("copy");
    let mut line = advice.replace("COPY", "\"$2\"");
    for name in ["o2image", "debugfs.ocfs2"] {
        line = line.replace(&format!("{name} -"), &format!("'{}' -", program(name).display()));
    }
    let run = Run::new("sh").args(["-c", &format!("set -e; {line}")]).arg("sh").arg("");
    run.arg(&copy).output().expect_status(0);
    let by_jr = copied(&copy, &scratch, "by-jr");
    assert!(by_jr.lines().count() > 100, "{by_jr}");
    Run::new(program("fsck.ocfs2")).arg("-y").arg(&crashed).output().expect_status(1);
    assert_eq!(by_jr, copied(&crashed, &scratch, "by-fsck"));
}

#[test]
fn o2info_says_it_where_it_shows_too() {
    let crashed = fixture("crashed-4k-o2cb");
    let ask =
        |request: &str, image: &Path| Run::new(program("o2info")).arg(request).arg(image).output();
    assert!(ask("--freeinode", &crashed).expect_status(0).stderr.contains(NOTE));
    assert_eq!(ask("--volinfo", &crashed).expect_status(0).stderr, "");
    assert_eq!(ask("--freeinode", &fixture("clean-4k-o2cb")).expect_status(0).stderr, "");
}
