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

/// A clock whose waits end as soon as `stop` returns true. From then on, more time has passed on it
/// than anybody waits for.
#[derive(Clone, Copy, Debug)]
pub struct StoppedClock<C, F> {
    /// The clock to use until then.
    pub clock: C,
    /// Whether to stop; it is asked every 50 ms.
    pub stop: F,
}

impl<C: Clock, F: Fn() -> bool> Clock for StoppedClock<C, F> {
    fn now(&self) -> SystemTime {
        self.clock.now()
    }

    fn elapsed(&self) -> Duration {
        const TOO_LONG: Duration = Duration::from_secs(1 << 30);
        self.clock.elapsed() + if (self.stop)() { TOO_LONG } else { Duration::ZERO }
    }

    fn sleep(&self, duration: Duration) {
        const SLICE: Duration = Duration::from_millis(50);
        let end = self.clock.elapsed() + duration;
        while !(self.stop)() {
            let left = end.saturating_sub(self.clock.elapsed());
            if left.is_zero() {
                return;
            }
            self.clock.sleep(left.min(SLICE));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_stops_the_clock_ends_the_waiting() {
        let is_over = Cell::new(false);
        let clock = StoppedClock { clock: SystemClock::default(), stop: || is_over.get() };
        clock.sleep(Duration::from_millis(1));
        assert!(clock.elapsed() < Duration::from_secs(100));
        is_over.set(true);
        clock.sleep(Duration::from_secs(1000));
        assert!(clock.elapsed() > Duration::from_secs(100_000));
    }
}
