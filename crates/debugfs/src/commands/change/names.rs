//! Names and inodes: made, moved, removed.

use std::collections::HashSet;

use ocfs2_cli::terminal;
use ocfs2_format::Blkno;
use ocfs2_format::dinode::{FileKind, InodeFlags};
use ocfs2_volume::Inode;
use ocfs2_volume::edit::{Edit, NewInode};

use super::{Place, file_of, refused, say};
use crate::error::{Explain, Failure, Problem};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::words::number_of;

/// Makes an inode with a name.
fn create(
    shell: &mut Shell,
    word: &[u8],
    new: &NewInode<'_>,
    out: &mut Screen,
) -> Result<(), Failure> {
    let place = Place::of(shell, word)?;
    let (inode, committed) =
        shell.change(|edit| Ok(edit.create(place.dir, &place.name, new)?))?;
    say(out, &format!("{} is inode {inode}", terminal(word)), committed)
}

/// `mkdir`
pub(in super::super) fn mkdir(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let [word] = words else { return Err(Failure::Usage) };
    create(shell, word, &NewInode::of(FileKind::Directory, 0o755), out)
}

/// `mknod`
pub(in super::super) fn mknod(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let [word, kind, numbers @ ..] = words else { return Err(Failure::Usage) };
    let of = |word: &Vec<u8>| number_of(word);
    let (kind, rdev) = match (kind.as_slice(), numbers) {
        (b"p", []) => (FileKind::Fifo, (0, 0)),
        (b"s", []) => (FileKind::Socket, (0, 0)),
        (b"c", [major, minor]) => (FileKind::CharDevice, (of(major)?, of(minor)?)),
        (b"b", [major, minor]) => (FileKind::BlockDevice, (of(major)?, of(minor)?)),
        _ => return Err(Failure::Usage),
    };
    create(shell, word, &NewInode { rdev, ..NewInode::of(kind, 0o644) }, out)
}

/// `symlink`
pub(in super::super) fn symlink(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let [word, target] = words else { return Err(Failure::Usage) };
    create(shell, word, &NewInode { target, ..NewInode::of(FileKind::Symlink, 0o777) }, out)
}

/// `ln`
pub(in super::super) fn ln(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let [source, word] = words else { return Err(Failure::Usage) };
    let (inode, place) = (file_of(shell, source)?, Place::of(shell, word)?);
    let ((), committed) =
        shell.change(|edit| Ok(edit.hard_link(place.dir, &place.name, inode)?))?;
    say(out, &format!("{} is inode {inode}", terminal(word)), committed)
}

/// `rename`
pub(in super::super) fn rename(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let [source, word] = words else { return Err(Failure::Usage) };
    let (from, to) = (Place::of(shell, source)?, Place::of(shell, word)?);
    let ((), committed) =
        shell.change(|edit| Ok(edit.rename(from.dir, &from.name, to.dir, &to.name)?))?;
    say(out, &format!("{} is now {}", terminal(source), terminal(word)), committed)
}

/// `rm`: removes the name of anything but a directory.
pub(in super::super) fn rm(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    remove(shell, words, out, false)
}

/// `rmdir`
pub(in super::super) fn rmdir(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    remove(shell, words, out, true)
}

fn remove(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
    directories: bool,
) -> Result<(), Failure> {
    let [word] = words else { return Err(Failure::Usage) };
    let place = Place::of(shell, word)?;
    let fs = shell.fs()?;
    let dir = fs.inode(place.dir).of(word)?;
    let inode = fs.lookup(&dir, &place.name).of(word)?;
    let file = fs.inode(inode).of(word)?;
    if file.is_dir() != directories {
        let other = if directories { "is not a directory" } else { "is a directory: rmdir" };
        return Err(refused(word, other));
    }
    let links = if file.is_dir() { 1 } else { fs.volume.links_count(&file) };
    let ((), committed) = shell.change(|edit| Ok(edit.unlink(place.dir, &place.name)?))?;
    let what = match links {
        0 | 1 => format!("{} and inode {inode} are gone", terminal(word)),
        more => format!("{} is gone; inode {inode} still has {}", terminal(word), named(more - 1)),
    };
    say(out, &what, committed)
}

fn named(links: u32) -> String {
    if links == 1 { "1 name".to_owned() } else { format!("{links} names") }
}

/// `kill_file`: deletes an inode with all its names.
pub(in super::super) fn kill_file(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let [word] = words else { return Err(Failure::Usage) };
    let fs = shell.fs()?;
    let blkno = shell.find(fs, word).of(word)?;
    let flags = fs.inode(blkno).of(word)?.dinode.flags();
    let is_root = blkno == fs.volume.superblock().s_root_blkno;
    if flags.contains(InodeFlags::SYSTEM) || is_root {
        return Err(refused(word, "belongs to the volume itself"));
    }
    let interrupt = shell.interrupt().clone();
    let (names, committed) = shell.change(|edit| {
        let inode = edit.inode(blkno)?;
        if inode.dinode.flags().contains(InodeFlags::ORPHANED) {
            edit.delete_orphan(blkno)?;
            return Ok(0);
        }
        let names = names_of(edit, blkno, &|| Ok(interrupt.check()?))?;
        match (names.len(), inode.is_dir()) {
            // With a wrong link count, removing the last name would not delete the inode.
            (named, false) if named as u64 != u64::from(edit.links_count(&inode)) => {
                let links = edit.links_count(&inode);
                let why = format!("states {links} names and has {named}: fsck.ocfs2 mends that");
                return Err(refused(word, &why));
            }
            (0, _) => edit.delete_inode(blkno)?,
            _ => names.iter().try_for_each(|(dir, name)| edit.unlink(*dir, name))?,
        }
        Ok(names.len() as u32)
    })?;
    let what = format!("inode {blkno}, which had {}, is gone", named(names));
    say(out, &what, committed)
}

/// Finds all names of an inode, each with its directory.
fn names_of(
    edit: &Edit,
    wanted: Blkno,
    check: &dyn Fn() -> Result<(), Failure>,
) -> Result<Vec<(Blkno, Vec<u8>)>, Failure> {
    let mut found = Vec::new();
    let mut left = vec![edit.root()?.blkno];
    let mut visited: HashSet<_> = left.iter().copied().collect();
    while let Some(at) = left.pop() {
        check()?;
        let dir: Inode = edit.inode(at)?;
        for entry in edit.entries(&dir)? {
            let entry = entry?;
            if entry.is_dot() {
                continue;
            }
            if entry.inode == wanted {
                found.push((at, entry.name.clone()));
            }
            let is_dir = entry.file_type == Some(ocfs2_format::dir::FileType::Directory);
            if is_dir && visited.insert(entry.inode) {
                left.push(entry.inode);
            }
        }
    }
    Ok(found)
}

/// `clri`: overwrites the block of an inode with zeros; whatever points to it stays.
pub(in super::super) fn clri(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let (is_meant, words) = super::super::option(words, "--direct");
    let [word] = words else { return Err(Failure::Usage) };
    let fs = shell.fs()?;
    let blkno = shell.find(fs, word).of(word)?;
    if !is_meant {
        let why = "would be damaged by this: kill_file deletes it with its names; --direct does it";
        return Err(refused(word, why));
    }
    if !fs.block(blkno).of(word)?.starts_with(b"INODE01\0") {
        return Err(Problem::BadMagic("inode")).of(word);
    }
    let zeros = vec![0; fs.volume.block_size().size()];
    let committed = shell.damage(|edit| Ok(edit.put_blocks(blkno, &zeros)?))?;
    say(out, &format!("block {blkno} is zeros"), committed)
}
