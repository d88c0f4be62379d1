//! Freeing the slots of nodes that are gone, in the slot map.

use ocfs2_format::Cpos;

use crate::{Error, SystemFile, Volume};
use ocfs2_device::Device;

impl Volume {
    /// Marks slots as free in the slot map on `device`, the one this volume is read from or an
    /// overlay of it. Returns those of them that were taken.
    ///
    /// The slot map is outside the journal: what is written counts at once.
    ///
    /// # Errors
    /// Any of reading the slot map, [`Error::Write`].
    pub fn free_slots(&self, device: &dyn Device, slots: &[u16]) -> Result<Vec<u16>, Error> {
        let taken = self.taken_slots()?.into_iter().map(|taken| taken.slot);
        let freed: Vec<u16> = taken.filter(|slot| slots.contains(slot)).collect();
        let format = self.slot_map_format();
        let inode = self.system_file(SystemFile::SlotMap)?;
        let tree = self.tree(&inode)?;
        let geometry = self.geometry();
        for slot in &freed {
            let offset = format.entry_size() * usize::from(*slot);
            // Entries do not cross blocks.
            let (block, within) =
                (offset / self.block_size().size(), offset % self.block_size().size());
            let index = (block >> geometry.bpc_bits()) as u32;
            let extent = tree.map(Cpos(index))?;
            let hole = || inode.invalid("l_next_free_rec", index, "no hole at this cluster");
            let extent = extent.ok_or_else(hole)?;
            let distance = block as u64 - (u64::from(extent.cpos.0) << geometry.bpc_bits());
            let blkno = ocfs2_format::Blkno(extent.blkno.0 + distance);
            let mut bytes = vec![0; self.block_size().size()];
            self.read_bytes("slot map", blkno, 0, &mut bytes, true)?;
            let entry = within / format.entry_size();
            if format.set(&mut bytes, entry as u16, None) {
                let at = blkno.offset_bytes(self.block_size()).unwrap_or(u64::MAX);
                let failed = |source| Error::Write { blkno, source };
                device.write_at(&bytes, at).map_err(failed)?;
            }
        }
        if !freed.is_empty() {
            device.flush().map_err(|source| Error::Write { blkno: inode.blkno, source })?;
        }
        Ok(freed)
    }
}
