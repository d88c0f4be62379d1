//! Running test programs, two at a time.
//!
//! The one with virtual machines waits for them most of the time, and takes longest: it is started
//! first, and the others run beside it.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::outcome::Outcome;
use super::programs::Program;

/// The test program with virtual machines.
const LONGEST: &str = "kernel";
/// Number of programs that run at the same time.
const LANES: usize = 2;
/// Time without news after which the running programs are listed.
const PATIENCE: Duration = Duration::from_secs(60);

/// How they are run.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Arguments for each program.
    pub args: Vec<String>,
    /// Folder of our own programs.
    pub bin_dir: PathBuf,
}

enum News {
    Began(String),
    Ended(Result<Outcome>),
}

/// Runs all programs, even after one failed, and prints the result of each.
///
/// # Errors
/// If one cannot be started.
pub fn all(mut programs: Vec<Program>, terms: &Terms) -> Result<Vec<Outcome>> {
    programs.sort_by_key(|program| program.name != LONGEST);
    let count = programs.len();
    let queue = Mutex::new(VecDeque::from(programs));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let (sender, news) = mpsc::channel();
    println!("\n{count} test programs, {LANES} at a time");
    thread::scope(|scope| {
        for _ in 0..LANES {
            let sender = sender.clone();
            scope.spawn(move || {
                while let Some(program) = next() {
                    // The receiver listens until the end.
                    let _ = sender.send(News::Began(program.name.clone()));
                    let _ = sender.send(News::Ended(run(&program, terms)));
                }
            });
        }
        drop(sender);
        listen(&news)
    })
}

/// Prints what it receives, until all programs have ended.
fn listen(news: &mpsc::Receiver<News>) -> Result<Vec<Outcome>> {
    let mut running = BTreeMap::new();
    let mut outcomes = Vec::new();
    loop {
        match news.recv_timeout(PATIENCE) {
            Ok(News::Began(name)) => {
                running.insert(name, Instant::now());
            }
            Ok(News::Ended(outcome)) => {
                let outcome = outcome?;
                running.remove(&outcome.program);
                // A program without tests is the main file of a tool.
                if !outcome.succeeded || outcome.tests.len() + outcome.ignored > 0 {
                    outcome.print();
                }
                outcomes.push(outcome);
            }
            Err(RecvTimeoutError::Timeout) => {
                let since = |(name, at): (&String, &Instant)| {
                    format!("{name} for {} s", at.elapsed().as_secs())
                };
                println!("  running: {}", running.iter().map(since).collect::<Vec<_>>().join(", "));
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(outcomes),
        }
    }
}

fn run(program: &Program, terms: &Terms) -> Result<Outcome> {
    let began = Instant::now();
    let mut command = Command::new(&program.path);
    command.current_dir(&program.package).env("CARGO_MANIFEST_DIR", &program.package);
    command.env("OCFS2_BIN_DIR", &terms.bin_dir).stdin(Stdio::null()).args(&terms.args);
    // Prints the time of each test. Stable releases of the test library can do this, but do not
    // promise it.
    command.args(["-Zunstable-options", "--report-time"]).env("RUSTC_BOOTSTRAP", "1");
    let output = command.output().with_context(|| program.path.display().to_string())?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let printed = format!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
    let mut outcome = Outcome {
        program: program.name.clone(),
        succeeded: output.status.success(),
        time: began.elapsed(),
        printed,
        ..Outcome::default()
    };
    stdout.lines().for_each(|line| outcome.read(line));
    if !outcome.succeeded && outcome.tests.iter().all(|test| test.succeeded) {
        outcome.printed += &format!("\n{}: {}", program.name, output.status);
    }
    Ok(outcome)
}
