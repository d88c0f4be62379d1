//! Owner, permissions, times and size of a file.

use ocfs2_format::Blkno;
use ocfs2_format::dinode::FileKind;
use rustix::io::Errno;

use super::names::inode;
use super::{APPEND, Caller, Failure, FileSystem, MOST_FREED, acl, changeable};
use crate::inode::Touch;
use crate::{Edit, Inode, Timestamp};

const SETUID: u16 = 0o4000;
const SETGID: u16 = 0o2000;
const GROUP_EXECUTE: u16 = 0o10;
const PERMISSIONS: u16 = 0o7777;

/// A time that is to be set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Time {
    /// That of the change.
    Now,
    /// Another one.
    At(Timestamp),
}

impl Time {
    fn or(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Now => now,
            Self::At(time) => time,
        }
    }
}

/// What is to be changed of a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change {
    /// Permissions, set-id bits and the sticky bit.
    pub mode: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Bytes.
    pub size: Option<u64>,
    /// When it was read.
    pub atime: Option<Time>,
    /// When it was written.
    pub mtime: Option<Time>,
}

/// What is left of a mode after somebody without the right to keep it has changed the file.
pub(super) fn without_set_id(mode: u16) -> u16 {
    match mode & GROUP_EXECUTE != 0 {
        true => mode & !(SETUID | SETGID),
        false => mode & !SETUID,
    }
}

impl FileSystem {
    /// Changes attributes of a file. Permissions are checked by the caller.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn set(&self, blkno: Blkno, change: &Change, caller: Caller) -> Result<Inode, Failure> {
        let mut state = self.writing();
        if change.size.is_some()
            && state.edit.as_ref().is_some_and(|edit| edit.freed_bytes() > MOST_FREED)
        {
            self.commit(&mut state)?;
        }
        let mut done =
            self.change_in(&mut state, Some(caller), |edit| set(edit, blkno, change, caller));
        if let (Err(err), Some(size)) = (&done, change.size)
            && err.is_large
        {
            self.shorten(&mut state, blkno, size)?;
            done =
                self.change_in(&mut state, Some(caller), |edit| set(edit, blkno, change, caller));
        }
        done?;
        inode(state.volume(), blkno)
    }

    /// Shortens a file to `size` in as many transactions as it takes, from its end.
    fn shorten(&self, state: &mut super::State, blkno: Blkno, size: u64) -> Result<(), Failure> {
        loop {
            let is_done = self.change_in(state, None, |edit| {
                edit.attempt(|edit| {
                    let inode = edit.inode(blkno)?;
                    let bits = edit.geometry().cluster_size.bits();
                    let keep = u32::try_from(size.div_ceil(1 << bits)).unwrap_or(u32::MAX);
                    let keep = ocfs2_format::Cpos(keep);
                    let left = edit.cut_contents(&inode, keep, self.most_blocks / 2)?;
                    let end = (u64::from(left.0) << bits).max(size);
                    edit.update_dinode(blkno, |dinode, _| dinode.i_size = dinode.i_size.min(end))?;
                    Ok::<_, crate::EditError>(left <= keep)
                })
                .map_err(Failure::from)
            })?;
            self.commit(state)?;
            if is_done {
                return Ok(());
            }
        }
    }
}

fn set(edit: &mut Edit, blkno: Blkno, change: &Change, caller: Caller) -> Result<(), Failure> {
    let file = inode(edit, blkno)?;
    let is_only_times = Change { atime: None, mtime: None, ..*change }.is_nothing();
    if !is_only_times || change.mtime != Some(Time::Now) {
        changeable(&file)?;
        if file.dinode.i_attr & APPEND != 0 {
            return Err(Errno::PERM.into());
        }
    }
    if is_only_times {
        return set_times(edit, blkno, change);
    }
    edit.attempt(|edit| {
        if let Some(size) = change.size {
            match file.kind() {
                Some(FileKind::Regular) => {}
                Some(FileKind::Directory) => return Err(Errno::ISDIR.into()),
                _ => return Err(Errno::INVAL.into()),
            }
            edit.truncate(blkno, size)?;
            if !caller.is_root() {
                super::contents::lose_rights(edit, blkno)?;
            }
        }
        if change.uid.is_some() || change.gid.is_some() {
            let (uid, gid) = (file.dinode.i_uid, file.dinode.i_gid);
            edit.set_owner(blkno, change.uid.unwrap_or(uid), change.gid.unwrap_or(gid))?;
            if !file.is_dir() {
                super::contents::lose_rights(edit, blkno)?;
            }
        }
        if let Some(mode) = change.mode {
            let time = edit.time();
            edit.update_dinode(blkno, |dinode, _| {
                dinode.i_mode = dinode.i_mode & !PERMISSIONS | mode & PERMISSIONS;
                dinode.touch_inode(time);
            })?;
            let file = edit.inode(blkno)?;
            if let Some(list) = acl::access_of(edit, &file)? {
                let (prefix, list) = acl::with_mode(list, mode);
                edit.set_xattr(blkno, prefix, b"", &list)?;
            }
        }
        set_times(edit, blkno, change)
    })
}

fn set_times(edit: &mut Edit, blkno: Blkno, change: &Change) -> Result<(), Failure> {
    let now = edit.time();
    if change.atime.is_none() && change.mtime.is_none() {
        return Ok(());
    }
    Ok(edit.update_dinode(blkno, |dinode, _| {
        dinode.touch_inode(now);
        if let Some(time) = change.atime.map(|time| time.or(now)) {
            (dinode.i_atime, dinode.i_atime_nsec) = (time.seconds as u64, time.nanoseconds);
        }
        if let Some(time) = change.mtime.map(|time| time.or(now)) {
            (dinode.i_mtime, dinode.i_mtime_nsec) = (time.seconds as u64, time.nanoseconds);
        }
    })?)
}

impl Change {
    fn is_nothing(&self) -> bool {
        let Self { mode, uid, gid, size, atime, mtime } = self;
        mode.is_none()
            && uid.is_none()
            && gid.is_none()
            && size.is_none()
            && atime.is_none()
            && mtime.is_none()
    }
}
