//! Interruption of long work by a signal, such as Ctrl-C.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// The signals that ask a program to end.
const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// The work was stopped by a signal.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Whether SIGINT, SIGTERM or SIGHUP has arrived. Clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on the first such signal only sets the flag, and the second ends the process with
    /// status 130.
    ///
    /// # Errors
    /// Those of `sigaction`.
    pub fn install() -> io::Result<Self> {
        let interrupt = Self::default();
        for signal in SIGNALS {
            // The order matters: the first signal has to find the flag unset.
            flag::register_conditional_shutdown(signal, 130, Arc::clone(&interrupt.0))?;
            flag::register(signal, Arc::clone(&interrupt.0))?;
        }
        Ok(interrupt)
    }

    /// From now on such signals only set the flag, however many arrive. For a program that must
    /// restore the terminal; `timeout` sends two signals.
    ///
    /// # Errors
    /// Those of `sigaction`.
    pub fn install_flag() -> io::Result<Self> {
        let interrupt = Self::default();
        for signal in SIGNALS {
            flag::register(signal, Arc::clone(&interrupt.0))?;
        }
        Ok(interrupt)
    }

    /// Whether a signal has asked to stop.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Like [`Interrupt::requested`], for use with `?`.
    ///
    /// # Errors
    /// [`Interrupted`] if the work has to stop.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.requested() { Err(Interrupted) } else { Ok(()) }
    }

    /// Resets the flag once the interrupted work has ended, so that other work may begin.
    pub fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Sets the flag as a signal does, for tests and for callers with other reasons to stop.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_sets_the_flag_and_the_process_lives_on() {
        let interrupt = Interrupt::install().unwrap();
        assert_eq!(interrupt.check(), Ok(()));
        signal_hook::low_level::raise(SIGINT).unwrap();
        assert_eq!(interrupt.check(), Err(Interrupted));
        interrupt.clear();
        signal_hook::low_level::raise(SIGINT).unwrap();
        assert_eq!(interrupt.check(), Err(Interrupted));
    }
}
