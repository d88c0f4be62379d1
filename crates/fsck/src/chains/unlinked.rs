//! Sound groups of blocks that no chain points to.
//!
//! An allocator whose inode was replaced by another one, or by an older one, may be faultless in
//! itself, without some of its groups. Everything in these would be taken to be free. Their
//! clusters are set in the global bitmap and have no owner: these are searched before anything is
//! concluded from that.

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

/// Clusters whose first block is read: 64 MiB of descriptors take less than a second.
const MOST_CLUSTERS: usize = 1 << 14;
/// Groups that are reported one by one. One repair finds them all.
const MOST_TOLD: usize = 16;

/// Returns the findings about groups that begin in `leaks`, clusters that are set in the global
/// bitmap and have no owner.
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
            finding
                .repaired_by(rebuild::search_and_repair(allocator.all(), &context.options.suspects))
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

/// Returns whether a block is the descriptor of a group of this allocator that is in use and in no
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
                // In the place of a group that a chain points to it could not be linked, and is a
                // leftover.
                && node.group.is_some_and(|group| !overlaps(state, &group))
        }
        Seen::NoGroup | Seen::Unreadable(_) => false,
    }
}

/// Returns whether a group overlaps a known one.
fn overlaps(state: &State<'_>, group: &Group) -> bool {
    let ends = |run: &Run| (run.blkno.0, run.blkno.0.saturating_add(run.bits.into()));
    let known = state.suballocs.groups().iter().flat_map(|group| &group.runs).map(ends);
    let mut known = known.flat_map(|known| group.runs.iter().map(move |run| (known, ends(run))));
    known.any(|((start, end), (from, to))| start < to && from < end)
}
