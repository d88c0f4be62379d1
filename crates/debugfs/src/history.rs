//! The file with the lines of earlier shells. Without it the shell is as good: nothing about it is
//! an error.

use std::env;
use std::ffi::OsString;
use std::fs::{DirBuilder, Metadata};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The most lines that are kept.
pub const MOST_LINES: usize = 1000;
/// The greatest file that is read, in bytes.
const MOST_BYTES: u64 = 1 << 20;

/// Where the file is, if it may be used; its folder is made.
pub fn path() -> Option<PathBuf> {
    let (base, below) = base(env::var_os("XDG_STATE_HOME"), env::var_os("HOME"))?;
    // Root may have the home of somebody else, who could have put a link there.
    let is_own = |metadata: Metadata| metadata.uid() == rustix::process::geteuid().as_raw();
    if !base.metadata().is_ok_and(is_own) {
        return None;
    }
    let folder = base.join(below);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).ok()?;
    let path = folder.join("debugfs_history");
    match path.symlink_metadata() {
        Ok(metadata) => {
            let is_usable = metadata.is_file() && metadata.len() <= MOST_BYTES;
            (is_usable && is_own(metadata)).then_some(path)
        }
        Err(_) => Some(path),
    }
}

/// The folder that has to be this user's, and the folder of the file below it.
fn base(state: Option<OsString>, home: Option<OsString>) -> Option<(PathBuf, &'static Path)> {
    // As the specification of these folders says, others are ignored.
    let absolute = |path: Option<OsString>| path.map(PathBuf::from).filter(|it| it.is_absolute());
    match absolute(state) {
        Some(state) => Some((state, Path::new("ocfs2"))),
        None => Some((absolute(home)?, Path::new(".local/state/ocfs2"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_for_states_comes_before_that_of_the_user() {
        let of = |state: &str, home: &str| {
            let found = base(Some(state.into()), Some(home.into()));
            found.map(|(base, below)| base.join(below).to_str().unwrap().to_owned())
        };
        assert_eq!(of("/s", "/h").as_deref(), Some("/s/ocfs2"));
        assert_eq!(of("s", "/h").as_deref(), Some("/h/.local/state/ocfs2"));
        assert_eq!(of("", "/h").as_deref(), Some("/h/.local/state/ocfs2"));
        assert_eq!(of("", "h"), None);
        assert_eq!(base(None, None), None);
    }
}
