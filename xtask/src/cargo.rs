//! Running cargo and other programs in the folder of the workspace.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Returns the folder of the workspace.
pub fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// Returns the folder that cargo builds into.
pub fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Returns whether nothing may be skipped on this machine.
pub fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|ci| ci == "true" || ci == "1")
}

/// Returns a command for cargo, in the folder of the workspace, without standard input.
pub fn cargo(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).args(args).stdin(Stdio::null());
    // What a second build would reuse takes gigabytes, and there is none.
    if is_ci() && env::var_os("CARGO_INCREMENTAL").is_none() {
        cargo.env("CARGO_INCREMENTAL", "0");
    }
    // Set by the cargo that runs this program, for this program.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_")) {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Prints the command, runs it, and fails if it fails.
pub fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    eprintln!("\n$ {line}");
    let status = command.status().with_context(|| format!("cannot start {line}"))?;
    ensure!(status.success(), "{line}: {status}");
    Ok(())
}

/// Returns the command as one would type it.
fn line(command: &Command) -> String {
    let set = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_string_lossy(), quoted(value?))));
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args()).map(quoted);
    set.chain(words).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    if word.contains(' ') { format!("'{word}'") } else { word.into_owned() }
}

/// Builds all programs and returns their folder.
pub fn build_programs(profile: Profile) -> Result<PathBuf> {
    let name = match profile {
        Profile::Dev => "dev",
        Profile::Release => "release",
    };
    run(&mut cargo(["build", "--workspace", "--bins", "--profile", name]))?;
    Ok(target_dir().join(profile.folder()))
}

/// Builds all programs and the tests of `targets`, such as `--test=kernel`, and returns the folder
/// of the programs.
///
/// Tests need more features of some libraries than the programs do: if they were built separately,
/// the programs and everything they depend on would be built twice.
pub fn build_with_tests(targets: &[&str]) -> Result<PathBuf> {
    run(cargo(["build", "--workspace", "--bins"]).args(targets))?;
    Ok(target_dir().join(Profile::Dev.folder()))
}

/// A cargo profile.
#[derive(Clone, Copy, Debug)]
pub enum Profile {
    /// With overflow checks and assertions.
    Dev,
    /// As installed.
    Release,
}

impl Profile {
    /// Returns the name of the folder that cargo builds into, below its target folder.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}
