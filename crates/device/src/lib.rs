//! Where a volume is stored: anything that reads and writes bytes at offsets.
//!
//! Tools call [`open`]: a file, a block device or a partition of either, had for oneself if
//! asked for. The others stand on top of it (an [`OverlayDevice`] keeps changes aside, a
//! [`SliceDevice`] is a part) or in its place, for tests ([`MemoryDevice`], [`FailingDevice`],
//! [`CountingDevice`]). Nothing here knows what is stored.
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

    /// Fills `buf` from `offset` with what is on the device now, not what this machine
    /// has cached of it: the way to see what other nodes write to a shared device.
    fn read_fresh_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_at(buf, offset)
    }

    /// Fills `buf` from `offset` with what was there before any change that is only kept aside:
    /// what a device that keeps changes aside has below it.
    fn original_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_at(buf, offset)
    }

    /// Writes all of `buf` at `offset`.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Tells the device that `len` bytes at `offset` are about to be written, and nothing
    /// next to them.
    ///
    /// A hint that makes small writes far apart many times faster in a sparse file, whose
    /// file system would otherwise look for room for more each time; and the way to find out that
    /// there is no room before anything is written.
    fn reserve(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }

    /// Makes `len` bytes at `offset` read as zero, by the cheapest means there is.
    fn zero(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Tells the device that `len` bytes at `offset` hold nothing worth keeping.
    ///
    /// A hint: a device that cannot discard does nothing. Says whether all of them are
    /// certain to read as zero from now on; otherwise what they read as is not defined.
    fn discard(&self, offset: u64, len: u64) -> io::Result<bool>;

    /// Everything written so far is on stable storage when this returns.
    fn flush(&self) -> io::Result<()>;
}

/// A reference to a device is a device.
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
            fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
                (**self).write_at(buf, offset)
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

/// The end of `len` bytes at `offset` of a device of `size` bytes.
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

/// The same for the length of a buffer.
fn buffer_within(size: u64, offset: u64, buf: &[u8]) -> io::Result<u64> {
    end_within(size, offset, buf.len() as u64)
}

/// A part of a range that lies within one block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Piece {
    /// Which block.
    block: u64,
    /// Bytes from its start.
    within: usize,
    /// Bytes of it.
    len: usize,
    /// Bytes from the start of the range.
    done: usize,
}

/// Cuts `len` bytes at `offset` at multiples of `block_size`.
///
/// The range has to be one that [`end_within`] accepts and `len` one a buffer can have.
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
