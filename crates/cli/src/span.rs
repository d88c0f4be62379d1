//! Time spans for people.

use std::time::Duration;

/// A time span in the largest unit of which it has at least two, rounded down.
pub fn human_span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (unit, name) = match seconds {
        0..120 => (1, "s"),
        120..7200 => (60, "min"),
        7200..172_800 => (3600, "h"),
        _ => (86_400, "days"),
    };
    format!("{} {name}", seconds / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_given_in_the_unit_that_fits() {
        let text = |seconds| human_span(Duration::from_secs(seconds));
        assert_eq!(text(0), "0 s");
        assert_eq!(text(119), "119 s");
        assert_eq!(text(120), "2 min");
        assert_eq!(text(7199), "119 min");
        assert_eq!(text(7200), "2 h");
        assert_eq!(text(3 * 86_400 + 5), "3 days");
    }
}
