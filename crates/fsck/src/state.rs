//! What passes know that come later than the one that found it out, and to whom findings go.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use ocfs2_cli::Interrupt;
use ocfs2_format::Blkno;

use crate::clusters::ClusterSet;
use crate::codes::general;
use crate::repair::Contested;
use crate::system_files::SystemFiles;
use crate::tables::collected::{BlockClaim, Collected, SharedClaim, Totals, TreeUser};
use crate::tables::inodes::{InodeTable, References};
use crate::tables::lacking::Lacking;
use crate::tables::suballocs::Suballocs;
use crate::tables::surplus::Surplus;
use crate::tables::usage::Usage;
use crate::{Context, Finding, Found, Pass};

/// Extents that may be too long which are kept until it is decided; what is more waits for another
/// round.
const MOST_SURPLUS: usize = 4096;

/// Clusters of descriptors of the global bitmap that others claim, once that is known: what
/// others have there is moved before a descriptor is written.
pub(crate) type Taken = Arc<OnceLock<ClusterSet>>;

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
    /// How many findings there were.
    pub findings: u64,
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
    /// Features that files show and the superblock does not say: after pass 1.
    pub lacking: Lacking,
    /// What users and groups use, where the volume counts it: after pass 1.
    pub usage: Usage,
    /// Counts.
    pub totals: Totals,
}

impl<'o> State<'o> {
    pub fn new(context: &Context<'_>, observer: &'o mut dyn Observer) -> Self {
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
            lacking: Lacking::default(),
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
    pub fn known_bytes(&self) -> u64 {
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
            lacking,
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
        let room = MOST_SURPLUS.saturating_sub(self.surplus.len());
        // Nothing is said of those that are left out, nor are their clusters free.
        self.incomplete |= surplus.len() > room;
        self.surplus.extend(surplus.into_iter().take(room));
        // One can be mended; more are not told apart.
        let more = 2_usize.saturating_sub(self.without_attributes.len());
        self.without_attributes.extend(without_attributes.into_iter().take(more));
        self.lacking.add(lacking);
        self.usage.append(usage);
        self.totals.add(totals);
    }
}
