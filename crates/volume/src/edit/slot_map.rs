//! The slot map of a volume that gets more slots or another slot map format.

use ocfs2_format::slot_map::SlotMapFormat;
use ocfs2_format::{Blkno, Cpos};

use super::{Edit, EditError};
use crate::SystemFile;

/// Bytes of the longest slot map, in whole blocks of any block size.
const MOST_BYTES: usize = 4096;

impl Edit {
    /// Makes the slot map long enough for `slots` slots in a format. Returns its first block, and
    /// the bytes of a map in which all slots are free. The caller has to write these before this
    /// transaction and outside of any, as a mount reads the map before it replays.
    ///
    /// # Errors
    /// [`EditError::TooLarge`] if there are more slots than its clusters or the format have room
    /// for; the slot map is damaged.
    pub fn free_slot_map(
        &mut self,
        slots: u16,
        format: SlotMapFormat,
    ) -> Result<(Blkno, Vec<u8>), EditError> {
        self.attempt(|edit| {
            let inode = edit.system_file(SystemFile::SlotMap)?;
            let bits = edit.geometry().cluster_size.bits();
            let room = u64::from(inode.dinode.i_clusters) << bits;
            let needed = format.size(slots) as u64;
            if needed > room {
                return Err(EditError::TooLarge("the slot map has no room for so many slots"));
            }
            if inode.size() < needed {
                edit.update_dinode(inode.blkno, |dinode, _| dinode.i_size = room)?;
            }
            // The first extent is enough: no cluster has fewer bytes than the map.
            let first = edit.tree(&inode)?.map(Cpos(0))?;
            let first = first.ok_or_else(|| inode.invalid("l_next_free_rec", 0, "an extent"))?;
            Ok((first.blkno, vec![format.empty_byte(); MOST_BYTES]))
        })
    }
}
