//! `blkid.ocfs2`: shows the contents of block devices and disk images.

use std::process::ExitCode;

use ocfs2_blkid::{Cli, USAGE, run};
use ocfs2_cli::Failure;

fn main() -> ExitCode {
    ocfs2_cli::run(Failure { usage: USAGE, error: USAGE }, |cli: Cli| run(&cli))
}
