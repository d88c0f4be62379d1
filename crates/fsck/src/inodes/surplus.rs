//! Extents that are longer than their inode can need.
//!
//! A length with a wrong bit claims what other files have, up to the end of the volume. That the
//! length is wrong follows from the number of clusters and the size of the inode, or from the
//! position of the next extent, and from who has the clusters beyond. Then the file has lost
//! nothing, and nothing of others is copied into it.

use std::ops::Range;

use ocfs2_format::bitmap::Bitmap;
use ocfs2_format::extent::ExtentFlags;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::{Blkno, Cluster};
use ocfs2_volume::tree::Extent;

use super::dinode::Subject;
use crate::clusters::ClusterSet;
use crate::codes::extents as codes;
use crate::extents::Walked;
use crate::read::holds::{Holds, Longest};
use crate::repair::{Repair, tree};
use crate::state::State;
use crate::tables::collected::SharedClaim;
use crate::tables::surplus::Surplus;
use crate::{Context, Finding};

/// The extents of a tree that may be too long.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    last: Option<Extent>,
    /// The extent that reaches over the next one, and where that one begins.
    over: Option<(Extent, u64)>,
    overlaps: u32,
}

/// An extent that is too long.
pub(super) struct TooLong {
    /// The length that it can have.
    pub longest: Longest,
    /// The length that it states.
    clusters: u16,
    /// Its place, if the clusters beyond may be its own after all.
    open: Option<(Blkno, ExtentFlags)>,
    /// Whether the number of clusters of the inode shows it.
    pub is_stated: bool,
}

impl Suspects {
    /// Adds the next extent.
    pub fn extent(&mut self, extent: Extent) {
        let start = u64::from(extent.cpos.0);
        if let Some(last) = self.last.filter(|last| last.end() > start) {
            self.overlaps += 1;
            self.over = Some((last, start));
        }
        self.last = Some(extent);
    }

    /// Returns the extent that has to be shortened for the tree to be as large as the inode states:
    /// `stated` clusters, of which its size needs `needed`.
    pub fn too_long(&self, walked: &Walked, stated: u64, needed: u64) -> Option<TooLong> {
        let surplus = walked.clusters.checked_sub(stated)?;
        let shorter = |cpos, clusters: u16, surplus| {
            let clusters = u64::from(clusters).checked_sub(surplus).filter(|left| *left > 0)?;
            Some(Longest { cpos, clusters: u16::try_from(clusters).ok()? })
        };
        let end = |longest: &Longest| u64::from(longest.cpos.0) + u64::from(longest.clusters);
        if surplus > 0
            && let Some((cut, clusters)) = walked.cut
        {
            let longest = shorter(cut.cpos, cut.clusters, surplus)?;
            return Some(TooLong { longest, clusters, open: None, is_stated: true });
        }
        if let Some((over, next)) = self.over {
            let longest = shorter(over.cpos, over.clusters, surplus);
            let longest = longest.filter(|it| self.overlaps == 1 && end(it) <= next)?;
            return Some(TooLong { longest, clusters: over.clusters, open: None, is_stated: true });
        }
        let last = self.last?;
        let is_stated = surplus > 0;
        let surplus = if is_stated { surplus } else { last.end().checked_sub(needed)? };
        let longest = shorter(last.cpos, last.clusters, surplus)?;
        let is_one = surplus > 0 && end(&longest) >= needed;
        let open = Some((last.blkno, last.flags)).filter(|_| !walked.overruns);
        is_one.then_some(TooLong { longest, clusters: last.clusters, open, is_stated })
    }
}

impl TooLong {
    /// Returns the finding that it is too long.
    pub fn finding(&self, subject: &Subject<'_>, holds: Holds) -> Finding {
        let Longest { cpos, clusters } = self.longest;
        let text = format!(
            "the extent at position {cpos} has {} clusters, its size and its number of clusters \
             leave it {clusters}",
            self.clusters
        );
        let repair: Repair = tree::shortened(subject.blkno(), holds, self.longest);
        subject.finding(codes::EXTENT_LENGTH, text).repaired_by(repair)
    }

    /// Returns what has to be decided later, if anything. `otherwise` is what is wrong if it is not
    /// too long.
    pub fn surplus(
        &self,
        context: &Context<'_>,
        subject: &Subject<'_>,
        holds: Holds,
        otherwise: Vec<Finding>,
    ) -> Option<Surplus> {
        let (start, flags) = self.open?;
        let start = u32::try_from(start.0 >> context.geometry().bpc_bits()).ok()?;
        let at = |clusters: u16| start.checked_add(clusters.into());
        let is_shared = flags.contains(ExtentFlags::REFCOUNTED);
        Some(Surplus {
            owner: subject.blkno(),
            clusters: at(self.longest.clusters)?..at(self.clusters)?,
            tree: subject.refcount_tree.filter(|_| is_shared),
            is_stated: self.is_stated,
            finding: self.finding(subject, holds),
            otherwise,
        })
    }
}

/// Decides which extents are too long, once it is known who has what.
pub fn settle(context: &Context<'_>, state: &mut State<'_>) {
    let all = std::mem::take(&mut state.surplus);
    let mut shared = ClusterSet::default();
    for claim in state.shared.iter().filter(|_| !all.is_empty()) {
        shared.insert(claim.start..claim.start.saturating_add(claim.count), |_| {});
    }
    for surplus in all {
        if context.interrupt.requested() {
            return;
        }
        let others = Others { context, state, shared: &shared };
        // Its own are clusters that are in use and claimed by nobody else. Where the number of
        // clusters shows the shorter length as well, one cluster that is not its own proves it;
        // otherwise none may be its own.
        let is_wrong = match surplus.is_stated {
            true => others.any(&surplus.clusters, true),
            false => !others.any(&surplus.clusters, false),
        };
        if is_wrong {
            state.found(surplus.finding);
            continue;
        }
        let (owner, Range { start, end }) = (surplus.owner, surplus.clusters);
        let count = end - start;
        match surplus.tree {
            Some(tree) => state.shared.push(SharedClaim { owner, tree, start, count }),
            None => state.claim(start..end),
        }
        state.found_all(surplus.otherwise);
    }
}

/// The owners of clusters.
struct Others<'a, 'o> {
    context: &'a Context<'a>,
    state: &'a State<'o>,
    shared: &'a ClusterSet,
}

impl Others<'_, '_> {
    /// Returns whether any of these clusters is free or another owner's, or, without `is_foreign`,
    /// is neither.
    fn any(&self, clusters: &Range<u32>, is_foreign: bool) -> bool {
        let geometry = self.context.geometry();
        let mut at = clusters.start;
        while at < clusters.end {
            let (group, _) = geometry.group_of(Cluster(at));
            let first = geometry.group_start(group).0;
            let count = geometry.group_clusters(group);
            let end = first.saturating_add(count).min(clusters.end);
            if end <= at {
                break;
            }
            let blkno = geometry.group_blkno(group);
            let block = self.context.read_block::<GroupDesc>(blkno);
            let is_known = !self.state.unknown_groups.contains(&group);
            let block = block.ok().filter(|_| is_known);
            let bits = block.as_ref().and_then(|it| it.bytes.get(GroupDesc::BITMAP_OFFSET..));
            let bits = bits.map(|bits| Bitmap::new(bits, count as usize));
            let is = |cluster: u32| {
                cluster == first
                    || self.state.clusters.contains(cluster)
                    || self.shared.contains(cluster)
                    || bits.as_ref().is_some_and(|bits| !bits.get((cluster - first) as usize))
            };
            if (at..end).any(|cluster| is(cluster) == is_foreign) {
                return true;
            }
            at = end;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use ocfs2_format::Cpos;

    use super::*;

    fn extent(cpos: u32, clusters: u16) -> Extent {
        let flags = ExtentFlags::empty();
        Extent { cpos: Cpos(cpos), clusters, blkno: Blkno(64), flags }
    }

    fn too_long(extents: &[Extent], stated: u64, needed: u64) -> Option<(u32, u16, bool)> {
        let mut suspects = Suspects::default();
        extents.iter().for_each(|extent| suspects.extent(*extent));
        let clusters = extents.iter().map(|extent| u64::from(extent.clusters)).sum();
        let walked = Walked { clusters, ..Walked::default() };
        let found = suspects.too_long(&walked, stated, needed)?;
        Some((found.longest.cpos.0, found.longest.clusters, found.open.is_none()))
    }

    #[test]
    fn the_extent_that_is_too_long_is_the_one_that_fits_once_it_is_shorter() {
        assert_eq!(too_long(&[extent(0, 7)], 7, 7), None);
        assert_eq!(too_long(&[extent(0, 0x807)], 7, 7), Some((0, 7, false)));
        assert_eq!(too_long(&[extent(0, 4), extent(9, 0x43)], 7, 12), Some((9, 3, false)));
        // It is not what the size says.
        assert_eq!(too_long(&[extent(0, 0x807)], 7, 8), None);
        // The number of clusters is what is wrong.
        assert_eq!(too_long(&[extent(0, 7)], 3, 7), None);
        assert_eq!(too_long(&[extent(0, 7)], 0, 0), None);
        // The one after it tells.
        assert_eq!(too_long(&[extent(0, 0x804), extent(9, 3)], 7, 12), Some((0, 4, true)));
        assert_eq!(too_long(&[extent(0, 0x804), extent(3, 3)], 7, 6), None);
        // Only the size says so.
        assert_eq!(too_long(&[extent(0, 0x807)], 0x807, 7), Some((0, 7, false)));
        assert_eq!(too_long(&[extent(0, 4), extent(4, 4)], 8, 3), None);
    }
}
