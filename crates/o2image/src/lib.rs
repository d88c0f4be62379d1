//! `o2image`: saves the metadata of a volume in a file, and restores it.
//!
//! [`select`] determines which blocks are saved, [`write_image`] writes them, [`install`] restores
//! them, [`run`] is the program.
#![deny(missing_docs)]

mod blocks;
mod clean;
mod cli;
mod install;
mod output;
mod program;
mod qcow2;
mod scramble;
mod select;
mod there;
mod write;

pub use blocks::Blocks;
pub use clean::Cleaner;
pub use cli::{Cli, command};
pub use install::{InstallError, install};
pub use output::Sink;
pub use program::run;
pub use scramble::{Scrambler, scramble};
pub use select::{Selected, What, select};
pub use there::{There, there};
pub use write::{Form, Unreadable, write_image};

/// The program: from its command line to its exit status.
pub fn main() -> std::process::ExitCode {
    ocfs2_cli::run(ocfs2_cli::Failure::default(), |cli: Cli| run(&cli))
}
