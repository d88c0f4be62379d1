//! Programs of others, which judge what ours do.

use std::collections::HashSet;
use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Returns a program of the system (`blkid`, `fsck.ocfs2`). `None`, with a message on standard
/// error that the test is skipped, if it is not installed.
///
/// For names ending in `.ocfs2` only the C tools count, not ours installed in their place.
///
/// ```no_run
/// let Some(fsck) = ocfs2_testing::oracle("fsck.ocfs2") else { return };
/// ```
///
/// # Panics
/// Under `CI=true` if it is not installed: there nothing may be skipped.
pub fn oracle(name: &str) -> Option<PathBuf> {
    let path = if name.ends_with(".ocfs2") { c_tool(name) } else { find_program(name) };
    if path.is_none() {
        skip(&format!("there is no {name} on this machine"));
    }
    path
}

/// Prints on standard error what the calling test skips, and why; once for each test and reason.
/// The test harness does not capture it, as it would `eprintln!`.
///
/// # Panics
/// Under `CI=true`.
pub fn skip(why: &str) {
    let current = thread::current();
    let test = current.name().unwrap_or("test");
    let ci = env::var_os("CI").is_some_and(|ci| ci == "true" || ci == "1");
    assert!(!ci, "{why}, and CI=true allows no test to be skipped");
    static SAID: Mutex<Option<HashSet<String>>> = Mutex::new(None);
    let line = format!("SKIPPED {test}: {why}\n");
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.get_or_insert_with(HashSet::new).insert(line.clone()) {
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

/// Returns the path of a program in `$PATH` or in a folder for administrators, which `$PATH` often
/// lacks.
pub fn find_program(name: &str) -> Option<PathBuf> {
    candidates(name).next()
}

/// Returns the program of that name from the C ocfs2-tools. If ours was installed in its place, it
/// is the one that `cargo xtask install` kept as `NAME.orig`.
pub fn c_tool(name: &str) -> Option<PathBuf> {
    candidates(name).chain(candidates(&format!("{name}.orig"))).find(|path| is_c_tool(path))
}

/// Returns whether the program at `path` is one of the C ocfs2-tools, by the library it links.
pub fn is_c_tool(path: &Path) -> bool {
    let program = std::fs::read(path).unwrap_or_default();
    program.windows(10).any(|bytes| bytes == b"libcom_err")
}

fn candidates(name: &str) -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = env::split_paths(&path).collect();
    let sbin = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let name = name.to_owned();
    folders.into_iter().chain(sbin).map(move |dir| dir.join(&name)).filter(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_the_system_is_found_and_is_no_c_tool() {
        assert!(find_program("sh").is_some());
        assert_eq!(c_tool("sh"), None);
        assert_eq!(find_program("no-such-program"), None);
    }
}
