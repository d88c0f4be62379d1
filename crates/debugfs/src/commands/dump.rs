//! `dump`: copies one file out of the volume.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::Path;

use ocfs2_cli::shown;
use ocfs2_extract::{Copied, Place, local_path, set_mode, set_owner, set_times, write_contents};
use ocfs2_format::dinode::FileKind;
use ocfs2_volume::Inode;

use super::files::inode_of;
use super::option;
use crate::error::{Explain, Failure, of_file};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::volume::Fs;

/// `dump`
pub(super) fn dump(shell: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let (keep, words) = option(words, "-p");
    let [word, path, ..] = words else { return Err(Failure::Usage) };
    let inode = inode_of(shell, fs, word)?;
    let path = local_path(path);
    if Fs::is_link(&inode) {
        return link(fs, &inode, path);
    }
    let file = File::create(path).map_err(|err| of_file(&err, path))?;
    if matches!(inode.kind(), Some(FileKind::Regular | FileKind::Directory) | None) {
        let (volume, interrupt) = (fs.contents(), fs.interrupt());
        write_contents(&Copied { volume, interrupt, inode: &inode, path }, &file, path)?;
    }
    if keep {
        let place = Place::Open(&file);
        let has_owner = set_owner(&inode, &place);
        let set = set_mode(&inode, &place, has_owner).and_then(|()| set_times(&inode, &place));
        set.map_err(|err| of_file(&err.into(), path))?;
        if !has_owner {
            out.say(&format!("dump: {}: only root may give it its owner", shown(path)));
        }
    }
    Ok(())
}

fn link(fs: &Fs, inode: &Inode, path: &Path) -> Result<(), Failure> {
    let target = fs.link_target(inode);
    let target = target.explain(|| format!("while reading inode {}", inode.blkno))?;
    symlink(local_path(&target), path).map_err(|err| of_file(&err, path))?;
    // The owner of a link hardly matters, and only root can set it.
    set_owner(inode, &Place::Path(path));
    Ok(())
}
