//! Pass 1: every inode, and everything that hangs from it.
//!
//! The groups of all inode allocators are read in large pieces by several threads. Each piece
//! gives what is wrong, the facts of its inodes, the clusters and blocks they claim. When it
//! has ended, the inode table is complete, and so is what every file says is its own.

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

/// Inodes in a row that are read at once.
#[derive(Clone, Debug)]
struct Piece {
    /// Index of the group.
    group: u32,
    /// The bits.
    bits: Range<u32>,
    /// The block the first bit stands for.
    start: Blkno,
}

impl Piece {
    fn at(&self, index: u32) -> (Bit, Blkno) {
        let bit = Bit { group: self.group, bit: self.bits.start + index };
        (bit, Blkno(self.start.0 + u64::from(index)))
    }
}
