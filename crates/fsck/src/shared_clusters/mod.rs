//! Passes 1b to 1d: clusters that several files claim.
//!
//! Pass 1 only notes that a cluster was claimed again, which takes one bit per cluster, and not by
//! whom. If there is such a cluster, all inodes are read a second time to find out who claims it;
//! everything else that they yield is dropped. Clusters of a refcount tree with a wrong count are
//! settled here as well: an extent of one of its files may have lost its flag.
//!
//! Each file with clusters of others gets one finding, which names the clusters and the others.
//! Files that share clusters through a refcount tree get none if they only collide with a file
//! outside the tree: the tree proves that the clusters are theirs.

mod claimants;
mod foreign;
mod unflagged;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use ocfs2_format::Blkno;
use ocfs2_format::dinode::FileKind;
use ocfs2_format::feature::Incompat;
use ocfs2_volume::{Inode, SystemFile};

use crate::clusters::ClusterSet;
use crate::codes::refcounts as codes;
use crate::inodes::{local_alloc, truncate_log};
use crate::refcounts::Unsettled;
use crate::repair::{Repair, share};
use crate::state::State;
use crate::tables::collected::SharedClaim;
use crate::{Context, Finding, Pass, Place, Stop};
use claimants::{Claimants, Claimed};
use foreign::{Foreign, Verdict};

/// Ranges and owners that a finding names.
const NAMED: usize = 4;
/// Claims that are examined for the owners of a range.
const LOOKED_AT: usize = 64;
/// Owners that are kept for all repairs that let files share: 8 MiB of them.
const MOST_OWNERS: usize = 1 << 20;
/// Runs of clusters that are kept for all repairs: 32 MiB of them. Findings beyond that get no
/// repair in this round.
const MOST_RUNS: usize = 1 << 22;

/// Reports who claims clusters of others.
///
/// # Errors
/// [`Stop`] if the check was interrupted.
pub fn check(
    context: &Context<'_>,
    state: &mut State<'_>,
    unsettled: &[Unsettled],
) -> Result<(), Stop> {
    let mut wanted = std::mem::take(&mut state.doubly);
    state.contested.clusters = wanted.clone();
    for open in unsettled {
        wanted.insert(open.clusters.clone(), |_| {});
    }
    if wanted.is_empty() {
        return Ok(());
    }
    state.begin_inodes(Pass::SharedClusters);
    let claimants = Claimants::find(context, state, &mut wanted)?;
    // A count means nothing while some of the claims on its clusters were left out.
    let is_wanted =
        |open: &&Unsettled| wanted.runs(open.clusters.clone()).eq([open.clusters.clone()]);
    let unsettled: Vec<_> = unsettled.iter().filter(is_wanted).cloned().collect();
    let trees = state.tree_users.iter().map(|user| (user.inode, user.tree)).collect();
    let settled = unflagged::settle(&unsettled, &claimants, &trees);
    context.check_interrupt()?;
    state.found_all(settled.findings);
    let shared = Shared::new(context, state, &claimants, &wanted, trees, settled.clusters)?;
    let mut by_owner: Vec<&Claimed> = claimants.claims().iter().collect();
    by_owner.sort_by_key(|claimed| claimed.owner);
    for claims in by_owner.chunk_by(|a, b| a.owner == b.owner) {
        let finding = shared.finding(context, &claimants, claims);
        state.found_all(finding);
        context.check_interrupt()?;
    }
    Ok(())
}

/// Reports what is wrong with structures that have a fixed place. They are only written where
/// nobody else is known to have anything.
pub fn fixed_places(state: &mut State<'_>) {
    for (cluster, finding) in std::mem::take(&mut state.fixed) {
        let is_shared = |claim: &SharedClaim| {
            (claim.start..claim.start.saturating_add(claim.count)).contains(&cluster)
        };
        let is_taken = state.doubly.contains(cluster) || state.shared.iter().any(is_shared);
        let waits = match (is_taken, state.incomplete) {
            (true, _) => "a file has its place, and has to be moved first",
            (false, true) => "it is not known whether a file has its place",
            (false, false) => {
                state.found(finding);
                continue;
            }
        };
        state.found(finding.repaired_by(Repair::waiting(waits)));
    }
}

/// The clusters that several owners have, by kind of owner.
struct Shared<'a> {
    wanted: &'a ClusterSet,
    /// The refcount tree of each inode that has one.
    trees: HashMap<Blkno, Blkno>,
    /// For each tree the clusters of its files that are only missing a flag.
    settled: BTreeMap<Blkno, ClusterSet>,
    /// Clusters with at least two owners. All files of a tree are one owner.
    doubly: ClusterSet,
    /// Clusters of allocators, of the superblock and its backups.
    metadata: ClusterSet,
    /// Clusters of inodes that no refcount tree can count: all but regular files.
    unshareable: ClusterSet,
    /// Clusters of several trees.
    between_trees: ClusterSet,
    /// Inodes that are system files.
    system: BTreeSet<Blkno>,
    /// Local allocs, which reserve clusters that hold nothing.
    local_allocs: BTreeSet<Blkno>,
    /// Truncate logs, which name clusters that are to be freed.
    truncate_logs: BTreeSet<Blkno>,
    /// Inodes that are directories.
    directories: BTreeSet<Blkno>,
    /// Judges the shared clusters of directories.
    foreign: RefCell<Foreign>,
    /// The owners of the same clusters, found once for all of them.
    sharers: RefCell<Sharers>,
}

/// Lists of clusters with their owners. Each list is stored once for all findings about it.
#[derive(Default)]
struct Sharers {
    clusters: HashSet<Arc<[Range<u32>]>>,
    by_clusters: HashMap<Arc<[Range<u32>]>, Arc<[Blkno]>>,
    /// The number of runs in all lists of clusters, and that of owners in all lists of owners.
    kept_runs: usize,
    kept_owners: usize,
}

impl Sharers {
    /// Returns the stored list of these clusters; `None` if all lists would be too long with it.
    fn keep(&mut self, clusters: Vec<Range<u32>>) -> Option<Arc<[Range<u32>]>> {
        if let Some(kept) = self.clusters.get(&clusters[..]) {
            return Some(Arc::clone(kept));
        }
        self.kept_runs += clusters.len();
        if self.kept_runs > MOST_RUNS {
            return None;
        }
        let clusters: Arc<[Range<u32>]> = clusters.into();
        self.clusters.insert(Arc::clone(&clusters));
        Some(clusters)
    }

    /// Returns all owners of some of these clusters; `None` if all lists would be too long with
    /// them.
    fn of(&mut self, claimants: &Claimants, clusters: &Arc<[Range<u32>]>) -> Option<Arc<[Blkno]>> {
        if let Some(owners) = self.by_clusters.get(clusters) {
            return Some(Arc::clone(owners));
        }
        let room = MOST_OWNERS.saturating_sub(self.kept_owners);
        let mut owners = BTreeSet::new();
        for claimed in clusters.iter().flat_map(|run| claimants.overlapping(run.clone())) {
            owners.insert(claimed.owner);
            if owners.len() > room {
                return None;
            }
        }
        self.kept_owners += owners.len();
        let owners: Arc<[Blkno]> = owners.into_iter().collect();
        self.by_clusters.insert(Arc::clone(clusters), Arc::clone(&owners));
        Some(owners)
    }
}

impl<'a> Shared<'a> {
    fn new(
        context: &Context<'_>,
        state: &State<'_>,
        claimants: &Claimants,
        wanted: &'a ClusterSet,
        trees: HashMap<Blkno, Blkno>,
        settled: BTreeMap<Blkno, ClusterSet>,
    ) -> Result<Self, Stop> {
        let mut shared = Self {
            wanted,
            trees,
            settled,
            doubly: ClusterSet::default(),
            metadata: ClusterSet::default(),
            unshareable: ClusterSet::default(),
            between_trees: ClusterSet::default(),
            system: BTreeSet::new(),
            directories: BTreeSet::new(),
            foreign: RefCell::default(),
            sharers: RefCell::default(),
            local_allocs: BTreeSet::new(),
            truncate_logs: BTreeSet::new(),
        };
        let of_slots = |file: fn(u16) -> SystemFile| {
            let slots = (0..state.system.slots()).map(file);
            slots.filter_map(|file| state.system.find(file)).collect()
        };
        shared.local_allocs = of_slots(SystemFile::LocalAlloc);
        shared.truncate_logs = of_slots(SystemFile::TruncateLog);
        let mut once = ClusterSet::default();
        for (clusters, _) in claimants.fixed() {
            for run in wanted.runs(clusters.clone()) {
                shared.metadata.insert(run.clone(), |_| {});
                once.insert(run, |_| {});
            }
        }
        let mut by_tree = shared.settled.clone();
        for claimed in claimants.claims() {
            context.check_interrupt()?;
            let facts = state.inodes.find(&state.suballocs, claimed.owner);
            if facts.is_some_and(|facts| facts.is_system) {
                shared.system.insert(claimed.owner);
            }
            if facts.is_some_and(|facts| facts.kind == Some(FileKind::Directory)) {
                shared.directories.insert(claimed.owner);
            }
            if let Some(tree) = claimed.tree {
                let clusters = by_tree.entry(tree).or_default();
                wanted.runs(claimed.clusters.clone()).for_each(|run| clusters.insert(run, |_| {}));
                continue;
            }
            let is_file = facts
                .is_some_and(|facts| facts.kind == Some(FileKind::Regular) && !facts.is_system);
            for run in shared.open(claimed) {
                if !is_file {
                    shared.unshareable.insert(run.clone(), |_| {});
                }
                once.insert(run, |again| shared.doubly.insert(again, |_| {}));
            }
        }
        let mut in_trees = ClusterSet::default();
        for clusters in by_tree.values() {
            context.check_interrupt()?;
            for run in clusters.runs(0..u32::MAX) {
                in_trees.insert(run.clone(), |again| shared.between_trees.insert(again, |_| {}));
                once.insert(run, |again| shared.doubly.insert(again, |_| {}));
            }
        }
        Ok(shared)
    }

    /// Returns the wanted clusters of a claim, apart from those that are only missing a flag.
    fn open(&self, claimed: &Claimed) -> Vec<Range<u32>> {
        let runs = self.wanted.runs(claimed.clusters.clone());
        let settled = self.trees.get(&claimed.owner).and_then(|tree| self.settled.get(tree));
        match settled {
            None => runs.collect(),
            Some(settled) => runs.flat_map(|run| gaps(settled, run)).collect(),
        }
    }

    /// Returns the finding about the inode that has all these claims.
    fn finding(
        &self,
        context: &Context<'_>,
        claimants: &Claimants,
        claims: &[&Claimed],
    ) -> Option<Finding> {
        let owner = claims.first()?.owner;
        let mut mine = ClusterSet::default();
        for claimed in claims {
            let mut take = |run| mine.insert(run, |_| {});
            if claimed.tree.is_some() {
                let clusters = &claimed.clusters;
                self.metadata.runs(clusters.clone()).for_each(&mut take);
                self.between_trees.runs(clusters.clone()).for_each(&mut take);
            } else {
                let open = self.open(claimed);
                open.into_iter().flat_map(|run| self.doubly.runs(run)).for_each(&mut take);
            }
        }
        let first = mine.runs(0..u32::MAX).next()?;
        let (others, trees) = self.others(claimants, owner, &mine);
        let text = format!("inode {owner}: {} also {others}", list(&mine));
        let place = Place::clusters(first.start, first.end - first.start).of(owner);
        let touches =
            |set: &ClusterSet| mine.runs(0..u32::MAX).any(|run| set.runs(run).next().is_some());
        let finding = |code| Finding::new(code, place.clone(), &text);
        let can_share = context.volume.has(Incompat::REFCOUNT_TREE)
            && trees <= 1
            && !touches(&self.unshareable)
            && !touches(&self.between_trees);
        let clusters = mine.runs(0..u32::MAX).collect();
        let Some(clusters) = self.sharers.borrow_mut().keep(clusters) else {
            return Some(finding(codes::DUP_CLUSTERS_CLONE));
        };
        let found = || finding(codes::DUP_CLUSTERS_DIRECTORY);
        match self.verdict(context, claimants, owner, &clusters) {
            Verdict::Own => {}
            Verdict::Foreign(foreign) => {
                return Some(found().repaired_by(share::take_out(owner, foreign)));
            }
            Verdict::Later => {
                return Some(found().repaired_by(Repair::waiting("others are looked at first")));
            }
        }
        let is_of_files = !self.system.contains(&owner) && !touches(&self.metadata);
        let owners = match can_share && is_of_files {
            true => self.sharers.borrow_mut().of(claimants, &clusters),
            false => None,
        };
        let is_apart = is_of_files && !touches(&self.unshareable);
        // Only the inode itself has them twice. Copies, or sharing, would show the same contents in
        // several of its places.
        if is_apart
            && context.volume.has(Incompat::SPARSE_ALLOC)
            && !has_others(claimants, owner, &clusters)
        {
            let repair = share::take_out_again(owner, Arc::clone(&clusters));
            return Some(finding(codes::DUP_CLUSTERS_TWICE).repaired_by(repair));
        }
        let copy = || share::copy(owner, Arc::clone(&clusters));
        let or_delete = |finding: Finding| {
            let delete = Repair::new(move |editor| editor.delete_inode(owner));
            finding.or_else(codes::DUP_CLUSTERS_DELETE).repaired_by(delete)
        };
        Some(if self.local_allocs.contains(&owner) {
            // Reserved clusters that another inode has were handed out, or never belonged to the
            // local alloc.
            finding(codes::DUP_CLUSTERS_SYSFILE_CLONE).repaired_by(local_alloc::clear(owner))
        } else if self.truncate_logs.contains(&owner) {
            // Their owner has not given them up.
            finding(codes::DUP_CLUSTERS_SYSFILE_CLONE).repaired_by(truncate_log::clear(owner))
        } else if self.system.contains(&owner) {
            finding(codes::DUP_CLUSTERS_SYSFILE_CLONE).repaired_by(copy())
        } else if touches(&self.metadata) {
            let repair = share::copy_or_give_up(owner, Arc::clone(&clusters));
            or_delete(finding(codes::DUP_CLUSTERS_METADATA).repaired_by(repair))
        } else if let Some(owners) = owners {
            // One repair lets all owners of the same clusters share them.
            let mut hasher = DefaultHasher::new();
            clusters.hash(&mut hasher);
            let share = share::share(hasher.finish(), owner, owners, Arc::clone(&clusters));
            let clone = finding(codes::DUP_CLUSTERS_ADD_REFCOUNT).repaired_by(share);
            or_delete(clone.or_else(codes::DUP_CLUSTERS_CLONE).repaired_by(copy()))
        } else {
            or_delete(finding(codes::DUP_CLUSTERS_CLONE).repaired_by(copy()))
        })
    }

    /// Returns whose the clusters are that `owner` shares, if it is a directory.
    fn verdict(
        &self,
        context: &Context<'_>,
        claimants: &Claimants,
        owner: Blkno,
        shared: &[Range<u32>],
    ) -> Verdict {
        // What only the directory has, if several times, is its own.
        if !has_others(claimants, owner, shared) {
            return Verdict::Own;
        }
        let read = || Inode::decode(owner, context.volume.read_block(owner).ok()?).ok();
        match self.directories.contains(&owner).then(read).flatten() {
            Some(inode) => self.foreign.borrow_mut().judge(context, &inode, shared),
            None => Verdict::Own,
        }
    }

    /// Returns who else has some of the clusters, in words, and the number of refcount trees among
    /// all owners.
    fn others(&self, claimants: &Claimants, owner: Blkno, mine: &ClusterSet) -> (String, usize) {
        let mut names = BTreeSet::new();
        let mut owners = BTreeSet::new();
        let mut trees: BTreeSet<Blkno> = self.trees.get(&owner).copied().into_iter().collect();
        for run in mine.runs(0..u32::MAX).take(LOOKED_AT) {
            for claimed in claimants.overlapping(run.clone()).take(LOOKED_AT) {
                trees.extend(self.trees.get(&claimed.owner));
                if claimed.owner != owner {
                    owners.insert(claimed.owner);
                }
            }
            let fixed = claimants
                .fixed()
                .iter()
                .filter(|(clusters, _)| clusters.start < run.end && run.start < clusters.end);
            names.extend(fixed.take(NAMED).map(|(_, name)| (0, name.clone())));
        }
        // One more than are named, to know that there are more.
        names.extend(owners.iter().take(NAMED + 1).map(|owner| (1, format!("inode {owner}"))));
        let mut text = String::new();
        for (index, (_, name)) in names.iter().take(NAMED).enumerate() {
            let _ = write!(text, "{}{name}", if index == 0 { "claimed by " } else { ", " });
        }
        match names.len() {
            0 => text.push_str("claimed once more by itself"),
            count if count > NAMED => text.push_str(" and others"),
            _ => {}
        }
        (text, trees.len())
    }
}

/// Returns whether anybody else has some of the clusters.
fn has_others(claimants: &Claimants, owner: Blkno, clusters: &[Range<u32>]) -> bool {
    clusters.iter().any(|run| {
        let fixed = claimants.fixed().iter();
        claimants.overlapping(run.clone()).any(|claimed| claimed.owner != owner)
            || fixed.map(|(it, _)| it).any(|it| it.start < run.end && run.start < it.end)
    })
}

/// Returns the clusters of a set, in words.
fn list(clusters: &ClusterSet) -> String {
    let runs: Vec<_> = clusters.runs(0..u32::MAX).take(NAMED + 1).collect();
    let mut text = String::new();
    for (index, run) in runs.iter().take(NAMED).enumerate() {
        text.push_str(if index == 0 { "" } else { ", " });
        let _ = match run.end - run.start {
            1 => write!(text, "{}", run.start),
            _ => write!(text, "{} to {}", run.start, run.end - 1),
        };
    }
    if runs.len() > NAMED {
        text.push_str(" and more");
    }
    match clusters.len() {
        1 => format!("cluster {text} is"),
        _ => format!("clusters {text} are"),
    }
}

/// Returns the parts of a range that are not in a set.
fn gaps(set: &ClusterSet, range: Range<u32>) -> Vec<Range<u32>> {
    let mut gaps = Vec::new();
    let mut at = range.start;
    for run in set.runs(range.clone()) {
        if at < run.start {
            gaps.push(at..run.start);
        }
        at = run.end;
    }
    if at < range.end {
        gaps.push(at..range.end);
    }
    gaps
}
