//! Changing structures on an overlay.

use std::time::{SystemTime, UNIX_EPOCH};

use ocfs2_cli::Interrupt;
use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::extent::ExtentBlock;
use ocfs2_format::{Blkno, Block, Structure};
use ocfs2_volume::allocator::Suballocated;
use ocfs2_volume::edit::Edit;
use ocfs2_volume::{Inode, Volume};

use super::directory::Removed;
use super::{EditError, Terms};
use crate::read::corrected::{correct, read_corrected};

/// The means by which a repair changes a volume: it reads the present state and writes structures
/// with correct block checks.
#[derive(Debug)]
pub struct Editor<'a> {
    /// The volume as it is with the changes of `edit`.
    volume: &'a Volume,
    /// Where changes are made.
    pub(super) edit: &'a mut Edit,
    /// What the repair can rely on.
    pub(super) terms: Terms,
    interrupt: &'a Interrupt,
    /// Inodes to be put into `lost+found`, all together.
    pub(super) lost: Vec<super::lost_found::Lost>,
    /// Entries to be removed, those of one directory together.
    pub(super) removed: Vec<Removed>,
}

impl<'a> Editor<'a> {
    /// An editor for `edit`; `volume` has to show the changes of `edit`.
    pub(super) fn new(
        volume: &'a Volume,
        edit: &'a mut Edit,
        terms: Terms,
        interrupt: &'a Interrupt,
    ) -> Self {
        Self { volume, edit, terms, interrupt, lost: Vec::new(), removed: Vec::new() }
    }

    /// The volume with all changes so far, for reading.
    pub fn volume(&self) -> &'a Volume {
        self.volume
    }

    /// The interrupt, for functions that ask it themselves.
    pub fn interrupt(&self) -> &'a Interrupt {
        self.interrupt
    }

    /// Fails if a signal came: for loops that may take long.
    ///
    /// # Errors
    /// [`EditError::Interrupted`].
    pub fn check_interrupt(&self) -> Result<(), EditError> {
        self.interrupt.check().map_err(|_| EditError::Interrupted)
    }

    /// Reads an inode, whatever it holds; a single wrong bit is corrected.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn inode(&self, blkno: Blkno) -> Result<Inode, EditError> {
        Ok(Inode::decode(blkno, read_corrected::<Dinode>(self.volume, blkno)?)?)
    }

    /// Changes a block whose block check is at `check_offset`, if it has one. A single wrong bit is
    /// corrected first.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn block(
        &mut self,
        blkno: Blkno,
        check_offset: Option<usize>,
        change: impl FnOnce(&mut [u8]),
    ) -> Result<(), EditError> {
        self.blocks(blkno, 1, check_offset, change)
    }

    /// Changes `count` consecutive blocks that have one common block check.
    ///
    /// # Errors
    /// They cannot be read or written.
    pub fn blocks(
        &mut self,
        start: Blkno,
        count: u32,
        check_offset: Option<usize>,
        change: impl FnOnce(&mut [u8]),
    ) -> Result<(), EditError> {
        let mut bytes = self.volume.read_blocks(start, count)?;
        if let Some(offset) = check_offset {
            correct(self.volume, &mut bytes, offset);
        }
        change(&mut bytes);
        match check_offset {
            Some(offset) => self.put_metadata(start, &bytes, offset),
            None => self.put_blocks(start, &bytes),
        }
    }

    /// Changes the structure a block begins with, and the bytes that follow it.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn header<T: Block>(
        &mut self,
        blkno: Blkno,
        change: impl FnOnce(&mut T, &mut [u8]),
    ) -> Result<(), EditError> {
        self.block(blkno, Some(T::CHECK_OFFSET), |block| edit(block, change))
    }

    /// Changes a dinode, and its block from [`Dinode::ID2_OFFSET`] on.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn dinode(
        &mut self,
        blkno: Blkno,
        change: impl FnOnce(&mut Dinode, &mut [u8]),
    ) -> Result<(), EditError> {
        self.header(blkno, change)
    }

    /// Marks an inode as deleted. The next check finds its blocks and the entries that point to it,
    /// and frees or removes them.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn delete_inode(&mut self, blkno: Blkno) -> Result<(), EditError> {
        self.dinode(blkno, |dinode, _| {
            dinode.i_flags &= !(InodeFlags::VALID | InodeFlags::ORPHANED).bits();
            dinode.i_links_count = 0;
            dinode.i_links_count_hi = 0;
            dinode.i_dtime = dinode.i_ctime.max(1);
        })
    }

    /// Changes an extent block, and the bytes of its extent list's records.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn extent_block(
        &mut self,
        blkno: Blkno,
        change: impl FnOnce(&mut ExtentBlock, &mut [u8]),
    ) -> Result<(), EditError> {
        self.header(blkno, change)
    }

    /// See [`Edit::put_blocks`].
    ///
    /// # Errors
    /// They cannot be written.
    pub fn put_blocks(&mut self, blkno: Blkno, bytes: &[u8]) -> Result<(), EditError> {
        Ok(self.edit.put_blocks(blkno, bytes)?)
    }

    /// See [`Edit::put_metadata`].
    ///
    /// # Errors
    /// They cannot be written.
    pub fn put_metadata(
        &mut self,
        blkno: Blkno,
        bytes: &[u8],
        check_offset: usize,
    ) -> Result<(), EditError> {
        Ok(self.edit.put_metadata(blkno, bytes, check_offset)?)
    }

    /// See [`Edit::put_block`].
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put_block<T: Block>(&mut self, blkno: Blkno, bytes: &[u8]) -> Result<(), EditError> {
        Ok(self.edit.put_block::<T>(blkno, bytes)?)
    }

    /// A new inode in a block that was taken for it: without links, contents and flags.
    pub(super) fn new_dinode(&self, home: &Suballocated) -> Dinode {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        Dinode {
            i_signature: Dinode::SIGNATURE,
            i_generation: time as u32,
            i_suballoc_slot: home.slot,
            i_suballoc_bit: home.bit,
            i_suballoc_loc: home.loc,
            i_fs_generation: self.volume.generation(),
            i_blkno: home.blkno,
            i_atime: time,
            i_ctime: time,
            i_mtime: time,
            ..Dinode::default()
        }
    }

    /// Writes a structure at the beginning of a block of zeros, with what `fill` puts after it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create<T: Block>(
        &mut self,
        blkno: Blkno,
        header: &T,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), EditError> {
        let fill = |rest: &mut [u8]| {
            fill(rest);
            Ok(())
        };
        Ok(self.edit.create_block(blkno, header, fill)?)
    }
}

/// Changes the structure at the beginning of `bytes`; nothing changes if there are too few bytes
/// for it.
fn edit<T: Structure>(bytes: &mut [u8], change: impl FnOnce(&mut T, &mut [u8])) {
    let Ok(mut header) = T::decode(bytes) else { return };
    let Some(rest) = bytes.get_mut(T::SIZE..) else { return };
    change(&mut header, rest);
    let _ = header.encode(bytes);
}

/// Changes the header of the list at the beginning of `bytes` and its records: as many as there is
/// room for, used or not. Records that `change` removes become zeros.
pub fn edit_list<H: Structure, R: Structure>(
    bytes: &mut [u8],
    change: impl FnOnce(&mut H, &mut Vec<R>),
) {
    edit(bytes, |header: &mut H, rest: &mut [u8]| {
        let records = rest.chunks_exact(R::SIZE).filter_map(|bytes| R::decode(bytes).ok());
        let mut records: Vec<R> = records.collect();
        change(header, &mut records);
        let mut records = records.into_iter();
        for bytes in rest.chunks_exact_mut(R::SIZE) {
            bytes.fill(0);
            if let Some(record) = records.next() {
                let _ = record.encode(bytes);
            }
        }
    });
}
