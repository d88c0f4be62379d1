//! Progress for programs: JSON lines to a file descriptor.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::Progress;
use crate::encode::json_line;

/// A line.
#[derive(Debug, Serialize)]
struct Line<'a> {
    task: &'a str,
    done: u64,
    total: u64,
}

/// Writes a JSON object on a line of its own when a task begins, while it goes on, at most eight
/// times in a second, and when it ends: `task`, `done` and `total`. A total of 0 is not known.
#[derive(Debug)]
pub struct ProgressLines<W>(Mutex<State<W>>);

#[derive(Debug)]
struct State<W> {
    out: W,
    task: Option<String>,
    done: u64,
    total: u64,
    /// What the last line has said of the task, and when.
    written: Option<(u64, Instant)>,
}

impl ProgressLines<File> {
    /// Writes to a descriptor that the program was started with: a pipe, a file, to which lines are
    /// added, or a terminal. To be called before the program opens anything itself.
    ///
    /// # Errors
    /// There is no such descriptor, it cannot be written, or it is a socket or a block device.
    pub fn to_descriptor(number: u32) -> io::Result<Self> {
        // The only way to a descriptor by its number without `unsafe` code.
        let file = File::options().append(true).open(format!("/proc/self/fd/{number}"));
        let file = file.map_err(|err| match err.kind() {
            io::ErrorKind::NotFound => io::Error::new(err.kind(), "it is not open"),
            _ => err,
        })?;
        match file.metadata()?.file_type().is_block_device() {
            true => Err(io::Error::other("it is a block device")),
            false => Ok(Self::new(file)),
        }
    }
}

impl<W: Write> ProgressLines<W> {
    /// The shortest time between two lines about the same task.
    const INTERVAL: Duration = Duration::from_millis(125);

    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self(Mutex::new(State { out, task: None, done: 0, total: 0, written: None }))
    }

    fn with(&self, change: impl FnOnce(&mut State<W>)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl<W: Write + Send> Progress for ProgressLines<W> {
    fn start(&self, what: &str, total: u64) {
        self.with(|state| {
            state.end();
            (state.task, state.done, state.total) = (Some(what.to_owned()), 0, total);
            state.write();
        });
    }

    fn update(&self, done: u64) {
        self.with(|state| {
            state.done = done;
            if state.written.is_none_or(|(_, when)| when.elapsed() >= Self::INTERVAL) {
                state.write();
            }
        });
    }

    fn finish(&self) {
        self.with(State::end);
    }
}

impl<W: Write> State<W> {
    fn end(&mut self) {
        self.write();
        (self.task, self.written) = (None, None);
    }

    /// Writes a line, unless it is the same as the last one. That nobody reads it is no reason for
    /// the work to fail.
    fn write(&mut self) {
        let (done, total) = (self.done, self.total);
        let Some(task) = self.task.as_deref() else { return };
        if self.written.is_some_and(|(written, _)| written == done) {
            return;
        }
        if let Ok(line) = json_line(&Line { task, done, total }) {
            let _ = self.out.write_all(format!("{line}\n").as_bytes());
        }
        self.written = Some((done, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_has_a_line_at_its_beginning_and_one_at_its_end_and_not_too_many_between() {
        let lines = ProgressLines::new(Vec::new());
        lines.start("Reading", 1000);
        (1..=999).for_each(|done| lines.update(done));
        lines.start("Writing", 0);
        lines.finish();
        lines.finish();
        let text = String::from_utf8(lines.0.into_inner().unwrap().out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.first(), Some(&r#"{"task":"Reading","done":0,"total":1000}"#));
        let end = [
            r#"{"task":"Reading","done":999,"total":1000}"#,
            r#"{"task":"Writing","done":0,"total":0}"#,
        ];
        assert_eq!(lines[lines.len() - 2..], end);
        assert!(lines.len() < 100, "{}", lines.len());
    }
}
