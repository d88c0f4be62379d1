//! What is repaired without a question by `-p`: nothing of it can lose anything.

use super::Code;

/// The names, in alphabetical order: counts, copies, checksums and bits that follow from what
/// else is there.
const SAFE: &[&str] = &[
    "BACKUP_SUPERBLOCK_MISSING",
    "BACKUP_SUPERBLOCK_STALE",
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
    "INODE_CLUSTERS",
    "INODE_COUNT",
    "INODE_LAST_EB",
    "INODE_ORPHANED",
    "INODE_SPARSE_SIZE",
    "JOURNAL_ABORTED",
    "JOURNAL_DIRTY",
    "ORPHAN_FLAG",
    "QUOTA_LOCAL_DIRTY",
    "QUOTA_USAGE",
    "SLOT_MAP_TAKEN",
    "SUPERBLOCK_STATE",
    "SUPERBLOCK_UUID_HASH",
];

impl Code {
    /// Whether `-p` repairs it.
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
