//! `o2info`: features, sizes and free room of an OCFS2 volume.
//!
//! [`answer`] returns the text for a request in the form of the C tool 1.8, [`run`] is the program.
#![deny(missing_docs)]

mod answer;
mod cli;
mod file;
mod freefrag;
mod json;
mod program;
mod source;

pub use answer::answer;
pub use cli::{Cli, Request, command};
pub use file::FileStatus;
pub use freefrag::FreeFrag;
pub use program::run;
pub use source::{PathOnVolume, Source, Traits};

/// The program: from its command line to its exit status.
pub fn main() -> std::process::ExitCode {
    ocfs2_cli::run(ocfs2_cli::Failure::default(), |cli: Cli| run(&cli))
}
