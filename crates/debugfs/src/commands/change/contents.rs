//! Contents of files: written, cut, allocated, shared.

use std::fs::{File, Metadata};
use std::io::Read;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ocfs2_cli::{Interrupt, parse_size, terminal};
use ocfs2_format::Blkno;
use ocfs2_format::dinode::FileKind;
use ocfs2_format::xattr::XattrPrefix;
use ocfs2_volume::edit::{Edit, NewInode};

use super::{Place, file_of, refused, say};
use crate::commands::option;
use crate::error::{Explain, Failure, of_file};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::words::number;

/// Bytes written at a time.
const PIECE: usize = 1 << 20;

/// `write`: copies a file of this machine to the volume.
pub(in super::super) fn write(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let [local, word] = words else { return Err(Failure::Usage) };
    let path = Path::new(std::ffi::OsStr::from_bytes(local));
    let place = Place::of(shell, word)?;
    let metadata = path.metadata().map_err(|err| of_file(&err, path))?;
    if !metadata.is_file() {
        return Err(refused(local, "is not a regular file"));
    }
    let mut from = File::open(path).map_err(|err| of_file(&err, path))?;
    let interrupt = shell.interrupt().clone();
    let (inode, committed) = shell.change(|edit| {
        let inode = edit.create(place.dir, &place.name, &like(&metadata))?;
        let written = fill(edit, inode, &mut from, &interrupt);
        written.map_err(|err| match err {
            Fill::Local(err) => of_file(&err, path),
            Fill::Volume(err) => err,
        })?;
        Ok(inode)
    })?;
    say(out, &format!("{} is inode {inode}", terminal(word)), committed)
}

/// A new regular file with the owner and the permissions of a local one.
fn like(metadata: &Metadata) -> NewInode<'static> {
    let permissions = (metadata.mode() & 0o7777) as u16;
    let new = NewInode::of(FileKind::Regular, permissions);
    NewInode { uid: metadata.uid(), gid: metadata.gid(), ..new }
}

/// Why contents could not be written.
enum Fill {
    Local(std::io::Error),
    Volume(Failure),
}

impl<E: Into<Failure>> From<E> for Fill {
    fn from(err: E) -> Self {
        Self::Volume(err.into())
    }
}

/// Writes everything that can be read; pieces of zeros become holes.
fn fill(
    edit: &mut Edit,
    inode: Blkno,
    from: &mut impl Read,
    interrupt: &Interrupt,
) -> Result<(), Fill> {
    let (mut piece, mut at) = (Vec::with_capacity(PIECE), 0);
    loop {
        interrupt.check()?;
        piece.clear();
        let read = from.by_ref().take(PIECE as u64).read_to_end(&mut piece);
        if read.map_err(Fill::Local)? == 0 {
            break;
        }
        if piece.iter().any(|byte| *byte != 0) {
            edit.write_file(inode, at, &piece)?;
        }
        at += piece.len() as u64;
    }
    if edit.inode(inode)?.size() < at {
        edit.truncate(inode, at)?;
    }
    Ok(())
}

/// Parses a number of bytes, optionally with a unit.
fn size_of(word: &[u8]) -> Result<u64, Failure> {
    let plain = number(word);
    let size = plain.or_else(|| parse_size(std::str::from_utf8(word).ok()?).ok());
    size.ok_or_else(|| refused(word, "is not a number of bytes"))
}

/// `truncate`
pub(in super::super) fn truncate(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let [word, size] = words else { return Err(Failure::Usage) };
    let (file, size) = (file_of(shell, word)?, size_of(size)?);
    let before = shell.fs()?.inode(file).of(word)?.size();
    let ((), committed) = shell.change(|edit| Ok(edit.truncate(file, size)?))?;
    let what = format!("{} had {before} bytes and has {size}", terminal(word));
    say(out, &what, committed)
}

/// The byte range of blocks of a file; `last` is included.
fn blocks_of(shell: &Shell, first: &[u8], last: Option<&[u8]>) -> Result<Range<u64>, Failure> {
    let of = |word: &[u8]| {
        number(word).ok_or_else(|| refused(word, "is not the number of a block of a file"))
    };
    let size = u64::from(shell.fs()?.volume.block_size().bytes());
    let last = last.map(of).transpose()?;
    let start = of(first)?.saturating_mul(size);
    let end = last.map_or(u64::MAX, |last| last.saturating_add(1).saturating_mul(size));
    match start < end {
        true => Ok(start..end),
        false => Err(refused(first, "is after the last block")),
    }
}

/// `punch`
pub(in super::super) fn punch(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let (word, first, last) = match words {
        [word, first] => (word, first, None),
        [word, first, last] => (word, first, Some(last.as_slice())),
        _ => return Err(Failure::Usage),
    };
    let (file, range) = (file_of(shell, word)?, blocks_of(shell, first, last)?);
    let clusters = |edit: &Edit| Ok::<_, Failure>(edit.inode(file)?.dinode.i_clusters);
    let ((before, after), committed) = shell.change(|edit| {
        let before = clusters(edit)?;
        edit.punch(file, range)?;
        Ok((before, clusters(edit)?))
    })?;
    let what = format!("{} had {before} clusters and has {after}", terminal(word));
    say(out, &what, committed)
}

/// `fallocate`
pub(in super::super) fn fallocate(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let (keeps_size, words) = option(words, "-k");
    let [word, first, last] = words else { return Err(Failure::Usage) };
    let (file, range) = (file_of(shell, word)?, blocks_of(shell, first, Some(last))?);
    let clusters = |edit: &Edit| Ok::<_, Failure>(edit.inode(file)?.dinode.i_clusters);
    let ((before, after), committed) = shell.change(|edit| {
        let before = clusters(edit)?;
        edit.allocate(file, range, !keeps_size)?;
        Ok((before, clusters(edit)?))
    })?;
    let what = format!("{} had {before} clusters and has {after}", terminal(word));
    say(out, &what, committed)
}

/// `reflink`: makes a file that shares the contents of another one and has its owner, its
/// permissions and its attributes.
pub(in super::super) fn reflink(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let [source, word] = words else { return Err(Failure::Usage) };
    let (from, place) = (file_of(shell, source)?, Place::of(shell, word)?);
    let fs = shell.fs()?;
    let mut attributes = Vec::new();
    for xattr in fs.volume.xattrs(&fs.inode(from).of(source)?) {
        fs.check()?;
        let xattr = xattr.of(source)?;
        let value = fs.volume.xattr_value(&xattr).of(source)?;
        attributes.push((xattr.name, value));
    }
    let (inode, committed) = shell.change(|edit| {
        let dinode = edit.inode(from)?.dinode;
        let new = NewInode::of(FileKind::Regular, dinode.i_mode & 0o7777);
        let new = NewInode { uid: dinode.i_uid, gid: dinode.i_gid, ..new };
        let inode = edit.create(place.dir, &place.name, &new)?;
        edit.reflink(from, inode)?;
        for (name, value) in &attributes {
            let (prefix, rest) = XattrPrefix::split(name)
                .ok_or_else(|| refused(source, "has an attribute of an unknown kind"))?;
            edit.set_xattr(inode, prefix, rest, value)?;
        }
        Ok(inode)
    })?;
    let what = format!("{} is inode {inode} and shares all of inode {from}", terminal(word));
    say(out, &what, committed)
}
