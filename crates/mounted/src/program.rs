//! The program: list, show, perhaps again.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use ocfs2_cli::{Output, Status, print_json, program_name};
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
            note("watching for the heartbeat of a silent node; --wait limits how long");
        }
        self.clock.sleep(duration);
    }
}

fn note(text: &str) {
    // Where standard error is closed there is no one to tell.
    let _ = writeln!(io::stderr(), "{}: {text}", program_name());
}

/// Lists what `cli` asks for; with `--watch` forever.
///
/// # Errors
/// The list of devices can not be read, or standard output can not be written.
pub fn run(cli: &Cli) -> anyhow::Result<Status> {
    let mut out = Output::stdout();
    let clear = cli.watch.is_some() && !cli.json && io::stdout().is_terminal();
    for round in 0_u64.. {
        let listing = list(&cli.options(), &Sources::default(), &PatientClock::default())?;
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
        for text in notes::notes(&listing, now, cli.verbose) {
            note(&text);
        }
        match cli.watch {
            Some(seconds) => std::thread::sleep(Duration::from_secs(seconds)),
            None if listing.has_failed() => return Ok(Status::FAILURE),
            None => break,
        }
    }
    Ok(Status::SUCCESS)
}
