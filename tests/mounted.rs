//! `mounted.ocfs2` on volumes that the kernel wrote, compared with the C tool.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, SystemTime};

use ocfs2_cluster::Sources;
use ocfs2_format::Structure;
use ocfs2_format::dinode::Dinode;
use ocfs2_format::heartbeat::HeartbeatBlock;
use ocfs2_format::superblock::SuperBlock;
use ocfs2_mounted::{Detail, Options, list};
use ocfs2_testing::{
    LoopDevice, Outcome, Run, Scratch, beat, fixture, fixture_copy, heartbeat_offset, hold_slot,
    oracle, program, while_beating,
};
use ocfs2_volume::usage::{Clock, State, Unknown};

const FIXTURES: [&str; 8] = [
    "clean-4k-o2cb",
    "clean-1k-local",
    "clean-512-local",
    "clean-1m-global",
    "crashed-4k-o2cb",
    "crashed-512-local",
    "clean-1k-linux7-local",
    "crashed-4k-linux7-local",
];

fn mounted() -> Run {
    Run::new(program("mounted.ocfs2"))
}

/// Returns the first line after the header, from the column `title` on.
fn cell(outcome: &Outcome, title: &str) -> String {
    let mut lines = outcome.stdout.lines();
    let start = lines.next().and_then(|header| header.find(title));
    let start = start.unwrap_or_else(|| panic!("no column {title}: {outcome}"));
    let line = lines.next().unwrap_or_else(|| panic!("no volume: {outcome}"));
    line[start..].to_owned()
}

#[test]
fn tables_equal_those_of_the_c_tool() {
    let Some(c_tool) = oracle("mounted.ocfs2") else { return };
    let mut images: Vec<PathBuf> = FIXTURES.map(fixture).into();
    images.push("/dev/null".into());
    let scratch = Scratch::new();
    if let Some(mkfs) = oracle("mkfs.ocfs2") {
        for (name, arguments) in [
            ("hb.img", ["-H", "-x"].as_slice()),
            ("pcmk.img", &["-N", "2", "--cluster-stack=pcmk", "--cluster-name=abcdefghijklmnop"]),
            ("classic.img", &["-N", "2", "-L", "two words"]),
        ] {
            let image = scratch.image(name, 64 << 20);
            Run::new(&mkfs).args(["-q", "-x", "-F"]).args(arguments).arg(&image).success();
            images.push(image);
        }
    }
    for image in images {
        for arguments in [["-d"].as_slice(), &["-f", "--wait=0"]] {
            let expected = Run::new(&c_tool).arg(arguments[0]).arg(&image).success();
            let found = mounted().args(arguments).arg(&image).output();
            assert_eq!(found.stdout, expected.stdout, "{found}");
        }
    }
}

#[test]
fn both_crashed_nodes_are_listed_and_fsck_is_said_to_be_needed() {
    // Without -v only the names, which are easier for scripts.
    let outcome = mounted().arg("-f").arg(fixture("crashed-4k-o2cb")).success();
    assert_eq!(cell(&outcome, "Nodes"), "0, 1", "{outcome}");
    let outcome = mounted().arg("-fv").arg(fixture("crashed-4k-o2cb")).success();
    let nodes = cell(&outcome, "Nodes");
    let [first, second] = &nodes.split(", ").collect::<Vec<_>>()[..] else { panic!("{outcome}") };
    assert!(first.starts_with("0 (crashed ") && first.ends_with(" ago)"), "{outcome}");
    assert!(second.starts_with("1 (crashed ") && second.ends_with(" ago)"), "{outcome}");
    assert!(outcome.stderr.contains("crashed-4k-o2cb.img: fsck is needed"), "{outcome}");
}

#[test]
fn clean_volumes_are_not_mounted_and_only_the_global_one_has_the_flag() {
    let clean = FIXTURES.into_iter().filter(|name| name.starts_with("clean"));
    for name in clean {
        let outcome = mounted().arg("-f").arg(fixture(name)).success();
        assert_eq!(cell(&outcome, "Nodes"), "Not mounted", "{outcome}");
        assert_eq!(outcome.stderr, "", "{outcome}");
        let is_global = cell(&outcome, "F  ").starts_with('G');
        assert_eq!(is_global, name == "clean-1m-global", "{outcome}");
    }
}

#[test]
fn a_local_volume_that_was_not_unmounted_is_unknown_and_the_reason_is_given() {
    let image = fixture("crashed-512-local");
    let outcome = mounted().arg("-fv").arg(&image).success();
    assert_eq!(cell(&outcome, "Nodes"), "0 (unknown)");
    assert!(outcome.stderr.contains("was not unmounted"), "{outcome}");
    assert!(outcome.stderr.contains("a local volume has no heartbeat"), "{outcome}");
}

#[test]
fn several_devices_are_one_table_and_a_bad_one_is_an_error() {
    let scratch = Scratch::new();
    let empty = scratch.image("empty.img", 1 << 20);
    let missing = scratch.join("missing.img");
    let images = ["clean-4k-o2cb", "clean-512-local"].map(fixture);
    let good = mounted().args(&images).success();
    assert_eq!(good.stdout.lines().count(), 3, "{good}");
    let other = scratch.image("ext2.img", 1 << 20);
    File::options().write(true).open(&other).unwrap().write_all_at(b"\x53\xef", 1080).unwrap();
    let disk = scratch.image("disk.img", 1 << 20);
    let table = File::options().write(true).open(&disk).unwrap();
    table.write_all_at(b"\x83\0\0\0\x08\0\0\0\x08\0\0\0", 450).unwrap();
    table.write_all_at(b"\x55\xaa", 510).unwrap();
    let lost = scratch.image("lost.img", 2 << 30);
    Run::new(program("mkfs.ocfs2")).args(["-q", "-b", "4K"]).arg(&lost).success();
    File::options().write(true).open(&lost).unwrap().write_all_at(&[0; 4096], 2 * 4096).unwrap();
    let restored = format!(
        "is not an OCFS2 volume; one was there, good backup superblocks: 1; fsck.ocfs2 -r 1 {} \
         restores it\n",
        lost.display()
    );
    for (bad, message) in [
        (lost, restored.as_str()),
        (empty, "is not an OCFS2 volume\n"),
        (other, "is not an OCFS2 volume; it holds: ext2 file system\n"),
        (
            disk,
            "is not an OCFS2 volume; it is a disk with partition 1: --partition NUMBER looks at",
        ),
        (missing, "no such file"),
        ("LABEL=no such".into(), "no block device of this machine has an OCFS2 volume with label"),
    ] {
        let outcome = mounted().arg(&bad).args(&images).output().expect_status(1);
        assert_eq!(outcome.stdout, good.stdout);
        let expected = format!("mounted-ocfs2: {}: {message}", bad.display());
        assert!(outcome.stderr.starts_with(&expected), "{outcome}");
    }
}

#[test]
fn the_help_describes_every_field_of_the_json() {
    let help = mounted().arg("--help").success().stdout;
    let images = ["crashed-4k-o2cb", "clean-1k-local"].map(fixture);
    let run = mounted().args(["-f", "--json", "/dev/null"]).args(&images).output();
    let document: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let of = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect();
    let volume = &document["volumes"][0];
    let keys: [Vec<String>; 4] =
        [of(&document), of(volume), of(&volume["nodes"][0]), of(&document["failures"][0])];
    let described = help.split_once("\nJSON:\n").unwrap().1;
    let words: Vec<_> = described.split([' ', ',', '\n']).collect();
    for key in keys.concat().iter().map(String::as_str).chain(["device_escaped", "label_escaped"]) {
        assert!(words.contains(&key), "{key}");
    }
}

#[test]
fn json_says_what_the_table_says() {
    let images = ["crashed-4k-o2cb", "clean-1k-local"].map(fixture);
    let outcome = mounted().args(["-f", "--json"]).args(&images).success();
    let document: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let [crashed, clean] = &document["volumes"].as_array().unwrap()[..] else {
        panic!("{outcome}")
    };
    assert_eq!(crashed["cluster"], "ovscluster");
    assert_eq!(crashed["needs_fsck"], true);
    assert_eq!(crashed["uuid"], "dc00a60b-dccb-49d9-a8ba-d4d055ad830d");
    for number in [0, 1] {
        let node = &crashed["nodes"][number];
        assert_eq!(node["number"], number);
        assert_eq!(node["state"], "crashed");
        assert!(node["last_beat"].as_u64().unwrap() > 1_700_000_000, "{node}");
    }
    assert_eq!(clean["stack"], serde_json::Value::Null);
    assert_eq!(clean["nodes"], serde_json::json!([]));
    assert_eq!(clean["needs_fsck"], false);
}

#[test]
fn a_volume_in_a_partition_of_a_disk_image_is_found_by_its_number() {
    let scratch = Scratch::new();
    let volume = fixture("clean-512-local");
    let sectors = u32::try_from(volume.metadata().unwrap().len() / 512).unwrap();
    let disk = scratch.image("disk.img", (1 << 20) + u64::from(sectors) * 512);
    let mut mbr = [0; 512];
    let third = &mut mbr[446 + 2 * 16..446 + 3 * 16];
    third[4] = 0x83;
    third[8..12].copy_from_slice(&2048_u32.to_le_bytes());
    third[12..].copy_from_slice(&sectors.to_le_bytes());
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    File::options().write(true).open(&disk).unwrap().write_all_at(&mbr, 0).unwrap();
    let mut copy = Run::new("dd").args(["bs=1M", "seek=1", "conv=sparse,notrunc"]);
    for (name, path) in [("if", &volume), ("of", &disk)] {
        copy = copy.arg(format!("{name}={}", path.display()));
    }
    copy.success();

    let outcome = mounted().args(["-f", "--partition", "3"]).arg(&disk).success();
    assert_eq!(cell(&outcome, "Nodes"), "Not mounted");
    let outcome = mounted().args(["-d", "--partition", "1"]).arg(&disk).output().expect_status(1);
    assert!(outcome.stderr.ends_with("there is no partition 1, only 3\n"), "{outcome}");
    let outcome = mounted().arg(&disk).output().expect_status(1);
    let told =
        "is not an OCFS2 volume; it is a disk with partition 3: --partition NUMBER looks at one\n";
    assert!(outcome.stderr.ends_with(told), "{outcome}");
}

#[test]
fn the_usage_names_the_program_as_it_was_called() {
    let scratch = Scratch::new();
    let link = scratch.join("mounted.ocfs2");
    symlink(program("mounted.ocfs2"), &link).unwrap();
    // Without arguments it lists all devices.
    let bare = Run::new(&link).success();
    assert!(bare.stdout.starts_with("Device "), "{bare}");
    let wrong = Run::new(&link).arg("--frob").output().expect_status(1);
    assert!(wrong.stderr.starts_with("mounted.ocfs2: "), "{wrong}");
    assert!(wrong.stderr.contains("Usage: mounted.ocfs2 "), "{wrong}");
    Run::new(&link).arg("--version").success();
}

#[test]
fn a_node_that_beats_is_live_beside_one_that_has_crashed() {
    let scratch = Scratch::new();
    let image = fixture_copy("crashed-4k-o2cb", &scratch);
    let offset = heartbeat_offset(&image);
    let outcome = while_beating(&image, offset, 1, || mounted().arg("-fv").arg(&image).output());
    let nodes = cell(&outcome.expect_status(0), "Nodes");
    assert!(nodes.starts_with("0 (crashed ") && nodes.ends_with(" ago), 1"), "{nodes}");
}

#[test]
fn watching_lists_again_and_again() {
    let image = fixture("clean-4k-o2cb");
    let mut child = Command::new(program("mounted.ocfs2"))
        .args(["-f", "--json", "--watch=1"])
        .arg(&image)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().take(3);
    for line in lines {
        let document: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(document["volumes"][0]["nodes"], serde_json::json!([]));
    }
    // Its output is closed now, which ends it.
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(141), "{status}");
}

#[test]
fn a_device_that_can_not_hold_a_volume_is_named_with_the_reason() {
    let scratch = Scratch::new();
    let empty = scratch.join("empty");
    fs::write(&empty, "").unwrap();
    for (path, reason) in [
        (scratch.path(), "is a directory"),
        (Path::new("/dev/null"), "is a character device"),
        (&empty, "is empty"),
    ] {
        let outcome = mounted().arg(path).output().expect_status(1);
        assert!(outcome.stderr.contains(reason), "{outcome}");
    }
}

#[test]
fn a_volume_that_can_not_be_opened_is_listed_with_the_reason() {
    let scratch = Scratch::new();
    let image = fixture_copy("clean-1m-global", &scratch);
    let file = File::options().read(true).write(true).open(&image).unwrap();
    let mut block = vec![0; 4096];
    file.read_exact_at(&mut block, 2 * 4096).unwrap();
    let mut superblock = SuperBlock::of_block(&block).unwrap();
    superblock.s_feature_incompat |= 1 << 31;
    superblock.encode(&mut block[Dinode::ID2_OFFSET..]).unwrap();
    file.write_all_at(&block, 2 * 4096).unwrap();

    mounted().arg("-d").arg(&image).success();
    let outcome = mounted().arg("-f").arg(&image).output().expect_status(1);
    assert!(cell(&outcome, "Nodes").starts_with("Unknown: "), "{outcome}");
    assert!(outcome.stderr.contains("0x80000000"), "{outcome}");
}

/// A clock that does not wait, but calls `tick` each time.
struct Ticks<F> {
    elapsed: Mutex<Duration>,
    tick: F,
}

impl<F: Fn(Duration) + Sync> Clock for Ticks<F> {
    fn now(&self) -> SystemTime {
        SystemTime::now() + self.elapsed()
    }

    fn elapsed(&self) -> Duration {
        *self.elapsed.lock().unwrap()
    }

    fn sleep(&self, duration: Duration) {
        let mut elapsed = self.elapsed.lock().unwrap();
        *elapsed += duration;
        (self.tick)(*elapsed);
    }
}

/// A clock that does not wait, with a separate time for each thread; the first time it waits until
/// `threads` threads do.
struct Together {
    threads: usize,
    elapsed: Mutex<HashMap<ThreadId, Duration>>,
    came: Condvar,
}

impl Clock for Together {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn elapsed(&self) -> Duration {
        self.elapsed.lock().unwrap().get(&thread::current().id()).copied().unwrap_or_default()
    }

    fn sleep(&self, duration: Duration) {
        let mut elapsed = self.elapsed.lock().unwrap();
        *elapsed.entry(thread::current().id()).or_default() += duration;
        self.came.notify_all();
        let limit = Duration::from_secs(60);
        let alone = |all: &mut HashMap<_, _>| all.len() < self.threads;
        let late = self.came.wait_timeout_while(elapsed, limit, alone).unwrap().1;
        assert!(!late.timed_out(), "not all volumes are watched at the same time");
    }
}

#[test]
fn all_volumes_are_watched_at_the_same_time_for_the_dead_threshold() {
    let devices: Vec<_> = (0..3)
        .map(|_| {
            let scratch = Scratch::new();
            let image = fixture_copy("clean-4k-o2cb", &scratch);
            hold_slot(&image, 0, Some(5));
            // It beats now, and its block states that it is dead only after 49 days.
            let file = File::options().read(true).write(true).open(&image).unwrap();
            let at = heartbeat_offset(&image) + 5 * 512;
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            let mut sector = [0; 512];
            let mut block = HeartbeatBlock {
                hb_seq: now.as_secs(),
                hb_node: 5,
                hb_generation: 77,
                hb_dead_ms: u32::MAX,
                ..Default::default()
            };
            block.encode(&mut sector).unwrap();
            block.hb_cksum = HeartbeatBlock::checksum(&sector);
            block.encode(&mut sector).unwrap();
            file.write_all_at(&sector, at).unwrap();
            (image, scratch)
        })
        .collect();
    let options = Options {
        devices: devices.iter().map(|(image, _)| image.clone()).collect(),
        partition: None,
        detail: Detail::Nodes { max_wait: None },
    };
    let sources = Sources { configfs: Vec::new(), conf: "/none".into(), corosync: "/none".into() };
    let clock = Together { threads: 3, elapsed: Mutex::default(), came: Condvar::new() };
    let listing = list(&options, &sources, &clock).unwrap();
    for volume in &listing.volumes {
        let [node] = volume.nodes() else { panic!("{listing:?}") };
        let Some(State::Unknown(Unknown::TooShort { watched, .. })) = &node.state else {
            panic!("{node:?}");
        };
        assert!(*watched <= Duration::from_secs(62), "{watched:?}");
    }
    assert_eq!(listing.volumes.len(), 3);
}

#[test]
fn with_global_heartbeat_the_region_is_looked_for_on_the_other_volumes() {
    let scratch = Scratch::new();
    let volume = fixture_copy("clean-1m-global", &scratch);
    hold_slot(&volume, 0, Some(5));
    let with_region = fixture_copy("clean-4k-o2cb", &scratch);
    let offset = heartbeat_offset(&with_region);
    let region = File::options().write(true).open(&with_region).unwrap();
    let conf = scratch.join("cluster.conf");
    let stanzas = "\
cluster:\n name = ovscluster\n node_count = 1\n heartbeat_mode = global\n
node:\n cluster = ovscluster\n name = ovs006\n number = 5\n ip_address = 10.0.0.6\n ip_port = 7777\n
heartbeat:\n cluster = ovscluster\n region = 6C4C3BC6714E44F6A84016D62B94D2A9\n";
    let options = Options {
        devices: vec![volume, with_region],
        partition: None,
        detail: Detail::Nodes { max_wait: None },
    };
    let node = |tick: &(dyn Fn(Duration) + Sync)| {
        let corosync = "/none".into();
        let sources = Sources { configfs: Vec::new(), conf: conf.clone(), corosync };
        let clock = Ticks { elapsed: Mutex::default(), tick };
        let listing = list(&options, &sources, &clock).unwrap();
        let [node] = listing.volumes[0].nodes() else { panic!("{listing:?}") };
        (node.display_name(), node.state.clone().unwrap())
    };

    // Nothing states where the region is, so only the volume itself is searched for it.
    let unknown = State::Unknown(Unknown::Global);
    assert_eq!(node(&|_| ()), ("5".to_owned(), unknown));
    let own_offset = heartbeat_offset(&options.devices[0]);
    let own = File::options().write(true).open(&options.devices[0]).unwrap();
    let alive_here = |_| {
        thread::sleep(Duration::from_millis(150));
        beat(&own, own_offset, 5);
    };
    assert_eq!(node(&alive_here), ("5".to_owned(), State::Live));

    fs::write(&conf, stanzas).unwrap();
    beat(&region, offset, 5);
    let alive = |_| {
        thread::sleep(Duration::from_millis(150));
        beat(&region, offset, 5);
    };
    assert_eq!(node(&alive), ("ovs006".to_owned(), State::Live));
    let (_, state) = node(&|_| ());
    assert!(matches!(state, State::Crashed { .. }), "{state:?}");
}

/// Returns the fields of the line that starts with `device`.
fn line_of(outcome: &Outcome, device: &Path) -> Vec<String> {
    let fields = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut lines = outcome.stdout.lines().map(fields);
    let line = lines.find(|fields| fields.first().is_some_and(|name| Path::new(name) == device));
    line.unwrap_or_else(|| panic!("{} is not listed: {outcome}", device.display()))
}

#[test]
fn without_a_name_all_block_devices_are_listed() {
    let Some(disk) = LoopDevice::attach(&fixture("clean-4k-o2cb"), &["--read-only"]) else {
        return;
    };
    let c_tool = oracle("mounted.ocfs2");
    // Other tests use loop devices as well: only what does not change is compared.
    let quick = line_of(&mounted().success(), disk.path());
    assert_eq!(quick.len(), 5);
    let uuid = format!("UUID={}", quick[3]);
    for (arguments, fields) in [(["-d"], 5), (["-f"], 5)] {
        let found = line_of(&mounted().args(arguments).success(), disk.path());
        assert_eq!(found.len(), fields);
        if let Some(c_tool) = &c_tool {
            let expected = Run::new(c_tool).args(arguments).success();
            assert_eq!(found, line_of(&expected, disk.path()));
        }
    }
    // Other tests may have the same volume on another loop device.
    let named = mounted().args(["-d", &uuid]).output();
    let known = named.status == 0 || named.stderr.contains("is on several devices, so say which");
    assert!(known, "{named}");
}

#[test]
fn watching_on_a_terminal_has_a_screen_of_its_own_and_shows_the_time() {
    let Some(script) = oracle("script") else { return };
    let image = fixture("clean-512-local");
    let line = format!(
        "timeout -s INT 2 {} -d --watch=1 {}",
        program("mounted.ocfs2").display(),
        image.display()
    );
    let outcome = Run::new(script).args(["-qec", &line, "/dev/null"]).output();
    let (enter, leave) = ("\u{1b}[?1049h", "\u{1b}[?1049l");
    let shown = &outcome.stdout;
    assert!(shown.contains(enter) && shown.trim_end().ends_with(leave), "{shown:?}");
    let time = shown.split("\u{1b}[H\u{1b}[2J").nth(1).unwrap_or_default();
    assert!(time.lines().next().unwrap_or_default().ends_with(" UTC"), "{shown:?}");
}
