//! Times in the time zone of this machine.

use jiff::Timestamp;
use jiff::tz::TimeZone;

fn zoned(seconds: u64) -> Option<jiff::Zoned> {
    let time = Timestamp::from_second(seconds as i64).ok()?;
    Some(time.to_zoned(TimeZone::system()))
}

/// A time as in `ctime(3)`; its number if it is outside the calendar.
pub fn long(seconds: u64) -> String {
    with_fraction(seconds, "")
}

/// The same with nanoseconds, which are not padded, as in the C tool.
pub fn with_nanoseconds(seconds: u64, nanoseconds: u32) -> String {
    with_fraction(seconds, &format!(".{nanoseconds}"))
}

fn with_fraction(seconds: u64, fraction: &str) -> String {
    let Some(time) = zoned(seconds) else { return format!("{}{fraction}", seconds as i64) };
    format!("{}{fraction} {}", time.strftime("%a %b %e %H:%M:%S"), time.year())
}

/// A time as in a list of files.
pub fn short(seconds: u64) -> String {
    match zoned(seconds) {
        Some(time) => time.strftime("%e-%b-%Y %H:%M").to_string(),
        None => (seconds as i64).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_no_calendar_has_is_a_number() {
        assert_eq!(long(u64::MAX / 2), (u64::MAX / 2).to_string());
        assert_eq!(with_nanoseconds(1 << 62, 7), format!("{}.7", 1_u64 << 62));
        assert!(long(0).contains("19"));
    }
}
