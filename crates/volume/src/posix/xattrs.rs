//! Extended attributes.

use ocfs2_format::Blkno;
use ocfs2_format::acl::{as_mode, stored};
use ocfs2_format::feature::Incompat;
use ocfs2_format::xattr::XattrPrefix;
use rustix::io::Errno;

use super::names::inode;
use super::{Caller, Failure, FileSystem, changeable};
use crate::Edit;
use crate::inode::Touch;

impl FileSystem {
    /// Sets an attribute, whose value is in the form of setxattr(2). An access list also sets the
    /// permissions, and is not stored if it says no more than they do.
    ///
    /// # Errors
    /// [`Failure`]: `EEXIST` with `create` if there is one, `ENODATA` with `replace` if there is none.
    pub fn set_xattr(
        &self,
        blkno: Blkno,
        name: &[u8],
        value: &[u8],
        (create, replace): (bool, bool),
        caller: Caller,
    ) -> Result<(), Failure> {
        self.change(Some(caller), |edit| {
            let (prefix, rest) = split(edit, name)?;
            let file = inode(edit, blkno)?;
            changeable(&file)?;
            let is_there = edit.xattr(&file, prefix, rest)?.is_some();
            match is_there {
                true if create => return Err(Errno::EXIST.into()),
                false if replace => return Err(Errno::NODATA.into()),
                _ => {}
            }
            if !prefix.is_acl() {
                return Ok(edit.set_xattr(blkno, prefix, rest, value)?);
            }
            let list = stored(value).ok_or(Errno::INVAL)?;
            if prefix == XattrPrefix::PosixAclDefault {
                if !file.is_dir() {
                    return Err(Errno::ACCESS.into());
                }
                return Ok(edit.set_xattr(blkno, prefix, rest, list)?);
            }
            let (mode, is_more) = as_mode(list).ok_or(Errno::INVAL)?;
            edit.attempt(|edit| {
                let time = edit.time();
                edit.update_dinode(blkno, |dinode, _| {
                    dinode.i_mode = dinode.i_mode & !0o777 | mode;
                    dinode.touch_inode(time);
                })?;
                match (is_more, is_there) {
                    (true, _) => edit.set_xattr(blkno, prefix, rest, list)?,
                    (false, true) => edit.remove_xattr(blkno, prefix, rest)?,
                    (false, false) => {}
                }
                Ok(())
            })
        })
    }

    /// Removes an attribute.
    ///
    /// # Errors
    /// [`Failure`]: `ENODATA` if there is none.
    pub fn remove_xattr(&self, blkno: Blkno, name: &[u8]) -> Result<(), Failure> {
        self.change(None, |edit| {
            let (prefix, rest) = split(edit, name)?;
            let file = inode(edit, blkno)?;
            changeable(&file)?;
            if edit.xattr(&file, prefix, rest)?.is_none() {
                return Err(Errno::NODATA.into());
            }
            Ok(edit.remove_xattr(blkno, prefix, rest)?)
        })
    }
}

/// The prefix and the rest of the name of an attribute that this volume can have.
fn split<'a>(edit: &Edit, name: &'a [u8]) -> Result<(XattrPrefix, &'a [u8]), Failure> {
    if !edit.has(Incompat::XATTR) {
        return Err(Errno::OPNOTSUPP.into());
    }
    let (prefix, rest) = XattrPrefix::split(name).ok_or(Errno::OPNOTSUPP)?;
    if rest.len() > usize::from(u8::MAX) {
        return Err(Errno::RANGE.into());
    }
    Ok((prefix, rest))
}
