//! The test programs that cargo builds.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xtask::cargo;

/// A test program.
#[derive(Clone, Debug)]
pub struct Program {
    /// Cargo's name for it, such as `fsck_codes` or `ocfs2_volume`.
    pub name: String,
    /// Path of the program.
    pub path: PathBuf,
    /// Folder of its package, in which cargo would run it.
    pub package: PathBuf,
}

/// Builds the tests of `selection`.
///
/// # Errors
/// If they cannot be built.
pub fn build(selection: &[String]) -> Result<Vec<Program>> {
    let mut build = cargo::cargo(["test", "--no-run", "--message-format=json-render-diagnostics"]);
    eprintln!("\n$ cargo test --no-run {}", selection.join(" "));
    let output = build.args(selection).stderr(Stdio::inherit()).output().context("cargo")?;
    ensure!(output.status.success(), "the tests cannot be built");
    let messages = String::from_utf8(output.stdout).context("what cargo says")?;
    messages.lines().filter_map(|line| program(line).transpose()).collect()
}

/// Returns the test program that a message of cargo is about, if it is about one.
fn program(message: &str) -> Result<Option<Program>> {
    let message: Value = serde_json::from_str(message).context("what cargo says")?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if message["profile"]["test"] != true {
        return Ok(None);
    }
    let (path, manifest) = (text(&message["executable"]), text(&message["manifest_path"]));
    let (Some(path), Some(manifest), Some(name)) =
        (path, manifest, text(&message["target"]["name"]))
    else {
        return Ok(None);
    };
    let package = Path::new(&manifest).parent().context("a manifest is in a folder")?.to_owned();
    Ok(Some(Program { name, path: path.into(), package }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_program_is_told_from_what_else_is_built() {
        let test = r#"{"reason":"compiler-artifact","manifest_path":"/w/tests/Cargo.toml",
            "target":{"name":"gate"},"profile":{"test":true},"executable":"/w/target/gate-1"}"#;
        let found = program(test).unwrap().unwrap();
        assert_eq!((found.name.as_str(), found.path), ("gate", "/w/target/gate-1".into()));
        assert_eq!(found.package, Path::new("/w/tests"));
        assert!(program(&test.replace("true", "false")).unwrap().is_none());
        assert!(program(r#"{"reason":"build-finished","success":true}"#).unwrap().is_none());
        assert!(program("Compiling").is_err());
    }
}
