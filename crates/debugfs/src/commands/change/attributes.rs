//! Extended attributes: listed, read, set and removed.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ocfs2_cli::terminal;
use ocfs2_format::acl;
use ocfs2_format::dinode::FileKind;
use ocfs2_format::xattr::{MAX_VALUE, XattrPrefix};
use ocfs2_volume::Error as VolumeError;
use ocfs2_volume::edit::EditError;
use ocfs2_volume::xattr::Xattr;

use super::{file_of, refused, say};
use crate::commands::dump::create;
use crate::commands::files::inode_of;
use crate::commands::{only, option};
use crate::error::{Explain, Failure, of_file};
use crate::screen::Screen;
use crate::shell::Shell;
use crate::writer::Committed;

/// Splits the name of an attribute into its prefix and the rest.
fn named(word: &[u8]) -> Result<(XattrPrefix, &[u8]), Failure> {
    XattrPrefix::split(word).ok_or_else(|| {
        refused(word, "is not the name of an attribute: it begins with user. or another space")
    })
}

/// Sets an access control list, given in the form of getxattr(2) or of the disk, as Linux does: that
/// of access becomes the file's permissions as well, and is not stored if it says nothing else. Returns
/// what was changed.
fn set_acl(
    shell: &mut Shell,
    words: (&[u8], &[u8]),
    prefix: XattrPrefix,
    value: &[u8],
) -> Result<(String, Committed), Failure> {
    let (word, name) = words;
    let file = file_of(shell, word)?;
    let stored = acl::stored(value).or_else(|| Some(value).filter(|value| acl::is_valid(value)));
    let access = stored.and_then(acl::as_mode);
    let (Some(stored), Some((bits, is_needed))) = (stored, access) else {
        return Err(refused(name, "is not an access control list that Linux takes"));
    };
    let inode = shell.fs()?.inode(file).of(word)?;
    let is_access = prefix == XattrPrefix::PosixAclAccess;
    match inode.kind() {
        Some(FileKind::Directory) => {}
        Some(FileKind::Symlink) => {
            return Err(refused(word, "is a symbolic link, which has no access control lists"));
        }
        _ if !is_access => {
            return Err(refused(word, "is not a directory: only these have default lists"));
        }
        _ => {}
    }
    let mode = inode.dinode.i_mode & !0o777 | bits;
    let ((), committed) = shell.change(|edit| {
        if is_access {
            edit.update_dinode(file, |dinode, _| dinode.i_mode = mode)?;
        }
        if is_needed || !is_access {
            return Ok(edit.set_xattr(file, prefix, b"", stored)?);
        }
        match edit.remove_xattr(file, prefix, b"") {
            Err(EditError::Volume(VolumeError::NotFound { .. })) => Ok(()),
            removed => Ok(removed?),
        }
    })?;
    let name = terminal(name);
    let what = match (is_access, is_needed) {
        (true, true) => {
            format!("{name} of inode {file} has {} bytes, its mode is {mode:o}", stored.len())
        }
        (true, false) => format!("inode {file} has mode {mode:o}, which says all of {name}"),
        (false, _) => format!("{name} of inode {file} has {} bytes", stored.len()),
    };
    Ok((what, committed))
}

/// `ea_list`
pub(in super::super) fn ea_list(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let word = only(words)?;
    let found = inode_of(shell, fs, word)?;
    let mut is_whole = true;
    for xattr in fs.volume.xattrs(&found) {
        fs.check()?;
        match xattr.of(word) {
            Ok(Xattr { name, entry, .. }) => {
                let size = entry.xe_value_size;
                out.row(
                    "attribute",
                    |it| it.text("name", &name).put("size", size),
                    format_args!("{} ({size} bytes)", terminal(&name)),
                )?;
            }
            Err(Failure::Failed(text)) => {
                is_whole = false;
                out.say(&format!("ea_list: {text}"));
            }
            Err(err) => return Err(err),
        }
    }
    if is_whole { Ok(()) } else { Err(Failure::Said) }
}

/// `ea_get`
pub(in super::super) fn ea_get(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let (to, words) = file_option(words)?;
    let [word, name] = words else { return Err(Failure::Usage) };
    let found = inode_of(shell, fs, word)?;
    for xattr in fs.volume.xattrs(&found) {
        fs.check()?;
        let xattr = xattr.of(word)?;
        if xattr.name != *name {
            continue;
        }
        if xattr.size() > MAX_VALUE {
            return Err(refused(name, "has a value that is longer than one can be"));
        }
        let value = fs.volume.xattr_value(&xattr).of(word)?;
        match to {
            Some(path) => {
                let written = create(fs, path)?.write_all(&value);
                written.map_err(|err| of_file(&err, path))?;
            }
            None => out.row(
                "attribute",
                |it| it.text("name", name).put("size", value.len()).text("value", &value),
                format_args!("{}", terminal(&value)),
            )?,
        }
        return Ok(());
    }
    Err(refused(word, &format!("has no attribute {}", terminal(name))))
}

/// Parses `-f` with a file; returns also the words after it.
fn file_option(words: &[Vec<u8>]) -> Result<(Option<&Path>, &[Vec<u8>]), Failure> {
    match option(words, "-f") {
        (false, words) => Ok((None, words)),
        (true, words) => {
            let (file, words) = words.split_first().ok_or(Failure::Usage)?;
            Ok((Some(Path::new(std::ffi::OsStr::from_bytes(file))), words))
        }
    }
}

/// `ea_set`
pub(in super::super) fn ea_set(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let (from, words) = file_option(words)?;
    let (word, name, value) = match (words, from) {
        ([word, name], Some(path)) => {
            let metadata = path.metadata().map_err(|err| of_file(&err, path))?;
            if metadata.len() > MAX_VALUE {
                return Err(refused(name, "can have 65536 bytes"));
            }
            (word, name, std::fs::read(path).map_err(|err| of_file(&err, path))?)
        }
        ([word, name, value], None) => (word, name, value.clone()),
        _ => return Err(Failure::Usage),
    };
    let (prefix, rest) = named(name)?;
    if prefix.is_acl() {
        let (what, committed) = set_acl(shell, (word, name), prefix, &value)?;
        return say(out, &what, committed);
    }
    let file = file_of(shell, word)?;
    let ((), committed) = shell.change(|edit| Ok(edit.set_xattr(file, prefix, rest, &value)?))?;
    let what = format!("{} of inode {file} has {} bytes", terminal(name), value.len());
    say(out, &what, committed)
}

/// `ea_rm`
pub(in super::super) fn ea_rm(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let [word, name] = words else { return Err(Failure::Usage) };
    let (prefix, rest) = named(name)?;
    let file = file_of(shell, word)?;
    let ((), committed) = shell.change(|edit| Ok(edit.remove_xattr(file, prefix, rest)?))?;
    say(out, &format!("{} of inode {file} is gone", terminal(name)), committed)
}
