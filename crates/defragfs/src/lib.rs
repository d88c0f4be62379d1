//! `defragfs.ocfs2`: makes files of a mounted OCFS2 volume contiguous.
//!
//! The kernel moves the extents, while the files stay in use. This program decides which ones:
//! [`Layout`] says what of a file lies in short pieces, [`run`] is the program.
#![deny(missing_docs)]

mod cli;
mod file;
mod layout;
mod program;
mod record;
mod report;
mod tree;

pub use cli::Cli;
pub use layout::Layout;
pub use program::run;

/// The command line, for manual pages and completions.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}
