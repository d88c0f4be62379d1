//! Making, naming and removing files.

use ocfs2_format::Blkno;
use ocfs2_format::dinode::FileKind;
use rustix::io::Errno;

use super::{APPEND, Caller, Failure, FileSystem, acl, changeable};
use crate::dir::Entry;
use crate::edit::NewInode;
use crate::{Edit, Error, Inode, MAX_NAME_BYTES, Volume};

/// The bit of a directory whose group new files get.
const SETGID: u16 = 0o2000;

/// A file that is to be made.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    /// The kind of file.
    pub kind: FileKind,
    /// Permissions, set-id bits and the sticky bit that are wanted.
    pub mode: u16,
    /// Permissions that are taken away unless the directory has a default access control list.
    pub umask: u16,
    /// Major and minor number of a device.
    pub rdev: (u32, u32),
    /// Target of a symbolic link.
    pub target: &'a [u8],
}

/// A directory that can be changed, and its entry of a name.
fn named(volume: &Volume, dir: Blkno, name: &[u8]) -> Result<(Inode, Option<Entry>), Failure> {
    if name.len() > MAX_NAME_BYTES as usize {
        return Err(Errno::NAMETOOLONG.into());
    }
    let parent = inode(volume, dir)?;
    if !parent.is_dir() {
        return Err(Errno::NOTDIR.into());
    }
    let entry = volume.lookup(&parent, name)?;
    Ok((parent, entry))
}

/// An inode that the kernel still knows, though it may be gone.
pub(super) fn inode(volume: &Volume, blkno: Blkno) -> Result<Inode, Failure> {
    match volume.inode(blkno) {
        Err(Error::Invalid(err)) if err.field == "i_flags" => Err(Errno::NOENT.into()),
        found => Ok(found?),
    }
}

fn removable(parent: &Inode, file: &Inode) -> Result<(), Failure> {
    changeable(parent)?;
    changeable(file)?;
    let appends = (parent.dinode.i_attr | file.dinode.i_attr) & APPEND != 0;
    if appends { Err(Errno::PERM.into()) } else { Ok(()) }
}

fn is_empty(volume: &Volume, dir: &Inode) -> Result<bool, Failure> {
    for entry in volume.entries(dir)? {
        if !entry?.is_dot() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Fails if an inode cannot have one more link.
fn linkable(volume: &Volume, inode: &Inode) -> Result<(), Failure> {
    match volume.links_count(inode) >= volume.most_links() {
        true => Err(Errno::MLINK.into()),
        false => Ok(()),
    }
}

impl FileSystem {
    /// Makes a file. Its group, permissions and access control lists are what POSIX and Linux say
    /// for this directory. With `open`, it is opened, too.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn create(
        &self,
        dir: Blkno,
        name: &[u8],
        new: &New<'_>,
        caller: Caller,
        open: bool,
    ) -> Result<Inode, Failure> {
        let mut state = self.writing();
        let made = self.change_in(&mut state, Some(caller), |edit| {
            let (parent, there) = named(edit, dir, name)?;
            if there.is_some() {
                return Err(Errno::EXIST.into());
            }
            changeable(&parent)?;
            if edit.links_count(&parent) == 0 {
                return Err(Errno::NOENT.into());
            }
            let is_dir = new.kind == FileKind::Directory;
            if is_dir {
                linkable(edit, &parent)?;
            }
            let inherited = match new.kind {
                FileKind::Symlink => None,
                _ => acl::default_of(edit, &parent)?,
            };
            let mut mode = new.mode;
            let mut lists = Vec::new();
            match inherited {
                Some(default) => {
                    lists.extend(acl::inherited(&default, &mut mode));
                    if is_dir {
                        lists.push(acl::as_default(default));
                    }
                }
                None => mode &= !new.umask,
            }
            let gives_group = parent.dinode.i_mode & SETGID != 0;
            if is_dir && gives_group {
                mode |= SETGID;
            }
            let gid = if gives_group { parent.dinode.i_gid } else { caller.gid };
            let New { kind, rdev, target, .. } = *new;
            let inode = NewInode { kind, permissions: mode, uid: caller.uid, gid, rdev, target };
            if lists.is_empty() {
                return Ok(edit.create(dir, name, &inode)?);
            }
            edit.attempt(|edit| {
                let blkno = edit.create(dir, name, &inode)?;
                for (prefix, list) in &lists {
                    edit.set_xattr(blkno, *prefix, b"", list)?;
                }
                Ok(blkno)
            })
        })?;
        let inode = state.volume().inode(made)?;
        if open {
            self.opened().entry(made).or_default().count += 1;
        }
        Ok(inode)
    }

    /// Gives a file another name.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn link(&self, blkno: Blkno, dir: Blkno, name: &[u8]) -> Result<Inode, Failure> {
        let mut state = self.writing();
        self.change_in(&mut state, None, |edit| {
            let file = inode(edit, blkno)?;
            let (parent, there) = named(edit, dir, name)?;
            if there.is_some() {
                return Err(Errno::EXIST.into());
            }
            if file.is_dir() {
                return Err(Errno::PERM.into());
            }
            removable(&parent, &file)?;
            // What has no name gets none any more.
            if edit.links_count(&file) == 0 || edit.links_count(&parent) == 0 {
                return Err(Errno::NOENT.into());
            }
            linkable(edit, &file)?;
            Ok(edit.hard_link(dir, name, blkno)?)
        })?;
        Ok(state.volume().inode(blkno)?)
    }

    /// Removes a name: of a directory, which has to be empty, if `of_dir`.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn unlink(&self, dir: Blkno, name: &[u8], of_dir: bool) -> Result<(), Failure> {
        let mut state = self.writing();
        let removed = self.change_in(&mut state, None, |edit| {
            let (parent, there) = named(edit, dir, name)?;
            let there = there.ok_or(Errno::NOENT)?;
            if there.is_dot() {
                return Err(if name == b"." { Errno::INVAL } else { Errno::NOTEMPTY }.into());
            }
            let file = edit.inode(there.inode)?;
            match (file.is_dir(), of_dir) {
                (true, false) => return Err(Errno::ISDIR.into()),
                (false, true) => return Err(Errno::NOTDIR.into()),
                _ => {}
            }
            removable(&parent, &file)?;
            if of_dir && !is_empty(edit, &file)? {
                return Err(Errno::NOTEMPTY.into());
            }
            if self.is_open(there.inode) {
                edit.unlink_open(dir, name)?;
                return Ok((there.inode, false));
            }
            match edit.unlink(dir, name).map_err(Failure::from) {
                // Its contents are freed in several transactions.
                Err(err) if err.is_large => {
                    edit.unlink_open(dir, name)?;
                    Ok((there.inode, true))
                }
                done => done.map(|()| (there.inode, false)),
            }
        })?;
        let (blkno, is_left) = removed;
        self.note_orphan(state.volume(), blkno);
        drop(state);
        if is_left { self.delete_orphan(blkno) } else { Ok(()) }
    }

    /// Moves a name. What has the new name is replaced, unless `keep`: then there must not be
    /// anything.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn rename(
        &self,
        (dir, name): (Blkno, &[u8]),
        (to, new_name): (Blkno, &[u8]),
        keep: bool,
    ) -> Result<(), Failure> {
        let mut state = self.writing();
        let replaced = self.change_in(&mut state, None, |edit| {
            let (parent, entry) = named(edit, dir, name)?;
            let (target, there) = named(edit, to, new_name)?;
            let entry = entry.ok_or(Errno::NOENT)?;
            if keep && there.is_some() {
                return Err(Errno::EXIST.into());
            }
            if entry.is_dot() || there.as_ref().is_some_and(Entry::is_dot) {
                return Err(Errno::BUSY.into());
            }
            let file = edit.inode(entry.inode)?;
            removable(&parent, &file)?;
            changeable(&target)?;
            if edit.links_count(&target) == 0 {
                return Err(Errno::NOENT.into());
            }
            if there.as_ref().is_some_and(|there| there.inode == entry.inode) {
                return Ok(None);
            }
            if file.is_dir() && dir != to && edit.is_within(to, entry.inode)? {
                return Err(Errno::INVAL.into());
            }
            if let Some(there) = &there {
                replaceable(edit, &target, &file, there.inode)?;
            } else if file.is_dir() && dir != to {
                linkable(edit, &target)?;
            }
            let other = there.map(|there| there.inode);
            if other.is_some_and(|other| self.is_open(other)) {
                edit.rename_over_open(dir, name, to, new_name)?;
                return Ok(other.map(|other| (other, false)));
            }
            match edit.rename(dir, name, to, new_name).map_err(Failure::from) {
                Err(err) if err.is_large && other.is_some() => {
                    edit.rename_over_open(dir, name, to, new_name)?;
                    Ok(other.map(|other| (other, true)))
                }
                done => done.map(|()| other.map(|other| (other, false))),
            }
        })?;
        let Some((blkno, is_left)) = replaced else { return Ok(()) };
        self.note_orphan(state.volume(), blkno);
        drop(state);
        if is_left { self.delete_orphan(blkno) } else { Ok(()) }
    }

    /// Makes each of two names point to what the other one has pointed to.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn exchange(
        &self,
        (dir, name): (Blkno, &[u8]),
        (to, new_name): (Blkno, &[u8]),
    ) -> Result<(), Failure> {
        self.change(None, |edit| {
            let (parent, one) = named(edit, dir, name)?;
            let (target, other) = named(edit, to, new_name)?;
            let (one, other) = (one.ok_or(Errno::NOENT)?, other.ok_or(Errno::NOENT)?);
            if one.is_dot() || other.is_dot() {
                return Err(Errno::BUSY.into());
            }
            let pairs = [(&parent, one.inode, to), (&target, other.inode, dir)];
            for (parent, moved, below) in pairs {
                let file = edit.inode(moved)?;
                removable(parent, &file)?;
                if file.is_dir() && dir != to && edit.is_within(below, moved)? {
                    return Err(Errno::INVAL.into());
                }
            }
            Ok(edit.exchange((dir, name), (to, new_name))?)
        })
    }
}

/// Fails if a file cannot take the place of another one.
fn replaceable(edit: &Edit, parent: &Inode, file: &Inode, there: Blkno) -> Result<(), Failure> {
    let there = edit.inode(there)?;
    removable(parent, &there)?;
    match (file.is_dir(), there.is_dir()) {
        (true, false) => Err(Errno::NOTDIR.into()),
        (false, true) => Err(Errno::ISDIR.into()),
        (true, true) if !is_empty(edit, &there)? => Err(Errno::NOTEMPTY.into()),
        _ => Ok(()),
    }
}
