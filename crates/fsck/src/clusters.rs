//! Sets of clusters: one bit per cluster, stored only where clusters are set.

use std::collections::BTreeMap;
use std::ops::Range;

use ocfs2_format::bitmap::{Bitmap, BitmapMut};

/// Clusters per piece of the map.
const PIECE: u32 = 1 << 15;
const PIECE_BYTES: usize = PIECE as usize / 8;

/// A set of clusters.
///
/// Takes memory only where clusters are set, in pieces of 4 KiB for 32768 clusters each.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClusterSet {
    pieces: BTreeMap<u32, Box<[u8; PIECE_BYTES]>>,
}

impl ClusterSet {
    /// Adds the clusters of `range`. Calls `again` with each run that was in the set before.
    pub fn insert(&mut self, range: Range<u32>, mut again: impl FnMut(Range<u32>)) {
        for (piece, bits) in pieces(range) {
            let bytes = self.pieces.entry(piece).or_insert_with(|| Box::new([0; PIECE_BYTES]));
            let mut at = bits.start;
            // Usually none of them was set before.
            let before = Bitmap::new(&bytes[..], bits.end);
            while let Some(start) = before.next(true, at) {
                let end = before.next(false, start).unwrap_or(bits.end);
                let first = piece * PIECE;
                again(first + start as u32..first + end as u32);
                at = end;
            }
            BitmapMut::new(&mut bytes[..], PIECE as usize)
                .set_range(bits.start, bits.end - bits.start);
        }
    }

    /// Returns whether the set contains a cluster.
    pub fn contains(&self, cluster: u32) -> bool {
        self.pieces.get(&(cluster / PIECE)).is_some_and(|bytes| {
            Bitmap::new(&bytes[..], PIECE as usize).get((cluster % PIECE) as usize)
        })
    }

    /// Returns the runs of clusters within `range` that are in the set, ascending.
    pub fn runs(&self, range: Range<u32>) -> impl Iterator<Item = Range<u32>> + '_ {
        let mut pending: Option<Range<u32>> = None;
        let Range { start, end } = range;
        let first = start / PIECE;
        // Only the existing pieces: the range may cover all possible clusters.
        let there = self.pieces.range(first..end.div_ceil(PIECE).max(first));
        let mut runs = there.flat_map(move |(piece, bytes)| {
            let first = piece * PIECE;
            let end = end.saturating_sub(first).min(PIECE) as usize;
            let bitmap = Bitmap::new(&bytes[..], end);
            let mut at = start.saturating_sub(first) as usize;
            std::iter::from_fn(move || {
                let start = bitmap.next(true, at)?;
                at = bitmap.next(false, start).unwrap_or(end);
                Some(first + start as u32..first + at as u32)
            })
        });
        // A run may continue in the next piece.
        std::iter::from_fn(move || {
            for run in runs.by_ref() {
                match &mut pending {
                    Some(last) if last.end == run.start => last.end = run.end,
                    _ => {
                        if let Some(last) = pending.replace(run) {
                            return Some(last);
                        }
                    }
                }
            }
            pending.take()
        })
    }

    /// Removes all clusters from `end` on.
    pub fn cut(&mut self, end: u32) {
        self.pieces.split_off(&end.div_ceil(PIECE));
        if let Some(bytes) = self.pieces.get_mut(&(end / PIECE)) {
            let first = (end % PIECE) as usize;
            BitmapMut::new(&mut bytes[..], PIECE as usize)
                .clear_range(first, PIECE as usize - first);
        }
    }

    /// Returns the memory it takes, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        (self.pieces.len() * PIECE_BYTES) as u64
    }

    /// Returns the number of clusters in the set.
    pub fn len(&self) -> u64 {
        let ones = |bytes: &[u8; PIECE_BYTES]| Bitmap::new(bytes, PIECE as usize).count_ones();
        self.pieces.values().map(|bytes| ones(bytes) as u64).sum()
    }

    /// Returns whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Returns the pieces that a range touches, with the bits of the range in each.
fn pieces(range: Range<u32>) -> impl Iterator<Item = (u32, Range<usize>)> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        if at >= range.end {
            return None;
        }
        let (piece, start) = (at / PIECE, at % PIECE);
        let count = (range.end - at).min(PIECE - start);
        at += count;
        Some((piece, start as usize..(start + count) as usize))
    })
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use super::*;

    #[test]
    fn runs_go_across_pieces_and_doubles_are_told() {
        let mut set = ClusterSet::default();
        let mut again = Vec::new();
        set.insert(10..20, |run| again.push(run));
        set.insert(PIECE - 5..3 * PIECE + 7, |run| again.push(run));
        assert!(again.is_empty());
        set.insert(15..PIECE + 1, |run| again.push(run));
        assert_eq!(again, [15..20, PIECE - 5..PIECE, PIECE..PIECE + 1]);
        assert_eq!(set.runs(0..u32::MAX).collect::<Vec<_>>(), [10..3 * PIECE + 7]);
        assert_eq!(set.runs(12..14).collect::<Vec<_>>(), [12..14]);
        assert_eq!(set.len(), u64::from(3 * PIECE) - 3);
        assert!(set.contains(10) && !set.contains(9) && !set.contains(u32::MAX));
    }

    #[test]
    fn what_is_cut_off_is_gone() {
        for end in [0, 5, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 7, u32::MAX] {
            let mut set = ClusterSet::default();
            set.insert(2..3 * PIECE, |_| {});
            set.cut(end);
            let left = set.runs(0..u32::MAX).next();
            assert_eq!(left, (end > 2).then_some(2..end.min(3 * PIECE)), "{end}");
        }
    }

    #[test]
    fn the_last_cluster_there_can_be_is_kept() {
        let mut set = ClusterSet::default();
        set.insert(u32::MAX - 1..u32::MAX, |_| {});
        assert_eq!(set.runs(0..u32::MAX).collect::<Vec<_>>(), [u32::MAX - 1..u32::MAX]);
    }
}
