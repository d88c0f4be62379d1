//! A byte range of another device, such as a partition.

use std::io;
use std::ops::Range;

use super::{Device, buffer_within, end_within};

/// Part of a device, as a device of its own.
#[derive(Debug)]
pub struct SliceDevice<D> {
    inner: D,
    start: u64,
    size: u64,
}

impl<D: Device> SliceDevice<D> {
    /// The `size` bytes of `inner` from byte `start` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if `inner` does not reach that far.
    pub fn new(inner: D, start: u64, size: u64) -> io::Result<Self> {
        end_within(inner.size_bytes(), start, size)?;
        Ok(Self { inner, start, size })
    }
}

// The start plus an offset within the slice does not overflow: `new` has checked the end.
impl<D: Device> Device for SliceDevice<D> {
    fn size_bytes(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        self.inner.sector_size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        buffer_within(self.size, offset, buf)?;
        self.inner.read_at(buf, self.start + offset)
    }

    fn read_fresh_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        buffer_within(self.size, offset, buf)?;
        self.inner.read_fresh_at(buf, self.start + offset)
    }

    fn next_data(&self, offset: u64) -> Range<u64> {
        let data = self.inner.next_data(self.start.saturating_add(offset));
        let within = |at: u64| at.saturating_sub(self.start).min(self.size.max(offset));
        within(data.start)..within(data.end)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        buffer_within(self.size, offset, buf)?;
        self.inner.write_at(buf, self.start + offset)
    }

    fn announce(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        buffer_within(self.size, offset, buf)?;
        self.inner.announce(buf, self.start + offset)
    }

    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        end_within(self.size, offset, len)?;
        self.inner.reserve(self.start + offset, len)
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        end_within(self.size, offset, len)?;
        self.inner.zero(self.start + offset, len)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<bool> {
        end_within(self.size, offset, len)?;
        self.inner.discard(self.start + offset, len)
    }

    fn flush(&self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDevice;

    #[test]
    fn a_slice_does_not_reach_its_neighbours() {
        let disk = MemoryDevice::from_bytes(&[1, 2, 3, 4, 5, 6]);
        let slice = SliceDevice::new(&disk, 2, 2).unwrap();
        let mut buf = [0; 2];
        slice.read_at(&mut buf, 0).unwrap();
        assert_eq!(buf, [3, 4]);
        assert!(slice.read_at(&mut buf, 1).is_err());
        assert!(slice.write_at(&[0], 2).is_err());
        assert!(slice.zero(0, 3).is_err());
        slice.write_at(&[9], 1).unwrap();
        slice.zero(0, 1).unwrap();
        assert_eq!(disk.to_bytes(), [1, 2, 0, 9, 5, 6]);
        assert!(SliceDevice::new(&disk, 5, 2).is_err());
    }
}
