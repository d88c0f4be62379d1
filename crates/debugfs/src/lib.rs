//! `debugfs.ocfs2`: shows an OCFS2 volume structure by structure, and changes it by hand.
//!
//! [`Shell`] runs commands, [`run`] is the program. Structures are shown as JSON or as the text of
//! the C tool 1.8. Block checks are shown, but a wrong one does not prevent anything from being
//! shown. Each command that changes a volume is one transaction.
#![deny(missing_docs)]

mod cli;
mod commands;
mod complete;
mod error;
mod history;
mod line;
mod live;
mod lock;
mod old;
mod owned;
mod past;
mod paths;
mod program;
mod record;
mod screen;
mod shell;
mod show;
mod volume;
mod words;
mod writer;

pub use cli::{Cli, command};
pub use error::{Failure, Problem};
pub use lock::Lock;
pub use program::run;
pub use screen::Screen;
pub use shell::{Done, OpenOptions, Shell};

/// The program: from its command line to its exit status.
pub fn main() -> std::process::ExitCode {
    ocfs2_cli::run(ocfs2_cli::Failure::default(), |cli: Cli| run(&cli))
}
