//! Directories of the new volume with few entries, in the dinode or in blocks.

use ocfs2_format::Blkno;
use ocfs2_format::dir::{DirTrailer, FileType, entry_size, write_entry};

/// A directory that is being filled.
///
/// An entry is placed after the last one, which shrinks to its minimum length. If the rest of the
/// block is too short, a new block is started.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    blkno: Blkno,
    /// Bytes for entries per block, which end at the trailer if there is one.
    usable: usize,
    blocks: Vec<Vec<u8>>,
    /// The last entry: its offset and the length of its name.
    last: Option<(usize, usize)>,
}

impl Directory {
    /// The directory `blkno` in `parent`, with `usable` bytes for entries per block.
    pub(crate) fn new(blkno: Blkno, parent: Blkno, usable: usize) -> Self {
        let mut directory = Self { blkno, usable, blocks: Vec::new(), last: None };
        directory.add(b".", blkno, FileType::Directory);
        directory.add(b"..", parent, FileType::Directory);
        directory
    }

    /// Adds an entry.
    pub(crate) fn add(&mut self, name: &[u8], inode: Blkno, file_type: FileType) {
        let place = self.last.map(|(start, name_len)| start + entry_size(name_len));
        let fits = place.filter(|place| place + entry_size(name.len()) <= self.usable);
        let start = match (fits, self.last, self.blocks.last_mut()) {
            (Some(place), Some((last, name_len)), Some(block)) => {
                let rec_len = (entry_size(name_len) as u16).to_le_bytes();
                block[last + 8..last + 10].copy_from_slice(&rec_len);
                place
            }
            _ => {
                self.blocks.push(vec![0; self.usable]);
                0
            }
        };
        if let Some(block) = self.blocks.last_mut() {
            let rec_len = (self.usable - start) as u16;
            // Names of system files are short, so there is room for at least one.
            let _ = write_entry(&mut block[start..], inode, rec_len, file_type, name);
        }
        self.last = Some((start, name.len()));
    }

    /// Number of blocks.
    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// The contents of a directory that is stored in its dinode.
    pub(crate) fn inline(&self) -> &[u8] {
        self.blocks.first().map_or(&[], |block| block)
    }

    /// Length of the largest hole in the last block, which is after its last entry; 0 if too short
    /// for an entry.
    pub(crate) fn largest_hole(&self) -> u16 {
        let used = self.last.map_or(0, |(start, name_len)| start + entry_size(name_len));
        match self.usable - used {
            hole if hole >= entry_size(1) => hole as u16,
            _ => 0,
        }
    }

    /// The contents of its blocks, which are consecutive from `first` on.
    ///
    /// `free_rec_len` is stored in the trailers, if the blocks have one.
    pub(crate) fn into_blocks(
        self,
        block_size: usize,
        first: Blkno,
        free_rec_len: u16,
    ) -> impl Iterator<Item = (Blkno, Vec<u8>)> {
        let Self { blkno: parent, usable, blocks, .. } = self;
        (first.0..).map(Blkno).zip(blocks).map(move |(blkno, mut block)| {
            block.resize(block_size, 0);
            if usable < block_size {
                let trailer = DirTrailer::new(blkno, parent, free_rec_len);
                // A block is always long enough for it.
                let _ = trailer.write(&mut block);
            }
            (blkno, block)
        })
    }
}
