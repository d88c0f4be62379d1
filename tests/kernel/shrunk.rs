//! Volumes that the kernel filled lose slots and become smaller: the kernel finds every file, and
//! can fill them again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use ocfs2_device::{DeviceOptions, open};
use ocfs2_testing::vm::Lab;
use ocfs2_testing::{Outcome, Run, Scratch, program};
use ocfs2_tests::listed;
use ocfs2_volume::{Volume, VolumeOptions};

use crate::lab::lab;
use crate::volume::{LOCAL, NEW_JOURNAL, assert_fsck_is_content_but_of_buckets, mkfs};

const FORMS: [&str; 10] = [
    "-b 4K -C 4K -N 4 -J size=8M",
    "-b 512 -C 4K -N 3 -J size=4M",
    "-b 1K -C 4K -N 2 -J size=4M",
    "-b 2K -C 4K -N 2 -J size=4M --fs-features=nometaecc",
    "-b 4K -C 8K -N 2 -J size=16M",
    "-b 4K -C 32K -N 3 -J size=8M",
    "-b 1K -C 16K -N 2 -J size=4M --fs-features=noinline-data",
    "-b 2K -C 64K -N 2 -J size=8M",
    "-b 4K -C 4K -N 2 -J size=32M --fs-features=nodiscontig-bg",
    "-b 512 -C 8K -N 2 -J size=4M --fs-features=noindexed-dirs",
];

/// Volumes that one machine fills. Only the first form is always judged.
const AT_ONCE: usize = 2;

const KINDS: &str = "many=600 sizes names special folders=150 owners sparse reflinks extents=400 \
                     aged=1200";

/// Bytes of each volume: several groups of the global bitmap of the first form.
const BYTES: u64 = 700 << 20;

fn volume(image: &Path) -> Result<Volume> {
    let device = open(image, &DeviceOptions::default())?;
    Ok(Volume::open(device, &VolumeOptions::default())?)
}

fn clusters(image: &Path) -> Result<u32> {
    Ok(volume(image)?.geometry().clusters)
}

fn run_tunefs(image: &Path, options: &str, size: &str) -> Outcome {
    let tunefs = Run::new(program("tunefs.ocfs2")).args(["-y", "-q"]).args(options.split(' '));
    let tunefs = if size.is_empty() { tunefs.arg(image) } else { tunefs.arg(image).arg(size) };
    tunefs.timeout(Duration::from_secs(600)).output()
}

fn tunefs(image: &Path, options: &str, size: &str) {
    let done = run_tunefs(image, options, size);
    assert_eq!(done.status, 0, "{options} {size}: {done}");
}

/// Makes a volume smaller in steps, to the smallest size, and demands that it has every file after
/// each of them.
fn shrink(image: &Path, form: &str) -> Result<()> {
    let (before, full) = (listed(&volume(image)?, true), clusters(image)?);
    let group = volume(image)?.geometry().clusters_per_group();
    for size in [full / 2, full / 3, group] {
        // With large clusters, a group is larger than the volume.
        if size >= clusters(image)? {
            continue;
        }
        let done = run_tunefs(image, "-Sclusters", &size.to_string());
        let is_too_small = size == group && done.stderr.contains("are not enough");
        assert!(done.status == 0 || is_too_small, "{form}: {size} clusters: {done}");
        if done.status == 0 {
            assert_eq!(clusters(image)?, size);
            assert!(listed(&volume(image)?, true) == before, "{form}: {size} clusters");
        }
        eprintln!("{form}: from {full} to {size} clusters: status {}", done.status);
    }
    tunefs(image, "-Sclusters", "min");
    let least = clusters(image)?;
    eprintln!("{form}: from {full} to {least} clusters, a group has {group}");
    assert!(least < full / 3, "{form}");
    assert!(listed(&volume(image)?, true) == before, "{form}: {least} clusters");
    tunefs(image, "-N 1", "");
    assert!(listed(&volume(image)?, true) == before, "{form}: one slot");
    Ok(())
}

/// The command that mounts a volume.
fn mount(letter: char) -> String {
    format!("mount-volume -o usrquota,grpquota /dev/vd{letter} /mnt")
}

/// What a machine printed about each volume after `word`.
fn told(output: &str, word: &str, letter: char) -> Result<String> {
    let start = format!("{word} {letter} ");
    let line = output.lines().find_map(|line| line.strip_prefix(&start));
    Ok(line.with_context(|| format!("no `{start}`: {output}"))?.to_owned())
}

fn run(lab: &Lab, images: &[PathBuf], script: &str) -> Result<String> {
    let machine = lab.vm().disks(images).program(program("volume-contents"));
    let run = machine.script(script).allow(NEW_JOURNAL);
    let run = run.timeout(Duration::from_secs(900)).run()?;
    run.assert_ok();
    Ok(run.output().to_owned())
}

#[test]
fn the_kernel_finds_every_file_of_a_volume_that_became_smaller() -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    become_smaller(&lab, &FORMS[..1])
}

#[test]
#[ignore = "slow: run by cargo xtask kernel --all"]
fn the_kernel_finds_every_file_of_more_volumes_that_became_smaller() -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    FORMS[1..].chunks(AT_ONCE).try_for_each(|forms| become_smaller(&lab, forms))
}

fn become_smaller(lab: &Lab, forms: &[&str]) -> Result<()> {
    let scratch = Scratch::new();
    let mut images = Vec::new();
    let mut script = String::from("set -e\n");
    for (form, letter) in forms.iter().zip('a'..) {
        let level = ["--fs-feature-level=max-features"];
        let options: Vec<_> = form.split(' ').chain(LOCAL).chain(level).collect();
        images.push(mkfs(&scratch, &format!("{letter}.img"), BYTES, &options));
        // What came first goes, so that what stays is far from the beginning. Attributes stay where
        // they are: the kernel has no room for their values when this is full.
        let mount = mount(letter);
        script += &format!(
            "{mount}
            mkdir /mnt/first /mnt/kept
            volume-contents fill /mnt/kept/attributes 4096 xattrs
            fallocate -l 400M /mnt/first/large
            volume-contents fill /mnt/first/files 4096 many=900 folders=300
            volume-contents fill /mnt/kept/files 4096 {KINDS}
            rm -r /mnt/first
            for odd in 1 3 5 7 9; do rm -f /mnt/kept/files/many/*$odd; done
            volume-contents describe /mnt/kept >/tmp/found
            echo \"before {letter} $(wc -l </tmp/found) $(md5sum </tmp/found)\"
            echo \"beyond {letter} $(stat -c %i /mnt/kept/files/sparse/beyond-eof)\"
            umount /mnt\n"
        );
    }
    let before = run(lab, &images, &script)?;
    let mut script = String::from("set -e\n");
    for ((form, image), letter) in forms.iter().zip(&images).zip('a'..) {
        shrink(image, form)?;
        let mount = mount(letter);
        script += &format!(
            "{mount}
            volume-contents describe /mnt/kept >/tmp/found
            echo \"after {letter} $(wc -l </tmp/found) $(md5sum </tmp/found)\"
            echo \"beyond {letter} $(stat -c %i /mnt/kept/files/sparse/beyond-eof)\"
            dd if=/dev/zero of=/mnt/full bs=4k 2>/dev/null && exit 1
            rm /mnt/full
            umount /mnt
            {mount}
            volume-contents describe /mnt/kept >/tmp/found
            echo \"full {letter} $(wc -l </tmp/found) $(md5sum </tmp/found)\"
            umount /mnt\n"
        );
    }
    let after = run(lab, &images, &script)?;
    let mut script = String::from("set -e\n");
    for (image, letter) in images.iter().zip('a'..) {
        let expected = told(&before, "before", letter)?;
        assert!(expected.split(' ').next().is_some_and(|lines| lines.len() > 3), "{expected}");
        assert_eq!(told(&after, "after", letter)?, expected, "{letter}");
        assert_eq!(told(&after, "full", letter)?, expected, "{letter}");
        let beyond = told(&after, "beyond", letter)?.parse()?;
        assert_fsck_is_content_but_of_buckets(image, &[beyond]);
        File::options().write(true).open(image)?.set_len(BYTES)?;
        tunefs(image, "-N 3 -S", "");
        assert_fsck_is_content_but_of_buckets(image, &[beyond]);
        let mount = mount(letter);
        script += &format!(
            "{mount}
            fallocate -l 300M /mnt/large
            volume-contents describe /mnt/kept >/tmp/found
            echo \"grown {letter} $(wc -l </tmp/found) $(md5sum </tmp/found)\"
            umount /mnt\n"
        );
    }
    let grown = run(lab, &images, &script)?;
    for (image, letter) in images.iter().zip('a'..) {
        let expected = told(&before, "before", letter)?;
        assert_eq!(told(&grown, "grown", letter)?, expected, "{letter}");
        let beyond = told(&after, "beyond", letter)?.parse()?;
        assert_fsck_is_content_but_of_buckets(image, &[beyond]);
    }
    Ok(())
}
