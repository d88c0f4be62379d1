//! `cargo xtask kernel`: only the tests that mount volumes with the Linux kernel.

use anyhow::{Context, Result, bail};
use ocfs2_testing::vm;

use crate::{apt, story};
use xtask::cargo::{self, is_ci};

/// Which tests to run.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Also run the slow ones: every block size with every cluster size
    #[arg(long)]
    all: bool,
    /// Run only the story of two servers, whose transcript becomes docs/walk-through.md and a part
    /// of README.md
    #[arg(long, conflicts_with = "all")]
    story: bool,
    /// Arguments for the test program, such as the name of a test
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<String>,
}

/// Runs the tests.
pub fn run(options: &Options) -> Result<()> {
    apt::provide()?;
    prepare()?;
    let bin_dir = cargo::build_with_tests(&["--test=kernel"])?;
    let mut args = vec!["test", "--workspace", "--test=kernel", "--"];
    if options.all {
        args.push("--include-ignored");
    }
    args.extend(options.args.iter().map(String::as_str));
    if !options.story {
        return cargo::run(cargo::cargo(args).env("OCFS2_BIN_DIR", bin_dir));
    }
    args.push("story::");
    let folder = tempfile::tempdir()?;
    let transcript = folder.path().join("transcript");
    let mut test = cargo::cargo(args);
    cargo::run(test.env("OCFS2_BIN_DIR", bin_dir).env("OCFS2_TRANSCRIPT", &transcript))?;
    let text = std::fs::read_to_string(&transcript).context("the story was not told")?;
    story::write(&cargo::root(), &text)
}

/// Puts the kernel into the cache, and reports what virtual machines lack.
///
/// # Errors
/// Under `CI=true`, if anything is missing.
pub fn prepare() -> Result<()> {
    let missing = vm::prepare()?;
    for missing in &missing {
        eprintln!("LEFT OUT: what the Linux kernel judges: {missing}");
    }
    if is_ci() && !missing.is_empty() {
        bail!("virtual machines lack something, and CI=true allows nothing to be left out");
    }
    Ok(())
}
