//! Commands that change the volume. Each is one transaction and reports what it changed.

pub(super) mod attributes;
pub(super) mod bits;
pub(super) mod contents;
pub(super) mod dirs;
pub(super) mod feature;
pub(super) mod fields;
pub(super) mod fill;
pub(super) mod journal;
pub(super) mod modify;
pub(super) mod names;
pub(super) mod quota;
pub(super) mod raw;
mod reuse;
pub(super) mod trash;
pub(super) mod tree;
pub(super) mod undelete;

use ocfs2_cli::terminal;
use ocfs2_format::Blkno;
use ocfs2_format::dinode::InodeFlags;

use crate::error::{Explain, Failure};
use crate::paths::block_of;
use crate::screen::Screen;
use crate::shell::Shell;
use crate::volume::Fs;
use crate::writer::Committed;

/// A name in a directory.
struct Place {
    dir: Blkno,
    name: Vec<u8>,
}

impl Place {
    /// Splits a path: its last component, and the directory before it, which has to exist.
    fn of(shell: &Shell, word: &[u8]) -> Result<Self, Failure> {
        let fs = shell.fs()?;
        let end = word.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
        let path = word.get(..end).unwrap_or_default();
        if path.is_empty() || block_of(path).is_some() {
            return Err(refused(word, "is not a name in a directory"));
        }
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let (dir, name) = path.split_at(slash.map_or(0, |at| at + 1));
        let dir = match (slash, block_of(dir.strip_suffix(b"/").unwrap_or_default())) {
            (None, _) => shell.cwd(),
            (_, Some(blkno)) => blkno,
            // As an inner component, a link is followed.
            _ => shell.find(fs, &[dir, b"."].concat()).of(word)?,
        };
        let place = Self { dir, name: name.to_vec() };
        verify_own(fs, dir, word)?;
        Ok(place)
    }
}

/// Finds the file that a word names, unless it belongs to the volume itself.
fn file_of(shell: &Shell, word: &[u8]) -> Result<Blkno, Failure> {
    let fs = shell.fs()?;
    let blkno = shell.find(fs, word).of(word)?;
    verify_own(fs, blkno, word)?;
    Ok(blkno)
}

/// Fails for an inode that belongs to the volume itself, or is to be deleted.
fn verify_own(fs: &Fs, blkno: Blkno, word: &[u8]) -> Result<(), Failure> {
    let flags = fs.inode(blkno).of(word)?.dinode.flags();
    let is_root = blkno == fs.volume.superblock().s_root_blkno;
    if flags.contains(InodeFlags::SYSTEM) && !is_root {
        return Err(refused(word, "belongs to the volume itself"));
    }
    match flags.intersects(InodeFlags::ORPHANED | InodeFlags::DIO_ORPHANED) {
        true => Err(refused(word, "is an orphan, which a recovery deletes")),
        false => Ok(()),
    }
}

pub(super) fn refused(word: &[u8], why: &str) -> Failure {
    Failure::Failed(format!("{} {why}", terminal(word)))
}

/// Reports what was changed.
fn say(out: &mut Screen, what: &str, committed: Committed) -> Result<(), Failure> {
    out.row(
        "change",
        |it| {
            let it = it.put("what", what).put("blocks", committed.blocks);
            it.put("in_place", committed.in_place)
        },
        format_args!("{what}; {committed}"),
    )?;
    Ok(())
}

/// A number with a noun.
pub(super) fn counted(count: u64, what: &str) -> String {
    let end = if count == 1 { "" } else { "s" };
    format!("{count} {what}{end}")
}
