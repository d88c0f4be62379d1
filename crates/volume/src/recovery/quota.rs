//! Quota: merging the changes that a slot had not yet passed on to the global files.
//!
//! Only existing entries are changed. A node makes the entry of an id before it counts for it, so a
//! missing entry is damage, and left to a check.

use ocfs2_format::Structure;
use ocfs2_format::bitmap::{Bitmap, BitmapMut};
use ocfs2_format::quota::{
    LocalChunk, LocalEntry, LocalInfo, QuotaHeader, QuotaKind, local_blocks_per_chunk,
    local_chunk_block, local_entries_per_block,
};

use super::RecoveryError;
use super::stage::Stage;
use crate::edit::Edit;
use crate::edit::quota::{Change, QuotaFile};
use crate::{Error, InBlock, SystemFile, Volume};

/// Changes of a slot that are merged in one step: each may change a block of its own.
const STEP: usize = 32;

impl Volume {
    /// Checks that the quota file of a slot has the clusters for its size, each of them once.
    fn verify_quota_extents(&self, slot: u16, kind: QuotaKind) -> Result<(), Error> {
        let inode = self.system_file(SystemFile::LocalQuota(kind, slot))?;
        let mut clusters = 0_u64;
        for extent in self.tree(&inode)?.extents() {
            clusters += u64::from(extent?.clusters);
        }
        let bytes = clusters << self.geometry().cluster_size.bits();
        if inode.size() > bytes {
            return Err(inode.invalid("i_size", inode.size(), format!("at most {bytes}")));
        }
        Ok(())
    }
}

impl Edit {
    /// Merges some of the changes in the quota file of a slot into the global one, from
    /// `next_chunk` on, which is moved on. Returns whether these were all, so that the file is
    /// marked as clean.
    fn merge_quota(
        &mut self,
        slot: u16,
        kind: QuotaKind,
        next_chunk: &mut u32,
    ) -> Result<bool, Error> {
        let local = self.quota_file(SystemFile::LocalQuota(kind, slot))?;
        let (blkno, mut block) = local.read(self, 0)?;
        let header = QuotaHeader::decode(&block).in_block(blkno)?;
        header.verify(blkno, kind.local_magic())?;
        let info = block.get_mut(QuotaHeader::SIZE..).unwrap_or_default();
        let mut local_info = LocalInfo::decode(info).in_block(blkno)?;
        if local_info.dqi_flags & LocalInfo::CLEAN != 0 {
            return Ok(true);
        }
        local_info.verify(blkno, self.block_size(), local.blocks(self))?;
        let mut room = STEP;
        for chunk in *next_chunk..local_info.dqi_chunks {
            *next_chunk = chunk;
            room -= self.merge_chunk(&local, kind, chunk, room)?;
            if room == 0 {
                return Ok(false);
            }
        }
        local_info.dqi_flags |= LocalInfo::CLEAN;
        local_info.encode(info).in_block(blkno)?;
        QuotaFile::write(self, blkno, &block)?;
        Ok(true)
    }

    /// Merges at most `room` changes of a chunk. Returns how many there were.
    fn merge_chunk(
        &mut self,
        local: &QuotaFile,
        kind: QuotaKind,
        chunk: u32,
        room: usize,
    ) -> Result<usize, Error> {
        let size = self.block_size();
        let start = u32::try_from(local_chunk_block(size, chunk)).unwrap_or(u32::MAX);
        let (blkno, mut block) = local.read(self, start)?;
        let per_block = local_entries_per_block(size);
        let data = local.blocks(self).saturating_sub(start.saturating_add(1));
        let bits = (data.min(local_blocks_per_chunk(size)) * per_block) as usize;
        let mut header = LocalChunk::decode(&block).in_block(blkno)?;
        let bitmap = Bitmap::new(block.get(LocalChunk::SIZE..).unwrap_or_default(), bits);
        let used: Vec<usize> = bitmap.runs(true).flatten().take(room).collect();
        for bit in &used {
            let index = start + 1 + *bit as u32 / per_block;
            let (blkno, block) = local.read(self, index)?;
            let entry = block.get(bit % per_block as usize * LocalEntry::SIZE..);
            let entry = LocalEntry::decode(entry.unwrap_or_default()).in_block(blkno)?;
            let id = u32::try_from(entry.dqb_id);
            let id = id.map_err(|_| local.inode.invalid("dqb_id", entry.dqb_id, "32 bits"))?;
            let change = Change { inodes: entry.dqb_inodemod, bytes: entry.dqb_spacemod };
            if change != Change::default() && !self.add_usage(kind, id, change)? {
                return Err(local.inode.invalid("dqb_id", id, "one that the global file has"));
            }
        }
        if !used.is_empty() {
            let bytes = block.get_mut(LocalChunk::SIZE..).unwrap_or_default();
            let mut bitmap = BitmapMut::new(bytes, bits);
            used.iter().for_each(|bit| bitmap.clear_range(*bit, 1));
            header.dqc_free = header.dqc_free.saturating_add(used.len() as u32);
            header.encode(&mut block).in_block(blkno)?;
            QuotaFile::write(self, blkno, &block)?;
        }
        Ok(used.len())
    }
}

impl Stage<'_> {
    /// Merges what the quota files of a slot hold. Damaged ones stay as they are.
    pub fn merge_quota(
        &mut self,
        slot: u16,
        volume: &Volume,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<(), RecoveryError> {
        for kind in volume.quota_kinds() {
            if volume.verify_quota_extents(slot, kind).is_err() {
                continue;
            }
            let mut next_chunk = 0;
            // Each step takes some changes away, so that it ends.
            loop {
                if interrupted() {
                    self.write()?;
                    return Err(RecoveryError::Interrupted);
                }
                match self.step(|edit| Ok(edit.merge_quota(slot, kind, &mut next_chunk)?)) {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(err) if err.is_fatal() => return Err(err),
                    Err(_) => break,
                }
            }
        }
        Ok(())
    }
}
