//! What a thread brings back from a piece of pass 1, and later passes are made of.

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

/// Clusters an inode says are its own.
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
    /// The root of the refcount tree the inode names.
    pub tree: Blkno,
    /// The first cluster.
    pub start: u32,
    /// How many, all within the volume.
    pub count: u32,
}

/// What a block of an extent allocator is used as.
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
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::ExtentBlock => "extent block",
            Self::DxRoot => "directory index root",
            Self::XattrBlock => "xattr block",
            Self::RefcountBlock => "refcount block",
        }
    }
}

/// A block of metadata that an inode says is its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BlockClaim {
    /// The inode; of a refcount tree the root, which several inodes may name: claimed once.
    pub owner: Blkno,
    /// The block.
    pub blkno: Blkno,
    /// As what.
    pub used_as: BlockUse,
    /// Where the block says it was allocated from: slot, bit and group (0: not said).
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

/// Counts for the summary.
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
    /// Regular files of more than one extent.
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

/// What a piece of pass 1 collected. In the order of the blocks that were read.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// Inodes that were looked at, in use or not.
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
    /// Ends of extents that may be too much, which nobody claims yet.
    pub surplus: Vec<Surplus>,
    /// Inodes that say they have attributes, and have none: some of them.
    pub without_attributes: Vec<Blkno>,
    /// Whether some of what is in use could not be read.
    pub incomplete: bool,
    /// Features that the superblock does not say.
    pub lacking: Lacking,
    /// What users and groups use, where the volume counts it.
    pub usage: Usage,
    /// Counts.
    pub totals: Totals,
    /// What this pass has read, if what is shared by many is to be read once.
    pub visits: Option<Arc<MetadataVisits>>,
}

impl Collected {
    /// Nothing yet, in a pass that has read what `visits` say.
    pub fn within(visits: &Arc<MetadataVisits>) -> Self {
        Self { visits: Some(Arc::clone(visits)), ..Self::default() }
    }

    /// Nothing yet, in the same pass.
    pub fn aside(&self) -> Self {
        Self { visits: self.visits.clone(), ..Self::default() }
    }

    /// Whether to follow what a block points to: not if many did before.
    pub fn enter_block(&self, blkno: Blkno) -> bool {
        let next = blkno.0.saturating_add(1);
        self.visits.as_ref().is_none_or(|visits| visits.blocks.enter(blkno.0..next))
    }

    /// Whether to read what is in these clusters: not if many did before.
    pub fn enter_clusters(&self, clusters: std::ops::Range<u64>) -> bool {
        self.visits.as_ref().is_none_or(|visits| visits.clusters.enter(clusters))
    }

    /// Adds a finding.
    pub fn found(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Puts what `other` collected behind.
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
