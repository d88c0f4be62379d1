//! `o2cb`, `mount.ocfs2` and `tunefs.ocfs2` without a kernel that has OCFS2: configuration files
//! compared with the C tool, refusals, and volumes that move to another cluster.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

use ocfs2_cluster::RunningCluster;
use ocfs2_device::{DeviceOptions, open};
use ocfs2_format::superblock::backup_blocks;
use ocfs2_testing::{Outcome, Run, Scratch, c_fsck_run, c_tool, fixture, oracle, program, skip};
use ocfs2_users::Guard;
use ocfs2_volume::usage::SystemClock;
use ocfs2_volume::{SuperblockAt, Volume, VolumeOptions};

const REGION: &str = "0123456789ABCDEF0123456789ABCDEF";

fn o2cb(conf: &Path, args: &str) -> Outcome {
    Run::new(program("o2cb")).arg("--config-file").arg(conf).args(args.split(' ')).output()
}

#[test]
fn a_configuration_we_write_is_listed_by_the_c_tool_as_by_ours_and_the_other_way_round() {
    let Some(theirs) = c_tool("o2cb") else { return skip("there is no C o2cb") };
    let scratch = Scratch::new();
    let edits = [
        "add-cluster web",
        "add-node web n1 --ip 10.0.0.1",
        "add-node web n2 --ip 10.0.0.2 --port 7778 --number 7",
        "add-node web gone --ip 10.0.0.3",
        "add-heartbeat web 0123456789ABCDEF0123456789ABCDEF",
        "heartbeat-mode web global",
        "remove-node web gone",
        "add-cluster db",
        "add-cluster gone",
        "remove-cluster gone",
    ];
    let lists = [
        "list-clusters",
        "list-cluster web --oneline",
        "list-nodes web --oneline",
        "list-heartbeats web --oneline",
        "list-cluster db --oneline",
    ];
    let run = |tool: &PathBuf, conf: &Path, args: &str| {
        let conf = format!("--config-file={}", conf.display());
        Run::new(tool).arg(conf).args(args.split(' ')).success().stdout
    };
    let sorted = |text: String| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let ours = program("o2cb");
    for writer in [&ours, &theirs] {
        let conf = scratch.join("cluster.conf");
        let _ = fs::remove_file(&conf);
        for edit in edits {
            run(writer, &conf, edit);
        }
        for list in lists {
            let (ours, theirs) = (run(&ours, &conf, list), run(&theirs, &conf, list));
            assert_eq!(sorted(ours), sorted(theirs), "{list}, written by {}", writer.display());
        }
    }
}

#[test]
fn what_is_wrong_in_a_configuration_is_said_with_its_line() {
    let scratch = Scratch::new();
    let conf = scratch.join("cluster.conf");
    let text = "cluster:\n\tname = web\n\tnode_count = 1\n\nnode:\n\tcluster = web\n\tname = a\n\
                \tnumber = 0\n\tip_port = 7777\n\tip_address = ";
    for (address, message) in [
        ("fd00::1", "line 10: node: ip_address is fd00::1, which is IPv6"),
        ("ovs001", "line 10: node: ip_address is ovs001, expected an IPv4 address"),
        ("10.0.0.1\nnode:\n\tnumber = 1\n", "line 11: node without \"cluster\""),
        (
            "10.0.0.1\nnode:\n\tcluster = web\n\tname = b\n\tnumber = 1\n\tip_adress = 10.0.0.2\n",
            "line 11: node without \"ip_address\"; line 15: unknown key \"ip_adress\"\n",
        ),
    ] {
        fs::write(&conf, format!("{text}{address}\n")).unwrap();
        let outcome = o2cb(&conf, "list-clusters").expect_status(1);
        let expected = format!("o2cb: {}: {message}", conf.display());
        assert!(outcome.stderr.starts_with(&expected), "{outcome}");
    }
    let before = fs::read(&conf).unwrap();
    o2cb(&conf, "add-cluster db").expect_status(1);
    assert_eq!(fs::read(&conf).unwrap(), before, "a file that is not understood is not changed");
}

#[test]
fn what_is_refused_changes_nothing_and_fails() {
    let scratch = Scratch::new();
    let conf = scratch.join("cluster.conf");
    o2cb(&conf, "add-cluster web").expect_status(0);
    let before = fs::read(&conf).unwrap();
    for (args, message) in [
        ("add-cluster web", "cluster `web` is in the configuration already"),
        ("add-node web a --ip fd00::1", "o2cb in the kernel talks IPv4 only"),
        ("add-node db a --ip 10.0.0.1", "there is no cluster `db`"),
        ("remove-node web a", "there is no node `a`"),
        ("add-heartbeat web sda", "neither a UUID nor the path of a device"),
    ] {
        let outcome = o2cb(&conf, args).expect_status(1);
        assert!(outcome.stderr.contains(message), "{outcome}");
    }
    assert_eq!(fs::read(&conf).unwrap(), before);
}

#[test]
fn a_heartbeat_region_is_named_by_its_volume() {
    let scratch = Scratch::new();
    let conf = scratch.join("cluster.conf");
    o2cb(&conf, "add-cluster web").expect_status(0);
    let image = fixture("clean-4k-o2cb");
    o2cb(&conf, &format!("add-heartbeat web {}", image.display())).expect_status(0);
    let listed = o2cb(&conf, "list-heartbeats web --oneline").stdout;
    let uuid = Run::new(program("tunefs.ocfs2")).args(["-Q", "%U"]).arg(image).success().stdout;
    assert_eq!(listed, format!("heartbeat: {uuid} web\n"));
}

#[test]
fn configure_asks_and_keeps_what_it_is_told() {
    let scratch = Scratch::new();
    let file = scratch.join("o2cb");
    fs::write(&file, "# of this host\nO2CB_ENABLED=false\n").unwrap();
    let configure = || Run::new(program("o2cb")).arg("--sysconfig").arg(&file).arg("configure");
    let outcome = configure().stdin("y\n\novscluster\n8\n10000\n\n\n").success();
    assert!(outcome.stdout.contains("Specify heartbeat dead threshold (>=3) [31]: 8\n"));
    assert!(outcome.stdout.ends_with("o2cb: OK\n"), "{outcome}");
    configure().args(["--idle-timeout", "20000"]).success();
    let expected = "# of this host\nO2CB_ENABLED=true\nO2CB_STACK=o2cb\n\
        O2CB_BOOTCLUSTER=ovscluster\nO2CB_HEARTBEAT_THRESHOLD=8\nO2CB_IDLE_TIMEOUT_MS=20000\n\
        O2CB_KEEPALIVE_DELAY_MS=2000\nO2CB_RECONNECT_DELAY_MS=2000\n";
    assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    let outcome = configure().args(["--idle-timeout", "2000"]).output().expect_status(1);
    assert!(outcome.stderr.contains("expected less than the idle timeout"), "{outcome}");
    // Answers that end too early, and names that no cluster can have.
    let never = format!("y\n\n{}", "$(id)\n".repeat(5));
    for (answers, told) in
        [("", "end before"), ("y\nheart\n", "end before"), (&never, "cannot be the name")]
    {
        let outcome = configure().stdin(answers).output().expect_status(1);
        assert!(outcome.stderr.contains(told), "{outcome}");
    }
    let maybe = configure().args(["--load-on-boot", "maybe"]).output().expect_status(1);
    assert!(maybe.stderr.contains("expected yes or no"), "{maybe}");
    assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    // After an invalid answer the question is repeated.
    let outcome = configure().stdin("perhaps\nn\n\n\n\n\n\n\n").success();
    assert!(outcome.stdout.contains("\n\"perhaps\" is neither y nor n\n"), "{outcome}");
    let conf = scratch.join("cluster.conf");
    o2cb(&conf, "add-cluster web").expect_status(0);
    for (name, known) in [("nosuch", false), ("web", true)] {
        let told = configure().arg("--config-file").arg(&conf).args(["--cluster", name]).success();
        assert_eq!(told.stderr.contains(&format!("there is no cluster {name} in")), !known);
    }
}

#[test]
fn what_guides_for_the_c_tools_say_works() {
    let scratch = Scratch::new();
    let conf = scratch.join("cluster.conf");
    // Copied from a web page, with blanks after the values.
    let text = "cluster:\n\tnode_count = 1 \n\tname = web\t\n\nnode:\n\tip_port = 7777 \n\
                \tip_address = 10.0.0.1 \n\tnumber = 0\n\tname = n1 \n\tcluster = web \n";
    fs::write(&conf, text).unwrap();
    let listed = o2cb(&conf, "list-nodes web --oneline").expect_status(0);
    assert_eq!(listed.stdout, "node: 0 n1 10.0.0.1:7777 web\n");
    // The mode is set before the region is added.
    o2cb(&conf, "heartbeat-mode web global").expect_status(0);
    o2cb(&conf, &format!("add-heartbeat web {REGION}")).expect_status(0);
    let status = o2cb(&conf, "cluster-status web").expect_status(1);
    assert_eq!(status.stdout, "Cluster 'web' is offline\n");
}

#[test]
fn mounting_gives_the_statuses_of_mount() {
    let scratch = Scratch::new();
    let mount = |args: &[&str]| Run::new(program("mount.ocfs2")).args(args).output();
    let folder = scratch.path().to_str().unwrap();
    let image = fixture("clean-4k-o2cb");
    let image = image.to_str().unwrap();
    // With -f the caller need not be root.
    for (args, status, message) in [
        (&["-f", image][..], 1, "DIRECTORY"),
        (&["-f", image, folder, "-o", "subvol=1"], 1, "OCFS2 has no option subvol=1"),
        (&["-f", image, folder, "-o", "heartbeat=yes"], 1, "heartbeat=yes is not known"),
        // Options that mount(8) passes on are ignored.
        (&["-f", image, "/none", "-o", "uhelper=udisks2,helper=x,iversion"], 32, "does not exist"),
        (&["-f", image, "/none", "-o", "nosymfollow,quota,noquota"], 32, "does not exist"),
        (&["-f", "/dev/none", folder], 2, "/dev/none"),
        (&["-f", image, "/none"], 32, "mount point /none: does not exist"),
        (&["-f", image, folder], 32, "an image is mounted with -o loop"),
        (&["-f", "LABEL=of nobody", folder], 32, "no block device of this machine"),
    ] {
        let outcome = mount(args).expect_status(status);
        assert!(outcome.stderr.contains(message), "{outcome}");
    }
}

fn open_volume(path: &Path, superblock: SuperblockAt) -> Volume {
    let device = DeviceOptions { write: true, ..Default::default() };
    let options = VolumeOptions { superblock, ..Default::default() };
    Volume::open(open(path, &device).unwrap(), &options).unwrap()
}

fn running(stack: &[u8; 4], name: &str, global_heartbeat: bool) -> RunningCluster {
    RunningCluster { stack: *stack, name: name.to_owned(), global_heartbeat }
}

#[test]
fn a_volume_given_to_another_cluster_says_so_in_all_its_superblocks() {
    let scratch = Scratch::new();
    for (features, cluster, expected) in [
        ("default", running(b"o2cb", "web", false), "o2cb,web,local"),
        ("max-features", running(b"o2cb", "web", true), "o2cb,web,global"),
        ("max-features", running(b"pcmk", "hac-1", false), "pcmk,hac-1"),
    ] {
        let image = scratch.image("volume.img", 5 << 30);
        let level = format!("--fs-feature-level={features}");
        Run::new(program("mkfs.ocfs2")).args(["-q", "-F", &level]).arg(&image).success();
        let volume = open_volume(&image, SuperblockAt::Primary);
        Guard::look(&volume, &SystemClock::default()).unwrap();
        let superblock = ocfs2_tunefs::stamped(volume.superblock(), &cluster).unwrap();
        ocfs2_tunefs::stamp(&volume, &superblock, volume.device()).unwrap();

        let places: Vec<_> =
            backup_blocks(volume.block_size(), volume.geometry().blocks()).collect();
        assert_eq!(places.len(), 2);
        for number in [1, 2] {
            let backup = open_volume(&image, SuperblockAt::Backup(number));
            assert_eq!(*backup.superblock(), superblock);
        }
        let query = Run::new(program("tunefs.ocfs2")).args(["-Q", "%C"]).arg(&image).success();
        assert_eq!(query.stdout, expected);
        let outcome = Run::new(program("fsck.ocfs2")).arg("-fn").arg(&image).success();
        assert!(outcome.stdout.contains("All passes succeeded."), "{outcome}");
        if let Some(fsck) = oracle("fsck.ocfs2") {
            c_fsck_run(&fsck, "-fn", &image).expect_status(0);
        }
        if let Some(o2cluster) = c_tool("o2cluster") {
            let shown = Run::new(o2cluster).arg("-o").arg(&image).success().stdout;
            let name = expected.trim_end_matches(",local").trim_end_matches(",global");
            assert!(shown.trim().starts_with(name), "{shown}");
        }
        drop(volume);
        fs::remove_file(&image).unwrap();
    }
}

#[test]
fn a_volume_that_can_not_be_given_away_stays_as_it_is() {
    let cluster = running(b"o2cb", "web", false);
    let local = open_volume(&writable("clean-512-local").1, SuperblockAt::Primary);
    let err = ocfs2_tunefs::stamped(local.superblock(), &cluster).unwrap_err().to_string();
    assert_eq!(err, "is a local volume, which no cluster mounts");

    let crashed = open_volume(&writable("crashed-4k-o2cb").1, SuperblockAt::Primary);
    let err = Guard::look(&crashed, &SystemClock::default()).unwrap_err().to_string();
    assert!(err.ends_with("the journals of slots 0, 1 are dirty; run fsck.ocfs2 first"), "{err}");

    let (_scratch, image) = writable("clean-4k-o2cb");
    let before = fs::read(&image).unwrap();
    let outcome = Run::new(program("tunefs.ocfs2"))
        .args(["--update-cluster-stack", "-y"])
        .arg(&image)
        .output()
        .expect_status(1);
    assert!(outcome.stderr.contains("no cluster is online on this host"), "{outcome}");
    assert!(fs::read(&image).unwrap() == before);
}

fn writable(name: &str) -> (Scratch, PathBuf) {
    let scratch = Scratch::new();
    let image = ocfs2_testing::fixture_copy(name, &scratch);
    (scratch, image)
}

#[test]
fn a_region_without_a_device_is_not_started() {
    let scratch = Scratch::new();
    let conf = scratch.join("cluster.conf");
    o2cb(&conf, "add-cluster web").expect_status(0);
    o2cb(&conf, &format!("add-heartbeat web {REGION}")).expect_status(0);
    let outcome = o2cb(&conf, "start-heartbeat web").expect_status(1);
    assert!(outcome.stderr.contains("cluster `web` is not online"), "{outcome}");
}
