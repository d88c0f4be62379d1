//! Time, so that tests need not wait for it.

use std::time::{Duration, Instant, SystemTime};

/// What sampling needs of a clock.
pub trait Clock {
    /// The time of day, to compare with what nodes wrote.
    fn now(&self) -> SystemTime;
    /// Time since some fixed moment; never goes backwards.
    fn elapsed(&self) -> Duration;
    /// Waits.
    fn sleep(&self, duration: Duration);
}

/// The clock of this machine.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}
