//! Directory blocks: entries and the trailer.

use binrw::binrw;

use crate::dinode::FileKind;
use crate::error::{expect_eq, expect_signature};
use crate::structure::structure;
use crate::{Blkno, BlockCheck, Invalid, Structure, Truncated};

structure! {
    "directory entry", 12;

    /// `struct ocfs2_dir_entry` up to the name.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct DirEntryHeader {
        /// 0x00: the dinode; 0 = the entry is not used.
        pub inode: Blkno,
        /// 0x08: bytes from this entry to the next.
        pub rec_len: u16,
        /// 0x0a: bytes of the name.
        pub name_len: u8,
        /// 0x0b: [`FileType`].
        pub file_type: u8,
    }
}

/// `file_type` of a directory entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FileType {
    /// Not stated.
    Unknown,
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A symbolic link.
    Symlink,
}

impl FileType {
    /// All types, in the order of their codes.
    pub const ALL: [Self; 8] = [
        Self::Unknown,
        Self::Regular,
        Self::Directory,
        Self::CharDevice,
        Self::BlockDevice,
        Self::Fifo,
        Self::Socket,
        Self::Symlink,
    ];

    /// The type of a code; `None` for an unknown code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The code of the type.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The kind of file; `None` for [`FileType::Unknown`].
    pub fn kind(self) -> Option<FileKind> {
        Some(match self {
            Self::Unknown => return None,
            Self::Regular => FileKind::Regular,
            Self::Directory => FileKind::Directory,
            Self::CharDevice => FileKind::CharDevice,
            Self::BlockDevice => FileKind::BlockDevice,
            Self::Fifo => FileKind::Fifo,
            Self::Socket => FileKind::Socket,
            Self::Symlink => FileKind::Symlink,
        })
    }
}

impl From<FileKind> for FileType {
    fn from(kind: FileKind) -> Self {
        match kind {
            FileKind::Regular => Self::Regular,
            FileKind::Directory => Self::Directory,
            FileKind::CharDevice => Self::CharDevice,
            FileKind::BlockDevice => Self::BlockDevice,
            FileKind::Fifo => Self::Fifo,
            FileKind::Socket => Self::Socket,
            FileKind::Symlink => Self::Symlink,
        }
    }
}

/// Bytes an entry with a name of `name_len` bytes needs.
pub const fn entry_size(name_len: usize) -> usize {
    (name_len + DirEntryHeader::SIZE).next_multiple_of(4)
}

/// A directory entry in place, used or not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DirEntry<'a> {
    /// Bytes from the start of the block.
    pub offset: usize,
    /// The header.
    pub header: DirEntryHeader,
    /// The name, cut where it would reach beyond the entry.
    pub name: &'a [u8],
}

impl DirEntry<'_> {
    /// Whether it names an inode.
    pub fn is_used(&self) -> bool {
        !self.header.inode.is_none()
    }

    /// The type; `None` for an unknown code.
    pub fn file_type(&self) -> Option<FileType> {
        FileType::from_code(self.header.file_type)
    }
}

/// An entry whose lengths make no sense; where it ends, and so where the next one starts,
/// is not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "directory entry at byte {offset}: rec_len {rec_len} and name_len {name_len} do not fit \
     the {room} bytes there are"
)]
pub struct BadEntry {
    /// Bytes from the start of the block.
    pub offset: usize,
    /// What it states as its length.
    pub rec_len: u16,
    /// What it states as the length of its name.
    pub name_len: u8,
    /// Bytes from here to the end of what holds entries.
    pub room: usize,
}

/// The entries of a directory block, used and unused, in order.
///
/// `bytes` is what holds entries: the block without its trailer, or inline data. The first entry
/// whose lengths are impossible is returned as an error and ends the iteration.
pub fn entries(bytes: &[u8]) -> impl Iterator<Item = Result<DirEntry<'_>, BadEntry>> {
    let mut offset = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(offset..).filter(|rest| !rest.is_empty())?;
        let at = std::mem::replace(&mut offset, bytes.len());
        let Ok(header) = DirEntryHeader::decode(rest) else {
            return Some(Err(BadEntry { offset: at, rec_len: 0, name_len: 0, room: rest.len() }));
        };
        let DirEntryHeader { rec_len, name_len, .. } = header;
        let len = usize::from(rec_len);
        let needed = if header.inode.is_none() { 0 } else { name_len.into() };
        let sound = len.is_multiple_of(4)
            && len >= DirEntryHeader::SIZE
            && len >= entry_size(needed)
            && len <= rest.len();
        if !sound {
            return Some(Err(BadEntry { offset: at, rec_len, name_len, room: rest.len() }));
        }
        offset = at + len;
        let name = &rest[DirEntryHeader::SIZE..len];
        let name = &name[..name.len().min(name_len.into())];
        Some(Ok(DirEntry { offset: at, header, name }))
    })
}

/// Returns, ascending, the offsets from which on all entries of `bytes` are sound. Starts at the
/// lowest offset that a second entry can have. Takes linear time: each place is looked at once,
/// from the end.
pub fn sound_from(bytes: &[u8]) -> impl Iterator<Item = usize> + use<> {
    let places = bytes.len() / 4;
    let mut sound = vec![false; places + 1];
    for place in (0..places).rev() {
        let rest = bytes.get(place * 4..).unwrap_or_default();
        // A quick test first, since a block has a thousand places: the length rules out zeros and
        // most garbage.
        let len = rest.get(8..10).and_then(|len| len.try_into().ok()).map_or(0, u16::from_le_bytes);
        let len = usize::from(len);
        if len < DirEntryHeader::SIZE
            || len > rest.len()
            || entries(rest).next().is_none_or(|it| it.is_err())
        {
            continue;
        }
        let follows = sound.get(place + len / 4).copied().unwrap_or(false);
        if let Some(sound) = sound.get_mut(place) {
            *sound = len == rest.len() || follows;
        }
    }
    let first = DirEntryHeader::SIZE.div_ceil(4);
    let places = sound.into_iter().enumerate().skip(first);
    places.filter(|(_, is_sound)| *is_sound).map(|(place, _)| place * 4)
}

/// Writes an entry at the start of `bytes` and leaves what its name does not fill.
///
/// # Errors
/// [`Truncated`] if there is no room for it.
pub fn write_entry(
    bytes: &mut [u8],
    inode: Blkno,
    rec_len: u16,
    file_type: FileType,
    name: &[u8],
) -> Result<(), Truncated> {
    let needed = entry_size(name.len());
    let available = bytes.len().min(rec_len.into());
    let too_short = Truncated { structure: DirEntryHeader::NAME, needed, available };
    let name_len = u8::try_from(name.len()).map_err(|_| too_short)?;
    if available < needed {
        return Err(too_short);
    }
    let header = DirEntryHeader { inode, rec_len, name_len, file_type: file_type.code() };
    header.encode(bytes)?;
    bytes[DirEntryHeader::SIZE..][..name.len()].copy_from_slice(name);
    Ok(())
}

/// The largest hole in `bytes`, which hold entries: bytes that a new entry could have, 0 if no
/// entry fits. Entries after a broken one do not count.
pub fn largest_hole(bytes: &[u8]) -> u16 {
    let hole = |entry: DirEntry<'_>| match entry.is_used() {
        true => usize::from(entry.header.rec_len) - entry_size(entry.header.name_len.into()),
        false => entry.header.rec_len.into(),
    };
    let largest = entries(bytes).map_while(Result::ok).map(hole).max().unwrap_or(0);
    if largest >= entry_size(1) { u16::try_from(largest).unwrap_or(u16::MAX) } else { 0 }
}

structure! {
    "directory trailer", 64;

    /// `struct ocfs2_dir_block_trailer`: the last 64 bytes of a block, of directories with an
    /// index or on volumes with metaecc. To other code it looks like an unused entry.
    #[binrw]
    #[brw(little)]
    #[derive(Clone, Debug, Default, Eq, PartialEq)]
    pub struct DirTrailer {
        /// 0x00: 0, as in an unused entry.
        pub db_compat_inode: u64,
        /// 0x08: 64, as in an entry of that length.
        pub db_compat_rec_len: u16,
        /// 0x0a: 0.
        pub db_compat_name_len: u8,
        /// 0x0b: reserved.
        pub db_reserved0: u8,
        /// 0x0c: reserved.
        pub db_reserved1: u16,
        /// 0x0e: largest hole of the block in bytes, 0 = none; a hint.
        pub db_free_rec_len: u16,
        /// 0x10: [`DirTrailer::SIGNATURE`].
        pub db_signature: [u8; 8],
        /// 0x18: reserved.
        pub db_reserved2: u64,
        /// 0x20: next block of the directory with a hole, 0 at the end.
        pub db_free_next: Blkno,
        /// 0x28: the block this is stored in.
        pub db_blkno: Blkno,
        /// 0x30: the directory's dinode.
        pub db_parent_dinode: Blkno,
        /// 0x38: covers the whole block.
        pub db_check: BlockCheck,
    }
}

impl DirTrailer {
    /// `db_signature` of every trailer.
    pub const SIGNATURE: [u8; 8] = *b"DIRTRL1\0";

    /// Where the trailer starts in a block of `block_size` bytes.
    pub fn offset(block_size: usize) -> usize {
        block_size.saturating_sub(Self::SIZE)
    }

    /// Where the block check is in a block of `block_size` bytes.
    pub fn check_offset(block_size: usize) -> usize {
        block_size.saturating_sub(8)
    }

    /// The trailer of block `blkno` of directory `parent`.
    pub fn new(blkno: Blkno, parent: Blkno, free_rec_len: u16) -> Self {
        Self {
            db_compat_rec_len: Self::SIZE as u16,
            db_free_rec_len: free_rec_len,
            db_signature: Self::SIGNATURE,
            db_blkno: blkno,
            db_parent_dinode: parent,
            ..Default::default()
        }
    }

    /// The trailer of `block`.
    ///
    /// # Errors
    /// [`Truncated`] if the block is shorter than one.
    pub fn of_block(block: &[u8]) -> Result<Self, Truncated> {
        Self::decode(&block[Self::offset(block.len())..])
    }

    /// Writes it to the end of `block`.
    ///
    /// # Errors
    /// [`Truncated`] if the block is shorter than one.
    pub fn write(&self, block: &mut [u8]) -> Result<(), Truncated> {
        let offset = Self::offset(block.len());
        self.encode(&mut block[offset..])
    }

    /// Checks everything but the list of holes, which is only a hint.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn verify(&self, blkno: Blkno, parent: Blkno) -> Result<(), Invalid> {
        let name = Self::NAME;
        expect_signature(name, blkno, "db_signature", &self.db_signature, &Self::SIGNATURE)?;
        expect_eq(name, blkno, "db_compat_inode", self.db_compat_inode, 0)?;
        expect_eq(name, blkno, "db_compat_name_len", self.db_compat_name_len, 0)?;
        expect_eq(name, blkno, "db_compat_rec_len", self.db_compat_rec_len, Self::SIZE as u16)?;
        expect_eq(name, blkno, "db_blkno", self.db_blkno, blkno)?;
        expect_eq(name, blkno, "db_parent_dinode", self.db_parent_dinode, parent)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::structure::assert_round_trip;

    #[test]
    fn entries_are_sound_from_where_all_of_them_are() {
        let mut bytes = vec![0; 256];
        bytes[..40].fill(0xaa);
        for (at, len, name) in [(40, 24, &b"first"[..]), (64, 100, b"x"), (164, 92, b"last")] {
            write_entry(&mut bytes[at..], Blkno(7), len, FileType::Regular, name).unwrap();
        }
        let all_sound = |at: &usize| entries(&bytes[*at..]).all(|entry| entry.is_ok());
        let expected: Vec<_> = (12..256).step_by(4).filter(all_sound).collect();
        assert!([40, 64, 164].iter().all(|at| expected.contains(at)), "{expected:?}");
        assert_eq!(sound_from(&bytes).collect::<Vec<_>>(), expected);
        assert_eq!(sound_from(&[0; 4096]).count(), 0);
    }

    #[test]
    fn every_byte_is_kept() {
        assert_round_trip::<DirEntryHeader>();
        assert_round_trip::<DirTrailer>();
    }

    proptest! {
        #[test]
        fn where_all_is_sound_is_found_without_trying_each_place(
            bytes in prop::collection::vec(prop::sample::select(vec![0_u8, 4, 12, 16]), 0..140),
        ) {
            let is_sound = |at: &usize| entries(&bytes[*at..]).all(|entry| entry.is_ok());
            let starts = (DirEntryHeader::SIZE..bytes.len()).step_by(4).filter(is_sound);
            prop_assert_eq!(sound_from(&bytes).collect::<Vec<_>>(), starts.collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_entry_takes_its_name_rounded_up_to_four() {
        assert_eq!([1, 2, 4, 5, 255].map(entry_size), [16, 16, 16, 20, 268]);
    }

    #[test]
    fn entries_are_read_as_they_were_written() {
        let mut block = [0; 100];
        write_entry(&mut block, Blkno(5), 16, FileType::Directory, b".").unwrap();
        write_entry(&mut block[16..], Blkno(9), 84, FileType::Regular, b"some name").unwrap();
        let read: Vec<_> = entries(&block).map(Result::unwrap).collect();
        let brief: Vec<_> = read.iter().map(|e| (e.offset, e.header.inode.0, e.name)).collect();
        assert_eq!(brief, [(0, 5, &b"."[..]), (16, 9, b"some name")]);
        assert_eq!(read[1].file_type(), Some(FileType::Regular));
        assert_eq!(largest_hole(&block), 84 - 24);
        assert!(write_entry(&mut block, Blkno(1), 12, FileType::Regular, b"a").is_err());
        assert!(write_entry(&mut block[..12], Blkno(1), 16, FileType::Regular, b"a").is_err());
    }

    #[test]
    fn an_impossible_length_ends_the_block() {
        let mut block = [0; 64];
        write_entry(&mut block, Blkno(5), 16, FileType::Directory, b".").unwrap();
        for rec_len in [0_u16, 8, 14, 52] {
            block[24..26].copy_from_slice(&rec_len.to_le_bytes());
            let read: Vec<_> = entries(&block).collect();
            assert_eq!(read.len(), 2, "{rec_len}");
            assert_eq!(read[1].unwrap_err().room, 48);
        }
    }

    #[test]
    fn a_misplaced_block_is_seen_by_its_trailer() {
        let mut block = vec![0; 512];
        DirTrailer::new(Blkno(7), Blkno(3), 0).write(&mut block).unwrap();
        let trailer = DirTrailer::of_block(&block).unwrap();
        trailer.verify(Blkno(7), Blkno(3)).unwrap();
        assert_eq!(trailer.verify(Blkno(8), Blkno(3)).unwrap_err().field, "db_blkno");
        assert_eq!(trailer.verify(Blkno(7), Blkno(4)).unwrap_err().field, "db_parent_dinode");
        assert!(DirTrailer::of_block(&[0; 10]).is_err());
    }

    proptest! {
        #[test]
        fn a_block_gives_the_entries_it_was_filled_with(
            files in proptest::collection::vec(
                (any::<u64>(), proptest::collection::vec(any::<u8>(), 1..=255), 0_u8..8, 0..9_usize),
                1..12,
            ),
        ) {
            let mut block = vec![0xee; 4096];
            let mut at = 0;
            for (index, (inode, name, code, slack)) in files.iter().enumerate() {
                let is_last = index + 1 == files.len();
                let len = if is_last { block.len() - at } else { entry_size(name.len()) + slack * 4 };
                let file_type = FileType::from_code(*code).unwrap();
                write_entry(&mut block[at..], Blkno(*inode), len as u16, file_type, name).unwrap();
                at += len;
            }
            let read: Vec<_> = entries(&block).map(Result::unwrap).collect();
            prop_assert_eq!(read.len(), files.len());
            for (entry, (inode, name, code, _)) in read.iter().zip(&files) {
                prop_assert_eq!(entry.header.inode, Blkno(*inode));
                prop_assert_eq!(entry.name, &name[..]);
                prop_assert_eq!(entry.header.file_type, *code);
            }
        }

        #[test]
        fn entries_of_any_bytes_are_disjoint_and_end(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let mut end = 0;
            for entry in entries(&bytes).map_while(Result::ok) {
                prop_assert_eq!(entry.offset, end);
                end += usize::from(entry.header.rec_len);
                prop_assert!(end <= bytes.len());
            }
            largest_hole(&bytes);
        }
    }
}
