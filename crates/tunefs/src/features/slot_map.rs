//! The two formats of the slot map.

use ocfs2_format::feature::Incompat;
use ocfs2_format::slot_map::SlotMapFormat;
use ocfs2_users::work::{Piece, Work};
use ocfs2_volume::edit::EditError;

use super::refused;

/// Replaces the slot map by an empty one of the other format.
pub(super) fn set(work: &mut Work<'_>, extended: bool) -> Result<(), EditError> {
    let format = if extended { SlotMapFormat::Extended } else { SlotMapFormat::Old };
    let slots = work.edit.max_slots();
    if !extended && work.edit.has(Incompat::USERSPACE_STACK) {
        return refused("a cluster in user space needs extended-slotmap");
    }
    let (blkno, map) = work.edit.free_slot_map(slots, format)?;
    // Replaces any earlier contents for this place, which were in the other format.
    work.before.retain(|piece| !matches!(piece, Piece::Blocks(at, _) if *at == blkno));
    work.before.push(Piece::Blocks(blkno, map));
    work.edit.update_superblock(|superblock| {
        let mut features = superblock.features();
        features.incompat.set(Incompat::EXTENDED_SLOT_MAP, extended);
        superblock.set_features(features);
    })
}
