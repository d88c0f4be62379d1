//! Refcount trees: how many extents share clusters (invariants ).
//!
//! Runs when all inodes are known: only then all extents that share a cluster are. Reads each tree
//! that an inode names once, and compares its counts with the extents that are flagged as counted
//! by it. At the end shared clusters are claimed once for each tree, and the blocks of the trees
//! are claimed. Memory is proportional to refcounted extents and to the records about them.

mod block;
mod counts;
mod moved;

use std::ops::Range;
use std::sync::Arc;

use ocfs2_format::Blkno;

use crate::codes::{general, refcounts as codes};
use crate::repair::Repair;
use crate::repair::refcount::{self, Run};
use crate::state::State;
use crate::tables::collected::{Collected, SharedClaim, TreeUser};
use crate::{Context, Finding, Place, Stop, parallel};
use counts::Mismatch;

pub use counts::runs;

/// Clusters with a wrong count that somebody claims without being counted: through an extent that
/// lost its flag, or because they are claimed twice. Which one it is needs all claims on them,
/// which are collected later.
#[derive(Clone, Debug)]
pub struct Unsettled {
    /// The root of the tree.
    pub tree: Blkno,
    pub clusters: Range<u32>,
    /// The count in the tree.
    pub stored: u32,
    /// The number of extents that are flagged as counted.
    pub counted: u32,
    /// Some of the inodes with these extents, if they are too many.
    pub owners: Vec<Blkno>,
    /// The repair that rewrites the tree if nobody else has these clusters.
    pub repair: Option<Repair>,
}

/// Repairs are not compared.
impl PartialEq for Unsettled {
    fn eq(&self, other: &Self) -> bool {
        let key = |it: &Self| (it.tree, it.clusters.clone(), it.stored, it.counted);
        key(self) == key(other)
    }
}

/// Findings about the counts of one tree that are reported one by one. The rest is summed up.
const MOST_FINDINGS: u64 = 256;

/// A tree with its users and the clusters that they share.
struct Job<'a> {
    root: Blkno,
    users: &'a [TreeUser],
    claims: &'a [SharedClaim],
}

/// What was found out about a tree.
struct Judged {
    root: Blkno,
    /// The repair that rewrites the tree.
    repair: Repair,
    collected: Collected,
    mismatches: Vec<Mismatch>,
    /// The clusters that are shared, or were.
    in_use: Vec<Range<u32>>,
}

/// Checks all refcount trees. Returns the counts that can only be settled when it is known who
/// claims the clusters.
///
/// # Errors
/// [`Stop`] if the check was interrupted.
pub fn check(context: &Context<'_>, state: &mut State<'_>) -> Result<Vec<Unsettled>, Stop> {
    let mut users = std::mem::take(&mut state.tree_users);
    let mut shared = std::mem::take(&mut state.shared);
    users.sort_unstable_by_key(|user| (user.tree, user.inode));
    users.dedup();
    shared.sort_unstable_by_key(|claim| (claim.tree, claim.start, claim.count));
    let mut unsettled = Vec::new();
    let mut overlaps = Vec::new();
    // What could not be read may share clusters as well: then a count that is too high may be
    // right.
    let incomplete = state.incomplete;
    let jobs = jobs(&users, &shared);
    let visits = Arc::default();
    let work = |job: Job<'_>| judge(context, &job, Collected::within(&visits));
    parallel::ordered(context.options.threads, jobs, work, |judged| {
        let Judged { root, repair, collected, mismatches, in_use } = judged;
        state.merge(collected);
        let certain = |mismatch: &Mismatch| !incomplete || mismatch.counted > mismatch.stored;
        let mut told = Told::default();
        for mismatch in mismatches.into_iter().filter(certain) {
            match settle(state, root, mismatch, &repair) {
                Ok(finding) => told.extend(state, finding),
                Err(open) => unsettled.push(open),
            }
        }
        told.end(state);
        overlaps.extend(in_use);
        !context.interrupt.requested()
    });
    // Claimed only now, so that each tree was compared with the clusters that are claimed without
    // any tree.
    for range in overlaps {
        state.claim(range);
    }
    state.tree_users = users;
    context.check_interrupt().map(|()| unsettled)
}

/// The findings about the counts of a tree, which one repair mends: their number, and the last of
/// those beyond the limit.
#[derive(Default)]
struct Told {
    count: u64,
    left_out: Option<Finding>,
}

impl Told {
    fn extend(&mut self, state: &mut State<'_>, finding: Finding) {
        self.count += 1;
        if self.count > MOST_FINDINGS {
            self.left_out = Some(finding);
        } else {
            state.found(finding);
        }
    }

    fn end(self, state: &mut State<'_>) {
        let Some(mut last) = self.left_out else { return };
        let more = self.count - MOST_FINDINGS - 1;
        if more > 0 {
            last.text += &format!(", and {more} more like it");
        }
        state.found(last);
    }
}

fn jobs<'a>(
    users: &'a [TreeUser],
    shared: &'a [SharedClaim],
) -> impl Iterator<Item = Job<'a>> + Send {
    users.chunk_by(|a, b| a.tree == b.tree).filter_map(move |users| {
        let root = users.first()?.tree;
        let start = shared.partition_point(|claim| claim.tree < root);
        let claims = shared.get(start..)?;
        let end = claims.partition_point(|claim| claim.tree == root);
        Some(Job { root, users, claims: claims.get(..end)? })
    })
}

fn judge(context: &Context<'_>, job: &Job<'_>, mut collected: Collected) -> Judged {
    let &Job { root, users, claims } = job;
    let inodes: Arc<[Blkno]> = users.iter().map(|user| user.inode).collect();
    let mut runs: Vec<Run> = counts::runs(claims).collect();
    let first = users.first().map_or(root, |user| user.inode);
    let tree = block::read(context, root, first, users.len(), &mut collected);
    let mut mismatches = match &tree {
        Some(tree) => counts::compare(tree, &runs),
        None => Vec::new(),
    };
    let moved = tree.and_then(|tree| moved::find(context, &tree, claims, &mismatches));
    if let Some(moved) = &moved {
        runs = moved::runs(moved, claims);
        mismatches.clear();
    }
    let mismatches = mismatches.into_iter().map(|it| it.with_owners(claims)).collect();
    let in_use = counts::covered(&runs);
    let repair = refcount::rebuild(root, inodes, runs.into());
    let mend = |finding: Finding| match finding.code == general::IO_ERROR {
        true => finding,
        false => finding.repaired_otherwise_by(Some(repair.clone())),
    };
    collected.findings = collected.findings.into_iter().map(mend).collect();
    collected.findings.extend(moved.map(|moved| moved.finding(root)));
    Judged { root, repair, collected, mismatches, in_use }
}

/// Returns the finding about a wrong count, unless somebody claims the clusters without being
/// counted.
fn settle(
    state: &State<'_>,
    root: Blkno,
    mismatch: Mismatch,
    repair: &Repair,
) -> Result<Finding, Unsettled> {
    let Mismatch { clusters, stored, counted, owners } = mismatch;
    let repair = Some(repair.clone());
    let open = Unsettled { tree: root, clusters, stored, counted, owners, repair };
    match state.clusters.runs(open.clusters.clone()).next() {
        None => Ok(open.finding()),
        Some(_) => Err(open),
    }
}

impl Unsettled {
    /// Returns the finding that the tree is wrong.
    pub fn finding(&self) -> Finding {
        let Self { tree, clusters, stored, counted, owners, repair } = self;
        let (start, end) = (clusters.start, clusters.end.saturating_sub(1));
        let place = Place { block: Some(tree.0), ..Place::clusters(start, clusters.len() as u32) };
        if *counted == 0 {
            let text = format!(
                "refcount tree {tree}: clusters {start} to {end} have count {stored}, no extent \
                 is counted there"
            );
            let finding = Finding::new(codes::REFCOUNT_REC_REDUNDANT, place, text);
            return finding.repaired_otherwise_by(repair.clone());
        }
        let text = format!(
            "refcount tree {tree}: clusters {start} to {end} have count {stored}, expected {counted}"
        );
        let finding = Finding::new(codes::REFCOUNT_COUNT_INVALID, place, text);
        // The count may be right, and one of the extents in the wrong place or too long.
        let repair = repair.clone().map(|repair| repair.doubting(owners.clone()));
        finding.repaired_otherwise_by(repair)
    }
}
