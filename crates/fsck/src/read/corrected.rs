//! Reads blocks with a single wrong bit corrected.

use ocfs2_format::feature::Incompat;
use ocfs2_format::{Blkno, Block, check};
use ocfs2_volume::{Error, Volume};

/// Flips the one bit that is wrong by the block check at byte `check_offset`, if the volume has
/// block checks.
pub(crate) fn correct(volume: &Volume, bytes: &mut [u8], check_offset: usize) {
    if volume.has(Incompat::META_ECC) {
        check::correct(bytes, check_offset);
    }
}

/// Reads a block that should be a `T`, whatever it holds, with a single wrong bit corrected.
pub(crate) fn read_corrected<T: Block>(volume: &Volume, blkno: Blkno) -> Result<Vec<u8>, Error> {
    let mut block = volume.read_block(blkno)?;
    correct(volume, &mut block, T::CHECK_OFFSET);
    Ok(block)
}
