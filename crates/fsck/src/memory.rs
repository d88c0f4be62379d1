//! How much memory is taken by what could do with less: reads in flight, and changes, which can
//! be in a file instead.

/// What each read in flight takes.
const READ_BYTES: u64 = 2 << 20;

/// Changes take at most this part of the machine's memory where nobody says otherwise.
const PART: u64 = 4;

/// Shares of a limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shares {
    /// Threads, each of which has one read in flight.
    pub threads: usize,
    /// Bytes of changed blocks that are kept in memory.
    pub changes_bytes: u64,
}

impl Shares {
    /// For at most `threads` threads, within `limit` bytes if there is one.
    pub fn of(limit: Option<u64>, threads: usize) -> Self {
        let Some(limit) = limit else {
            return Self { threads, changes_bytes: machine_bytes() / PART };
        };
        let room = usize::try_from(limit / 2 / READ_BYTES).unwrap_or(usize::MAX);
        let threads = threads.min(room).max(1);
        Self { threads, changes_bytes: limit.saturating_sub(threads as u64 * READ_BYTES) }
    }
}

/// The machine's memory.
fn machine_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(info.mem_unit.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_limit_is_shared_by_reads_and_changes() {
        let shares = |limit| {
            let Shares { threads, changes_bytes } = Shares::of(Some(limit), 16);
            (threads, changes_bytes / MIB)
        };
        assert_eq!(shares(100 * MIB), (16, 68));
        assert_eq!(shares(16 * MIB), (4, 8));
        assert_eq!(shares(4 * MIB), (1, 2));
        assert_eq!(shares(0), (1, 0));
    }

    #[test]
    fn without_one_the_machine_is_asked() {
        let Shares { threads, changes_bytes } = Shares::of(None, 3);
        assert!(threads == 3 && changes_bytes > MIB, "{changes_bytes}");
    }
}
