//! Trailers for a directory whose blocks have none: room at the end of each block, which an index
//! and the block check of the directory's blocks need.
//!
//! To who expects no trailer, it is an unused entry of 64 bytes: the directory is sound before and
//! after.

use ocfs2_format::dinode::FileKind;
use ocfs2_format::dir::{DirEntryHeader, DirTrailer, FileType, entries, entry_size, largest_hole};
use ocfs2_format::feature::Incompat;
use ocfs2_format::{Blkno, Structure};

use super::entry_block::{EntryBlock, NewEntry};
use super::{Edit, EditError};
use crate::{Error, InBlock, Inode, Volume};

/// Least bytes of an entry.
const LEAST_ENTRY: usize = DirEntryHeader::SIZE;

/// An entry that a trailer takes the place of.
struct Moved {
    name: Vec<u8>,
    inode: Blkno,
    file_type: FileType,
}

impl Volume {
    /// Whether a directory could have an index and has none.
    pub fn lacks_index(&self, dir: &Inode) -> bool {
        let is_top = dir.blkno == self.superblock().s_system_dir_blkno;
        self.has(Incompat::INDEXED_DIRS) && !dir.is_inline() && !is_top && !self.is_indexed(dir)
    }
}

impl Edit {
    /// Gives all blocks of a directory trailers, if it has blocks and nothing says that they have
    /// them. Entries that are in their place move to new blocks at the end. Times stay.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; the directory is damaged.
    pub fn install_trailers(&mut self, dir: Blkno) -> Result<(), EditError> {
        self.attempt(|edit| {
            let inode = edit.inode(dir)?;
            inode.expect(FileKind::Directory, "a directory")?;
            edit.add_trailers(&inode)
        })
    }

    pub(super) fn add_trailers(&mut self, dir: &Inode) -> Result<(), EditError> {
        if dir.is_inline() || self.has_dir_trailers(dir) {
            return Ok(());
        }
        let mut moved = Vec::new();
        let blocks: Vec<Blkno> = self
            .dir_blocks(dir)?
            .map(|block| block.map(|block| block.blkno))
            .collect::<Result<_, _>>()?;
        for blkno in blocks {
            let mut bytes = self.read_block(blkno)?;
            make_room(dir.blkno, blkno, &mut bytes, &mut moved)?;
            self.write_trailer(dir, blkno, bytes)?;
        }
        let mut block: Option<EntryBlock> = None;
        for Moved { name, inode, file_type } in moved {
            let new = NewEntry { name: &name, inode, file_type };
            if let Some(open) = &mut block
                && open.insert(&new)?
            {
                continue;
            }
            if let Some(full) = block.take() {
                full.write(&self.volume)?;
            }
            // Its size has grown with each block.
            let dir = self.inode(dir.blkno)?;
            let blkno = self.append_to_dir(&dir)?;
            let mut open = EntryBlock::new(&self.volume, &dir, blkno, true)?;
            if !open.insert(&new)? {
                return Err(EditError::TooLarge("the name is too long for a block"));
            }
            block = Some(open);
        }
        block.map_or(Ok(()), |block| Ok(block.write(&self.volume)?))
    }

    fn write_trailer(
        &mut self,
        dir: &Inode,
        blkno: Blkno,
        mut bytes: Vec<u8>,
    ) -> Result<(), EditError> {
        let size = bytes.len();
        let names = bytes.get(..DirTrailer::offset(size)).unwrap_or_default();
        let trailer = DirTrailer::new(blkno, dir.blkno, largest_hole(names));
        trailer.write(&mut bytes).in_block(blkno)?;
        Ok(self.volume.write_metadata(blkno, &bytes, DirTrailer::check_offset(size))?)
    }
}

/// Makes the entries of a block end where its trailer is going to be. Those that do not fit before
/// it are `moved`.
fn make_room(
    dir: Blkno,
    blkno: Blkno,
    bytes: &mut [u8],
    moved: &mut Vec<Moved>,
) -> Result<(), Error> {
    let end = DirTrailer::offset(bytes.len());
    let (mut last, mut kept) = (None, true);
    for entry in entries(bytes) {
        let entry = entry.map_err(|source| Error::DirEntry { dir, blkno, source })?;
        let own = match entry.is_used() {
            true => entry_size(entry.header.name_len.into()),
            false => LEAST_ENTRY,
        };
        kept &= entry.offset + own <= end;
        if kept {
            last = Some((entry.offset, own, entry.header));
        } else if entry.is_used() {
            let file_type = entry.file_type().unwrap_or(FileType::Unknown);
            moved.push(Moved { name: entry.name.to_vec(), inode: entry.header.inode, file_type });
        }
    }
    // A block begins with an entry, and no entry is longer than the smallest block less a trailer.
    let Some((offset, own, header)) = last else {
        let source = ocfs2_format::dir::BadEntry { offset: 0, rec_len: 0, name_len: 0, room: end };
        return Err(Error::DirEntry { dir, blkno, source });
    };
    bytes.get_mut(offset + own..).unwrap_or_default().fill(0);
    let header = DirEntryHeader { rec_len: (end - offset) as u16, ..header };
    header.encode(bytes.get_mut(offset..).unwrap_or_default()).in_block(blkno)
}

#[cfg(test)]
mod tests {
    use ocfs2_format::dir::write_entry;

    use super::*;

    /// A block of 512 bytes with entries whose names have these lengths.
    fn block(names: &[usize]) -> Vec<u8> {
        let (mut bytes, mut at) = (vec![0; 512], 0);
        for (index, len) in names.iter().enumerate() {
            let is_last = index + 1 == names.len();
            let room = if is_last { 512 - at } else { entry_size(*len) };
            let name = vec![b'a' + index as u8; *len];
            write_entry(&mut bytes[at..], Blkno(9), room as u16, FileType::Regular, &name).unwrap();
            at += room;
        }
        bytes
    }

    fn names(bytes: &[u8]) -> Vec<usize> {
        let entries = entries(bytes).map(Result::unwrap);
        entries.filter(|entry| entry.is_used()).map(|entry| entry.name.len()).collect()
    }

    #[test]
    fn what_is_in_the_place_of_the_trailer_moves_and_the_rest_stays() {
        for (before, kept, gone) in [
            (&[1, 2][..], &[1, 2][..], &[][..]),
            // The second ends behind byte 448.
            (&[200, 240], &[200], &[240]),
            // The third ends at byte 448.
            (&[200, 200, 10, 5], &[200, 200, 10], &[5]),
            (&[200, 220, 4, 4], &[200, 220], &[4, 4]),
        ] {
            let mut bytes = block(before);
            let mut moved = Vec::new();
            make_room(Blkno(1), Blkno(2), &mut bytes, &mut moved).unwrap();
            assert_eq!(names(&bytes[..448]), kept);
            assert_eq!(moved.iter().map(|it| it.name.len()).collect::<Vec<_>>(), gone);
        }
    }

    #[test]
    fn a_block_that_makes_no_sense_is_an_error() {
        assert!(make_room(Blkno(1), Blkno(2), &mut [0; 512], &mut Vec::new()).is_err());
    }
}
