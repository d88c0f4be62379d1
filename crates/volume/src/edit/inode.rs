//! Naming, moving and deleting inodes.
//!
//! An inode that loses its last name is deleted at once, or becomes an orphan if somebody has it
//! open.

use std::collections::HashSet;

use ocfs2_format::Blkno;
use ocfs2_format::dinode::{FileKind, InodeFlags};
use ocfs2_format::dir::FileType;
use ocfs2_format::feature::Incompat;

use super::dir::refused;
use super::entry_block::NewEntry;
use super::{Edit, EditError};
use crate::inode::Touch;
use crate::{Error, Inode, Volume};

/// Most links of an inode on a volume without indexed-dirs.
const MOST_LINKS: u32 = 32_000;
/// Most links of an inode with indexed-dirs, where the high half of the count is used.
const MOST_LINKS_INDEXED: u32 = i32::MAX as u32;

/// What to do with an inode that has lost its last name.
type End = fn(&mut Edit, Blkno) -> Result<(), EditError>;

impl Edit {
    /// Gives a file that is not a directory another name.
    ///
    /// # Errors
    /// As [`Edit::link`]; [`EditError::Refused`] for a directory and for what belongs to the
    /// volume itself; [`EditError::TooLarge`] if it has as many links as can be.
    pub fn hard_link(&mut self, dir: Blkno, name: &[u8], inode: Blkno) -> Result<(), EditError> {
        self.attempt(|edit| {
            let file = edit.inode(inode)?;
            edit.verify_own(name, &file)?;
            if file.is_dir() {
                return Err(refused(name, "a directory has one name only"));
            }
            edit.add_name(dir, &NewEntry { name, inode, file_type: type_of(&file)? })?;
            edit.add_link(inode)
        })
    }

    /// Removes a name from a directory. The inode is deleted if this was its last name; a directory
    /// has to be empty.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`EditError::Refused`] for `.`, `..`, a directory that is not empty
    /// and what belongs to the volume itself; something is damaged.
    pub fn unlink(&mut self, dir: Blkno, name: &[u8]) -> Result<(), EditError> {
        self.attempt(|edit| {
            let inode = edit.take_name(dir, name)?;
            edit.part_with(dir, name, inode, Self::delete)
        })
    }

    /// Moves a name. An existing file with the new name is replaced: a directory, which has to be
    /// empty, only by a directory, and any other file only by one that is not a directory. If both
    /// names belong to one file, both stay.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`EditError::Refused`] for `.`, `..`, for a directory that would be in
    /// itself, and where something cannot replace what is there; as [`Edit::link`].
    pub fn rename(
        &mut self,
        dir: Blkno,
        name: &[u8],
        to: Blkno,
        new_name: &[u8],
    ) -> Result<(), EditError> {
        self.attempt(|edit| edit.move_name((dir, name), (to, new_name), Self::delete))
    }

    pub(super) fn move_name(
        &mut self,
        (dir, name): (Blkno, &[u8]),
        (to, new_name): (Blkno, &[u8]),
        end: End,
    ) -> Result<(), EditError> {
        let (_, entry) = self.named(dir, name)?;
        let moved = self.inode(entry.inode)?;
        self.verify_own(name, &moved)?;
        let target = self.inode(to)?;
        target.expect(FileKind::Directory, "a directory")?;
        let there = self.lookup(&target, new_name)?;
        if entry.is_dot() || there.as_ref().is_some_and(|there| there.is_dot()) {
            return Err(refused(name, "cannot be renamed"));
        }
        if there.as_ref().is_some_and(|there| there.inode == moved.blkno) {
            return Ok(());
        }
        if moved.is_dir() && self.is_within(to, moved.blkno)? {
            return Err(refused(name, "a directory cannot be moved into itself"));
        }
        let (inode, file_type) = (moved.blkno, type_of(&moved)?);
        let new = NewEntry { name: new_name, inode, file_type };
        match there {
            None => self.add_name(to, &new)?,
            Some(there) => {
                if self.inode(there.inode)?.is_dir() != moved.is_dir() {
                    return Err(refused(
                        new_name,
                        "a directory and a file cannot replace each other",
                    ));
                }
                self.lead_name(to, &new)?;
                self.part_with(to, new_name, there.inode, end)?;
            }
        }
        self.take_name(dir, name)?;
        if moved.is_dir() && dir != to {
            let parent = NewEntry { name: b"..", inode: to, file_type: FileType::Directory };
            self.lead_name(inode, &parent)?;
            self.drop_link(dir)?;
            self.add_link(to)?;
        }
        self.change_links(inode, Some)?;
        Ok(())
    }

    /// Takes one link from the inode that `name` of `dir` pointed to, and calls `end` if that was
    /// the last.
    pub(super) fn part_with(
        &mut self,
        dir: Blkno,
        name: &[u8],
        inode: Blkno,
        end: End,
    ) -> Result<(), EditError> {
        let file = self.inode(inode)?;
        self.verify_own(name, &file)?;
        if !file.is_dir() {
            return match self.drop_link(inode)? {
                0 => end(self, inode),
                _ => Ok(()),
            };
        }
        for entry in self.entries(&file)? {
            if !entry?.is_dot() {
                return Err(refused(name, "the directory is not empty"));
            }
        }
        self.drop_link(dir)?;
        end(self, inode)
    }

    /// Fails for inodes of the volume itself, and those that recovery is going to delete or cut.
    pub(super) fn verify_own(&self, name: &[u8], inode: &Inode) -> Result<(), EditError> {
        let others = InodeFlags::SYSTEM | InodeFlags::ORPHANED | InodeFlags::DIO_ORPHANED;
        match inode.dinode.flags().intersects(others) {
            true => Err(refused(name, "belongs to the volume itself, or to a recovery")),
            false => Ok(()),
        }
    }

    /// Whether a directory is `above` or somewhere below it.
    pub(crate) fn is_within(&self, dir: Blkno, above: Blkno) -> Result<bool, Error> {
        let (mut at, mut visited) = (dir, HashSet::new());
        while at != above {
            let (_, parent) = self.named(at, b"..")?;
            if parent.inode == at {
                return Ok(false);
            }
            if !visited.insert(at) {
                return Err(Error::Repeated { structure: "directory", blkno: at });
            }
            at = parent.inode;
        }
        Ok(true)
    }

    pub(super) fn add_link(&mut self, blkno: Blkno) -> Result<(), EditError> {
        let most = self.volume.most_links();
        let links = self.links_count(&self.inode(blkno)?);
        if links >= most {
            return Err(EditError::TooLarge("the inode has as many links as it can have"));
        }
        self.change_links(blkno, |links| links.checked_add(1)).map(|_| ())
    }

    /// Takes one link from an inode. Returns how many are left.
    pub(super) fn drop_link(&mut self, blkno: Blkno) -> Result<u32, EditError> {
        self.change_links(blkno, |links| links.checked_sub(1))
    }

    /// Changes the number of links, and the time of the last change. Returns the new number.
    pub(super) fn change_links(
        &mut self,
        blkno: Blkno,
        change: impl FnOnce(u32) -> Option<u32>,
    ) -> Result<u32, EditError> {
        let indexed = self.has(Incompat::INDEXED_DIRS);
        let inode = self.inode(blkno)?;
        let before = self.links_count(&inode);
        let Some(links) = change(before) else {
            return Err(inode
                .invalid("i_links_count", before, "as many as there are names")
                .into());
        };
        let time = self.time();
        self.update_dinode(blkno, |dinode, _| {
            dinode.set_links_count(links, indexed);
            dinode.touch_inode(time);
        })?;
        Ok(links)
    }
}

impl Volume {
    /// Most links that an inode can have.
    pub fn most_links(&self) -> u32 {
        if self.has(Incompat::INDEXED_DIRS) { MOST_LINKS_INDEXED } else { MOST_LINKS }
    }
}

/// The file type that a directory entry states for an inode.
pub(super) fn type_of(inode: &Inode) -> Result<FileType, Error> {
    let kind = inode.kind().map(FileType::from);
    kind.ok_or(Error::WrongKind { blkno: inode.blkno, expected: "a file of any kind" })
}
