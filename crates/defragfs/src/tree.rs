//! The files below a folder.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::vec;

use anyhow::{Context, Result, bail, ensure};
use ocfs2_cli::shown;
use ocfs2_ioctl::Mounted;

/// Returns the file or folder that a target stands for.
///
/// # Errors
/// It does not exist, is neither a file nor a folder nor a device that is mounted, or is not on an OCFS2
/// volume.
pub(crate) fn root_of(target: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::FileTypeExt;
    let path = fs::canonicalize(target).with_context(|| shown(target))?;
    let kind = path.metadata().with_context(|| shown(target))?.file_type();
    let roots = match kind.is_block_device() {
        true => ocfs2_device::holders::mount_points(&path),
        false => vec![path],
    };
    ensure!(!roots.is_empty(), "{}: it is not mounted on this host", shown(target));
    for root in roots {
        if Mounted::open(&root, false).with_context(|| shown(target))?.is_some() {
            return Ok(root);
        }
    }
    bail!("{}: it is not on an OCFS2 volume", shown(target))
}

/// Regular files below a folder that are on the same file system, in the order of their paths; or just
/// one file.
#[derive(Debug)]
pub(crate) struct Tree {
    device: u64,
    levels: Vec<Level>,
    /// Paths up to this one are left out.
    after: Option<PathBuf>,
}

#[derive(Debug)]
struct Level {
    folder: PathBuf,
    names: vec::IntoIter<OsString>,
}

/// A path that cannot be read.
pub(crate) type Unreadable = (PathBuf, io::Error);

impl Tree {
    /// The files below `root`, or `root` itself, after the path `after`.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn new(root: &Path, after: Option<PathBuf>) -> io::Result<Self> {
        let metadata = root.metadata()?;
        let level = match (metadata.is_dir(), root.parent(), root.file_name()) {
            (false, Some(folder), Some(name)) => {
                Level { folder: folder.to_owned(), names: vec![name.to_owned()].into_iter() }
            }
            _ => Level { folder: root.to_owned(), names: names(root)? },
        };
        Ok(Self { device: metadata.dev(), levels: vec![level], after })
    }

    /// Whether all of a path is before the place where this goes on.
    fn is_done(&self, path: &Path) -> bool {
        let Some(after) = &self.after else { return false };
        path <= after.as_path() && (path == after || !after.starts_with(path))
    }

    fn visit(&mut self, path: PathBuf) -> Result<Option<PathBuf>, Unreadable> {
        let metadata = match path.symlink_metadata() {
            Ok(metadata) => metadata,
            // Removed meanwhile.
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err((path, err)),
        };
        if metadata.dev() != self.device {
            return Ok(None);
        }
        if metadata.is_file() {
            return Ok(Some(path));
        }
        if metadata.is_dir() && !is_lost_and_found(&path) {
            match names(&path) {
                Ok(names) => self.levels.push(Level { folder: path, names }),
                Err(err) => return Err((path, err)),
            }
        }
        Ok(None)
    }
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> io::Result<vec::IntoIter<OsString>> {
    let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names.into_iter())
}

/// Whether a folder is that of the volume for files without names.
fn is_lost_and_found(path: &Path) -> bool {
    let Some(above) = path.parent().filter(|_| path.ends_with("lost+found")) else { return false };
    let device = |path: &Path| path.metadata().map(|it| it.dev()).ok();
    // A mount point is on another device than the folder that it is in.
    device(above) != device(&above.join("..")) || above.parent().is_none()
}

impl Iterator for Tree {
    type Item = Result<PathBuf, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let level = self.levels.last_mut()?;
            let Some(name) = level.names.next() else {
                self.levels.pop();
                continue;
            };
            let path = level.folder.join(name);
            if self.is_done(&path) {
                continue;
            }
            match self.visit(path) {
                Ok(None) => {}
                Ok(Some(file)) => return Some(Ok(file)),
                Err(unreadable) => return Some(Err(unreadable)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_in_order_and_go_on_after_any_of_them() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path();
        fs::create_dir_all(root.join("b/a")).unwrap();
        fs::create_dir(root.join("b.c")).unwrap();
        for name in ["a", "b/a/x", "b/a.x", "b/z", "b.c/y", "c"] {
            fs::write(root.join(name), name).unwrap();
        }
        std::os::unix::fs::symlink("a", root.join("link")).unwrap();
        std::os::unix::fs::symlink("..", root.join("b/loop")).unwrap();
        let walk = |after| -> Vec<PathBuf> {
            Tree::new(root, after).unwrap().map(Result::unwrap).collect()
        };
        let all = walk(None);
        assert_eq!(all.len(), 6);
        assert!(all.is_sorted());
        for (index, path) in all.iter().enumerate() {
            assert_eq!(walk(Some(path.clone())), all[index + 1..]);
        }
        assert_eq!(
            Tree::new(&all[0], None).unwrap().map(Result::unwrap).collect::<Vec<_>>(),
            all[..1]
        );
        // What was removed meanwhile is a place to go on as well.
        assert_eq!(walk(Some(root.join("b/b"))), all[3..]);
    }
}
