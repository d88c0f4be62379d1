//! The usage of users and groups that the files state, compared with the counted one.

use std::collections::{BTreeMap, BTreeSet};

use ocfs2_format::quota::{QuotaEntry, QuotaKind};

use super::file::QuotaFile;
use crate::Finding;
use crate::codes::quota as codes;
use crate::tables::usage::{Amount, Usage};

/// Returns whether the stored usage of an id is the counted one, or can have come of it.
///
/// mkfs.ocfs2 makes `lost+found`, for id 0, after it wrote the quota files, and the kernel counts
/// from there: the inode, and its cluster if it is not inline, may be missing forever. The clusters
/// of directory indexes may be counted or not: see [`Usage`].
fn agree(cluster: i64, id: u32, stored: Amount, counted: Amount, index_bytes: i64) -> bool {
    let more = stored.bytes.saturating_sub(counted.bytes);
    let is_part_of_indexes = |more: i64| (0..=index_bytes).contains(&more) && more % cluster == 0;
    match counted.inodes.saturating_sub(stored.inodes) {
        0 => is_part_of_indexes(more),
        1 => {
            let is_part = is_part_of_indexes(more);
            id == 0 && (is_part || is_part_of_indexes(more.saturating_add(cluster)))
        }
        _ => false,
    }
}

/// Compares the counted usage with the entries of the global file, plus the changes of the slots
/// that it does not have yet.
pub(super) fn compare(
    file: &QuotaFile<'_>,
    kind: QuotaKind,
    entries: &BTreeMap<u32, QuotaEntry>,
    pending: &Usage,
    counted: &Usage,
    findings: &mut Vec<Finding>,
) {
    let ids: BTreeSet<u32> = entries.keys().chain(counted.of(kind).keys()).copied().collect();
    for id in ids {
        let mut stored = entries.get(&id).map_or(Amount::default(), |entry| Amount {
            inodes: entry.dqb_curinodes.cast_signed(),
            bytes: entry.dqb_curspace.cast_signed(),
        });
        stored.add(pending.get(kind, id));
        let (counted, index_bytes) = (counted.get(kind, id), counted.index_bytes);
        if !agree(file.cluster_bytes(), id, stored, counted, index_bytes) {
            let text = format!(
                "id {id}: {} inodes and {} bytes, expected {} and {}",
                stored.inodes, stored.bytes, counted.inodes, counted.bytes
            );
            findings.push(file.finding(codes::QUOTA_USAGE, None, text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_indexes_and_lost_and_found_may_be_counted_otherwise() {
        let amount = |inodes, bytes| Amount { inodes, bytes };
        let counted = amount(5, 40_960);
        let agree = |id, inodes, bytes, indexes| {
            super::agree(4096, id, amount(inodes, bytes), counted, indexes)
        };
        assert!(agree(7, 5, 40_960, 0) && agree(0, 5, 40_960, 0));
        // A directory that was given away left its index, or took none along.
        assert!(agree(7, 5, 40_960 + 8192, 8192) && !agree(7, 5, 40_960 + 8192, 4096));
        assert!(!agree(7, 5, 40_960 + 100, 8192) && !agree(7, 5, 40_960 - 4096, 8192));
        // lost+found, inline or not.
        assert!(agree(0, 4, 40_960, 0) && agree(0, 4, 40_960 - 4096, 0));
        assert!(!agree(0, 5, 40_960 - 4096, 0) && !agree(0, 3, 40_960, 0));
        assert!(!agree(7, 4, 40_960, 0) && !agree(7, 6, 40_960, 8192));
    }
}
