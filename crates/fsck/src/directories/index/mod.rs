//! The index of a directory, compared with its entries.
//!
//! Verifies that there is an index where there has to be one, and invariants: every
//! entry has one entry in the index, in the list in which a lookup looks for its hash, and there
//! are no others. Entries are compared by hash and block, as the index does not contain names.
//!
//! Pass 1 follows the tree of the index ([`follow`]) and claims its blocks and clusters. An index
//! that cannot be followed is not compared.
//!
//! The list of blocks with holes is a hint, as is the size of the holes: only a list that leaves
//! the directory or does not end is wrong.

mod expected;
mod free_list;
mod hidden;
mod matching;
mod names;

pub(super) use expected::Expected;

use ocfs2_format::dinode::DynFeatures;
use ocfs2_format::feature::Incompat;
use ocfs2_volume::Inode;
use ocfs2_volume::tree::Extent;

use super::contents::enter;
use super::{Known, Read};
use crate::codes::directories as codes;
use crate::inodes::index_root::follow;
use crate::name_hashes::Signs;
use crate::repair::directory::{self, Hidden};
use crate::tables::collected::Collected;
use crate::{Finding, Place};

/// Reports a directory whose entries are not indexed although it should have an index, or one whose
/// index is not valid.
pub(super) fn check_absence(known: &Known<'_>, inode: &Inode, is_inline: bool, read: &mut Read) {
    let volume = known.context.volume;
    let has_flag = inode.dinode.dyn_features().contains(DynFeatures::INDEXED_DIR);
    // The system directory never has one. A directory without any entry has no block either.
    let needs_one = !is_inline
        && inode.blkno != volume.superblock().s_system_dir_blkno
        && read.dotdot.is_some();
    let (code, text) = match (volume.has(Incompat::INDEXED_DIRS), has_flag) {
        (false, true) => (codes::IV_DX_TREE, "has an index, which the volume has not"),
        (true, false) if needs_one => (codes::DX_TREE_MISSING, "has no index"),
        _ => return,
    };
    let text = format!("directory {}: {text}", inode.blkno);
    let repair = match has_flag {
        true => directory::drop_index(inode.blkno),
        false => directory::index(inode.blkno),
    };
    let finding = Finding::new(code, Place::inode(inode.blkno), text);
    read.findings.push(finding.repaired_by(repair));
}

/// The result of comparing an index.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// The hashes that names have.
    pub signs: Signs,
    /// Entries that only the index shows.
    pub hidden: Vec<Hidden>,
}

/// Compares the index of a directory with what was read of the directory.
pub(super) fn check(
    known: &Known<'_>,
    inode: &Inode,
    expected: Expected,
    findings: &mut Vec<Finding>,
) -> Compared {
    // Pass 1 reported its findings.
    let mut dropped = Collected::default();
    let followed = follow(known.context, inode.blkno, inode.dinode.i_dx_root, &mut dropped);
    let Some(index) = followed else { return Compared::default() };
    let bits = known.context.geometry().bpc_bits();
    let blocks = |extent: &Extent| u64::from(extent.clusters) << bits;
    if !index.extents.iter().all(|extent| enter(known, extent.blkno, blocks(extent))) {
        return Compared::default();
    }
    findings.extend(free_list::check(inode.blkno, &index, &expected));
    matching::check(known, inode.blkno, &index, expected, findings)
}

/// Findings of one kind about one index: reported once, with their number.
#[derive(Debug, Default)]
struct Several {
    first: Option<(Place, String)>,
    count: u64,
}

impl Several {
    /// Counts one more.
    fn add(&mut self, one: impl FnOnce() -> (Place, String)) {
        self.count += 1;
        if self.first.is_none() {
            self.first = Some(one());
        }
    }

    /// Returns the finding; `None` if there was nothing.
    fn finding(self, code: &'static crate::codes::Code) -> Option<Finding> {
        let (place, mut text) = self.first?;
        if self.count > 1 {
            text += &format!(", and {} more", self.count - 1);
        }
        Some(Finding::new(code, place, text))
    }
}
