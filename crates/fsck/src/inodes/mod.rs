//! Pass 1: every inode, and everything that belongs to it.
//!
//! Several threads read the groups of all inode allocators in large pieces. For each piece they
//! return what is wrong, the facts of its inodes, and the clusters and blocks that these claim. At
//! the end the inode table is complete, and so is what every file claims.

mod dinode;
pub(crate) mod guess;
mod index;
pub(crate) mod index_root;
mod inline;
pub(crate) mod lacking;
pub(crate) mod local_alloc;
mod scan;
pub(crate) mod shape;
mod surplus;
mod symlink;
pub(crate) mod truncate_log;

use std::ops::Range;

pub(crate) use guess::is_directory;
pub(crate) use inline::LEAST_DIRECTORY;
pub use scan::{scan, was_deleted};
pub(crate) use surplus::settle as settle_surplus;

use ocfs2_format::Blkno;

use crate::tables::suballocs::Bit;

/// Consecutive inodes that are read at once.
#[derive(Clone, Debug)]
struct Piece {
    /// The index of the group in
    /// [`Suballocs::groups`](crate::tables::suballocs::Suballocs::groups).
    group: u32,
    bits: Range<u32>,
    /// The block of the first bit.
    start: Blkno,
}

impl Piece {
    fn at(&self, index: u32) -> (Bit, Blkno) {
        let bit = Bit { group: self.group, bit: self.bits.start + index };
        (bit, Blkno(self.start.0 + u64::from(index)))
    }
}
