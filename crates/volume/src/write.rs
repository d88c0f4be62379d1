//! Writing structures: for an [`Edit`](crate::edit::Edit), whose volume is on an overlay.

use ocfs2_format::feature::Incompat;
use ocfs2_format::{Blkno, Block, Truncated, check};

use crate::{Error, InBlock, Volume};

impl Volume {
    /// Writes a block of metadata, or several from `blkno` on that have one block check, at
    /// `check_offset`. The check is computed if the volume has block checks.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub(crate) fn write_metadata(
        &self,
        blkno: Blkno,
        block: &[u8],
        check_offset: usize,
    ) -> Result<(), Error> {
        let mut block = block.to_vec();
        if self.has(Incompat::META_ECC) {
            check::stamp(&mut block, check_offset);
        }
        self.write_raw(blkno, &block)
    }

    /// Writes blocks without a block check.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub(crate) fn write_raw(&self, blkno: Blkno, block: &[u8]) -> Result<(), Error> {
        let offset = blkno.offset_bytes(self.block_size()).unwrap_or(u64::MAX);
        self.device().write_at(block, offset).map_err(|source| Error::Write { blkno, source })
    }

    /// Writes a structure at the beginning of a block of zeros, with what `fill` puts after it.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::Truncated`].
    pub(crate) fn write_new<T: Block>(
        &self,
        blkno: Blkno,
        header: &T,
        fill: impl FnOnce(&mut [u8]) -> Result<(), Truncated>,
    ) -> Result<(), Error> {
        let mut block = vec![0; self.block_size().size()];
        fill(block.get_mut(T::SIZE..).unwrap_or_default()).in_block(blkno)?;
        self.write(blkno, header, block)
    }

    /// Writes a structure into the beginning of `block`, and the block to its place.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::Truncated`].
    pub(crate) fn write<T: Block>(
        &self,
        blkno: Blkno,
        header: &T,
        mut block: Vec<u8>,
    ) -> Result<(), Error> {
        header.encode(&mut block).in_block(blkno)?;
        self.write_metadata(blkno, &block, T::CHECK_OFFSET)
    }
}
