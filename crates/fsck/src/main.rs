//! `fsck.ocfs2`.

use std::process::ExitCode;

use ocfs2_cli::Failure;
use ocfs2_fsck::program::{FAILED, USAGE, run};

fn main() -> ExitCode {
    let failure = Failure { usage: USAGE, error: FAILED };
    ocfs2_cli::run(failure, |cli: ocfs2_fsck::Cli| run(&cli))
}
