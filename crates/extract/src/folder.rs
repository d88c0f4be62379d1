//! The copy as files of this machine. Links that are there are never followed.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use ocfs2_cli::terminal;
use ocfs2_format::dinode::FileKind;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::io::Errno;

use crate::attributes::each_attribute;
use crate::existing::{There, is_same_file, is_same_link, is_same_special};
use crate::local::{Place, local_path, set_mode, set_owner, set_times, write_contents};
use crate::{Copied, CopyError, Existing, Output, Target, Unfinished};

/// A folder of this machine.
#[derive(Debug)]
pub struct Folder {
    base: PathBuf,
    existing: Existing,
    /// Files that were there already, and are the same.
    same: u64,
    /// Files that were there already, and are not.
    others: u64,
    /// Files whose owner could not be set.
    without_owner: u64,
    /// Devices that were left out.
    devices: u64,
    /// Attributes that only root may set.
    attributes: u64,
    /// Attributes that could not be set for another reason, and the first of these reasons.
    refused: Option<(u64, String)>,
}

impl Folder {
    /// An existing folder, and what happens to files in it.
    ///
    /// # Errors
    /// There is none.
    pub fn new(base: &Path, existing: Existing) -> Result<Self, CopyError> {
        let metadata = base.metadata().map_err(|err| CopyError::of_file(&err, base))?;
        if !metadata.is_dir() {
            return Err(CopyError::of_file(&io::ErrorKind::NotADirectory.into(), base));
        }
        Ok(Self {
            base: base.to_owned(),
            existing,
            same: 0,
            others: 0,
            without_owner: 0,
            devices: 0,
            attributes: 0,
            refused: None,
        })
    }

    /// The number of files that were there already and were not the same: errors, with
    /// [`Existing::Left`].
    pub fn others(&self) -> u64 {
        self.others
    }

    /// Whether something of the copy is there already and stays.
    fn is_there(
        &mut self,
        path: &Path,
        is_same: impl FnOnce(&fs::Metadata) -> bool,
    ) -> Result<bool, CopyError> {
        let there = self.existing.check(path, is_same);
        match &there {
            Ok(There::Same) => self.same += 1,
            Ok(There::No) => {}
            Err(_) => self.others += 1,
        }
        Ok(there? == There::Same)
    }

    fn place(&self, path: &Path) -> PathBuf {
        // A trailing slash would be added to the folder itself.
        if path.as_os_str().is_empty() { self.base.clone() } else { self.base.join(path) }
    }

    /// Gives what was made the rest: owner, mode, attributes, and last the times, by which a later
    /// copy knows that it is whole.
    fn restore(&mut self, it: &Copied<'_>, place: &Place<'_>) -> Result<(), CopyError> {
        let refused = |it: &Self| it.refused.as_ref().map_or(0, |(count, _)| *count);
        let before = refused(self);
        self.restore_all_but_times(it, place)?;
        // It is not whole, and may be another time. Links and devices never have such attributes here.
        let may_have = matches!(it.inode.kind(), Some(FileKind::Regular | FileKind::Directory));
        if may_have && refused(self) > before {
            return Ok(());
        }
        let path = self.place(it.path);
        set_times(it.inode, place).map_err(|err| CopyError::of_file(&err.into(), &path))
    }

    fn restore_all_but_times(
        &mut self,
        it: &Copied<'_>,
        place: &Place<'_>,
    ) -> Result<(), CopyError> {
        let path = self.place(it.path);
        let failed = |err: Errno| CopyError::of_file(&err.into(), &path);
        let has_owner = set_owner(it.inode, place);
        if !has_owner {
            self.without_owner += 1;
        }
        // After the owner, whose change removes security.capability; before the mode, which can
        // forbid the owner to set them, and which has the mask of an access control list.
        let unread = each_attribute(it, |name, value| {
            // They would lend the rights of somebody else.
            if !has_owner && name.starts_with(b"security.") {
                self.attributes += 1;
                return Ok(());
            }
            match place.set_attribute(name, value) {
                Ok(()) => {}
                Err(Errno::PERM | Errno::ACCESS) if !rustix::process::geteuid().is_root() => {
                    self.attributes += 1;
                }
                Err(err) => {
                    let reason = || {
                        format!(
                            "{} '{}'",
                            ocfs2_cli::without_error_numbers(&io::Error::from(err).to_string()),
                            ocfs2_cli::shown(&path)
                        ) + &format!(", {}", terminal(name))
                    };
                    self.refused.get_or_insert_with(|| (0, reason())).0 += 1;
                }
            }
            Ok(())
        })?;
        set_mode(it.inode, place, has_owner).map_err(failed)?;
        unread.map_or(Ok(()), Err)
    }
}

impl Target for Folder {
    fn shown(&self, path: &Path) -> String {
        ocfs2_cli::shown(self.place(path))
    }

    fn directory(&mut self, it: &Copied<'_>, _: &mut dyn Output) -> Result<(), CopyError> {
        if it.path.as_os_str().is_empty() {
            return Ok(());
        }
        let path = self.place(it.path);
        // What is in it counts as being there.
        let is_resumed = self.existing != Existing::Refused
            && path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
        // Until it has its own mode, nobody else is to use what is in it.
        let made = match is_resumed {
            true => rustix::fs::chmod(&path, Mode::RWXU).map_err(io::Error::from),
            false => DirBuilder::new().mode(0o700).create(&path),
        };
        made.map_err(|err| {
            self.others += u64::from(err.kind() == io::ErrorKind::AlreadyExists);
            CopyError::of_file(&err, &path)
        })
    }

    fn filled(&mut self, it: &Copied<'_>, _: &mut dyn Output) -> Result<(), CopyError> {
        // The folder that was there before stays as it was.
        if it.path.as_os_str().is_empty() {
            return Ok(());
        }
        let path = self.place(it.path);
        self.restore(it, &Place::Path(&path))
    }

    fn regular(&mut self, it: &Copied<'_>, _: &mut dyn Output) -> Result<(), CopyError> {
        let path = self.place(it.path);
        if self.is_there(&path, |metadata| is_same_file(it, metadata))? {
            return Ok(());
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|err| CopyError::of_file(&err, &path))?;
        let unfinished = Unfinished::new(&path);
        let written = write_contents(it, &file, &path);
        let place = Place::Open(&file);
        let restored = match written {
            Ok(()) => self.restore(it, &place),
            // What could be read has an owner as well.
            Err(CopyError::Incomplete(_)) => self.restore_all_but_times(it, &place),
            Err(err) => return Err(err),
        };
        unfinished.finished();
        written.and(restored)
    }

    fn symlink(&mut self, it: &Copied<'_>, to: &[u8], _: &mut dyn Output) -> Result<(), CopyError> {
        let path = self.place(it.path);
        if self.is_there(&path, |_| is_same_link(&path, to))? {
            return Ok(());
        }
        symlink(local_path(to), &path).map_err(|err| CopyError::of_file(&err, &path))?;
        self.restore(it, &Place::Path(&path))
    }

    fn special(
        &mut self,
        it: &Copied<'_>,
        kind: FileKind,
        _: &mut dyn Output,
    ) -> Result<(), CopyError> {
        let path = self.place(it.path);
        let (major, minor) = it.inode.dinode.rdev();
        let (of, device) = match kind {
            FileKind::CharDevice => (FileType::CharacterDevice, makedev(major, minor)),
            FileKind::BlockDevice => (FileType::BlockDevice, makedev(major, minor)),
            FileKind::Socket => (FileType::Socket, 0),
            _ => (FileType::Fifo, 0),
        };
        if self.is_there(&path, |metadata| is_same_special(kind, device, metadata))? {
            return Ok(());
        }
        match mknodat(CWD, &path, of, Mode::from_raw_mode(0o600), device) {
            Ok(()) => self.restore(it, &Place::Path(&path)),
            Err(Errno::PERM) => {
                self.devices += 1;
                Ok(())
            }
            Err(err) => Err(CopyError::of_file(&err.into(), &path)),
        }
    }

    fn link(&mut self, it: &Copied<'_>, first: &Path, _: &mut dyn Output) -> Result<(), CopyError> {
        let (path, first) = (self.place(it.path), self.place(first));
        let identity = |it: &fs::Metadata| (it.dev(), it.ino());
        let first_one = first.symlink_metadata().ok().map(|it| identity(&it));
        if self.is_there(&path, |there| first_one == Some(identity(there)))? {
            return Ok(());
        }
        fs::hard_link(first, &path).map_err(|err| CopyError::of_file(&err, &path))
    }

    fn end(&mut self, _: &mut dyn Output) -> Result<Vec<String>, CopyError> {
        let mut notes = Vec::new();
        if self.same > 0 {
            let count = self.same;
            notes.push(format!("{count} files were there already, and were left as they are"));
        }
        if self.without_owner > 0 {
            let count = self.without_owner;
            notes
                .push(format!("{count} files belong to you: only root may give them their owners"));
        }
        if self.devices > 0 {
            let count = self.devices;
            notes.push(format!("{count} devices were left out: only root may make them"));
        }
        if self.attributes > 0 {
            let count = self.attributes;
            notes.push(format!("{count} attributes were left out: only root may set them"));
        }
        Ok(notes)
    }

    fn refused(&self) -> Option<String> {
        let (count, reason) = self.refused.as_ref()?;
        Some(format!("{count} attributes could not be set, the first: {reason}"))
    }
}
