//! The kernel reads what was written through FUSE, and can go on writing to it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, ensure};
use ocfs2_testing::vm::Lab;
use ocfs2_testing::{Run, Scratch, find_program, program, skip};

use crate::filled::{assert_the_kernel_reads, describe, tree};
use crate::lab::lab;
use crate::volume::{LOCAL, NEW_JOURNAL, assert_fsck_is_content_but_of_hashes, mkfs};

/// Makes a volume into which `source` is copied through FUSE, with every file written twice. With
/// `kill` the program is killed at the end, when all was synced.
fn copied(
    source: &Path,
    lab: &Lab,
    scratch: &Scratch,
    name: &str,
    options: &str,
    kill: bool,
) -> Result<PathBuf> {
    let all: Vec<_> = options.split_whitespace().chain(LOCAL).chain(["-N", "2"]).collect();
    let image = mkfs(scratch, name, 2 << 30, &all);
    let folder = scratch.join(format!("{name}.mnt"));
    fs::create_dir(&folder)?;
    let sign = lab.name_hash().to_string();
    let mut child = Command::new(program("ocfs2-fuse"))
        .args(["-f", "--name-hash", &sign, "-o", "dev"])
        .args([&image, &folder])
        .stdin(Stdio::null())
        .spawn()?;
    let start = Instant::now();
    while fs::read_dir(&folder)?.next().is_none() {
        ensure!(child.try_wait()?.is_none() && start.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(20));
    }
    let copy = |to: &str| {
        let run = Run::new("cp").args(["-a", "--sparse=always"]).arg(source.join("filled"));
        run.arg(folder.join(to)).timeout(Duration::from_secs(300)).output().expect_status(0)
    };
    copy("first");
    Run::new("rm").arg("-r").arg(folder.join("first")).timeout(Duration::from_secs(100)).success();
    copy("filled");
    if kill {
        rustix::fs::fsync(fs::File::open(folder.join("filled"))?)?;
        child.kill()?;
        child.wait()?;
        Run::new("umount").arg("-l").arg(&folder).success();
    } else {
        Run::new("umount").arg(&folder).success();
        ensure!(child.wait()?.success());
    }
    Ok(image)
}

fn is_possible() -> bool {
    let is_possible = Path::new("/dev/fuse").exists();
    if !is_possible {
        skip("there is no /dev/fuse");
    }
    is_possible
}

#[test]
fn the_kernel_reads_what_was_written_through_fuse() -> Result<()> {
    let kinds =
        ["many=1500", "sizes", "names", "special", "folders=300", "owners", "sparse", "xattrs"];
    if !is_possible() {
        return Ok(());
    }
    let Some(folder) = tree(&kinds) else { return Ok(()) };
    let expected = describe(&folder.path().join("filled"));
    let options = ["", "-b 1K -C 64K --fs-features=metaecc,noinline-data"];
    assert_the_kernel_reads(&expected, &options, &|lab, scratch, name, options| {
        copied(folder.path(), lab, scratch, name, options, false).context(name.to_owned())
    })
}

#[test]
fn the_kernel_recovers_what_a_killed_program_has_left() -> Result<()> {
    if !is_possible() {
        return Ok(());
    }
    let Some(lab) = lab() else { return Ok(()) };
    let Some(folder) = tree(&["many=500", "sizes", "names", "folders=100"]) else { return Ok(()) };
    let (scratch, expected) = (Scratch::new(), describe(&folder.path().join("filled")));
    fs::write(scratch.join("expected"), &expected)?;
    let image = copied(folder.path(), &lab, &scratch, "killed.img", "", true)?;
    let script = "set -e
        mount-volume /dev/vda /mnt
        volume-contents describe /mnt/filled >/tmp/found
        echo \"lines $(wc -l </tmp/found) $(md5sum </tmp/found)\"
        umount /mnt
        mount-volume /dev/vda /mnt
        mkdir /mnt/after
        umount /mnt\n";
    // Without a cluster, Linux has read the root before it replays the journal of its own slot, and
    // counts its links from what it was then: only the next mount may add a directory to it.
    let run = lab
        .vm()
        .disks([&image])
        .program(program("volume-contents"))
        .script(script)
        .allow(NEW_JOURNAL)
        .timeout(Duration::from_secs(600))
        .run()?;
    run.assert_ok();
    let md5sum = Run::new(find_program("md5sum").context("md5sum")?);
    let digest = md5sum.arg(scratch.join("expected")).success().stdout;
    let digest = digest.split_whitespace().next().context("a digest")?;
    let line = format!("lines {} {digest}", expected.lines().count());
    assert!(run.output().contains(&line), "not `{line}`: {}", run.output());
    assert_fsck_is_content_but_of_hashes(&image, lab.name_hash());
    Ok(())
}
