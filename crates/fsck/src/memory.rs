//! How much memory is taken by what could do with less: reads in flight, changes, which can
//! be in a file instead, and findings, which can wait for another run.

/// What each read in flight takes.
const READ_BYTES: u64 = 2 << 20;

/// What a finding takes with its answer, and with what could not be kept apart from it.
const FINDING_BYTES: u64 = 1 << 10;

/// Findings that are kept whatever the limit: with fewer a run would repair too little.
const LEAST_FINDINGS: usize = 1000;

/// Changes take at most this part of the machine's memory where nobody says otherwise.
const PART: u64 = 4;

/// Shares of a limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shares {
    /// Threads, each of which has one read in flight.
    pub threads: usize,
    /// Bytes of changed blocks that are kept in memory.
    pub changes_bytes: u64,
    /// Findings that are kept with their answers.
    pub findings: usize,
}

impl Shares {
    /// Findings that are kept where nobody says otherwise.
    pub const MOST_FINDINGS: usize = 100_000;

    /// For at most `threads` threads, within `limit` bytes if there is one.
    pub fn of(limit: Option<u64>, threads: usize) -> Self {
        let Some(limit) = limit else {
            let (changes_bytes, findings) = (machine_bytes() / PART, Self::MOST_FINDINGS);
            return Self { threads, changes_bytes, findings };
        };
        let room = usize::try_from(limit / 2 / READ_BYTES).unwrap_or(usize::MAX);
        let threads = threads.min(room).max(1);
        let findings = usize::try_from(limit / PART / FINDING_BYTES).unwrap_or(usize::MAX);
        let findings = findings.clamp(LEAST_FINDINGS, Self::MOST_FINDINGS);
        let others = threads as u64 * READ_BYTES + findings as u64 * FINDING_BYTES;
        Self { threads, changes_bytes: limit.saturating_sub(others), findings }
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
            let Shares { threads, changes_bytes, findings } = Shares::of(Some(limit), 16);
            (threads, changes_bytes / MIB, findings)
        };
        assert_eq!(shares(1000 * MIB), (16, 870, 100_000));
        assert_eq!(shares(100 * MIB), (16, 43, 25_600));
        assert_eq!(shares(16 * MIB), (4, 4, 4096));
        assert_eq!(shares(4 * MIB), (1, 1, 1024));
        assert_eq!(shares(0), (1, 0, 1000));
    }

    #[test]
    fn without_one_the_machine_is_asked() {
        let Shares { threads, changes_bytes, .. } = Shares::of(None, 3);
        assert!(threads == 3 && changes_bytes > MIB, "{changes_bytes}");
    }
}
