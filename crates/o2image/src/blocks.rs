//! Sets of blocks to be saved.

use std::ops::Range;

/// A set of blocks: ranges in ascending order that do not touch.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Blocks(Vec<Range<u64>>);

impl Blocks {
    /// The blocks below `end` in `ranges`, which may come in any order and overlap.
    pub fn of(mut ranges: Vec<Range<u64>>, end: u64) -> Self {
        ranges.sort_unstable_by_key(|range| range.start);
        let mut blocks: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            let range = range.start..range.end.min(end);
            if range.is_empty() {
                continue;
            }
            match blocks.last_mut().filter(|last| last.end >= range.start) {
                Some(last) => last.end = last.end.max(range.end),
                None => blocks.push(range),
            }
        }
        Self(blocks)
    }

    /// The blocks of the set that `is_kept` approves of.
    pub fn retained(&self, mut is_kept: impl FnMut(u64) -> bool) -> Self {
        let mut kept: Vec<Range<u64>> = Vec::new();
        for block in self.0.iter().cloned().flatten().filter(|block| is_kept(*block)) {
            match kept.last_mut().filter(|last| last.end == block) {
                Some(last) => last.end += 1,
                None => kept.push(block..block + 1),
            }
        }
        Self(kept)
    }

    /// The ranges of consecutive blocks.
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.0
    }

    /// Number of blocks in the set.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    /// Whether `block` is in the set.
    pub fn contains(&self, block: u64) -> bool {
        let after = self.0.partition_point(|range| range.start <= block);
        after > 0 && self.0.get(after - 1).is_some_and(|range| block < range.end)
    }

    /// Number of blocks in the set that are below `block`.
    pub fn count_below(&self, block: u64) -> u64 {
        let below = self.0.iter().take_while(|range| range.start < block);
        below.map(|range| range.end.min(block) - range.start).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_set_of_their_blocks(ranges in prop::collection::vec((0_u64..60, 0_u64..9), 0..20)) {
            let ranges: Vec<_> = ranges.into_iter().map(|(start, len)| start..start + len).collect();
            let set: BTreeSet<u64> = ranges.iter().cloned().flatten().filter(|it| *it < 50).collect();
            let blocks = Blocks::of(ranges, 50);
            prop_assert!(blocks.ranges().windows(2).all(|two| two[0].end < two[1].start));
            prop_assert_eq!(blocks.count(), set.len() as u64);
            let even = Blocks::of(set.iter().filter(|it| *it % 3 != 0).map(|it| *it..it + 1).collect(), 50);
            prop_assert_eq!(blocks.retained(|it| it % 3 != 0), even);
            for block in 0..70 {
                prop_assert_eq!(blocks.contains(block), set.contains(&block));
                prop_assert_eq!(blocks.count_below(block), set.range(..block).count() as u64);
            }
        }
    }
}
