//! `ocfs2_hb_ctl`.

use std::process::ExitCode;

use ocfs2_o2cb::hb_ctl::{self, Cli};

fn main() -> ExitCode {
    ocfs2_cli::run(ocfs2_cli::Failure::default(), |cli: Cli| hb_ctl::run(&cli))
}
