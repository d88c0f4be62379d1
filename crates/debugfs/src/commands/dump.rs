//! `dump`: copies one file out of the volume.

use std::fs::File;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;

use ocfs2_cli::shown;
use ocfs2_device::holders::is_behind_loop;
use ocfs2_extract::{
    Copied, CopyError, Place, Unfinished, local_path, set_mode, set_owner, set_times,
    write_contents,
};
use ocfs2_format::dinode::FileKind;
use ocfs2_volume::Inode;

use super::files::inode_of;
use super::option;
use super::rdump::lies_in_holes;
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
    let file = create(fs, path)?;
    let unfinished = Unfinished::new(path);
    let mut is_whole = true;
    if matches!(inode.kind(), Some(FileKind::Regular | FileKind::Directory) | None) {
        let (volume, interrupt) = (fs.contents(), fs.interrupt());
        let it = Copied { volume, interrupt, inode: &inode, path };
        match write_contents(&it, &file, path) {
            Ok(()) => {}
            Err(CopyError::Incomplete(text)) => {
                is_whole = false;
                out.say(&format!("dump: {}: {text}", shown(path)));
            }
            Err(CopyError::Unreadable(text)) => {
                return Err(Failure::Failed(format!("{}: {text}", shown(path))));
            }
            Err(err) => return Err(err.into()),
        }
    }
    if lies_in_holes(fs, &inode) {
        out.note(&format!(
            "dump: note: the contents are holes of {}, and zeros in the copy: an image that was made \
             without -a has none",
            shown(&fs.device)
        ));
    }
    unfinished.finished();
    if keep {
        let place = Place::Open(&file);
        let has_owner = set_owner(&inode, &place);
        let set = set_mode(&inode, &place, has_owner);
        // As with rdump: its time is that of the original once it is whole.
        let set = set.and_then(|()| if is_whole { set_times(&inode, &place) } else { Ok(()) });
        set.map_err(|err| of_file(&err.into(), path))?;
        if !has_owner {
            out.note(&format!("dump: {}: only root may give it its owner", shown(path)));
        }
    }
    if is_whole { Ok(()) } else { Err(Failure::Said) }
}

/// Makes a file of this machine, or empties one, unless it is a device or the volume itself.
pub(super) fn create(fs: &Fs, path: &Path) -> Result<File, Failure> {
    if let Ok(there) = path.metadata() {
        let is_volume = fs
            .device
            .metadata()
            .is_ok_and(|volume| (volume.dev(), volume.ino()) == (there.dev(), there.ino()));
        let why = match there.file_type().is_block_device() {
            _ if is_volume => Some("is the volume itself"),
            true => Some("is a block device, which is not overwritten"),
            false if is_behind_loop(path) => Some("is in use by a loop device"),
            false => None,
        };
        if let Some(why) = why {
            return Err(Failure::Failed(format!("'{}' {why}", shown(path))));
        }
    }
    File::create(path).map_err(|err| of_file(&err, path))
}

fn link(fs: &Fs, inode: &Inode, path: &Path) -> Result<(), Failure> {
    let target = fs.link_target(inode);
    let target = target.explain(|| format!("while reading inode {}", inode.blkno))?;
    symlink(local_path(&target), path).map_err(|err| of_file(&err, path))?;
    // The owner of a link hardly matters, and only root can set it.
    set_owner(inode, &Place::Path(path));
    Ok(())
}
