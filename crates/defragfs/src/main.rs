//! `defragfs.ocfs2`.

use std::process::ExitCode;

use ocfs2_defragfs::Cli;

fn main() -> ExitCode {
    ocfs2_cli::run(ocfs2_cli::Failure::default(), |cli: Cli| ocfs2_defragfs::run(&cli))
}
