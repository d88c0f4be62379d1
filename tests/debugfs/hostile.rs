//! Randomly damaged volumes: every command ends, and none panics.

use std::path::PathBuf;
use std::sync::Arc;

use ocfs2_cli::Interrupt;
use ocfs2_debugfs::{Done, Screen, Shell};
use ocfs2_device::{DeviceOptions, OverlayDevice, open};
use ocfs2_o2info::Request;
use ocfs2_testing::damage::{Image, Metadata};
use ocfs2_testing::{Random, Scratch, fixture, fixture_copy};
use ocfs2_volume::{Volume, VolumeOptions};

/// Number of cases per fixture, unless `OCFS2_CASES` sets another one.
const CASES: u64 = 40;

/// Commands about a block or an inode.
const OF_A_BLOCK: [&str; 35] = [
    "stat",
    "print",
    "ls",
    "ls -l",
    "dirblocks",
    "dx_dump",
    "dx_root",
    "dx_leaf",
    "dx_space",
    "extent",
    "group",
    "grpextents",
    "refcount -e",
    "xattr -v",
    "frag",
    "encode",
    "cat",
    "cd",
    "pwd",
    "stat -T",
    "htree",
    "extents",
    "blocks",
    "sharers",
    "imap",
    "testi",
    "verify",
    "type",
    "block_dump",
    "inode_dump",
    "print -t directory",
    "print -t bucket",
    "print -t quota",
    "extent_open",
    "logdump -b",
];

/// Commands about the whole volume.
const OF_ALL: [&str; 19] = [
    "stats",
    "stat_sysdir",
    "slotmap",
    "hb",
    "logdump 0",
    "locate <3> <40>",
    "findpath <4>",
    "icheck 5 77 4000",
    "ffb 5 999",
    "ffi",
    "testb 0 1000",
    "lq user",
    "gq group 0",
    "who",
    "dirsearch / name",
    "logdump -s 0",
    "freefrag",
    "refcount -o 1000",
    "lsdel",
];

const REQUESTS: [Request; 8] = [
    Request::SpaceUsage,
    Request::FileStat,
    Request::FsFeatures,
    Request::VolInfo,
    Request::Mkfs,
    Request::FreeInode,
    Request::FreeFrag(0),
    Request::FreeFrag(4096),
];

/// Returns a screen for text, or with an odd seed for documents.
fn screen(seed: u64) -> Screen {
    let screen = Screen::new(Box::new(std::io::sink()), Box::new(std::io::sink()));
    let mut screen = screen.with_json(seed % 2 == 1);
    screen.begin(b"").unwrap();
    screen
}

#[test]
fn any_damage_is_survived() {
    let cases = std::env::var("OCFS2_CASES").map_or(CASES, |cases| cases.parse().unwrap());
    let root = ocfs2_o2info::PathOnVolume { path: PathBuf::from("/"), device: 0 };
    for name in ["clean-512-local", "clean-1m-global", "crashed-4k-linux7-local"] {
        let device = open(&fixture(name), &DeviceOptions::default()).unwrap();
        let sound = Volume::open(device.clone(), &VolumeOptions::default()).unwrap();
        let metadata = Metadata::of(&sound);
        let places: Vec<_> = metadata.places().concat();
        for seed in 0..cases {
            let overlay = Arc::new(OverlayDevice::new(device.clone(), sound.block_size().bytes()));
            metadata.damage_much(seed, &*overlay);
            let options =
                VolumeOptions { any_checksum: true, allow_short: true, ..Default::default() };
            let Ok(volume) = Volume::open(overlay, &options) else { continue };
            let again = volume.on(volume.device().clone());
            let source = ocfs2_o2info::Source::Volume(Box::new(again), Some(root.clone()));
            for request in REQUESTS {
                let _ = ocfs2_o2info::answer(&source, request);
            }
            let mut shell = Shell::new(Interrupt::default());
            shell.enter(&volume, PathBuf::from(name));
            let mut random = Random(seed);
            for _ in 0..60 {
                let command = random.of(&OF_A_BLOCK);
                let place = random.of(&places);
                let line = match command.split_once(' ') {
                    Some(("logdump", _)) => format!("{command} <{place}> 0"),
                    _ => format!("{command} <{place}>"),
                };
                shell.run(line.as_bytes(), &mut screen(seed));
            }
            let command = random.of(&OF_ALL);
            let done = shell.run(command.as_bytes(), &mut screen(seed));
            assert!(matches!(done, Done::Well | Done::Badly), "{name} {seed} {command}");
        }
    }
}

#[test]
fn work_does_not_follow_what_an_inode_claims() {
    let scratch = Scratch::new();
    let image = Image::open(fixture_copy("crashed-512-local", &scratch), scratch);
    let dir = image.inode("/lost+found").blkno;
    image.edit_dinode(dir, |dinode, _| dinode.i_size = u64::MAX);
    let mut shell = Shell::new(Interrupt::default());
    shell.enter(image.volume(), image.path().to_owned());
    for command in ["ls", "dirblocks", "cat", "stat", "dx_dump"] {
        shell.run(format!("{command} <{dir}>").as_bytes(), &mut screen(0));
    }
}

#[test]
fn a_signal_ends_a_command() {
    let interrupt = Interrupt::default();
    let mut shell = Shell::new(interrupt.clone());
    shell.open(&fixture("clean-1k-local"), &Default::default()).unwrap();
    interrupt.request();
    let all = ["locate <5>", "stat /", "rdump / /tmp", "logdump 0", "freefrag", "refcount -o 9"];
    for command in all.into_iter().chain(["logdump -b 9 0"]) {
        assert_eq!(shell.run(command.as_bytes(), &mut screen(0)), Done::Interrupted, "{command}");
    }
    interrupt.clear();
    assert_eq!(shell.run(b"stat /", &mut screen(0)), Done::Well);
}

#[test]
fn a_name_that_leads_out_of_a_folder_is_not_followed() {
    let scratch = Scratch::new();
    let folder = scratch.join("folder");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("aaaaaa"), "outside").unwrap();
    std::fs::write(folder.join("good"), "inside").unwrap();
    let path = scratch.join("hostile.img");
    let mkfs = ocfs2_testing::Run::new(ocfs2_testing::program("mkfs.ocfs2"));
    mkfs.args(["-q", "-M", "local", "-N", "1", "-d"]).arg(&folder).arg(&path).arg("32M").success();
    let image = Image::open(path, scratch);
    let root = image.inode("/").blkno;
    image.edit_block(root, 0x80, |block| {
        let at = block.windows(6).position(|bytes| bytes == b"aaaaaa").unwrap();
        block[at..at + 6].copy_from_slice(b"../bad");
    });
    let out = Scratch::new();
    std::fs::create_dir(out.join("to")).unwrap();
    let mut shell = Shell::new(Interrupt::default());
    shell.enter(image.volume(), image.path().to_owned());
    let command = format!("rdump / {}", out.join("to").display());
    assert_eq!(shell.run(command.as_bytes(), &mut screen(0)), Done::Badly);
    assert!(!out.join("bad").exists());
    assert_eq!(std::fs::read(out.join("to/good")).unwrap(), b"inside");
}
