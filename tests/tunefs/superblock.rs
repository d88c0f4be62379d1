//! Label, UUID and similar fields: only superblocks change.

use std::fs;

use ocfs2_format::superblock::{SUPERBLOCK_BLKNO, backup_blocks};
use ocfs2_testing::{Run, oracle, program};
use ocfs2_volume::{SuperblockAt, VolumeOptions};

use crate::bench::{Bench, contents, extend};

const UUID: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn label_and_uuid_are_as_the_c_tool_writes_them_byte_for_byte() {
    let Some(theirs) = oracle("tunefs.ocfs2") else { return };
    let bench = Bench::new("-b 4K -C 4K --fs-features=metaecc", "1100M");
    let copy = bench.scratch.join("copy.img");
    fs::copy(&bench.path, &copy).unwrap();
    bench.done(&format!("-y -L new-label -q -U{UUID}"));
    let run = Run::new(theirs).args(["-y", "-q", "-L", "new-label"]).arg(format!("-U{UUID}"));
    run.arg(&copy).success();
    assert!(fs::read(&bench.path).unwrap() == fs::read(&copy).unwrap());
    bench.judge("label");
    let volume = bench.volume();
    let backups: Vec<_> = backup_blocks(volume.block_size(), volume.geometry().blocks()).collect();
    assert_eq!(backups.len(), 1);
    let options = VolumeOptions { superblock: SuperblockAt::Backup(1), ..Default::default() };
    let backup = ocfs2_volume::Volume::open(volume.device().clone(), &options).unwrap();
    assert_eq!(backup.superblock().label(), b"new-label");
}

#[test]
fn a_copy_gets_a_uuid_and_a_label_of_its_own() {
    let bench = Bench::new("-b 1K -C 4K -L data", "64M");
    let before = bench.volume().superblock().s_uuid;
    bench.done("-q -y --cloned-volume");
    let first = bench.volume().superblock().clone();
    assert!(first.s_uuid != before && first.label() == b"data-cloned");
    bench.done("-q -y --cloned-volume=other");
    let second = bench.volume().superblock().clone();
    assert!(second.s_uuid != first.s_uuid && second.label() == b"other");
    assert_eq!(second.s_uuid_hash, first.s_uuid_hash);
    bench.judge("clone");
}

#[test]
fn a_copy_of_a_mounted_volume_gets_a_uuid_before_it_is_recovered() {
    let scratch = ocfs2_testing::Scratch::new();
    let image = ocfs2_testing::fixture_copy("crashed-4k-o2cb", &scratch);
    let tunefs = |options: &str| {
        Run::new(program("tunefs.ocfs2")).args(options.split(' ')).arg(&image).output()
    };
    let before = fs::read(&image).unwrap();
    for options in ["-L new", "-y --cloned-volume -N 9", "-S -U"] {
        let refused = tunefs(options).expect_status(1);
        assert!(refused.stderr.contains("the journals of slots 0, 1 are dirty"), "{refused}");
    }
    let shown = tunefs("-n --cloned-volume").expect_status(0);
    assert!(shown.stdout.ends_with("? n\nNothing was changed\n"), "{shown}");
    let asked = Run::new(program("tunefs.ocfs2")).arg("--cloned-volume").arg(&image);
    asked.stdin("n\n").output().expect_status(0);
    assert!(fs::read(&image).unwrap() == before);
    tunefs("-q -y --cloned-volume").expect_status(0);
    let volume = crate::bench::volume_at(&image);
    assert!(volume.superblock().label().ends_with(b"-cloned"));
    assert!(volume.journal_is_dirty(0).unwrap());
    let fsck = Run::new(program("fsck.ocfs2")).arg("-fy").arg(&image).output();
    assert_eq!(fsck.status, 1, "{fsck}");
    Run::new(program("fsck.ocfs2")).arg("-fn").arg(&image).success();
}

#[test]
fn what_is_not_agreed_to_is_not_done_and_an_undo_file_takes_it_back() {
    let bench = Bench::new("-b 2K -C 4K -L old", "64M");
    let before = fs::read(&bench.path).unwrap();
    let dry = bench.tunefs("-n -L new -N 4 -J size=6M --fs-features=noappend-dio").expect_status(0);
    for text in
        ["from \"old\" to \"new\"? n", "from 2 to 4? n", "append direct io", "to 6291456? n"]
    {
        assert!(dry.stdout.contains(text), "{dry}");
    }
    let asked = Run::new(program("tunefs.ocfs2")).args(["-i", "-L", "new"]).arg(&bench.path);
    asked.stdin("n\n").output().expect_status(0);
    let same = bench.tunefs("-v -L old -N 2").expect_status(0);
    assert!(same.stderr.contains("already has the label \"old\"; nothing to do"), "{same}");
    for (options, status, text) in [
        ("-N 255", 2, "there is no room left"),
        ("-J size=2M", 1, "at least 1024 blocks"),
        ("-Sbytes", 2, "2048 clusters are not enough"),
        ("--fs-features=nometaecc,noxattr", 1, "nobody answers"),
        ("--usrquota-sync-interval=500", 1, "the user quota is not enabled"),
        ("-L new -N 255", 2, "there is no room left"),
    ] {
        let run = Run::new(program("tunefs.ocfs2")).args(options.split(' ')).arg(&bench.path);
        let run = if options == "-Sbytes" { run.arg("8M") } else { run };
        let refused = run.output().expect_status(status);
        assert!(refused.stderr.contains(text), "{options}: {refused}");
    }
    assert!(fs::read(&bench.path).unwrap() == before);
    let undo = bench.scratch.join("undo");
    let options = format!("-L new -N 4 -J size=6M --undo-file {}", undo.display());
    let outcome = bench.tunefs(&options).expect_status(0);
    assert!(outcome.stderr.contains("fsck.ocfs2 --undo="), "{outcome}");
    assert!(fs::read(&bench.path).unwrap() != before);
    let fsck = Run::new(program("fsck.ocfs2")).arg("--undo").arg(&undo).arg(&bench.path);
    fsck.success();
    assert!(fs::read(&bench.path).unwrap() == before, "what was overwritten is back");
}

#[test]
fn another_uuid_is_taken_back_and_a_copy_with_another_one_is_not_touched() {
    let bench = Bench::new("-b 1K -C 4K -L data", "64M");
    let (before, undo) = (fs::read(&bench.path).unwrap(), bench.scratch.join("undo"));
    let fsck = || Run::new(program("fsck.ocfs2")).arg("--undo").arg(&undo).arg(&bench.path);
    for options in ["-U -N 3", "-y --cloned-volume=copy"] {
        bench.tunefs(&format!("{options} --undo-file {}", undo.display())).expect_status(0);
        assert!(fs::read(&bench.path).unwrap() != before, "{options}");
        fsck().success();
        assert!(fs::read(&bench.path).unwrap() == before, "{options}");
        // A later UUID is not the one of that run.
        bench.done("-U");
        let other = fs::read(&bench.path).unwrap();
        let refused = fsck().output();
        assert!(refused.stderr.contains("is another volume"), "{options}: {refused}");
        assert!(fs::read(&bench.path).unwrap() == other, "{options}");
        fs::write(&bench.path, &before).unwrap();
        fs::remove_file(&undo).unwrap();
    }
}

#[test]
fn intervals_of_quotas_are_where_the_c_tool_puts_them() {
    let Some(theirs) = oracle("tunefs.ocfs2") else { return };
    let bench = Bench::new("-b 4K -C 4K --fs-features=usrquota,grpquota,metaecc", "64M");
    let copy = bench.scratch.join("copy.img");
    fs::copy(&bench.path, &copy).unwrap();
    let options = ["--usrquota-sync-interval=500", "--grpquota-sync-interval=12345"];
    bench.done(&options.join(" "));
    Run::new(theirs).args(["-y", "-q"]).args(options).arg(&copy).success();
    let skipped = |path| {
        let mut bytes = fs::read(path).unwrap();
        // Ours goes through a journal.
        let journal = bench.volume().journal(0).unwrap();
        let start = journal.blkno.0 as usize * 4096;
        bytes[start..start + (4 << 20)].fill(0);
        bytes
    };
    assert!(skipped(&bench.path) == skipped(&copy));
    bench.judge("intervals");
}

#[test]
fn files_with_holes_are_listed_as_the_c_tool_does() {
    let Some(theirs) = oracle("tunefs.ocfs2") else { return };
    let bench = Bench::new("-b 1K -C 4K", "64M");
    let mut edit = ocfs2_volume::edit::Edit::new(&bench.volume(), Default::default());
    for name in ["/one", "/three"] {
        let inode = edit.resolve(name.as_bytes()).unwrap().blkno;
        edit.truncate(inode, 500_001).unwrap();
        edit.truncate(inode, 700_000).unwrap();
    }
    let two = edit.resolve(b"/two").unwrap().blkno;
    edit.punch(two, 8192..20_000).unwrap();
    let options = ocfs2_device::DeviceOptions { write: true, ..Default::default() };
    let device = ocfs2_device::open(&bench.path, &options).unwrap();
    edit.commit(ocfs2_volume::edit::How::Journal(0), &device).unwrap();
    assert_ne!(contents("two").len(), 0);
    let ours = bench.tunefs("--list-sparse").expect_status(0).stdout;
    let theirs = Run::new(theirs).arg("--list-sparse").arg(&bench.path).success().stdout;
    assert_eq!(ours, theirs);
    assert!(ours.contains("\t\t/one\n") && ours.contains("\t2\t\t/two\n"), "{ours}");
    assert_eq!(SUPERBLOCK_BLKNO.0, 2);
}

#[test]
fn every_field_is_queried_as_the_c_tool_does() {
    let Some(theirs) = oracle("tunefs.ocfs2") else { return };
    for options in ["-b 1K -C 4K -L data", "-b 4K -C 64K --fs-features=usrquota,metaecc,nosparse"] {
        let bench = Bench::new(options, "96M");
        let format = r"%T|%N|%R|%Y|%P|%V|%U|%M|%H|%O|%%\n";
        let ask = |tunefs: &std::path::Path, format: &str| {
            Run::new(tunefs).args(["-Q", format]).arg(&bench.path).success().stdout
        };
        let ours = ask(&program("tunefs.ocfs2"), format);
        assert_eq!(ours, ask(&theirs, format), "{options}");
        assert_eq!(ours.matches('|').count(), 10, "{ours}");
        // The C tool has no answer to this one.
        let size = bench.volume().block_size().bytes();
        assert_eq!(ask(&program("tunefs.ocfs2"), r"%B\n"), format!("{size}\n"));
    }
}

#[test]
fn the_superblock_is_listed_as_debugfs_shows_it() {
    let bench = Bench::new("-b 1K -C 4K -L data", "64M");
    let listed = Run::new(program("tunefs.ocfs2")).arg("-l").arg(&bench.path).success().stdout;
    for debugfs in [Some(program("debugfs.ocfs2")), oracle("debugfs.ocfs2")].into_iter().flatten() {
        let shown = Run::new(debugfs).args(["-R", "stats -h"]).arg(&bench.path).success().stdout;
        assert_eq!(listed, shown);
    }
    assert!(listed.contains("\tLabel: data\n"), "{listed}");
}

/// Runs with `--json` and returns the document.
fn json(bench: &Bench, options: &[&str], status: i32) -> serde_json::Value {
    let run = Run::new(program("tunefs.ocfs2")).arg("--json").args(options).arg(&bench.path);
    serde_json::from_str(&run.stdin("n\n").output().expect_status(status).stdout).unwrap()
}

#[test]
fn results_are_reported_as_json() {
    let bench = Bench::new("-b 1K -C 4K -L data -N 2", "64M");
    let outcomes = |document: &serde_json::Value| -> Vec<(String, String)> {
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let changes = document["changes"].as_array().unwrap().iter();
        changes.map(|it| (text(&it["change"]), text(&it["outcome"]))).collect()
    };
    let is = |found: &[(String, String)], wanted: &[(&str, &str)]| {
        let found: Vec<_> = found.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(found, wanted);
    };
    let listed = json(&bench, &["-l"], 0);
    is(&outcomes(&listed), &[]);
    assert_eq!(listed["volume"]["label"], "data");
    let wanted = ["-n", "-L", "new", "-N", "3", "--fs-features=sparse,nounwritten"];
    let planned = json(&bench, &wanted, 0);
    let possible = "possible";
    is(
        &outcomes(&planned),
        &[
            ("label", possible),
            ("node-slots", possible),
            ("nounwritten", possible),
            ("sparse", "already"),
        ],
    );
    assert_eq!((&planned["volume"]["label"], &planned["dry_run"]), (&"data".into(), &true.into()));
    let done = json(&bench, &wanted[1..], 0);
    assert!(outcomes(&done).contains(&("node-slots".into(), "done".into())), "{done}");
    assert_eq!(done["volume"]["node_slots"], 3);
    assert_eq!(done["errors"].as_array().unwrap().len(), 0);
    let unit = "-Sclusters";
    is(&outcomes(&json(&bench, &[unit], 0)), &[("volume-size", "already")]);
    extend(&bench.path, 65);
    is(&outcomes(&json(&bench, &[unit], 0)), &[("volume-size", "done")]);
    let declined = json(&bench, &["-U0123456789abcdef0123456789abcdef"], 0);
    is(&outcomes(&declined), &[("uuid-reset", "declined")]);
    let refused = json(&bench, &["--usrquota-sync-interval", "200"], 1);
    assert_eq!((&refused["status"], refused["changes"].as_array().unwrap().len()), (&1.into(), 0));
    assert!(refused["errors"][0].as_str().unwrap().contains("the user quota is not enabled"));
    bench.judge("json");
}
