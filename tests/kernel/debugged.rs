//! The kernel reads what commands of `debugfs.ocfs2 -w` have changed, and can go on writing to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use ocfs2_testing::debugfs_commands::{Commands, IN_A_SEQUENCE, SHAPES};
use ocfs2_testing::vm::Lab;
use ocfs2_testing::{Random, Run, Scratch, program};

use crate::filled::describe;
use crate::lab::shared_out;
use crate::volume::{LOCAL, NEW_JOURNAL, mkfs};

/// Number of sequences of commands for each volume.
const SEQUENCES: usize = 60;

/// Makes a volume, changes it, and returns it with a description of its files.
fn changed(scratch: &Scratch, index: usize, letter: char) -> Result<(PathBuf, String)> {
    let source = scratch.join(format!("source-{letter}"));
    fs::create_dir_all(source.join("sub"))?;
    fs::write(source.join("large"), vec![7; 300_000])?;
    fs::write(source.join("sub/inner"), vec![8; 10_000])?;
    let options = SHAPES[index].split_whitespace().chain(LOCAL);
    let options: Vec<_> = options.chain(["-N", "2", "-J", "size=4M", "-d"]).collect();
    let source = source.to_str().context("a path in UTF-8")?;
    let image =
        mkfs(scratch, &format!("{letter}.img"), 64 << 20, &[&options[..], &[source]].concat());

    let local = scratch.join("local");
    let mut commands = Commands::new(Random(0x6b65_726e + index as u64), &local);
    let mut changes = 0;
    for _ in 0..SEQUENCES {
        let len = commands.random.below(40_000);
        fs::write(&local, commands.random.bytes(len))?;
        let lines: String = (0..IN_A_SEQUENCE).map(|_| commands.next_line() + "\n").collect();
        let run = Run::new(program("debugfs.ocfs2")).arg("-w").arg(&image).stdin(lines).output();
        changes += run.stdout.matches("changed\n").count();
    }
    assert!(changes > 2 * SEQUENCES, "{changes} changes");
    Run::new(program("fsck.ocfs2")).arg("-fn").arg(&image).success();
    Ok((image.clone(), dumped(scratch, &image, letter)?))
}

/// Describes the files of a volume as `debugfs.ocfs2` reads them.
fn dumped(scratch: &Scratch, image: &Path, letter: char) -> Result<String> {
    let folder = scratch.join(format!("dump-{letter}"));
    fs::create_dir(&folder)?;
    let rdump = format!("rdump / {}", folder.display());
    let done = Run::new(program("debugfs.ocfs2")).args(["-R", &rdump]).arg(image).output();
    // Links and devices cannot have the attributes of users that the commands give them.
    let is_known = |line: &str| {
        line.contains("attributes could not be set, the first: Operation")
            || line.contains("the copy is not complete: 1 file incomplete")
    };
    assert!(done.stderr.lines().all(is_known), "{done}");
    Ok(shown(&describe(&folder)))
}

/// The lines of a description that every kernel shows alike: not all list attributes of devices,
/// pipes and sockets. The folder itself is not of the volume.
fn shown(all: &str) -> String {
    let is_special = |line: &&str| {
        let kinds = ["socket", "fifo", "character special file", "block special file"];
        kinds.iter().any(|kind| line.starts_with(&format!("{kind}|")))
    };
    let names = all.lines().filter(is_special).filter_map(|line| line.rsplit_once("|./"));
    let special: Vec<_> = names.map(|(_, name)| format!("# file: {name}")).collect();
    let mut is_shown = true;
    let lines = all.lines().filter(|line| {
        if line.starts_with("# file: ") {
            is_shown = !special.iter().any(|file| file == line);
        }
        is_shown && !line.ends_with("|.")
    });
    lines.map(|line| format!("{line}\n")).collect()
}

fn assert_a_kernel_reads(lab: &Lab, shapes: &[usize]) -> Result<()> {
    let scratch = Scratch::in_memory();
    let mut images = Vec::new();
    let mut script = String::from("set -e\n");
    for (index, letter) in shapes.iter().zip('a'..) {
        let (image, files) = changed(&scratch, *index, letter)?;
        assert!(files.lines().count() > 15, "{files}");
        let quota = ["usrquota", "grpquota"].into_iter().filter(|it| SHAPES[*index].contains(it));
        let quota: Vec<_> = quota.collect();
        let quota = match quota.is_empty() {
            true => String::new(),
            false => format!("-o {}", quota.join(",")),
        };
        script += &format!(
            "mount-volume {quota} /dev/vd{letter} /mnt
            volume-contents describe /mnt >/share/{letter}.found
            mkdir /mnt/by-the-kernel
            cp -r /mnt/sub /mnt/by-the-kernel/ 2>/dev/null || true
            for name in 1 2 3 4 5 6 7 8 9; do echo $name >/mnt/by-the-kernel/file-$name; done
            for file in $(find /mnt -type f -size -2000); do echo more >>$file; done
            rm /mnt/by-the-kernel/file-3
            umount /mnt\n"
        );
        images.push((image, files));
    }
    let run = lab
        .vm()
        .disks(images.iter().map(|(image, _)| image))
        .share(scratch.path())
        .program(program("volume-contents"))
        .script(script)
        .allow(NEW_JOURNAL)
        .timeout(Duration::from_secs(600))
        .run()?;
    run.assert_ok();
    for ((image, files), letter) in images.iter().zip('a'..) {
        let found = fs::read_to_string(scratch.join(format!("{letter}.found")))?;
        assert_eq!(*files, shown(&found), "{letter}");
        Run::new(program("fsck.ocfs2")).arg("-fn").arg(image).success();
    }
    Ok(())
}

#[test]
fn the_kernel_reads_what_debugfs_has_changed() -> Result<()> {
    let shapes: Vec<_> = (0..SHAPES.len()).collect();
    shared_out(&shapes, |lab, shapes| assert_a_kernel_reads(lab, &shapes))
}
