//! The work that a node is in the middle of when it crashes.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, chown};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::fill::{new_synced, set, share, text};

/// Makes many changes, prints `written` when the journal holds them, and keeps a removed file open
/// until it is killed.
pub fn work(folder: &Path) -> Result<()> {
    fs::create_dir(folder)?;
    let path = |name: &str| folder.join(name);
    for name in ["dropped-1", "dropped-2", "dropped-3", "shrunk"] {
        fs::write(path(name), text(1, 300_000))?;
    }
    let origin = new_synced(&path("origin"), &text(2, 600_000))?;
    let copy = share(&origin, &path("copy"))?;
    fs::create_dir(path("bulk"))?;
    for number in 0..400 {
        File::create_new(path(&format!("bulk/old-{number}")))?;
    }
    // All of this is written to its place; what follows is in the journal only.
    rustix::fs::syncfs(&origin)?;
    for number in 0..300 {
        File::create_new(path(&format!("bulk/new-{number}")))?;
    }
    for number in (0..400).step_by(2) {
        fs::remove_file(path(&format!("bulk/old-{number}")))?;
    }
    for number in 0..20 {
        fs::create_dir_all(path(&format!("folders/{number}")))?;
        fs::write(path(&format!("folders/{number}/file")), text(number, 100))?;
    }
    for at in [4_000, 120_000, 240_000] {
        copy.write_all_at(b"rewritten\n", at)?;
    }
    fs::rename(path("bulk/new-1"), path("moved"))?;
    set(&path("moved"), "user.large", &text(3, 2_000))?;
    fs::hard_link(path("moved"), path("moved-too"))?;
    chown(path("moved"), Some(2001), Some(3001))?;
    // Their clusters go to the truncate log, which frees them two seconds later.
    fs::remove_file(path("dropped-1"))?;
    fs::remove_file(path("dropped-2"))?;
    File::options().write(true).open(path("shrunk"))?.set_len(5_000)?;
    // Open and removed, so it is an orphan.
    let mut open = File::open(path("dropped-3"))?;
    fs::remove_file(path("dropped-3"))?;
    // The journal's transaction is on disk, its blocks are not written to their places yet.
    new_synced(&path("synced"), &text(4, 20_000))?;
    fs::write(path("maybe-lost"), "after the last fsync\n")?;
    println!("written");
    open.read_exact(&mut [0])?;
    thread::sleep(Duration::from_secs(1000));
    Ok(())
}

/// Removes a folder with everything in it and keeps all of it open; prints `removed` when that is
/// on disk, and waits to be killed.
pub fn orphan(folder: &Path) -> Result<()> {
    let limit = Rlimit { current: Some(1 << 17), maximum: Some(1 << 17) };
    setrlimit(Resource::Nofile, limit)?;
    let mut open = Vec::new();
    remove(folder, &mut open)?;
    let parent = File::open(folder.parent().unwrap_or(folder))?;
    rustix::fs::syncfs(&parent)?;
    println!("removed {}", open.len());
    thread::sleep(Duration::from_secs(1000));
    Ok(())
}

fn remove(path: &Path, open: &mut Vec<OwnedFd>) -> Result<()> {
    open.push(rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?);
    if !path.symlink_metadata()?.is_dir() {
        return Ok(fs::remove_file(path)?);
    }
    for entry in path.read_dir()?.collect::<Result<Vec<_>, _>>()? {
        remove(&entry.path(), open)?;
    }
    Ok(fs::remove_dir(path)?)
}
