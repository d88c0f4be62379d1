//! Commands about the names of files and of locks.

use std::collections::HashSet;

use ocfs2_format::Blkno;
use ocfs2_format::dinode::InodeFlags;
use ocfs2_format::dir::FileType;
use ocfs2_format::superblock::SUPERBLOCK_BLKNO;

use super::blocks::block;
use super::only;
use crate::error::{Explain, Failure, Problem};
use crate::lock::Lock;
use crate::screen::Screen;
use crate::shell::Shell;
use crate::volume::{Entry, Fs, Visited};

/// The most words of a command, as in the C tool.
const MOST_WORDS: usize = 50;

/// Parses words that name blocks.
fn blocks(fs: &Fs, words: &[Vec<u8>]) -> Result<Vec<Blkno>, Failure> {
    only(words)?;
    words.iter().take(MOST_WORDS).map(|word| block(fs, word)).collect()
}

/// `encode`
pub(super) fn encode(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let word = only(words)?;
    let blkno = shell.find(fs, word).of(word)?;
    let lock = if blkno == SUPERBLOCK_BLKNO {
        Lock::new(b'S', blkno, 0)
    } else {
        let inode = fs.inode(blkno).explain(|| format!("while reading inode {blkno}"))?;
        // As in the kernel: for other inodes it makes the lock before it knows the generation.
        let is_system = inode.dinode.flags().contains(InodeFlags::SYSTEM);
        let generation = if is_system { inode.dinode.i_generation } else { 0 };
        Lock::new(b'M', blkno, generation.into())
    };
    let name = lock.map(|lock| lock.name()).unwrap_or_default();
    out.row(
        "lock",
        |it| it.put("name", name.as_str()).put("block", blkno.0),
        format_args!("\t{name} "),
    )?;
    Ok(())
}

/// `decode`
pub(super) fn decode(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let found = blocks(shell.fs()?, words)?;
    for (word, blkno) in words.iter().zip(found) {
        out.row(
            "lock",
            |it| it.text("name", word).put("block", blkno.0),
            format_args!("\t{}\t{blkno}", ocfs2_cli::terminal(word)),
        )?;
    }
    Ok(())
}

/// `locate`
pub(super) fn locate(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    names(shell, words, out, false)
}

/// `findpath`: unlike in the C tool it stops at the first name.
pub(super) fn findpath(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    names(shell, words, out, true)
}

fn names(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
    only_first: bool,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let mut wanted: HashSet<_> = blocks(fs, words)?.into_iter().collect();
    let superblock = fs.volume.superblock();
    let mut missing = wanted.clone();
    let mut found = |path: &[u8], inode: Blkno, is_dir: bool| {
        if wanted.contains(&inode) {
            let end = if is_dir { "/" } else { "" };
            out.row(
                "path",
                |it| it.put("inode", inode.0).text("path", [path, end.as_bytes()].concat()),
                format_args!("\t{inode}\t{}{end}", ocfs2_cli::terminal(path)),
            )?;
            missing.remove(&inode);
            if only_first {
                wanted.remove(&inode);
            }
        }
        Ok(!wanted.is_empty())
    };
    let (root, system) = (superblock.s_root_blkno, superblock.s_system_dir_blkno);
    let mut damaged = 0;
    let _ = found(b"", root, true)?
        && found(b"/", system, true)?
        && walk(fs, &mut damaged, system, b"/", &mut found)?
        && walk(fs, &mut damaged, root, b"", &mut found)?;
    if damaged > 0 && (!only_first || !missing.is_empty()) {
        let what = if damaged == 1 { "directory is" } else { "directories are" };
        out.note(&format!("{damaged} {what} damaged, and names in there are missing"));
    }
    if missing.is_empty() {
        return Ok(());
    }
    if words.len() == 1 {
        return Err(Problem::NotFound).explain(|| " ".to_owned());
    }
    let mut missing: Vec<_> = missing.into_iter().collect();
    missing.sort_unstable();
    missing.iter().for_each(|inode| out.say(&format!("<{inode}>: no path is found")));
    Err(Failure::Said)
}

/// A directory on the way down: the length of its path, and its remaining entries in reverse order.
struct Level {
    len: usize,
    entries: Vec<Entry>,
}

/// Calls `found` with each entry below a directory and its path, until that returns false. Returns
/// whether it went to the end. What cannot be read is skipped, and counted in `damaged`.
fn walk(
    fs: &Fs,
    damaged: &mut u64,
    start: Blkno,
    prefix: &[u8],
    found: &mut impl FnMut(&[u8], Blkno, bool) -> Result<bool, Failure>,
) -> Result<bool, Failure> {
    let mut visited = Visited::default();
    visited.first(start);
    let mut path = prefix.to_vec();
    let mut levels = vec![Level { len: path.len(), entries: below(fs, start, damaged)? }];
    while let Some(level) = levels.last_mut() {
        let Some(entry) = level.entries.pop() else {
            levels.pop();
            continue;
        };
        path.truncate(level.len);
        path.push(b'/');
        path.extend_from_slice(&entry.name);
        // Another stated type is believed, since reading each inode takes long.
        let may_be_dir = FileType::from_code(entry.file_type)
            .is_none_or(|it| matches!(it, FileType::Directory | FileType::Unknown));
        let is_dir = may_be_dir && fs.inode(entry.inode).is_ok_and(|inode| inode.is_dir());
        if !found(&path, entry.inode, is_dir)? {
            return Ok(false);
        }
        if is_dir && visited.first(entry.inode) {
            let entries = below(fs, entry.inode, damaged)?;
            levels.push(Level { len: path.len(), entries });
        }
    }
    Ok(true)
}

/// The entries of a directory except `.` and `..`, in reverse order. One that is damaged is added to
/// `damaged`.
fn below(fs: &Fs, dir: Blkno, damaged: &mut u64) -> Result<Vec<Entry>, Failure> {
    fs.check()?;
    let mut entries = Vec::new();
    let Ok(inode) = fs.inode(dir) else { return Ok(entries) };
    let mut is_damaged = false;
    let walked = fs.dir_blocks::<Problem>(&inode, |block| {
        entries.extend(block.entries().filter(|entry| !entry.is_dot()));
        is_damaged |= block.problem().is_some();
        Ok(true)
    });
    if let Err(Problem::Interrupted(err)) = walked {
        return Err(err.into());
    }
    *damaged += u64::from(is_damaged || walked.is_err());
    entries.reverse();
    Ok(entries)
}
