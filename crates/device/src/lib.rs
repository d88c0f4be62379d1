//! Where a volume is stored: anything that reads and writes bytes at offsets.
//!
//! Tools call [`open()`] for a file, a block device or a partition of either, exclusively if wanted.
//! Other devices wrap one (an [`OverlayDevice`] keeps changes aside, a [`SliceDevice`] is a part of
//! it) or replace it in tests ([`MemoryDevice`], [`FailingDevice`], [`CountingDevice`]). Nothing
//! here knows what is stored.
//!
//! ```
//! use ocfs2_device::{Device, MemoryDevice, OverlayDevice};
//!
//! # fn main() -> std::io::Result<()> {
//! let disk = MemoryDevice::new(1 << 20);
//! let overlay = OverlayDevice::new(disk, 4096);
//! overlay.write_at(b"kept aside", 8192)?;
//! let (mut above, mut below) = ([0; 10], [1; 10]);
//! overlay.read_at(&mut above, 8192)?;
//! overlay.original_at(&mut below, 8192)?;
//! assert_eq!((&above, below), (b"kept aside", [0; 10]));
//! # Ok(())
//! # }
//! ```
#![deny(missing_docs)]

use std::io;
use std::ops::Range;
use std::sync::Arc;

mod aligned;
mod changes;
mod claims;
mod counting;
mod failing;
mod file;
pub mod holders;
mod list;
mod memory;
mod open;
mod overlay;
pub mod partition;
pub mod shown;
mod slice;

pub use aligned::AlignedBuffer;
pub use counting::{CountingDevice, Counts};
pub use failing::{AfterWrites, FailingDevice};
pub use file::{Caching, FileDevice};
pub use list::{ListedDevice, list};
pub use memory::MemoryDevice;
pub use open::{DeviceOptions, OpenCause, OpenError, open};
pub use overlay::OverlayDevice;
pub use slice::SliceDevice;

/// Random access to the bytes of a volume, shared between threads.
///
/// Offsets and lengths are in bytes. Reads and writes are complete or fail; one that reaches past
/// the end fails with [`io::ErrorKind::UnexpectedEof`].
pub trait Device: Send + Sync {
    /// Size in bytes; 0 for a device that has no size (`/dev/null`).
    fn size_bytes(&self) -> u64;

    /// The unit of I/O of the hardware in bytes, a power of two of at least 512; 512 for files.
    fn sector_size(&self) -> u32 {
        512
    }

    /// Fills `buf` from `offset`.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Fills `buf` from `offset` with what is on the device now, not with what this machine has
    /// cached. This is how to see what other nodes write to a shared device.
    fn read_fresh_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_at(buf, offset)
    }

    /// Fills `buf` from `offset` with the contents below any changes that are kept aside. The same
    /// as `read_at` on a device that keeps no changes aside.
    fn original_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_at(buf, offset)
    }

    /// The first bytes from `offset` on that may be something else than zeros, as far as a sparse
    /// file shows that by its holes. Empty if nothing follows.
    fn next_data(&self, offset: u64) -> Range<u64> {
        offset..self.size_bytes().max(offset)
    }

    /// Writes all of `buf` at `offset`.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Announces that `buf` will be written at `offset`, before the first of several writes: a device
    /// that saves what it overwrites does that for all of them at once. Others do nothing.
    fn announce(&self, _buf: &[u8], _offset: u64) -> io::Result<()> {
        Ok(())
    }

    /// Announces that `len` bytes at `offset` are about to be written, and nothing next to them.
    ///
    /// This makes small writes far apart many times faster in a sparse file, whose file system
    /// would otherwise look for more room each time. It also shows a lack of room before anything
    /// is written.
    fn reserve(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }

    /// Makes `len` bytes at `offset` read as zero, by the cheapest means available.
    fn zero(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Announces that the contents of `len` bytes at `offset` are no longer needed.
    ///
    /// A device that cannot discard does nothing. Returns whether all of the bytes are certain to
    /// read as zero from now on; otherwise their contents are undefined.
    fn discard(&self, offset: u64, len: u64) -> io::Result<bool>;

    /// Everything written so far is on stable storage when this returns.
    fn flush(&self) -> io::Result<()>;
}

/// Implements [`Device`] for references to a device.
macro_rules! delegate {
    ($($type:ty),*) => {$(
        impl<D: Device + ?Sized> Device for $type {
            fn size_bytes(&self) -> u64 {
                (**self).size_bytes()
            }
            fn sector_size(&self) -> u32 {
                (**self).sector_size()
            }
            fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
                (**self).read_at(buf, offset)
            }
            fn read_fresh_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
                (**self).read_fresh_at(buf, offset)
            }
            fn original_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
                (**self).original_at(buf, offset)
            }
            fn next_data(&self, offset: u64) -> Range<u64> {
                (**self).next_data(offset)
            }
            fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
                (**self).write_at(buf, offset)
            }
            fn announce(&self, buf: &[u8], offset: u64) -> io::Result<()> {
                (**self).announce(buf, offset)
            }
            fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
                (**self).reserve(offset, len)
            }
            fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
                (**self).zero(offset, len)
            }
            fn discard(&self, offset: u64, len: u64) -> io::Result<bool> {
                (**self).discard(offset, len)
            }
            fn flush(&self) -> io::Result<()> {
                (**self).flush()
            }
        }
    )*};
}
delegate!(&D, Box<D>, Arc<D>);

/// Returns the end of `len` bytes at `offset` of a device of `size` bytes.
///
/// # Errors
/// [`io::ErrorKind::UnexpectedEof`] if that is past the end.
pub fn end_within(size: u64, offset: u64, len: u64) -> io::Result<u64> {
    offset.checked_add(len).filter(|end| *end <= size).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{len} bytes at {offset} reach past the end at {size}"),
        )
    })
}

/// The same for a buffer.
fn buffer_within(size: u64, offset: u64, buf: &[u8]) -> io::Result<u64> {
    end_within(size, offset, buf.len() as u64)
}

/// A part of a range that lies within one block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Piece {
    /// Number of the block.
    block: u64,
    /// Offset within the block in bytes.
    within: usize,
    /// Length in bytes.
    len: usize,
    /// Offset within the whole range in bytes.
    done: usize,
}

/// Cuts `len` bytes at `offset` at multiples of `block_size`.
///
/// The range must be one that [`end_within`] accepts, and `len` the length of a buffer.
fn pieces(offset: u64, len: usize, block_size: usize) -> impl Iterator<Item = Piece> {
    let unit = block_size as u64;
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = (at % unit) as usize;
        let piece =
            Piece { block: at / unit, within, len: (len - done).min(block_size - within), done };
        done += piece.len;
        (piece.len > 0).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_at_the_blocks() {
        let cut: Vec<_> = pieces(510, 1028, 512).map(|p| (p.block, p.within, p.len)).collect();
        assert_eq!(cut, [(0, 510, 2), (1, 0, 512), (2, 0, 512), (3, 0, 2)]);
        assert_eq!(pieces(512, 0, 512).count(), 0);
    }

    #[test]
    fn the_end_of_the_device_is_the_end() {
        assert_eq!(end_within(10, 3, 7).unwrap(), 10);
        for (offset, len) in [(3, 8), (11, 0), (u64::MAX, 2)] {
            let err = end_within(10, offset, len).unwrap_err();
            assert_eq!(err.kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
