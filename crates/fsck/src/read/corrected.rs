//! Blocks in which a single wrong bit is corrected.

use ocfs2_format::feature::Incompat;
use ocfs2_format::{Blkno, Block, check};
use ocfs2_volume::{Error, Volume};

/// Turns over the one bit that is wrong by the block check at `check_offset`, where the volume has
/// these.
pub(crate) fn correct(volume: &Volume, bytes: &mut [u8], check_offset: usize) {
    if volume.has(Incompat::META_ECC) {
        check::correct(bytes, check_offset);
    }
}

/// A block that should be a `T`, whatever it holds; a single wrong bit is corrected.
pub(crate) fn read_corrected<T: Block>(volume: &Volume, blkno: Blkno) -> Result<Vec<u8>, Error> {
    let mut block = volume.read_block(blkno)?;
    correct(volume, &mut block, T::CHECK_OFFSET);
    Ok(block)
}
