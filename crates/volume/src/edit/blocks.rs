//! Blocks of an edit, read, changed and made.

use ocfs2_format::dinode::Dinode;
use ocfs2_format::{Blkno, Structure};

use super::{Edit, EditError};
use crate::Error;

impl Edit {
    /// Changes the structure a block of metadata begins with, and the bytes after it.
    ///
    /// # Errors
    /// The block cannot be read, its check does not hold, or it cannot be written.
    pub(crate) fn update<T: Structure>(
        &mut self,
        blkno: Blkno,
        check_offset: usize,
        change: impl FnOnce(&mut T, &mut [u8]),
    ) -> Result<(), EditError> {
        let mut block = self.volume.read_metadata(T::NAME, blkno, check_offset)?;
        let mut header = T::decode(&block).map_err(Error::truncated(blkno))?;
        change(&mut header, block.get_mut(T::SIZE..).unwrap_or_default());
        header.encode(&mut block).map_err(Error::truncated(blkno))?;
        Ok(self.volume.write_metadata(blkno, &block, check_offset)?)
    }

    /// Changes a dinode, and its block from [`Dinode::ID2_OFFSET`] on.
    ///
    /// # Errors
    /// It cannot be read or written, or is not in use.
    pub fn update_dinode(
        &mut self,
        blkno: Blkno,
        change: impl FnOnce(&mut Dinode, &mut [u8]),
    ) -> Result<(), EditError> {
        let inode = self.volume.inode(blkno)?;
        let mut block = inode.block().to_vec();
        let mut dinode = inode.dinode.clone();
        change(&mut dinode, block.get_mut(Dinode::ID2_OFFSET..).unwrap_or_default());
        self.count_inode(&inode.dinode, -1);
        self.count_inode(&dinode, 1);
        Ok(self.volume.write_dinode(&dinode, block)?)
    }

    /// Writes a structure at the beginning of a block of zeros, with what `fill` puts after it.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn create_block<T: Structure>(
        &mut self,
        blkno: Blkno,
        check_offset: usize,
        header: &T,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), EditError> {
        Ok(self.volume.write_new(blkno, check_offset, header, fill)?)
    }
}
