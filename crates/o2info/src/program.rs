//! The program.

use std::io::Write;

use anyhow::{Context, Result};
use ocfs2_cli::{Output, Status, print_error, shown};

use crate::{Cli, Source, answer};

/// Answers the requests in `cli`.
///
/// # Errors
/// If the volume cannot be opened, or standard output cannot be written.
pub fn run(cli: &Cli) -> Result<Status> {
    let source = Source::open(cli).with_context(|| shown(&cli.device))?;
    let mut out = Output::stdout();
    let mut status = Status::SUCCESS;
    for request in &cli.requests {
        match answer(&source, *request) {
            Ok(text) => out.write_all(text.as_bytes())?,
            Err(err) => {
                print_error(&err.context(request.name()));
                status = Status::FAILURE;
            }
        }
    }
    Ok(status)
}
