//! Pass 0: the allocators, their chains and groups.
//!
//! Verifies invariants S-3, A-2 to A-10, G-1 and G-2. Collects the groups of inodes and of other
//! metadata ([`Suballocs`]), by which the next pass finds the inodes, and claims their clusters.
//! What is wrong with a group is treated as mended, so that its blocks count. A group that cannot
//! be told from something else is left out and sets [`State::lost_groups`], as then not everything
//! in use is known.

mod bitmap_groups;
mod chain;
mod discontiguous;
mod expected;
mod graph;
mod group;
mod list;
mod lost;
mod places;
mod rebuild;
mod short;
mod size;
mod unlinked;

pub(crate) use short::{Short, short_device};
pub(crate) use size::begin;
pub(crate) use unlinked::check as unlinked;

use chain::{Chains, Judge};
use graph::Graph;
use list::Allocator;
use places::Places;

use crate::state::State;
use crate::tables::suballocs::{Group, Suballoc, Suballocs};
use crate::{Context, Pass, Stop};
use ocfs2_volume::SystemFile;

/// Checks all allocators. Pass 0 has begun.
///
/// # Errors
/// [`Stop`] if the check was interrupted.
pub(crate) fn check(context: &Context<'_>, state: &mut State<'_>) -> Result<(), Stop> {
    let mut loaded = Vec::new();
    let mut findings = Vec::new();
    let inodes = allocators(state);
    for suballoc in all(state.system.slots()) {
        let mut found = Vec::new();
        let file = suballoc.map_or(SystemFile::GlobalBitmap, SystemFile::from);
        let blkno = state.system.find(file);
        let allocator =
            blkno.and_then(|at| Allocator::load(context, suballoc, at, &inodes, &mut found));
        state.lost_groups |= allocator.is_none() && suballoc.is_some();
        if let Some(allocator) = allocator {
            loaded.push(allocator);
            findings.push(found);
        }
    }
    let graph = Graph::build(context, &loaded, &mut |read| state.progress(read))?;

    state.unused_groups = graph.unused().clone();

    let (mut groups, mut places) = (Vec::new(), Places::default());
    let mut pass = Pass::Clusters;
    let mut passes = [Pass::InodeAllocators, Pass::ExtentAllocators].into_iter();
    for (index, (allocator, found)) in loaded.iter().zip(findings).enumerate() {
        let of = match allocator.suballoc {
            None => Pass::Clusters,
            Some(Suballoc::Extents(_)) => Pass::ExtentAllocators,
            Some(_) => Pass::InodeAllocators,
        };
        while pass < of {
            pass = passes.next().unwrap_or(of);
            state.begin(pass, 0);
        }
        let mut judge = Judge {
            context,
            allocators: &loaded,
            index,
            allocator,
            graph: &graph,
            places: &mut places,
            findings: found,
            keeps_members: false,
        };
        let mut chains = judge.chains();
        if allocator.suballoc.is_none() {
            state.unknown_groups =
                expected::check(context, index, allocator, &mut chains, &mut judge.findings);
        }
        judge.sums(&chains);
        let Chains { usable, incomplete, .. } = chains;
        // The groups of the global bitmap are known without its chains.
        state.lost_groups |= incomplete && allocator.suballoc.is_some();
        let findings = judge.findings;
        state.found_all(findings);
        groups.extend(usable);
    }
    passes.for_each(|pass| state.begin(pass, 0));
    state.incomplete |= state.lost_groups;
    claim(context, &groups, state);
    state.suballocs = Suballocs::new(groups);
    Ok(())
}

/// Returns the inodes of all allocators that exist.
fn allocators(state: &State<'_>) -> rebuild::Inodes {
    let inodes = all(state.system.slots()).filter_map(|suballoc| {
        let file = suballoc.map_or(SystemFile::GlobalBitmap, SystemFile::from);
        Some((suballoc, state.system.find(file)?))
    });
    rebuild::Inodes::new(inodes, &state.taken)
}

/// Returns all allocators that should exist, in the order of the passes.
fn all(slots: u16) -> impl Iterator<Item = Option<Suballoc>> {
    let slots = 0..slots;
    let inodes = slots.clone().map(Suballoc::Inodes);
    let extents = slots.map(Suballoc::Extents);
    let all = std::iter::once(Suballoc::GlobalInodes).chain(inodes).chain(extents);
    std::iter::once(None).chain(all.map(Some))
}

/// Claims the clusters at the start of the volume and those of the groups. The clusters of the
/// bitmap's other descriptors are left out: there is one in every group, which need not be stored.
fn claim(context: &Context<'_>, groups: &[Group], state: &mut State<'_>) {
    let geometry = context.geometry();
    let leading = geometry.cluster_of(geometry.first_group).unwrap_or_default();
    state.claim(0..leading.0.saturating_add(1));
    for run in groups.iter().flat_map(|group| &group.runs) {
        let start = run.blkno.0 >> geometry.bpc_bits();
        let end =
            (run.blkno.0 + u64::from(run.bits)).div_ceil(geometry.blocks_per_cluster().into());
        if let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(end)) {
            state.claim(start..end);
        }
    }
}
