//! Progress of long work.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Receives the progress of long work, one task at a time.
pub trait Progress: Send + Sync {
    /// Starts the task `what`, which consists of `total` parts (bytes, blocks or other units).
    fn start(&self, what: &str, total: u64);
    /// Reports that `done` parts of the task are done in total.
    fn update(&self, done: u64);
    /// Clears what is drawn before something else is printed. The next update draws again.
    fn pause(&self) {}
    /// Ends the task, complete or not.
    fn finish(&self);
}

/// Shows no progress.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn start(&self, _what: &str, _total: u64) {}
    fn update(&self, _done: u64) {}
    fn finish(&self) {}
}

/// Returns a [`Bar`] on standard error if that is a terminal and `wanted`, otherwise
/// [`NoProgress`].
pub fn progress(wanted: bool) -> Box<dyn Progress> {
    if wanted && io::stderr().is_terminal() {
        Box::new(Bar::new(io::stderr()))
    } else {
        Box::new(NoProgress)
    }
}

/// A line that is redrawn in place and cleared when the task ends.
#[derive(Debug)]
pub struct Bar<W>(Mutex<State<W>>);

#[derive(Debug)]
struct State<W> {
    out: W,
    what: String,
    total: u64,
    /// When the work began.
    began: Instant,
    /// When the bar was last drawn; until then, when the work began.
    drawn: Instant,
    visible: bool,
}

impl<W: Write> Bar<W> {
    /// Tasks shorter than this are not shown, and this is the shortest time between two drawings.
    const INTERVAL: Duration = Duration::from_millis(100);
    const WIDTH: u64 = 30;
    /// Rate and remaining time are shown only after this time, because they are unsteady before.
    const STEADY: Duration = Duration::from_secs(2);

    /// A bar drawn on `out`, which must be a terminal.
    pub fn new(out: W) -> Self {
        let (what, began) = (String::new(), Instant::now());
        Self(Mutex::new(State { out, what, total: 0, began, drawn: began, visible: false }))
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
            state.began = Instant::now();
            state.drawn = state.began;
        });
    }

    fn update(&self, done: u64) {
        self.with(|state| {
            if state.drawn.elapsed() >= Self::INTERVAL {
                let elapsed = Some(state.began.elapsed()).filter(|time| *time >= Self::STEADY);
                state.draw(done, Self::WIDTH, elapsed);
            }
        });
    }

    fn pause(&self) {
        self.with(State::clear);
    }

    fn finish(&self) {
        self.with(State::clear);
    }
}

// Failing to draw on the terminal is no reason for the work to fail.
impl<W: Write> State<W> {
    fn draw(&mut self, done: u64, width: u64, elapsed: Option<Duration>) {
        let done = done.min(self.total);
        let of = |whole: u64| {
            let part = u128::from(whole) * u128::from(done) / u128::from(self.total.max(1));
            usize::try_from(part).unwrap_or(0)
        };
        let (full, percent, width) = (of(width), of(100), width as usize);
        let speed = elapsed.map(|elapsed| speed(done, self.total, elapsed)).unwrap_or_default();
        let what = &self.what;
        let bar = "=".repeat(full);
        let _ = write!(self.out, "\r{what}: [{bar:<width$}] {percent:3}%{speed}\x1b[K");
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

/// Parts per second and the remaining time: `, 12.3k/s, 1:05 left`.
fn speed(done: u64, total: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    if done == 0 || seconds <= 0.0 {
        return String::new();
    }
    let rate = done as f64 / seconds;
    let left = (total.saturating_sub(done) as f64 / rate).min(359_999.0) as u64;
    let (hours, minutes, seconds) = (left / 3600, left / 60 % 60, left % 60);
    let left = match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    };
    let rate = match rate {
        0.0..1e3 => format!("{rate:.0}"),
        1e3..1e6 => format!("{:.1}k", rate / 1e3),
        1e6..1e9 => format!("{:.1}M", rate / 1e6),
        _ => format!("{:.1}G", rate / 1e9),
    };
    format!(", {rate}/s, {left} left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_is_told_in_few_characters() {
        let speed = |done, total, seconds| speed(done, total, Duration::from_secs(seconds));
        assert_eq!(speed(0, 10, 5), "");
        assert_eq!(speed(50, 100, 5), ", 10/s, 0:05 left");
        assert_eq!(speed(123_000, 922_500, 10), ", 12.3k/s, 1:05 left");
        assert_eq!(speed(5_000_000, 40_000_000_000, 1), ", 5.0M/s, 2:13:19 left");
        assert_eq!(speed(1, u64::MAX, 1), ", 1/s, 99:59:59 left");
        assert_eq!(speed(9, 3, 3), ", 3/s, 0:00 left");
    }

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
            bar.with(|state| state.draw(done, 30, Some(Duration::from_secs(1))));
        }
        assert!(drawn(bar).ends_with("G/s, 0:00 left\x1b[K"));
    }
}
