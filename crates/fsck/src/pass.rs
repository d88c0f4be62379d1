//! The passes, in their order.

use serde::Serialize;

/// A part of the check.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pass {
    /// Before the passes: superblock, system files, slots, journals.
    Start,
    /// 0a: the chains of the global bitmap.
    Clusters,
    /// 0b: the chains of the inode allocators.
    InodeAllocators,
    /// 0c: the chains of the extent allocators.
    ExtentAllocators,
    /// 1: inodes and everything that belongs to them, then the bitmaps.
    Inodes,
    /// 1b to 1d: clusters that several files claim.
    SharedClusters,
    /// 2: directory entries and indexes.
    Directories,
    /// 3: whether every directory can be reached.
    Connectivity,
    /// 4a: orphan directories.
    Orphans,
    /// 4b: link counts.
    Links,
    /// 5: quota files.
    Quota,
}

impl Pass {
    /// Returns its title in the output; `None` for the start, which is not announced.
    pub fn title(self) -> Option<&'static str> {
        Some(match self {
            Self::Start => return None,
            Self::Clusters => "Pass 0a: Checking cluster allocation chains",
            Self::InodeAllocators => "Pass 0b: Checking inode allocation chains",
            Self::ExtentAllocators => "Pass 0c: Checking extent block allocation chains",
            Self::Inodes => "Pass 1: Checking inodes and blocks",
            Self::SharedClusters => "Pass 1b: Looking for who shares clusters",
            Self::Directories => "Pass 2: Checking directory entries",
            Self::Connectivity => "Pass 3: Checking directory connectivity",
            Self::Orphans => "Pass 4a: Checking for orphaned inodes",
            Self::Links => "Pass 4b: Checking inodes link counts",
            Self::Quota => "Pass 5: Checking quota information",
        })
    }

    /// Returns its number, as fsck(8) counts passes.
    pub fn number(self) -> u8 {
        match self {
            Self::Start | Self::Clusters | Self::InodeAllocators | Self::ExtentAllocators => 0,
            Self::Inodes | Self::SharedClusters => 1,
            Self::Directories => 2,
            Self::Connectivity => 3,
            Self::Orphans | Self::Links => 4,
            Self::Quota => 5,
        }
    }
}
