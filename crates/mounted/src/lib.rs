//! `mounted.ocfs2`: which OCFS2 volumes there are, and which nodes have them mounted.
//!
//! [`list()`] finds out, [`table`] and [`json`] show it, [`health`] judges it for monitoring, [`run`]
//! is the program.
#![deny(missing_docs)]

mod cli;
pub mod health;
pub mod json;
mod list;
mod monitor;
mod notes;
mod program;
pub mod table;

pub use cli::{Cli, command, failure};
pub use list::{
    Detail, Failure, FailureCause, JournalTrouble, Listing, NodeUse, Options, Users, Volume, list,
};
pub use program::run;

/// The program: from its command line to its exit status.
pub fn main() -> std::process::ExitCode {
    ocfs2_cli::run(failure(), |cli: Cli| run(&cli))
}
