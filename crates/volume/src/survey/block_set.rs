//! A set of block numbers.

use std::collections::BTreeMap;

use ocfs2_format::Blkno;

/// Bits of a page.
const PAGE: u64 = 4096;
/// Words of a page.
const WORDS: usize = (PAGE / 64) as usize;

/// A set of blocks. It takes a bit for each block near those that are in it, so that no set takes
/// more than a thousandth of the device.
#[derive(Clone, Debug, Default)]
pub struct BlockSet {
    pages: BTreeMap<u64, Box<[u64; WORDS]>>,
    len: u64,
}

impl BlockSet {
    /// Adds a block; returns whether it is new.
    pub fn insert(&mut self, blkno: Blkno) -> bool {
        let page = self.pages.entry(blkno.0 / PAGE).or_insert_with(|| Box::new([0; WORDS]));
        let (index, mask) = place(blkno);
        let Some(word) = page.get_mut(index).filter(|word| **word & mask == 0) else {
            return false;
        };
        *word |= mask;
        self.len += 1;
        true
    }

    /// Whether a block is in it.
    pub fn contains(&self, blkno: Blkno) -> bool {
        let (index, mask) = place(blkno);
        let word = self.pages.get(&(blkno.0 / PAGE)).and_then(|page| page.get(index));
        word.is_some_and(|word| word & mask != 0)
    }

    /// Number of blocks.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The blocks, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Blkno> + '_ {
        self.pages.iter().flat_map(|(page, words)| {
            let words = (0_u64..).zip(words.iter());
            words.flat_map(move |(index, word)| {
                let bits = (0..64).filter(move |bit| word & (1 << bit) != 0);
                bits.map(move |bit| Blkno(page * PAGE + index * 64 + bit))
            })
        })
    }
}

/// The word of a page and the bit in it.
fn place(blkno: Blkno) -> (usize, u64) {
    (((blkno.0 % PAGE) / 64) as usize, 1 << (blkno.0 % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_comes_out_in_order_and_once() {
        let mut set = BlockSet::default();
        let numbers = [u64::MAX, 70, 0, 4095, 4096, 1 << 40, 70];
        let new: Vec<_> = numbers.iter().map(|it| set.insert(Blkno(*it))).collect();
        assert_eq!(new, [true, true, true, true, true, true, false]);
        let all: Vec<_> = set.iter().map(|it| it.0).collect();
        assert_eq!(all, [0, 70, 4095, 4096, 1 << 40, u64::MAX]);
        assert!(set.contains(Blkno(4096)) && !set.contains(Blkno(71)));
        assert_eq!(set.len(), 6);
    }
}
