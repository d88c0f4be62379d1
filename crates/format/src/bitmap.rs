//! On-disk bitmaps: bit n is bit `n & 7` of byte `n >> 3`.

use std::ops::Range;

/// A bitmap for reading.
#[derive(Clone, Copy, Debug)]
pub struct Bitmap<'a> {
    bytes: &'a [u8],
    len: usize,
}

impl<'a> Bitmap<'a> {
    /// The first `len` bits of `bytes`, or all if there are fewer.
    pub fn new(bytes: &'a [u8], len: usize) -> Self {
        Self { bytes, len: len.min(bytes.len().saturating_mul(8)) }
    }

    /// Number of bits.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no bit at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether bit `index` is set; false beyond the end.
    pub fn get(&self, index: usize) -> bool {
        index < self.len && self.bytes[index >> 3] & 1 << (index & 7) != 0
    }

    /// Number of bits that are set.
    pub fn count_ones(&self) -> usize {
        let whole = &self.bytes[..self.len / 8];
        let (words, bytes) = whole.as_chunks::<8>();
        let ones = |byte: &u8| byte.count_ones() as usize;
        let words: usize =
            words.iter().map(|word| u64::from_le_bytes(*word).count_ones() as usize).sum();
        let rest = (whole.len() * 8..self.len).filter(|index| self.get(*index)).count();
        words + bytes.iter().map(ones).sum::<usize>() + rest
    }

    /// Index of the first bit from `from` on that is `value`.
    pub fn next(&self, value: bool, from: usize) -> Option<usize> {
        let flip = if value { 0 } else { u64::MAX };
        let mut index = from;
        while index < self.len {
            let start = index >> 3;
            let bytes = &self.bytes[start..self.bytes.len().min(start + 8)];
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            let word = (u64::from_le_bytes(word) ^ flip) >> (index & 7);
            if word != 0 {
                let found = index + word.trailing_zeros() as usize;
                return Some(found).filter(|found| *found < self.len);
            }
            index = (start + 8) * 8;
        }
        None
    }

    /// The runs of bits that are `value`, ascending.
    pub fn runs(self, value: bool) -> impl Iterator<Item = Range<usize>> + 'a {
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = self.next(value, at)?;
            at = self.next(!value, start).unwrap_or(self.len);
            Some(start..at)
        })
    }
}

/// A bitmap for changing.
#[derive(Debug)]
pub struct BitmapMut<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl<'a> BitmapMut<'a> {
    /// The first `len` bits of `bytes`, or all if there are fewer.
    pub fn new(bytes: &'a mut [u8], len: usize) -> Self {
        let len = len.min(bytes.len().saturating_mul(8));
        Self { bytes, len }
    }

    /// The same bitmap for reading.
    pub fn as_ref(&self) -> Bitmap<'_> {
        Bitmap { bytes: self.bytes, len: self.len }
    }

    /// Sets `count` bits from `start` on, or up to the end if there are fewer.
    pub fn set_range(&mut self, start: usize, count: usize) {
        self.fill(start, count, true);
    }

    /// Clears `count` bits from `start` on, or up to the end if there are fewer.
    pub fn clear_range(&mut self, start: usize, count: usize) {
        self.fill(start, count, false);
    }

    fn fill(&mut self, start: usize, count: usize, value: bool) {
        let end = start.saturating_add(count).min(self.len);
        let mut index = start;
        while index < end {
            if index & 7 == 0 && end - index >= 8 {
                let whole = (end - index) / 8;
                self.bytes[index >> 3..][..whole].fill(if value { 0xff } else { 0 });
                index += whole * 8;
                continue;
            }
            let bit = 1 << (index & 7);
            if value {
                self.bytes[index >> 3] |= bit;
            } else {
                self.bytes[index >> 3] &= !bit;
            }
            index += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bits_beyond_the_end_are_neither_read_nor_written() {
        let mut bytes = [0; 2];
        let mut bitmap = BitmapMut::new(&mut bytes, 11);
        bitmap.set_range(9, 100);
        assert_eq!(bitmap.as_ref().count_ones(), 2);
        assert_eq!(bytes, [0, 0b110]);
        assert!(!Bitmap::new(&[0xff], 5).get(5));
        assert_eq!(Bitmap::new(&[0xff], 100).len(), 8);
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_vector_of_bools(
            len in 0_usize..300,
            ops in proptest::collection::vec((0_usize..320, 0_usize..320, any::<bool>()), 0..12),
        ) {
            let mut bytes = vec![0; len.div_ceil(8)];
            let mut model = vec![false; len];
            for (start, count, value) in ops {
                let mut bitmap = BitmapMut::new(&mut bytes, len);
                if value { bitmap.set_range(start, count) } else { bitmap.clear_range(start, count) }
                model.iter_mut().skip(start).take(count).for_each(|bit| *bit = value);
            }
            let bitmap = Bitmap::new(&bytes, len);
            prop_assert_eq!((0..len).map(|i| bitmap.get(i)).collect::<Vec<_>>(), model.clone());
            prop_assert_eq!(bitmap.count_ones(), model.iter().filter(|bit| **bit).count());
            let mut from_runs = vec![false; len];
            for run in bitmap.runs(true) {
                prop_assert!(!run.is_empty());
                from_runs[run].fill(true);
            }
            prop_assert_eq!(&from_runs, &model);
            let clear: usize = bitmap.runs(false).map(|run| run.len()).sum();
            prop_assert_eq!(clear, model.iter().filter(|bit| !**bit).count());
        }
    }
}
