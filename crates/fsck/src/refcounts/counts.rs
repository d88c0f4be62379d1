//! Compares the counts of a tree with the extents that share its clusters.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use ocfs2_format::Blkno;

use super::block::Tree;
use crate::repair::refcount::Run;
use crate::tables::collected::SharedClaim;

/// Consecutive clusters whose count is wrong in the same way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Mismatch {
    pub clusters: Range<u32>,
    pub stored: u32,
    pub counted: u32,
    /// Some of the inodes with too many extents there.
    pub owners: Vec<Blkno>,
}

/// The most inodes that are named for one range.
const MOST_OWNERS: usize = 8;

impl Mismatch {
    /// The same, with the inodes of `claims`, which are sorted by their start, if they are more
    /// than the tree counts.
    pub fn with_owners(self, claims: &[SharedClaim]) -> Self {
        if self.counted <= self.stored {
            return self;
        }
        let Range { start, end } = self.clusters;
        let overlaps = |claim: &&SharedClaim| claim.start.saturating_add(claim.count) > start;
        let before = claims.iter().take_while(|claim| claim.start < end);
        let mut owners = Vec::new();
        for claim in before.filter(overlaps) {
            if !owners.contains(&claim.owner) && owners.len() < MOST_OWNERS {
                owners.push(claim.owner);
            }
        }
        Self { owners, ..self }
    }
}

/// Returns how many of `claims`, which are sorted by their start, cover which clusters. A heap of
/// the ends of open claims takes memory for claims only, and not for each cluster.
pub fn runs(claims: &[SharedClaim]) -> impl Iterator<Item = Run> {
    let mut claims = claims.iter().peekable();
    let mut ends = BinaryHeap::new();
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            while ends.peek().is_some_and(|Reverse(end)| *end <= at) {
                ends.pop();
            }
            if ends.is_empty() {
                at = claims.peek()?.start;
            }
            while let Some(claim) = claims.next_if(|claim| claim.start <= at) {
                ends.push(Reverse(claim.start.saturating_add(claim.count)));
            }
            let count = u32::try_from(ends.len()).unwrap_or(u32::MAX);
            let Some(Reverse(end)) = ends.peek() else { continue };
            let end = claims.peek().map_or(*end, |next| next.start.min(*end));
            let clusters = at..end;
            at = end;
            if !clusters.is_empty() {
                return Some(Run { clusters, count });
            }
        }
    })
}

/// Returns the clusters of `runs` in as few ranges as possible.
pub(super) fn covered(runs: &[Run]) -> Vec<Range<u32>> {
    let mut covered: Vec<Range<u32>> = Vec::new();
    for run in runs {
        match covered.last_mut() {
            Some(last) if last.end == run.clusters.start => last.end = run.clusters.end,
            _ => covered.push(run.clusters.clone()),
        }
    }
    covered
}

/// Returns where `tree` differs from what was counted, apart from clusters whose record it lost.
pub(super) fn compare(tree: &Tree, runs: &[Run]) -> Vec<Mismatch> {
    let mut mismatches: Vec<Mismatch> = Vec::new();
    let (mut records, mut runs) = (tree.records.iter().peekable(), runs.iter().peekable());
    let mut lost = tree.lost.iter().peekable();
    let mut at = 0;
    loop {
        while records.next_if(|record| record.clusters.end <= at).is_some() {}
        while runs.next_if(|run| run.clusters.end <= at).is_some() {}
        while lost.next_if(|lost| lost.end <= at).is_some() {}
        let record = records.peek();
        let run = runs.peek();
        let starts = [record.map(|record| &record.clusters), run.map(|run| &run.clusters)];
        let Some(start) = starts.iter().flatten().map(|range| range.start.max(at)).min() else {
            return mismatches;
        };
        let lost_here = lost.peek().filter(|lost| lost.contains(&start)).is_some();
        // Nothing changes before the next start or end of anything.
        let changes = starts.into_iter().flatten().chain(lost.peek().copied());
        let changes = changes.flat_map(|range| [range.start, range.end]);
        let Some(end) = changes.filter(|change| *change > start).min() else { return mismatches };
        at = end;
        let there = |range: &Range<u32>| range.contains(&start);
        let stored = record.filter(|record| there(&record.clusters));
        let stored = stored.map_or(0, |record| record.count);
        let counted = run.filter(|run| there(&run.clusters)).map_or(0, |run| run.count);
        if stored == counted || stored == 0 && lost_here {
            continue;
        }
        match mismatches.last_mut() {
            Some(last)
                if last.clusters.end == start
                    && (last.stored, last.counted) == (stored, counted) =>
            {
                last.clusters.end = end;
            }
            _ => mismatches.push(Mismatch {
                clusters: start..end,
                stored,
                counted,
                owners: Vec::new(),
            }),
        }
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use ocfs2_format::Blkno;

    use super::super::block::Record;
    use super::*;

    fn claims(ranges: &[Range<u32>]) -> Vec<SharedClaim> {
        let claim = |range: &Range<u32>| SharedClaim {
            owner: Blkno(1),
            tree: Blkno(2),
            start: range.start,
            count: range.end - range.start,
        };
        let mut claims: Vec<_> = ranges.iter().map(claim).collect();
        claims.sort_unstable_by_key(|claim| claim.start);
        claims
    }

    fn counted(ranges: &[Range<u32>]) -> Vec<(Range<u32>, u32)> {
        runs(&claims(ranges)).map(|run| (run.clusters, run.count)).collect()
    }

    #[test]
    fn clusters_are_counted_as_often_as_they_are_covered() {
        assert_eq!(counted(&[]), []);
        assert_eq!(counted(&[5..8, 20..22]), [(5..8, 1), (20..22, 1)]);
        assert_eq!(counted(&[5..9, 7..12, 7..9]), [(5..7, 1), (7..9, 3), (9..12, 1)]);
        assert_eq!(counted(&[1..3, 3..5]), [(1..3, 1), (3..5, 1)]);
        assert_eq!(counted(&[7..7, 7..8]), [(7..8, 1)]);
        assert_eq!(counted(&[u32::MAX - 1..u32::MAX]), [(u32::MAX - 1..u32::MAX, 1)]);
    }

    #[test]
    fn only_what_differs_is_told_and_in_one_piece() {
        let record = |clusters, count| Record { clusters, count };
        let records = vec![record(0..4, 1), record(4..10, 2), record(30..40, 1)];
        let tree = Tree { records, lost: vec![20..25] };
        let compare = |ranges: &[Range<u32>]| {
            let runs: Vec<_> = runs(&claims(ranges)).collect();
            let mismatches = compare(&tree, &runs).into_iter();
            mismatches.map(|m| (m.clusters, m.stored, m.counted)).collect::<Vec<_>>()
        };
        assert_eq!(compare(&[0..10, 4..10, 30..40]), []);
        assert_eq!(compare(&[0..10, 4..10, 20..25, 30..40]), []);
        assert_eq!(
            compare(&[0..10, 4..10, 19..26, 30..35]),
            [(19..20, 0, 1), (25..26, 0, 1), (35..40, 1, 0)]
        );
        assert_eq!(
            compare(&[0..4, 6..8, 30..32, 32..40]),
            [(4..6, 2, 0), (6..8, 2, 1), (8..10, 2, 0)]
        );
    }
}
