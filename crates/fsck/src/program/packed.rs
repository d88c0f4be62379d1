//! A packed image of which only what is saved can be read.

use std::io;
use std::sync::Arc;

use ocfs2_device::Device;
use ocfs2_format::Blkno;
use ocfs2_volume::image::PackedImage;

/// A packed image in which a block that is not saved is an error instead of zeros: zeros would be
/// taken for the contents of files.
pub(super) struct OnlySaved(pub Arc<PackedImage>);

impl Device for OnlySaved {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let size = self.0.header().hdr_fsblksz.max(1);
        let end = offset.saturating_add(buf.len() as u64);
        for block in offset / size..end.div_ceil(size) {
            if !self.0.has(Blkno(block))? {
                return Err(io::Error::other("the image does not have it"));
            }
        }
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(buf, offset)
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.zero(offset, len)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<bool> {
        self.0.discard(offset, len)
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
}
