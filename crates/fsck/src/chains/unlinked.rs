//! Groups of blocks that are sound and that no chain points to.
//!
//! An allocator whose inode is that of another one, or of an earlier time, may be without fault in
//! itself. What its groups hold would be taken to be free. Their clusters are not free by the global
//! bitmap, and nobody's: there they are searched for before anything is concluded from that.

use std::ops::Range;

use ocfs2_format::{Blkno, Cluster};
use ocfs2_volume::allocator::Run;

use super::group::{Seen, examine};
use super::list::{Allocator, head};
use super::{allocators, rebuild};
use crate::codes::chains as codes;
use crate::state::State;
use crate::tables::suballocs::Group;
use crate::{Context, Finding};

/// Clusters that are looked at: 64 MiB of descriptors are read in less than a second.
const MOST_CLUSTERS: usize = 1 << 14;
/// Groups that are told one by one. One repair finds them all.
const MOST_TOLD: usize = 16;

/// The groups that begin in `leaks`, clusters in use by the global bitmap that are nobody's.
pub(crate) fn check(
    context: &Context<'_>,
    state: &State<'_>,
    leaks: &[Range<u32>],
) -> Vec<Finding> {
    let geometry = context.geometry();
    let clusters = leaks.iter().cloned().flatten().take(MOST_CLUSTERS);
    let blocks = clusters.map(|cluster| geometry.block_of(Cluster(cluster)));
    let descs = blocks.filter_map(|blkno| Some((blkno, head(context, blkno)?)));
    let mut loaded: Option<Vec<Allocator>> = None;
    let found = descs.filter_map(|(blkno, desc)| {
        let all = loaded.get_or_insert_with(|| load(context, state));
        let index = all.iter().position(|it| it.blkno == desc.bg_parent_dinode)?;
        let allocator = all.get(index)?;
        is_lost(context, state, (index, allocator), blkno).then(|| {
            let text = "no chain points to it, and blocks of it are in use";
            let finding = allocator.group_finding(codes::GROUP_UNLINKED, blkno, text);
            finding.repaired_by(rebuild::search_and_repair(allocator.all()))
        })
    });
    found.take(MOST_TOLD).collect()
}

fn load(context: &Context<'_>, state: &State<'_>) -> Vec<Allocator> {
    let inodes = allocators(state);
    let load = |(suballoc, blkno): &(_, Blkno)| {
        Allocator::load(context, *suballoc, *blkno, &inodes, &mut Vec::new())
    };
    inodes.iter().filter_map(load).collect()
}

/// Whether a block is the descriptor of a group of this allocator that is used, and is known by no
/// chain.
fn is_lost(
    context: &Context<'_>,
    state: &State<'_>,
    (index, allocator): (usize, &Allocator),
    blkno: Blkno,
) -> bool {
    match examine(context, index, allocator, blkno) {
        Seen::Group(node) => {
            allocator.suballoc.is_some()
                && node.familiar
                && !node.is_unused
                // In the place of one that a chain points to it cannot be linked, and is none.
                && node.group.is_some_and(|group| !overlaps(state, &group))
        }
        Seen::NoGroup | Seen::Unreadable(_) => false,
    }
}

/// Whether a block of a group is one of a group that is known.
fn overlaps(state: &State<'_>, group: &Group) -> bool {
    let ends = |run: &Run| (run.blkno.0, run.blkno.0.saturating_add(run.bits.into()));
    let known = state.suballocs.groups().iter().flat_map(|group| &group.runs).map(ends);
    let mut known = known.flat_map(|known| group.runs.iter().map(move |run| (known, ends(run))));
    known.any(|((start, end), (from, to))| start < to && from < end)
}
