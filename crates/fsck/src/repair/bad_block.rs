//! Blocks the device cannot read.

use ocfs2_format::Blkno;

use super::Repair;

/// Writes zeros to a block that cannot be read, so that the device puts another one in its
/// place; what follows from that for the structures, the next check tells.
pub fn rewrite(blkno: Blkno) -> Repair {
    Repair::first_once("block", blkno.0, move |editor| {
        let volume = editor.volume();
        // A device may have been busy with something else for a while.
        if volume.read_block(blkno).is_ok() {
            return Ok(());
        }
        let zeros = vec![0; volume.block_size().size()];
        editor.put_blocks(blkno, &zeros)
    })
}
