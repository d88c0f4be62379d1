//! Contents of files.

use std::ops::Range;

use ocfs2_format::Blkno;
use ocfs2_format::dinode::{DynFeatures, FileKind};
use ocfs2_format::feature::Incompat;
use ocfs2_format::xattr::XattrPrefix;
use rustix::io::Errno;

use super::attributes::without_set_id;
use super::names::inode;
use super::{Caller, Failure, FileSystem, MOST_FREED, State, changeable};
use crate::inode::Touch;
use crate::{Edit, Inode};

/// Most bytes that are copied at once.
const MOST_COPIED: u64 = 4 << 20;

/// What is to become of a range of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Space {
    /// It is allocated; the size grows to include it if the flag says so.
    Allocated {
        /// Whether the size grows.
        grow: bool,
    },
    /// It is a hole.
    Hole,
    /// It reads as zeros and is allocated.
    Zeros {
        /// Whether the size grows.
        grow: bool,
    },
}

/// A regular file that can be changed.
fn regular(edit: &Edit, blkno: Blkno) -> Result<Inode, Failure> {
    let file = inode(edit, blkno)?;
    changeable(&file)?;
    match file.kind() {
        Some(FileKind::Regular) => Ok(file),
        Some(FileKind::Directory) => Err(Errno::ISDIR.into()),
        _ => Err(Errno::INVAL.into()),
    }
}

/// Takes from a file what gives rights to whoever runs it.
pub(super) fn lose_rights(edit: &mut Edit, blkno: Blkno) -> Result<(), Failure> {
    let file = edit.inode(blkno)?;
    let mode = without_set_id(file.dinode.i_mode);
    if mode != file.dinode.i_mode {
        let time = edit.time();
        edit.update_dinode(blkno, |dinode, _| {
            dinode.i_mode = mode;
            dinode.touch_inode(time);
        })?;
    }
    if file.dinode.dyn_features().contains(DynFeatures::HAS_XATTR)
        && edit.xattr(&file, XattrPrefix::Security, b"capability")?.is_some()
    {
        edit.remove_xattr(blkno, XattrPrefix::Security, b"capability")?;
    }
    Ok(())
}

impl FileSystem {
    /// Writes into a file. Returns how many bytes were written: fewer than all if there is no room
    /// for more. With `lose_rights`, set-id bits are cleared.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn write(
        &self,
        blkno: Blkno,
        offset: u64,
        bytes: &[u8],
        loses_rights: bool,
        caller: Caller,
    ) -> Result<usize, Failure> {
        let mut state = self.writing();
        self.write_in(&mut state, blkno, offset, bytes, loses_rights, caller)
    }

    fn write_in(
        &self,
        state: &mut State,
        blkno: Blkno,
        offset: u64,
        bytes: &[u8],
        loses_rights: bool,
        caller: Caller,
    ) -> Result<usize, Failure> {
        if state.edit.as_ref().is_some_and(|edit| edit.freed_bytes() > MOST_FREED) {
            self.commit(state)?;
        }
        let cluster = state.volume().geometry().cluster_size.bytes() as usize;
        let mut len = bytes.len();
        loop {
            let part = bytes.get(..len).unwrap_or_default();
            let done = self.change_in(state, Some(caller), |edit| {
                regular(edit, blkno)?;
                edit.write_file(blkno, offset, part)?;
                if loses_rights {
                    lose_rights(edit, blkno)?;
                }
                Ok(())
            });
            match done {
                Ok(()) => {
                    state.is_unflushed = true;
                    return Ok(len);
                }
                // Less may fit.
                Err(err) if len > cluster && is_lack(&err) => {
                    let half = offset + len as u64 / 2;
                    let end = half - half % cluster as u64;
                    let shorter = end.saturating_sub(offset) as usize;
                    len = if shorter == 0 { len / 2 } else { shorter };
                }
                Err(err) => return Err(err),
            }
        }
    }

    /// Allocates a range of a file, or frees it.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn allocate(
        &self,
        blkno: Blkno,
        range: Range<u64>,
        space: Space,
        caller: Caller,
    ) -> Result<(), Failure> {
        let mut state = self.writing();
        let done = self.change_in(&mut state, Some(caller), |edit| {
            regular(edit, blkno)?;
            if range.end > edit.geometry().most_file_bytes() {
                return Err(Errno::FBIG.into());
            }
            if !edit.can_allocate() {
                return Err(Errno::OPNOTSUPP.into());
            }
            edit.attempt(|edit| {
                match space {
                    Space::Allocated { grow } => edit.allocate(blkno, range.clone(), grow)?,
                    Space::Hole => edit.punch(blkno, range.clone())?,
                    Space::Zeros { grow } => {
                        edit.punch(blkno, range.clone())?;
                        edit.allocate(blkno, range.clone(), grow)?;
                    }
                }
                if caller.is_root() { Ok(()) } else { lose_rights(edit, blkno) }
            })
        });
        state.is_unflushed = true;
        done
    }

    /// Copies a part of a file to another one: all of a file into an empty one by sharing it, where
    /// the volume can. Returns how many bytes were copied.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn copy(
        &self,
        (from, at): (Blkno, u64),
        (to, offset): (Blkno, u64),
        len: u64,
        caller: Caller,
    ) -> Result<u64, Failure> {
        let mut state = self.writing();
        let (source, target) = {
            let volume = state.volume();
            (inode(volume, from)?, inode(volume, to)?)
        };
        if source.kind() != Some(FileKind::Regular) || target.kind() != Some(FileKind::Regular) {
            return Err(Errno::INVAL.into());
        }
        let len = len.min(source.size().saturating_sub(at));
        if len == 0 {
            return Ok(0);
        }
        let is_whole = (at, offset) == (0, 0) && len == source.size() && from != to;
        let can_share = state.volume().has(Incompat::REFCOUNT_TREE)
            && target.size() == 0
            && target.dinode.i_clusters == 0
            && !source.is_inline();
        if is_whole && can_share && u32::try_from(len).is_ok() {
            let shared = self.change_in(&mut state, Some(caller), |edit| {
                regular(edit, to)?;
                Ok(edit.reflink(from, to)?)
            });
            match shared {
                Err(err) if is_lack(&err) => {}
                done => return done.map(|()| len),
            }
        }
        if from == to && at < offset + len && offset < at + len {
            return Err(Errno::INVAL.into());
        }
        let mut bytes = vec![0; len.min(MOST_COPIED) as usize];
        let read = state.volume().file(&source)?.read_at(&mut bytes, at)?;
        bytes.truncate(read);
        let done = self.write_in(&mut state, to, offset, &bytes, !caller.is_root(), caller)?;
        Ok(done as u64)
    }
}

/// Whether something smaller may succeed.
fn is_lack(err: &Failure) -> bool {
    err.is_large || matches!(err.errno, Errno::NOSPC | Errno::DQUOT)
}

impl Edit {
    /// Whether [`Edit::allocate`] works on this volume.
    fn can_allocate(&self) -> bool {
        use ocfs2_format::feature::RoCompat;
        self.features().ro_compat.contains(RoCompat::UNWRITTEN)
    }
}
