//! `mounted.ocfs2`.

use std::process::ExitCode;

use ocfs2_mounted::Cli;

fn main() -> ExitCode {
    ocfs2_cli::run(ocfs2_mounted::failure(), |cli: Cli| ocfs2_mounted::run(&cli))
}
