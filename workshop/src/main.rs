//! Tasks of the developers that need the programs' own code, run by `cargo xtask`.
#![deny(missing_docs)]

mod apt;
mod bench;
mod checks;
mod fixtures;
mod install;
mod kernel;
mod measure;
mod programs;
mod provide;
mod soak;
mod static_build;
mod story;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ocfs2_cli::{Failure, Status};
use xtask::cargo;

#[derive(Parser)]
#[command(name = "workshop", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what the tests need
    #[command(hide = true)]
    Provide(provide::Options),
    /// Run only the tests that mount volumes with the Linux kernel
    Kernel(kernel::Options),
    /// Rebuild the volumes of the folder `fixtures` with the Linux kernel
    Fixtures(fixtures::Options),
    /// Build the programs and put them where the system expects them, with manual pages, shell
    /// completions, systemd units, an init script and a udev rule
    Install(install::Options),
    /// Write the manual pages
    Man {
        /// Folder to write them to; by default `target/man`
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Compare time and memory with the C tools
    Bench(bench::Options),
    /// Read the data of an image as fast as possible: what `bench` compares with
    #[command(hide = true)]
    RawRead(bench::raw::Options),
    /// Repair damaged volumes, or change volumes, at random, for any length of time
    Soak(soak::Options),
    /// Build statically linked programs, and check that they are static
    Static(static_build::Options),
}

fn main() -> ExitCode {
    ocfs2_cli::run(Failure::default(), |cli: Cli| {
        match cli.task {
            Task::Provide(options) => provide::run(&options)?,
            Task::Kernel(options) => kernel::run(&options)?,
            Task::Fixtures(options) => fixtures::run(&options)?,
            Task::Install(options) => install::run(&options)?,
            Task::Man { out } => {
                install::write_man_pages(&out.unwrap_or_else(|| cargo::target_dir().join("man")))?;
            }
            Task::Bench(options) => bench::run(&options)?,
            Task::RawRead(options) => bench::raw::run(&options)?,
            Task::Soak(options) => soak::run(&options)?,
            Task::Static(options) => static_build::run(&options)?,
        }
        Ok(Status::SUCCESS)
    })
}
