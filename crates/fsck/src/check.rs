//! The check as a whole: the passes one after the other.

use std::collections::HashSet;

use ocfs2_cli::Interrupt;
use ocfs2_format::Blkno;

use crate::chains::Taken;
use crate::clusters::ClusterSet;
use crate::codes::general;
use crate::collected::{BlockClaim, Collected, SharedClaim, Totals, TreeUser};
use crate::inodes::{self, InodeTable, References, Surplus};
use crate::quota::{self, Usage};
use crate::repair::Contested;
use crate::start::{self, Short, SystemFiles};
use crate::suballocs::Suballocs;
use crate::{
    Context, Finding, Found, Pass, Stop, bitmaps, chains, connectivity, directories, links,
    refcounts, shared_clusters,
};

/// Told what the check does and finds, in order.
pub trait Observer {
    /// A pass begins; it will do `total` units of work, 0 if that is not known.
    fn pass(&mut self, pass: Pass, total: u64);
    /// So many of the units are done.
    fn progress(&mut self, _done: u64) {}
    /// Something is wrong.
    fn found(&mut self, found: Found<'_>);
}

/// What passes know that come later than the one that found it out.
pub(crate) struct State<'o> {
    observer: &'o mut dyn Observer,
    pass: Pass,
    findings: u64,
    interrupt: Interrupt,
    /// Blocks the device has.
    device_blocks: u64,
    /// Inodes that were looked at.
    scanned: u64,
    /// Where the system files are: after the start.
    pub system: SystemFiles,
    /// The groups of inode and extent allocators: after pass 0.
    pub suballocs: Suballocs,
    /// Groups of the global bitmap whose bits say nothing: after pass 0.
    pub unknown_groups: HashSet<u32>,
    /// Groups of the global bitmap in which only the first cluster is in use, as far as that is
    /// known: after pass 0.
    pub unused_groups: ClusterSet,
    /// What of the global bitmap waits until others have left its place: after pass 1.
    pub taken: Taken,
    /// What is wrong with what has its place on every volume, with the cluster: until it is known
    /// who else claims that.
    pub fixed: Vec<(u32, Finding)>,
    /// Whether groups of inodes or of other metadata are lost: after pass 0.
    pub lost_groups: bool,
    /// Whether some of them are known, and come back once they are linked: after pass 1.
    pub unlinked_groups: bool,
    /// Whether something could not be read that may use clusters or blocks.
    pub incomplete: bool,
    /// All inodes: after pass 1.
    pub inodes: InodeTable,
    /// How often each is referred to: after pass 3.
    pub references: References,
    /// Clusters in use so far. Those of refcounted extents are only in `shared`.
    pub clusters: ClusterSet,
    /// Clusters claimed more than once, except by sharing: until it was found out by whom.
    pub doubly: ClusterSet,
    /// What is nobody's to change before it is known whose it is: after pass 1d.
    pub contested: Contested,
    /// Clusters of refcounted extents.
    pub shared: Vec<SharedClaim>,
    /// Blocks of metadata in use.
    pub blocks: Vec<BlockClaim>,
    /// Who uses which refcount tree.
    pub tree_users: Vec<TreeUser>,
    /// Ends of extents that may be too much: until it is known who has what.
    pub surplus: Vec<Surplus>,
    /// Inodes that say they have attributes, and have none: up to two.
    pub without_attributes: Vec<Blkno>,
    /// What users and groups use, where the volume counts it: after pass 1.
    pub usage: Usage,
    /// Counts.
    pub totals: Totals,
}

impl<'o> State<'o> {
    fn new(context: &Context<'_>, observer: &'o mut dyn Observer) -> Self {
        let volume = context.volume;
        Self {
            observer,
            pass: Pass::Start,
            findings: 0,
            interrupt: context.interrupt.clone(),
            device_blocks: volume.device().size_bytes() >> volume.block_size().bits(),
            scanned: 0,
            system: SystemFiles::default(),
            suballocs: Suballocs::default(),
            unknown_groups: HashSet::new(),
            unused_groups: ClusterSet::default(),
            taken: Taken::default(),
            fixed: Vec::new(),
            lost_groups: false,
            unlinked_groups: false,
            incomplete: false,
            inodes: InodeTable::default(),
            references: References::default(),
            clusters: ClusterSet::default(),
            doubly: ClusterSet::default(),
            contested: Contested::default(),
            shared: Vec::new(),
            blocks: Vec::new(),
            tree_users: Vec::new(),
            surplus: Vec::new(),
            without_attributes: Vec::new(),
            usage: Usage::default(),
            totals: Totals::default(),
        }
    }

    /// A pass begins.
    pub fn begin(&mut self, pass: Pass, total: u64) {
        self.pass = pass;
        self.observer.pass(pass, total);
    }

    /// A pass begins that reads all inodes.
    pub fn begin_inodes(&mut self, pass: Pass) {
        let groups = self.suballocs.groups().iter();
        let groups = groups.filter(|group| group.suballoc.holds_inodes());
        self.begin(pass, groups.map(|group| u64::from(group.bits)).sum());
    }

    /// So much of the pass is done.
    pub fn progress(&mut self, done: u64) {
        self.observer.progress(done);
    }

    /// Something is wrong.
    pub fn found(&mut self, finding: Finding) {
        self.incomplete |= finding.code.hides;
        // Nothing could be read any more: what follows from that is not so.
        if self.interrupt.requested() {
            return;
        }
        // That the device ends before the volume does is said once, at the start.
        let is_behind = finding.place.block.is_some_and(|block| block >= self.device_blocks);
        if is_behind && *finding.code == *general::IO_ERROR {
            return;
        }
        self.findings += 1;
        self.observer.found(Found { pass: self.pass, finding: &finding });
    }

    /// Several things are wrong.
    pub fn found_all(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            self.found(finding);
        }
    }

    /// Bytes of what is collected, which grows with what is on the volume.
    fn known_bytes(&self) -> u64 {
        fn of<T>(all: &[T]) -> u64 {
            size_of_val(all) as u64
        }
        self.inodes.memory_bytes()
            + of(&self.shared)
            + of(&self.blocks)
            + of(&self.tree_users)
            + of(&self.surplus)
            + self.clusters.memory_bytes()
            + self.unused_groups.memory_bytes()
    }

    /// Clusters are in use.
    pub fn claim(&mut self, range: std::ops::Range<u32>) {
        let doubly = &mut self.doubly;
        self.clusters.insert(range, |again| doubly.insert(again, |_| {}));
    }

    /// Takes over what a piece of pass 1 collected.
    pub fn merge(&mut self, collected: Collected) {
        let Collected {
            scanned,
            findings,
            inodes,
            claims,
            shared,
            blocks,
            tree_users,
            surplus,
            without_attributes,
            incomplete,
            usage,
            totals,
            visits: _,
        } = collected;
        self.incomplete |= incomplete;
        self.found_all(findings);
        self.scanned += scanned;
        self.progress(self.scanned);
        for (at, facts) in inodes {
            self.inodes.set(at, facts);
        }
        for claim in claims {
            self.claim(claim.start..claim.start + claim.count);
        }
        self.shared.extend(shared);
        self.blocks.extend(blocks);
        self.tree_users.extend(tree_users);
        inodes::keep_surplus(self, surplus);
        // One can be mended; more are not told apart.
        let more = 2_usize.saturating_sub(self.without_attributes.len());
        self.without_attributes.extend(without_attributes.into_iter().take(more));
        self.usage.append(usage);
        self.totals.add(totals);
    }
}

/// What the check came to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Outcome {
    /// How many findings there were.
    pub findings: u64,
    /// Counts.
    pub totals: Totals,
    /// Clusters in use.
    pub clusters_in_use: u64,
    /// Whether nothing was looked at, since the device ends before the volume.
    pub is_short: bool,
    /// Whether it ended before the inodes were read, so that nothing is known of what is there.
    pub is_partial: bool,
    /// What is nobody's to change before it is known whose it is.
    pub(crate) contested: Contested,
    /// Bytes of memory that what is known of the volume took.
    pub known_bytes: u64,
}

/// Checks a volume and tells `observer` what is wrong.
///
/// # Errors
/// [`Stop`] if it did not come to its end.
pub fn check(context: &Context<'_>, observer: &mut dyn Observer) -> Result<Outcome, Stop> {
    let mut state = State::new(context, observer);
    // No place is known without it.
    if let Some(finding) = start::cluster_size::check(context) {
        state.begin(Pass::Start, 0);
        state.found(finding);
        return Ok(Outcome { findings: state.findings, is_partial: true, ..Outcome::default() });
    }
    let of_attributes = start::attributes::check(context);
    if !of_attributes.is_empty() {
        state.begin(Pass::Start, 0);
        state.found_all(of_attributes);
        return Ok(Outcome { findings: state.findings, is_partial: true, ..Outcome::default() });
    }
    // What is missing may come back; what refers to it must not be taken for damage before.
    let sized = match start::short_device(context) {
        None => None,
        Some(Short { finding, sized }) => {
            state.begin(Pass::Start, 0);
            // What the right size is comes before all else, which is found by it.
            state.found(finding);
            let Some(sized) = sized else {
                let findings = state.findings;
                let outcome = Outcome { findings, is_partial: true, ..Outcome::default() };
                return Ok(Outcome { is_short: true, ..outcome });
            };
            Some(sized)
        }
    };
    let context = &Context { volume: sized.as_ref().unwrap_or(context.volume), ..*context };
    start::check(context, &mut state);
    context.check_interrupt()?;
    if state.system.are_gone() {
        // Without the allocators nothing that is there is known, nor what is missing.
        return Ok(Outcome { findings: state.findings, is_partial: true, ..Outcome::default() });
    }
    let resized = chains::begin(context, &mut state);
    let context = &Context { volume: resized.as_ref().unwrap_or(context.volume), ..*context };
    chains::check(context, &mut state)?;

    state.begin_inodes(Pass::Inodes);
    state.inodes = InodeTable::new(&state.suballocs);
    let suballocs = std::mem::take(&mut state.suballocs);
    let system = std::mem::take(&mut state.system);
    let scanned = inodes::scan(context, &suballocs, &system, |collected| state.merge(collected));
    (state.suballocs, state.system) = (suballocs, system);
    scanned?;
    inodes::settle_surplus(context, &mut state);
    let unsettled = refcounts::check(context, &mut state)?;
    bitmaps::check(context, &mut state)?;
    shared_clusters::fixed_places(&mut state);
    shared_clusters::check(context, &mut state, &unsettled)?;

    let directories = directories::check(context, &mut state)?;
    connectivity::check(context, &mut state, &directories)?;
    links::check(context, &mut state, &directories)?;
    quota::check(context, &mut state)?;
    context.check_interrupt()?;

    Ok(Outcome {
        findings: state.findings,
        totals: state.totals,
        // Those of the bitmap's own descriptors are not among them, but for the first.
        clusters_in_use: state.clusters.len()
            + u64::from(context.geometry().groups().saturating_sub(1)),
        is_short: false,
        is_partial: false,
        known_bytes: state.known_bytes(),
        contested: state.contested,
    })
}
