//! The kernel mounts what `fsck.ocfs2 --salvage` has made again, reads all of it, and fills it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use ocfs2_testing::{Random, Run, Scratch, fixture_copy, oracle, program};

use crate::lab::lab;
use crate::volume::NEW_JOURNAL;

/// What happens to an image.
type Damage = fn(&Path, &mut Random);

/// Volumes that Linux filled with thousands of files, and what happens to them.
const CASES: [(&str, Damage); 3] = [
    ("clean-1k-local", |image, random| {
        lost_pieces(image, random);
        ten_blocks(image, random);
    }),
    ("clean-512-local", |image, random| {
        another(image, "mkfs.ext4", &["-q", "-F", "-E", "nodiscard"]);
        ten_blocks(image, random);
    }),
    ("clean-4k-o2cb", |image, _| zeros(image, 0, 8 << 20)),
];

/// The rest of them.
const MORE: [(&str, Damage); 4] = [
    ("clean-1k-local", |image, _| zeros(image, 0, 8 << 20)),
    ("clean-2k-local", |image, random| {
        zeros(image, 0, 64 << 10);
        ten_blocks(image, random);
    }),
    ("clean-4k-o2cb", |image, _| another(image, "wipefs", &["-a"])),
    ("clean-2k-local", lost_pieces),
];

fn zeros(image: &Path, at: u64, bytes: usize) {
    let file = File::options().write(true).open(image).unwrap();
    file.write_all_at(&vec![0; bytes], at).unwrap();
}

/// Runs a program that writes over the volume. Without it, zeros are.
fn another(image: &Path, name: &str, options: &[&str]) {
    match oracle(name) {
        Some(path) => drop(Run::new(path).args(options).arg(image).success()),
        None => zeros(image, 0, 64 << 10),
    }
}

fn ten_blocks(image: &Path, random: &mut Random) {
    let blocks = image.metadata().unwrap().len() / 4096;
    let file = File::options().write(true).open(image).unwrap();
    for _ in 0..10 {
        let at = random.next() % blocks * 4096;
        file.write_all_at(&random.bytes(4096), at).unwrap();
    }
}

/// One in forty pieces of 64 KiB.
fn lost_pieces(image: &Path, random: &mut Random) {
    for at in (0..image.metadata().unwrap().len()).step_by(64 << 10) {
        if random.below(40) == 0 {
            zeros(image, at, 64 << 10);
        }
    }
}

#[test]
fn volumes_that_were_made_again_are_mounted_read_and_filled_by_the_kernel() -> Result<()> {
    judged(&CASES)
}

#[test]
#[ignore = "slow: more volumes of the same kind"]
fn more_volumes_that_were_made_again_are_mounted_read_and_filled() -> Result<()> {
    judged(&MORE)
}

fn judged(cases: &[(&str, Damage)]) -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    let scratch = Scratch::new();
    let mut random = Random(0x7361_6c76);
    let (mut images, mut script) = (Vec::new(), String::from("set -e\n"));
    for (number, (name, damage)) in cases.iter().enumerate() {
        let folder = scratch.join(number.to_string());
        std::fs::create_dir(&folder)?;
        let image = folder.join("disk.img");
        std::fs::rename(fixture_copy(name, &scratch), &image)?;
        damage(&image, &mut random);
        let fsck = Run::new(program("fsck.ocfs2"));
        // The indexes that told which hash of names this kernel looks for are gone.
        let sign = lab.name_hash().to_string();
        let fsck = fsck.args(["-fyFD", "--salvage", "--mount=local", "--name-hash", &sign]);
        let fsck = fsck.arg(&image).output();
        assert_eq!(fsck.status, 1, "{name}: {fsck}");
        // With a superblock that was left, it is for a cluster as before.
        if name.ends_with("-o2cb") {
            let tunefs = Run::new(program("tunefs.ocfs2"));
            tunefs.args(["-q", "--fs-features=local"]).arg(&image).output();
        }
        let letter = char::from(b'a' + number as u8);
        script += &format!(
            "echo 'volume {letter}: {name}'
            mount -i -t ocfs2 -o heartbeat=none /dev/vd{letter} /mnt
            find /mnt -type f -size -2000k -print0 | xargs -0 cat >/dev/null
            ls -laR /mnt >/dev/null
            mkdir /mnt/afterwards
            for n in $(seq 200); do echo $n >/mnt/afterwards/file-$n; done
            dd if=/dev/zero of=/mnt/afterwards/large bs=1M count=4000 2>/dev/null || true
            [ \"$(df -m /mnt | awk 'END {{ print $(NF - 2) }}')\" -le 8 ]
            rm -r /mnt/afterwards
            umount /mnt\n"
        );
        images.push(image);
    }
    let vm = lab.vm().disks(&images).script(script).allow(NEW_JOURNAL);
    vm.timeout(Duration::from_secs(600)).run()?.assert_ok();
    for (image, (name, _)) in images.iter().zip(cases) {
        let fsck = Run::new(program("fsck.ocfs2")).arg("-fn").arg(image).output();
        assert_eq!(fsck.status, 0, "{name}: {fsck}");
    }
    Ok(())
}
