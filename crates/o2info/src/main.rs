//! `o2info`.

use std::process::ExitCode;

use ocfs2_o2info::Cli;

fn main() -> ExitCode {
    ocfs2_cli::run(ocfs2_cli::Failure::default(), |cli: Cli| ocfs2_o2info::run(&cli))
}
