//! The kernel reads what `mkfs.ocfs2 -d` puts into a volume, and can go on writing to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use ocfs2_testing::vm::Lab;
use ocfs2_testing::{Run, Scratch, find_program, program, skip};

use crate::lab::shared_out;
use crate::volume::{LOCAL, NEW_JOURNAL, assert_fsck_is_content_but_of_hashes, mkfs};

/// Everything that a folder in memory can hold, including attributes of any length, which most file
/// systems on disks do not support.
const KINDS: [&str; 8] =
    ["xattrs", "many=1500", "sizes", "names", "special", "folders=300", "owners", "sparse"];

/// Makes a folder with files of every kind. `None`, with a message, if it cannot be made.
pub fn tree(kinds: &[&str]) -> Option<tempfile::TempDir> {
    let Ok(folder) = tempfile::tempdir_in("/dev/shm") else {
        skip("there is no /dev/shm");
        return None;
    };
    let filled = folder.path().join("filled");
    let made = Run::new(program("volume-contents"))
        .arg("fill")
        .arg(&filled)
        .arg("4096")
        .args(kinds)
        .timeout(Duration::from_secs(60))
        .output();
    if made.status != 0 {
        skip(&format!("files of every kind need root: {made}"));
        return None;
    }
    Some(folder)
}

pub fn describe(folder: &Path) -> String {
    Run::new(program("volume-contents")).arg("describe").arg(folder).success().stdout
}

/// Makes an image of that name with options for mkfs, and files.
pub type Make<'a> = &'a (dyn Fn(&Lab, &Scratch, &str, &str) -> Result<PathBuf> + Sync);

/// Makes an image with the files of a folder or an archive by `mkfs.ocfs2 -d`.
fn made(source: &Path) -> impl Fn(&Lab, &Scratch, &str, &str) -> Result<PathBuf> {
    move |lab, scratch, name, options| {
        let mut all: Vec<_> = options.split_whitespace().chain(LOCAL).collect();
        let sign = lab.name_hash().to_string();
        let source = source.to_str().context("a path in UTF-8")?;
        all.extend(["-N", "2", "-d", source, "--name-hash", &sign]);
        Ok(mkfs(scratch, name, 2 << 30, &all))
    }
}

/// Makes a volume with each of the options. Demands that a kernel describes its files as `expected`
/// and writes among them, and that fsck finds nothing afterwards.
pub fn assert_the_kernel_reads(expected: &str, options: &[&str], make: Make<'_>) -> Result<()> {
    shared_out(options, |lab, options| assert_a_kernel_reads(lab, expected, &options, make))
}

/// Does the same with one kernel.
fn assert_a_kernel_reads(
    lab: &Lab,
    expected: &str,
    options: &[&str],
    make: Make<'_>,
) -> Result<()> {
    let scratch = Scratch::new();
    fs::write(scratch.join("expected"), expected)?;
    let mut images = Vec::new();
    let mut script = String::from("set -e\n");
    for (options, letter) in options.iter().zip('a'..) {
        let image = make(lab, &scratch, &format!("{letter}.img"), options)?;
        assert_fsck_is_content_but_of_hashes(&image, lab.name_hash());
        images.push(image);
        let quota = if options.contains("max-features") { "-o usrquota,grpquota" } else { "" };
        script += &format!(
            "echo 'volume {letter}: {options}'
            mount-volume {quota} /dev/vd{letter} /mnt
            volume-contents describe /mnt/filled >/tmp/found
            echo \"lines {letter} $(wc -l </tmp/found) $(md5sum </tmp/found)\"
            for name in 1 2 3 4 5 6 7 8 9; do
                mkdir /mnt/filled/many/new-$name /mnt/new-$name
                echo $name >/mnt/filled/many/new-$name/file
                echo $name >>/mnt/filled/many/more
            done
            [ -z \"$(find /mnt/filled/many -name 'new-*' | grep -v new-)\" ]
            cp /mnt/filled/sizes/* /mnt/new-1/
            rm -r /mnt/filled/sizes /mnt/new-9
            umount /mnt\n"
        );
    }
    let run = lab
        .vm()
        .disks(&images)
        .program(program("volume-contents"))
        .script(script)
        .allow(NEW_JOURNAL)
        .timeout(Duration::from_secs(900))
        .run()?;
    run.assert_ok();
    let digest = Run::new(find_program("md5sum").context("md5sum")?)
        .arg(scratch.join("expected"))
        .success()
        .stdout;
    let digest = digest.split_whitespace().next().context("a digest")?;
    let count = expected.lines().count();
    assert!(count > 3000, "{count} lines");
    for (_, letter) in images.iter().zip('a'..) {
        let line = format!("lines {letter} {count} {digest}");
        assert!(run.output().contains(&line), "not `{line}`: {}", run.output());
    }
    for image in &images {
        assert_fsck_is_content_but_of_hashes(image, lab.name_hash());
    }
    Ok(())
}

const OPTIONS: [&str; 6] = [
    "",
    "-b 512 -C 4K",
    "-b 1K -C 64K --fs-feature-level=max-features",
    "-b 2K --fs-features=noinline-data,metaecc",
    "--fs-feature-level=max-features -C 1M -J size=16M",
    "--fs-feature-level=max-compat --fs-features=xattr,sparse",
];

#[test]
fn the_kernel_reads_the_files_of_a_folder() -> Result<()> {
    let Some(folder) = tree(&KINDS) else { return Ok(()) };
    let expected = describe(&folder.path().join("filled"));
    assert_the_kernel_reads(&expected, &OPTIONS, &made(folder.path()))
}

#[test]
fn the_kernel_reads_the_files_of_an_archive() -> Result<()> {
    let Some(folder) = tree(&KINDS) else { return Ok(()) };
    let Some(tar) = find_program("tar") else {
        skip("there is no tar");
        return Ok(());
    };
    // An archive cannot contain sockets.
    let socket = Run::new("find").arg(folder.path()).args(["-type", "s", "-delete"]);
    socket.success();
    let expected = describe(&folder.path().join("filled"));
    let scratch = Scratch::new();
    let archive = scratch.join("files.tar");
    Run::new(&tar)
        .args(["--create", "--sparse", "--numeric-owner", "--format=posix", "--xattrs"])
        .args(["--xattrs-include=*", "--acls", "--file"])
        .arg(&archive)
        .arg("--directory")
        .args([folder.path(), Path::new(".")])
        .success();
    assert_the_kernel_reads(&expected, &OPTIONS[..2], &made(&archive))
}

#[test]
fn the_kernel_finds_every_name_by_an_index_of_two_levels() -> Result<()> {
    let Some(folder) = tree(&["many=6000", "sizes"]) else { return Ok(()) };
    let expected = describe(&folder.path().join("filled"));
    assert_the_kernel_reads(&expected, &["-b 512"], &made(folder.path()))
}
