//! `cargo xtask test`: all tests, with the packages and kernels that they need.

mod outcome;
mod programs;
mod run;

use std::path::PathBuf;

use anyhow::Result;
use xtask::cargo::{self, Profile};

use crate::workshop;

/// What to test.
#[derive(clap::Args, Debug, Default)]
pub struct Options {
    /// Run only tests whose name contains one of these
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Install nothing, only report what is skipped because a package is missing
    #[arg(long)]
    no_install: bool,
    /// Also run the tests that take minutes
    #[arg(long)]
    all: bool,
    /// Arguments for cargo that select the tests, such as `-p ocfs2-mkfs`; by default `--workspace`
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<String>,
}

impl Options {
    /// Returns the arguments that select the tests that cargo builds.
    fn selection(&self) -> Vec<String> {
        if self.args.is_empty() { vec!["--workspace".to_owned()] } else { self.args.clone() }
    }

    /// Returns whether the examples in the documentation are among them. Cargo does not run them if
    /// one kind of target is selected.
    fn has_examples(&self) -> bool {
        let kinds = ["--test", "--lib", "--bin", "--bench", "--example"];
        self.names.is_empty()
            && !self.args.iter().any(|arg| kinds.iter().any(|it| arg.starts_with(it)))
    }
}

/// Runs the tests. Returns the folder of the programs they ran.
pub fn run(options: &Options) -> Result<PathBuf> {
    let bin_dir = match options.args.is_empty() {
        true => cargo::build_with_tests(&["--all-targets"])?,
        false => cargo::build_programs(Profile::Dev)?,
    };
    let no_install = options.no_install.then_some("--no-install");
    workshop::run_built(&bin_dir, ["provide"].into_iter().chain(no_install))?;
    let programs = programs::build(&options.selection())?;
    let mut args = options.names.clone();
    if options.all {
        args.push("--include-ignored".to_owned());
    }
    let outcomes = run::all(programs, &run::Terms { args, bin_dir: bin_dir.clone() })?;
    // The examples are run whatever the programs said, so that one failure does not hide another.
    let examples = match options.has_examples() {
        true => {
            let mut examples = cargo::cargo(["test", "--quiet", "--doc"]);
            cargo::run(examples.args(options.selection()))
        }
        false => Ok(()),
    };
    outcome::judge(&outcomes)?;
    examples.map(|()| bin_dir)
}
