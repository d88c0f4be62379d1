//! The superblock and its backups.

use std::ops::Range;

use ocfs2_format::dinode::Dinode;
use ocfs2_format::feature::{Compat, Incompat};
use ocfs2_format::superblock::{STATE_ERROR, SUPERBLOCK_BLKNO, SuperBlock, backup_blocks};
use ocfs2_format::{Blkno, Structure};

use super::{Edit, EditError};
use crate::open::FoundSuperblock;
use crate::{Error, InBlock, Volume};

impl Edit {
    /// Changes the superblock. All its backups get the same contents, but without the marks of
    /// operations in progress and of errors: only the superblock itself has those.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn update_superblock(
        &mut self,
        change: impl FnOnce(&mut SuperBlock),
    ) -> Result<(), EditError> {
        self.attempt(|edit| {
            let mut superblock = edit.volume.superblock().clone();
            change(&mut superblock);
            let found = edit.volume.superblock_of(&superblock, SUPERBLOCK_BLKNO)?;
            edit.volume = edit.volume.with_superblock(found);
            edit.write_superblocks(edit.geometry().blocks())
        })
    }

    /// Writes the superblock as it is now, and its backups in the first `blocks` blocks.
    pub(super) fn write_superblocks(&mut self, blocks: u64) -> Result<(), EditError> {
        let superblock = self.superblock().clone();
        let backups = self.volume.backups_within(0..blocks);
        for blkno in std::iter::once(SUPERBLOCK_BLKNO).chain(backups) {
            let found = self.volume.superblock_of(&superblock, blkno)?;
            self.volume.write(blkno, &found.dinode, found.block)?;
        }
        Ok(())
    }
}

impl Volume {
    /// The backups of the superblock that the volume has in a range of blocks.
    pub(super) fn backups_within(&self, blocks: Range<u64>) -> impl Iterator<Item = Blkno> + use<> {
        let has_backups = self.features().compat.contains(Compat::BACKUP_SB);
        let backups = backup_blocks(self.block_size(), blocks.end);
        backups.filter(move |blkno| has_backups && blocks.contains(&blkno.0))
    }

    /// The contents of block `blkno` as the superblock or a backup of it.
    pub(super) fn superblock_of(
        &self,
        superblock: &SuperBlock,
        blkno: Blkno,
    ) -> Result<FoundSuperblock, Error> {
        let found = self.found_superblock();
        let (mut block, mut superblock) = (found.block.clone(), superblock.clone());
        if blkno != SUPERBLOCK_BLKNO {
            let marks = Incompat::RESIZE_INPROG | Incompat::TUNEFS_INPROG;
            superblock.s_feature_incompat &= !marks.bits();
            superblock.s_tunefs_flag = 0;
            superblock.s_state &= !STATE_ERROR;
        }
        let dinode = Dinode { i_blkno: blkno, ..found.dinode.clone() };
        dinode.encode(&mut block).in_block(blkno)?;
        let place = block.get_mut(Dinode::ID2_OFFSET..).unwrap_or_default();
        superblock.encode(place).in_block(blkno)?;
        let block_size = found.block_size;
        let (corrected_bit, wrong_checksum, mended) = (None, None, None);
        Ok(FoundSuperblock {
            block,
            dinode,
            superblock,
            blkno,
            block_size,
            corrected_bit,
            wrong_checksum,
            mended,
        })
    }
}
