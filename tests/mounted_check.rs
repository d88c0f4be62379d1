//! `mounted.ocfs2 --check`: conditions of volumes, as a monitoring service sees them.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::fs::{self, File};
use std::path::Path;

use ocfs2_format::feature::Incompat;
use ocfs2_format::superblock::STATE_ERROR;
use ocfs2_testing::damage::{Base, Image};
use ocfs2_testing::{
    CLEAN, Outcome, Run, Scratch, beat, fixture, fixture_copy, heartbeat_offset, hold_slot,
    program, while_beating,
};
use serde_json::Value;

const OK: i32 = 0;
const WARNING: i32 = 1;
const CRITICAL: i32 = 2;
const UNKNOWN: i32 = 3;

fn check(image: &Path) -> Outcome {
    Run::new(program("mounted.ocfs2")).arg("--check").arg(image).output()
}

/// The text and the figures of the only line.
fn parts(outcome: &Outcome) -> (&str, &str) {
    let line = outcome.stdout.strip_suffix('\n').filter(|line| !line.contains('\n'));
    let parts = line.and_then(|line| line.split_once(" | "));
    let (text, figures) = parts.unwrap_or_else(|| panic!("{outcome}"));
    assert!(!figures.contains('|'), "{outcome}");
    assert_eq!(outcome.stderr, "", "{outcome}");
    (text, figures)
}

/// Demands a condition, and returns its reasons without the path of the image.
fn reasons(image: &Path, status: i32) -> String {
    let outcome = check(image).expect_status(status);
    let word = ["OK", "WARNING", "CRITICAL", "UNKNOWN"][usize::try_from(status).unwrap()];
    let before = format!("OCFS2 {word} - {}: ", image.display());
    let text = parts(&outcome).0;
    text.strip_prefix(&before).unwrap_or_else(|| panic!("{outcome}")).to_owned()
}

fn figure(outcome: &Outcome, name: &str) -> Option<String> {
    let mut figures = parts(outcome).1.split(' ').map(|figure| figure.split_once('=').unwrap());
    figures.find(|(label, _)| *label == name).map(|(_, value)| value.to_owned())
}

fn copy(name: &'static str) -> Image {
    Base::Fixture(name).image()
}

#[test]
fn a_clean_volume_is_ok_and_all_figures_are_there() {
    for name in CLEAN {
        let outcome = check(&fixture(name)).expect_status(OK);
        let expected = "OCFS2 OK - 1 volume, 0 mounts | volumes=1;;;0 mounts=0;;;0 crashed=0;;0;0 \
                        unknown=0;;;0 dirty=0;0;;0\n";
        assert_eq!(outcome.stdout, expected, "{name}");
    }
}

#[test]
fn crashed_nodes_without_a_live_one_are_critical() {
    let image = fixture("crashed-4k-o2cb");
    let text = reasons(&image, CRITICAL);
    assert!(text.starts_with("fsck is needed: crashed and holding a slot: node 0 (slot 0, "));
    assert!(text.contains(" ago) and node 1 (slot 1, "), "{text}");
    let outcome = check(&image);
    assert_eq!(figure(&outcome, "crashed").as_deref(), Some("2;;0;0"));
    assert_eq!(figure(&outcome, "heartbeat_age"), None);
    // Those slots explain the dirty journals.
    assert_eq!(figure(&outcome, "dirty").as_deref(), Some("0;0;;0"));
}

#[test]
fn a_crashed_node_that_the_live_one_has_not_recovered_is_critical() {
    let scratch = Scratch::new();
    let image = fixture_copy("crashed-4k-o2cb", &scratch);
    let outcome = while_beating(&image, heartbeat_offset(&image), 1, || check(&image));
    let text = parts(&outcome.expect_status(CRITICAL)).0.to_owned();
    assert!(text.contains(": crashed and not recovered yet by the live nodes: node 0 (slot 0, "));

    let outcome = while_beating(&image, heartbeat_offset(&image), 1, || check(&image));
    assert_eq!(figure(&outcome, "mounts").as_deref(), Some("1;;;0"));
    let age = figure(&outcome, "heartbeat_age").unwrap();
    let seconds: u64 = age.strip_suffix("s;;;0").unwrap().parse().unwrap();
    assert!(seconds < 60, "{outcome}");
}

#[test]
fn a_live_node_alone_is_ok_and_is_named_when_asked() {
    let scratch = Scratch::new();
    let image = fixture_copy("clean-4k-o2cb", &scratch);
    hold_slot(&image, 0, Some(5));
    while_beating(&image, heartbeat_offset(&image), 5, || {
        let outcome = check(&image).expect_status(OK);
        assert!(outcome.stdout.starts_with("OCFS2 OK - 1 volume, 1 mount | "), "{outcome}");
        let verbose = Run::new(program("mounted.ocfs2")).args(["--check", "-v"]).arg(&image);
        let lines = verbose.success().stdout;
        assert_eq!(lines.lines().nth(1).unwrap(), format!("{}: 5", image.display()));
    });
}

#[test]
fn a_node_that_falls_silent_is_a_warning_before_it_is_known_to_have_crashed() {
    let scratch = Scratch::new();
    let image = fixture_copy("clean-4k-o2cb", &scratch);
    hold_slot(&image, 0, Some(5));
    let file = File::options().write(true).open(&image).unwrap();
    beat(&file, heartbeat_offset(&image), 5);
    let text = reasons(&image, WARNING);
    assert!(text.starts_with("node 5 in slot 0: no beat in 8 s; it takes "), "{text}");
    let outcome = Run::new(program("mounted.ocfs2")).args(["--check", "--wait=5"]).arg(&image);
    assert!(outcome.output().stdout.contains(": no beat in 5 s; "));
}

#[test]
fn a_dirty_journal_without_a_node_is_a_warning() {
    let image = copy("crashed-4k-o2cb");
    hold_slot(image.path(), 0, None);
    hold_slot(image.path(), 1, None);
    let replays = "dirty: the next mount or fsck replays that";
    let text = reasons(image.path(), WARNING);
    assert_eq!(text, format!("no node has slots 0, 1, but journals are {replays}"));
    assert_eq!(figure(&check(image.path()), "dirty").as_deref(), Some("2;0;;0"));

    let fsck = Run::new(program("fsck.ocfs2")).arg("-fy").arg(image.path()).output();
    fsck.expect_status(1);
    check(image.path()).expect_status(OK);
}

#[test]
fn a_local_volume_that_was_not_unmounted_is_a_warning() {
    let text = reasons(&fixture("crashed-512-local"), WARNING);
    assert_eq!(text, "was not unmounted: fsck is needed unless another machine has it mounted");
}

#[test]
fn marks_of_errors_and_of_changes_are_critical() {
    let image = copy("clean-4k-o2cb");
    image.edit_superblocks(|_, superblock| superblock.s_state |= STATE_ERROR);
    let marked = "it is marked as having errors: fsck is needed";
    assert_eq!(reasons(image.path(), CRITICAL), marked);
    for mark in [Incompat::RESIZE_INPROG, Incompat::TUNEFS_INPROG] {
        let image = copy("clean-4k-o2cb");
        image.edit_superblocks(|_, superblock| superblock.s_feature_incompat |= mark.bits());
        let text = reasons(image.path(), CRITICAL);
        assert_eq!(
            text,
            "a change of it was interrupted or still goes on, and no node can mount it"
        );
    }
}

#[test]
fn an_aborted_or_lost_journal_is_critical() {
    let image = copy("clean-4k-o2cb");
    image.edit_journal(1, |journal| journal.s_errno = -5);
    assert_eq!(reasons(image.path(), CRITICAL), "journal of slot 1: was aborted with error -5");

    let image = copy("clean-4k-o2cb");
    image.edit_journal(0, |journal| journal.s_blocksize = 77);
    let text = reasons(image.path(), CRITICAL);
    assert!(text.starts_with("journal of slot 0: the superblock cannot be used: "), "{text}");
}

#[test]
fn a_named_device_without_a_volume_is_critical_beside_one_that_is_ok() {
    let scratch = Scratch::new();
    let missing = scratch.join("a|b.img");
    let run = Run::new(program("mounted.ocfs2")).arg("--check").arg(fixture("clean-4k-o2cb"));
    let outcome = run.arg(&missing).output().expect_status(CRITICAL);
    // A bar would begin the figures.
    let (text, figures) = parts(&outcome);
    assert!(text.ends_with("/a\\x7cb.img: no such file or directory"), "{outcome}");
    assert!(figures.starts_with("volumes=1;"), "{outcome}");
    fs::write(&missing, [0; 4096]).unwrap();
    assert_eq!(check(&missing).expect_status(CRITICAL).stderr, "");
}

#[test]
fn what_is_wrong_with_the_call_is_unknown_and_no_warning() {
    for arguments in [["--check", "--wait=1"], ["--check", "-d"], ["--check", "--frob"]] {
        let run = Run::new(program("mounted.ocfs2")).args(arguments).arg("/dev/null");
        let outcome = run.output().expect_status(UNKNOWN);
        assert!(outcome.stdout.is_empty() && !outcome.stderr.is_empty(), "{outcome}");
    }
}

#[test]
fn json_has_the_condition_of_each_volume_and_the_same_exit_status() {
    let run = Run::new(program("mounted.ocfs2")).args(["--check", "--json"]);
    let run = run.args(["crashed-4k-o2cb", "clean-4k-o2cb"].map(fixture)).arg("/none");
    let outcome = run.output().expect_status(CRITICAL);
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(document["condition"], "critical");
    let [crashed, clean] = &document["volumes"].as_array().unwrap()[..] else {
        panic!("{outcome}")
    };
    assert_eq!((&crashed["condition"], &clean["condition"]), (&"critical".into(), &"ok".into()));
    assert_eq!(crashed["findings"][0]["kind"], "needs_fsck");
    assert_eq!(crashed["nodes"][1]["state"], "crashed");
    assert_eq!(clean["findings"], serde_json::json!([]));
    assert_eq!(document["failures"][0]["condition"], "critical");

    // Every field and every kind is described.
    let help = Run::new(program("mounted.ocfs2")).arg("--help").success().stdout;
    let described = help.split_once("\nJSON:\n").unwrap().1;
    let words: Vec<_> = described.split([' ', ',', '\n']).collect();
    let findings = crashed["findings"][0].as_object().unwrap().keys();
    let fields = findings.chain(crashed.as_object().unwrap().keys());
    for word in fields.map(String::as_str).chain(["not_unmounted", "dirty_journal", "silent"]) {
        assert!(words.contains(&word), "{word}");
    }
}
