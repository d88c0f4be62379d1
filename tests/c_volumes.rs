//! Our reader on volumes of every shape that the C mkfs makes, compared with C debugfs.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ocfs2_device::{self, Device, DeviceOptions};
use ocfs2_format::slot_map::SlotMapFormat;
use ocfs2_testing::damage::Image;
use ocfs2_testing::{Run, Scratch, oracle, program};
use ocfs2_volume::allocator::Allocator;
use ocfs2_volume::usage::Heartbeat;
use ocfs2_volume::{OpenVolumeError, SuperblockAt, SystemFile, Volume, VolumeOptions};

/// A line of `ls -l`: inode, mode, link count, size.
type Line = (u64, String, u32, u64);

/// Returns what C debugfs lists in the system directory.
fn debugfs_list(debugfs: &Path, image: &Path) -> BTreeMap<String, Line> {
    let text = Run::new(debugfs).args(["-R", "ls -l //"]).arg(image).success().stdout;
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [inode, mode, links, _, _, size, _, _, name] = fields[..] else { panic!("{line}") };
        let line = (
            inode.parse().unwrap(),
            mode.to_owned(),
            links.parse().unwrap(),
            size.parse().unwrap(),
        );
        (name.to_owned(), line)
    };
    text.lines().filter(|line| !line.trim().is_empty()).map(line).collect()
}

fn our_list(volume: &Volume) -> BTreeMap<String, Line> {
    let entries = volume.entries(&volume.system_dir().unwrap()).unwrap();
    let line = |entry: ocfs2_volume::dir::Entry| {
        let inode = volume.inode(entry.inode).unwrap();
        let mode = if inode.is_dir() { "drwxr-xr-x" } else { "-rw-r--r--" };
        let permissions = if inode.is_dir() { 0o755 } else { 0o644 };
        assert_eq!(inode.dinode.i_mode & 0o7777, permissions);
        let line = (inode.blkno.0, mode.to_owned(), volume.links_count(&inode), inode.size());
        (String::from_utf8(entry.name).unwrap(), line)
    };
    entries.map(|entry| line(entry.unwrap())).collect()
}

/// Returns the `Name: value` pairs of the statistics that C debugfs prints.
fn stats(debugfs: &Path, image: &Path) -> BTreeMap<String, String> {
    let text = Run::new(debugfs).args(["-R", "stats"]).arg(image).success().stdout;
    // Several pairs on a line are separated by three blanks.
    let pairs = text.lines().flat_map(|line| line.split("   ")).filter_map(|pair| {
        let (name, value) = pair.split_once(':')?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    });
    let mut first = BTreeMap::new();
    for (name, value) in pairs {
        first.entry(name).or_insert(value);
    }
    first
}

fn sums_agree(volume: &Volume, allocator: &Allocator) {
    let mut free = 0;
    let mut total = 0;
    for group in volume.groups(allocator) {
        let group = group.unwrap();
        free += group.free_bits();
        total += u32::from(group.desc.bg_bits);
    }
    assert_eq!(allocator.inode.dinode.bitmap(), (total - free, total));
}

#[test]
fn volumes_of_the_c_mkfs_are_read_as_c_debugfs_reads_them() {
    let (Some(mkfs), Some(debugfs)) = (oracle("mkfs.ocfs2"), oracle("debugfs.ocfs2")) else {
        return;
    };
    let o2cb = "--cluster-stack=o2cb --cluster-name=lab";
    let shapes: [(u64, String); 14] = [
        (64, "-b 512 -C 4096 -N 1 -J size=4M -M local --fs-feature-level=max-features".into()),
        (64, "-b 512 -C 1M -N 2 -M local --fs-feature-level=max-compat".into()),
        (64, "-b 1024 -C 8192 -N 3 -M local".into()),
        (128, format!("-b 2048 -C 4096 -N 5 --fs-feature-level=max-features {o2cb}")),
        (128, format!("-b 2048 -C 16K -N 4 --fs-feature-level=max-compat {o2cb}")),
        (200, "-b 4096 -C 4096 -N 20 -J size=4M -M local --fs-features=noinline-data".into()),
        (200, "-b 4096 -C 32K -N 2 -M local --fs-features=noindexed-dirs,metaecc,nosparse".into()),
        (300, "-b 4096 -C 1M -N 4 -T vmstore -M local".into()),
        (300, format!("-b 4096 -C 64K -N 4 -T mail {o2cb} --global-heartbeat")),
        (300, "-b 4096 -C 4096 -N 2 --cluster-stack=pcmk --cluster-name=lab".into()),
        (300, "-b 4096 -C 4096 -N 50 -J size=4M -M local --fs-features=metaecc".into()),
        (150, "-b 512 -C 4096 -N 20 -J size=4M -M local --fs-feature-level=max-compat".into()),
        (5000, format!("-b 1024 -C 4096 -N 8 {o2cb}")),
        (1, format!("-H {o2cb} --global-heartbeat")),
    ];
    for (index, (mib, shape)) in shapes.iter().enumerate() {
        let scratch = Scratch::new();
        let image = scratch.image("image", mib << 20);
        let arguments = shape.split_whitespace();
        let label = format!("label{index}");
        Run::new(&mkfs).args(["-F", "-q", "-L", &label]).args(arguments).arg(&image).success();
        let device = ocfs2_device::open(&image, &DeviceOptions::default()).unwrap();
        let options = VolumeOptions { heartbeat_device: true, strict: true, ..Default::default() };
        let volume = Volume::open(device, &options).unwrap_or_else(|err| panic!("{shape}: {err}"));
        let superblock = volume.superblock();
        let stats = stats(&debugfs, &image);
        let stat = |name: &str| stats[name].as_str();
        assert_eq!(stat("Label"), String::from_utf8_lossy(superblock.label()), "{shape}");
        assert_eq!(stat("UUID"), superblock.uuid_string(), "{shape}");
        assert_eq!(stat("Root Blknum"), superblock.s_root_blkno.to_string(), "{shape}");
        assert_eq!(stat("Block Size Bits"), volume.block_size().bits().to_string(), "{shape}");
        assert_eq!(stat("Clusters"), volume.geometry().clusters.to_string(), "{shape}");
        assert_eq!(stat("Max Node Slots"), volume.max_slots().to_string(), "{shape}");
        let features = volume.features();
        let names: BTreeSet<&str> = ["Feature Compat", "Feature Incompat", "Feature RO compat"]
            .iter()
            .flat_map(|field| stat(field).split_whitespace().skip(1))
            .collect();
        assert_eq!(features.names().into_iter().collect::<BTreeSet<_>>(), names, "{shape}");
        assert_eq!(our_list(&volume), debugfs_list(&debugfs, &image), "{shape}");

        let extended = names.contains("extended-slotmap");
        assert_eq!(volume.slot_map_format() == SlotMapFormat::Extended, extended, "{shape}");
        let places = volume.places().unwrap_or_else(|err| panic!("{shape}: {err}"));
        assert!(places.taken.is_empty(), "{shape}");
        let on_volume =
            !shape.contains("local") && !shape.contains("--global") && !shape.contains("pcmk");
        let expected = on_volume || shape.contains("-H");
        assert_eq!(matches!(places.heartbeat, Heartbeat::OnVolume(_)), expected, "{shape}");

        sums_agree(&volume, &volume.global_bitmap().unwrap());
        if shape.contains("-H") {
            let plain = Volume::open(volume.device().clone(), &VolumeOptions::default());
            assert!(matches!(plain, Err(OpenVolumeError::HeartbeatDevice)));
            continue;
        }
        for slot in 0..volume.max_slots() {
            assert!(!volume.journal(slot).unwrap().is_dirty(), "{shape}");
            let inode = volume.system_file(SystemFile::InodeAlloc(slot)).unwrap();
            sums_agree(&volume, &volume.allocator(inode).unwrap());
        }
        let root = volume.root().unwrap();
        let mut named = BTreeSet::from([root.blkno, superblock.s_system_dir_blkno]);
        for start in [root, volume.system_dir().unwrap()] {
            let walk = volume.walk(&start).unwrap();
            named.extend(walk.map(|entry| entry.unwrap().inode.blkno));
        }
        let handed_out: BTreeSet<_> = volume.inodes().map(|inode| inode.unwrap().blkno).collect();
        assert_eq!(handed_out, named, "{shape}");
        assert_eq!(volume.corrections().1, 0, "{shape}");
    }
}

#[test]
fn a_volume_whose_superblock_is_gone_opens_by_its_backup() {
    let Some(mkfs) = oracle("mkfs.ocfs2") else { return };
    let scratch = Scratch::new();
    for block_size in ["512", "4096"] {
        let image = scratch.image(block_size, 5 << 30);
        let arguments = ["-F", "-q", "-M", "local", "-N", "2", "-b", block_size];
        Run::new(&mkfs).args(arguments).arg(&image).success();
        let writing = DeviceOptions { write: true, ..Default::default() };
        let device = ocfs2_device::open(&image, &writing).unwrap();
        let options = VolumeOptions::default();
        let sound = Volume::open(device.clone(), &options).unwrap();
        device.zero(0, 12_288).unwrap();
        let Err(OpenVolumeError::NotOcfs2 { backups }) = Volume::open(device.clone(), &options)
        else {
            panic!("it is gone")
        };
        let places: Vec<_> = backups.iter().map(|b| (b.number, b.offset_bytes())).collect();
        assert_eq!(places, [(1, 1 << 30), (2, 1 << 32)]);
        for backup in backups {
            for superblock in [
                SuperblockAt::Backup(backup.number),
                SuperblockAt::Block(backup.blkno, backup.block_size),
            ] {
                let options = VolumeOptions { superblock, ..Default::default() };
                let volume = Volume::open(device.clone(), &options).unwrap();
                assert_eq!(volume.superblock(), sound.superblock());
                // With small blocks, its first inodes are lost as well.
                assert_eq!(volume.geometry(), sound.geometry());
            }
        }
    }
}

#[test]
fn a_volume_that_the_c_tunefs_grew_is_sound_but_for_a_backup_superblock_it_did_not_claim() {
    let (Some(mkfs), Some(tunefs)) = (oracle("mkfs.ocfs2"), oracle("tunefs.ocfs2")) else { return };
    let scratch = Scratch::new();
    let mib = 1 << 20;
    for (block, from, to, findings) in [
        ("4096", 400 * mib, 600 * mib, &[][..]),
        ("1024", 400 * mib, 900 * mib, &[][..]),
        // The position of the first backup, at 1 GiB, is now inside the volume: the C tool writes
        // the backup and leaves its cluster free.
        ("4096", 400 * mib, 1200 * mib, &["CLUSTER_ALLOC_BIT"][..]),
    ] {
        let image = scratch.image(&format!("{block}-{to}.img"), from);
        let options = ["-q", "-x", "-F", "-M", "local", "-N", "2", "-J", "size=4M", "-C", "4096"];
        Run::new(&mkfs).args(options).args(["-b", block]).arg(&image).success();
        std::fs::File::options().write(true).open(&image).unwrap().set_len(to).unwrap();
        Run::new(&tunefs).args(["-q", "-y", "-S"]).arg(&image).success();
        let outcome = Run::new(program("fsck.ocfs2")).args(["-fn", "--json"]).arg(&image).output();
        let document: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
        let found = document["findings"].as_array().unwrap().iter();
        let codes: Vec<_> = found.map(|finding| finding["code"].as_str().unwrap()).collect();
        assert_eq!(codes, findings, "{outcome}");
    }
}

/// The places of the inodes of added slots do not follow from anything; they are found because
/// nothing else names them.
#[test]
fn an_entry_of_an_added_slot_that_leads_to_another_file_is_led_back() {
    let Some(tunefs) = oracle("tunefs.ocfs2") else { return };
    let scratch = Scratch::new();
    let sound = scratch.join("sound.img");
    let mkfs = Run::new(program("mkfs.ocfs2")).args(["-q", "-x", "-F", "-M", "local", "-J"]);
    mkfs.args(["size=4M", "-N", "2"]).arg(&sound).arg("100M").success();
    Run::new(&tunefs).args(["-q", "-y", "-N4"]).arg(&sound).success();
    for (file, other) in [
        ("journal:0001", "journal:0002"),
        ("journal:0002", "journal:0000"),
        ("journal:0003", "journal:0002"),
        ("inode_alloc:0002", "inode_alloc:0000"),
        ("inode_alloc:0003", "inode_alloc:0002"),
        ("orphan_dir:0002", "orphan_dir:0003"),
        ("local_alloc:0003", "truncate_log:0001"),
        ("extent_alloc:0003", "/"),
    ] {
        let path = scratch.join("wrong.img");
        std::fs::copy(&sound, &path).unwrap();
        let image = Image::open(path.clone(), Scratch::new());
        let dir = image.volume().superblock().s_system_dir_blkno;
        let own = image.system(file).blkno;
        let target = if other == "/" { image.inode(other) } else { image.system(other) }.blkno;
        image.edit_entry(dir, file, |entry, _| entry.inode = target);
        let fsck = |options: &str| {
            Run::new(program("fsck.ocfs2")).args([options, "-y"]).arg(&path).output()
        };
        let outcome = fsck("-f").expect_status(1);
        assert!(outcome.stdout.contains("all corrected"), "{file} to {other}: {outcome}");
        let image = Image::open(path.clone(), Scratch::new());
        assert_eq!(image.system(file).blkno, own, "{file} to {other}: {outcome}");
        fsck("-f").expect_status(0);
    }
}

#[test]
fn a_volume_is_sound_after_the_c_tunefs_has_added_quotas_and_slots() {
    let Some(tunefs) = oracle("tunefs.ocfs2") else { return };
    let scratch = Scratch::new();
    // Inodes that are added later come after all others, not where mkfs would put them.
    for (slots, changes) in [
        ("1", &["--fs-features=usrquota"][..]),
        ("1", &["--fs-features=grpquota"]),
        ("1", &["--fs-features=usrquota,grpquota"]),
        ("2", &["--fs-features=usrquota", "-N4"]),
        ("1", &["--fs-features=usrquota,grpquota", "-N2"]),
        ("3", &["-N1", "--fs-features=usrquota"]),
        // Inodes that were freed are reused in another order.
        ("3", &["-N1", "-N2"]),
        ("3", &["-N1", "-N4"]),
    ] {
        let image = scratch.join("changed.img");
        let mkfs = Run::new(program("mkfs.ocfs2")).args(["-q", "-x", "-F", "-M", "local", "-J"]);
        mkfs.args(["size=4M", "-N", slots]).arg(&image).arg("100M").success();
        for change in changes {
            Run::new(&tunefs).args(["-q", "-y", change]).arg(&image).success();
        }
        let outcome = Run::new(program("fsck.ocfs2")).arg("-fn").arg(&image).output();
        assert_eq!(outcome.status, 0, "{slots} {changes:?}: {outcome}");
    }
}
