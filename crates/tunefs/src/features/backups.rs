//! Backups of the superblock.

use ocfs2_format::feature::Compat;
use ocfs2_format::superblock::backup_blocks;
use ocfs2_users::work::{Piece, Work};
use ocfs2_volume::edit::{Edit, EditError};

use super::refused;

/// The clusters of the superblock backups that the volume has room for.
fn backup_clusters(edit: &Edit) -> Vec<u32> {
    let geometry = *edit.geometry();
    let blocks = backup_blocks(geometry.block_size, geometry.blocks());
    blocks.filter_map(|blkno| geometry.cluster_of(blkno)).map(|cluster| cluster.0).collect()
}

pub(super) fn on(work: &mut Work<'_>) -> Result<(), EditError> {
    let edit = &mut work.edit;
    let clusters = backup_clusters(edit);
    if clusters.is_empty() {
        return refused("the volume is too small to contain backup superblocks");
    }
    for cluster in &clusters {
        if !edit.take_cluster(*cluster)? {
            return refused("one or more backup superblock locations are already in use");
        }
        work.before.push(Piece::Zero(*cluster..*cluster + 1));
    }
    edit.update_superblock(|superblock| {
        superblock.s_feature_compat |= Compat::BACKUP_SB.bits();
    })
}

pub(super) fn off(edit: &mut Edit) -> Result<(), EditError> {
    for cluster in backup_clusters(edit) {
        edit.give_clusters(cluster..cluster + 1)?;
    }
    edit.update_superblock(|superblock| {
        superblock.s_feature_compat &= !Compat::BACKUP_SB.bits();
    })
}
