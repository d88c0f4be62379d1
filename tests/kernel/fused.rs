//! The kernel reads what was written through FUSE, and can go on writing to it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, ensure};
use ocfs2_testing::vm::Lab;
use ocfs2_testing::{Run, Scratch, program, skip};

use crate::filled::{assert_the_kernel_reads, describe, tree};
use crate::volume::{LOCAL, mkfs};

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
