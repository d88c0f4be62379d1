//! Paths of our own programs, built.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Returns the path of one of our programs by the name the system uses, such as `mkfs.ocfs2`; or
/// `xtask`.
pub fn program(name: &str) -> PathBuf {
    // Cargo does not accept a dot in the name of a binary.
    let path = program_dir().join(name.replace('.', "-"));
    assert!(path.is_file(), "{} is not there", path.display());
    path
}

/// Returns the folder of our programs: `$OCFS2_BIN_DIR`, which `cargo xtask test` sets. Without
/// that variable cargo builds them, once, with the profile of the running test.
pub fn program_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| env::var_os("OCFS2_BIN_DIR").map_or_else(build, PathBuf::from))
}

fn build() -> PathBuf {
    // The test is target/PROFILE/deps/NAME-HASH, wherever target may be.
    let test = env::current_exe().unwrap();
    let folder = test.ancestors().find(|dir| dir.ends_with("deps")).and_then(Path::parent);
    let folder = folder.expect("a test runs from cargo's target folder");
    let profile = match folder.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        profile => profile,
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root)
        .args(["build", "--quiet", "--workspace", "--bins", "--profile", profile])
        .arg("--target-dir")
        .arg(folder.parent().unwrap())
        .stdin(Stdio::null())
        .output()
        .expect("cargo starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo build --bins failed:\n{stderr}");
    folder.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Run;

    #[test]
    fn a_program_of_ours_is_built_and_runs() {
        let help = Run::new(program("xtask")).arg("--help").success().stdout;
        assert!(help.contains("Usage: cargo xtask"), "{help}");
    }
}
