//! Changing one block of a directory: adding, removing and redirecting entries.

use std::ops::Range;

use ocfs2_format::dinode::Dinode;
use ocfs2_format::dir::{
    BadEntry, DirEntry, DirEntryHeader, DirTrailer, FileType, entries, entry_size, largest_hole,
    write_entry,
};
use ocfs2_format::inline::InlineData;
use ocfs2_format::{Blkno, Block, Structure};

use crate::dir::{BLOCK, Entry};
use crate::{Error, InBlock, Inode, Volume};

/// An entry to be added.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewEntry<'a> {
    pub name: &'a [u8],
    pub inode: Blkno,
    pub file_type: FileType,
}

impl NewEntry<'_> {
    /// Bytes it needs.
    pub fn size(&self) -> usize {
        entry_size(self.name.len())
    }
}

/// A block with entries: one of a directory's blocks, or the dinode of an inline directory.
#[derive(Debug)]
pub(crate) struct EntryBlock {
    dir: Blkno,
    pub blkno: Blkno,
    bytes: Vec<u8>,
    /// The part of the block that holds entries.
    names: Range<usize>,
    /// The trailer to be written; `None` if the directory's blocks have none.
    pub trailer: Option<DirTrailer>,
}

/// Where an entry is.
struct Place {
    header: DirEntryHeader,
    /// The entry before it.
    before: Option<(usize, DirEntryHeader)>,
}

impl EntryBlock {
    /// Reads the block of `dir` that is in `blkno`; the dinode if the directory is inline.
    pub fn read(volume: &Volume, dir: &Inode, blkno: Blkno) -> Result<Self, Error> {
        if dir.is_inline() {
            return Self::inline(dir);
        }
        if !volume.has_dir_trailers(dir) {
            let bytes = volume.read_block(blkno)?;
            return Ok(Self { dir: dir.blkno, blkno, names: 0..bytes.len(), bytes, trailer: None });
        }
        let size = volume.block_size().size();
        let bytes = volume.read_metadata(BLOCK, blkno, DirTrailer::check_offset(size))?;
        let trailer = DirTrailer::of_block(&bytes).in_block(blkno)?;
        trailer.verify(blkno, dir.blkno)?;
        let names = 0..DirTrailer::offset(size);
        Ok(Self { dir: dir.blkno, blkno, bytes, names, trailer: Some(trailer) })
    }

    fn inline(dir: &Inode) -> Result<Self, Error> {
        let data = InlineData::data(dir.id2()).in_block(dir.blkno)?;
        let len = usize::try_from(dir.size()).unwrap_or(usize::MAX).min(data.len());
        let start = Dinode::ID2_OFFSET + InlineData::SIZE;
        let (bytes, names) = (dir.block().to_vec(), start..start + len);
        Ok(Self { dir: dir.blkno, blkno: dir.blkno, bytes, names, trailer: None })
    }

    /// A new block of a directory that is not inline, all of it a hole.
    pub fn empty(volume: &Volume, dir: &Inode, blkno: Blkno) -> Result<Self, Error> {
        Self::new(volume, dir, blkno, volume.has_dir_trailers(dir))
    }

    /// As [`EntryBlock::empty`], with or without a trailer.
    pub fn new(
        volume: &Volume,
        dir: &Inode,
        blkno: Blkno,
        has_trailer: bool,
    ) -> Result<Self, Error> {
        let mut bytes = vec![0; volume.block_size().size()];
        let len = if has_trailer { DirTrailer::offset(bytes.len()) } else { bytes.len() };
        let hole = DirEntryHeader { rec_len: len as u16, ..Default::default() };
        hole.encode(&mut bytes).in_block(blkno)?;
        let trailer = has_trailer.then(|| DirTrailer::new(blkno, dir.blkno, 0));
        Ok(Self { dir: dir.blkno, blkno, bytes, names: 0..len, trailer })
    }

    /// Fills a block without entries with those in `from`. The last one gets the rest of the block.
    pub fn fill(&mut self, from: &[u8]) -> Result<(), Error> {
        let (dir, blkno) = (self.dir, self.blkno);
        let names = self.names_mut();
        let (room, len) = (names.len(), from.len());
        let wrong = |source| Error::DirEntry { dir, blkno: dir, source };
        let too_long = BadEntry { offset: 0, rec_len: 0, name_len: 0, room };
        let Some(place) = names.get_mut(..len) else { return Err(wrong(too_long)) };
        place.copy_from_slice(from);
        let mut last = None;
        for entry in entries(from) {
            let entry = entry.map_err(wrong)?;
            last = Some((entry.offset, entry.header));
        }
        let Some((offset, header)) = last else { return Err(wrong(too_long)) };
        let longer = DirEntryHeader { rec_len: (room - offset) as u16, ..header };
        let at = names.get_mut(offset..).unwrap_or_default();
        longer.encode(at).in_block(blkno)
    }

    pub fn names(&self) -> &[u8] {
        self.bytes.get(self.names.clone()).unwrap_or_default()
    }

    fn names_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.names.clone()).unwrap_or_default()
    }

    /// The longest entry that could be put in; 0 where there is no room for any.
    pub fn hole(&self) -> u16 {
        largest_hole(self.names())
    }

    /// Puts an entry into the first place that has room. Returns false if there is none.
    pub fn insert(&mut self, new: &NewEntry<'_>) -> Result<bool, Error> {
        let (dir, blkno) = (self.dir, self.blkno);
        let names = self.names_mut();
        let mut place = None;
        for entry in entries(names) {
            let entry = entry.map_err(|source| Error::DirEntry { dir, blkno, source })?;
            if room_behind(&entry) >= new.size() {
                place = Some((entry.offset, entry.header, used_by(&entry)));
                break;
            }
        }
        let Some((offset, header, own)) = place else { return Ok(false) };
        let room = header.rec_len.saturating_sub(own as u16);
        let names = names.get_mut(offset..).unwrap_or_default();
        if own > 0 {
            let shorter = DirEntryHeader { rec_len: own as u16, ..header };
            shorter.encode(names).in_block(blkno)?;
        }
        let names = names.get_mut(own..).unwrap_or_default();
        write_entry(names, new.inode, room, new.file_type, new.name).in_block(blkno)?;
        Ok(true)
    }

    /// Makes the place of an entry part of the entry before it, or unused.
    pub fn remove(&mut self, entry: &Entry) -> Result<(), Error> {
        let Place { header, before } = self.find(entry)?;
        let names = self.names_mut();
        let unused = DirEntryHeader { inode: Blkno(0), ..header };
        let at = names.get_mut(entry.offset..).unwrap_or_default();
        unused.encode(at).in_block(entry.blkno)?;
        if let Some((offset, before)) = before {
            let rec_len = before.rec_len.saturating_add(header.rec_len);
            let longer = DirEntryHeader { rec_len, ..before };
            let at = names.get_mut(offset..).unwrap_or_default();
            longer.encode(at).in_block(entry.blkno)?;
        }
        Ok(())
    }

    /// Makes an entry point to another inode.
    pub fn lead(&mut self, entry: &Entry, inode: Blkno, file_type: FileType) -> Result<(), Error> {
        let Place { header, .. } = self.find(entry)?;
        let header = DirEntryHeader { inode, file_type: file_type.code(), ..header };
        let at = self.names_mut().get_mut(entry.offset..).unwrap_or_default();
        header.encode(at).in_block(entry.blkno)
    }

    /// Makes the entry at `offset`, which points to inode `old`, point to another one.
    pub fn lead_on(&mut self, offset: usize, old: Blkno, new: Blkno) -> Result<(), Error> {
        let (dir, blkno) = (self.dir, self.blkno);
        let mut found = None;
        for entry in entries(self.names()) {
            let entry = entry.map_err(|source| Error::DirEntry { dir, blkno, source })?;
            if entry.offset == offset && entry.header.inode == old {
                found = Some(DirEntryHeader { inode: new, ..entry.header });
                break;
            }
        }
        let name = || format!("inode {old}").into_bytes();
        let header = found.ok_or_else(|| Error::NotFound { name: name() })?;
        header.encode(self.names_mut().get_mut(offset..).unwrap_or_default()).in_block(blkno)
    }

    fn find(&self, entry: &Entry) -> Result<Place, Error> {
        let mut before = None;
        for at in entries(self.names()) {
            let failed = |source| Error::DirEntry { dir: self.dir, blkno: self.blkno, source };
            let at = at.map_err(failed)?;
            if at.offset == entry.offset && at.name == entry.name {
                return Ok(Place { header: at.header, before });
            }
            before = Some((at.offset, at.header));
        }
        Err(Error::NotFound { name: entry.name.clone() })
    }

    pub fn write(mut self, volume: &Volume) -> Result<(), Error> {
        if let Some(trailer) = &self.trailer {
            trailer.write(&mut self.bytes).in_block(self.blkno)?;
            let check_offset = DirTrailer::check_offset(self.bytes.len());
            return volume.write_metadata(self.blkno, &self.bytes, check_offset);
        }
        if self.blkno == self.dir {
            return volume.write_metadata(self.blkno, &self.bytes, Dinode::CHECK_OFFSET);
        }
        volume.write_raw(self.blkno, &self.bytes)
    }
}

fn used_by(entry: &DirEntry<'_>) -> usize {
    if entry.is_used() { entry_size(entry.header.name_len.into()) } else { 0 }
}

/// Bytes of this entry's place that a new entry could have.
fn room_behind(entry: &DirEntry<'_>) -> usize {
    usize::from(entry.header.rec_len).saturating_sub(used_by(entry))
}

/// Whether there is room for an entry of `size` bytes.
pub(crate) fn has_room(names: &[u8], size: usize) -> bool {
    entries(names).map_while(Result::ok).any(|entry| room_behind(&entry) >= size)
}
