//! Extents that lost the flag of being counted by a refcount tree.

use std::collections::{BTreeMap, HashMap};

use ocfs2_format::Blkno;

use super::claimants::{Claimants, Claimed};
use super::list;
use crate::clusters::ClusterSet;
use crate::codes::refcounts as codes;
use crate::refcounts::{Unsettled, runs};
use crate::repair::share;
use crate::tables::collected::SharedClaim;
use crate::{Finding, Place};

/// Claims on the clusters of one count that are examined.
const LOOKED_AT: usize = 4096;

/// The result of settling wrong counts.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// For each tree the clusters whose count is right once all extents there are flagged.
    pub clusters: BTreeMap<Blkno, ClusterSet>,
}

/// Finds out which counts are right once extents are flagged. `trees` is the tree of each inode
/// that has one.
pub(super) fn settle(
    unsettled: &[Unsettled],
    claimants: &Claimants,
    trees: &HashMap<Blkno, Blkno>,
) -> Settled {
    let mut settled = Settled::default();
    let mut unflagged: BTreeMap<Blkno, ClusterSet> = BTreeMap::new();
    for open in unsettled {
        let is_user = |claimed: &&Claimed| {
            claimed.tree.is_none() && trees.get(&claimed.owner) == Some(&open.tree)
        };
        let claims = claimants.overlapping(open.clusters.clone()).take(LOOKED_AT);
        let claims: Vec<SharedClaim> =
            claims.filter(is_user).map(|claimed| within(open, claimed)).collect();
        let known = settled.clusters.entry(open.tree).or_default();
        let mut wrong = vec![open.clusters.clone()];
        for run in runs(&claims) {
            if open.counted.checked_add(run.count) != Some(open.stored) {
                continue;
            }
            known.insert(run.clusters.clone(), |_| {});
            // Runs ascend, so that only the last piece can be affected.
            if let Some(last) = wrong.pop() {
                let pieces = [last.start..run.clusters.start, run.clusters.end..last.end];
                wrong.extend(pieces.into_iter().filter(|piece| !piece.is_empty()));
            }
        }
        for claim in claims {
            let clusters = unflagged.entry(claim.owner).or_default();
            let range = claim.start..claim.start.saturating_add(claim.count);
            known.runs(range).for_each(|run| clusters.insert(run, |_| {}));
        }
        let wrong = wrong.into_iter().map(|clusters| Unsettled { clusters, ..open.clone() });
        settled.findings.extend(wrong.map(|open| open.finding()));
    }
    for (owner, clusters) in unflagged {
        let Some(first) = clusters.runs(0..u32::MAX).next() else { continue };
        let text = format!(
            "inode {owner}: {} counted by its refcount tree and not flagged",
            list(&clusters)
        );
        let place = Place::clusters(first.start, first.end - first.start).of(owner);
        let repair = share::flag(owner, clusters.runs(0..u32::MAX).collect());
        let finding = Finding::new(codes::REFCOUNT_EXTENT_FLAG, place, text);
        settled.findings.push(finding.repaired_by(repair));
    }
    settled.clusters.retain(|_, clusters| !clusters.is_empty());
    settled
}

/// Returns the part of a claim that is on the clusters of a count, as if it were flagged.
fn within(open: &Unsettled, claimed: &Claimed) -> SharedClaim {
    let start = claimed.clusters.start.max(open.clusters.start);
    let end = claimed.clusters.end.min(open.clusters.end);
    let count = end.saturating_sub(start);
    SharedClaim { owner: claimed.owner, tree: open.tree, start, count }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_right_where_an_extent_only_lost_its_flag() {
        let claim = |owner, clusters| Claimed { owner: Blkno(owner), clusters, tree: None };
        let claims = vec![claim(1, 12..16), claim(1, 16..18), claim(9, 18..20)];
        let claimants = Claimants::new(claims, Vec::new());
        let trees = HashMap::from([(Blkno(1), Blkno(7))]);
        let clusters = 10..20;
        let owners = Vec::new();
        let open =
            Unsettled { tree: Blkno(7), clusters, stored: 3, counted: 2, owners, repair: None };
        let settled = settle(&[open], &claimants, &trees);
        let found = settled.findings.iter().map(|finding| (finding.code.name, &*finding.text));
        assert_eq!(
            found.collect::<Vec<_>>(),
            [
                (
                    "REFCOUNT_COUNT_INVALID",
                    "refcount tree 7: clusters 10 to 11 have count 3, expected 2"
                ),
                (
                    "REFCOUNT_COUNT_INVALID",
                    "refcount tree 7: clusters 18 to 19 have count 3, expected 2"
                ),
                (
                    "REFCOUNT_EXTENT_FLAG",
                    "inode 1: clusters 12 to 17 are counted by its refcount tree and not flagged"
                ),
            ]
        );
        let runs: Vec<_> = settled.clusters[&Blkno(7)].runs(0..u32::MAX).collect();
        assert_eq!(runs, [12..18]);
    }
}
