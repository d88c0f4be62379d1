//! `o2hbmonitor`.

use std::process::ExitCode;

use ocfs2_o2cb::monitor::{self, Cli};

fn main() -> ExitCode {
    ocfs2_cli::run(ocfs2_cli::Failure::default(), |cli: Cli| monitor::run(&cli))
}
