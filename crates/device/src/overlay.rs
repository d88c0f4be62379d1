//! Copy on write: changes are kept aside, the device below is only read.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::ops::Range;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::changes::Changes;
use super::{Device, buffer_within, end_within, pieces};

/// A device seen through the changes made to it.
///
/// Changes are kept in whole blocks and can be listed, written to a device, or forgotten. An
/// overlay can also remember what was below each block when it was first changed, to detect later
/// writes of others: see [`OverlayDevice::remembering`].
#[derive(Debug)]
pub struct OverlayDevice<D> {
    inner: D,
    block_size: usize,
    changed: RwLock<Changes>,
    /// For each changed block, by number, a hash of what was below it; `None` if that could not be
    /// read.
    below: Option<Mutex<BTreeMap<u64, Option<u64>>>>,
}

/// Bytes of the device below that are read at once for comparison.
const COMPARED_AT_ONCE: u64 = 1 << 20;

impl<D: Device> OverlayDevice<D> {
    /// No changes yet; they will be kept in memory, in blocks of `block_size` bytes (at least 1).
    pub fn new(inner: D, block_size: u32) -> Self {
        Self::within(inner, block_size, u64::MAX)
    }

    /// The same, but with at most `memory_bytes` of the changes in memory. The rest goes to an
    /// unlinked file in the folder named by `TMPDIR`, or in `/var/tmp`.
    pub fn within(inner: D, block_size: u32, memory_bytes: u64) -> Self {
        let block_size = (block_size as usize).max(1);
        let changed = RwLock::new(Changes::new(block_size, memory_bytes));
        Self { inner, block_size, changed, below: None }
    }

    /// Keeps at most `memory_bytes` of the changes in memory from now on. Those already in memory
    /// stay.
    pub fn limit_memory(&self, memory_bytes: u64) {
        self.changed_mut().limit_memory(memory_bytes);
    }

    /// The same overlay, without changes yet, which remembers what it covers (8 bytes per block).
    #[must_use]
    pub fn remembering(mut self) -> Self {
        self.below = Some(Mutex::default());
        self
    }

    /// Returns the byte range of the first changed block that is different below from what it was
    /// when first changed. Reads past all caches. `None` if there is no such block or without
    /// [`OverlayDevice::remembering`]; blocks that could not be read when first changed are not
    /// compared.
    ///
    /// # Errors
    /// If a block that could be read then cannot be read now.
    pub fn changed_below(&self) -> io::Result<Option<Range<u64>>> {
        let Some(below) = &self.below else { return Ok(None) };
        let below = below.lock().unwrap_or_else(PoisonError::into_inner);
        let unit = self.block_size as u64;
        let at_once = (COMPARED_AT_ONCE / unit).max(1);
        let known: Vec<(u64, u64)> =
            below.iter().filter_map(|(number, hash)| Some((*number, (*hash)?))).collect();
        let mut bytes = Vec::new();
        let mut rest = &known[..];
        while let Some(&(first, _)) = rest.first() {
            let follows =
                |at: usize, number: u64| number == first + at as u64 && (at as u64) < at_once;
            let count = rest.iter().enumerate().take_while(|(at, known)| follows(*at, known.0));
            let (run, others) = rest.split_at(count.count());
            rest = others;
            let end = self.block_range(first + run.len() as u64 - 1).end;
            bytes.resize((end - first * unit) as usize, 0);
            self.inner.read_fresh_at(&mut bytes, first * unit)?;
            for ((number, hash), block) in run.iter().zip(bytes.chunks(self.block_size)) {
                if hashed(block) != *hash {
                    return Ok(Some(self.block_range(*number)));
                }
            }
        }
        Ok(None)
    }

    /// Drops the change of the block at byte `offset`, so that it reads as below.
    pub fn forget(&self, offset: u64) {
        let number = offset / self.block_size as u64;
        self.changed_mut().forget(number);
        if let Some(below) = &self.below {
            below.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        }
    }

    /// Remembers what is below a block that is about to be changed for the first time.
    fn remember(&self, number: u64) {
        let Some(below) = &self.below else { return };
        let mut below = below.lock().unwrap_or_else(PoisonError::into_inner);
        below.entry(number).or_insert_with(|| {
            let Range { start, end } = self.block_range(number);
            let mut block = vec![0; end.saturating_sub(start) as usize];
            self.inner.read_at(&mut block, start).is_ok().then(|| hashed(&block))
        });
    }

    /// The device below, without the changes.
    pub fn inner(&self) -> &D {
        &self.inner
    }

    /// Number of blocks that were written to, even if their contents are the same as below.
    pub fn changed_blocks(&self) -> usize {
        self.changed().len()
    }

    /// Whether the block at byte `offset` was written to.
    pub fn is_changed(&self, offset: u64) -> bool {
        self.changed().contains(offset / self.block_size as u64)
    }

    /// Whether any block with one of these bytes was written to.
    pub fn is_any_changed(&self, range: Range<u64>) -> bool {
        let unit = self.block_size as u64;
        let blocks = range.start / unit..range.end.div_ceil(unit);
        self.changed().numbers(blocks).next().is_some()
    }

    /// The byte ranges that were written to, in order, adjacent ones joined.
    pub fn changed_ranges(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for number in self.changed().numbers(0..u64::MAX) {
            let Range { start, end } = self.block_range(number);
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => ranges.push(start..end),
            }
        }
        ranges
    }

    /// Calls `visit` with the offset and the new contents of every changed block, in order.
    ///
    /// # Errors
    /// The first error of `visit`, or of reading back changes that are not in memory.
    pub fn for_each_change<E: From<io::Error>>(
        &self,
        mut visit: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut block = vec![0; self.block_size];
        let changed = self.changed();
        for number in changed.numbers(0..u64::MAX) {
            let Range { start, end } = self.block_range(number);
            changed.read(number, 0, &mut block)?;
            visit(start, &block[..(end - start) as usize])?;
        }
        Ok(())
    }

    /// Forgets all changes.
    pub fn clear(&self) {
        self.changed_mut().clear();
        if let Some(below) = &self.below {
            below.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    fn changed(&self) -> RwLockReadGuard<'_, Changes> {
        self.changed.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed_mut(&self) -> RwLockWriteGuard<'_, Changes> {
        self.changed.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The byte range of a block; the last one may be cut off by the end of the device.
    fn block_range(&self, number: u64) -> Range<u64> {
        let start = number * self.block_size as u64;
        start..self.inner.size_bytes().min(start + self.block_size as u64)
    }

    /// The contents below a block, padded with zeros past the end of the device.
    fn original(&self, number: u64) -> io::Result<Vec<u8>> {
        let Range { start, end } = self.block_range(number);
        let mut block = vec![0; self.block_size];
        self.inner.read_at(&mut block[..(end - start) as usize], start)?;
        Ok(block)
    }

    /// Reads through `read`, then applies the changes.
    fn patched(
        &self,
        buf: &mut [u8],
        offset: u64,
        read: impl Fn(&mut [u8], u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let end = buffer_within(self.size_bytes(), offset, buf)?;
        let unit = self.block_size as u64;
        let changed = self.changed();
        let patches = changed.numbers(offset / unit..end.div_ceil(unit));
        let mut ahead = patches.clone().peekable();
        let whole = ahead.peek().is_some_and(|number| {
            let Range { start, end: block_end } = self.block_range(*number);
            start <= offset && end <= block_end
        });
        if !whole && let Err(err) = read(buf, offset) {
            if ahead.peek().is_none() {
                return Err(err);
            }
            // What is below a change need not be readable.
            let mut at = offset;
            for number in ahead {
                let Range { start, end: next } = self.block_range(number);
                let (from, to) = ((at - offset) as usize, (start.max(at) - offset) as usize);
                read(&mut buf[from..to], at)?;
                at = next.min(end);
            }
            read(&mut buf[(at - offset) as usize..], at)?;
        }
        for number in patches {
            let at = self.block_range(number);
            let (from, to) = (offset.max(at.start), end.min(at.end));
            let part = &mut buf[(from - offset) as usize..(to - offset) as usize];
            changed.read(number, (from - at.start) as usize, part)?;
        }
        Ok(())
    }
}

/// A hash of a block, to notice changes; it does not resist someone who wants a collision.
fn hashed(block: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(block);
    hasher.finish()
}

impl<D: Device> Device for OverlayDevice<D> {
    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }

    fn sector_size(&self) -> u32 {
        self.inner.sector_size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.patched(buf, offset, |buf, offset| self.inner.read_at(buf, offset))
    }

    fn read_fresh_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.patched(buf, offset, |buf, offset| self.inner.read_fresh_at(buf, offset))
    }

    fn original_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.original_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        buffer_within(self.size_bytes(), offset, buf)?;
        let mut changed = self.changed_mut();
        for piece in pieces(offset, buf.len(), self.block_size) {
            self.remember(piece.block);
            let from = &buf[piece.done..][..piece.len];
            if piece.len == self.block_size {
                changed.write(piece.block, from)?;
                continue;
            }
            let mut block = match changed.contains(piece.block) {
                true => vec![0; self.block_size],
                false => self.original(piece.block)?,
            };
            changed.read(piece.block, 0, &mut block)?;
            block[piece.within..][..piece.len].copy_from_slice(from);
            changed.write(piece.block, &block)?;
        }
        Ok(())
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = end_within(self.size_bytes(), offset, len)?;
        let unit = self.block_size as u64;
        let whole = offset.div_ceil(unit)..end / unit;
        if whole.is_empty() {
            return self.write_at(&vec![0; len as usize], offset);
        }
        let head = vec![0; (whole.start * unit - offset) as usize];
        self.write_at(&head, offset)?;
        let tail = vec![0; (end - whole.end * unit) as usize];
        self.write_at(&tail, whole.end * unit)?;
        let mut changed = self.changed_mut();
        whole.for_each(|number| {
            self.remember(number);
            changed.zero(number);
        });
        Ok(())
    }

    /// Does nothing: the old contents stay readable below.
    fn discard(&self, offset: u64, len: u64) -> io::Result<bool> {
        end_within(self.size_bytes(), offset, len).map(|_| false)
    }

    /// Does nothing: changes are not persistent.
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::MemoryDevice;

    #[test]
    fn the_device_below_is_never_written() {
        let below = MemoryDevice::from_bytes(&[5; 3000]);
        let overlay = OverlayDevice::new(&below, 1024);
        overlay.write_at(&[1, 2, 3], 1023).unwrap();
        overlay.zero(2048, 952).unwrap();
        assert_eq!(below.to_bytes(), [5; 3000]);
        let mut buf = [0; 5];
        overlay.read_at(&mut buf, 1022).unwrap();
        assert_eq!(buf, [5, 1, 2, 3, 5]);
        assert_eq!(overlay.changed_ranges(), vec![0..3000]);

        overlay
            .for_each_change(|offset, block| {
                below.write_at(block, offset).unwrap();
                Ok::<_, io::Error>(())
            })
            .unwrap();
        assert_eq!(below.to_bytes()[1022..1027], [5, 1, 2, 3, 5]);
        assert_eq!(below.to_bytes()[2047..], [[5].as_slice(), &[0; 952]].concat());

        overlay.clear();
        assert_eq!(overlay.changed_blocks(), 0);
    }

    #[test]
    fn what_changed_below_is_told_and_only_where_it_matters() {
        let below = MemoryDevice::from_bytes(&[5; 10_500]);
        let overlay = OverlayDevice::new(&below, 1000).remembering();
        overlay.write_at(&[1; 10], 1990).unwrap();
        overlay.zero(4000, 3000).unwrap();
        overlay.write_at(&[2], 10_400).unwrap();
        assert_eq!(overlay.changed_below().unwrap(), None);
        below.write_at(&[9], 3500).unwrap();
        assert_eq!(overlay.changed_below().unwrap(), None, "no block that is to be written");
        below.write_at(&[9], 10_499).unwrap();
        assert_eq!(overlay.changed_below().unwrap(), Some(10_000..10_500));
        below.write_at(&[9], 5000).unwrap();
        assert_eq!(overlay.changed_below().unwrap(), Some(5000..6000));
        overlay.forget(5000);
        overlay.forget(10_000);
        assert_eq!(overlay.changed_below().unwrap(), None);
        assert_eq!(overlay.changed_ranges(), [1000..2000, 4000..5000, 6000..7000]);
        overlay.write_at(&[7], 5000).unwrap();
        below.write_at(&[8], 5000).unwrap();
        assert_eq!(overlay.changed_below().unwrap(), Some(5000..6000));
        overlay.clear();
        assert_eq!(overlay.changed_below().unwrap(), None);
    }

    #[test]
    fn ranges_that_do_not_touch_stay_apart() {
        let overlay = OverlayDevice::new(MemoryDevice::new(10_000), 1000);
        for at in [1500, 2500, 7000] {
            overlay.write_at(&[1], at).unwrap();
        }
        assert_eq!(overlay.changed_ranges(), [1000..3000, 7000..8000]);
    }

    proptest! {
        #[test]
        fn an_overlay_reads_as_if_it_had_been_written_through(
            size in 1_usize..300,
            block_size in 1_u32..40,
            memory_bytes in 0_u64..300,
            steps in proptest::collection::vec((any::<(u16, u16, u8)>(), any::<bool>()), 0..20),
        ) {
            let below = MemoryDevice::from_bytes(&vec![0xee; size]);
            let overlay = OverlayDevice::within(&below, block_size, memory_bytes);
            let mut expected = vec![0xee; size];
            for ((from, to, byte), zero) in steps {
                let (from, to) = (usize::from(from) % (size + 1), usize::from(to) % (size + 1));
                let (from, to) = (from.min(to), from.max(to));
                let byte = if zero { 0 } else { byte };
                expected[from..to].fill(byte);
                if zero {
                    overlay.zero(from as u64, (to - from) as u64).unwrap();
                } else {
                    overlay.write_at(&vec![byte; to - from], from as u64).unwrap();
                }
                let mut part = vec![0; to - from];
                overlay.read_at(&mut part, from as u64).unwrap();
                prop_assert_eq!(&part, &expected[from..to]);
            }
            let mut all = vec![0; size];
            overlay.read_at(&mut all, 0).unwrap();
            prop_assert_eq!(&all, &expected);
            prop_assert_eq!(below.to_bytes(), vec![0xee; size]);
        }
    }
}
