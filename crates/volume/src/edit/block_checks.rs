//! Block checks for metadata that has none yet.

use ocfs2_format::check;
use ocfs2_format::dir::DirTrailer;

use super::{Edit, EditError};
use crate::metadata::{MetadataKind, MetadataRun};

impl Edit {
    /// Computes the block checks of some metadata, on a volume that does not have them yet; blocks
    /// of directories have to have trailers. What has no check stays as it is.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn stamp(&mut self, run: &MetadataRun) -> Result<(), EditError> {
        let size = self.block_size().size();
        let offset = match run.kind {
            MetadataKind::DirBlock => Some(DirTrailer::check_offset(size)),
            // It gets one when the superblock says so, with all its copies.
            MetadataKind::Superblock => None,
            _ => run.check_offset,
        };
        let Some(offset) = offset else { return Ok(()) };
        // The blocks of a bucket have one check, others each have their own.
        let is_one = run.kind == MetadataKind::XattrBucket;
        let (each, count) = if is_one { (run.blocks, 1) } else { (1, run.blocks) };
        for index in 0..count {
            let blkno = ocfs2_format::Blkno(run.blkno.0 + index * each);
            let mut bytes = vec![0; size * each as usize];
            self.volume.read_into("metadata", blkno, &mut bytes)?;
            let before = bytes.clone();
            check::stamp(&mut bytes, offset);
            if bytes != before {
                self.put_blocks(blkno, &bytes)?;
            }
        }
        Ok(())
    }
}
