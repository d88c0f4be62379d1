//! Locks of the file system: `ocfs2/UUID/locking_state`.

use std::fmt::Write;

use super::{number, raw};
use crate::record::Record;
use crate::show::fields::hex;

/// The size of a lock value in bytes.
const LVB: usize = 64;
/// The highest known version of a line.
const NEWEST: i64 = 4;
/// The bit in `l_flags` of a lock that waits for the lock manager.
const BUSY: i64 = 2;

/// The names of flags, in the order of the output.
const FLAGS: [(i64, &str); 9] = [
    (0x40, "Initialized"),
    (0x01, "Attached"),
    (0x02, "Busy"),
    (0x04, "Blocked"),
    (0x08, "Local"),
    (0x10, "Needs Refresh"),
    (0x20, "Refreshing"),
    (0x80, "Freeing"),
    (0x100, "Queued"),
];

/// A lock of the kernel.
#[derive(Clone, Debug)]
pub struct FsLock {
    /// Its name.
    pub name: String,
    /// Level, flags, action, unlock action, number of readers and of writers, requested level,
    /// level that others request.
    state: [i64; 8],
    /// The lock value.
    value: Vec<u8>,
    /// The statistics, if the kernel has them.
    counts: Option<Counts>,
}

/// Statistics; pairs are for reading and for writing.
#[derive(Clone, Debug)]
struct Counts {
    gets: [u64; 2],
    fails: [u64; 2],
    /// Nanoseconds.
    total: [u64; 2],
    /// Microseconds.
    longest: [u64; 2],
    refreshes: u64,
    /// Microseconds: the times of last use, and since when somebody waits.
    last: Option<([u64; 2], u64)>,
}

fn level(level: i64) -> &'static str {
    match level {
        -1 => "Invalid",
        0 => "No Lock",
        1 => "Concurrent Read",
        2 => "Concurrent Write",
        3 => "Protected Read",
        4 => "Protected Write",
        5 => "Exclusive",
        _ => "Unknown",
    }
}

impl FsLock {
    /// Parses a line.
    ///
    /// # Errors
    /// Why the line is invalid.
    pub fn parse(line: &str) -> Result<Self, String> {
        let mut fields = line.split_ascii_whitespace();
        let version = fields.next().and_then(number).ok_or("a line without a version")?;
        if !(1..=NEWEST).contains(&version) {
            return Err(format!(
                "Debug string proto {version} found, but {NEWEST} is the highest I understand."
            ));
        }
        let name = fields.next().ok_or("a line without a name")?.to_owned();
        let mut next = || {
            let field = fields.next().and_then(number);
            field.ok_or_else(|| format!("the line of lock {name} is cut short"))
        };
        let mut state = [0; 8];
        for field in &mut state {
            *field = next()?;
        }
        let value = (0..LVB).map(|_| Ok(next()? as u8)).collect::<Result<Vec<_>, String>>()?;
        let counts = if version == 1 { None } else { Some(Counts::of(version, &mut next)?) };
        Ok(Self { name, state, value, counts })
    }

    /// Whether it waits for the lock manager.
    pub fn is_busy(&self) -> bool {
        self.state[1] & BUSY != 0
    }

    /// The record of the lock.
    pub fn record(&self, record: Record) -> Record {
        let [now, flags, action, unlock, readers, writers, wanted, blocking] = self.state;
        let record = record.text("name", &self.name).put("level", now).put("flags", flags);
        let record = record.put("action", action).put("unlock_action", unlock);
        let record = record.put("readers", readers).put("writers", writers);
        let record = record.put("requested", wanted).put("blocking", blocking);
        let record = record.put("value", hex(&self.value));
        let Some(counts) = &self.counts else { return record };
        let record = record.put("gets", counts.gets).put("fails", counts.fails);
        let record = record.put("waited_ns", counts.total).put("longest_us", counts.longest);
        let record = record.put("refreshes", counts.refreshes);
        match counts.last {
            Some((last, first)) => record.put("last_us", last).put("waits_since_us", first),
            None => record,
        }
    }

    /// The lock as text; with the lock value if `with_value`.
    pub fn text(&self, with_value: bool) -> String {
        let [now, flags, action, unlock, readers, writers, wanted, blocking] = self.state;
        let mut text = format!("Lockres: {}  Mode: {}\nFlags:", self.name, level(now));
        for (_, name) in FLAGS.iter().filter(|(flag, _)| flags & flag != 0) {
            let _ = write!(text, " {name}");
        }
        let action = match action {
            0 => "None",
            1 => "Attach",
            2 => "Convert",
            3 => "Downconvert",
            _ => "Unknown",
        };
        let unlock = match unlock {
            0 => "None",
            1 => "Cancel Convert",
            2 => "Drop Lock",
            _ => "Unknown",
        };
        let _ = write!(
            text,
            "\nRO Holders: {readers}  EX Holders: {writers}\nPending Action: {action}  Pending Unlock \
             Action: {unlock}\nRequested Mode: {}  Blocking Mode: {}\n",
            level(wanted),
            level(blocking)
        );
        if with_value {
            text += &raw(&self.value);
        }
        if let Some(counts) = &self.counts {
            text += &counts.text();
        }
        text.push('\n');
        text
    }
}

impl Counts {
    fn of(version: i64, next: &mut impl FnMut() -> Result<i64, String>) -> Result<Self, String> {
        let mut pair = || Ok::<_, String>([next()? as u64, next()? as u64]);
        let (gets, fails, total, longest) = (pair()?, pair()?, pair()?, pair()?);
        // In nanoseconds up to version 2.
        let longest = if version == 2 { longest.map(|time| time / 1000) } else { longest };
        let refreshes = next()? as u64;
        let last = match version {
            ..=3 => None,
            _ => Some(([next()? as u64, next()? as u64], next()? as u64)),
        };
        Ok(Self { gets, fails, total, longest, refreshes, last })
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (index, name) in ["PR", "EX"].into_iter().enumerate() {
            let of = |pair: &[u64; 2]| pair.get(index).copied().unwrap_or(0);
            let (gets, fails, total) = (of(&self.gets), of(&self.fails), of(&self.total));
            let (micros, longest) = (total / 1000, of(&self.longest));
            let average = total.checked_div(gets).unwrap_or(0);
            let _ = write!(
                text,
                "{name} > Gets: {gets}  Fails: {fails}    Waits Total: {micros}us  Max: \
                 {longest}us  Avg: {average}ns"
            );
            if let Some((last, _)) = &self.last {
                let _ = write!(text, " Last: {}us", of(last));
            }
            text.push('\n');
        }
        let _ = write!(text, "Disk Refreshes: {}", self.refreshes);
        if let Some((_, wait)) = self.last {
            let _ = write!(text, " First Wait: {wait}us");
        }
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of Linux 6.1, with a lock value of zeros.
    fn line() -> String {
        let value = "0x0\t".repeat(LVB);
        format!(
            "0x4\tN00000000000000050000fc02\t3\t0x41\t0x0\t0x0\t0\t0\t3\t-1\t{value}1\t0\t0\t0\t\
             45432248\t0\t45432\t0\t0\t1795867921109538\t0\t0\t"
        )
    }

    #[test]
    fn a_line_of_a_kernel_is_told_in_words() {
        let lock = FsLock::parse(&line()).unwrap();
        assert!(!lock.is_busy());
        assert_eq!(
            lock.text(false),
            "Lockres: N00000000000000050000fc02  Mode: Protected Read\n\
             Flags: Initialized Attached\n\
             RO Holders: 0  EX Holders: 0\n\
             Pending Action: None  Pending Unlock Action: None\n\
             Requested Mode: Protected Read  Blocking Mode: Invalid\n\
             PR > Gets: 1  Fails: 0    Waits Total: 45432us  Max: 45432us  Avg: 45432248ns Last: \
             1795867921109538us\n\
             EX > Gets: 0  Fails: 0    Waits Total: 0us  Max: 0us  Avg: 0ns Last: 0us\n\
             Disk Refreshes: 0 First Wait: 0us\n\n"
        );
        assert_eq!(lock.text(true).matches("00 ").count(), LVB);
    }

    #[test]
    fn what_is_no_line_is_an_error() {
        let line = line();
        let whole: Vec<_> = line.split_ascii_whitespace().collect();
        for len in 0..whole.len() {
            assert!(FsLock::parse(&whole[..len].join("\t")).is_err(), "{len}");
        }
        assert!(FsLock::parse(&line.replacen("0x4", "0x5", 1)).is_err());
        assert!(FsLock::parse(&line.replacen("0x41", "bits", 1)).is_err());
        // Fields of later kernels are ignored.
        assert!(FsLock::parse(&(line + "\t77")).is_ok());
    }
}
