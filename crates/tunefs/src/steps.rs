//! `-p`: the progress as text, a line for each percent.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use ocfs2_cli::{NoProgress, Output, Progress, ProgressLines, program_name};

use crate::Cli;

/// The progress that was asked for.
///
/// # Errors
/// There is no such descriptor.
pub(crate) fn progress(cli: &Cli) -> Result<Box<dyn Progress>> {
    Ok(match cli.progress {
        None => Box::new(NoProgress),
        Some(None) => Box::new(Steps::default()),
        Some(Some(number)) => {
            let lines = ProgressLines::to_descriptor(number);
            Box::new(lines.with_context(|| format!("--progress: descriptor {number}"))?)
        }
    })
}

/// Lines on standard output: the name of the program, how much of a task is done, and which.
#[derive(Debug, Default)]
struct Steps(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    task: String,
    total: u64,
    percent: Option<u64>,
}

impl Steps {
    fn set(&self, done: u64) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // How much there is may not be known.
        let percent = done.saturating_mul(100).checked_div(state.total).unwrap_or(0);
        if state.percent.replace(percent) != Some(percent) {
            let (name, task) = (program_name(), &state.task);
            let _ = writeln!(Output::stdout(), "[{name} {percent:3}% > {task}]");
        }
    }
}

impl Progress for Steps {
    fn start(&self, what: &str, total: u64) {
        let state = State { task: what.to_owned(), total, percent: None };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.set(0);
    }

    fn update(&self, done: u64) {
        self.set(done);
    }

    fn finish(&self) {}
}
