//! `o2cluster`: the cluster stack of volumes, compared with the C tool.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

use ocfs2_testing::{
    Outcome, Run, Scratch, beat, c_fsck_run, c_tool, fixture, fixture_copy, heartbeat_offset,
    hold_slot, oracle, program, skip, while_beating,
};

fn o2cluster(args: &[&str], image: &Path) -> Outcome {
    Run::new(program("o2cluster")).args(args).arg(image).output()
}

/// The stacks that volumes are given, one after the other.
const STACKS: [&str; 6] = [
    "o2cb,db,global",
    "pcmk,a-b,none",
    "default",
    "cman,abcdefghijklmnop,none",
    "o2cb,abcdefghijklmnop,local",
    "o2cb,w,local",
];

#[test]
fn volumes_become_the_same_byte_for_byte_as_with_the_c_tool() {
    let Some(theirs) = c_tool("o2cluster") else { return skip("there is no C o2cluster") };
    let scratch = Scratch::new();
    for options in [
        "-b 4K -N 2 --cluster-stack=o2cb --cluster-name=web",
        "-b 1K -N 2 --fs-features=metaecc",
        "-b 512 -C 4K -N 2",
    ] {
        let (ours, other) = (scratch.join("ours.img"), scratch.join("theirs.img"));
        let mkfs = Run::new(program("mkfs.ocfs2")).args(["-q", "-F"]).args(options.split(' '));
        // Large enough for a backup of the superblock.
        mkfs.arg(&ours).arg("1100M").success();
        Run::new("cp").arg("--sparse=always").arg(&ours).arg(&other).success();
        for stack in STACKS {
            let update = format!("--update={stack}");
            let expected = Run::new(&theirs).args([&update, "-y"]).arg(&other).output();
            let found = o2cluster(&[&update, "-y"], &ours);
            assert_eq!(found.status, 0, "{options} {stack}: {found}");
            assert_eq!((found.status, &found.stdout), (expected.status, &expected.stdout));
            let changing = "Changing the clusterstack from ";
            assert!(found.stderr.contains(changing) && expected.stderr.contains(changing));
            Run::new("cmp").arg(&ours).arg(&other).success();
            for image in [&ours, &other] {
                let shown = o2cluster(&["-o"], image).expect_status(0).stdout;
                assert_eq!(shown, format!("{stack}\n"));
                assert_eq!(Run::new(&theirs).arg("-o").arg(image).success().stdout, shown);
            }
        }
        let fsck = Run::new(program("fsck.ocfs2")).arg("-fn").arg(&ours).success();
        assert!(fsck.stdout.contains("All passes succeeded."), "{fsck}");
        if let Some(fsck) = oracle("fsck.ocfs2") {
            c_fsck_run(&fsck, "-fn", &ours).expect_status(0);
        }
    }
}

/// Runs both programs on copies of a volume, and demands that what scripts see is the same.
fn compare(theirs: &Path, image: &Path, args: &[&str]) {
    let scratch = Scratch::new();
    let [ours, other] = ["ours.img", "theirs.img"].map(|name| scratch.join(name));
    for copy in [&ours, &other] {
        Run::new("cp").arg("--sparse=always").arg(image).arg(copy).success();
    }
    let expected = Run::new(theirs).args(args).arg(&other).output();
    let found = o2cluster(args, &ours);
    assert_eq!(found.status, expected.status, "{args:?}: {found} {expected}");
    // An error of the C tool also says "Aborting." on standard output.
    let stdout = expected.stdout.strip_suffix("Aborting.\n").unwrap_or(&expected.stdout);
    assert_eq!(found.stdout, stdout, "{args:?}");
    let what =
        |text: &str| text.split_once(": ").map_or(String::new(), |it| it.1.trim().to_owned());
    let (found, expected) = (what(&found.stderr), what(&expected.stderr));
    let reason = expected.trim_end_matches('.').split(" on device").next().unwrap();
    assert!(found.contains(reason), "{args:?}: {found:?}, {expected:?}");
    Run::new("cmp").arg(&ours).arg(&other).success();
}

#[test]
fn refusals_and_answers_are_those_of_the_c_tool() {
    let Some(theirs) = c_tool("o2cluster") else { return skip("there is no C o2cluster") };
    let shared = fixture("clean-4k-o2cb");
    for args in [
        ["-o"].as_slice(),
        &["-uo2cb,ovscluster,local", "-y"],
        &["--update=x", "-y"],
        &["--update=xx,x,none", "-y"],
        &["--update=pcmk,x,local", "-y"],
        &["--update=o2cb,x,none", "-y"],
        &["--update=o2cb,a-b,local", "-y"],
    ] {
        compare(&theirs, &shared, args);
    }
    for args in [["-o"].as_slice(), &["--update=default", "-y"]] {
        compare(&theirs, &fixture("clean-1k-local"), args);
    }
}

fn unchanged(image: &Path, args: &[&str], status: i32) -> Outcome {
    let before = fs::read(image).unwrap();
    let outcome = o2cluster(args, image).expect_status(status);
    assert!(fs::read(image).unwrap() == before, "{args:?} changed the volume");
    outcome
}

#[test]
fn a_volume_in_use_or_left_by_crashed_nodes_is_refused() {
    let scratch = Scratch::new();
    let update = ["--update=o2cb,db,local", "-y"];
    let crashed = fixture_copy("crashed-4k-o2cb", &scratch);
    let told = unchanged(&crashed, &update, 1).stderr;
    assert!(told.contains("the journals of slots 0, 1 are dirty; run fsck.ocfs2 first"), "{told}");

    let live: PathBuf = fixture_copy("clean-4k-o2cb", &scratch);
    hold_slot(&live, 0, Some(5));
    for args in [update, ["--update=o2cb,db,local", "-n"]] {
        let offset = heartbeat_offset(&live);
        let told = while_beating(&live, offset, 5, || o2cluster(&args, &live).expect_status(1));
        assert!(told.stderr.contains("is in use by node 5"), "{told}");
    }
    assert_eq!(o2cluster(&["-o"], &live).stdout, "o2cb,ovscluster,local\n");
    // A node that has the heartbeat alone is about to mount it.
    hold_slot(&live, 0, None);
    beat(&fs::File::options().write(true).open(&live).unwrap(), heartbeat_offset(&live), 5);
    let offset = heartbeat_offset(&live);
    let told = while_beating(&live, offset, 5, || o2cluster(&update, &live).expect_status(1));
    assert!(told.stderr.contains("node 5"), "{told}");
}

#[test]
fn without_consent_nothing_is_written() {
    let scratch = Scratch::new();
    let image = fixture_copy("clean-4k-o2cb", &scratch);
    let told = unchanged(&image, &["--update=o2cb,db,local", "-n"], 0).stderr;
    let question =
        "Changing the clusterstack from o2cb,ovscluster,local to o2cb,db,local. Continue";
    assert!(told.contains(question), "{told}");
    let run = Run::new(program("o2cluster")).arg("--update=o2cb,db,local").arg(&image);
    let told = run.stdin("n\n").output().expect_status(0);
    assert!(told.stderr.contains(question) && told.stdout.is_empty(), "{told}");
    assert_eq!(o2cluster(&["-o"], &image).stdout, "o2cb,ovscluster,local\n");
    let run = Run::new(program("o2cluster")).arg("--update=o2cb,db,local").arg(&image);
    assert_eq!(run.stdin("y\n").success().stdout, "Updated successfully.\n");
    assert_eq!(o2cluster(&["-o"], &image).stdout, "o2cb,db,local\n");
}

#[test]
fn a_place_for_heartbeats_changes_hands_too() {
    let scratch = Scratch::new();
    let image = scratch.join("heartbeat.img");
    Run::new(program("mkfs.ocfs2")).args(["-q", "-H", "-F"]).arg(&image).arg("64M").success();
    for stack in ["o2cb,db,global", "default"] {
        o2cluster(&[&format!("--update={stack}"), "-y"], &image).expect_status(0);
        assert_eq!(o2cluster(&["-o"], &image).stdout, format!("{stack}\n"));
    }
    // The C tool cuts a name that is too long, and writes the rest as the name.
    unchanged(&image, &["--update=o2cb,abcdefghijklmnopq,local", "-y"], 1);
}

#[test]
fn without_a_cluster_on_this_host_there_is_none_to_show_or_to_give_a_volume_to() {
    if Path::new("/sys/kernel/config/cluster").exists() {
        return skip("this host may have a cluster");
    }
    let scratch = Scratch::new();
    let image = fixture_copy("clean-4k-o2cb", &scratch);
    let told = Run::new(program("o2cluster")).arg("-r").output().expect_status(1).stderr;
    assert_eq!(told, "o2cluster: no cluster is online on this host\n");
    assert!(unchanged(&image, &["-u", "-y"], 1).stderr.contains("no cluster is online"));
}
