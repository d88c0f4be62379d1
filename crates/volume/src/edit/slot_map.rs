//! The slot map of a volume that gets more slots, or another form of slot map.

use ocfs2_format::slot_map::SlotMapFormat;
use ocfs2_format::{Blkno, Cpos};

use super::{Edit, EditError};
use crate::SystemFile;

/// Bytes that the longest slot map has, in whole blocks of any size.
const MOST_BYTES: usize = 4096;

impl Edit {
    /// Makes the slot map long enough for so many slots in a format, and gives where its first
    /// block is, and what a map has there in which all slots are free. This is in no transaction, as a
    /// mount reads the map before it replays: it has to be written before this one.
    ///
    /// # Errors
    /// [`EditError::TooLarge`] if there are more slots than its clusters or the format have room
    /// for; it is damaged.
    pub fn free_slot_map(
        &mut self,
        slots: u16,
        format: SlotMapFormat,
    ) -> Result<(Blkno, Vec<u8>), EditError> {
        self.attempt(|edit| {
            let inode = edit.system_file(SystemFile::SlotMap)?;
            let bits = edit.geometry().cluster_size.bits();
            let room = u64::from(inode.dinode.i_clusters) << bits;
            let needed = (format.entry_size() * usize::from(slots)) as u64;
            if needed > room {
                return Err(EditError::TooLarge("the slot map has no room for so many slots"));
            }
            if inode.size() < needed {
                edit.update_dinode(inode.blkno, |dinode, _| dinode.i_size = room)?;
            }
            // A cluster has no fewer bytes than that.
            let first = edit.tree(&inode)?.map(Cpos(0))?;
            let first = first.ok_or_else(|| inode.invalid("l_next_free_rec", 0, "an extent"))?;
            Ok((first.blkno, vec![format.empty_byte(); MOST_BYTES]))
        })
    }
}
