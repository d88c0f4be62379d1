//! `o2cb_ctl`.

use std::process::ExitCode;

use ocfs2_o2cb::ctl::{self, Cli};

fn main() -> ExitCode {
    ocfs2_cli::run(ocfs2_cli::Failure::default(), |cli: Cli| ctl::run(&cli))
}
