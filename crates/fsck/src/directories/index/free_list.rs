//! The list of the blocks of a directory that have holes.

use std::collections::HashSet;

use ocfs2_format::Blkno;

use super::Expected;
use crate::codes::directories as codes;
use crate::inodes::index_root::Index;
use crate::repair::directory;
use crate::{Finding, Place};

/// Follows the list, which has to stay within the directory and to end.
pub(super) fn check(dir: Blkno, index: &Index, expected: &Expected) -> Option<Finding> {
    let mut seen = HashSet::new();
    let mut before = index.blkno;
    let mut at = index.root.dr_free_blk;
    let text = loop {
        if at.is_none() {
            return None;
        }
        let Some(next) = expected.next_free.get(&at) else {
            if expected.is_incomplete || expected.unread.contains(&at) {
                return None;
            }
            break format!(
                "leads from block {before} to {at}, which is not a block of the directory"
            );
        };
        if !seen.insert(at) {
            break format!("comes back from block {before} to {at}");
        }
        before = at;
        at = *next;
    };
    let text = format!("directory {dir}: the list of blocks with holes {text}");
    let finding = Finding::new(codes::DX_FREE_LIST, Place::block(before).of(dir), text);
    Some(finding.repaired_by(directory::rewrite(dir)))
}
