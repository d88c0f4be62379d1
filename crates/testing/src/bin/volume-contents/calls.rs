//! Calls that change a mounted volume, made on it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ocfs2_ioctl::{Goal, Mounted, NewGroup};

/// Clusters that are written in turn to two files.
const PIECES: usize = 48;

/// Makes every call once, in a folder of a volume whose device has `clusters` more than it.
pub fn all(folder: &Path, cluster_size: usize, clusters: u16) -> Result<()> {
    let open = |path: &Path| Mounted::open(path, true)?.context("not on OCFS2");
    let mounted = open(folder)?;
    reflink(folder, &mounted).context("reflink")?;
    move_extents(folder, cluster_size).context("move extents")?;
    let before = rustix::fs::statvfs(folder)?.f_blocks;
    mounted.extend_last_group(clusters).context("extend the last group")?;
    let after = rustix::fs::statvfs(folder)?;
    let grown = (after.f_blocks - before) * after.f_frsize;
    ensure!(grown == u64::from(clusters) * cluster_size as u64, "{grown} bytes more");
    let refused = mounted.extend_last_group(u16::MAX);
    ensure!(is_invalid(&refused), "more than a group has: {refused:?}");
    // Not behind the end of the volume.
    let refused = mounted.add_group(&NewGroup { block: 8, clusters: 100, free: 99, chain: 0 });
    ensure!(is_invalid(&refused), "a group within the volume: {refused:?}");
    Ok(())
}

fn is_invalid<T>(done: &io::Result<T>) -> bool {
    done.as_ref().is_err_and(|err| err.kind() == io::ErrorKind::InvalidInput)
}

fn reflink(folder: &Path, mounted: &Mounted) -> Result<()> {
    let [old, new, kept] = ["old", "new", "kept"].map(|name| folder.join(name));
    fs::write(&old, vec![7; 300_000])?;
    File::open(&old)?.sync_all()?;
    fs::set_permissions(&old, fs::Permissions::from_mode(0o604))?;
    mounted.reflink(&old, &new, false)?;
    mounted.reflink(&old, &kept, true)?;
    for copy in [&new, &kept] {
        ensure!(fs::read(copy)? == fs::read(&old)?, "{}", copy.display());
        let copy = Mounted::open(copy, true)?.context("not on OCFS2")?;
        ensure!(copy.extents()?.iter().all(|extent| extent.flags.is_shared()), "not shared");
    }
    ensure!(kept.metadata()?.permissions().mode() & 0o777 == 0o604, "the mode was not kept");
    let again = mounted.reflink(&old, &new, false);
    ensure!(again.is_err_and(|err| err.kind() == io::ErrorKind::AlreadyExists));
    Ok(())
}

fn move_extents(folder: &Path, cluster_size: usize) -> Result<()> {
    let paths = ["in pieces", "between"].map(|name| folder.join(name));
    let mut files = [File::create(&paths[0])?, File::create(&paths[1])?];
    for piece in 0..PIECES {
        for file in &mut files {
            file.write_all(&vec![piece as u8; cluster_size])?;
            file.sync_all()?;
        }
    }
    let path = &paths[0];
    let contents = fs::read(path)?;
    let mounted = Mounted::open_to_change(path)?.context("not on OCFS2")?;
    let before = mounted.extents()?.len();
    let goal = Goal::Together { bytes: 0 };
    let moved = mounted.move_extents(0, contents.len() as u64, goal, false)?;
    let after = mounted.extents()?.len();
    println!("{before} extents, then {after}: {moved:?}");
    ensure!(before > 1, "the file is in one piece");
    ensure!(after < before && moved.bytes > 0 && moved.is_complete, "{after}: {moved:?}");
    ensure!(fs::read(path)? == contents, "the contents have changed");
    let read_only = Mounted::open(path, true)?.context("not on OCFS2")?;
    ensure!(read_only.move_extents(0, 1, goal, false).is_err(), "a file open for reading");
    Ok(())
}
