//! Who claims clusters: found out by reading all inodes again.

use std::ops::Range;

use ocfs2_format::feature::Compat;
use ocfs2_format::superblock::backup_blocks;
use ocfs2_format::{Blkno, Cluster};

use crate::check::State;
use crate::clusters::ClusterSet;
use crate::collected::Collected;
use crate::{Context, Stop, inodes};

/// Clusters that an inode claims, some of them wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Claimed {
    pub owner: Blkno,
    pub clusters: Range<u32>,
    /// The refcount tree that counts them.
    pub tree: Option<Blkno>,
}

/// Everybody who claims wanted clusters.
#[derive(Debug, Default)]
pub(super) struct Claimants {
    /// By start.
    claims: Vec<Claimed>,
    /// The largest end up to each claim.
    reach: Vec<u32>,
    /// Allocators, the superblock and its backups.
    fixed: Vec<(Range<u32>, String)>,
}

impl Claimants {
    /// Looks for those who claim `wanted` clusters.
    pub fn find(
        context: &Context<'_>,
        state: &mut State<'_>,
        wanted: &ClusterSet,
    ) -> Result<Self, Stop> {
        let mut claims = Vec::new();
        let mut add = |claimed: Claimed| {
            if wanted.runs(claimed.clusters.clone()).next().is_some() {
                claims.push(claimed);
            }
        };
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
        let fixed = fixed(context, state, wanted);
        Ok(Self::new(claims, fixed))
    }

    pub(super) fn new(mut claims: Vec<Claimed>, fixed: Vec<(Range<u32>, String)>) -> Self {
        claims.sort_unstable_by_key(|claimed| {
            (claimed.clusters.start, claimed.owner, claimed.clusters.end, claimed.tree)
        });
        let mut reached = 0;
        let reach = claims.iter().map(|claimed| {
            reached = claimed.clusters.end.max(reached);
            reached
        });
        let reach = reach.collect();
        Self { claims, reach, fixed }
    }

    /// All claims of inodes, by start.
    pub fn claims(&self) -> &[Claimed] {
        &self.claims
    }

    /// Clusters that are not those of an inode, and whose they are.
    pub fn fixed(&self) -> &[(Range<u32>, String)] {
        &self.fixed
    }

    /// The claims on some of these clusters, by start.
    pub fn overlapping(&self, clusters: Range<u32>) -> impl Iterator<Item = &Claimed> {
        let first = self.reach.partition_point(|reach| *reach <= clusters.start);
        let claims = self.claims.get(first..).unwrap_or_default().iter();
        let (start, end) = (clusters.start, clusters.end);
        claims
            .take_while(move |claimed| claimed.clusters.start < end)
            .filter(move |claimed| claimed.clusters.end > start)
    }
}

/// The clusters of the descriptors of the global bitmap, but the first.
fn descriptors(context: &Context<'_>) -> impl Iterator<Item = Cluster> {
    let geometry = *context.geometry();
    let groups = 1..geometry.groups();
    groups.filter_map(move |group| geometry.cluster_of(geometry.group_blkno(group)))
}

/// The wanted clusters that are not those of an inode.
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
