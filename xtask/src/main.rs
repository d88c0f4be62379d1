//! Tasks of the developers: `cargo xtask --help`.
#![deny(missing_docs)]

mod apt;
mod bench;
mod cargo;
mod checks;
mod ci;
mod demo;
mod fixtures;
mod install;
mod kernel;
mod measure;
mod programs;
mod soak;
mod static_build;
mod story;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ocfs2_cli::{Failure, Status};

#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask", about = "Tasks of the developers")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run all tests, with the C tools and the Linux kernel as judges
    Test(test::Options),
    /// Run the tests that have the Linux kernel judge, alone
    Kernel(kernel::Options),
    /// Make the volumes of the folder `fixtures` anew, with the Linux kernel
    Fixtures(fixtures::Options),
    /// Formatting, lints, documentation, all tests, static programs
    Ci,
    /// Build the programs and put them where the system calls them, with manual pages, shell
    /// completions, a systemd unit and a udev rule
    Install(install::Options),
    /// Write the manual pages
    Man {
        /// The folder to write them to; by default `target/man`
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Show what the programs do, on images in a temporary folder
    Demo(demo::Options),
    /// Time and memory beside the C tools
    Bench(bench::Options),
    /// Read what an image holds, as fast as can be: what `bench` compares with
    #[command(hide = true)]
    RawRead(bench::raw::Options),
    /// Check volumes that were damaged by chance, for as long as one likes
    Soak(soak::Options),
    /// Build the programs statically linked, and check that they are
    Static,
}

fn main() -> ExitCode {
    ocfs2_cli::run(Failure::default(), |cli: Cli| {
        match cli.task {
            Task::Test(options) => test::run(&options)?,
            Task::Kernel(options) => kernel::run(&options)?,
            Task::Fixtures(options) => fixtures::run(&options)?,
            Task::Ci => ci::run_all()?,
            Task::Install(options) => install::run(&options)?,
            Task::Man { out } => {
                install::write_man_pages(&out.unwrap_or_else(|| cargo::target_dir().join("man")))?;
            }
            Task::Demo(options) => demo::run(&options)?,
            Task::Bench(options) => bench::run(&options)?,
            Task::RawRead(options) => bench::raw::run(&options)?,
            Task::Soak(options) => soak::run(&options)?,
            Task::Static => static_build::run()?,
        }
        Ok(Status::SUCCESS)
    })
}
