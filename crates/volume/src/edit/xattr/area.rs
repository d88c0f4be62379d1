//! An area of attributes, decoded and encoded again: the end of a dinode, an xattr block, or a
//! bucket.

use std::ops::Range;

use ocfs2_format::xattr::{BUCKET_SIZE, XattrArea, XattrEntry, XattrHeader, bucket_entries};
use ocfs2_format::{Blkno, BlockSize, Invalid, Structure};

use crate::{Error, InBlock};

/// Bytes that stay free between the entries and the names and values.
const GAP: usize = 4;

/// An attribute as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub entry: XattrEntry,
    /// Without its prefix.
    pub name: Vec<u8>,
    /// The value, or the root of its tree.
    pub stored: Vec<u8>,
}

impl Item {
    pub fn hash(&self) -> u32 {
        self.entry.xe_name_hash
    }

    /// Bytes of name and value.
    fn size(&self) -> usize {
        self.name.len().next_multiple_of(4) + self.stored.len().next_multiple_of(4)
    }

    /// Bytes of room that it needs. One that takes no bytes needs some, too, so that its offset is
    /// within a block.
    fn room(&self) -> usize {
        if self.size() == 0 { 2 * GAP } else { self.size() }
    }

    /// Where name and value are in the area.
    fn range(&self) -> Range<usize> {
        let start = usize::from(self.entry.xe_name_offset);
        start..start + self.size()
    }

    /// Places it in the room that starts at `room`.
    fn place_at(&mut self, room: usize) {
        let within = if self.size() == 0 { GAP } else { 0 };
        self.entry.xe_name_offset = (room + within) as u16;
    }
}

/// All attributes of an area.
#[derive(Clone, Debug)]
pub(super) struct Area {
    bytes: usize,
    /// The block size if this is a bucket. There, no name with its value crosses a block, and
    /// attributes are in the order of their hashes.
    bucket: Option<BlockSize>,
    items: Vec<Item>,
    /// The bytes between names and values. In a bucket they are kept, so that blocks without a
    /// change stay the same.
    between: Vec<u8>,
}

impl Area {
    /// An area of `bytes` bytes without attributes.
    pub fn plain(bytes: usize) -> Self {
        Self { bytes, bucket: None, items: Vec::new(), between: vec![0; bytes] }
    }

    /// A bucket without attributes.
    pub fn bucket(block_size: BlockSize) -> Self {
        Self { bucket: Some(block_size), ..Self::plain(BUCKET_SIZE) }
    }

    /// Adds the attributes in `bytes`, which were read from block `blkno` on.
    pub fn read(mut self, blkno: Blkno, bytes: &[u8]) -> Result<Self, Error> {
        let area = XattrArea::new(bytes).in_block(blkno)?;
        area.verify(blkno)?;
        for item in area.items() {
            let item = item.map_err(|source| Error::XattrEntry { blkno, source })?;
            let (name, stored) = (item.name.to_vec(), item.stored.to_vec());
            self.items.push(Item { entry: item.entry, name, stored });
        }
        let taken = taken(self.items.iter().filter(|item| item.size() > 0));
        if !taken.is_sorted_by(|one, next| one.end <= next.start) {
            let start = taken.first().map_or(0, |range| range.start);
            let (name, expected) = (XattrEntry::NAME, "names and values of their own");
            return Err(Invalid::new(name, blkno, "xe_name_offset", start, expected).into());
        }
        if self.bucket.is_some() && !self.items.is_sorted_by_key(Item::hash) {
            let (name, found) = (XattrEntry::NAME, "not in order");
            return Err(Invalid::new(name, blkno, "xe_name_hash", found, "ascending").into());
        }
        if let Some(block_size) = self.bucket {
            self.between = bytes.to_vec();
            // The first block is written in any case.
            self.between.get_mut(..block_size.size()).unwrap_or_default().fill(0);
        }
        Ok(self)
    }

    pub fn items(&self) -> &[Item] {
        &self.items
    }

    pub fn items_mut(&mut self) -> &mut [Item] {
        &mut self.items
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The lowest hash of a bucket; `None` if it is empty.
    pub fn first_hash(&self) -> Option<u32> {
        self.items.first().map(Item::hash)
    }

    /// Removes an attribute and clears its bytes.
    pub fn remove(&mut self, index: usize) -> Option<Item> {
        let item = (index < self.items.len()).then(|| self.items.remove(index))?;
        self.between.get_mut(item.range()).unwrap_or_default().fill(0);
        Some(item)
    }

    /// Inserts an attribute. Returns whether there was room.
    pub fn insert(&mut self, item: Item) -> bool {
        match self.bucket {
            Some(block_size) => self.insert_in_bucket(item, block_size),
            None => {
                let all: usize = self.items.iter().map(Item::room).sum();
                let fits = all + item.room() + floor(self.items.len() + 1) <= self.bytes;
                if fits {
                    self.items.push(item);
                }
                fits
            }
        }
    }

    fn insert_in_bucket(&mut self, mut item: Item, block_size: BlockSize) -> bool {
        if self.items.len() >= bucket_entries(block_size) {
            return false;
        }
        let taken = taken(self.items.iter());
        let floor = floor(self.items.len() + 1);
        let is_clear = self.items.iter().all(|item| item.range().start >= floor);
        let hole = hole(&taken, floor, item.room(), block_size.size(), self.bytes);
        let at = self.items.partition_point(|other| other.hash() <= item.hash());
        if let Some(offset) = hole
            && is_clear
        {
            item.place_at(offset);
            self.items.insert(at, item);
            return true;
        }
        let mut all = self.items.clone();
        all.insert(at, item);
        let fits = place(&mut all, block_size.size(), self.bytes);
        if fits {
            self.items = all;
            self.between.fill(0);
        }
        fits
    }

    /// Splits off the upper half, between two different hashes; `None` if all are the same.
    pub fn split(&mut self) -> Option<Self> {
        let middle = self.items.len() / 2;
        let between = |at: &usize| {
            let before = at.checked_sub(1).and_then(|at| self.items.get(at));
            let both = before.zip(self.items.get(*at));
            both.is_some_and(|(one, next)| one.hash() != next.hash())
        };
        let at = (1..self.items.len()).filter(between).min_by_key(|at| at.abs_diff(middle))?;
        let mut items = self.items.split_off(at);
        if let Some(block_size) = self.bucket {
            // Packed together they need fewer blocks. Otherwise they keep their places, which are
            // free in the new bucket, too.
            let mut together = items.clone();
            if place(&mut together, block_size.size(), self.bytes) {
                items = together;
            }
        }
        let between = vec![0; self.bytes];
        Some(Self { bytes: self.bytes, bucket: self.bucket, items, between })
    }

    /// Returns the bytes of the area. `buckets` is the number of buckets in the extent for its
    /// first bucket, else 0.
    pub fn encode(&mut self, buckets: u64) -> Result<Vec<u8>, ocfs2_format::Truncated> {
        let mut bytes = self.between.clone();
        let mut header = XattrHeader { xh_count: self.items.len() as u16, ..Default::default() };
        if self.bucket.is_none() {
            let mut end = self.bytes;
            for item in &mut self.items {
                end = end.saturating_sub(item.room());
                item.place_at(end);
            }
        } else {
            let offsets = self.items.iter().map(|item| item.entry.xe_name_offset);
            header.xh_free_start = offsets.min().unwrap_or(BUCKET_SIZE as u16);
            header.xh_name_value_len = self.items.iter().map(Item::size).sum::<usize>() as u16;
            header.xh_num_buckets = buckets as u16;
        }
        header.encode(&mut bytes)?;
        for (index, item) in self.items.iter().enumerate() {
            let at = XattrHeader::SIZE + index * XattrEntry::SIZE;
            item.entry.encode(bytes.get_mut(at..).unwrap_or_default())?;
            bytes.get_mut(item.range()).unwrap_or_default().fill(0);
            let value = item.range().start + item.name.len().next_multiple_of(4);
            for (at, part) in [(item.range().start, &item.name), (value, &item.stored)] {
                if let Some(room) = bytes.get_mut(at..at + part.len()) {
                    room.copy_from_slice(part);
                }
            }
        }
        Ok(bytes)
    }
}

/// Where names and values may begin if there are `entries` entries.
fn floor(entries: usize) -> usize {
    XattrHeader::SIZE + entries * XattrEntry::SIZE + GAP
}

/// The ranges of names and values, in order. One that takes no bytes keeps its place to itself: the
/// C fsck demands it.
fn taken<'a>(items: impl Iterator<Item = &'a Item>) -> Vec<Range<usize>> {
    let ranges = items.map(|item| match item.range() {
        range if range.is_empty() => range.start..range.start + GAP,
        range => range,
    });
    let mut taken: Vec<_> = ranges.collect();
    taken.sort_by_key(|range| range.start);
    taken
}

/// The highest free place for `size` bytes, from `floor` on, within a block.
fn hole(
    taken: &[Range<usize>],
    floor: usize,
    size: usize,
    block: usize,
    bytes: usize,
) -> Option<usize> {
    let mut end = bytes;
    // A range may lie within another one: free space begins after the end of all ranges below.
    let ends = taken.iter().scan(0, |most: &mut usize, range| {
        *most = range.end.max(*most);
        Some((*most, range.start))
    });
    let below: Vec<_> = ends.collect();
    for (start, next) in below.into_iter().rev().chain([(floor, floor)]) {
        let start = start.max(floor);
        while end > start {
            let block_start = (end - 1) / block * block;
            let offset = end.checked_sub(size).map(|offset| offset & !3);
            if let Some(offset) = offset.filter(|offset| *offset >= start.max(block_start)) {
                return Some(offset);
            }
            end = block_start;
        }
        end = next;
    }
    None
}

/// Gives all attributes of a bucket new places, the largest first. Returns whether there is room.
fn place(items: &mut [Item], block: usize, bytes: usize) -> bool {
    let floor = floor(items.len());
    let mut order: Vec<_> = (0..items.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(items.get(*index).map_or(0, Item::room)));
    let mut taken: Vec<Range<usize>> = Vec::with_capacity(items.len());
    for index in order {
        let Some(item) = items.get_mut(index) else { continue };
        let size = item.room();
        let Some(offset) = hole(&taken, floor, size, block, bytes) else { return false };
        item.place_at(offset);
        let at = taken.partition_point(|range| range.start < offset);
        taken.insert(at, offset..offset + size);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(hash: u32, size: usize) -> Item {
        let (name, stored) = (vec![b'a'; 4], vec![b'v'; size - 4]);
        let entry = XattrEntry {
            xe_name_hash: hash,
            xe_name_len: 4,
            xe_type: 1 | XattrEntry::LOCAL,
            xe_value_size: size as u64 - 4,
            ..Default::default()
        };
        Item { entry, name, stored }
    }

    #[test]
    fn a_bucket_uses_holes_and_is_put_in_order_for_what_no_hole_holds() {
        let mut area = Area::bucket(BlockSize::MIN);
        let mut count = 0;
        while area.insert(item(count, 84)) {
            count += 1;
        }
        // Six in each of seven blocks but for the number of entries.
        assert_eq!(count, 31);
        let before = area.items()[7].entry.xe_name_offset;
        area.remove(7).unwrap();
        assert!(area.insert(item(7, 80)));
        assert_eq!(area.items()[7].entry.xe_name_offset, before + 4);
        let bytes = area.encode(3).unwrap();
        let read = Area::bucket(BlockSize::MIN).read(Blkno(5), &bytes).unwrap();
        assert_eq!(read.items().len(), 31);
        let header = XattrHeader::decode(&bytes).unwrap();
        assert_eq!((header.xh_num_buckets, header.xh_name_value_len), (3, 31 * 84 - 4));
    }

    #[test]
    fn what_takes_no_bytes_is_within_a_block_and_behind_the_entries() {
        let empty = || Item { name: Vec::new(), stored: Vec::new(), ..item(9, 4) };
        let mut area = Area::bucket(BlockSize::MIN);
        // Four bytes of a block are left.
        assert!([84, 84, 84, 84, 84, 44, 44].into_iter().all(|size| area.insert(item(1, size))));
        let mut last = empty();
        last.entry = XattrEntry { xe_name_len: 0, xe_value_size: 0, ..last.entry };
        assert!(area.insert(last));
        let offset = area.items().last().unwrap().range().start;
        assert!(!offset.is_multiple_of(512));
        let mut count = 10;
        while area.insert(item(count, 20)) {
            count += 1;
        }
        let bytes = area.encode(1).unwrap();
        XattrArea::new(&bytes).unwrap().verify(Blkno(5)).unwrap();
        let (empty, others): (Vec<_>, Vec<_>) =
            area.items().iter().map(Item::range).partition(|range| range.is_empty());
        assert!(empty.len() == 1 && others.len() > 8);
        assert!(others.iter().all(|range| !range.contains(&empty[0].start)));
    }

    #[test]
    fn a_split_is_between_two_hashes() {
        let mut area = Area::bucket(BlockSize::MAX);
        for hash in [1, 5, 5, 5, 5, 5] {
            assert!(area.insert(item(hash, 20)));
        }
        let upper = area.split().unwrap();
        assert_eq!((area.items().len(), upper.items().len()), (1, 5));
        assert!(upper.clone().split().is_none());
    }

    #[test]
    fn a_plain_area_is_filled_up_to_the_gap() {
        let mut area = Area::plain(256);
        assert!(area.insert(item(1, 80)) && area.insert(item(0, 80)));
        assert!(!area.insert(item(2, 32)) && area.insert(item(2, 28)));
        let bytes = area.encode(0).unwrap();
        let read = Area::plain(256).read(Blkno(5), &bytes).unwrap();
        assert_eq!(read.items().iter().map(Item::hash).collect::<Vec<_>>(), [1, 0, 2]);
        assert_eq!(read.items()[2].entry.xe_name_offset, 68);
    }
}
