//! `ocfs2-fuse`.

use std::process::ExitCode;

use ocfs2_cli::{Failure, Status};
use ocfs2_fuse::Cli;

fn main() -> ExitCode {
    let failure = Failure { usage: Status::FAILURE, error: Status(32) };
    ocfs2_cli::run(failure, |cli: Cli| ocfs2_fuse::run(&cli))
}
