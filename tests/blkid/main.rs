//! `blkid.ocfs2` compared with util-linux's blkid on the same images.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod against_util_linux;
mod alone;
mod damaged;
mod images;
mod made_by_hand;

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ocfs2_testing::{oracle, program, skip};

/// Output of a run as bytes: labels are not always UTF-8.
#[derive(Eq, PartialEq)]
struct Said {
    status: i32,
    stdout: Vec<u8>,
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}\n{}", self.status, self.stdout.escape_ascii())
    }
}

fn run(program: &Path, dir: &Path, arguments: &[&OsStr]) -> Said {
    let mut command = Command::new(program);
    let output = command.current_dir(dir).args(arguments).env("LC_ALL", "C.UTF-8").output();
    let output = output.unwrap();
    Said { status: output.status.code().unwrap(), stdout: output.stdout }
}

fn ours() -> PathBuf {
    program("blkid.ocfs2")
}

/// Returns util-linux's blkid, if it is of the version whose output ours has.
fn theirs() -> Option<PathBuf> {
    let path = oracle("blkid")?;
    let version = Command::new(&path).arg("-V").output().unwrap();
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    if !version.contains("util-linux 2.38") {
        skip(&format!("{} is {}, not util-linux 2.38", path.display(), version.trim()));
        return None;
    }
    Some(path)
}

/// Removes what only ours prints: tags of OCFS2, and partitions inside the image.
fn without_ours(said: Said) -> Said {
    let has = |line: &[u8], what: &[u8]| line.windows(what.len()).any(|piece| piece == what);
    let mut stdout: Vec<u8> = Vec::new();
    let mut skipping = false;
    for line in said.stdout.split_inclusive(|byte| *byte == b'\n') {
        // The details of a partition are in the table, or in a block of lines at the end.
        let continues = line.starts_with(b" ") || has(&stdout, b"DEVNAME=");
        skipping = has(line, b".img#") || skipping && continues;
        if skipping || line.starts_with(b"OCFS2_") || line.starts_with(b"ID_FS_OCFS2_") {
            continue;
        }
        match line.windows(7).position(|piece| piece == b" OCFS2_") {
            Some(end) => stdout.extend([&line[..end], b"\n"].concat()),
            None => stdout.extend(line),
        }
    }
    // The empty line between the blocks is removed too.
    if skipping && stdout.ends_with(b"\n\n") {
        stdout.pop();
    }
    Said { stdout, ..said }
}
