//! The program: list, show, perhaps again.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, SystemTime};

use ocfs2_cli::{Output, Status, print_json, program_name};
use ocfs2_cluster::Sources;
use ocfs2_volume::usage::SystemClock;

use crate::{Cli, json, list, notes, table};

/// Clears a terminal and goes to its top left corner.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// Lists what `cli` asks for; with `--watch` forever.
///
/// # Errors
/// The list of devices can not be read, or standard output can not be written.
pub fn run(cli: &Cli) -> anyhow::Result<Status> {
    let mut out = Output::stdout();
    let clear = cli.watch.is_some() && !cli.json && io::stdout().is_terminal();
    for round in 0_u64.. {
        let listing = list(&cli.options(), &Sources::default(), &SystemClock::default())?;
        let now = SystemTime::now();
        if clear {
            out.write_all(CLEAR.as_bytes())?;
        } else if round > 0 && !cli.json {
            out.write_all(b"\n")?;
        }
        let document = json::Document::new(&listing, now);
        match (cli.json, cli.watch) {
            (true, None) => print_json(&mut out, &document)?,
            (true, Some(_)) => {
                let mut line = serde_json::to_vec(&document)?;
                line.push(b'\n');
                out.write_all(&line)?;
            }
            (false, _) => out.write_all(table::text(&listing, now).as_bytes())?,
        }
        out.flush()?;
        for note in notes::notes(&listing, now, cli.verbose) {
            let _ = writeln!(io::stderr(), "{}: {note}", program_name());
        }
        match cli.watch {
            Some(seconds) => std::thread::sleep(Duration::from_secs(seconds)),
            None if listing.has_failed() => return Ok(Status::FAILURE),
            None => break,
        }
    }
    Ok(Status::SUCCESS)
}
