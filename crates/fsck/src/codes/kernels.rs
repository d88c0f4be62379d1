//! What Linux demands of a volume before it uses a structure, and the finding that says so
//! before Linux does.
//!
//! Kept from the kernels of Debian, which take over such checks in releases of old series as
//! well. For each row the tests have a volume with that damage: it is found, repaired in one
//! run, and taken by the kernel afterwards.

use super::{Code, chains, connectivity, directories, extents, inodes, refcounts, slots, start};
use super::{journals, xattrs};

/// A series of kernels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Series {
    /// 6.1, of Debian 12.
    Linux6_1,
    /// 6.12, of Debian 13.
    Linux6_12,
    /// 7, of Debian 13's backports.
    Linux7,
}

/// What a series does with a volume that breaks a rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It does not look.
    Takes,
    /// It refuses the structure, from this release on; the volume is not mounted, or becomes
    /// read-only.
    Refuses(&'static str),
    /// It stops: the task is killed, and the volume hangs.
    Stops,
}

/// A rule that kernels check.
#[derive(Clone, Copy, Debug)]
pub struct KernelCheck {
    /// The structure, in words.
    pub structure: &'static str,
    /// What has to be so, in the names of the format.
    pub rule: &'static str,
    /// What 6.1, 6.12 and 7 do otherwise.
    pub verdicts: [Verdict; 3],
    /// The finding.
    pub code: &'static Code,
    /// The name of the damage by which the tests show it.
    pub damage: &'static str,
}

impl KernelCheck {
    /// What that series does.
    pub fn verdict(&self, series: Series) -> Verdict {
        self.verdicts[series as usize]
    }
}

use Verdict::{Refuses, Stops, Takes};

/// Checks of modes and device numbers.
const MODES: [Verdict; 3] = [Refuses("6.1.180"), Refuses("6.12.100"), Refuses("7.3.4")];
/// Checks that are in 6.1 from 6.1.192 on.
const fn of_192(in_6_12: &'static str) -> [Verdict; 3] {
    [Refuses("6.1.192"), Refuses(in_6_12), Refuses("7.3.4")]
}
/// Checks of the newest series only.
const NEW: [Verdict; 3] = [Takes, Takes, Refuses("7.3.4")];
/// Checks of attributes.
const XATTRS: [Verdict; 3] = [Takes, Refuses("6.12.114"), Refuses("7.3.4")];
/// In every release of these series.
const EVER: [Verdict; 3] = [Refuses("6.1"), Refuses("6.12"), Refuses("7.3.4")];

/// Rows of the table.
macro_rules! checks {
    ($($structure:literal, $rule:literal, $verdicts:expr, $code:expr, $damage:literal;)*) => {
        &[$(KernelCheck {
            structure: $structure,
            rule: $rule,
            verdicts: $verdicts,
            code: $code,
            damage: $damage,
        }),*]
    };
}

/// All of them.
pub const CHECKS: &[KernelCheck] = checks! {
    "inode", "SYSTEM is set in i_flags of system files only",
        [Stops, Stops, Refuses("7.3.4")], inodes::INODE_SYSTEM_FLAG,
        "a file says that it is one of the system";
    "root directory", "SYSTEM is set in i_flags",
        [Stops, Stops, Refuses("7.3.4")], inodes::INODE_SYSTEM_FLAG,
        "the root directory does not say that it is one of the system";
    "system file", "SYSTEM is set in i_flags",
        [Stops, Stops, Refuses("7.3.4")], start::SYSTEM_FILE_INVALID,
        "a truncate log does not say that it is one of the system";
    "inode", "i_mode is one of the seven types",
        MODES, inodes::INODE_MODE, "the mode of a file is not a valid file type";
    "inode of a user", "i_rdev is 0 unless it is a device",
        MODES, inodes::INODE_RDEV, "a file has a device number";
    "directory", "with an i_size it has clusters",
        MODES, inodes::DIR_ZERO, "a directory has a size and no block";
    "directory", "it has . and ..",
        EVER, inodes::DIR_SIZE_ZERO, "an orphan directory is empty in its inode";
    "inode with inline data", "i_clusters is 0",
        [Refuses("6.1.176"), Refuses("6.12.85"), Refuses("7.3.4")], inodes::INODE_INLINE_CLUSTERS,
        "an inline file has clusters";
    "inode with inline data", "id_count is at most what fits",
        [Refuses("6.1.176"), Refuses("6.12.85"), Refuses("7.3.4")],
        inodes::INLINE_DATA_COUNT_INVALID, "an inline file has more room than fits";
    "inode with inline data", "i_size is at most id_count",
        [Refuses("6.1.176"), Refuses("6.12.85"), Refuses("7.3.4")], inodes::INODE_INLINE_SIZE,
        "an inline file is longer than its room";
    "symbolic link in its inode", "its target ends at i_size",
        of_192("6.12.115"), inodes::LINK_SIZE,
        "a symbolic link in its inode is shorter than it states";
    "inode with DIO_ORPHANED", "i_dio_orphaned_slot is a slot",
        of_192("6.12.115"), connectivity::ORPHAN_FLAG,
        "a direct write to a file was interrupted by a slot that is none";
    "inode", "i_suballoc_slot is a slot, or 0xffff and SYSTEM is set",
        of_192("6.12.115"), inodes::INODE_SUBALLOC,
        "a file states a slot that is none as its allocator's";
    "extent list of an inode", "l_count is 1 to what fits",
        of_192("6.12.115"), extents::EXTENT_LIST_COUNT, "a pipe has no room for extents";
    "extent list of an inode", "l_next_free_rec is at most l_count",
        of_192("6.12.115"), extents::EXTENT_LIST_COUNT,
        "a file has less room for extents than it has extents";
    "extent block", "l_count is what fits",
        NEW, extents::EXTENT_LIST_COUNT, "an extent block has room for fewer records than fit";
    "extent block", "l_next_free_rec is at most l_count",
        NEW, extents::EXTENT_LIST_FREE,
        "an extent block has more records than it has room for";
    "extent block", "l_tree_depth is one less than above",
        EVER, extents::EXTENT_LIST_DEPTH, "a leaf of a tree has a depth";
    "chain list", "cl_count is what fits",
        of_192("6.12.115"), chains::CHAIN_COUNT, "the bitmap of clusters has room for fewer chains than fit";
    "chain list", "cl_next_free_rec is at most cl_count",
        of_192("6.12.115"), chains::CHAIN_NEXT_FREE,
        "the bitmap has more chains than it has room for";
    "chain list of blocks", "cl_bpc is the blocks of a cluster",
        NEW, chains::CHAIN_BPC, "an allocator has half the bits for a cluster";
    "group", "bg_size and bg_bits are at most what fits",
        [Refuses("6.1.177"), Refuses("6.12.95"), Refuses("7.3.4")], chains::GROUP_SIZE,
        "the bitmap of a group is smaller than it has to be";
    "group in pieces", "l_count is what fits",
        NEW, chains::DISCONTIG_BG_COUNT,
        "the list of a group in pieces has less room than there is";
    "group in pieces", "l_next_free_rec is at most l_count",
        NEW, chains::DISCONTIG_BG_NEXT_FREE_REC, "a group has a piece less than it states";
    "truncate log", "tl_count is 1 to what fits",
        [Stops, Stops, Refuses("7.3.4")], slots::DEALLOC_COUNT,
        "a truncate log has no room for records";
    "truncate log", "tl_used is at most tl_count",
        [Stops, Stops, Refuses("7.3.4")], slots::DEALLOC_USED,
        "a truncate log has more records than it has room for";
    "local alloc", "la_size is 1 to what fits",
        EVER, slots::LALLOC_SIZE, "a local alloc has no bitmap";
    "root of an index", "l_count is what fits",
        of_192("6.12.111"), inodes::DX_TREE_CORRUPT,
        "the root of an index has room for fewer extents than fit";
    "leaf of an index", "de_count is what fits",
        of_192("6.12.111"), directories::DX_LEAF_INVALID,
        "a leaf of the index of a directory has room for fewer entries than fit";
    "leaf of an index", "de_num_used is at most de_count",
        of_192("6.12.111"), directories::DX_LEAF_INVALID,
        "a leaf of the index of a directory has more entries than it has room for";
    "refcount block", "rl_count is what fits",
        [Refuses("6.1.190"), Refuses("6.12.111"), Refuses("7.3.4")], refcounts::REFCOUNT_LIST_COUNT,
        "a refcount block has room for fewer records than fit";
    "refcount block", "rl_used is at most rl_count",
        [Refuses("6.1.190"), Refuses("6.12.111"), Refuses("7.3.4")], refcounts::REFCOUNT_LIST_USED,
        "a refcount block has more records than it has room for";
    "attributes", "xh_count is at most what fits",
        XATTRS, xattrs::XATTR_COUNT_INVALID, "an inode has fewer attributes than it states";
    "attributes", "names are within their area",
        XATTRS, xattrs::XATTR_NAME_OFFSET_INVALID, "the name of an attribute is outside its area";
    "bucket", "xh_count is at most what fits into its first block",
        XATTRS, xattrs::XATTR_BUCKET_FULL,
        "Linux has put more attributes into buckets than fit into their first blocks";
    "bucket", "name and value are in one block",
        XATTRS, xattrs::XATTR_BLOCK_BOUNDARY,
        "the name of an attribute and its value are in two blocks of a bucket";
    "journal", "it is one",
        EVER, journals::JOURNAL_FILE_INVALID, "the journal of a slot has no magic number";
    "journal", "its features are known",
        EVER, journals::JOURNAL_UNKNOWN_FEATURE,
        "the journal of a slot has a feature nobody knows";
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_is_one_of_some_kernel() {
        for check in CHECKS {
            assert!(check.verdicts.iter().any(|verdict| *verdict != Takes), "{}", check.rule);
            assert_ne!(check.verdict(Series::Linux7), Takes, "{}", check.rule);
            assert!(!check.rule.ends_with('.') || check.rule.ends_with(".."), "{}", check.rule);
        }
    }
}
