//! The contents of files and symbolic links.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use ocfs2_format::dinode::{Arm, FileKind};
use ocfs2_format::inline::InlineData;
use ocfs2_format::{Blkno, Cpos, Structure};

use crate::tree::Tree;
use crate::{Error, Inode, Volume};

/// Longest target a symbolic link can have, by the limits of the kernel (`PATH_MAX`).
pub const MAX_SYMLINK_BYTES: u64 = 4096;

/// The contents of a file, by offset or as [`Read`] and [`Seek`].
///
/// Holes and extents that were never written read as zeros. Memory does not depend on the
/// size of the file.
#[derive(Debug)]
pub struct FileReader<'v> {
    volume: &'v Volume,
    contents: Contents<'v>,
    size: u64,
    position: u64,
    fresh: bool,
}

#[derive(Debug)]
enum Contents<'v> {
    Inline(Vec<u8>),
    Extents(Tree<'v>),
}

/// A part of the contents that is stored in one place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stored {
    /// Bytes of the file.
    pub range: Range<u64>,
    /// The block that begins with the first of them; `None` for what is in the inode.
    blkno: Option<Blkno>,
}

/// A piece of the contents that is stored in one place, or nowhere.
struct Piece {
    /// Bytes of the file, up to where it is stored differently.
    range: Range<u64>,
    /// The block that begins with the first of them.
    stored: Option<Blkno>,
}

impl<'v> FileReader<'v> {
    /// A reader of the first `size` bytes that a tree maps, for instance of an xattr's value.
    pub(crate) fn of_tree(volume: &'v Volume, tree: Tree<'v>, size: u64) -> Self {
        Self { volume, contents: Contents::Extents(tree), size, position: 0, fresh: false }
    }

    /// Reads what is on the device now, see [`Device::read_fresh_at`](ocfs2_device::Device).
    #[must_use]
    pub(crate) fn fresh(self) -> Self {
        Self { fresh: true, ..self }
    }

    /// Bytes of the file, as the inode states: if that is damaged, any number.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fills `buf` from `offset` and returns how many bytes that were: fewer only at the
    /// end of the file.
    ///
    /// # Errors
    /// Any of reading the tree, and of reading its extents.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize, Error> {
        let left = self.size.saturating_sub(offset);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let buf = &mut buf[done..len];
            done += match &self.contents {
                Contents::Inline(data) => {
                    let from = data.get(at as usize..).unwrap_or_default();
                    let count = from.len().min(buf.len());
                    buf[..count].copy_from_slice(&from[..count]);
                    // A size beyond the data was refused before.
                    buf[count..].fill(0);
                    buf.len()
                }
                Contents::Extents(_) => {
                    let piece = self.piece(at)?;
                    let count = usize::try_from(piece.range.end - at).unwrap_or(usize::MAX);
                    let count = count.min(buf.len());
                    let buf = &mut buf[..count];
                    match piece.stored {
                        None => buf.fill(0),
                        Some(blkno) => {
                            let within = at - piece.range.start;
                            self.volume.read_bytes("file", blkno, within, buf, self.fresh)?;
                        }
                    }
                    count
                }
            };
        }
        Ok(len)
    }

    /// The first bytes from `offset` on that are stored, up to the next hole; `None` if there are
    /// no more. What is between is zeros.
    ///
    /// # Errors
    /// Any of reading the tree.
    pub fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, Error> {
        let mut at = offset;
        while at < self.size {
            if let Contents::Inline(_) = self.contents {
                return Ok(Some(at..self.size));
            }
            let piece = self.piece(at)?;
            if piece.stored.is_some() {
                return Ok(Some(at..piece.range.end));
            }
            at = piece.range.end;
        }
        Ok(None)
    }

    /// All that is stored, in order, up to the size of the file. A part of the tree that cannot be
    /// read is returned as an error; what comes after it follows.
    pub fn stored(&self) -> impl Iterator<Item = Result<Stored, Error>> + '_ {
        let (inline, extents) = match &self.contents {
            Contents::Inline(_) => (Some(0..self.size), None),
            Contents::Extents(tree) => (None, Some(tree.extents())),
        };
        let inline = inline.filter(|range| !range.is_empty());
        let inline = inline.map(|range| Ok(Stored { range, blkno: None }));
        let bits = self.volume.geometry().cluster_size.bits();
        let stored = extents.into_iter().flatten().filter_map(move |extent| {
            let extent = match extent {
                Ok(extent) => extent,
                Err(err) => return Some(Err(err)),
            };
            let range = u64::from(extent.cpos.0) << bits..(extent.end() << bits).min(self.size);
            let is_stored = !extent.is_unwritten() && !range.is_empty();
            is_stored.then_some(Ok(Stored { range, blkno: Some(extent.blkno) }))
        });
        inline.into_iter().chain(stored)
    }

    /// Fills `buf` from `offset` on, which is within a part that is stored.
    ///
    /// # Errors
    /// Any of reading it.
    pub fn read_stored(&self, part: &Stored, buf: &mut [u8], offset: u64) -> Result<(), Error> {
        match part.blkno {
            None => self.read_at(buf, offset).map(|_| ()),
            Some(blkno) => {
                let within = offset.saturating_sub(part.range.start);
                self.volume.read_bytes("file", blkno, within, buf, self.fresh)
            }
        }
    }

    /// The piece that holds byte `offset`, which is below the size; it ends after it.
    fn piece(&self, offset: u64) -> Result<Piece, Error> {
        let bits = self.volume.geometry().cluster_size.bits();
        let end_of_tree = 1_u64 << (32 + bits);
        let Contents::Extents(tree) = &self.contents else {
            return Ok(Piece { range: offset..self.size, stored: None });
        };
        // Beyond the positions that 32 bits of clusters can express there is nothing.
        let Ok(cpos) = u32::try_from(offset >> bits) else {
            return Ok(Piece { range: end_of_tree..self.size, stored: None });
        };
        let segment = tree.segment(Cpos(cpos))?;
        let range = segment.range.start << bits..(segment.range.end << bits).min(self.size);
        let stored = segment.extent.filter(|extent| !extent.is_unwritten());
        Ok(Piece { range, stored: stored.map(|extent| extent.blkno) })
    }

    /// All of the contents; `None` if they are more than `limit` bytes.
    pub(crate) fn read_whole(&self, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        if self.size > limit {
            return Ok(None);
        }
        let mut bytes = vec![0; self.size as usize];
        self.read_at(&mut bytes, 0)?;
        Ok(Some(bytes))
    }
}

impl Read for FileReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.read_at(buf, self.position).map_err(io::Error::other)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for FileReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(delta) => self.size.checked_add_signed(delta),
            SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl Volume {
    /// The contents of a file: of any inode whose contents are extents or inline data,
    /// directories and system files included.
    ///
    /// # Errors
    /// [`Error::WrongKind`] where there are no contents of that sort; [`Error::Invalid`]
    /// if the root of the tree is wrong or inline data is longer than there is room.
    pub fn file(&self, inode: &Inode) -> Result<FileReader<'_>, Error> {
        let size = inode.size();
        if inode.dinode.arm() != Arm::InlineData {
            return Ok(FileReader::of_tree(self, self.tree(inode)?, size));
        }
        // The room that an inode made by reflink states may be less than its data.
        let room = inode.id2().get(InlineData::SIZE..).unwrap_or_default();
        let Some(data) = usize::try_from(size).ok().and_then(|size| room.get(..size)) else {
            let expected = format_args!("at most {} with inline data", room.len()).to_string();
            return Err(inode.invalid("i_size", size, expected));
        };
        let contents = Contents::Inline(data.to_vec());
        Ok(FileReader { volume: self, contents, size, position: 0, fresh: false })
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// [`Error::WrongKind`] for anything else; [`Error::Invalid`] if it is empty or longer
    /// than a target can be; any of reading it.
    pub fn symlink_target(&self, inode: &Inode) -> Result<Vec<u8>, Error> {
        inode.expect(FileKind::Symlink, "a symbolic link")?;
        let size = inode.size();
        let limit = match inode.dinode.arm() {
            // The last byte is for the NUL.
            Arm::Symlink => (inode.id2().len() as u64).saturating_sub(1),
            _ => MAX_SYMLINK_BYTES,
        };
        if size == 0 || size > limit {
            let expected = format_args!("1 to {limit} for a symbolic link").to_string();
            return Err(inode.invalid("i_size", size, expected));
        }
        if inode.dinode.arm() == Arm::Symlink {
            return Ok(inode.id2().iter().take(size as usize).copied().collect());
        }
        let target = self.file(inode)?.read_whole(limit)?;
        target.ok_or_else(|| inode.invalid("i_size", size, limit))
    }
}
