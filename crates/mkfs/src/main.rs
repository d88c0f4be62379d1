//! mkfs.ocfs2: makes an OCFS2 volume.

use std::process::ExitCode;

use ocfs2_mkfs::Cli;

fn main() -> ExitCode {
    ocfs2_cli::run(ocfs2_cli::Failure::default(), |cli: Cli| ocfs2_mkfs::run(&cli))
}
