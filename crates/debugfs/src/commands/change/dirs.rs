//! Directories: more room, or a new index.

use ocfs2_cli::terminal;

use super::{file_of, say};
use crate::error::{Explain, Failure};
use crate::screen::Screen;
use crate::shell::Shell;

/// `expand_dir`
pub(in super::super) fn expand_dir(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let [word] = words else { return Err(Failure::Usage) };
    let dir = file_of(shell, word)?;
    let before = shell.fs()?.inode(dir).of(word)?.size();
    let (after, committed) = shell.change(|edit| {
        edit.expand_dir(dir)?;
        Ok(edit.inode(dir)?.size())
    })?;
    let what = format!("{} had {before} bytes and has {after}", terminal(word));
    say(out, &what, committed)
}

/// `rebuild_index`
pub(in super::super) fn rebuild_index(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let [word] = words else { return Err(Failure::Usage) };
    let dir = file_of(shell, word)?;
    let (entries, committed) = shell.change(|edit| Ok(edit.rebuild_index(dir)?))?;
    let what = format!("the index of {} has {entries} entries", terminal(word));
    say(out, &what, committed)
}
