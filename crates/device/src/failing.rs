//! A device that fails at a chosen write, to simulate a crash.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Device;

/// What a [`FailingDevice`] does once its writes are used up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AfterWrites {
    /// Writes, zeroing and flushes fail, as if the cable had been pulled.
    Fail,
    /// Writes and zeroing report success and store nothing, as if the power had failed unnoticed.
    Drop,
    /// The first one stores half of its bytes and fails, a torn write; the others as with
    /// [`AfterWrites::Fail`].
    Tear,
}

/// Passes a number of writes on and then fails. Reads always work.
#[derive(Debug)]
pub struct FailingDevice<D> {
    inner: D,
    good_writes: u64,
    then: AfterWrites,
    writes: AtomicU64,
}

/// What to do with one write.
enum Fate {
    Store,
    Tear,
    Drop,
    Fail,
}

impl<D: Device> FailingDevice<D> {
    /// `good_writes` calls of `write_at` and `zero` reach `inner`, the others do not.
    pub fn new(inner: D, good_writes: u64, then: AfterWrites) -> Self {
        Self { inner, good_writes, then, writes: AtomicU64::new(0) }
    }

    /// Calls of `write_at` and `zero` so far, including those that were not stored.
    pub fn writes(&self) -> u64 {
        self.writes.load(Relaxed)
    }

    /// The device below, holding what was stored.
    pub fn inner(&self) -> &D {
        &self.inner
    }

    /// Returns the device below.
    pub fn into_inner(self) -> D {
        self.inner
    }

    fn next_write(&self) -> Fate {
        let number = self.writes.fetch_add(1, Relaxed);
        if number < self.good_writes {
            return Fate::Store;
        }
        match self.then {
            AfterWrites::Drop => Fate::Drop,
            AfterWrites::Tear if number == self.good_writes => Fate::Tear,
            AfterWrites::Fail | AfterWrites::Tear => Fate::Fail,
        }
    }
}

fn broken() -> io::Error {
    io::Error::other("the device has failed, as the test asked for")
}

impl<D: Device> Device for FailingDevice<D> {
    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }

    fn sector_size(&self) -> u32 {
        self.inner.sector_size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_at(buf, offset)
    }

    fn read_fresh_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_fresh_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        match self.next_write() {
            Fate::Store => self.inner.write_at(buf, offset),
            Fate::Drop => Ok(()),
            Fate::Fail => Err(broken()),
            Fate::Tear => {
                self.inner.write_at(&buf[..buf.len() / 2], offset)?;
                Err(broken())
            }
        }
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        match self.next_write() {
            Fate::Store => self.inner.zero(offset, len),
            Fate::Drop => Ok(()),
            Fate::Fail => Err(broken()),
            Fate::Tear => {
                self.inner.zero(offset, len / 2)?;
                Err(broken())
            }
        }
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<bool> {
        if self.writes() <= self.good_writes { self.inner.discard(offset, len) } else { Ok(false) }
    }

    fn flush(&self) -> io::Result<()> {
        if self.writes() <= self.good_writes || self.then == AfterWrites::Drop {
            self.inner.flush()
        } else {
            Err(broken())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDevice;

    #[test]
    fn the_write_after_the_last_good_one_is_not_stored() {
        for (then, succeeds, stored) in [
            (AfterWrites::Fail, false, [1, 1, 0, 0]),
            (AfterWrites::Drop, true, [1, 1, 0, 0]),
            (AfterWrites::Tear, false, [1, 1, 2, 0]),
        ] {
            let device = FailingDevice::new(MemoryDevice::new(4), 1, then);
            device.write_at(&[1, 1], 0).unwrap();
            device.flush().unwrap();
            assert_eq!(device.write_at(&[2, 2], 2).is_ok(), succeeds, "{then:?}");
            assert_eq!(device.zero(0, 1).is_ok(), succeeds, "{then:?}");
            assert_eq!(device.flush().is_ok(), succeeds, "{then:?}");
            assert_eq!(device.inner().to_bytes(), stored, "{then:?}");
            assert_eq!(device.writes(), 3);
        }
    }
}
