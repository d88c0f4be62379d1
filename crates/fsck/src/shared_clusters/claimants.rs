//! The claimants of clusters, found by reading all inodes again.

use std::ops::Range;

use ocfs2_format::feature::Compat;
use ocfs2_format::superblock::backup_blocks;
use ocfs2_format::{Blkno, Cluster};

use crate::clusters::ClusterSet;
use crate::state::State;
use crate::tables::collected::Collected;
use crate::{Context, Stop, inodes};

/// Clusters that an inode claims, some of them wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Claimed {
    pub owner: Blkno,
    pub clusters: Range<u32>,
    /// The refcount tree that counts them.
    pub tree: Option<Blkno>,
}

/// All claims on wanted clusters.
#[derive(Debug, Default)]
pub(super) struct Claimants {
    /// Claims of inodes, by start.
    claims: Vec<Claimed>,
    ends: Ends,
    /// Clusters of allocators, of the superblock and its backups.
    fixed: Vec<(Range<u32>, String)>,
}

impl Claimants {
    /// Finds those who claim `wanted` clusters. If these are too many to be kept, the last clusters
    /// are removed from `wanted`.
    pub fn find(
        context: &Context<'_>,
        state: &mut State<'_>,
        wanted: &mut ClusterSet,
    ) -> Result<Self, Stop> {
        let mut claims = Claims::new(context.options.most_claims, wanted);
        let mut add = |claimed| claims.add(claimed);
        let suballocs = std::mem::take(&mut state.suballocs);
        let system = std::mem::take(&mut state.system);
        let mut done = 0;
        let scanned = inodes::scan(context, &suballocs, &system, |collected| {
            let Collected { claims, shared, scanned, .. } = collected;
            for claim in claims {
                let clusters = claim.start..claim.start.saturating_add(claim.count);
                add(Claimed { owner: claim.owner, clusters, tree: None });
            }
            for claim in shared {
                let clusters = claim.start..claim.start.saturating_add(claim.count);
                add(Claimed { owner: claim.owner, clusters, tree: Some(claim.tree) });
            }
            done += scanned;
            state.progress(done);
        });
        (state.suballocs, state.system) = (suballocs, system);
        scanned?;
        let claims = claims.kept;
        let fixed = fixed(context, state, wanted);
        Ok(Self::new(claims, fixed))
    }

    pub(super) fn new(mut claims: Vec<Claimed>, fixed: Vec<(Range<u32>, String)>) -> Self {
        claims.sort_unstable_by_key(|claimed| {
            (claimed.clusters.start, claimed.owner, claimed.clusters.end, claimed.tree)
        });
        let ends = Ends::new(claims.iter().map(|claimed| claimed.clusters.end));
        Self { claims, ends, fixed }
    }

    /// Returns all claims of inodes, by start.
    pub fn claims(&self) -> &[Claimed] {
        &self.claims
    }

    /// Returns clusters that do not belong to an inode, and what they belong to.
    pub fn fixed(&self) -> &[(Range<u32>, String)] {
        &self.fixed
    }

    /// Returns the claims on some of these clusters, by start.
    pub fn overlapping(&self, clusters: Range<u32>) -> impl Iterator<Item = &Claimed> {
        let mut next = 0;
        std::iter::from_fn(move || {
            let at = self.ends.first_behind(next, clusters.start)?;
            next = at + 1;
            self.claims.get(at).filter(|claimed| claimed.clusters.start < clusters.end)
        })
    }
}

/// Claims on wanted clusters while they are collected.
struct Claims<'a> {
    wanted: &'a mut ClusterSet,
    kept: Vec<Claimed>,
    /// The largest number of claims that are kept.
    most: usize,
    /// Whether they are all on one cluster.
    is_narrow: bool,
}

impl<'a> Claims<'a> {
    fn new(most: usize, wanted: &'a mut ClusterSet) -> Self {
        Self { wanted, kept: Vec::new(), most, is_narrow: false }
    }

    fn add(&mut self, claimed: Claimed) {
        if !self.is_wanted(&claimed) {
            return;
        }
        if self.kept.len() >= self.most {
            if !self.is_narrow {
                self.narrow();
            }
            // If all claims are on one cluster the first ones are settled first.
            if self.kept.len() >= self.most || !self.is_wanted(&claimed) {
                return;
            }
        }
        self.kept.push(claimed);
    }

    fn is_wanted(&self, claimed: &Claimed) -> bool {
        self.wanted.runs(claimed.clusters.clone()).next().is_some()
    }

    /// Keeps only the first clusters wanted, those of about half of the claims.
    fn narrow(&mut self) {
        let wanted = &*self.wanted;
        let first = |claimed: &Claimed| wanted.runs(claimed.clusters.clone()).next();
        let mut firsts: Vec<u32> = self.kept.iter().filter_map(first).map(|it| it.start).collect();
        let half = firsts.len() / 2;
        firsts.sort_unstable();
        // Of a cluster all claims are kept or none, as a part of them would show a wrong picture.
        let (Some(least), Some(middle)) = (firsts.first(), firsts.get(half)) else { return };
        self.is_narrow = least == middle;
        self.wanted.cut((*middle).max(least.saturating_add(1)));
        let mut kept = std::mem::take(&mut self.kept);
        kept.retain(|claimed| self.is_wanted(claimed));
        self.kept = kept;
    }
}

/// The ends of ranges that are sorted by start. Finds those that end after a cluster without
/// looking at all: a long range may begin far before, so that a binary search by start is not
/// enough. A tree with the largest end of both halves at each node.
#[derive(Debug, Default)]
struct Ends {
    /// The root is at 1, the children of `at` are at `2 * at` and `2 * at + 1`.
    tree: Vec<u32>,
    leaves: usize,
}

impl Ends {
    fn new(ends: impl ExactSizeIterator<Item = u32>) -> Self {
        let leaves = ends.len().next_power_of_two();
        let mut tree = vec![0; leaves];
        tree.extend(ends);
        tree.resize(2 * leaves, 0);
        for at in (1..leaves).rev() {
            tree[at] = tree[2 * at].max(tree[2 * at + 1]);
        }
        Self { tree, leaves }
    }

    /// Returns the first range, from index `from` on, that ends after a cluster.
    fn first_behind(&self, from: usize, cluster: u32) -> Option<usize> {
        let is_behind = |at: usize| self.tree.get(at).is_some_and(|end| *end > cluster);
        let mut at = (from < self.leaves).then_some(self.leaves + from)?;
        // Up to the first node with such a range to the right, then down to it.
        while !is_behind(at) {
            while at % 2 == 1 {
                at /= 2;
            }
            if at == 0 {
                return None;
            }
            at += 1;
        }
        while at < self.leaves {
            at = if is_behind(2 * at) { 2 * at } else { 2 * at + 1 };
        }
        Some(at - self.leaves)
    }
}

/// Returns the clusters of the descriptors of the global bitmap, except the first.
fn descriptors(context: &Context<'_>) -> impl Iterator<Item = Cluster> {
    let geometry = *context.geometry();
    let groups = 1..geometry.groups();
    groups.filter_map(move |group| geometry.cluster_of(geometry.group_blkno(group)))
}

/// Returns the wanted clusters that do not belong to an inode.
fn fixed(
    context: &Context<'_>,
    state: &State<'_>,
    wanted: &ClusterSet,
) -> Vec<(Range<u32>, String)> {
    let geometry = context.geometry();
    let mut fixed = Vec::new();
    let mut add = |clusters: Range<u32>, name: &str| {
        if wanted.runs(clusters.clone()).next().is_some() {
            fixed.push((clusters, name.to_owned()));
        }
    };
    let one = |Cluster(cluster)| cluster..cluster.saturating_add(1);
    let leading = geometry.cluster_of(geometry.first_group).unwrap_or_default();
    add(0..one(leading).end, "the superblock");
    if context.volume.features().compat.contains(Compat::BACKUP_SB) {
        for blkno in backup_blocks(geometry.block_size, geometry.blocks()) {
            geometry.cluster_of(blkno).into_iter().for_each(|cluster| {
                add(one(cluster), "a backup superblock");
            });
        }
    }
    descriptors(context).for_each(|cluster| add(one(cluster), "global_bitmap"));
    for group in state.suballocs.groups() {
        let name = group.suballoc.file_name();
        for run in &group.runs {
            let start = run.blkno.0 >> geometry.bpc_bits();
            let end = run.blkno.0.saturating_add(run.bits.into());
            let end = end.div_ceil(geometry.blocks_per_cluster().into());
            if let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(end)) {
                add(start..end, &name);
            }
        }
    }
    fixed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_end_behind_is_found_from_anywhere() {
        let all = [5, 2, 9, 1, 7, 7, 3];
        for count in 0..=all.len() {
            let ends = Ends::new(all[..count].iter().copied());
            for from in 0..=count + 1 {
                for cluster in 0..10 {
                    let mut expected = from..count;
                    let expected = expected.find(|at| all[*at] > cluster);
                    assert_eq!(ends.first_behind(from, cluster), expected, "{from} {cluster}");
                }
            }
        }
    }

    #[test]
    fn of_too_many_claims_those_on_the_first_clusters_are_kept() {
        let claim = |owner, clusters| Claimed { owner: Blkno(owner), clusters, tree: None };
        let kept = |all: &[(u64, Range<u32>)]| {
            let mut wanted = ClusterSet::default();
            wanted.insert(0..1000, |_| {});
            let mut claims = Claims::new(4, &mut wanted);
            all.iter().for_each(|(owner, clusters)| claims.add(claim(*owner, clusters.clone())));
            let owners = claims.kept.iter().map(|it| it.owner.0).collect::<Vec<_>>();
            (owners, wanted.len())
        };
        let few = [(1, 90..91), (2, 10..11), (3, 10..99), (4, 50..60)];
        assert_eq!(kept(&few), (vec![1, 2, 3, 4], 1000));
        let more = [(1, 90..91), (2, 10..11), (3, 10..99), (4, 50..60), (5, 70..71), (6, 20..21)];
        assert_eq!(kept(&more), (vec![2, 3, 6], 50));
        // Never fewer than one cluster.
        let same: Vec<_> = (1..10).map(|owner| (owner, 10..20)).collect();
        assert_eq!(kept(&same), (vec![1, 2, 3, 4], 1000 - 990 + 1));
    }

    #[test]
    fn a_long_claim_is_found_behind_short_ones() {
        let claim = |owner, clusters| Claimed { owner: Blkno(owner), clusters, tree: None };
        let claims = vec![claim(3, 50..60), claim(1, 0..100), claim(2, 10..12)];
        let claimants = Claimants::new(claims, Vec::new());
        let owners = |clusters| {
            let found = claimants.overlapping(clusters);
            found.map(|claimed| claimed.owner.0).collect::<Vec<_>>()
        };
        assert_eq!(owners(55..56), [1, 3]);
        assert_eq!(owners(11..51), [1, 2, 3]);
        assert_eq!(owners(12..50), [1]);
        assert!(owners(100..200).is_empty());
    }
}
