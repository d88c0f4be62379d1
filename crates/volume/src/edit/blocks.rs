//! Blocks of an edit, read, changed and made.

use ocfs2_format::dinode::Dinode;
use ocfs2_format::{Blkno, Structure};

use super::{Edit, EditError};
use crate::Error;
use crate::allocator::pools::Pools;

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

    /// Writes blocks as they are, from `blkno` on: the data of files, and metadata that has no block
    /// check. Nothing is asked of what was there: for repairs, which have to write to what is wrong.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn put_blocks(&mut self, blkno: Blkno, bytes: &[u8]) -> Result<(), EditError> {
        self.forget_allocators()?;
        Ok(self.volume.write_raw(blkno, bytes)?)
    }

    /// The same for blocks of metadata that have one block check, at byte `check_offset` of `bytes`:
    /// it is made right where the volume has them.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn put_metadata(
        &mut self,
        blkno: Blkno,
        bytes: &[u8],
        check_offset: usize,
    ) -> Result<(), EditError> {
        self.forget_allocators()?;
        Ok(self.volume.write_metadata(blkno, bytes, check_offset)?)
    }

    /// What is kept of allocators is written, and read again when it is wanted: a block of theirs
    /// may be written next.
    fn forget_allocators(&mut self) -> Result<(), EditError> {
        self.pools.write(&self.volume)?;
        self.pools = Pools::default();
        Ok(())
    }

    /// Writes a structure at the beginning of a block of zeros, with what `fill` puts after it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create_block<T: Structure>(
        &mut self,
        blkno: Blkno,
        check_offset: usize,
        header: &T,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), EditError> {
        Ok(self.volume.write_new(blkno, check_offset, header, fill)?)
    }
}
