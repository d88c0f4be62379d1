//! How far long work has come.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Told by long work how far it is. One stretch of work at a time.
pub trait Progress: Send + Sync {
    /// Work named `what` begins; it has `total` parts (bytes, blocks, whatever is counted).
    fn start(&self, what: &str, total: u64);
    /// `done` of the parts are done, counted from the start.
    fn update(&self, done: u64);
    /// The work has ended, whether all of it was done or not.
    fn finish(&self);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn start(&self, _what: &str, _total: u64) {}
    fn update(&self, _done: u64) {}
    fn finish(&self) {}
}

/// A [`Bar`] on standard error if that is a terminal and `wanted`, else nothing.
pub fn progress(wanted: bool) -> Box<dyn Progress> {
    if wanted && io::stderr().is_terminal() {
        Box::new(Bar::new(io::stderr()))
    } else {
        Box::new(NoProgress)
    }
}

/// A line that is drawn over itself and gone when the work has ended.
#[derive(Debug)]
pub struct Bar<W>(Mutex<State<W>>);

#[derive(Debug)]
struct State<W> {
    out: W,
    what: String,
    total: u64,
    /// When it was last drawn, and when the work began, until it is first drawn.
    drawn: Instant,
    visible: bool,
}

impl<W: Write> Bar<W> {
    /// Work shorter than this is not shown, and nothing is drawn more often.
    const INTERVAL: Duration = Duration::from_millis(100);
    const WIDTH: u64 = 30;

    /// A bar drawn on `out`, which has to be a terminal.
    pub fn new(out: W) -> Self {
        let (what, drawn) = (String::new(), Instant::now());
        Self(Mutex::new(State { out, what, total: 0, drawn, visible: false }))
    }

    fn with(&self, change: impl FnOnce(&mut State<W>)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl<W: Write + Send> Progress for Bar<W> {
    fn start(&self, what: &str, total: u64) {
        self.with(|state| {
            state.clear();
            state.what = what.to_owned();
            state.total = total;
            state.drawn = Instant::now();
        });
    }

    fn update(&self, done: u64) {
        self.with(|state| {
            if state.drawn.elapsed() >= Self::INTERVAL {
                state.draw(done, Self::WIDTH);
            }
        });
    }

    fn finish(&self) {
        self.with(State::clear);
    }
}

// A terminal that can not be written to is no reason for the work to fail.
impl<W: Write> State<W> {
    fn draw(&mut self, done: u64, width: u64) {
        let done = done.min(self.total);
        let of = |whole: u64| {
            let part = u128::from(whole) * u128::from(done) / u128::from(self.total.max(1));
            usize::try_from(part).unwrap_or(0)
        };
        let (full, percent, width) = (of(width), of(100), width as usize);
        let what = &self.what;
        let _ = write!(self.out, "\r{what}: [{:<width$}] {percent:3}%\x1b[K", "=".repeat(full));
        let _ = self.out.flush();
        self.drawn = Instant::now();
        self.visible = true;
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.visible) {
            let _ = write!(self.out, "\r\x1b[K");
            let _ = self.out.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(bar: Bar<Vec<u8>>) -> String {
        String::from_utf8(bar.0.into_inner().unwrap().out).unwrap()
    }

    #[test]
    fn short_work_is_not_shown() {
        let bar = Bar::new(Vec::new());
        bar.start("Formatting", 10);
        bar.update(5);
        bar.finish();
        assert_eq!(drawn(bar), "");
    }

    #[test]
    fn long_work_is_shown_and_wiped_at_its_end() {
        let bar = Bar::new(Vec::new());
        bar.start("Formatting", 10);
        bar.with(|state| state.drawn -= Bar::<Vec<u8>>::INTERVAL);
        bar.update(5);
        bar.update(6);
        bar.finish();
        bar.finish();
        let expected = format!("\rFormatting: [{:<30}]  50%\x1b[K\r\x1b[K", "=".repeat(15));
        assert_eq!(drawn(bar), expected);
    }

    #[test]
    fn more_than_the_total_and_no_total_are_survived() {
        let bar = Bar::new(Vec::new());
        for (total, done) in [(0, 0), (0, 7), (3, 7), (u64::MAX, u64::MAX)] {
            bar.start("Reading", total);
            bar.with(|state| state.draw(done, 30));
        }
        assert!(drawn(bar).ends_with("100%\x1b[K"));
    }
}
