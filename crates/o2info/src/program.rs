//! The program.

use std::io::Write;

use anyhow::{Context, Result};
use ocfs2_cli::{Output, Status, dirty_journals, print_error, print_json, print_note, shown};

use crate::json::Document;
use crate::{Cli, Request, Source, answer};

/// Answers the requests in `cli`.
///
/// # Errors
/// If the volume cannot be opened, or standard output cannot be written.
pub fn run(cli: &Cli) -> Result<Status> {
    let mut out = Output::stdout();
    if cli.json {
        let document = Document::of(cli);
        document.errors.iter().for_each(|text| print_error(&anyhow::anyhow!("{text}")));
        print_json(&mut out, &document)?;
        return Ok(Status(document.exit_status));
    }
    let source = Source::open(cli).with_context(|| shown(&cli.device))?;
    note_age(&source, cli);
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

/// Reports on standard error that the journals hold something newer, before an answer that it can concern.
pub(crate) fn note_age(source: &Source, cli: &Cli) {
    let Source::Volume(volume, _) = source else { return };
    let is_concerned = |request: &Request| {
        !matches!(request, Request::FsFeatures | Request::VolInfo | Request::Mkfs)
    };
    if !cli.requests.iter().any(is_concerned) {
        return;
    }
    let Some(which) = dirty_journals(&volume.slots_with_newer()) else { return };
    let device = shown(&cli.device);
    print_note(format_args!(
        "{device}: {which}, and what is shown may be older than their contents"
    ));
}
