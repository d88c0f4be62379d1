//! Reading, changing and creating blocks in an edit.

use ocfs2_format::dinode::Dinode;
use ocfs2_format::{Blkno, Block, Truncated};

use super::{Edit, EditError};
use crate::allocator::pools::Pools;

impl Edit {
    /// Changes the structure a block of metadata begins with, and the bytes after it.
    ///
    /// # Errors
    /// The block cannot be read, is something else, or cannot be written.
    pub(crate) fn update<T: Block>(
        &mut self,
        blkno: Blkno,
        change: impl FnOnce(&mut T, &mut [u8]),
    ) -> Result<(), EditError> {
        let (mut header, mut block) = self.volume.read(blkno)?;
        change(&mut header, block.get_mut(T::SIZE..).unwrap_or_default());
        Ok(self.volume.write(blkno, &header, block)?)
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
        Ok(self.volume.write(dinode.i_blkno, &dinode, block)?)
    }

    /// Writes blocks as they are, from `blkno` on: the data of files, and metadata without a block
    /// check. What was there is not looked at: for repairs, which have to overwrite what is wrong.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn put_blocks(&mut self, blkno: Blkno, bytes: &[u8]) -> Result<(), EditError> {
        self.forget_allocators()?;
        Ok(self.volume.write_raw(blkno, bytes)?)
    }

    /// As [`Edit::put_blocks`], for blocks of metadata with one block check, at byte `check_offset`
    /// of `bytes`. The check is computed if the volume has block checks.
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

    /// As [`Edit::put_metadata`], for a block that begins with a `T`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put_block<T: Block>(&mut self, blkno: Blkno, bytes: &[u8]) -> Result<(), EditError> {
        self.put_metadata(blkno, bytes, T::CHECK_OFFSET)
    }

    /// Writes and drops the cached allocators, so that they are read again: a block of theirs may
    /// be written next.
    pub(super) fn forget_allocators(&mut self) -> Result<(), EditError> {
        self.pools.write(&self.volume)?;
        self.pools = Pools::within(self.pools.limit());
        Ok(())
    }

    /// Writes a structure at the beginning of a block of zeros, with what `fill` puts after it.
    ///
    /// # Errors
    /// It cannot be written, or `fill` has no room.
    pub fn create_block<T: Block>(
        &mut self,
        blkno: Blkno,
        header: &T,
        fill: impl FnOnce(&mut [u8]) -> Result<(), Truncated>,
    ) -> Result<(), EditError> {
        Ok(self.volume.write_new(blkno, header, fill)?)
    }
}
