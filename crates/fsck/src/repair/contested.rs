//! Clusters that several claim: what is in them is not changed before it is known whose they are.
//!
//! A repair writes to where a file's extents lead. Where these are wrong, that is somebody else: the
//! zeros for a heartbeat region are written over inodes, a directory's entries over those of another
//! one. What says itself what it is and where, such as an inode, is what it is whoever claims its
//! cluster, and can be changed; and so can what says that it belongs elsewhere.

use std::collections::HashSet;

use ocfs2_device::{Device, OverlayDevice};
use ocfs2_format::dinode::Dinode;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::superblock::SUPERBLOCK_SIGNATURE;
use ocfs2_format::{Blkno, Block, Structure};
use ocfs2_volume::Volume;

use super::EditError;
use crate::clusters::ClusterSet;
use crate::read::misplaced;

/// What repairs do not change.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Contested {
    /// Clusters that several claim: contents are not changed.
    pub clusters: ClusterSet,
    /// Blocks that are taken for metadata, and that no allocator has given out: a file may have
    /// them. They are copied before they are changed.
    pub blocks: HashSet<Blkno>,
}

impl Contested {
    /// Refuses the changes of a repair if they change what is contested.
    pub fn refuse<D: Device>(
        &self,
        volume: &Volume,
        draft: &OverlayDevice<D>,
    ) -> Result<(), EditError> {
        if self.clusters.is_empty() && self.blocks.is_empty() {
            return Ok(());
        }
        let geometry = volume.geometry();
        draft.for_each_change::<EditError>(|offset, after| {
            let blkno = Blkno(offset >> geometry.block_size.bits());
            let cluster = u32::try_from(blkno.0 >> geometry.bpc_bits()).unwrap_or(u32::MAX);
            let is_unowned = self.blocks.contains(&blkno);
            if !is_unowned && !self.clusters.contains(cluster) {
                return Ok(());
            }
            let Ok(before) = volume.read_block(blkno) else { return Ok(()) };
            if before == after {
                return Ok(());
            }
            let (was, is) = (kind(&before, blkno), kind(after, blkno));
            let stays = !is_unowned && is.is_some() && (was.is_none() || was == is)
                || misplaced::is_elsewhere(volume, blkno);
            match stays {
                true => Ok(()),
                false => Err(EditError::Contested(blkno)),
            }
        })
    }
}

/// What a block says that it is, if it says that it is there.
pub(super) fn kind(block: &[u8], blkno: Blkno) -> Option<[u8; 8]> {
    let signature: [u8; 8] = block.get(..8)?.try_into().ok()?;
    let own = match signature {
        SUPERBLOCK_SIGNATURE => Dinode::decode(block).ok()?.i_blkno,
        GroupDesc::SIGNATURE => GroupDesc::decode(block).ok()?.bg_blkno,
        _ => misplaced::stated(block)?.blkno,
    };
    (own == blkno).then_some(signature)
}
