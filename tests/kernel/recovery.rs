//! The kernel's recovery of a crashed volume, compared with ours of a copy of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use ocfs2_device::{DeviceOptions, open};
use ocfs2_testing::vm::{End, Lab};
use ocfs2_testing::{Scratch, program};
use ocfs2_volume::recovery::{RecoverOptions, Writes};
use ocfs2_volume::{Volume, VolumeOptions};

use crate::lab::lab;
use crate::volume::{LOCAL, NEW_JOURNAL, assert_fsck_is_content, mkfs};

/// Fills a volume with files of every kind, some of which share their contents with files in
/// another folder, and removes them all while they are open.
fn crash_script(volumes: &[&str]) -> String {
    let mut script = String::from("set -e\n");
    for name in volumes {
        script += &format!(
            "mkdir /tmp/{name}
            mount-volume -o usrquota,grpquota /dev/{name} /tmp/{name}
            cd /tmp/{name}
            volume-contents fill gone 4096 xattrs many=400 sizes names special folders=400 owners \
                sparse reflinks extents=80
            mkdir kept
            for file in bytes-100 bytes-65536 bytes-100000 bytes-1048577; do
                volume-contents share gone/sizes/$file kept/$file
                volume-contents share gone/sizes/$file kept/$file-too
            done
            dd if=/dev/zero of=kept/bytes-1048577 bs=4096 count=3 seek=7 conv=notrunc 2>/dev/null
            dd if=/dev/zero of=gone/sizes/bytes-1048577 bs=4096 count=3 seek=99 conv=notrunc \
                2>/dev/null
            chown 77:88 kept/bytes-100000
            sync
            volume-contents orphan /tmp/{name}/gone >/tmp/{name}.log 2>&1 &
            until grep -q . /tmp/{name}.log; do usleep 100000; done
            cat /tmp/{name}.log
            grep -q removed /tmp/{name}.log\n"
        );
    }
    script + "crash"
}

/// Mounts volumes, describes them when the kernel has finished freeing, and unmounts them.
fn describe(lab: &Lab, disks: &[PathBuf], share: &Path) -> Result<Vec<String>> {
    let mut script = String::from("set -e\n");
    for (number, letter) in (0..disks.len()).zip('a'..) {
        script += &format!(
            "mount-volume -o usrquota,grpquota /dev/vd{letter} /mnt
            before=none
            until [ \"$before\" = \"$(stat -f -c %f /mnt)\" ]; do
                before=$(stat -f -c %f /mnt)
                sleep 3
            done
            volume-contents describe /mnt >/share/{number}
            umount /mnt\n"
        );
    }
    let machines = lab.vm().disks(disks).program(program("volume-contents")).share(share);
    machines.script(script).timeout(Duration::from_secs(900)).run()?.assert_ok();
    (0..disks.len()).map(|number| Ok(fs::read_to_string(share.join(number.to_string()))?)).collect()
}

/// Returns the bits that are set in every allocator, by allocator and group.
fn bitmaps(image: &Path) -> Result<BTreeMap<(String, u64), Vec<usize>>> {
    let volume = Volume::open(open(image, &DeviceOptions::default())?, &VolumeOptions::default())?;
    let mut names = vec!["global_inode_alloc".to_owned()];
    for slot in 0..volume.max_slots() {
        names.extend([format!("inode_alloc:{slot:04}"), format!("extent_alloc:{slot:04}")]);
    }
    let mut allocators = vec![("global_bitmap".to_owned(), volume.global_bitmap()?)];
    for name in names {
        let allocator = volume.allocator(volume.system_file_named(&name)?)?;
        allocators.push((name, allocator));
    }
    let mut bitmaps = BTreeMap::new();
    for (name, allocator) in allocators {
        for group in volume.groups(&allocator) {
            let group = group?;
            let bits = group.bitmap().runs(true).flatten().collect();
            bitmaps.insert((name.clone(), group.blkno.0), bits);
        }
    }
    Ok(bitmaps)
}

#[test]
fn what_the_kernel_makes_of_a_crashed_volume_we_make_of_it_too() -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    let scratch = Scratch::new();
    let share = scratch.join("share");
    fs::create_dir(&share)?;
    let disk = |name: &str, block_size: &str| {
        let features = "--fs-feature-level=max-features";
        let options = ["-b", block_size, "-C", "4096", "-N", "2", "-J", "size=8M", features];
        mkfs(&scratch, name, 300 << 20, &[&options, &LOCAL[..]].concat())
    };
    let theirs = [disk("4096.img", "4096"), disk("512.img", "512")];
    let run = lab
        .vm()
        .disks(&theirs)
        .program(program("volume-contents"))
        .script(crash_script(&["vda", "vdb"]))
        .allow(NEW_JOURNAL)
        .timeout(Duration::from_secs(900))
        .run()?;
    assert_eq!(run.node(0).end, End::Crashed, "{run}");
    assert_eq!(run.output().matches("removed").count(), 2, "{run}");

    let mut ours = Vec::new();
    for image in &theirs {
        let copy = image.with_extension("ours");
        fs::copy(image, &copy)?;
        let device = open(&copy, &DeviceOptions { write: true, ..Default::default() })?;
        let volume = Volume::open(device.clone(), &VolumeOptions::default())?;
        let time = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let options = RecoverOptions {
            slots: &[0, 1],
            writes: Writes::Journaled,
            time,
            interrupted: &|| false,
        };
        let slots = volume.recover(&device, &options);
        for slot in &slots {
            assert!(slot.error.is_none() && slot.left.is_empty(), "{slot:?}");
        }
        let deleted: u64 = slots.iter().map(|slot| slot.deleted).sum();
        eprintln!("{}: {deleted} orphans deleted", copy.display());
        assert!(deleted > 1000, "{slots:?}");
        ours.push(copy);
    }
    let kernels = describe(&lab, &theirs, &share)?;
    for (image, kernels) in ours.iter().zip(&theirs) {
        let (ours, kernels) = (bitmaps(image)?, bitmaps(kernels)?);
        for (group, bits) in &kernels {
            let own = ours.get(group).with_context(|| format!("{group:?} is not in ours"))?;
            let differ = |bits: &[usize], other: &[usize]| -> Vec<usize> {
                bits.iter().filter(|bit| !other.contains(bit)).copied().collect()
            };
            let (more, less) = (differ(own, bits), differ(bits, own));
            assert!(more.is_empty() && less.is_empty(), "{group:?}: {more:?} {less:?}");
        }
        assert_eq!(ours.len(), kernels.len());
        assert_fsck_is_content(image, &[]);
    }
    let described = describe(&lab, &ours, &share)?;
    for (ours, kernels) in described.iter().zip(&kernels) {
        assert!(ours.lines().count() > 10, "{ours}");
        assert_eq!(ours, kernels);
    }
    for image in &ours {
        assert_fsck_is_content(image, &[]);
    }
    Ok(())
}
