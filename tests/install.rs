//! `cargo xtask install`: what it installs.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use ocfs2_testing::{Outcome, Run, Scratch, c_tool, find_program, oracle, program, program_dir};

const PROGRAMS: [&str; 16] = [
    "mkfs.ocfs2",
    "fsck.ocfs2",
    "mounted.ocfs2",
    "blkid.ocfs2",
    "o2cb",
    "o2cb_ctl",
    "ocfs2_hb_ctl",
    "o2hbmonitor",
    "mount.ocfs2",
    "tunefs.ocfs2",
    "o2cluster",
    "o2image",
    "debugfs.ocfs2",
    "o2info",
    "defragfs.ocfs2",
    "ocfs2-fuse",
];

fn install(args: &[&str], destdir: &Path) -> Outcome {
    let run = Run::new(program("workshop")).arg("install").args(args);
    run.arg("--bin-dir").arg(program_dir()).arg("--destdir").arg(destdir).success()
}

/// Returns `$PATH` with `dir` first.
fn path_with(dir: &Path) -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let admin = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::join_paths([dir.to_owned()].into_iter().chain(env::split_paths(&path)).chain(admin))
        .unwrap()
}

#[test]
fn a_prefix_gets_programs_manual_pages_and_completions() {
    let scratch = Scratch::new();
    install(&["--prefix", "/usr/local"], scratch.path());
    let local = scratch.join("usr/local");
    for name in PROGRAMS {
        let version = Run::new(local.join("sbin").join(name)).arg("--version").success().stdout;
        assert!(version.starts_with(name), "{version}");

        let page = fs::read_to_string(local.join(format!("share/man/man8/{name}.8"))).unwrap();
        assert!(page.contains(&format!(".TH {name} 8")), "{page}");
        assert!(!page.contains("EXTRA"), "{page}");

        let bash = local.join("share/bash-completion/completions").join(name);
        if let Some(shell) = oracle("bash") {
            Run::new(shell).arg("-n").arg(&bash).success();
        }
        assert!(fs::read_to_string(bash).unwrap().contains(name));
        let zsh = local.join(format!("share/zsh/site-functions/_{name}"));
        assert!(fs::read_to_string(zsh).unwrap().starts_with(&format!("#compdef {name}")));
        let fish = local.join(format!("share/fish/vendor_completions.d/{name}.fish"));
        assert!(fs::read_to_string(fish).unwrap().contains(&format!("complete -c {name}")));
    }
    let link = local.join("sbin/mount.fuse.ocfs2");
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("ocfs2-fuse"));
    let unit = fs::read_to_string(local.join("lib/systemd/system/o2cb.service")).unwrap();
    assert!(unit.contains("\nExecStart=/usr/local/sbin/o2cb online --if-enabled\n"), "{unit}");
    let unit = fs::read_to_string(local.join("lib/systemd/system/ocfs2.service")).unwrap();
    assert!(unit.contains("\nExecStart=/bin/mount -a -t ocfs2\n"), "{unit}");
    for script in ["sbin/o2cb.init", "etc/init.d/o2cb"] {
        let script = local.join(script);
        Run::new("sh").arg("-n").arg(&script).success();
        assert!(fs::read_to_string(&script).unwrap().contains("\no2cb=/usr/local/sbin/o2cb\n"));
        let usage = Run::new(&script).arg("bogus").output().expect_status(1).stderr;
        assert!(usage.contains("enable|disable|configure"), "{usage}");
    }
    let o2cb = fs::read_to_string(local.join("share/man/man8/o2cb.8")).unwrap();
    assert!(o2cb.contains("\n.SH COMMANDS\n") && !o2cb.contains("o2cb\\-add\\-node(8)"), "{o2cb}");
    let mkfs = fs::read_to_string(local.join("share/man/man8/mkfs.ocfs2.8")).unwrap();
    let synopsis = mkfs.lines().skip_while(|line| *line != ".SH SYNOPSIS").nth(1).unwrap();
    for part in [
        "\\fBmkfs.ocfs2\\fR [\\-\\-partition <N>] ",
        " [\\-L|\\-\\-label <LABEL>] ",
        " [\\-T <TYPE>] ",
        " [\\-n|\\-\\-dry\\-run] ",
        " <DEVICE> [BLOCKS|SIZE]",
    ] {
        assert!(synopsis.contains(part), "{part}: {synopsis}");
    }
    assert!(mkfs.contains("\n    device_escaped   "), "{mkfs}");
    assert!(mkfs.contains("\n.BR fsck.ocfs2 (8),\n"), "{mkfs}");
    for (page, alias) in [("fsck.ocfs2.8", "[\\-a|\\-p]"), ("tunefs.ocfs2.8", "\\-\\-dry\\-run|")] {
        let page = fs::read_to_string(local.join("share/man/man8").join(page)).unwrap();
        assert!(page.contains(alias), "{page}");
    }
    let checks = fs::read_to_string(local.join("share/man/man8/fsck.ocfs2.checks.8")).unwrap();
    assert!(checks.contains(".TP\n.B EB_BLKNO\n"), "{checks}");
}

#[test]
fn without_a_prefix_files_go_where_a_distribution_puts_them() {
    let scratch = Scratch::new();
    let printed = install(&[], scratch.path()).stdout;
    for name in PROGRAMS {
        for file in [
            format!("sbin/{name}"),
            format!("usr/share/man/man8/{name}.8"),
            format!("usr/share/bash-completion/completions/{name}"),
            format!("usr/share/zsh/vendor-completions/_{name}"),
            format!("usr/share/fish/vendor_completions.d/{name}.fish"),
        ] {
            let path = scratch.join(file);
            assert!(path.is_file(), "{}", path.display());
            assert!(printed.lines().any(|line| Path::new(line) == path), "{printed}");
        }
    }
    assert!(scratch.join("usr/lib/udev/rules.d/51-ocfs2.rules").is_file());
    let unit = fs::read_to_string(scratch.join("usr/lib/systemd/system/o2cb.service")).unwrap();
    assert!(unit.contains("\nExecStop=/sbin/o2cb offline\n"), "{unit}");
}

#[test]
fn systemd_takes_the_units_and_the_init_script_calls_the_program() {
    let Some(analyze) = oracle("systemd-analyze") else { return };
    let scratch = Scratch::new();
    let prefix = scratch.join("usr");
    install(&["--prefix", prefix.to_str().unwrap()], Path::new("/"));
    let units = ["o2cb.service", "ocfs2.service", "o2hbmonitor.service", "ocfs2-fuse@.service"]
        .map(|name| {
            let unit = prefix.join("lib/systemd/system").join(name);
            assert!(unit.is_file(), "{}", unit.display());
            unit
        });
    let verified = Run::new(analyze).args(["verify", "--man=no"]).args(&units).success();
    assert_eq!((verified.stdout.as_str(), verified.stderr.as_str()), ("", ""));
    let script = prefix.join("etc/init.d/o2cb");
    let enabled = Run::new(&script).args(["start", "--sysconfig", "/none"]).output();
    assert!(enabled.status == 0 && enabled.stdout.is_empty(), "{enabled}");
    if Path::new("/sys/kernel/config/cluster").exists() {
        return;
    }
    let status = Run::new(&script).arg("online-status").output().expect_status(1);
    assert_eq!(status.stdout, "offline\n");
    assert_eq!(Run::new(&script).arg("offline").success().stdout, "No cluster is online\n");
}

#[test]
fn a_c_tool_in_the_way_is_kept_and_still_found_as_the_judge() {
    if oracle("mkfs.ocfs2").is_none() {
        return;
    }
    let scratch = Scratch::new();
    let sbin = scratch.join("sbin");
    fs::create_dir(&sbin).unwrap();
    fs::copy(c_tool("mkfs.ocfs2").unwrap(), sbin.join("mkfs.ocfs2")).unwrap();
    let original = fs::read(sbin.join("mkfs.ocfs2")).unwrap();
    // The second time, the program in the way is ours.
    for _ in 0..2 {
        install(&[], scratch.path());
        assert!(fs::read(sbin.join("mkfs.ocfs2.orig")).unwrap() == original);
        assert!(fs::read(sbin.join("mkfs.ocfs2")).unwrap() != original);
    }
}

#[test]
fn the_mkfs_front_end_calls_ours() {
    let Some(mkfs) = oracle("mkfs") else { return };
    let scratch = Scratch::new();
    install(&["--prefix", "/usr/local"], scratch.path());
    let image = scratch.image("disk.img", 1 << 30);
    let outcome = Run::new(mkfs)
        .args(["-t", "ocfs2", "-N", "4", "-L", "/OVS"])
        .arg(&image)
        .env("PATH", path_with(&scratch.join("usr/local/sbin")))
        .success();
    assert!(outcome.stdout.contains("mkfs.ocfs2 successful"), "{outcome}");
    // The C tool would have filled the journals with zeros.
    assert!(ocfs2_testing::allocated_bytes(&image) < 8 << 20);
    if let Some(fsck) = oracle("fsck.ocfs2") {
        Run::new(fsck).arg("-fn").arg(&image).success();
    }
}

#[test]
fn the_demo_makes_a_volume_and_recovers_one_that_two_servers_crashed_on() {
    let out = Run::new(program("xtask")).arg("demo").arg("--bin-dir").arg(program_dir());
    let out = out.success().stdout;
    let uuids: Vec<_> = out.lines().filter(|line| line.contains("LABEL=\"/OVS\"")).collect();
    assert_eq!(uuids.len(), 1, "{out}");
    assert_eq!(out.matches("(crashed").count(), 2, "{out}");
    // The first fsck corrects something; after the second no node has a slot.
    assert_eq!(out.matches("exit status 1\n").count(), 1, "{out}");
    assert_eq!(out.matches("All passes succeeded.").count(), 2, "{out}");
    assert_eq!(out.lines().filter(|line| line.ends_with("Not mounted")).count(), 2, "{out}");
    assert_eq!(find_program("sfdisk").is_none(), out.contains("There is no sfdisk"), "{out}");
}
