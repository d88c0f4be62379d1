//! `tunefs.ocfs2`.

use std::process::ExitCode;

use ocfs2_tunefs::Cli;

fn main() -> ExitCode {
    let failure = ocfs2_cli::Failure::default();
    let args: Vec<_> = std::env::args_os().collect();
    if let Some(hint) = ocfs2_tunefs::uuid_apart(&args) {
        ocfs2_cli::print_note(hint);
        return failure.usage.into();
    }
    ocfs2_cli::run_rewriting(ocfs2_tunefs::glued, failure, |cli: Cli| ocfs2_tunefs::run(&cli))
}
