//! Shares of a memory limit: reads in flight, changes, which can be in a file instead, findings,
//! which can wait for another run, and claims on clusters of others, which can wait for another
//! round.

/// Bytes of a read in flight.
const READ_BYTES: u64 = 2 << 20;

/// Bytes of a finding with its answer and its share of what is kept for all of them.
const FINDING_BYTES: u64 = 1 << 10;

/// Findings that are kept whatever the limit: with fewer a run would repair too little.
const LEAST_FINDINGS: usize = 1000;

/// Bytes of a claim that is compared with others, with its share of what finds it among them.
const CLAIM_BYTES: u64 = 64;

/// Claims that are compared whatever the limit.
const LEAST_CLAIMS: usize = 1 << 16;

/// One part in so many: of the machine's memory for changes where there is no limit, else of the
/// limit for findings, and again for claims.
const PART: u64 = 4;

/// The shares of a limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shares {
    /// Threads, each with one read in flight.
    pub threads: usize,
    /// Bytes of changed blocks that are kept in memory.
    pub changes_bytes: u64,
    /// Findings that are kept with their answers.
    pub findings: usize,
    /// Claims on clusters of others that are compared at a time.
    pub claims: usize,
}

impl Shares {
    /// Findings that are kept where there is no limit.
    pub const MOST_FINDINGS: usize = 100_000;
    /// Claims that are compared at a time where there is no limit.
    pub const MOST_CLAIMS: usize = 1 << 21;

    /// Returns the shares for at most `threads` threads, within `limit` bytes if there is a limit.
    pub fn of(limit: Option<u64>, threads: usize) -> Self {
        let Some(limit) = limit else {
            let (findings, claims) = (Self::MOST_FINDINGS, Self::MOST_CLAIMS);
            return Self { threads, changes_bytes: machine_bytes() / PART, findings, claims };
        };
        let room = usize::try_from(limit / 2 / READ_BYTES).unwrap_or(usize::MAX);
        let threads = threads.min(room).max(1);
        let findings = usize::try_from(limit / PART / FINDING_BYTES).unwrap_or(usize::MAX);
        let findings = findings.clamp(LEAST_FINDINGS, Self::MOST_FINDINGS);
        let claims = usize::try_from(limit / PART / CLAIM_BYTES).unwrap_or(usize::MAX);
        let claims = claims.clamp(LEAST_CLAIMS, Self::MOST_CLAIMS);
        let others = threads as u64 * READ_BYTES + findings as u64 * FINDING_BYTES;
        // Claims are not subtracted: they are compared before there are changes, or in another
        // round.
        Self { threads, changes_bytes: limit.saturating_sub(others), findings, claims }
    }
}

/// Returns the machine's memory, in bytes.
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
            let Shares { threads, changes_bytes, findings, claims } = Shares::of(Some(limit), 16);
            (threads, changes_bytes / MIB, findings, claims)
        };
        assert_eq!(shares(1000 * MIB), (16, 870, 100_000, 1 << 21));
        assert_eq!(shares(100 * MIB), (16, 43, 25_600, 409_600));
        assert_eq!(shares(16 * MIB), (4, 4, 4096, 1 << 16));
        assert_eq!(shares(4 * MIB), (1, 1, 1024, 1 << 16));
        assert_eq!(shares(0), (1, 0, 1000, 1 << 16));
    }

    #[test]
    fn without_one_the_machine_is_asked() {
        let Shares { threads, changes_bytes, .. } = Shares::of(None, 3);
        assert!(threads == 3 && changes_bytes > MIB, "{changes_bytes}");
    }
}
