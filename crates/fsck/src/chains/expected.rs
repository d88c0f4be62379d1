//! The groups that the global bitmap has to have, at places that follow from its size (G-2).

use std::collections::HashSet;

use ocfs2_format::Blkno;

use super::chain::{Chains, Sum};
use super::group::{Seen, examine};
use super::list::Allocator;
use crate::codes::{chains as codes, general};
use crate::{Context, Finding, parallel};

/// Looks for the groups that no chain of the bitmap pointed to, adds what is wrong with them to
/// `findings`, and their sums to `chains`.
///
/// Returns the groups whose bits are unknown.
pub(super) fn check(
    context: &Context<'_>,
    index: usize,
    allocator: &Allocator,
    chains: &mut Chains,
    findings: &mut Vec<Finding>,
) -> HashSet<u32> {
    let geometry = context.geometry();
    let mut unknown = HashSet::new();
    let mut missing = Vec::new();
    for group in 0..geometry.groups() {
        let blkno = geometry.group_blkno(group);
        if !context.is_on_device(blkno) {
            unknown.insert(group);
        } else if !chains.groups.contains(&blkno) {
            missing.push(group);
        }
    }
    let unreadable = findings.iter().filter(|finding| *finding.code == *general::IO_ERROR);
    let said: HashSet<_> = unreadable.filter_map(|finding| finding.place.block).collect();
    let threads = if missing.len() < 16 { 1 } else { context.options.threads };
    let work = |group: u32| {
        let blkno = geometry.group_blkno(group);
        (group, blkno, examine(context, index, allocator, blkno))
    };
    parallel::ordered(threads, missing.into_iter(), work, |(group, blkno, seen)| {
        let finding = |text: &str| {
            let start = geometry.group_start(group);
            let text = format!("{text}, it is to be that of the clusters from {start} on");
            allocator.group_finding(codes::GROUP_EXPECTED_DESC, blkno, text)
        };
        match seen {
            Seen::Unreadable(finding) => {
                // A chain that points there has reported it.
                if !said.contains(&blkno.0) {
                    findings.push(finding);
                }
                unknown.insert(group);
            }
            Seen::NoGroup => {
                findings.push(finding("is not a group descriptor"));
                unknown.insert(group);
            }
            Seen::Group(node) => {
                findings.push(finding("is in no chain"));
                if node.familiar {
                    findings.extend(node.findings.iter().cloned());
                } else {
                    unknown.insert(group);
                }
                chains.lost.entry(node.chain).or_default().add(Sum::of(&node));
            }
        }
        true
    });
    unknown
}

/// Returns whether a descriptor of the global bitmap, or a cluster before the first one, is within
/// these blocks; also for blocks outside the volume.
pub(super) fn descriptor_within(context: &Context<'_>, start: Blkno, blocks: u64) -> bool {
    let geometry = context.geometry();
    let Some(first) = geometry.cluster_of(start) else { return true };
    let last = Blkno(start.0.saturating_add(blocks).saturating_sub(1));
    let Some(last) = geometry.cluster_of(last) else { return true };
    let leading = geometry.cluster_of(geometry.first_group).unwrap_or_default();
    let cpg = geometry.clusters_per_group();
    first <= leading || first.0 % cpg == 0 || first.0 / cpg != last.0 / cpg
}
