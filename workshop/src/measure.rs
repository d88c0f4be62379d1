//! The cost of running a program.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, WaitId, WaitIdOptions};
use wait4::Wait4;

/// The cost of one run of a program.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Time from its start to its end.
    pub wall: Duration,
    /// Time in user and kernel mode.
    pub cpu: Duration,
    /// Most memory it held at one time, in bytes. The kernel counts from the fork on, so this is
    /// never less than what this program held; see [`floor`].
    pub peak_rss_bytes: u64,
    /// Number of calls of read(2) and similar functions, including those of the loader and of
    /// libraries.
    pub reads: u64,
    /// Number of bytes read.
    pub read_bytes: u64,
    /// Number of calls of write(2) and similar functions.
    pub writes: u64,
    /// Number of bytes written.
    pub written_bytes: u64,
}

/// Runs a program to its end; fails if its exit status is not 0.
pub fn measure(command: &mut Command) -> Result<Cost> {
    measure_of(command, &[0])
}

/// Like [`measure`], for a program that may end with one of these statuses.
///
/// # Errors
/// Like [`measure`].
pub fn measure_of(command: &mut Command, statuses: &[i32]) -> Result<Cost> {
    let name = format!("{command:?}");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let mut child = command.spawn().with_context(|| name.clone())?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a pid")?;
    // Its counters can be read until it is waited for.
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    rustix::process::waitid(WaitId::Pid(pid), options)?;
    let wall = start.elapsed();
    let io = fs::read_to_string(format!("/proc/{}/io", child.id()))?;
    let used = child.wait4()?;
    let is_expected = used.status.code().is_some_and(|status| statuses.contains(&status));
    ensure!(is_expected, "{name}: {}", used.status);

    let count = |field: &str| {
        let line = io.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(": "));
        line.and_then(|number| number.parse::<u64>().ok()).context("/proc/PID/io")
    };
    Ok(Cost {
        wall,
        cpu: used.rusage.utime + used.rusage.stime,
        peak_rss_bytes: used.rusage.maxrss,
        reads: count("syscr")?,
        read_bytes: count("rchar")?,
        writes: count("syscw")?,
        written_bytes: count("wchar")?,
    })
}

/// Returns the peak memory reported for a program that needs hardly any.
pub fn floor() -> Result<u64> {
    Ok(measure(&mut Command::new("true"))?.peak_rss_bytes)
}

/// Returns the median of each part.
pub fn median(costs: &[Cost]) -> Cost {
    fn of<T: Ord + Copy>(costs: &[Cost], part: impl Fn(&Cost) -> T) -> T {
        let mut parts: Vec<T> = costs.iter().map(part).collect();
        parts.sort_unstable();
        parts[parts.len() / 2]
    }
    Cost {
        wall: of(costs, |cost| cost.wall),
        cpu: of(costs, |cost| cost.cpu),
        peak_rss_bytes: of(costs, |cost| cost.peak_rss_bytes),
        reads: of(costs, |cost| cost.reads),
        read_bytes: of(costs, |cost| cost.read_bytes),
        writes: of(costs, |cost| cost.writes),
        written_bytes: of(costs, |cost| cost.written_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_copies_is_seen_to_read_and_write() {
        let mut dd = Command::new("dd");
        let cost = measure(dd.args(["if=/dev/zero", "of=/dev/null", "bs=4096", "count=100"]));
        let cost = cost.unwrap();
        assert!(cost.reads >= 100 && cost.read_bytes >= 409_600, "{cost:?}");
        assert!(cost.writes >= 100 && cost.written_bytes >= 409_600, "{cost:?}");
        assert!(cost.peak_rss_bytes > 0 && cost.wall >= Duration::from_micros(1));
        assert!(measure(&mut Command::new("false")).is_err());
    }

    #[test]
    fn the_median_is_the_middle_one_of_each_part() {
        let cost = measure(&mut Command::new("true")).unwrap();
        let costs = [3, 1, 2].map(|n| Cost { reads: n, writes: 10 - n, ..cost });
        assert_eq!((median(&costs).reads, median(&costs).writes), (2, 8));
    }
}
