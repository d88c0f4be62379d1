//! Commands about directories.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ocfs2_format::Blkno;

use super::files::inode_of;
use super::{only, option};
use crate::error::{Explain, Failure, Problem, of_file};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::show::dir;
use crate::volume::{Fs, Visited};

/// `ls`
pub(super) fn ls(shell: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let (is_long, words) = option(words, "-l");
    let blkno = match words.first() {
        Some(word) => shell.find(fs, word).of(word)?,
        None => shell.cwd(),
    };
    list(fs, blkno, is_long, out)
}

/// Lists the entries of a directory.
pub(super) fn list(fs: &Fs, blkno: Blkno, is_long: bool, out: &mut Screen) -> Result<(), Failure> {
    let context = || format!("while checking directory at block {blkno}");
    let found = fs.inode(blkno).explain(context)?;
    if !found.is_dir() {
        return Err(Problem::NotDir).explain(context);
    }
    let mut is_whole = true;
    fs.dir_blocks::<Failure>(&found, |block| {
        for entry in block.entries() {
            if !is_long {
                dir::entry(out, &entry)?;
                continue;
            }
            let inode = entry.inode;
            match fs.inode(inode).explain(|| format!("while reading inode {inode}")) {
                Ok(named) => dir::long(out, &entry, &named)?,
                Err(Failure::Failed(text)) => {
                    // A damaged inode must not hide the other entries.
                    is_whole = false;
                    out.say(&format!("ls: {text}"));
                    dir::entry(out, &entry)?;
                }
                Err(err) => return Err(err),
            }
        }
        if let Some(problem) = block.problem() {
            is_whole = false;
            out.say(&format!("ls: {problem}"));
        }
        Ok(true)
    })?;
    if is_whole { Ok(()) } else { Err(Failure::Said) }
}

/// `dirblocks`
pub(super) fn dirblocks(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let found = inode_of(shell, fs, only(words)?)?;
    let blkno = found.blkno;
    if !found.is_dir() {
        let context = || format!("while checking directory at block {blkno}");
        return Err(Problem::NotDir).explain(context);
    }
    if found.is_inline() {
        let context = || format!("while iterating directory at block {blkno}");
        return Err(Problem::NoExtents).explain(context);
    }
    fs.dir_blocks::<Failure>(&found, |block| {
        dir::block(out, block, fs.has_checks())?;
        Ok(true)
    })
}

/// Finds the directory that a word names.
fn directory(shell: &Shell, words: &[Vec<u8>]) -> Result<Blkno, Failure> {
    let found = inode_of(shell, shell.fs()?, only(words)?)?;
    let context = || format!("while checking directory at block {}", found.blkno);
    if found.is_dir() { Ok(found.blkno) } else { Err(Problem::NotDir).explain(context) }
}

/// `cd`
pub(super) fn cd(shell: &mut Shell, words: &[Vec<u8>], _: &mut Screen) -> Result<(), Failure> {
    let blkno = directory(shell, words)?;
    shell.set_cwd(blkno);
    Ok(())
}

/// `chroot`
pub(super) fn chroot(shell: &mut Shell, words: &[Vec<u8>], _: &mut Screen) -> Result<(), Failure> {
    let blkno = directory(shell, words)?;
    shell.set_root(blkno);
    Ok(())
}

/// `pwd`
pub(super) fn pwd(shell: &mut Shell, _: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let path = path_of(shell.fs()?, shell.cwd())?;
    let text = ocfs2_cli::terminal(&path);
    out.row("path", |it| it.text("path", &path), format_args!("{text}"))?;
    Ok(())
}

/// Finds the path of a directory by going up.
fn path_of(fs: &Fs, dir: Blkno) -> Result<Vec<u8>, Failure> {
    let superblock = fs.volume.superblock();
    let mut names = Vec::new();
    let mut visited = Visited::default();
    let mut at = dir;
    while at != superblock.s_root_blkno && at != superblock.s_system_dir_blkno {
        let parent = fs.lookup(&fs.inode(at)?, b"..")?;
        let mut name = None;
        fs.dir_blocks::<Problem>(&fs.inode(parent)?, |block| {
            name = block.entries().find(|entry| entry.inode == at && !entry.is_dot());
            Ok(name.is_none())
        })?;
        let Some(entry) = name.filter(|_| visited.first(at)) else {
            // No entry of its parent points to it.
            return Ok(format!("<{dir}>").into_bytes());
        };
        names.push(entry.name);
        at = parent;
    }
    let start = if at == superblock.s_root_blkno { &b"/"[..] } else { b"//" };
    names.reverse();
    Ok([start, &names.join(&b'/')].concat())
}

/// `lcd`
pub(super) fn lcd(_: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let Some(word) = words.first() else {
        let here = std::env::current_dir()?;
        let text = ocfs2_cli::shown(&here);
        let bytes = here.as_os_str().as_bytes();
        out.row("path", |it| it.text("path", bytes), format_args!("{text}"))?;
        return Ok(());
    };
    let path = Path::new(std::ffi::OsStr::from_bytes(word));
    std::env::set_current_dir(path).map_err(|err| of_file(&err, path))
}
