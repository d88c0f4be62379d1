//! What later passes know from earlier ones, and where findings go.

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

/// Extents that may be too long and are kept until that is decided. Further ones wait for another
/// round.
const MOST_SURPLUS: usize = 4096;

/// Clusters of descriptors of the global bitmap that others claim, once that is known. What others
/// have there is moved before a descriptor is written.
pub(crate) type Taken = Arc<OnceLock<ClusterSet>>;

/// Receives what the check does and finds, in order.
pub trait Observer {
    /// A pass begins; it will do `total` units of work, 0 if that is not known.
    fn pass(&mut self, pass: Pass, total: u64);
    /// `_done` of the units are done.
    fn progress(&mut self, _done: u64) {}
    /// Something is wrong.
    fn found(&mut self, found: Found<'_>);
}

/// What later passes know from earlier ones.
pub(crate) struct State<'o> {
    observer: &'o mut dyn Observer,
    pass: Pass,
    /// The number of findings.
    pub findings: u64,
    interrupt: Interrupt,
    /// Blocks of the device.
    device_blocks: u64,
    /// Inodes that were read, in use or not.
    scanned: u64,
    /// Where the system files are: after the start.
    pub system: SystemFiles,
    /// The groups of inode and extent allocators: after pass 0.
    pub suballocs: Suballocs,
    /// Groups of the global bitmap whose bits are unknown: after pass 0.
    pub unknown_groups: HashSet<u32>,
    /// Groups of the global bitmap in which only the first cluster is in use, as far as that is
    /// known: after pass 0.
    pub unused_groups: ClusterSet,
    /// Clusters of descriptors that have to wait until others have left their places: after pass 1.
    pub taken: Taken,
    /// Findings about structures with a fixed place, with their cluster, until it is known who else
    /// claims that.
    pub fixed: Vec<(u32, Finding)>,
    /// Whether groups of inodes or of other metadata are lost: after pass 0; after pass 1 also
    /// those that no chain points to.
    pub lost_groups: bool,
    /// Whether some of them were found, and come back once they are linked: after pass 1.
    pub unlinked_groups: bool,
    /// Whether something could not be read that may use clusters or blocks.
    pub incomplete: bool,
    /// All inodes: after pass 1.
    pub inodes: InodeTable,
    /// The number of references to each inode: after pass 3.
    pub references: References,
    /// Clusters in use so far. Those of refcounted extents are added, once for each tree, when the
    /// trees are checked.
    pub clusters: ClusterSet,
    /// Clusters claimed more than once, except by sharing, until it is known by whom.
    pub doubly: ClusterSet,
    /// Clusters and blocks that no repair may change until it is known whose they are: after pass
    /// 1d.
    pub contested: Contested,
    /// Clusters of refcounted extents, until the refcount trees are checked.
    pub shared: Vec<SharedClaim>,
    /// Blocks of metadata in use.
    pub blocks: Vec<BlockClaim>,
    /// The users of refcount trees.
    pub tree_users: Vec<TreeUser>,
    /// Ends of extents that may be too long, until it is known who has which clusters.
    pub surplus: Vec<Surplus>,
    /// Inodes whose flags promise attributes that they do not have: at most two.
    pub without_attributes: Vec<Blkno>,
    /// Features that files show and the superblock lacks: after pass 1.
    pub lacking: Lacking,
    /// The usage of users and groups, where the volume counts it: after pass 1.
    pub usage: Usage,
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

    /// Begins a pass of `total` units of work; 0 if that is not known.
    pub fn begin(&mut self, pass: Pass, total: u64) {
        self.pass = pass;
        self.observer.pass(pass, total);
    }

    /// Begins a pass that reads all inodes.
    pub fn begin_inodes(&mut self, pass: Pass) {
        let groups = self.suballocs.groups().iter();
        let groups = groups.filter(|group| group.suballoc.holds_inodes());
        self.begin(pass, groups.map(|group| u64::from(group.bits)).sum());
    }

    /// Reports that `done` units of the pass are done.
    pub fn progress(&mut self, done: u64) {
        self.observer.progress(done);
    }

    /// Adds a finding and passes it on.
    pub fn found(&mut self, finding: Finding) {
        self.incomplete |= finding.code.hides;
        // After an interrupt nothing more is read, and what seems to be missing then is not.
        if self.interrupt.requested() {
            return;
        }
        // That the device ends before the volume was reported once, at the start.
        let is_behind = finding.place.block.is_some_and(|block| block >= self.device_blocks);
        if is_behind && *finding.code == *general::IO_ERROR {
            return;
        }
        self.findings += 1;
        self.observer.found(Found { pass: self.pass, finding: &finding });
    }

    /// Adds several findings.
    pub fn found_all(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            self.found(finding);
        }
    }

    /// Returns the bytes of the tables that grow with the contents of the volume.
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

    /// Adds clusters in use, and notes those that were in use before.
    pub fn claim(&mut self, range: std::ops::Range<u32>) {
        let doubly = &mut self.doubly;
        self.clusters.insert(range, |again| doubly.insert(again, |_| {}));
    }

    /// Adds what a piece of pass 1 collected, and reports its findings.
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
        // Those that are left out cause no finding now, and their clusters are not free either.
        self.incomplete |= surplus.len() > room;
        self.surplus.extend(surplus.into_iter().take(room));
        // One can be mended. Two are enough to know that there are more.
        let more = 2_usize.saturating_sub(self.without_attributes.len());
        self.without_attributes.extend(without_attributes.into_iter().take(more));
        self.lacking.add(lacking);
        self.usage.append(usage);
        self.totals.add(totals);
    }
}
