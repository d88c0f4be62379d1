//! Extents of which it is not known yet whether they are too long.

use std::ops::Range;

use ocfs2_format::Blkno;

use crate::Finding;

/// The end of an extent that may be too much.
#[derive(Clone, Debug)]
pub struct Surplus {
    /// The inode.
    pub owner: Blkno,
    /// Its clusters.
    pub clusters: Range<u32>,
    /// The refcount tree that counts them.
    pub tree: Option<Blkno>,
    /// Whether the number of clusters of the inode says so, too: else that has to be plain.
    pub is_stated: bool,
    /// That it is too much.
    pub finding: Finding,
    /// What is wrong if it is not.
    pub otherwise: Vec<Finding>,
}
