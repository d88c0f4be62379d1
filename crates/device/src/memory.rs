//! A volume in memory, for tests.

use std::collections::BTreeMap;
use std::io;
use std::sync::{PoisonError, RwLock};

use super::{Device, buffer_within, end_within, pieces};

const PAGE: usize = 4096;
type Page = Box<[u8; PAGE]>;

/// Memory as a device. Pages that were never written, or were zeroed, take no memory, so that it
/// can be terabytes large.
#[derive(Debug, Default)]
pub struct MemoryDevice {
    size: u64,
    sector_size: Option<u32>,
    pages: RwLock<BTreeMap<u64, Page>>,
}

impl MemoryDevice {
    /// `size` bytes of zeros.
    pub fn new(size: u64) -> Self {
        Self { size, ..Self::default() }
    }

    /// A copy of `bytes`.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let device = Self::new(bytes.len() as u64);
        device.store(bytes, 0);
        device
    }

    /// The same device with sectors of `sector_size` bytes.
    pub fn with_sector_size(self, sector_size: u32) -> Self {
        Self { sector_size: Some(sector_size), ..self }
    }

    /// The whole contents, for small devices.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.size).unwrap_or(usize::MAX)];
        self.load(&mut bytes, 0);
        bytes
    }

    /// Bytes of memory that the contents take.
    pub fn allocated_bytes(&self) -> u64 {
        (self.pages.read().unwrap_or_else(PoisonError::into_inner).len() * PAGE) as u64
    }

    fn load(&self, buf: &mut [u8], offset: u64) {
        let pages = self.pages.read().unwrap_or_else(PoisonError::into_inner);
        for piece in pieces(offset, buf.len(), PAGE) {
            let to = &mut buf[piece.done..][..piece.len];
            match pages.get(&piece.block) {
                Some(page) => to.copy_from_slice(&page[piece.within..][..piece.len]),
                None => to.fill(0),
            }
        }
    }

    fn store(&self, buf: &[u8], offset: u64) {
        let mut pages = self.pages.write().unwrap_or_else(PoisonError::into_inner);
        for piece in pieces(offset, buf.len(), PAGE) {
            let from = &buf[piece.done..][..piece.len];
            let page = pages.entry(piece.block).or_insert_with(|| Box::new([0; PAGE]));
            page[piece.within..][..piece.len].copy_from_slice(from);
        }
    }
}

impl Device for MemoryDevice {
    fn size_bytes(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        self.sector_size.unwrap_or(512)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        buffer_within(self.size, offset, buf)?;
        self.load(buf, offset);
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        buffer_within(self.size, offset, buf)?;
        self.store(buf, offset);
        Ok(())
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = end_within(self.size, offset, len)?;
        let page = PAGE as u64;
        let mut pages = self.pages.write().unwrap_or_else(PoisonError::into_inner);
        let touched: Vec<u64> =
            pages.range(offset / page..end.div_ceil(page)).map(|(n, _)| *n).collect();
        for number in touched {
            let start = number * page;
            let from = offset.saturating_sub(start).min(page) as usize;
            let to = (end - start).min(page) as usize;
            if from == 0 && to == PAGE {
                pages.remove(&number);
            } else if let Some(part) = pages.get_mut(&number).and_then(|p| p.get_mut(from..to)) {
                part.fill(0);
            }
        }
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<bool> {
        self.zero(offset, len).map(|()| true)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_zeroing_gives_the_memory_back() {
        let device = MemoryDevice::new(1 << 50);
        let bytes: Vec<u8> = (0..20_000_u32).map(|n| n as u8 | 1).collect();
        let at = (1 << 49) - 777;
        device.write_at(&bytes, at).unwrap();
        let mut back = vec![0; bytes.len()];
        device.read_at(&mut back, at).unwrap();
        assert_eq!(back, bytes);

        device.zero(at + 10, 19_980).unwrap();
        device.read_at(&mut back, at).unwrap();
        assert_eq!(back[..10], bytes[..10]);
        assert!(back[10..19_990].iter().all(|byte| *byte == 0));
        assert_eq!(back[19_990..], bytes[19_990..]);
        assert_eq!(device.allocated_bytes(), 2 * 4096);
        device.zero(0, 1 << 50).unwrap();
        assert_eq!(device.allocated_bytes(), 0);
    }

    #[test]
    fn the_last_byte_can_be_written_and_the_one_behind_can_not() {
        let device = MemoryDevice::new(5000);
        device.write_at(&[7], 4999).unwrap();
        assert_eq!(device.to_bytes()[4998..], [0, 7]);
        assert!(device.write_at(&[7], 5000).is_err());
        assert!(device.read_at(&mut [0; 2], 4999).is_err());
        assert!(device.zero(4999, 2).is_err());
    }
}
