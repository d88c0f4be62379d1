//! Images for QEMU: qcow2, version 3.
//!
//! The whole layout is known before the first byte is written, so that an image can go to a pipe:
//! the header, the first table (L1), the second tables (L2), the table and the blocks of reference
//! counts, then the saved clusters, in order. Each cluster is used once.

use std::ops::Range;

use anyhow::Result;
use ocfs2_cli::{Interrupt, Progress};
use ocfs2_device::Device;
use ocfs2_volume::Volume;

use crate::write::{Source, Unreadable};
use crate::{Blocks, Sink};

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Entries of a table per cluster.
const ENTRIES: u64 = CLUSTER / 8;
/// Reference counts of 16 bits per cluster.
const COUNTS: u64 = CLUSTER / 2;
const MAGIC: &[u8; 4] = b"QFI\xfb";
const VERSION: u32 = 3;
const HEADER_LENGTH: u32 = 104;
/// The binary logarithm of the bits of a reference count.
const REFCOUNT_ORDER: u32 = 4;
/// Flag of an entry: it holds the only reference to its cluster.
const COPIED: u64 = 1 << 63;

/// Whether a file is such an image.
pub fn is_one(file: &dyn Device) -> bool {
    let mut start = [0; MAGIC.len()];
    file.read_at(&mut start, 0).is_ok() && start == *MAGIC
}

/// The places of the parts of an image, in clusters of the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Layout {
    /// Number of entries in the first table.
    l1_entries: u64,
    l1: u64,
    l2: u64,
    refcount_table: u64,
    refcount_blocks: u64,
    data: u64,
    end: u64,
}

impl Layout {
    /// The layout for a volume of `size` bytes, of which `clusters` are saved.
    fn new(size: u64, clusters: &Blocks) -> Self {
        let l1_entries = size.div_ceil(CLUSTER).div_ceil(ENTRIES);
        let l1 = 1;
        let l2 = l1 + l1_entries.div_ceil(ENTRIES);
        let refcount_table = l2 + tables(clusters).count();
        let mut layout =
            Self { l1_entries, l1, l2, refcount_table, refcount_blocks: 0, data: 0, end: 0 };
        // The blocks of reference counts have counts for themselves, too.
        let mut blocks = 1;
        loop {
            layout.refcount_blocks = refcount_table + u64::div_ceil(blocks, ENTRIES);
            layout.data = layout.refcount_blocks + blocks;
            layout.end = layout.data + clusters.count();
            match layout.end.div_ceil(COUNTS) {
                needed if needed <= blocks => return layout,
                needed => blocks = needed,
            }
        }
    }

    fn header(&self, size: u64) -> Vec<u8> {
        let mut header = Vec::with_capacity(CLUSTER as usize);
        header.extend(MAGIC);
        header.extend(VERSION.to_be_bytes());
        // No backing file.
        header.extend([0; 12]);
        header.extend(CLUSTER_BITS.to_be_bytes());
        header.extend(size.to_be_bytes());
        // Not encrypted.
        header.extend([0; 4]);
        header.extend((self.l1_entries as u32).to_be_bytes());
        header.extend((self.l1 * CLUSTER).to_be_bytes());
        header.extend((self.refcount_table * CLUSTER).to_be_bytes());
        let table_clusters = self.refcount_blocks - self.refcount_table;
        header.extend((table_clusters as u32).to_be_bytes());
        // No snapshots, no features.
        header.extend([0; 4 + 8 + 3 * 8]);
        header.extend(REFCOUNT_ORDER.to_be_bytes());
        header.extend(HEADER_LENGTH.to_be_bytes());
        header
    }
}

/// The second tables that are needed: those with at least one cluster.
fn tables(clusters: &Blocks) -> Blocks {
    let tables = clusters.ranges().iter().map(|it| it.start / ENTRIES..it.end.div_ceil(ENTRIES));
    Blocks::of(tables.collect(), u64::MAX)
}

/// Writes numbers, and pads the last cluster with zeros.
struct Numbers<'s> {
    sink: &'s mut Sink,
    bytes: Vec<u8>,
}

impl<'s> Numbers<'s> {
    fn new(sink: &'s mut Sink) -> Self {
        Self { sink, bytes: Vec::new() }
    }

    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend(bytes);
        if self.bytes.len() as u64 >= CLUSTER {
            self.sink.write(&self.bytes)?;
            self.bytes.clear();
        }
        Ok(())
    }

    fn end(mut self) -> Result<()> {
        if !self.bytes.is_empty() {
            self.bytes.resize(CLUSTER as usize, 0);
            self.sink.write(&self.bytes)?;
        }
        Ok(())
    }
}

/// Writes `blocks` of `volume`; all other blocks read as zeros.
pub fn write(
    volume: &Volume,
    source: &Source<'_>,
    blocks: &Blocks,
    sink: &mut Sink,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Unreadable> {
    let block_size = u64::from(volume.block_size().bytes());
    let size = volume.geometry().blocks() * block_size;
    let per_cluster = CLUSTER / block_size;
    let clusters = blocks.ranges().iter();
    let clusters = clusters.map(|it| it.start / per_cluster..it.end.div_ceil(per_cluster));
    let clusters = Blocks::of(clusters.collect(), u64::MAX);
    let clusters = clusters.retained(|cluster| {
        let end = (cluster + 1) * per_cluster;
        source.next_data(cluster * per_cluster) < end
    });
    let layout = Layout::new(size, &clusters);
    let mut header = layout.header(size);
    header.resize(CLUSTER as usize, 0);
    sink.write(&header)?;
    write_tables(&layout, &clusters, sink)?;
    let mut unreadable = Unreadable::default();
    let mut saved = blocks.ranges().iter().peekable();
    let mut done = 0;
    for cluster in clusters.ranges().iter().cloned().flatten() {
        interrupt.check()?;
        let own = cluster * per_cluster..(cluster + 1) * per_cluster;
        let mut bytes = vec![0; CLUSTER as usize];
        while let Some(range) = saved.peek() {
            let part = range.start.max(own.start)..range.end.min(own.end);
            if !part.is_empty() {
                let at = ((part.start - own.start) * block_size) as usize;
                let read = source.read(part.clone(), &mut unreadable);
                if let Some(place) = bytes.get_mut(at..at + read.len()) {
                    place.copy_from_slice(&read);
                }
                done += part.end - part.start;
            }
            if range.end > own.end {
                break;
            }
            saved.next();
        }
        sink.write(&bytes)?;
        progress.update(done);
    }
    Ok(unreadable)
}

/// Writes everything between the header and the saved clusters.
fn write_tables(layout: &Layout, clusters: &Blocks, sink: &mut Sink) -> Result<()> {
    let tables = tables(clusters);
    let mut numbers = Numbers::new(sink);
    let mut next = layout.l2;
    for_each(0..layout.l1_entries, &tables, |is_there| {
        let entry = if is_there { COPIED | (next * CLUSTER) } else { 0 };
        next += u64::from(is_there);
        numbers.add(&entry.to_be_bytes())
    })?;
    numbers.end()?;
    let mut next = layout.data;
    for table in tables.ranges().iter().cloned().flatten() {
        let mut numbers = Numbers::new(sink);
        for_each(table * ENTRIES..(table + 1) * ENTRIES, clusters, |is_there| {
            let entry = if is_there { COPIED | (next * CLUSTER) } else { 0 };
            next += u64::from(is_there);
            numbers.add(&entry.to_be_bytes())
        })?;
        numbers.end()?;
    }
    let mut numbers = Numbers::new(sink);
    for block in layout.refcount_blocks..layout.data {
        numbers.add(&(block * CLUSTER).to_be_bytes())?;
    }
    numbers.end()?;
    let mut numbers = Numbers::new(sink);
    for _ in 0..layout.end {
        numbers.add(&1_u16.to_be_bytes())?;
    }
    numbers.end()
}

/// Calls `each` for every number in `range`, with whether it is in `set`.
fn for_each(
    range: Range<u64>,
    set: &Blocks,
    mut each: impl FnMut(bool) -> Result<()>,
) -> Result<()> {
    let first = set.ranges().partition_point(|part| part.end <= range.start);
    let mut parts = set.ranges().iter().skip(first).peekable();
    for number in range {
        while parts.next_if(|part| part.end <= number).is_some() {}
        each(parts.peek().is_some_and(|part| part.contains(&number)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_count_themselves() {
        for count in [0, 1, 5, COUNTS - 7, COUNTS - 6, COUNTS - 5, COUNTS, 5 * COUNTS, 1 << 32] {
            let clusters = Blocks::of(std::iter::once(7..7 + count).collect(), u64::MAX);
            let layout = Layout::new((7 + count) * CLUSTER, &clusters);
            let blocks = layout.data - layout.refcount_blocks;
            assert!(blocks * COUNTS >= layout.end, "{layout:?}");
            assert!((blocks - 1) * COUNTS < layout.end || blocks == 1, "{layout:?}");
            assert!((layout.refcount_blocks - layout.refcount_table) * ENTRIES >= blocks);
            assert_eq!(layout.end - layout.data, count);
        }
    }

    #[test]
    fn a_set_is_gone_through_in_order() {
        let set = Blocks::of(vec![2..4, 6..7, 9..20], u64::MAX);
        let mut found = Vec::new();
        for_each(3..11, &set, |is_there| {
            found.push(is_there);
            Ok(())
        })
        .unwrap();
        assert_eq!(found, [true, false, false, true, false, false, true, true]);
    }
}
