//! Sets of numbers as ascending ranges that do not touch.

use std::ops::Range;

/// Merges ranges in any order into such a set.
pub(super) fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| range.start < range.end);
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// The parts of a range that are in a set.
pub(super) fn within(range: &Range<u64>, set: &[Range<u64>]) -> Vec<Range<u64>> {
    let first = set.partition_point(|it| it.end <= range.start);
    let near = set.get(first..).unwrap_or_default().iter();
    let near = near.take_while(|it| it.start < range.end);
    near.map(|it| it.start.max(range.start)..it.end.min(range.end)).collect()
}

/// The parts of a range that are not in a set.
pub(super) fn outside(range: &Range<u64>, set: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut parts = Vec::new();
    let mut at = range.start;
    for part in within(range, set) {
        if at < part.start {
            parts.push(at..part.start);
        }
        at = part.end;
    }
    if at < range.end {
        parts.push(at..range.end);
    }
    parts
}

/// How many numbers are in the ranges.
pub(super) fn sum(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().fold(0, |sum, range| sum.saturating_add(range.end - range.start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_at_a_set() {
        let set = merged(vec![8..10, 2..4, 4..5, 7..7, 9..12]);
        assert_eq!(set, [2..5, 8..12]);
        assert_eq!(within(&(3..9), &set), [3..5, 8..9]);
        assert_eq!(outside(&(0..9), &set), [0..2, 5..8]);
        assert_eq!(outside(&(2..5), &set), Vec::<Range<u64>>::new());
        assert_eq!(sum(&set), 7);
    }
}
