//! `mount.ocfs2`: the helper of mount(8).
//!
//! [`mount()`] does the work, [`run`] is the program.
#![deny(missing_docs)]

mod cli;
mod cluster;
mod mount;
mod options;
mod program;
#[cfg(test)]
mod tests;

pub use cli::{Cli, command};
pub use cluster::{ClusterError, Heartbeat, heartbeat_of};
pub use mount::{Machine, MountError, Options, Outcome, Request, mount, system_mount};
pub use options::{Flags, MountOptions, OptionError};
pub use program::run;

/// The program: from its command line to its exit status.
pub fn main() -> std::process::ExitCode {
    ocfs2_cli::run(ocfs2_cli::Failure::default(), |cli: Cli| run(&cli))
}
