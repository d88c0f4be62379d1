//! Indexes of directories.

use anyhow::Result;
use ocfs2_format::Blkno;
use ocfs2_format::dinode::DynFeatures;
use ocfs2_format::feature::Incompat;
use ocfs2_format::hash::uuid_hash;
use ocfs2_format::quota::QuotaKind;
use ocfs2_users::work::Work;
use ocfs2_volume::edit::EditError;
use ocfs2_volume::{Error, Volume};
use uuid::Uuid;

use crate::walk::inodes_that;

/// The directories that have no index and should have one.
pub(super) fn without_index(volume: &Volume) -> Result<Vec<Blkno>, Error> {
    inodes_that(volume, |inode| Ok(inode.is_dir() && volume.lacks_index(inode)))
}

/// Gives every directory an index. The feature comes first: without it, a mount would change
/// directories and not their indexes. A directory without an index is searched from its start.
pub(super) fn index(work: &mut Work<'_>) -> Result<()> {
    if !work.edit.has(Incompat::INDEXED_DIRS) {
        let random = *Uuid::new_v4().as_bytes();
        work.edit.update_superblock(|superblock| {
            let mut words = random.chunks_exact(4).map(|word| word.iter().fold(0, fold));
            for word in &mut superblock.s_dx_seed {
                *word = words.next().unwrap_or_default();
            }
            // Otherwise the value stays: names of existing attributes were hashed with it.
            let mut features = superblock.features();
            if !features.incompat.contains(Incompat::XATTR) {
                superblock.s_uuid_hash = uuid_hash(&superblock.s_uuid);
            }
            features.incompat |= Incompat::INDEXED_DIRS;
            superblock.set_features(features);
        })?;
        work.flush()?;
    }
    let dirs = without_index(work.edit.volume())?;
    work.begin("Building indexed trees", dirs.len());
    for dir in dirs {
        work.edit.index_directory(dir)?;
        work.settle()?;
        work.advance(1);
    }
    Ok(())
}

fn fold(word: u32, byte: &u8) -> u32 {
    word << 8 | u32::from(*byte)
}

/// Removes all indexes. The feature goes afterwards.
pub(super) fn drop_indexes(work: &mut Work<'_>) -> Result<()> {
    let volume = work.edit.volume();
    let indexed = inodes_that(volume, |inode| {
        Ok(inode.dinode.dyn_features().contains(DynFeatures::INDEXED_DIR))
    })?;
    // The count of links has only 16 bits then.
    let many = inodes_that(volume, |inode| Ok(volume.links_count(inode) > u16::MAX.into()))?;
    if let Some(blkno) = many.first() {
        let text = format!("inode {blkno} has more links than are possible without indexed-dirs");
        return Err(EditError::Refused(text).into());
    }
    for kind in [QuotaKind::User, QuotaKind::Group] {
        work.edit.recount_quota(kind)?;
    }
    work.begin("Truncating indexed dirs", indexed.len());
    for dir in indexed {
        work.edit.drop_index(dir)?;
        work.settle()?;
        work.advance(1);
    }
    Ok(())
}
