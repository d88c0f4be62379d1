//! Adding, removing and redirecting names of a directory.
//!
//! None of this counts links or looks at the inode a name points to:
//! [`Edit::create`](super::Edit::create) and the other operations do that.

use std::collections::HashSet;

use ocfs2_format::Blkno;
use ocfs2_format::dinode::FileKind;
use ocfs2_format::dir::FileType;
use ocfs2_format::dx::DxEntry;
use ocfs2_format::hash::{CharSign, NameHash, dx_hash};

use super::entry_block::{EntryBlock, NewEntry, has_room};
use super::index::Index;
use super::{Edit, EditError};
use crate::dir::{BLOCK, Entry};
use crate::inode::Touch;
use crate::{Error, Inode};

/// Longest name, in bytes.
const MOST_NAME: usize = 255;

/// Inodes that are looked at to find out how names are hashed.
const LOOKED_AT: usize = 100_000;

impl Edit {
    /// Adds a name to a directory.
    ///
    /// # Errors
    /// [`EditError::Exists`]; [`EditError::Refused`] if the name or the block is not valid;
    /// [`EditError::NoRoom`], [`EditError::TooLarge`]; the directory is damaged.
    pub fn link(
        &mut self,
        dir: Blkno,
        name: &[u8],
        inode: Blkno,
        file_type: FileType,
    ) -> Result<(), EditError> {
        self.attempt(|edit| edit.add_name(dir, &NewEntry { name, inode, file_type }))
    }

    /// Removes a name from a directory and returns the inode it pointed to.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`EditError::Refused`] for `.` and `..`; the directory is damaged.
    pub fn unlink_name(&mut self, dir: Blkno, name: &[u8]) -> Result<Blkno, EditError> {
        self.attempt(|edit| edit.take_name(dir, name))
    }

    /// Makes a name of a directory, which may be `..`, point to another inode.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`EditError::Refused`] for what is not a block; the directory is damaged.
    pub fn set_entry(
        &mut self,
        dir: Blkno,
        name: &[u8],
        inode: Blkno,
        file_type: FileType,
    ) -> Result<(), EditError> {
        self.attempt(|edit| edit.lead_name(dir, &NewEntry { name, inode, file_type }))
    }

    pub(super) fn add_name(&mut self, dir: Blkno, new: &NewEntry<'_>) -> Result<(), EditError> {
        verify_name(new.name)?;
        self.verify_target(new)?;
        let mut parent = self.inode(dir)?;
        parent.expect(FileKind::Directory, "a directory")?;
        if parent.is_inline() {
            self.verify_new(&parent, new)?;
            let mut block = EntryBlock::read(&self.volume, &parent, dir)?;
            if block.insert(new)? {
                block.write(&self.volume)?;
                return self.touch(dir);
            }
            self.leave_inline(&parent)?;
            parent = self.inode(dir)?;
        }
        match self.is_indexed(&parent) {
            true => self.add_indexed(&parent, new)?,
            false => self.add_plain(&parent, new)?,
        }
        self.touch(dir)
    }

    pub(super) fn take_name(&mut self, dir: Blkno, name: &[u8]) -> Result<Blkno, EditError> {
        let (parent, entry) = self.named(dir, name)?;
        if entry.is_dot() {
            return Err(refused(name, "cannot be taken out of a directory"));
        }
        self.remove_entry(&parent, &entry)?;
        self.touch(dir)?;
        Ok(entry.inode)
    }

    /// Removes `entry`, which is one of `dir`, from there and from the index.
    pub(super) fn remove_entry(&mut self, dir: &Inode, entry: &Entry) -> Result<(), Error> {
        let mut block = EntryBlock::read(&self.volume, dir, entry.blkno)?;
        block.remove(entry)?;
        if self.is_indexed(dir) {
            let mut index = Index::read(&self.volume, dir)?;
            index.remove(&self.volume, entry)?;
            let hole = block.hole();
            if let Some(trailer) = &mut block.trailer {
                // Blocks with a hole are in a list.
                if trailer.db_free_rec_len == 0 && hole > 0 {
                    let first = std::mem::replace(&mut index.root.dr_free_blk, entry.blkno);
                    trailer.db_free_next = first;
                }
                trailer.db_free_rec_len = hole;
            }
            index.write(&self.volume)?;
        }
        block.write(&self.volume)
    }

    pub(super) fn lead_name(&mut self, dir: Blkno, new: &NewEntry<'_>) -> Result<(), EditError> {
        self.verify_target(new)?;
        let (parent, entry) = self.named(dir, new.name)?;
        let mut block = EntryBlock::read(&self.volume, &parent, entry.blkno)?;
        block.lead(&entry, new.inode, new.file_type)?;
        block.write(&self.volume)?;
        self.touch(dir)
    }

    /// A directory, and its entry of a name.
    pub(super) fn named(&self, dir: Blkno, name: &[u8]) -> Result<(Inode, Entry), Error> {
        let parent = self.inode(dir)?;
        let entry = self.lookup(&parent, name)?;
        let entry = entry.ok_or_else(|| Error::NotFound { name: name.to_vec() })?;
        Ok((parent, entry))
    }

    fn verify_target(&self, new: &NewEntry<'_>) -> Result<(), EditError> {
        match self.geometry().is_valid_block(new.inode) {
            true => Ok(()),
            false => Err(refused(new.name, "cannot point to what is not a block of the volume")),
        }
    }

    fn verify_new(&self, parent: &Inode, new: &NewEntry<'_>) -> Result<(), EditError> {
        match self.lookup(parent, new.name)? {
            Some(_) => Err(exists(new.name)),
            None => Ok(()),
        }
    }

    /// Puts a name into the first block with room, or a new one at the end.
    fn add_plain(&mut self, parent: &Inode, new: &NewEntry<'_>) -> Result<(), EditError> {
        let mut free = None;
        for block in self.dir_blocks(parent)? {
            let block = block?;
            if block.find(new.name)?.is_some() {
                return Err(exists(new.name));
            }
            if free.is_none() && has_room(block.bytes(), new.size()) {
                free = Some(block.blkno);
            }
        }
        let mut block = match free {
            Some(blkno) => EntryBlock::read(&self.volume, parent, blkno)?,
            None => self.append_block(parent)?,
        };
        put(&mut block, new)?;
        Ok(block.write(&self.volume)?)
    }

    /// Puts a name into the first block with room of the free list, or into a new one at the end,
    /// and into the index.
    fn add_indexed(&mut self, parent: &Inode, new: &NewEntry<'_>) -> Result<(), EditError> {
        self.verify_new(parent, new)?;
        let sign = self.sign_in(parent, new.name)?;
        let mut index = Index::read(&self.volume, parent)?;
        let (mut block, before) = match self.free_block(parent, &index, new.size())? {
            Some(found) => found,
            None => (self.append_block(parent)?, None),
        };
        put(&mut block, new)?;
        let (blkno, hole) = (block.blkno, block.hole());
        if let Some(trailer) = &mut block.trailer {
            let was_listed = trailer.db_free_rec_len > 0;
            trailer.db_free_rec_len = hole;
            if !was_listed && hole > 0 {
                trailer.db_free_next = std::mem::replace(&mut index.root.dr_free_blk, blkno);
            } else if was_listed && hole == 0 {
                let next = std::mem::take(&mut trailer.db_free_next);
                match before {
                    Some(mut before) => {
                        if let Some(trailer) = &mut before.trailer {
                            trailer.db_free_next = next;
                        }
                        before.write(&self.volume)?;
                    }
                    None => index.root.dr_free_blk = next,
                }
            }
        }
        block.write(&self.volume)?;
        let hash = dx_hash(new.name, self.superblock().s_dx_seed, sign);
        index.insert(self, dx_entry(hash, blkno))?;
        Ok(index.write(&self.volume)?)
    }

    /// The first block of the free list that has room, and the one before it in the list.
    fn free_block(
        &self,
        dir: &Inode,
        index: &Index,
        size: usize,
    ) -> Result<Option<(EntryBlock, Option<EntryBlock>)>, Error> {
        let (mut visited, mut before) = (HashSet::new(), None);
        let mut next = index.root.dr_free_blk;
        while !next.is_none() {
            if !visited.insert(next) {
                return Err(Error::Repeated { structure: BLOCK, blkno: next });
            }
            let block = EntryBlock::read(&self.volume, dir, next)?;
            let Some(trailer) = &block.trailer else { break };
            // The trailer is only a hint and may state too much.
            if usize::from(trailer.db_free_rec_len) >= size && has_room(block.names(), size) {
                return Ok(Some((block, before)));
            }
            next = trailer.db_free_next;
            before = Some(block);
        }
        Ok(None)
    }

    /// How a name is hashed in the index of a directory: as its other names are, so that the same
    /// kernels find all of them, otherwise as elsewhere.
    fn sign_in(&mut self, dir: &Inode, name: &[u8]) -> Result<CharSign, EditError> {
        if name.is_ascii() {
            return Ok(self.options.name_hash);
        }
        match self.sign_of.filter(|(known, _)| *known == dir.blkno) {
            Some((_, sign)) => Ok(sign),
            None => {
                let shown = self.volume.shown_name_hash(dir)?;
                let sign = shown.unwrap_or_else(|| self.sign_elsewhere());
                self.sign_of = Some((dir.blkno, sign));
                Ok(sign)
            }
        }
    }

    /// How names are hashed in an index that does not show it.
    fn sign_elsewhere(&self) -> CharSign {
        *self.sign_elsewhere.get_or_init(|| {
            let looked_at = if self.options.follow_names { LOOKED_AT } else { 0 };
            let mut inodes = self.volume.inodes().take(looked_at).flatten();
            inodes
                .find_map(|inode| self.volume.shown_name_hash(&inode).ok()?)
                .unwrap_or(self.options.name_hash)
        })
    }

    /// The hash of a name in an index that is built.
    pub(super) fn hash_of(&self, name: &[u8]) -> NameHash {
        let sign = if name.is_ascii() { CharSign::default() } else { self.sign_elsewhere() };
        dx_hash(name, self.superblock().s_dx_seed, sign)
    }

    /// Sets the times of a directory whose contents have changed.
    pub(super) fn touch(&mut self, dir: Blkno) -> Result<(), EditError> {
        let time = self.time();
        self.update_dinode(dir, |dinode, _| dinode.touch(time))
    }
}

/// Puts a name into a block that has room for it.
fn put(block: &mut EntryBlock, new: &NewEntry<'_>) -> Result<(), EditError> {
    match block.insert(new)? {
        true => Ok(()),
        false => Err(EditError::TooLarge("the name is too long for a block")),
    }
}

/// The index entry for a name in a block.
pub(super) fn dx_entry(hash: NameHash, blkno: Blkno) -> DxEntry {
    DxEntry { dx_major_hash: hash.major, dx_minor_hash: hash.minor, dx_dirent_blk: blkno }
}

/// Fails if no file can have this name.
fn verify_name(name: &[u8]) -> Result<(), EditError> {
    if name.len() > MOST_NAME {
        return Err(EditError::TooLarge("a name can have 255 bytes"));
    }
    match name.is_empty() || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
        true => Err(refused(name, "is not a name of a file")),
        false => Ok(()),
    }
}

fn exists(name: &[u8]) -> EditError {
    EditError::Exists(name.escape_ascii().to_string())
}

/// The error for something that is refused for `name`.
pub(super) fn refused(name: &[u8], why: &str) -> EditError {
    EditError::Refused(format!("{}: {why}", name.escape_ascii()))
}
