//! Blocks that were seen, as runs.

use std::collections::BTreeMap;
use std::ops::Range;

use ocfs2_format::Blkno;

/// A set of blocks. Its memory depends on the number of its runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    /// By start, with the end; no two of them touch.
    runs: BTreeMap<u64, u64>,
}

impl Runs {
    /// Adds `count` blocks from `start` on. Returns false, and adds nothing, if one of them is
    /// there already.
    pub fn insert(&mut self, start: Blkno, count: u64) -> bool {
        let Range { mut start, mut end } = start.0..start.0.saturating_add(count);
        if start == end {
            return true;
        }
        let before = self.runs.range(..=start).next_back().map(|(start, end)| (*start, *end));
        let after = self.runs.range(start..).next().map(|(start, end)| (*start, *end));
        let is_in = |run: Option<(u64, u64)>| run.is_some_and(|run| run.0 < end && start < run.1);
        if is_in(before) || is_in(after) {
            return false;
        }
        if let Some((first, _)) = before.filter(|(_, last)| *last == start) {
            start = first;
        }
        if let Some((first, last)) = after.filter(|(first, _)| *first == end) {
            self.runs.remove(&first);
            end = last;
        }
        self.runs.insert(start, end);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_taken_once_and_runs_that_touch_are_one() {
        let mut runs = Runs::default();
        assert!(runs.insert(Blkno(10), 10) && runs.insert(Blkno(30), 10));
        assert!(runs.insert(Blkno(20), 10) && runs.insert(Blkno(9), 1));
        assert_eq!(runs.runs, BTreeMap::from([(9, 40)]));
        for (start, count) in [(9, 1), (39, 1), (0, 10), (39, 5), (0, 100), (20, 2)] {
            assert!(!runs.insert(Blkno(start), count), "{start}, {count}");
        }
        assert!(runs.insert(Blkno(40), 1) && runs.insert(Blkno(u64::MAX - 1), u64::MAX));
        assert!(runs.insert(Blkno(3), 0) && runs.insert(Blkno(0), 9));
        assert_eq!(runs.runs, BTreeMap::from([(0, 41), (u64::MAX - 1, u64::MAX)]));
    }
}
