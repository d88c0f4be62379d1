//! Extents of which it is not known yet whether they are too long.

use std::ops::Range;

use ocfs2_format::Blkno;

use crate::Finding;

/// The end of an extent that may be too long.
#[derive(Clone, Debug)]
pub struct Surplus {
    /// The inode.
    pub owner: Blkno,
    /// The clusters of this end.
    pub clusters: Range<u32>,
    /// The refcount tree that counts them, if one does.
    pub tree: Option<Blkno>,
    /// Whether the number of clusters of the inode shows that it is too long, and not only the
    /// size. Without that all clusters have to be free or other owners'.
    pub is_stated: bool,
    /// The finding if it is too long.
    pub finding: Finding,
    /// The findings if it is not.
    pub otherwise: Vec<Finding>,
}
