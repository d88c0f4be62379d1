//! Files in which programs keep something for their next run.

use std::env;
use std::ffi::OsString;
use std::fs::{DirBuilder, Metadata};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Returns the path of the file `name` in the user's folder for states, which is made if it is not
/// there. `None` if there is no such folder, or if folder or file may be somebody else's: root may have
/// the home of another user, who could have put a link there. A file of more than `most` bytes is not
/// used either.
pub fn state_file(name: &str, most: u64) -> Option<PathBuf> {
    let (base, below) = base(env::var_os("XDG_STATE_HOME"), env::var_os("HOME"))?;
    let is_own = |metadata: &Metadata| metadata.uid() == rustix::process::geteuid().as_raw();
    if !base.metadata().is_ok_and(|it| is_own(&it)) {
        return None;
    }
    let folder = base.join(below);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).ok()?;
    let path = folder.join(name);
    match path.symlink_metadata() {
        Ok(metadata) => {
            let is_usable = metadata.is_file() && metadata.len() <= most;
            (is_usable && is_own(&metadata)).then_some(path)
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
