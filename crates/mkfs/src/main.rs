//! mkfs.ocfs2: creates an OCFS2 volume.

use std::process::ExitCode;

use ocfs2_mkfs::Cli;

fn main() -> ExitCode {
    let failure = ocfs2_cli::Failure::default();
    ocfs2_cli::run_explaining(ocfs2_mkfs::of_front_end, failure, |cli: Cli| ocfs2_mkfs::run(&cli))
}
