//! `defragfs.ocfs2`: makes files of an OCFS2 volume contiguous.
//!
//! On a mounted volume the kernel moves the extents, while the files stay in use. This program decides
//! which ones: [`Layout`] says what of a file lies in short pieces. On a volume that nobody has
//! mounted, `offline` moves them. [`run`] is the program.
#![deny(missing_docs)]

mod cli;
mod file;
mod layout;
mod offline;
mod program;
mod record;
mod report;
mod tree;

pub use cli::Cli;
pub use layout::Layout;
pub use offline::arrange_volume;
pub use program::run;

/// The command line, for manual pages and completions.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// The program: from its command line to its exit status.
pub fn main() -> std::process::ExitCode {
    ocfs2_cli::run(ocfs2_cli::Failure::default(), |cli: Cli| run(&cli))
}
