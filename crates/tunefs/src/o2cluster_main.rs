//! `o2cluster`.

use std::process::ExitCode;

use ocfs2_tunefs::o2cluster::{self, Cli};

fn main() -> ExitCode {
    let failure = ocfs2_cli::Failure::default();
    ocfs2_cli::run_rewriting(o2cluster::glued, failure, |cli: Cli| o2cluster::run(&cli))
}
