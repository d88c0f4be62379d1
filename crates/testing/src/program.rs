//! Our own programs, built.

use std::collections::HashMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// The path of one of our programs by the name the system calls it, such as `mkfs.ocfs2`.
///
/// It is looked for in the folder `$OCFS2_BIN_DIR`, which `cargo xtask test` sets; without
/// that variable cargo builds it, with the profile of the running test.
pub fn program(name: &str) -> PathBuf {
    // Cargo does not accept a dot in a binary's name.
    let binary = name.replace('.', "-");
    if let Some(dir) = env::var_os("OCFS2_BIN_DIR") {
        let path = Path::new(&dir).join(&binary);
        assert!(path.is_file(), "OCFS2_BIN_DIR is set, but {} is not there", path.display());
        return path;
    }
    static BUILT: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let paths = built.get_or_insert_with(HashMap::new);
    paths.entry(binary.clone()).or_insert_with(|| build(&binary)).clone()
}

fn build(binary: &str) -> PathBuf {
    // The test is target/PROFILE/deps/NAME-HASH; its build directory may have been moved.
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
        .args(["build", "--quiet", "--workspace", "--profile", profile, "--bin", binary])
        .arg("--target-dir")
        .arg(folder.parent().unwrap())
        .stdin(Stdio::null())
        .output()
        .expect("cargo starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo build --bin {binary} failed:\n{stderr}");
    let path = folder.join(binary);
    assert!(path.is_file(), "cargo built {binary}, but {} is not there", path.display());
    path
}
