//! `o2cb`.

use std::process::ExitCode;

use ocfs2_o2cb::Cli;

fn main() -> ExitCode {
    ocfs2_cli::run(ocfs2_cli::Failure::default(), |cli: Cli| ocfs2_o2cb::run(&cli))
}
