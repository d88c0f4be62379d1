//! The places of groups of blocks: no two groups in the same place.

use std::collections::BTreeMap;

use super::expected::descriptor_within;
use crate::Context;
use crate::tables::suballocs::Group;

/// The places of groups so far.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Start and end, in blocks.
    taken: BTreeMap<u64, u64>,
}

impl Places {
    /// Takes the place of a group. Returns false if a part of it is taken, or the global bitmap has
    /// a descriptor there.
    pub fn take(&mut self, context: &Context<'_>, group: &Group) -> bool {
        let runs = || group.runs.iter().map(|run| (run.blkno.0, run.blkno.0 + u64::from(run.bits)));
        let is_taken = |(start, end): (u64, u64)| {
            let before = self.taken.range(..end).next_back();
            before.is_some_and(|(_, other)| *other > start)
        };
        let mut sorted: Vec<_> = runs().collect();
        sorted.sort_unstable();
        let overlaps = sorted.windows(2).any(|pair| pair[0].1 > pair[1].0);
        let on_descriptor =
            group.runs.iter().any(|run| descriptor_within(context, run.blkno, run.bits.into()));
        if overlaps || on_descriptor || runs().any(is_taken) {
            return false;
        }
        self.taken.extend(sorted);
        true
    }
    /// Gives back a place that was taken.
    pub fn give_back(&mut self, group: &Group) {
        for run in &group.runs {
            self.taken.remove(&run.blkno.0);
        }
    }
}
