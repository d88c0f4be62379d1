//! `tunefs.ocfs2`.

use std::process::ExitCode;

use ocfs2_tunefs::Cli;

fn main() -> ExitCode {
    ocfs2_cli::run(ocfs2_cli::Failure::default(), |cli: Cli| ocfs2_tunefs::run(&cli))
}
