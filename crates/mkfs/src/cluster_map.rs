//! The global bitmap of the new volume: which clusters are taken.
//!
//! Only groups from which something was allocated have a bitmap in memory; in all others only the
//! descriptor is taken. The two ways of choosing clusters are those of mkfs.ocfs2 1.8, so that
//! everything is where other tools have always found it.

use std::collections::BTreeMap;
use std::ops::Range;

use ocfs2_format::Cluster;
use ocfs2_format::bitmap::{Bitmap, BitmapMut};
use ocfs2_format::geometry::Geometry;

/// The clusters of a volume and which of them are taken.
#[derive(Clone, Debug)]
pub(crate) struct ClusterMap {
    geometry: Geometry,
    /// Chains of the global bitmap, `cl_count`.
    chains: u32,
    touched: BTreeMap<u32, Group>,
    /// The first group that may have free clusters.
    first_free: u32,
    used: u32,
}

#[derive(Clone, Debug)]
struct Group {
    bits: usize,
    free: usize,
    bitmap: Vec<u8>,
}

impl Group {
    fn bitmap(&self) -> Bitmap<'_> {
        Bitmap::new(&self.bitmap, self.bits)
    }
}

impl ClusterMap {
    /// An empty volume: only the leading clusters and all descriptors are taken.
    pub(crate) fn new(geometry: Geometry, chains: u32) -> Self {
        let mut map = Self { geometry, chains, touched: BTreeMap::new(), first_free: 0, used: 0 };
        map.used = geometry.groups().saturating_sub(1);
        let leading = geometry.cluster_of(geometry.first_group).map_or(0, |c| c.0 + 1);
        map.take(Cluster(0), leading);
        map
    }

    /// Number of taken clusters.
    pub(crate) fn used(&self) -> u32 {
        self.used
    }

    /// Number of free clusters in `group`.
    pub(crate) fn free_in(&self, group: u32) -> u32 {
        match self.touched.get(&group) {
            Some(group) => group.free as u32,
            None => self.geometry.group_clusters(group).saturating_sub(1),
        }
    }

    /// The bitmap of `group`; `None` if only its descriptor is taken.
    pub(crate) fn bitmap_of(&self, group: u32) -> Option<&[u8]> {
        self.touched.get(&group).map(|group| &group.bitmap[..])
    }

    /// Marks `count` clusters from `start` on as taken. They must be free and in one group.
    pub(crate) fn take(&mut self, start: Cluster, count: u32) {
        let (index, bit) = self.geometry.group_of(start);
        let bits = self.geometry.group_clusters(index) as usize;
        let group = self.touched.entry(index).or_insert_with(|| {
            let mut bitmap = vec![0; bits.div_ceil(8)];
            let descriptor = usize::from(index > 0);
            BitmapMut::new(&mut bitmap, bits).set_range(0, descriptor);
            Group { bits, free: bits - descriptor, bitmap }
        });
        BitmapMut::new(&mut group.bitmap, bits).set_range(bit as usize, count as usize);
        group.free = group.free.saturating_sub(count as usize);
        self.used += count;
        while self.first_free < self.geometry.groups() && self.free_in(self.first_free) == 0 {
            self.first_free += 1;
        }
    }

    /// Takes the first run of `count` clusters, chain by chain. For the basic layout of the volume.
    pub(crate) fn allocate_by_chain(&mut self, count: u32) -> Option<Cluster> {
        let groups = self.geometry.groups();
        let chains = self.chains.max(1);
        let order =
            (0..chains.min(groups)).flat_map(|chain| (chain..groups).step_by(chains as usize));
        let mut order = order.filter(|group| self.free_in(*group) >= count);
        // Up to here every group is filled from its start, so a group with enough free clusters has
        // them in one run.
        let index = order.next()?;
        let run = self.free_runs(index).find(|run| run.len() >= count as usize)?;
        Some(self.take_run(index, run.start, count))
    }

    /// Takes the first run of `wanted` clusters in the first group with a run of at least `min`, or
    /// the longest run there. For everything after the basic layout.
    pub(crate) fn allocate(&mut self, min: u32, wanted: u32) -> Option<(Cluster, u32)> {
        for index in self.first_free..self.geometry.groups() {
            if self.free_in(index) < min {
                continue;
            }
            let mut best: Option<Range<usize>> = None;
            for run in self.free_runs(index).filter(|run| run.len() >= min as usize) {
                if run.len() >= wanted as usize {
                    best = Some(run);
                    break;
                }
                if best.as_ref().is_none_or(|best| run.len() > best.len()) {
                    best = Some(run);
                }
            }
            if let Some(run) = best {
                let count = wanted.min(run.len() as u32);
                return Some((self.take_run(index, run.start, count), count));
            }
        }
        None
    }

    /// Takes the next run of free clusters from `at` on, wrapping around at the end of the volume,
    /// of at least `min` and at most `wanted` clusters. Skipped clusters stay free. For files.
    pub(crate) fn allocate_behind(
        &mut self,
        at: Cluster,
        min: u32,
        wanted: u32,
    ) -> Option<(Cluster, u32)> {
        let (groups, (first, bit)) = (self.geometry.groups(), self.geometry.group_of(at));
        let order = (first..groups).chain(self.first_free..groups.min(first.saturating_add(1)));
        for (step, index) in order.enumerate() {
            if self.free_in(index) < min {
                continue;
            }
            let from = if step == 0 { bit as usize } else { 0 };
            let run = self.free_runs(index).find_map(|run| {
                let run = run.start.max(from)..run.end;
                (run.len() >= min.max(1) as usize).then_some(run)
            });
            if let Some(run) = run {
                let count = wanted.min(run.len() as u32);
                return Some((self.take_run(index, run.start, count), count));
            }
        }
        None
    }

    fn take_run(&mut self, group: u32, bit: usize, count: u32) -> Cluster {
        let start = Cluster(self.geometry.group_start(group).0 + bit as u32);
        self.take(start, count);
        start
    }

    fn free_runs(&self, group: u32) -> Box<dyn Iterator<Item = Range<usize>> + '_> {
        match self.touched.get(&group) {
            Some(group) => Box::new(group.bitmap().runs(false)),
            None => Box::new(std::iter::once(1..self.geometry.group_clusters(group) as usize)),
        }
    }
}

#[cfg(test)]
mod tests {
    use ocfs2_format::{BlockSize, ClusterSize};

    use super::*;

    fn map(clusters: u32) -> ClusterMap {
        ClusterMap::new(Geometry::new(BlockSize::MIN, ClusterSize::MIN, clusters), 19)
    }

    #[test]
    fn an_empty_volume_has_its_leading_clusters_and_descriptors_taken() {
        // With these sizes a group has 3584 clusters; the first descriptor is in cluster 1.
        let map = map(3 * 3584 + 10);
        assert_eq!(map.used(), 2 + 3);
        let free: Vec<_> = (0..4).map(|group| map.free_in(group)).collect();
        assert_eq!(free, [3582, 3583, 3583, 9]);
    }

    #[test]
    fn an_extension_takes_the_longest_run_where_none_is_long_enough() {
        let mut map = map(2 * 3584);
        map.take(Cluster(100), 1);
        map.take(Cluster(3000), 1);
        // Free in group 0: 2..100, 101..3000, 3001..3584.
        assert_eq!(map.allocate(1, 5000), Some((Cluster(101), 2899)));
        assert_eq!(map.allocate(1, 90), Some((Cluster(2), 90)));
        assert_eq!(map.allocate(600, 600), Some((Cluster(3585), 600)));
        assert_eq!(map.allocate(1, 4000), Some((Cluster(3001), 583)));
        assert_eq!(map.allocate(1, 4000), Some((Cluster(92), 8)));
        assert_eq!(map.free_in(0), 0);
        assert_eq!(map.allocate(1, 4000), Some((Cluster(4185), 2983)));
        assert_eq!(map.allocate(1, 1), None);
        assert_eq!(map.used(), 2 * 3584);
    }

    #[test]
    fn files_are_written_one_behind_the_other_round_the_volume() {
        let mut map = map(2 * 3584);
        assert_eq!(map.allocate_behind(Cluster(3000), 1, 10), Some((Cluster(3000), 10)));
        assert_eq!(map.allocate_behind(Cluster(3010), 1, 1000), Some((Cluster(3010), 574)));
        assert_eq!(map.allocate_behind(Cluster(3584), 4, 4000), Some((Cluster(3585), 3583)));
        assert_eq!(map.allocate_behind(Cluster(7168), 1, 4000), Some((Cluster(2), 2998)));
        assert_eq!(map.allocate_behind(Cluster(3000), 1, 1), None);
    }

    #[test]
    fn the_layout_takes_group_after_group_of_a_chain() {
        let mut map = map(40 * 3584);
        assert_eq!(map.allocate_by_chain(3580), Some(Cluster(2)));
        // Group 0 has two clusters left; the next group of its chain is 19.
        assert_eq!(map.allocate_by_chain(3), Some(Cluster(19 * 3584 + 1)));
        assert_eq!(map.allocate_by_chain(2), Some(Cluster(3582)));
        assert_eq!(map.allocate_by_chain(3584), None);
    }
}
