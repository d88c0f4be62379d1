//! Directories.

use std::io::Write;

use ocfs2_format::dinode::FileKind;
use ocfs2_format::dir::DirTrailer;
use ocfs2_show::time;
use ocfs2_volume::Inode;

use super::parts::Shape;
use super::{Out, Shown, check_at};
use crate::record::Record;
use crate::volume::{DirBlock, Entry};

fn line(entry: &Entry) -> String {
    let Entry { inode, rec_len, file_type, name } = entry;
    let (inode, len, name) = (inode.0, name.len(), ocfs2_cli::terminal(name));
    format!("\t{inode:<15} {rec_len:<4} {len:<4} {file_type:<2} {name}")
}

fn record(record: Record, entry: &Entry) -> Record {
    let Entry { inode, rec_len, file_type, name } = entry;
    let record = record.put("inode", inode.0).put("rec_len", *rec_len);
    record.put("file_type", *file_type).text("name", name)
}

/// Shows an entry.
pub fn entry(out: Out<'_>, entry: &Entry) -> Shown {
    out.row("entry", |it| record(it, entry), format_args!("{}", line(entry)))
}

/// Shows an entry with the inode it points to.
pub fn long(out: Out<'_>, entry: &Entry, inode: &Inode) -> Shown {
    let dinode = &inode.dinode;
    let (number, name) = (entry.inode.0, ocfs2_cli::terminal(&entry.name));
    let (mode, links) = (mode(inode), dinode.links_count(true));
    let (uid, gid, size) = (dinode.i_uid, dinode.i_gid, dinode.i_size);
    let time = time::short(dinode.i_mtime);
    out.row(
        "entry",
        |it| {
            let it = record(it, entry).put("mode", dinode.i_mode).put("links", links);
            it.put("uid", uid).put("gid", gid).put("size", size).put("mtime", dinode.i_mtime)
        },
        format_args!("\t{number:<15} {mode} {links:>3} {uid:>5} {gid:>5} {size:>15} {time} {name}"),
    )
}

/// Type and permissions as in `ls`, except `f` for a FIFO.
pub fn mode(inode: &Inode) -> String {
    let mode = inode.dinode.i_mode;
    let kind = match inode.kind() {
        Some(FileKind::Regular) => '-',
        Some(FileKind::Directory) => 'd',
        Some(FileKind::CharDevice) => 'c',
        Some(FileKind::BlockDevice) => 'b',
        Some(FileKind::Symlink) => 'l',
        Some(FileKind::Fifo) => 'f',
        Some(FileKind::Socket) => 's',
        None => '?',
    };
    let mut text = String::from(kind);
    for (shift, special, set) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let three = mode >> shift;
        text.push(if three & 4 != 0 { 'r' } else { '-' });
        text.push(if three & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, three & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, true) => set,
            (true, false) => set.to_ascii_uppercase(),
        });
    }
    text
}

/// Shows the trailer of a block; its check covers the whole block.
pub fn trailer(out: Out<'_>, trailer: &DirTrailer, block: &[u8], is_checked: bool) -> Shown {
    let (blkno, dir, len) = (trailer.db_blkno, trailer.db_parent_dinode, trailer.db_compat_rec_len);
    writeln!(out, "\tTrailer Block: {blkno}   Inode: {dir}   Len: {len}")?;
    let (hole, next) = (trailer.db_free_rec_len, trailer.db_free_next);
    writeln!(out, "\tLargest Hole: {hole}   Next Block: {next}")?;
    check_at(out, block, DirTrailer::check_offset(block.len()), is_checked)
}

/// Shows a block with its entries.
pub fn block(out: Out<'_>, block: &DirBlock, is_checked: bool) -> Shown {
    out.structure_as(Shape::Directory, &block.bytes, is_checked)?;
    writeln!(out, "\tDirblock: {}", block.blkno)?;
    if let Some(found) = block.trailer() {
        trailer(out, &found, &block.bytes, is_checked)?;
    }
    writeln!(out, "\tEntries:")?;
    block.all_entries().try_for_each(|found| writeln!(out, "{}", line(&found)))
}
