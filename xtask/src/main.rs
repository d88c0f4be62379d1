//! Tasks of the developers: `cargo xtask --help`.
#![deny(missing_docs)]

mod ci;
mod demo;
mod test;
mod workshop;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "xtask",
    bin_name = "cargo xtask",
    about = "Tasks of the developers",
    after_help = "More tasks, each with --help: install, man, kernel, bench, soak, fixtures, static."
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Show what the programs do, on images in a temporary folder
    Demo(demo::Options),
    /// Run all tests, with the C tools and the Linux kernel as judges
    Test(test::Options),
    /// Check formatting, lints and documentation, run all tests, build static programs
    Ci,
    /// Tasks that need the programs' own code.
    #[command(external_subcommand)]
    Workshop(Vec<OsString>),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Demo(options) => demo::run(&options),
        Task::Test(options) => test::run(&options).map(drop),
        Task::Ci => ci::run_all(),
        Task::Workshop(args) => workshop::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("xtask: {err:#}");
            ExitCode::FAILURE
        }
    }
}
