//! `cargo xtask test`: all tests, with what they need of the system.

use anyhow::Result;

use crate::cargo::{self, Profile};
use crate::{apt, kernel, programs};

/// What to test.
#[derive(clap::Args, Debug, Default)]
pub struct Options {
    /// Install nothing, only say what is left out for want of a package
    #[arg(long)]
    no_install: bool,
    /// With the tests that take minutes
    #[arg(long)]
    all: bool,
    /// For `cargo test`, such as `-p ocfs2-mkfs`; by default `--workspace`
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<String>,
}

/// Runs the tests.
pub fn run(options: &Options) -> Result<()> {
    if options.no_install {
        apt::report()?;
    } else {
        apt::provide()?;
        kernel::prepare()?;
    }
    // With overflow checks, and sharing what `cargo test` builds anyway.
    let bin_dir = cargo::build_programs(Profile::Dev)?;
    for program in programs::PROGRAMS {
        program.built_in(&bin_dir)?;
    }
    let mut args = vec!["test".to_owned()];
    if options.args.is_empty() {
        args.push("--workspace".to_owned());
    }
    args.extend_from_slice(&options.args);
    if options.all {
        args.extend(["--", "--include-ignored"].map(str::to_owned));
    }
    cargo::run(cargo::cargo(args).env("OCFS2_BIN_DIR", bin_dir))
}
