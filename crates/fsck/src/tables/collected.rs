//! What a thread collects in a piece of pass 1, for later passes.

use std::sync::Arc;

use ocfs2_format::Blkno;

use crate::Finding;
use crate::name_hashes::NameHashes;
use crate::tables::inodes::Facts;
use crate::tables::lacking::Lacking;
use crate::tables::suballocs::Bit;
use crate::tables::surplus::Surplus;
use crate::tables::usage::Usage;
use crate::tables::visits::MetadataVisits;

/// Clusters that an inode claims.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Claim {
    /// The inode.
    pub owner: Blkno,
    /// The first cluster.
    pub start: u32,
    /// How many, all within the volume.
    pub count: u32,
}

/// Clusters that several inodes may share, counted by a refcount tree.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SharedClaim {
    /// The inode.
    pub owner: Blkno,
    /// The root of the refcount tree that the inode names.
    pub tree: Blkno,
    /// The first cluster.
    pub start: u32,
    /// How many, all within the volume.
    pub count: u32,
}

/// The use of a block of an extent allocator.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum BlockUse {
    /// An extent block.
    ExtentBlock,
    /// The root of a directory index.
    DxRoot,
    /// A block of attributes.
    XattrBlock,
    /// The root or a leaf of a refcount tree.
    RefcountBlock,
}

impl BlockUse {
    /// Returns its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::ExtentBlock => "extent block",
            Self::DxRoot => "directory index root",
            Self::XattrBlock => "xattr block",
            Self::RefcountBlock => "refcount block",
        }
    }
}

/// A block of metadata that an inode claims.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BlockClaim {
    /// The inode. For a refcount tree the root, as several inodes may name the tree, whose blocks
    /// are claimed once.
    pub owner: Blkno,
    pub blkno: Blkno,
    /// What the block is used as.
    pub used_as: BlockUse,
    /// Where the block says it was allocated from: slot, bit and group. Group 0 means that no group
    /// is stated.
    pub suballoc: (u16, u16, Blkno),
}

/// An inode that uses a refcount tree.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TreeUser {
    /// The root of the tree.
    pub tree: Blkno,
    /// The inode.
    pub inode: Blkno,
}

/// The counts for the summary.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Inodes in use.
    pub inodes: u64,
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Device nodes, fifos and sockets.
    pub special: u64,
    /// Inodes whose contents are in the dinode.
    pub inline: u64,
    /// Regular files with more than one extent.
    pub fragmented: u64,
    /// Names by their hash.
    pub name_hashes: NameHashes,
}

impl Totals {
    pub(crate) fn add(&mut self, other: Self) {
        let Self { inodes, files, directories, symlinks, special, inline, fragmented, .. } = other;
        self.name_hashes += other.name_hashes;
        self.inodes += inodes;
        self.files += files;
        self.directories += directories;
        self.symlinks += symlinks;
        self.special += special;
        self.inline += inline;
        self.fragmented += fragmented;
    }
}

/// What a piece of pass 1 collected, in the order of the blocks that were read.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// Inodes that were read, in use or not.
    pub scanned: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// The inodes in use.
    pub inodes: Vec<(Bit, Facts)>,
    /// Clusters of files, of indexes and of attributes.
    pub claims: Vec<Claim>,
    /// Clusters of refcounted extents.
    pub shared: Vec<SharedClaim>,
    /// Blocks of metadata.
    pub blocks: Vec<BlockClaim>,
    /// Users of refcount trees.
    pub tree_users: Vec<TreeUser>,
    /// Ends of extents that may be too long, which nobody claims yet.
    pub surplus: Vec<Surplus>,
    /// Inodes whose flags promise attributes that they do not have: some of them.
    pub without_attributes: Vec<Blkno>,
    /// Whether something that may use clusters or blocks could not be read.
    pub incomplete: bool,
    /// Features that files show and the superblock lacks.
    pub lacking: Lacking,
    /// The usage of users and groups, where the volume counts it.
    pub usage: Usage,
    /// Counts.
    pub totals: Totals,
    /// What all threads of this pass have read, if blocks that many share are to be read once.
    pub visits: Option<Arc<MetadataVisits>>,
}

impl Collected {
    /// Starts empty, in a pass that has read what `visits` contains.
    pub fn within(visits: &Arc<MetadataVisits>) -> Self {
        Self { visits: Some(Arc::clone(visits)), ..Self::default() }
    }

    /// Starts empty, in the same pass: what is collected there may be dropped.
    pub fn aside(&self) -> Self {
        Self { visits: self.visits.clone(), ..Self::default() }
    }

    /// Returns whether to follow what a block points to: not if many others have done so before.
    pub fn enter_block(&self, blkno: Blkno) -> bool {
        let next = blkno.0.saturating_add(1);
        self.visits.as_ref().is_none_or(|visits| visits.blocks.enter(blkno.0..next))
    }

    /// Returns whether to read what is in these clusters: not if many others have done so before.
    pub fn enter_clusters(&self, clusters: std::ops::Range<u64>) -> bool {
        self.visits.as_ref().is_none_or(|visits| visits.clusters.enter(clusters))
    }

    /// Adds a finding.
    pub fn found(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Appends what `other` collected.
    pub fn append(&mut self, mut other: Self) {
        self.scanned += other.scanned;
        self.findings.append(&mut other.findings);
        self.inodes.append(&mut other.inodes);
        self.claims.append(&mut other.claims);
        self.shared.append(&mut other.shared);
        self.blocks.append(&mut other.blocks);
        self.tree_users.append(&mut other.tree_users);
        self.surplus.append(&mut other.surplus);
        self.without_attributes.append(&mut other.without_attributes);
        self.incomplete |= other.incomplete;
        self.lacking.add(other.lacking);
        self.usage.append(other.usage);
        self.totals.add(other.totals);
    }
}
