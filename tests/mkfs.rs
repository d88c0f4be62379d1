//! `mkfs.ocfs2` as a person or a script uses it: its output, its refusals, and what is left when it
//! is interrupted.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ocfs2_device::DeviceOptions;
use ocfs2_testing::{
    LoopDevice, Outcome, Run, Scratch, allocated_bytes, c_fsck_run, find_program, fixture_copy,
    oracle, program, skip, while_beating,
};
use ocfs2_volume::open::SuperblockAt;
use ocfs2_volume::usage::Heartbeat;
use ocfs2_volume::{Volume, VolumeOptions};

const STORY_BYTES: u64 = 4_293_562_368;

/// The program under its own name, in a separate folder.
struct Mkfs {
    scratch: Scratch,
    path: PathBuf,
}

impl Mkfs {
    fn new() -> Self {
        let scratch = Scratch::new();
        let path = scratch.join("mkfs.ocfs2");
        symlink(program("mkfs.ocfs2"), &path).unwrap();
        Self { scratch, path }
    }

    fn run(&self) -> Run {
        Run::new(&self.path).current_dir(self.scratch.path())
    }

    /// Prepares to run it in the folder with options, of which the last may be an image.
    fn with(&self, options: &str) -> Run {
        self.run().args(options.split_whitespace())
    }

    fn join(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    fn image(&self, size: u64) -> PathBuf {
        let path = self.join("disk.img");
        let _ = fs::remove_file(&path);
        self.scratch.image("disk.img", size)
    }

    /// Demands a refusal with `message`, and that the image is unchanged.
    #[track_caller]
    fn refuses(&self, options: &str, message: &str) -> Outcome {
        let image = self.join("disk.img");
        let before = fs::read(&image).ok();
        let outcome = self.with(options).output().expect_status(1);
        assert!(outcome.stderr.contains(message), "expected {message:?} of {outcome}");
        assert!(fs::read(&image).ok() == before, "the image was changed: {outcome}");
        outcome
    }
}

fn volume_of(image: &Path) -> Option<Volume> {
    let device = ocfs2_device::open(image, &DeviceOptions::default()).ok()?;
    Volume::open(device, &VolumeOptions::default()).ok()
}

/// Returns whether any superblock opens a volume.
fn holds_a_volume(image: &Path) -> bool {
    let Ok(device) = ocfs2_device::open(image, &DeviceOptions::default()) else { return false };
    !ocfs2_volume::open::backups(&*device).is_empty() || volume_of(image).is_some()
}

/// Returns the labels in the valid backup superblocks.
fn backup_labels(image: &Path) -> Vec<Vec<u8>> {
    let device = ocfs2_device::open(image, &DeviceOptions::default()).unwrap();
    let labels = ocfs2_volume::open::backups(&*device).into_iter().map(|backup| {
        let superblock = SuperblockAt::Backup(backup.number);
        let options = VolumeOptions { superblock, ..Default::default() };
        let volume = Volume::open(device.clone(), &options).unwrap();
        volume.superblock().label().to_vec()
    });
    labels.collect()
}

#[track_caller]
fn expect_clean(image: &Path) {
    let Some(fsck) = oracle("fsck.ocfs2") else { return };
    let checked = c_fsck_run(&fsck, "-fn", image).expect_status(0);
    let mut complaints = checked.stdout.lines().filter(|line| line.starts_with('['));
    // K-5 of the format reference: a complaint about the system directory, also of volumes made by
    // the C mkfs.
    let known = |line: &str| line.starts_with("[DX_TREE_MISSING]");
    assert!(complaints.next().is_none_or(known) && complaints.next().is_none(), "{checked}");
    assert!(checked.stdout.contains("All passes succeeded"), "{checked}");
}

#[test]
fn the_volume_of_a_session_has_the_geometry_of_the_c_mkfs_and_is_small() {
    let mkfs = Mkfs::new();
    let made = mkfs.with(&format!("-N 4 -L /OVS disk.img {STORY_BYTES}b")).success();
    let expected = "\
Cluster stack: classic o2cb
Label: /OVS
Features: sparse extended-slotmap backup-super unwritten inline-data strict-journal-super xattr \
indexed-dirs refcount discontig-bg append-dio
Block size: 4096 (12 bits)
Cluster size: 4096 (12 bits)
Volume size: 4293562368 (1048233 clusters) (1048233 blocks)
Cluster groups: 33 (tail covers 16041 clusters, rest cover 32256 clusters)
Extent allocator size: 4194304 (1 groups)
Journal size: 67108864
Node slots: 4
Creating bitmaps: done
Initializing superblock: done
Writing system files: done
Writing superblock: done
Writing backup superblock: 1 block(s)
Formatting Journals: done
Growing extent allocator: done
Formatting slot map: done
Formatting quota files: done
Writing lost+found: done
mkfs.ocfs2 successful

";
    assert_eq!(made.stdout, expected);
    assert_eq!(made.stderr, format!("mkfs.ocfs2 {}\n", env!("CARGO_PKG_VERSION")));
    let image = mkfs.join("disk.img");
    assert_eq!(image.metadata().unwrap().len(), STORY_BYTES);
    let allocated = allocated_bytes(&image);
    assert!(allocated < 8 << 20, "{allocated} bytes are allocated");
    expect_clean(&image);
}

#[test]
fn standard_output_is_that_of_the_c_mkfs() {
    let Some(c_mkfs) = oracle("mkfs.ocfs2") else { return };
    let mkfs = Mkfs::new();
    for options in [
        "-N 2 -L x",
        "-b 512 -J size=4M -C 8K -N 3",
        "-J size=4M -T mail",
        "--fs-features=noinline-data,usrquota",
        "-U 2a4d1c581faa42a1a41d26efc90c1315 --fs-feature-level=max-features",
        "-n -v -N 3",
        "-n -T mail",
    ] {
        // Only ours prints more with -v.
        let ours = options.replace(" -v", "");
        let image = mkfs.image(256 << 20);
        let theirs = Run::new(&c_mkfs).args(options.split(' ')).arg(&image).success();
        mkfs.image(256 << 20);
        let ours = mkfs.with(&format!("{ours} disk.img")).success();
        assert_eq!(ours.stdout, theirs.stdout, "{options}");
    }
}

#[test]
fn quiet_says_nothing_and_json_everything() {
    let mkfs = Mkfs::new();
    let quiet = mkfs.with("-q -U 2a4d1c581faa42a1a41d26efc90c1315 disk.img 64M").success();
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    let json = mkfs.with("-F -q --json -N 3 -L x -M local disk.img").success();
    let value: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&value["node_slots"], &value["label"]), (&3.into(), &"x".into()));
    assert_eq!((&value["clusters"], &value["local"]), (&16384.into(), &true.into()));
    let volume = volume_of(&mkfs.join("disk.img")).unwrap();
    assert_eq!(value["uuid"], volume.superblock().uuid().to_string());
    let help = mkfs.with("--help").success().stdout;
    let described = help.split_once("\nJSON:\n").unwrap().1;
    let words: Vec<_> = described.split([' ', ',', '\n']).collect();
    let optional = ["device_escaped", "partition", "purpose", "files"];
    for key in value.as_object().unwrap().keys().map(String::as_str).chain(optional) {
        assert!(words.contains(&key), "{key}");
    }
    let verbose = mkfs.with("-n -v disk.img").success();
    assert!(verbose.stdout.contains("\nUUID: "), "{verbose}");
}

#[test]
fn the_version_and_help_are_no_errors_and_bad_usage_is() {
    let mkfs = Mkfs::new();
    let version = mkfs.with("-V").success();
    assert_eq!(version.stdout, format!("mkfs.ocfs2 {}\n", env!("CARGO_PKG_VERSION")));
    let help = mkfs.with("--help").success();
    assert!(help.stdout.contains("Usage: mkfs.ocfs2 "), "{help}");
    mkfs.with("").output().expect_status(1);
    let wrong = mkfs.with("--bogus disk.img").output().expect_status(1);
    assert!(wrong.stderr.starts_with("mkfs.ocfs2: "), "{wrong}");
}

#[test]
fn a_dry_run_makes_all_checks_and_writes_nothing() {
    let mkfs = Mkfs::new();
    let dry = mkfs.with("-n -N 4 disk.img 4G").success();
    assert!(dry.stdout.starts_with("Dry run\nLabel: \n"), "{dry}");
    assert!(!mkfs.join("disk.img").exists());
    mkfs.with("-q disk.img 64M").success();
    let before = fs::read(mkfs.join("disk.img")).unwrap();
    let dry = mkfs.with("-n disk.img 128M").success();
    assert!(dry.stderr.contains("warning: disk.img: it holds: OCFS2 volume"), "{dry}");
    let asked = "; without -n there is a question: Proceed? -F answers yes\n";
    assert!(dry.stderr.ends_with(asked), "{dry}");
    assert!(!mkfs.with("-n -x disk.img").success().stderr.contains("question"));
    assert!(fs::read(mkfs.join("disk.img")).unwrap() == before);
    mkfs.refuses("-n -N 255 disk.img", "255 journals of 4194304 bytes need");
    mkfs.refuses("-n -b 4K -J size=20M -N 4 disk.img", "4 journals of 20971520 bytes need");
    mkfs.refuses("-n -b 4K disk.img 14M", "no room for lost+found");
}

#[test]
fn what_can_not_be_is_refused_before_anything_is_written() {
    let mkfs = Mkfs::new();
    mkfs.image(64 << 20);
    let long = format!("-L {} disk.img", "x".repeat(64));
    for (options, message) in [
        (long.as_str(), "the label is 64 bytes long; at most 63 fit"),
        ("disk.img 1000", "disk.img: 1024000 bytes are too small: 1000 blocks of 1024"),
        ("disk.img 99999999", "the device has 67108864"),
        ("-N 20 disk.img", "20 journals of 4194304 bytes need 83886080 bytes"),
        ("-J size=60M disk.img", "2 journals of 62914560 bytes need"),
        ("-J size=1M disk.img", "a journal of 1048576 bytes is too small: it needs at least"),
        ("-T vmstore disk.img", "-T vmstore needs at least 2 GiB; there are 67108864 bytes"),
        ("-U zz disk.img", "no UUID"),
        ("--fs-features=foo disk.img", "unknown feature `foo`"),
        ("--fs-features=unwritten,nosparse disk.img", "`sparse` is both asked for and asked"),
        ("--fs-features=clusterinfo disk.img", "feature clusterinfo needs a cluster"),
        ("--cluster-stack=pcmk disk.img", "--cluster-name is missing"),
        ("--cluster-stack=o2cb --cluster-name=a-b disk.img", "expected 1 to 16 letters"),
        ("--cluster-stack=o2cb --cluster-name=a -M local disk.img", "a local volume has no"),
        ("--global-heartbeat disk.img", "--cluster-stack is missing"),
        ("-M local --fs-features=nolocal disk.img", "-M local contradicts"),
    ] {
        mkfs.refuses(options, message);
        if !message.starts_with("disk.img") {
            mkfs.refuses(&format!("-n -F -x {options}"), message);
        }
    }
    let bad_time = mkfs.with("disk.img").env("SOURCE_DATE_EPOCH", "today");
    assert!(bad_time.output().expect_status(1).stderr.contains("SOURCE_DATE_EPOCH"));
    assert_eq!(allocated_bytes(mkfs.join("disk.img")), 0);
}

#[test]
fn what_is_no_device_is_named_with_the_reason() {
    let mkfs = Mkfs::new();
    fs::create_dir(mkfs.join("folder")).unwrap();
    for (device, message) in [
        ("folder", "folder: is a directory, not a block device or an image"),
        ("/dev/null", "/dev/null: is a character device, not a block device or an image"),
        ("none", "none: no such file or directory; a size such as 4G creates an image"),
        ("none 5000", "none: no such file or directory; a size such as 4G creates an image"),
        ("none/below 4G", "none/below: no such file or directory"),
        ("--partition 1 none", "none: no such file or directory"),
    ] {
        let outcome = mkfs.refuses(device, message);
        assert_eq!(outcome.stderr.lines().count(), 2, "{outcome}");
    }
    File::create(mkfs.join("disk.img")).unwrap();
    mkfs.refuses("disk.img", "disk.img: is empty (0 bytes)");
    mkfs.with("disk.img 32M").success();
}

#[test]
fn two_runs_with_the_same_seed_and_time_write_the_same_bytes() {
    let mkfs = Mkfs::new();
    let make = |options: &str, time: &str| {
        let _ = fs::remove_file(mkfs.join("disk.img"));
        let run = mkfs.with(&format!("-q {options} disk.img 64M"));
        run.env("SOURCE_DATE_EPOCH", time).success();
        fs::read(mkfs.join("disk.img")).unwrap()
    };
    let seeded = "--seed 7 --fs-feature-level=max-features --fs-features=noinline-data";
    let first = make(seeded, "1000000000");
    assert!(first == make(seeded, "1000000000"), "the same seed and time differ");
    assert!(first != make(seeded, "1000000001"), "another time is the same");
    assert!(first != make(&seeded.replace('7', "8"), "1000000000"), "another seed is the same");
    make("--seed 7 -U 2a4d1c58-1faa-42a1-a41d-26efc90c1315", "5");
    let volume = volume_of(&mkfs.join("disk.img")).unwrap();
    assert_eq!(volume.superblock().uuid().to_string(), "2a4d1c58-1faa-42a1-a41d-26efc90c1315");
    assert_eq!(volume.super_dinode().i_ctime, 5);
}

#[test]
fn an_image_is_created_or_made_longer_but_never_cut() {
    let mkfs = Mkfs::new();
    let image = mkfs.join("disk.img");
    mkfs.with("-q disk.img 32M").success();
    assert_eq!(image.metadata().unwrap().len(), 32 << 20);
    mkfs.with("-q -F disk.img 64M").success();
    assert_eq!(image.metadata().unwrap().len(), 64 << 20);
    mkfs.with("-q -F disk.img 48M").success();
    assert_eq!(image.metadata().unwrap().len(), 64 << 20);
    assert_eq!(volume_of(&image).unwrap().geometry().size_bytes(), 48 << 20);
    expect_clean(&image);
    mkfs.with("-q -F -b 1K disk.img 40000").success();
    assert_eq!(volume_of(&image).unwrap().geometry().blocks(), 40_000);
}

#[test]
fn other_contents_are_named_and_only_overwritten_by_force() {
    let mkfs = Mkfs::new();
    for (tool, arguments, named) in [
        ("mkfs.ext4", "-q -F -L data", "ext4 file system, label \"data\", UUID "),
        ("mkfs.xfs", "-q -f -L data", "xfs file system, label \"data\""),
        ("mkfs.vfat", "-n DATA", "vfat file system, label \"DATA\""),
        ("mkswap", "-q", "swap space"),
        (
            "cryptsetup",
            "luksFormat -q --pbkdf-force-iterations 4 --pbkdf-memory 32 \
          --key-file /proc/version",
            "LUKS encrypted device",
        ),
        ("mkfs.btrfs", "-q", "btrfs file system"),
    ] {
        let Some(tool) = oracle(tool) else { continue };
        let image = mkfs.image(400 << 20);
        let made = Run::new(tool).args(arguments.split_whitespace()).arg(&image).output();
        made.expect_status(0);
        mkfs.refuses("disk.img", named);
        let refused = mkfs.refuses("-x disk.img", named);
        assert!(refused.stderr.ends_with("; -F overwrites it\n"), "{refused}");
        assert_eq!(mkfs.refuses("-n -x disk.img", named).stderr, refused.stderr);
        let dry = mkfs.with("-n -F disk.img").success();
        assert!(dry.stderr.contains(named) && !dry.stderr.contains("question"), "{dry}");
        mkfs.with("-q -F disk.img").success();
        expect_clean(&image);
        let Some(blkid) = find_program("blkid") else { continue };
        let found = Run::new(blkid).args(["-p", "-o", "value", "-s", "TYPE"]).arg(&image).success();
        assert_eq!(found.stdout, "ocfs2\n", "{found}");
    }
}

#[test]
fn signatures_behind_the_volume_are_erased() {
    let Some(sfdisk) = oracle("sfdisk") else { return };
    let mkfs = Mkfs::new();
    let image = mkfs.image((64 << 20) + 33 * 512);
    Run::new(sfdisk).arg("-q").arg(&image).stdin("label: gpt\n,,L\n").success();
    mkfs.refuses("disk.img", "GPT partition table with 1 partition");
    // The backup of the GPT is after the last whole cluster.
    mkfs.with("-q -F -C 1M disk.img").success();
    let Some(blkid) = find_program("blkid") else { return };
    let found = Run::new(blkid).args(["-p", "-o", "value", "-s", "TYPE"]).arg(&image).success();
    assert_eq!(found.stdout, "ocfs2\n", "{found}");
    mkfs.refuses("disk.img", "it holds: OCFS2 volume");
}

#[test]
fn a_volume_is_made_in_a_partition_of_a_disk_image() {
    let Some(sfdisk) = oracle("sfdisk") else { return };
    let mkfs = Mkfs::new();
    for label in ["gpt", "dos"] {
        let image = mkfs.image(128 << 20);
        let script = format!("label: {label}\n,16M,L\n,64M,L\n");
        Run::new(&sfdisk).arg("-q").arg(&image).stdin(script).success();
        mkfs.refuses("--partition 3 disk.img", "there is no partition 3, only 1, 2");
        let whole = "with 2 partitions; --partition NUMBER chooses one (1, 2); -F overwrites it\n";
        mkfs.refuses("disk.img", whole);
        mkfs.refuses("-n disk.img", whole);
        mkfs.with("-q --partition 2 disk.img").success();
        let refused = mkfs.refuses("--partition 2 disk.img", "it holds: OCFS2 volume");
        assert!(refused.stderr.contains("-F overwrites it"), "{refused}");
        let disk = ocfs2_device::open(&image, &DeviceOptions::default()).unwrap();
        let table = ocfs2_device::partition::read_table(&*disk).unwrap().unwrap();
        let place = table.partition(2).unwrap().clone();
        let mut bytes = vec![0; place.size_bytes as usize];
        disk.read_at(&mut bytes, place.start_bytes).unwrap();
        let part = mkfs.join("part.img");
        fs::write(&part, bytes).unwrap();
        expect_clean(&part);
    }
}

#[test]
fn a_volume_that_nobody_uses_is_overwritten_by_force_or_when_told_not_to_ask() {
    let mkfs = Mkfs::new();
    mkfs.with("-q -L old disk.img 32M").success();
    let refused = mkfs.refuses("disk.img", "it holds: OCFS2 volume, label \"old\", UUID ");
    assert!(refused.stderr.contains("nobody can be asked, standard input has ended"), "{refused}");
    assert!(!refused.stdout.contains("Overwriting"), "{refused}");
    assert!(!mkfs.with("-n disk.img").success().stdout.contains("Overwriting"));
    let no = mkfs.with("disk.img").stdin("n\n").output().expect_status(1);
    assert!(!no.stdout.contains("Overwriting"), "{no}");
    let yes = mkfs.with("-L yes disk.img").stdin("y\ny\ny\n").success();
    assert!(yes.stdout.contains("Overwriting existing ocfs2 partition.\n"), "{yes}");
    let volume = volume_of(&mkfs.join("disk.img")).unwrap();
    assert_eq!(volume.superblock().label(), b"yes");
    mkfs.with("-q -x -L one disk.img").success();
    mkfs.with("-q -F -L two disk.img").success();
    let volume = volume_of(&mkfs.join("disk.img")).unwrap();
    assert_eq!(volume.superblock().label(), b"two");
}

#[test]
fn a_volume_keeps_the_cluster_it_names_when_it_is_made_again() {
    let mkfs = Mkfs::new();
    for (stack, shown) in [("o2cb", "o2cb,ocfs2,local\n"), ("pcmk", "pcmk,ocfs2\n")] {
        let options = format!("-q -F --cluster-stack={stack} --cluster-name=ocfs2 disk.img 64M");
        mkfs.with(&options).success();
        let again = mkfs.with("-x disk.img").success();
        let lines = format!("Cluster stack: {stack}\nCluster name: ocfs2\n");
        assert!(again.stdout.starts_with(&lines), "{again}");
        let query = Run::new(program("tunefs.ocfs2")).args(["-Q", "%C\\n"]);
        assert_eq!(query.arg(mkfs.join("disk.img")).success().stdout, shown);
        // An explicit option overrides it.
        mkfs.with("-q -F -M local disk.img").success();
    }
}

#[test]
fn the_command_of_crmsh_makes_a_volume_each_time() {
    // crm_ocfs2 calls it after `wipefs -a`, and answers nothing.
    let Some(wipefs) = oracle("wipefs") else { return };
    let scratch = Scratch::in_memory();
    let image = scratch.image("volume.img", 400 << 20);
    for _ in 0..2 {
        Run::new(&wipefs).arg("-a").arg(&image).success();
        let line = "--cluster-stack pcmk --cluster-name hacluster -N 8 -x";
        Run::new(program("mkfs.ocfs2")).args(line.split(' ')).arg(&image).success();
        let volume = volume_of(&image).unwrap();
        assert_eq!(volume.max_slots(), 8);
        let info = volume.superblock().cluster_info().unwrap();
        assert_eq!((info.ci_stack, info.cluster()), (*b"pcmk", "hacluster".to_owned()));
        expect_clean(&image);
    }
}

#[test]
fn of_a_stack_without_a_heartbeat_none_is_said_to_be_watched() {
    let mkfs = Mkfs::new();
    let image = mkfs.image(64 << 20);
    let Some(device) = LoopDevice::attach(&image, &[]) else { return };
    let options = ["-x", "--cluster-name=web"];
    for (stack, told) in [
        ("pcmk", "stack pcmk has no heartbeat on the volume, only the slot map tells of them\n"),
        ("o2cb", "their heartbeat is watched instead\n"),
    ] {
        let stack = format!("--cluster-stack={stack}");
        mkfs.run().args(options).arg("-F").arg(&stack).arg(device.path()).success();
        let again = mkfs.run().args(options).arg(&stack).arg(device.path()).success();
        let said = again.stderr.lines().any(|line| format!("{line}\n").ends_with(told));
        assert!(said, "{again}");
    }
}

#[test]
fn an_option_of_the_front_end_is_not_taken_for_a_device() {
    let mkfs = Mkfs::new();
    let refused = mkfs.with("-t ocfs2 disk.img 64M").output().expect_status(1);
    assert!(refused.stderr.contains("`mkfs -t ocfs2 DEVICE`"), "{refused}");
    assert!(!refused.stderr.contains("tip:"), "{refused}");
}

#[test]
fn a_signal_ends_the_watching_at_once_and_nothing_is_said_to_be_overwritten() {
    let mkfs = Mkfs::new();
    fs::rename(fixture_copy("crashed-4k-o2cb", &mkfs.scratch), mkfs.join("disk.img")).unwrap();
    let child = Command::new(&mkfs.path)
        .args(["-x", "disk.img"])
        .current_dir(mkfs.scratch.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_millis(1000));
    let signalled = Instant::now();
    let _ = Run::new("kill").args(["-s", "INT", &child.id().to_string()]).output();
    let output = child.wait_with_output().unwrap();
    assert!(signalled.elapsed() < Duration::from_secs(2), "{:?}", signalled.elapsed());
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(130), &b""[..]));
    assert!(holds_a_volume(&mkfs.join("disk.img")));
}

#[test]
fn on_a_terminal_there_is_one_question() {
    let Some(script) = oracle("script") else { return };
    let mkfs = Mkfs::new();
    mkfs.with("-q -L old disk.img 32M").success();
    for (answer, status, label) in [("n\n", 1, "old"), ("\n", 1, "old"), ("y\n", 0, "new")] {
        let line = format!("{} -L new disk.img", mkfs.path.display());
        let run = Run::new(&script).args(["-qec", &line, "/dev/null"]);
        let asked = run.current_dir(mkfs.scratch.path()).stdin(answer).output();
        let asked = asked.expect_status(status);
        assert_eq!(asked.stdout.matches("Proceed (y/N): ").count(), 1, "{asked}");
        let volume = volume_of(&mkfs.join("disk.img")).unwrap();
        assert_eq!(volume.superblock().label(), label.as_bytes());
    }
}

#[test]
fn a_file_that_another_program_has_locked_needs_force_and_a_yes() {
    let mkfs = Mkfs::new();
    let image = mkfs.image(32 << 20);
    let exclusive = DeviceOptions { write: true, exclusive: true, ..Default::default() };
    let lock = ocfs2_device::open(&image, &exclusive).unwrap();
    let refused = mkfs.refuses("disk.img", "disk.img: is in use: ");
    assert!(refused.stderr.contains("; stop "), "{refused}");
    assert_eq!(mkfs.refuses("-n disk.img", "disk.img: is in use: ").stderr, refused.stderr);
    mkfs.refuses("-x disk.img", "disk.img: is in use: ");
    let dry = mkfs.with("-n -F disk.img").success();
    assert!(dry.stderr.contains("without -n there is a question: Proceed? -F -x"), "{dry}");
    mkfs.refuses("-F disk.img", "in use: another process has disk.img; -F -x overwrites it");
    mkfs.with("-q -F -x disk.img").success();
    drop(lock);
    assert!(holds_a_volume(&image));
}

#[test]
fn a_loop_device_is_made_a_volume_and_a_mounted_one_is_left_alone() {
    let Some(mke2fs) = oracle("mkfs.ext4") else { return };
    let mkfs = Mkfs::new();
    let image = mkfs.image(64 << 20);
    let Some(device) = LoopDevice::attach(&image, &[]) else { return };
    mkfs.run().arg("-q").arg(device.path()).success();
    expect_clean(device.path());
    Run::new(mke2fs).args(["-q", "-F"]).arg(device.path()).success();
    let folder = mkfs.join("mnt");
    fs::create_dir(&folder).unwrap();
    if Run::new("mount").arg(device.path()).arg(&folder).output().status != 0 {
        return skip("ext4 cannot be mounted here");
    }
    let mounted = mkfs.run().arg(device.path()).output();
    let dry = mkfs.run().arg("-n").arg(device.path()).output();
    let forced = mkfs.run().arg("-F").arg(device.path()).output();
    let below = mkfs.with("-F disk.img").output();
    Run::new("umount").arg(&folder).success();
    assert!(mounted.stderr.contains("; unmount it first; -F "), "{mounted}");
    assert_eq!(dry.stderr, mounted.stderr);
    for refused in [mounted, dry, forced, below] {
        let refused = refused.expect_status(1);
        assert!(refused.stderr.contains("is mounted on "), "{refused}");
    }
}

#[test]
fn a_live_node_is_named_and_a_crashed_one_is_no_hindrance() {
    let mkfs = Mkfs::new();
    let image = mkfs.join("disk.img");
    fs::rename(fixture_copy("crashed-4k-o2cb", &mkfs.scratch), &image).unwrap();
    let offset = match volume_of(&image).unwrap().places().unwrap().heartbeat {
        Heartbeat::OnVolume(region) => region.offset_bytes,
        other => panic!("{other:?}"),
    };
    // Only this copy of the volume has a live node.
    let refused = while_beating(&image, offset, 1, || {
        [mkfs.with("disk.img").output(), mkfs.with("-F disk.img").output()]
    });
    for refused in refused {
        let refused = refused.expect_status(1);
        assert!(refused.stderr.contains("in use by node 1 in slot "), "{refused}");
        assert!(refused.stderr.contains("not unmounted by node 0 in slot "), "{refused}");
    }
    assert!(holds_a_volume(&image));
    let image_again = fixture_copy("crashed-4k-o2cb", &mkfs.scratch);
    fs::rename(image_again, &image).unwrap();
    let crashed = mkfs.refuses("disk.img", "not unmounted by node 0 in slot ");
    assert!(crashed.stderr.contains("node 1 in slot "), "{crashed}");
    assert!(crashed.stderr.contains("; -F overwrites it ("), "{crashed}");
    assert!(crashed.stderr.contains(" days ago"), "{crashed}");
    mkfs.with("-q -F disk.img").success();
    expect_clean(&image);
}

#[test]
fn a_local_volume_in_use_for_all_that_is_known_needs_force() {
    let mkfs = Mkfs::new();
    fs::rename(fixture_copy("crashed-512-local", &mkfs.scratch), mkfs.join("disk.img")).unwrap();
    mkfs.refuses("-x disk.img", "perhaps in use by node 0 in slot 0 (a local volume has no heart");
    mkfs.with("-q -F disk.img").success();
}

/// Every run leaves a whole volume or none.
#[test]
fn a_run_that_is_interrupted_leaves_no_volume() {
    let mkfs = Mkfs::new();
    let old = mkfs.join("old.img");
    mkfs.run().args(["-q", "-N", "8", "old.img", "4G"]).success();
    let image = mkfs.join("disk.img");
    let (mut interrupted, mut whole) = (0, 0);
    for (round, signal) in ["INT", "TERM", "KILL"].into_iter().cycle().take(18).enumerate() {
        Run::new("cp").arg("--sparse=always").arg(&old).arg(&image).success();
        let mut child = Command::new(&mkfs.path)
            .args(["-F", "-b", "512", "-N", "16", "-L", "new"])
            .args(["-J", "size=4M", "disk.img", "20G"])
            .current_dir(mkfs.scratch.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(round as u64 * 12));
        let pid = child.id().to_string();
        let _ = Run::new("kill").args(["-s", signal, &pid]).output();
        let status = child.wait().unwrap();
        match volume_of(&image).map(|volume| volume.superblock().label().to_vec()) {
            // Interrupted before the first write: what was there is unchanged.
            Some(label) if label.is_empty() => assert!(!status.success()),
            Some(_) => {
                whole += 1;
                if whole == 1 {
                    expect_clean(&image);
                }
            }
            None => {
                interrupted += 1;
                assert!(!status.success(), "success without a volume");
                // Old backups are left if it was interrupted before it erased the last of them.
                let of_old = |label: &Vec<u8>| label.is_empty();
                assert!(backup_labels(&image).iter().all(of_old), "a backup superblock is there");
            }
        }
    }
    println!("{interrupted} runs were interrupted while writing, {whole} had finished");
}

#[test]
fn an_interrupted_run_says_so_and_removes_the_image_it_created() {
    let mkfs = Mkfs::new();
    for round in 0.. {
        let child = Command::new(&mkfs.path)
            .args(["-b", "512", "-N", "32", "-J", "size=4M", "disk.img", "60G"])
            .current_dir(mkfs.scratch.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id().to_string();
        // Signals are handled as soon as the image exists.
        for _ in 0..1000 {
            if mkfs.join("disk.img").exists() {
                break;
            }
            thread::sleep(Duration::from_micros(200));
        }
        let _ = Run::new("kill").args(["-s", "INT", &pid]).output();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            assert!(round < 50, "no run could be interrupted");
            fs::remove_file(mkfs.join("disk.img")).unwrap();
            continue;
        }
        assert_eq!(output.status.code(), Some(130), "{said}");
        assert!(
            said.ends_with("mkfs.ocfs2: disk.img: the image was removed: interrupted\n"),
            "{said}"
        );
        assert!(!mkfs.join("disk.img").exists());
        return;
    }
}

#[test]
fn a_file_system_that_is_full_is_an_error_and_leaves_no_volume() {
    let mkfs = Mkfs::new();
    let script = "mount -t tmpfs -o size=256k tmpfs . && cd . && cd \"$PWD\" && \
                  { \"$0\" -N 8 disk.img 4G; status=$?; ls disk.img; exit $status; }";
    let run = Run::new("unshare").args(["--mount", "sh", "-c", script]).arg(program("mkfs.ocfs2"));
    let full = run.current_dir(mkfs.scratch.path()).output();
    if full.stderr.contains("unshare failed") || full.stderr.contains("mount: ") {
        return skip("no file system can be mounted in a namespace here");
    }
    let full = full.expect_status(1);
    assert!(full.stderr.contains("disk.img: the image was removed: "), "{full}");
    assert!(full.stderr.contains("No space left on device"), "{full}");
    assert!(!full.stdout.contains("disk.img\n"), "{full}");
}

#[test]
fn a_reader_that_goes_away_does_not_stop_the_work() {
    let mkfs = Mkfs::new();
    let line = "./mkfs.ocfs2 -v disk.img 64M | true";
    Run::new("bash")
        .args(["-o", "pipefail", "-c", line])
        .current_dir(mkfs.scratch.path())
        .success();
    expect_clean(&mkfs.join("disk.img"));
}

#[test]
fn nothing_else_is_needed_on_the_machine() {
    let mkfs = Mkfs::new();
    // Neither modprobe nor /sys nor /proc/mounts, as in a container.
    let made = mkfs.with("-F disk.img 64M").env("PATH", "/nonexistent").success();
    assert_eq!(made.stdout.matches("successful").count(), 1, "{made}");
}

#[test]
fn the_mkfs_front_end_of_util_linux_finds_it() {
    let (Some(front_end), Some(_)) = (oracle("mkfs"), oracle("mkfs.ocfs2")) else { return };
    let mkfs = Mkfs::new();
    mkfs.image(64 << 20);
    // It replaces the C tool in a mount namespace.
    let script = "mount --bind \"$0\" \"$1\" && exec \"$2\" -t ocfs2 -N 4 -L /OVS disk.img";
    let installed = oracle("mkfs.ocfs2").unwrap();
    let run = Run::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .arg(program("mkfs.ocfs2"))
        .arg(installed)
        .arg(front_end);
    let made = run.current_dir(mkfs.scratch.path()).output();
    if made.stderr.contains("unshare failed") || made.stderr.contains("mount: ") {
        return skip("programs cannot be replaced in a namespace here");
    }
    let made = made.expect_status(0);
    assert!(made.stdout.ends_with("mkfs.ocfs2 successful\n\n"), "{made}");
    let banner = format!("mkfs.ocfs2 {}\n", env!("CARGO_PKG_VERSION"));
    assert!(made.stderr.contains(&banner), "{made}");
    assert_eq!(volume_of(&mkfs.join("disk.img")).unwrap().superblock().label(), b"/OVS");
}

#[test]
fn what_was_overwritten_can_be_put_back() {
    let mkfs = Mkfs::new();
    let (image, undo) = (mkfs.image(64 << 20), mkfs.join("undo"));
    let random = ocfs2_testing::Random(11).bytes(5 << 20);
    fs::write(&image, random.repeat(13)).unwrap();
    let put_back = |status| {
        let fsck = Run::new(program("fsck.ocfs2")).arg(format!("--undo={}", undo.display()));
        fsck.arg(&image).output().expect_status(status)
    };
    let mut before = fs::read(&image).unwrap();
    // Over something unknown, and over a volume.
    for label in ["one", "two"] {
        let made = mkfs.with(&format!("-F -L {label} --undo-file undo disk.img")).success();
        assert!(made.stdout.contains("fsck.ocfs2 --undo=undo disk.img puts it back"), "{made}");
        assert!(holds_a_volume(&image));
        put_back(0);
        assert!(fs::read(&image).unwrap() == before, "{label}");
        fs::remove_file(&undo).unwrap();
        mkfs.with("-F -q -L zero disk.img").success();
        before = fs::read(&image).unwrap();
    }

    // Interrupted, with a volume there or not.
    let mut stopped = 0;
    for delay in (0..24).map(|step| Duration::from_millis(2 * step)) {
        let mut child = Command::new(&mkfs.path)
            .args(["-F", "-q", "--undo-file", "undo", "disk.img"])
            .current_dir(mkfs.scratch.path())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id().to_string();
        thread::sleep(delay);
        let _ = Run::new("kill").args(["-s", "INT", &pid]).output();
        let status = child.wait().unwrap();
        if undo.exists() {
            stopped += usize::from(!status.success());
            put_back(0);
            fs::remove_file(&undo).unwrap();
        }
        assert!(fs::read(&image).unwrap() == before, "{delay:?}");
    }
    println!("{stopped} runs were interrupted while writing");

    // What was written to since is left alone.
    mkfs.with("-F -q --undo-file undo disk.img").success();
    mkfs.with("-F -q disk.img").success();
    let other = fs::read(&image).unwrap();
    assert!(put_back(8).stderr.contains("changed"));
    assert!(fs::read(&image).unwrap() == other);
    mkfs.with("--undo-file new none.img 64M").output().expect_status(1);
    assert!(!mkfs.join("new").exists() && !mkfs.join("none.img").exists());
}
