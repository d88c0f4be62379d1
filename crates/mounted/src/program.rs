//! The program: list, show, perhaps again.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use ocfs2_cli::encode::json_line;
use ocfs2_cli::{Output, Status, is_terminal, print_json, print_note};
use ocfs2_cluster::Sources;
use ocfs2_volume::usage::{Clock, SystemClock};

use crate::{Cli, json, list, notes, table};

/// Clears a terminal and goes to its top left corner.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// After so long people want to know what they are waiting for.
const PATIENCE: Duration = Duration::from_secs(6);

/// The clock of this machine, which tells people at a terminal when waiting takes long.
#[derive(Default)]
struct PatientClock {
    clock: SystemClock,
    has_told: AtomicBool,
}

impl Clock for PatientClock {
    fn now(&self) -> SystemTime {
        self.clock.now()
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        let is_long = self.elapsed() > PATIENCE && io::stderr().is_terminal();
        if is_long && !self.has_told.swap(true, Ordering::Relaxed) {
            print_note("watching for the heartbeat of a silent node; --wait limits how long");
        }
        self.clock.sleep(duration);
    }
}

/// Lists what `cli` asks for; with `--watch` forever.
///
/// # Errors
/// The list of devices can not be read, or standard output can not be written.
pub fn run(cli: &Cli) -> anyhow::Result<Status> {
    let mut out = Output::stdout();
    let clear = cli.watch.is_some() && !cli.json && is_terminal();
    for round in 0_u64.. {
        let listing = list(&cli.options(), &Sources::default(), &PatientClock::default())?;
        let now = SystemTime::now();
        if clear {
            out.control(CLEAR)?;
        } else if round > 0 && !cli.json {
            out.write_all(b"\n")?;
        }
        let document = json::Document::new(&listing, now);
        match (cli.json, cli.watch) {
            (true, None) => print_json(&mut out, &document)?,
            (true, Some(_)) => {
                writeln!(out, "{}", json_line(&document)?)?;
            }
            (false, _) => out.write_all(table::text(&listing, now).as_bytes())?,
        }
        out.flush()?;
        for text in notes::notes(&listing, now, cli.verbose) {
            print_note(text);
        }
        match cli.watch {
            Some(seconds) => std::thread::sleep(Duration::from_secs(seconds)),
            None if listing.has_failed() => return Ok(Status::FAILURE),
            None => break,
        }
    }
    Ok(Status::SUCCESS)
}
