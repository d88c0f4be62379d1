//! The superblock, its backups, system files, the slot map, the heartbeat region.

use ocfs2_format::superblock::SUPERBLOCK_BLKNO;

use super::CFsck::Differs;
use super::{Base, Recipe};

/// Large enough for a backup of the superblock.
const LARGE: Base = Base::Made(&["-M", "local", "-N", "1", "-b", "4K", "-C", "4K"], "1100M");

pub(super) const RECIPES: &[Recipe] = &[Recipe {
    code: "RECOVER_BACKUP_SUPERBLOCK",
    name: "the superblock has no signature",
    on: LARGE,
    damage: |image| {
        image.edit_superblock(SUPERBLOCK_BLKNO, |dinode, _| dinode.i_signature = *b"NOTHING\0");
    },
    found: &["RECOVER_BACKUP_SUPERBLOCK"],
    c: Differs {
        codes: &[],
        status: 8,
        why: "It does not look for a backup of its own accord, and gives up.",
    },
}];
