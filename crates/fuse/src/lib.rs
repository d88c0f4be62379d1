//! `ocfs2-fuse`: an OCFS2 volume mounted without the kernel's driver.
//!
//! Everything about OCFS2 is in `ocfs2-volume`; here are the answers to the requests of FUSE.
#![deny(missing_docs)]

mod answers;
mod attributes;
mod cli;
mod handles;
mod log;
mod program;
mod source;
mod space;

pub use cli::{Cli, command};
pub use program::run;

/// The program: from its command line to its exit status.
pub fn main() -> std::process::ExitCode {
    // What mount(8) takes for a failed mount.
    let error = ocfs2_cli::Status(32);
    let failure = ocfs2_cli::Failure { usage: ocfs2_cli::Status::FAILURE, error };
    ocfs2_cli::run(failure, |cli: Cli| run(&cli))
}
