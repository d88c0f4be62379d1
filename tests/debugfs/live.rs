//! The locks of the kernel, from files in the form in which it writes them.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use ocfs2_testing::{Random, Run, Scratch, fixture, fixture_copy, oracle, program, while_beating};

/// Returns lines as Linux writes them, in one of the first three versions, which the C tool knows.
fn fs_locks(version: u32, random: &mut Random) -> String {
    let mut text = String::new();
    let mut pick = |from: &[i64]| *random.of(from);
    for letter in "MSRWOFQYPTI".chars() {
        let level = [-1, 0, 1, 2, 3, 4, 5, 6];
        let name = format!("{letter}000000000000000000000513bbf1e6");
        let flags = pick(&[0, 0x40, 0x41, 0x43, 0x1ff, 0x200, 0x3ff, 0x87]);
        let _ = write!(text, "{version:#x}\t{name}\t{}\t{flags:#x}\t", pick(&level));
        let _ = write!(text, "{:#x}\t{:#x}\t", pick(&[0, 1, 2, 3, 4]), pick(&[0, 1, 2, 3]));
        let _ = write!(text, "{}\t{}\t", pick(&[0, 1, 77]), pick(&[0, 1]));
        let _ = write!(text, "{}\t{}\t", pick(&level), pick(&level));
        for _ in 0..64 {
            let _ = write!(text, "{:#x}\t", pick(&[0, 1, 0x7f, 0xff]));
        }
        let counts = if version == 1 { 0 } else { 9 };
        for _ in 0..counts {
            let _ = write!(text, "{}\t", pick(&[0, 1, 13, 1000, 1_234_567, 987_654_321]));
        }
        text.push('\n');
    }
    text
}

fn dlm_locks(random: &mut Random) -> String {
    let mut text = String::new();
    for round in 0..24 {
        let state = random.of(&[0, 1, 2, 4, 8, 16, 32, 64, 0x1000, 0x2000, 0x4000, 0x306f]);
        let mut flag = || random.below(2);
        let [purge, dirty, recovering, migration] = [flag(), flag(), flag(), flag()];
        let _ = write!(
            text,
            "NAME:N000000000000000500{round:04x}02\nLRES:1,{},{state},{},{purge},{dirty},{recovering},\
             {},{migration},3,{}\nRMAP:0 {round} \nLVBX:{}\n",
            round % 5,
            round * 977,
            round % 3,
            round + 1,
            "5a".repeat(64)
        );
        for lock in 0..round % 5 {
            let mut flag = || random.below(2);
            let flags: Vec<_> = (0..8).map(|_| flag().to_string()).collect();
            let levels = [-1, 0, 3, 5];
            let _ = writeln!(
                text,
                "LOCK:1,{},{},{},{lock},{lock}:{},{},2",
                lock % 3,
                levels[lock % 4],
                levels[(lock + round) % 4],
                7 * round,
                flags.join(",")
            );
        }
        text.push('\n');
    }
    text
}

/// Returns the output of both tools for a command about a file.
fn both(command: &str, file: &Path) -> Option<(String, String)> {
    let c = oracle("debugfs.ocfs2")?;
    let (words, options) = command.split_once(' ').unwrap_or((command, ""));
    let line = format!("{words} -f {} {options}", file.display());
    let run = |tool: &Path| {
        let run = Run::new(tool).env("PAGER", "__none__").args(["-n", "-R", line.trim_end()]);
        run.arg(fixture("clean-4k-o2cb")).output().expect_status(0).stdout
    };
    Some((run(&program("debugfs.ocfs2")), run(&c)))
}

#[test]
fn locks_of_the_file_system_are_shown_as_by_the_c_tool() {
    let scratch = Scratch::new();
    let file = scratch.join("locking_state");
    for version in 1..=3 {
        fs::write(&file, fs_locks(version, &mut Random(u64::from(version)))).unwrap();
        let name = "M000000000000000000000513bbf1e6";
        for command in ["fs_locks", "fs_locks -l", "fs_locks -B", &format!("fs_locks {name}")] {
            let Some((ours, c)) = both(command, &file) else { return };
            assert_eq!(ours, c, "{version} {command}");
            assert!(command != "fs_locks" || ours.lines().count() > 50, "{ours}");
        }
    }
}

#[test]
fn locks_of_the_lock_manager_are_shown_as_by_the_c_tool() {
    let scratch = Scratch::new();
    let file = scratch.join("locking_state");
    fs::write(&file, dlm_locks(&mut Random(7))).unwrap();
    for command in ["dlm_locks", "dlm_locks -l", "dlm_locks N000000000000000500000402"] {
        let Some((ours, c)) = both(command, &file) else { return };
        assert_eq!(ours, c, "{command}");
    }
}

#[test]
fn what_the_kernel_does_not_have_is_said() {
    let debugfs = |command: &str| {
        let run = Run::new(program("debugfs.ocfs2")).args(["-R", command]);
        run.arg(fixture("clean-4k-o2cb")).output().expect_status(1)
    };
    let missing = debugfs("fs_locks");
    assert!(missing.stderr.starts_with("fs_locks: "), "{missing}");
    assert!(debugfs("dlm_locks -f /nonexistent").stderr.contains("No such file or directory"));
    let stats = Scratch::new();
    let file = stats.join("stats");
    fs::write(&file, "1,1,69,1420572,94689390,1931844813,94,10336428\n").unwrap();
    let command = format!("net_stats -f {}", file.display());
    let run = Run::new(program("debugfs.ocfs2")).args(["-R", &command]);
    let text = run.arg(fixture("clean-4k-o2cb")).output().expect_status(0).stdout;
    let row = text.lines().last().unwrap();
    let words = ["1", "69", "94", "20.588", "1372.310", "27997.751", "29390.649", "109.962"];
    assert_eq!(row.split_whitespace().collect::<Vec<_>>(), words);
}

#[test]
fn a_node_that_beats_is_live_and_one_that_does_not_is_silent() {
    let scratch = Scratch::new();
    let crashed = fixture_copy("crashed-4k-o2cb", &scratch);
    let device = ocfs2_device::open(&crashed, &Default::default()).unwrap();
    let volume = ocfs2_volume::Volume::open(device, &Default::default()).unwrap();
    let offset = volume.heartbeat_region().unwrap().offset_bytes;
    let hb = |command: &str| Run::new(program("debugfs.ocfs2")).args(["-R", command]).arg(&crashed);
    let once = hb("hb").output().expect_status(0).stdout;
    assert!(!once.contains("silent") && once.lines().next().unwrap().ends_with(" deadms"));
    let text =
        while_beating(&crashed, offset, 1, || hb("hb -w 1").output()).expect_status(0).stdout;
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].ends_with(" deadms state"), "{text}");
    assert!(lines[1].starts_with("\t   0:") && lines[1].ends_with("  16000 silent"), "{text}");
    assert!(lines[2].starts_with("\t   1:") && lines[2].ends_with("  62000 live"), "{text}");
    let record = hb("hb -w 1").arg("--json").output().expect_status(0).stdout;
    assert!(record.contains("\"state\":\"silent\""), "{record}");
    for command in ["hb -x", "hb -w 0", "hb -w 1 1"] {
        assert!(hb(command).output().expect_status(1).stderr.contains("usage"), "{command}");
    }
}
