//! The members of a tar archive.

use std::collections::HashMap;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;

use ocfs2_format::dinode::FileKind;
use tar::EntryType;

use super::acl;
use super::header::{Archive, Member, read_whole};
use crate::files::{Attributes, Contents, DirectoryId, FileId, Files, FillError};

/// Longest path that a message contains in full.
const MOST_SHOWN: usize = 4096;

/// What exists, by directory and name. So a path needs no more memory than its last name, however
/// deep it is.
#[derive(Default)]
struct Paths {
    directories: HashMap<(DirectoryId, Box<[u8]>), DirectoryId>,
    files: HashMap<(DirectoryId, Box<[u8]>), FileId>,
    /// The directory used last, which often contains the next member, too.
    last: Option<(Vec<u8>, DirectoryId)>,
}

/// Writes all members of an archive.
pub(super) fn fill(reader: &mut dyn Read, files: &mut Files<'_>) -> Result<(), FillError> {
    let mut archive = Archive::new(reader);
    let mut paths = Paths::default();
    while let Some(member) = archive.next().map_err(FillError::Read)? {
        add(&mut archive, &member, files, &mut paths).map_err(|err| err.at(shown(&member.path)))?;
    }
    Ok(())
}

/// A path for messages. A path longer than systems accept is cut.
fn shown(path: &[u8]) -> std::path::PathBuf {
    let cut = [path.get(..MOST_SHOWN).unwrap_or_default(), b"..."].concat();
    let shown = if path.len() > MOST_SHOWN { &cut } else { path };
    std::ffi::OsStr::from_bytes(shown).into()
}

/// The path without parts that stand for the root.
fn clean(path: &[u8]) -> Result<Vec<u8>, FillError> {
    let mut clean = Vec::with_capacity(path.len());
    for name in names(path).filter(|name| *name != b".") {
        if name == b".." {
            return Err(FillError::Source("leads out of the archive".to_owned()));
        }
        if !clean.is_empty() {
            clean.push(b'/');
        }
        clean.extend(name);
    }
    Ok(clean)
}

impl Paths {
    /// Returns the directory of that path. Missing ones are created, and get their attributes when
    /// the archive states them.
    fn directory(&mut self, path: &[u8], files: &mut Files<'_>) -> Result<DirectoryId, FillError> {
        if let Some((_, directory)) = self.last.as_ref().filter(|(last, _)| last == path) {
            return Ok(*directory);
        }
        let mut directory = Files::ROOT;
        for name in names(path) {
            let key = (directory, name.into());
            directory = match self.directories.get(&key) {
                Some(known) => *known,
                None => {
                    let new = files.directory(directory, name, files.default_attributes())?;
                    self.directories.insert(key, new);
                    new
                }
            };
        }
        self.last = Some((path.to_vec(), directory));
        Ok(directory)
    }

    /// The file of that path, if it exists.
    fn file(&self, path: &[u8]) -> Option<FileId> {
        let (parent, name) = split(path);
        let mut directory = Files::ROOT;
        for name in names(parent) {
            directory = *self.directories.get(&(directory, name.into()))?;
        }
        self.files.get(&(directory, name.into())).copied()
    }
}

/// The components of a path.
fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

/// Splits a path into its directory and its last name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

fn add<R: Read>(
    archive: &mut Archive<R>,
    member: &Member,
    files: &mut Files<'_>,
    paths: &mut Paths,
) -> Result<(), FillError> {
    let path = clean(&member.path)?;
    let attributes = attributes(member)?;
    let kind = match member.kind {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => FileKind::Regular,
        EntryType::Link => FileKind::Regular,
        EntryType::Symlink => FileKind::Symlink,
        EntryType::Char => FileKind::CharDevice,
        EntryType::Block => FileKind::BlockDevice,
        EntryType::Fifo => FileKind::Fifo,
        EntryType::Directory => FileKind::Directory,
        other => {
            let code = other.as_byte().escape_ascii();
            return Err(FillError::Source(format!("is of a kind that is not known: `{code}`")));
        }
    };
    // Old archives mark a directory only by the end of its name.
    let is_directory = member.kind == EntryType::Regular && member.path.ends_with(b"/");
    let padding = member.stored.next_multiple_of(512) - member.stored;
    if kind == FileKind::Directory || is_directory {
        let directory = paths.directory(&path, files)?;
        files.set_attributes(directory, attributes)?;
        return archive.skip(member.stored + padding).map_err(FillError::Read);
    }
    let (parent, name) = split(&path);
    let directory = paths.directory(parent, files)?;
    let file = match kind {
        FileKind::Regular if member.kind == EntryType::Link => {
            let target = clean(&member.target)?;
            let Some(file) = paths.file(&target) else {
                let target = ocfs2_cli::shown(shown(&target));
                let text = format!("is a hard link to {target}, which does not come before it");
                return Err(FillError::Source(text));
            };
            files.link(directory, name, file)?;
            archive.skip(member.stored + padding).map_err(FillError::Read)?;
            file
        }
        FileKind::Regular => {
            let mut contents = Stored::new(archive.reader(), member);
            let file = files.regular(directory, name, &attributes, &mut contents)?;
            let rest = contents.left + padding;
            archive.skip(rest).map_err(FillError::Read)?;
            file
        }
        FileKind::Symlink => files.symlink(directory, name, &attributes, &member.target)?,
        kind => files.special(directory, name, &attributes, kind, member.device)?,
    };
    if matches!(
        kind,
        FileKind::Symlink | FileKind::CharDevice | FileKind::BlockDevice | FileKind::Fifo
    ) {
        archive.skip(member.stored + padding).map_err(FillError::Read)?;
    }
    paths.files.insert((directory, name.into()), file);
    Ok(())
}

fn attributes(member: &Member) -> Result<Attributes, FillError> {
    let id = |id: u64| {
        let text = || FillError::Source(format!("has an owner or group of number {id}"));
        u32::try_from(id).map_err(|_| text())
    };
    let mut xattrs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut add = |name: &[u8], value: Vec<u8>| {
        xattrs.retain(|(known, _)| known != name);
        xattrs.push((name.to_vec(), value));
    };
    for (key, value) in &member.records {
        let list = match &key[..] {
            b"SCHILY.acl.access" => "system.posix_acl_access",
            b"SCHILY.acl.default" => "system.posix_acl_default",
            b"RHT.security.selinux" => {
                // The archive omits the NUL that ends it in the file system.
                let value = value.iter().copied().chain([0]).collect();
                add(b"security.selinux", value);
                continue;
            }
            key => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    add(&decoded(name), value.clone());
                }
                continue;
            }
        };
        // The text has names of users, which only the system that made the archive knows. If
        // attributes were archived, the stored list is there as well.
        let stored = [b"SCHILY.xattr.", list.as_bytes()].concat();
        if member.records.iter().any(|(key, _)| *key == stored) {
            continue;
        }
        let parsed = std::str::from_utf8(value).ok().and_then(acl::parse).ok_or_else(|| {
            FillError::Attribute {
                name: list.to_owned(),
                why: "the list in the archive is not understood; ids have to be numbers, as of \
                  tar --numeric-owner",
            }
        })?;
        // As in the kernel, a list that says no more than the permissions is not stored.
        if list != "system.posix_acl_access" || parsed.len() > acl::MINIMAL {
            add(list.as_bytes(), parsed);
        }
    }
    Ok(Attributes {
        permissions: (member.mode & 0o7777) as u16,
        uid: id(member.uid)?,
        gid: id(member.gid)?,
        mtime: member.mtime,
        xattrs,
    })
}

/// The name of an attribute from a key, in which `=` would end the key.
fn decoded(name: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((byte, after)) = rest.split_first() {
        let (byte, after) = match (byte, after) {
            (b'%', [b'3', b'D', after @ ..]) => (b'=', after),
            (b'%', [b'2', b'5', after @ ..]) => (b'%', after),
            (byte, after) => (*byte, after),
        };
        decoded.push(byte);
        rest = after;
    }
    decoded
}

/// The contents that come next in the archive.
struct Stored<'a, R> {
    reader: &'a mut R,
    size: u64,
    /// Bytes of it that are still in the archive.
    left: u64,
    /// The ranges of the file that are stored.
    ranges: Vec<Range<u64>>,
    /// Index of the current range.
    at: usize,
}

impl<'a, R: Read> Stored<'a, R> {
    fn new(reader: &'a mut R, member: &Member) -> Self {
        let map = member.map.iter().flatten();
        let ranges = match &member.map {
            Some(_) => map.map(|(offset, length)| *offset..offset + length).collect(),
            None => std::iter::once(0..member.size).collect(),
        };
        Self { reader, size: member.size, left: member.stored, ranges, at: 0 }
    }
}

impl<R: Read> Contents for Stored<'_, R> {
    fn size(&self) -> u64 {
        self.size
    }

    fn data(&mut self) -> io::Result<Vec<Range<u64>>> {
        Ok(self.ranges.clone())
    }

    fn read(&mut self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        buf.fill(0);
        let end = offset + buf.len() as u64;
        while let Some(range) = self.ranges.get(self.at) {
            let from = range.start.max(offset);
            let to = range.end.min(end);
            if from < to {
                let part = &mut buf[(from - offset) as usize..(to - offset) as usize];
                read_whole(self.reader, part)?;
                self.left = self.left.saturating_sub(part.len() as u64);
            }
            if range.end > end {
                break;
            }
            self.at += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_an_attribute_is_decoded_once() {
        assert_eq!(decoded(b"user.a%3Db%253D%x%"), b"user.a=b%3D%x%");
    }
}
