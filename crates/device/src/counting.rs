//! A device that counts the calls made to it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Device;

/// The calls a [`CountingDevice`] has received.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Calls of `read_at` and `read_fresh_at`.
    pub reads: u64,
    /// Bytes they read.
    pub read_bytes: u64,
    /// Calls of `write_at`.
    pub writes: u64,
    /// Bytes they wrote.
    pub written_bytes: u64,
    /// Calls of `zero`.
    pub zeros: u64,
    /// Bytes they zeroed.
    pub zeroed_bytes: u64,
    /// Calls of `discard`.
    pub discards: u64,
    /// Calls of `flush`.
    pub flushes: u64,
}

/// Passes every call on and counts it, failed ones included.
#[derive(Debug, Default)]
pub struct CountingDevice<D> {
    inner: D,
    reads: AtomicU64,
    read_bytes: AtomicU64,
    writes: AtomicU64,
    written_bytes: AtomicU64,
    zeros: AtomicU64,
    zeroed_bytes: AtomicU64,
    discards: AtomicU64,
    flushes: AtomicU64,
}

impl<D: Device> CountingDevice<D> {
    /// Starts at zero.
    pub fn new(inner: D) -> Self {
        Self {
            inner,
            reads: AtomicU64::default(),
            read_bytes: AtomicU64::default(),
            writes: AtomicU64::default(),
            written_bytes: AtomicU64::default(),
            zeros: AtomicU64::default(),
            zeroed_bytes: AtomicU64::default(),
            discards: AtomicU64::default(),
            flushes: AtomicU64::default(),
        }
    }

    /// The device below.
    pub fn inner(&self) -> &D {
        &self.inner
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        Counts {
            reads: self.reads.load(Relaxed),
            read_bytes: self.read_bytes.load(Relaxed),
            writes: self.writes.load(Relaxed),
            written_bytes: self.written_bytes.load(Relaxed),
            zeros: self.zeros.load(Relaxed),
            zeroed_bytes: self.zeroed_bytes.load(Relaxed),
            discards: self.discards.load(Relaxed),
            flushes: self.flushes.load(Relaxed),
        }
    }

    fn count_read(&self, buf: &[u8]) {
        self.reads.fetch_add(1, Relaxed);
        self.read_bytes.fetch_add(buf.len() as u64, Relaxed);
    }
}

impl<D: Device> Device for CountingDevice<D> {
    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }

    fn sector_size(&self) -> u32 {
        self.inner.sector_size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.count_read(buf);
        self.inner.read_at(buf, offset)
    }

    fn read_fresh_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.count_read(buf);
        self.inner.read_fresh_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.writes.fetch_add(1, Relaxed);
        self.written_bytes.fetch_add(buf.len() as u64, Relaxed);
        self.inner.write_at(buf, offset)
    }

    fn announce(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.inner.announce(buf, offset)
    }

    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.reserve(offset, len)
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        self.zeros.fetch_add(1, Relaxed);
        self.zeroed_bytes.fetch_add(len, Relaxed);
        self.inner.zero(offset, len)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<bool> {
        self.discards.fetch_add(1, Relaxed);
        self.inner.discard(offset, len)
    }

    fn flush(&self) -> io::Result<()> {
        self.flushes.fetch_add(1, Relaxed);
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDevice;

    #[test]
    fn every_call_is_counted_with_its_bytes() {
        let device = CountingDevice::new(MemoryDevice::new(4096));
        device.write_at(&[1; 10], 0).unwrap();
        device.read_at(&mut [0; 7], 0).unwrap();
        device.read_fresh_at(&mut [0; 3], 0).unwrap();
        device.zero(0, 100).unwrap();
        device.discard(0, 100).unwrap();
        device.flush().unwrap();
        let expected = Counts {
            reads: 2,
            read_bytes: 10,
            writes: 1,
            written_bytes: 10,
            zeros: 1,
            zeroed_bytes: 100,
            discards: 1,
            flushes: 1,
        };
        assert_eq!(device.counts(), expected);
    }
}
