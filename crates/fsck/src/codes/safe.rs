//! What is repaired without a question by `-p`: nothing of it can lose anything.
//!
//! Not here is what looks as harmless and is not: a number of clusters or a size may be what is
//! left of a lost extent, and where a backup of the superblock belongs there may be a file. Some of
//! these codes lose nothing in most places only: see `Finding::losing`.

use super::Code;

/// The names, in alphabetical order: counts, links and bits that follow from what else is there.
/// Bits are cleared only where everything was read that could point to what they stand for.
const SAFE: &[&str] = &[
    "CHAIN_BITS",
    "CHAIN_GROUP_BITS",
    "CHAIN_I_CLUSTERS",
    "CHAIN_I_SIZE",
    "CLUSTER_ALLOC_BIT",
    "DX_COUNT",
    "DX_FREE_LIST",
    "EB_NEXT_LEAF",
    "EXTENT_ALLOC_BIT",
    "GROUP_FREE_BITS",
    "GROUP_FREE_BITS_LOW",
    "INODE_ALLOC_REPAIR",
    "INODE_COUNT",
    "INODE_LAST_EB",
    "INODE_ORPHANED",
    "INODE_SYSTEM_FLAG",
    "JOURNAL_ABORTED",
    "JOURNAL_MAGIC",
    "ORPHAN_FLAG",
    "QUOTA_LOCAL_DIRTY",
    "QUOTA_USAGE",
    "SLOT_MAP_TAKEN",
    "SUPERBLOCK_STATE",
    "SUPERBLOCK_UUID_HASH",
    "XATTR_BUCKET_FULL",
];

impl Code {
    /// Whether its repair loses nothing, unless a finding says so: see `Finding::is_safe`.
    pub fn is_safe(&self) -> bool {
        SAFE.binary_search(&self.name).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_its_codes_are_there() {
        assert!(SAFE.is_sorted());
        for name in SAFE {
            assert!(super::super::find(name).is_some(), "{name}");
        }
    }
}
