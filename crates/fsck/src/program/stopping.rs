//! Reads that end after a signal: whatever walks a volume stops, however long the walk would be.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use ocfs2_cli::{Interrupt, Interrupted};
use ocfs2_device::Device;

/// A device whose reads fail after a signal, until [`StoppingDevice::keep_on`].
pub(super) struct StoppingDevice<D> {
    inner: D,
    interrupt: Interrupt,
    keeps_on: AtomicBool,
}

impl<D: Device> StoppingDevice<D> {
    pub fn new(inner: D, interrupt: &Interrupt) -> Self {
        Self { inner, interrupt: interrupt.clone(), keeps_on: AtomicBool::new(false) }
    }

    /// From now on a signal ends no read: writing needs reads as well, and the writer itself checks
    /// for a signal where it can stop.
    pub fn keep_on(&self) {
        self.keeps_on.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> io::Result<()> {
        match self.interrupt.requested() && !self.keeps_on.load(Ordering::Relaxed) {
            true => Err(io::Error::other(Interrupted)),
            false => Ok(()),
        }
    }
}

impl<D: Device> Device for StoppingDevice<D> {
    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }

    fn sector_size(&self) -> u32 {
        self.inner.sector_size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.check()?;
        self.inner.read_at(buf, offset)
    }

    fn read_fresh_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.check()?;
        self.inner.read_fresh_at(buf, offset)
    }

    fn original_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.check()?;
        self.inner.original_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(buf, offset)
    }

    fn announce(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.inner.announce(buf, offset)
    }

    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.reserve(offset, len)
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.zero(offset, len)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<bool> {
        self.inner.discard(offset, len)
    }

    fn flush(&self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use ocfs2_device::MemoryDevice;

    use super::*;

    #[test]
    fn a_signal_ends_reads_but_not_what_is_written() {
        let interrupt = Interrupt::default();
        let device = StoppingDevice::new(MemoryDevice::new(4096), &interrupt);
        device.read_at(&mut [0; 8], 0).unwrap();
        interrupt.request();
        device.read_at(&mut [0; 8], 0).unwrap_err();
        device.original_at(&mut [0; 8], 0).unwrap_err();
        device.write_at(&[1; 8], 0).unwrap();
        device.keep_on();
        device.read_at(&mut [0; 8], 0).unwrap();
    }
}
