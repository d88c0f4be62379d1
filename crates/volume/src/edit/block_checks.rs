//! Block checks for metadata that has none yet.

use super::{Edit, EditError};
use crate::metadata::MetadataRun;

/// Blocks that are read at a time.
const PIECE: u64 = 256;

impl Edit {
    /// Computes the block checks of some metadata, on a volume that does not have them yet; blocks
    /// of directories have to have trailers. What has no check stays as it is.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn stamp(&mut self, run: &MetadataRun) -> Result<(), EditError> {
        if !run.has_check() {
            return Ok(());
        }
        for piece in run.pieces(PIECE) {
            let mut bytes = self.volume.read_blocks(piece.blkno, piece.blocks as u32)?;
            if piece.stamp(&mut bytes, self.block_size()) {
                self.put_blocks(piece.blkno, &bytes)?;
            }
        }
        Ok(())
    }
}
