//! Clusters with several claims: their contents stay as they are until the owner is known.
//!
//! A repair writes to where a file's extents point. If these are wrong, that is somebody else's
//! cluster: the zeros of a heartbeat region would go over inodes, the entries of one directory over
//! those of another. A structure that states what and where it is, such as an inode, is valid
//! whoever claims its cluster, and can be changed; so can one that states that it belongs
//! elsewhere.
//!
//! The finished changes of a repair are checked, not each write: so no repair has to know what is
//! contested.

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

/// What repairs must not change.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Contested {
    /// Clusters with several claims: their contents are not changed.
    pub clusters: ClusterSet,
    /// Blocks that are taken for metadata although no allocator has given them out: a file may have
    /// them. They are copied before they are changed.
    pub blocks: HashSet<Blkno>,
}

impl Contested {
    /// Fails if the changes in `draft` include something contested. A block of a contested cluster
    /// may change if it is a structure at its place afterwards and was the same or none before; any
    /// contested block may if it states that it belongs elsewhere.
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

/// The signature of a block that states that it is at `blkno`; otherwise `None`.
pub(super) fn kind(block: &[u8], blkno: Blkno) -> Option<[u8; 8]> {
    let signature: [u8; 8] = block.get(..8)?.try_into().ok()?;
    let own = match signature {
        SUPERBLOCK_SIGNATURE => Dinode::decode(block).ok()?.i_blkno,
        GroupDesc::SIGNATURE => GroupDesc::decode(block).ok()?.bg_blkno,
        _ => misplaced::stated(block)?.blkno,
    };
    (own == blkno).then_some(signature)
}
