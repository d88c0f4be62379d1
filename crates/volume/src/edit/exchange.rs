//! Two names that change places.

use ocfs2_format::Blkno;
use ocfs2_format::dir::FileType;

use super::dir::refused;
use super::entry_block::NewEntry;
use super::inode::type_of;
use super::{Edit, EditError};

impl Edit {
    /// Makes each of two names point to what the other one has pointed to.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound); [`EditError::Refused`] for `.` and `..`, for
    /// what belongs to the volume itself, and for a directory that would be in itself.
    pub fn exchange(
        &mut self,
        (dir, name): (Blkno, &[u8]),
        (to, new_name): (Blkno, &[u8]),
    ) -> Result<(), EditError> {
        self.attempt(|edit| {
            let (_, one) = edit.named(dir, name)?;
            let (_, other) = edit.named(to, new_name)?;
            if one.is_dot() || other.is_dot() {
                return Err(refused(name, "cannot be renamed"));
            }
            if one.inode == other.inode {
                return Ok(());
            }
            for (name, inode, below) in [(name, one.inode, to), (new_name, other.inode, dir)] {
                let file = edit.inode(inode)?;
                edit.verify_own(name, &file)?;
                if file.is_dir() && edit.is_within(below, inode)? {
                    return Err(refused(name, "a directory cannot be moved into itself"));
                }
            }
            let places = [(dir, name, other.inode, to), (to, new_name, one.inode, dir)];
            for (at, name, inode, from) in places {
                let file = edit.inode(inode)?;
                edit.lead_name(at, &NewEntry { name, inode, file_type: type_of(&file)? })?;
                if file.is_dir() && at != from {
                    let file_type = FileType::Directory;
                    edit.lead_name(inode, &NewEntry { name: b"..", inode: at, file_type })?;
                    edit.drop_link(from)?;
                    edit.add_link(at)?;
                }
                edit.change_links(inode, Some)?;
            }
            Ok(())
        })
    }
}
