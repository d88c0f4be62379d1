//! `tunefs.ocfs2`.

use std::process::ExitCode;

use ocfs2_tunefs::Cli;

fn main() -> ExitCode {
    let failure = ocfs2_cli::Failure::default();
    ocfs2_cli::run_rewriting(ocfs2_tunefs::glued, failure, |cli: Cli| ocfs2_tunefs::run(&cli))
}
