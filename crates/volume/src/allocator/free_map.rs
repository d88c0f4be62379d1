//! The free clusters of a volume, for somebody who plans where things are to be.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::{Error, Volume};

/// Runs of free clusters, by place and by length. None of them goes across groups of the global
/// bitmap: each of these begins with its descriptor.
#[derive(Clone, Debug, Default)]
pub struct FreeMap {
    /// By start, with the end; no two of them touch.
    by_start: BTreeMap<u32, u32>,
    /// Length and start.
    by_length: BTreeSet<(u32, u32)>,
}

impl FreeMap {
    /// The free clusters according to the global bitmap.
    ///
    /// # Errors
    /// It is damaged.
    pub fn of(volume: &Volume) -> Result<Self, Error> {
        let (bitmap, mut map) = (volume.global_bitmap()?, Self::default());
        for group in volume.groups(&bitmap) {
            let group = group?;
            let cluster = volume.geometry().cluster_of(group.blkno).unwrap_or_default();
            let start = volume.geometry().group_start(volume.geometry().group_of(cluster).0).0;
            for run in group.bitmap().runs(false) {
                map.give(start + run.start as u32..start + run.end as u32);
            }
        }
        Ok(map)
    }

    /// Adds clusters that are free now.
    pub fn give(&mut self, run: Range<u32>) {
        let Range { mut start, mut end } = run;
        if start >= end {
            return;
        }
        let before = self.by_start.range(..=start).next_back().map(|(start, end)| (*start, *end));
        if let Some((first, last)) = before.filter(|(_, last)| *last >= start) {
            self.forget(first, last);
            (start, end) = (first, end.max(last));
        }
        while let Some((first, last)) =
            self.by_start.range(start..=end).next().map(|(a, b)| (*a, *b))
        {
            self.forget(first, last);
            end = end.max(last);
        }
        self.by_start.insert(start, end);
        self.by_length.insert((end - start, start));
    }

    /// Takes clusters out, which have to be part of one run. Returns false if they are not.
    pub fn take(&mut self, run: &Range<u32>) -> bool {
        let around = self.by_start.range(..=run.start).next_back().map(|(a, b)| (*a, *b));
        let Some((start, end)) = around.filter(|(_, end)| run.end <= *end) else { return false };
        self.forget(start, end);
        self.give(start..run.start);
        self.give(run.end..end);
        true
    }

    fn forget(&mut self, start: u32, end: u32) {
        self.by_start.remove(&start);
        self.by_length.remove(&(end - start, start));
    }

    /// The first `count` clusters of the shortest run that has so many; of several, of the first.
    pub fn shortest(&self, count: u32) -> Option<Range<u32>> {
        let (_, start) = self.by_length.range((count, 0)..).next()?;
        Some(*start..start + count)
    }

    /// As [`FreeMap::shortest`], of runs that end up before cluster `before`.
    pub fn shortest_before(&self, count: u32, before: u32) -> Option<Range<u32>> {
        let mut length = count;
        loop {
            let (found, start) = *self.by_length.range((length, 0)..).next()?;
            if start + count <= before {
                return Some(start..start + count);
            }
            // The others of this length come later.
            length = found.checked_add(1)?;
        }
    }

    /// Whether any of these clusters is free.
    pub fn overlaps(&self, run: &Range<u32>) -> bool {
        self.by_start.range(..run.end).next_back().is_some_and(|(_, end)| *end > run.start)
    }

    /// The run that begins at a cluster.
    pub fn at(&self, start: u32) -> Option<Range<u32>> {
        self.by_start.get(&start).map(|end| start..*end)
    }

    /// Length of the longest run.
    pub fn longest(&self) -> u32 {
        self.by_length.last().map_or(0, |(length, _)| *length)
    }

    /// Number of runs.
    pub fn runs(&self) -> usize {
        self.by_start.len()
    }

    /// Number of free clusters.
    pub fn clusters(&self) -> u64 {
        self.by_length.iter().map(|(length, _)| u64::from(*length)).sum()
    }

    /// Number of runs and of clusters, by the power of two of the length.
    pub fn by_size(&self) -> BTreeMap<u32, (u64, u64)> {
        let mut sizes: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for (length, _) in &self.by_length {
            let row = sizes.entry(length.ilog2()).or_default();
            *row = (row.0 + 1, row.1 + u64::from(*length));
        }
        sizes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_by_length_and_place_and_joined_where_they_touch() {
        let mut map = FreeMap::default();
        for run in [10..20, 30..34, 40..44, 100..200] {
            map.give(run);
        }
        assert_eq!((map.runs(), map.clusters(), map.longest()), (4, 118, 100));
        assert_eq!((map.shortest(4), map.shortest(5)), (Some(30..34), Some(10..15)));
        assert_eq!((map.shortest(11), map.shortest(101)), (Some(100..111), None));
        assert_eq!(map.shortest_before(4, 34), Some(30..34));
        assert_eq!(map.shortest_before(4, 33), Some(10..14));
        assert_eq!((map.shortest_before(4, 13), map.shortest_before(11, 110)), (None, None));
        assert_eq!((map.at(30), map.at(31)), (Some(30..34), None));
        assert!(map.take(&(12..15)) && !map.take(&(12..13)) && !map.take(&(199..201)));
        assert_eq!((map.at(10), map.at(15), map.runs()), (Some(10..12), Some(15..20), 5));
        map.give(12..15);
        map.give(34..40);
        assert_eq!((map.at(10), map.at(30), map.runs()), (Some(10..20), Some(30..44), 3));
        assert_eq!(map.by_size(), BTreeMap::from([(3, (2, 24)), (6, (1, 100))]));
        // The two by place and by length are the same, whatever comes.
        let mut random = 1_u32;
        let mut free = [false; 500];
        let mut map = FreeMap::default();
        for _ in 0..2000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (start, count) = ((random >> 8) % 480, (random >> 20) % 19 + 1);
            let run = start..start + count;
            let of =
                |free: &mut [bool; 500]| free[start as usize..(start + count) as usize].to_vec();
            match random & 64 {
                0 => {
                    map.give(run);
                    free[start as usize..(start + count) as usize].fill(true);
                }
                _ => {
                    let all = of(&mut free).iter().all(|it| *it);
                    assert_eq!(map.take(&run), all);
                    if all {
                        free[start as usize..(start + count) as usize].fill(false);
                    }
                }
            }
            let expected = free.iter().filter(|it| **it).count() as u64;
            assert_eq!(map.clusters(), expected);
            assert!(map.by_start.iter().all(|(a, b)| map.by_length.contains(&(b - a, *a))));
            assert_eq!(map.by_start.len(), map.by_length.len());
        }
    }
}
