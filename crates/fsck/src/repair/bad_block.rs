//! Blocks that the device cannot read.

use ocfs2_format::Blkno;

use super::Repair;

/// Writes zeros to an unreadable block, so that the device replaces it. The next check finds what
/// that means for the structures.
pub fn rewrite(blkno: Blkno) -> Repair {
    Repair::first_once("block", blkno.0, move |editor| {
        let volume = editor.volume();
        // The error may have been temporary: the device was busy for a while.
        if volume.read_block(blkno).is_ok() {
            return Ok(());
        }
        let zeros = vec![0; volume.block_size().size()];
        editor.put_blocks(blkno, &zeros)
    })
}
