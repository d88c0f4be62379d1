//! The program: list, print, and repeat if asked to.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use ocfs2_cli::encode::json_line;
use ocfs2_cli::{Interrupt, Output, Status, is_terminal, print_json, print_note};
use ocfs2_cluster::Sources;
use ocfs2_volume::usage::{Clock, StoppedClock, SystemClock};

use crate::{Cli, Listing, json, list, monitor, notes, table};

/// Switch to the alternate screen of the terminal, and back.
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";
/// Clears the screen and moves to the top left corner.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Time after which the reason for waiting is shown.
const PATIENCE: Duration = Duration::from_secs(6);

/// The clock of this machine, which explains long waits to people at a terminal.
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

/// Prints the list that `cli` asks for; with `--watch` again and again until a signal arrives.
///
/// # Errors
/// If the list of devices cannot be read, or standard output cannot be written.
pub fn run(cli: &Cli) -> anyhow::Result<Status> {
    let mut out = Output::stdout();
    if cli.check {
        return check(cli, &mut out);
    }
    let Some(seconds) = cli.watch else {
        let listing = show(cli, &mut out, None)?;
        return Ok(if listing.has_failed() { Status::FAILURE } else { Status::SUCCESS });
    };
    if cli.json || !is_terminal() {
        for round in 0_u64.. {
            if round > 0 && !cli.json {
                out.write_all(b"\n")?;
            }
            show(cli, &mut out, None)?;
            std::thread::sleep(Duration::from_secs(seconds));
        }
    }
    let interrupt = Interrupt::install_flag()?;
    out.control(ENTER)?;
    let watched = watch(cli, &mut out, seconds, &interrupt);
    // Restores the terminal in any case.
    out.control(LEAVE)?;
    watched.map(|()| Status::INTERRUPTED)
}

/// A node writes its heartbeat every two seconds: in less than this a live one may seem silent.
const LEAST_SECONDS: u64 = 5;

/// Prints the condition of the volumes, which is also the exit status.
fn check(cli: &Cli, out: &mut Output) -> anyhow::Result<Status> {
    anyhow::ensure!(
        cli.wait.is_none_or(|wait| wait >= LEAST_SECONDS),
        "--check needs a --wait of at least {LEAST_SECONDS} s: a node writes its heartbeat every 2 s"
    );
    let listing = list(&cli.options(), &Sources::default(), &SystemClock::default())?;
    let now = SystemTime::now();
    if cli.json {
        print_json(out, &json::Document::with_findings(&listing, now))?;
    } else {
        out.write_all(monitor::text(&listing, now, cli.verbose).as_bytes())?;
    }
    Ok(listing.condition(now).status())
}

/// Shows the list on the alternate screen until a signal arrives.
fn watch(cli: &Cli, out: &mut Output, seconds: u64, interrupt: &Interrupt) -> anyhow::Result<()> {
    while !interrupt.requested() {
        show(cli, out, Some(interrupt))?;
        let shown = Instant::now();
        while shown.elapsed() < Duration::from_secs(seconds) && !interrupt.requested() {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}

/// Makes and prints the list; with `interrupt` on a screen that is cleared first.
fn show(cli: &Cli, out: &mut Output, interrupt: Option<&Interrupt>) -> anyhow::Result<Listing> {
    let (options, sources) = (cli.options(), Sources::default());
    let clock = PatientClock::default();
    let listing = match interrupt {
        None => list(&options, &sources, &clock)?,
        Some(interrupt) => {
            let clock = StoppedClock { clock, stop: || interrupt.requested() };
            list(&options, &sources, &clock)?
        }
    };
    let now = SystemTime::now();
    if interrupt.is_some_and(Interrupt::requested) {
        return Ok(listing);
    }
    match (cli.json, cli.watch) {
        (true, None) => print_json(out, &json::Document::new(&listing, now))?,
        (true, Some(_)) => writeln!(out, "{}", json_line(&json::Document::new(&listing, now))?)?,
        (false, _) => {
            if interrupt.is_some() {
                out.control(CLEAR)?;
                writeln!(out, "{}\n", table::time(now))?;
            }
            let states = cli.verbose || is_terminal();
            out.write_all(table::text(&listing, now, states).as_bytes())?;
        }
    }
    out.flush()?;
    for text in notes::notes(&listing, now, cli.verbose) {
        print_note(text);
    }
    Ok(listing)
}
