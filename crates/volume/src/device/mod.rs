//! Where a volume is stored: anything that reads and writes bytes at offsets.

use std::io;

/// Random access to the bytes of a volume. Shared between threads.
///
/// Offsets and lengths are bytes. Reads and writes are complete or fail; one that
/// reaches past the end fails with [`io::ErrorKind::UnexpectedEof`].
pub trait Device: Send + Sync {
    /// Size in bytes. A device that has none (`/dev/null`) says 0.
    fn size_bytes(&self) -> u64;

    /// The unit of I/O the hardware wants, a power of two from 512 on; 512 for files.
    fn sector_size(&self) -> u32 {
        512
    }

    /// Fills `buf` from `offset`.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `buf` at `offset`.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Makes `len` bytes at `offset` read as zero, by the cheapest means there is.
    fn zero(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Tells the device that `len` bytes at `offset` hold nothing worth keeping.
    ///
    /// A hint: what they read as afterwards is not defined, and a device that can not
    /// discard does nothing.
    fn discard(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Everything written so far is on stable storage when this returns.
    fn flush(&self) -> io::Result<()>;
}
