//! Orphans: inodes without a name that somebody still has open. Until they are closed they are in
//! the orphan directory of the slot that removed their last name; after a crash, recovery deletes
//! them.

use ocfs2_format::Blkno;
use ocfs2_format::dinode::InodeFlags;
use ocfs2_format::feature::Incompat;

use super::entry_block::NewEntry;
use super::inode::type_of;
use super::{Edit, EditError};
use crate::Error;
use crate::dir::Entry;

impl Edit {
    /// As [`Edit::unlink`], for an open inode: it becomes an orphan if this was its last name.
    /// Returns whether it did.
    ///
    /// # Errors
    /// As [`Edit::unlink`]; [`EditError::NoRoom`] in the orphan directory.
    pub fn unlink_open(&mut self, dir: Blkno, name: &[u8]) -> Result<bool, EditError> {
        self.attempt(|edit| {
            let inode = edit.take_name(dir, name)?;
            edit.part_with(dir, name, inode, Self::make_orphan)?;
            Ok(edit.inode(inode)?.dinode.flags().contains(InodeFlags::ORPHANED))
        })
    }

    /// As [`Edit::rename`], if the file with the new name is open: it may become an orphan.
    ///
    /// # Errors
    /// As [`Edit::rename`] and [`Edit::unlink_open`].
    pub fn rename_over_open(
        &mut self,
        dir: Blkno,
        name: &[u8],
        to: Blkno,
        new_name: &[u8],
    ) -> Result<(), EditError> {
        self.attempt(|edit| edit.move_name((dir, name), (to, new_name), Self::make_orphan))
    }

    /// Deletes an orphan, which nobody has open any more.
    ///
    /// # Errors
    /// [`EditError::Refused`] if it is not an orphan; something is damaged.
    pub fn delete_orphan(&mut self, blkno: Blkno) -> Result<(), EditError> {
        self.attempt(|edit| {
            let inode = edit.inode(blkno)?;
            let flags = inode.dinode.flags();
            let is_orphan = flags.contains(InodeFlags::ORPHANED)
                && !flags.contains(InodeFlags::SYSTEM)
                && edit.links_count(&inode) == 0;
            if !is_orphan {
                return Err(EditError::Refused(format!("inode {blkno} is not to be deleted")));
            }
            let (slot, name) = (inode.dinode.i_orphaned_slot, orphan_name(blkno));
            let entry = edit.lookup(&edit.orphan_dir(slot)?, &name)?;
            let entry = entry.ok_or(Error::NotFound { name })?;
            edit.delete(blkno)?;
            edit.forget_orphan(slot, &entry, inode.is_dir())
        })
    }

    /// Puts an inode that has lost its last name into the orphan directory.
    pub(super) fn make_orphan(&mut self, blkno: Blkno) -> Result<(), EditError> {
        let (inode, slot) = (self.inode(blkno)?, self.slot());
        let (dir, name) = (self.orphan_dir(slot)?.blkno, orphan_name(blkno));
        self.add_name(dir, &NewEntry { name: &name, inode: blkno, file_type: type_of(&inode)? })?;
        if inode.is_dir() {
            self.add_link(dir)?;
        }
        let indexed = self.has(Incompat::INDEXED_DIRS);
        self.update_dinode(blkno, |dinode, _| {
            dinode.i_flags = (dinode.flags() | InodeFlags::ORPHANED).bits();
            dinode.i_orphaned_slot = slot;
            dinode.set_links_count(0, indexed);
        })
    }

    /// Removes an entry of the orphan directory of a slot.
    pub(crate) fn forget_orphan(
        &mut self,
        slot: u16,
        entry: &Entry,
        was_dir: bool,
    ) -> Result<(), EditError> {
        let dir = self.orphan_dir(slot)?;
        self.remove_entry(&dir, entry)?;
        if was_dir {
            let indexed = self.has(Incompat::INDEXED_DIRS);
            let links = self.links_count(&dir).saturating_sub(1);
            self.update_dinode(dir.blkno, |dinode, _| dinode.set_links_count(links, indexed))?;
        }
        Ok(())
    }
}

/// The name of an orphan in its directory.
fn orphan_name(blkno: Blkno) -> Vec<u8> {
    format!("{:016x}", blkno.0).into_bytes()
}
