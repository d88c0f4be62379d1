//! Extents that point to other clusters than those that the tree counts for them.

use std::collections::BTreeSet;

use ocfs2_format::dinode::DynFeatures;
use ocfs2_format::extent::ExtentFlags;
use ocfs2_format::{Blkno, Cluster};

use super::block::Tree;
use super::counts::{self, Mismatch};
use crate::codes::refcounts as codes;
use crate::read::holds::Holds;
use crate::repair::refcount::Run;
use crate::repair::tree;
use crate::tables::collected::SharedClaim;
use crate::{Context, Finding, Place};

/// Ranges of wrong counts that one extent can leave.
const MOST_RANGES: usize = 8;
/// Places that are tried for the extents of one tree.
const MOST_TRIED: u32 = 64;

/// An extent in the wrong place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    index: usize,
    claim: SharedClaim,
    to: u32,
}

/// Returns the only extent that makes all counts of a tree right if it is where these are wrong.
pub(super) fn find(
    context: &Context<'_>,
    tree: &Tree,
    claims: &[SharedClaim],
    mismatches: &[Mismatch],
) -> Option<Moved> {
    let hull = |is_wanted: &dyn Fn(&&Mismatch) -> bool| {
        let ranges = || mismatches.iter().filter(is_wanted).map(|it| &it.clusters);
        Some((ranges().map(|it| it.start).min()?, ranges().map(|it| it.end).max()?))
    };
    if mismatches.len() > MOST_RANGES {
        return None;
    }
    let missing = hull(&|it| it.stored > it.counted)?;
    let surplus = hull(&|it| it.stored < it.counted)?;
    let covers = |start: u32, count: u32, (from, to): (u32, u32)| {
        start <= from && start.checked_add(count).is_some_and(|end| end >= to)
    };
    let (mut found, mut tries) = (None, MOST_TRIED);
    for (index, claim) in claims.iter().enumerate() {
        if !covers(claim.start, claim.count, surplus) {
            continue;
        }
        let flipped = (0..u32::BITS).map(|bit| claim.start ^ (1 << bit));
        // Moved by any distance, it left the beginning or the end of where it was.
        let ends = [Some(missing.0), missing.1.checked_sub(claim.count)].into_iter().flatten();
        let places: BTreeSet<_> = flipped.chain(ends).filter(|to| *to != claim.start).collect();
        for to in places {
            let end = to.checked_add(claim.count);
            let is_inside = end.is_some_and(|end| end <= context.geometry().clusters);
            if !is_inside || !covers(to, claim.count, missing) {
                continue;
            }
            tries = tries.checked_sub(1)?;
            let moved = Moved { index, claim: *claim, to };
            if !counts::compare(tree, &runs(&moved, claims)).is_empty() {
                continue;
            }
            if found.replace(moved).is_some() {
                return None;
            }
        }
    }
    found.filter(|moved| moved.is_of_contents(context))
}

/// Returns how often clusters are shared if the extent is where it was.
pub(super) fn runs(moved: &Moved, claims: &[SharedClaim]) -> Vec<Run> {
    let mut claims = claims.to_vec();
    if let Some(claim) = claims.get_mut(moved.index) {
        claim.start = moved.to;
    }
    claims.sort_unstable_by_key(|claim| (claim.start, claim.count));
    counts::runs(&claims).collect()
}

impl Moved {
    /// Returns whether it is an extent of the contents of a file, and not of an attribute.
    fn is_of_contents(&self, context: &Context<'_>) -> bool {
        let volume = context.volume;
        let Ok(inode) = volume.inode(self.claim.owner) else { return false };
        let shares = inode.dinode.dyn_features().contains(DynFeatures::HAS_REFCOUNT);
        let gathered = tree::gather(volume, inode.blkno, inode.id2(), Holds::Data, shares);
        let first = volume.geometry().block_of(Cluster(self.claim.start));
        gathered.is_ok_and(|gathered| {
            let mut extents = gathered.extents.iter();
            extents.any(|rec| {
                rec.e_blkno == first
                    && u32::from(rec.e_leaf_clusters()) == self.claim.count
                    && rec.e_flags().contains(ExtentFlags::REFCOUNTED)
            })
        })
    }

    /// Returns the finding that it is in the wrong place, by the tree at `root`.
    pub fn finding(&self, root: Blkno) -> Finding {
        let Self { claim: SharedClaim { owner, start, count, .. }, to, .. } = *self;
        let text = format!(
            "inode {owner}: an extent points to cluster {start}, refcount tree {root} counts its \
             {count} clusters from {to} on"
        );
        let place = Place { inode: Some(owner.0), ..Place::clusters(start, count) };
        let finding = Finding::new(codes::REFCOUNT_EXTENT_PLACE, place, text);
        finding.repaired_by(tree::led_back(owner, (start, count), to))
    }
}
