//! `o2hbmonitor` on the recorded files of a kernel.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ocfs2_testing::{Outcome, Run, Scratch, program};

const REGIONS: [(&str, &str, &str); 2] = [
    ("0123456789ABCDEF0123456789ABCDEF", "sdb1", "2100"),
    ("77D95EF51C0149D2823674FCC162CF8B", "dm-3", "31000"),
];

/// The files of a kernel on which the cluster `web` is online, with 60 seconds until a node is dead.
fn recorded(root: &Path) {
    let put = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for folder in ["run", "dev"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    put("sys/kernel/config/cluster/web/heartbeat/dead_threshold", "31\n");
    for (region, device, elapsed) in REGIONS {
        put(
            &format!("sys/kernel/config/cluster/web/heartbeat/{region}/dev"),
            &format!("{device}\n"),
        );
        put(&format!("sys/kernel/debug/o2hb/{region}/elapsed_time_in_ms"), &format!("{elapsed}\n"));
    }
}

fn once(root: &Path, options: &str) -> Outcome {
    let run = Run::new(program("o2hbmonitor")).arg("--once").args(options.split_whitespace());
    let run = run.env("JOURNAL_STREAM", "");
    run.arg("--root").arg(root).output()
}

#[test]
fn late_heartbeats_are_reported_in_every_form() {
    let scratch = Scratch::in_memory();
    let root = scratch.path();
    assert_eq!(once(root, "").expect_status(0).stderr, "");
    recorded(root);
    let late = "Last ping 31000 msecs ago on /dev/dm-3, 77D95EF51C0149D2823674FCC162CF8B\n";
    let found = once(root, "").expect_status(1).stderr;
    assert_eq!(found, format!("o2hbmonitor: {late}"));
    assert_eq!(once(root, "-w 52").expect_status(0).stderr, "");
    let all = once(root, "-w 52 -v").expect_status(0).stderr;
    assert!(
        all.contains("Last ping 2100 msecs ago on /dev/sdb1, 01234") && all.contains(late),
        "{all}"
    );
    let run = Run::new(program("o2hbmonitor")).args(["--once", "--root"]).arg(root);
    let journal = run.env("JOURNAL_STREAM", "8:1").output().expect_status(1).stderr;
    assert_eq!(journal, format!("<4>{late}"));

    let lines = once(root, "--json-lines").expect_status(1).stdout;
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!((&lines[1]["elapsed_ms"], &lines[1]["dead_ms"]), (&31000.into(), &60000.into()));
    assert_eq!((&lines[0]["late"], &lines[1]["late"]), (&false.into(), &true.into()));

    let file = root.join("ocfs2.prom");
    once(root, &format!("--textfile {}", file.to_str().unwrap())).expect_status(1);
    let text = fs::read_to_string(&file).unwrap();
    let labels =
        "{cluster=\"web\",region=\"77D95EF51C0149D2823674FCC162CF8B\",device=\"/dev/dm-3\"}";
    for line in [
        format!("ocfs2_heartbeat_elapsed_seconds{labels} 31.000"),
        format!("ocfs2_heartbeat_dead_seconds{labels} 60.000"),
        format!("ocfs2_heartbeat_late{labels} 1"),
    ] {
        assert!(text.lines().any(|it| it == line), "{line}: {text}");
    }
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(fs::read_dir(root).unwrap().count(), 4, "no other files are left");

    fs::remove_dir_all(root.join("sys/kernel/debug")).unwrap();
    let found = once(root, "").expect_status(0).stderr;
    assert_eq!(found, "o2hbmonitor: mount debugfs at /sys/kernel/debug\n");
}

#[test]
fn one_runs_until_a_signal_comes_and_logs_to_the_system_when_in_the_background() {
    let scratch = Scratch::in_memory();
    let root = scratch.path();
    recorded(root);
    let mut first = Command::new(program("o2hbmonitor"))
        .args(["-i", "--root"])
        .arg(root)
        .env_remove("JOURNAL_STREAM")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(first.stderr.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "o2hbmonitor: Starting");
    assert!(lines.next().unwrap().unwrap().contains("Last ping 31000 msecs ago on /dev/dm-3"));
    for option in ["-i", "-v"] {
        let second = Run::new(program("o2hbmonitor")).args([option, "--root"]).arg(root).output();
        assert_eq!(second.status, 1, "{second}");
        assert!(second.stderr.contains("runs already"), "{second}");
    }
    Run::new("kill").arg(first.id().to_string()).success();
    assert_eq!(first.wait().unwrap().code(), Some(0));

    let log = UnixDatagram::bind(root.join("dev/log")).unwrap();
    log.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    Run::new(program("o2hbmonitor")).args(["-w", "30", "--root"]).arg(root).success();
    let mut bytes = [0; 500];
    let mut next = || {
        let len = log.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    };
    let starting = next();
    let id =
        starting.strip_prefix("<30>o2hbmonitor[").unwrap().strip_suffix("]: Starting").unwrap();
    let late = next();
    let region = REGIONS[1].0;
    let expected =
        format!("<28>o2hbmonitor[{id}]: Last ping 31000 msecs ago on /dev/dm-3, {region}");
    assert_eq!(late, expected);
    Run::new("kill").arg(id).success();
}
