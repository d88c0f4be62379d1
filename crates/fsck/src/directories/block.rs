//! Blocks of a directory: their checksums and trailers.

use ocfs2_format::dir::{self, DirTrailer};
use ocfs2_format::{Blkno, Structure};
use ocfs2_volume::Inode;

use super::entry::{self, Reader};
use super::{Known, Read};
use crate::codes::{directories as codes, general, inodes};
use crate::repair::{Repair, directory};
use crate::{Finding, Place};

/// Blocks per read, after each of which the end of the directory is looked for.
const PIECE: u64 = 1 << 10;

/// Reads `count` blocks from `start` on. Returns whether to read on after them: a directory ends,
/// whatever it states, after so many consecutive blocks without an entry.
pub(super) fn read(
    known: &Known<'_>,
    inode: &Inode,
    start: Blkno,
    count: u64,
    reader: &mut Reader<'_>,
    read: &mut Read,
) -> bool {
    let mut at = 0;
    while at < count && !known.context.interrupt.requested() {
        let piece = PIECE.min(count - at);
        let start = Blkno(start.0.saturating_add(at));
        known.context.read_each("directory block", start, piece, |blkno, block| match block {
            Ok(block) => check(known, inode, blkno, block, reader, read),
            Err(finding) => {
                // For the system directory it was reported at the start.
                if inode.blkno != known.context.volume.superblock().s_system_dir_blkno {
                    let place = finding.place.clone().of(inode.blkno);
                    read.found(Finding { place, ..finding });
                }
                reader.barren.count(None);
                reader.lost_block(blkno);
            }
        });
        if reader.barren.are_too_many() {
            let text = format!(
                "directory {}: in {} blocks up to block {} no entry begins, and what is behind \
                 them is none of it",
                inode.blkno,
                reader.barren.blocks(),
                start.0.saturating_add(piece - 1)
            );
            let place = Place::block(start).of(inode.blkno);
            let finding = Finding::new(codes::DIRENT_LENGTH, place, text);
            read.findings.push(finding.repaired_by(directory::rewrite(inode.blkno)));
            reader.incomplete();
            return false;
        }
        at += piece;
    }
    true
}

fn check(
    known: &Known<'_>,
    inode: &Inode,
    blkno: Blkno,
    block: &mut [u8],
    reader: &mut Reader<'_>,
    read: &mut Read,
) {
    let mut len = block.len();
    reader.barren.count(Some(block));
    if reader.is_too_long && !is_one(known, inode, block) {
        return;
    }
    if known.context.volume.has_dir_trailers(inode) {
        if let Some(bad) = known.context.check(block, DirTrailer::check_offset(len)) {
            let place = Place::block(blkno).of(inode.blkno);
            let text = format!("directory {}: block {blkno}: {bad}", inode.blkno);
            let finding = Finding::new(general::BLOCK_ECC, place, text);
            read.found(finding.repaired_by(directory::rewrite(inode.blkno)));
        }
        if let Ok(found) = DirTrailer::of_block(block) {
            match exchanged(known, (inode.blkno, blkno), &found) {
                Some(finding) => read.found(finding),
                None => trailer(inode.blkno, blkno, &found, read),
            }
            reader.block(blkno, &found);
        }
        len = DirTrailer::offset(len);
    }
    entry::check_all(reader, blkno, block.get(..len).unwrap_or_default(), read);
}

/// Returns whether a block looks like one of the directory.
fn is_one(known: &Known<'_>, inode: &Inode, block: &[u8]) -> bool {
    let trailer = DirTrailer::of_block(block).ok();
    let has_trailer = trailer.is_some_and(|it| it.db_signature == DirTrailer::SIGNATURE);
    let first = dir::entries(block).next();
    first.is_some_and(|entry| entry.is_ok())
        && (has_trailer || !known.context.volume.has_dir_trailers(inode))
}

/// Returns the finding that the block at `blkno` and another one, of this directory or of another,
/// are in each other's places.
fn exchanged(
    known: &Known<'_>,
    (dir, blkno): (Blkno, Blkno),
    trailer: &DirTrailer,
) -> Option<Finding> {
    let volume = known.context.volume;
    let home = trailer.db_blkno;
    let is_one = |it: &DirTrailer| it.db_signature == DirTrailer::SIGNATURE;
    if home == blkno || !is_one(trailer) || !volume.geometry().is_valid_block(home) {
        return None;
    }
    let there = volume.read_block(home).ok()?;
    let other = DirTrailer::of_block(&there).ok().filter(is_one)?;
    if other.db_blkno != blkno || other.db_parent_dinode != dir {
        return None;
    }
    let text =
        format!("directory {dir}: block {blkno} and block {home} are in each other's places");
    let repair = Repair::first_once("misplaced block", blkno.min(home).0, move |editor| {
        let volume = editor.volume();
        let (here, there) = (volume.read_block(blkno)?, volume.read_block(home)?);
        editor.put_blocks(blkno, &there)?;
        editor.put_blocks(home, &here)
    });
    let place = Place::block(blkno).of(dir);
    Some(Finding::new(inodes::BLOCK_MISPLACED, place, text).repaired_by(repair))
}

fn trailer(dir: Blkno, blkno: Blkno, trailer: &DirTrailer, read: &mut Read) {
    let mut found = |code, text: String| {
        let text = format!("directory {dir}: trailer of block {blkno}: {text}");
        let finding = Finding::new(code, Place::block(blkno).of(dir), text);
        read.found(finding.repaired_by(directory::rewrite(dir)));
    };
    if trailer.db_signature != DirTrailer::SIGNATURE {
        let text = format!("db_signature is {}", trailer.db_signature.escape_ascii());
        return found(codes::DIR_TRAILER_SIGNATURE, text);
    }
    if trailer.db_compat_inode != 0 {
        let text = format!("db_compat_inode is {}, expected 0", trailer.db_compat_inode);
        found(codes::DIR_TRAILER_INODE, text);
    }
    if trailer.db_compat_name_len != 0 {
        let text = format!("db_compat_name_len is {}, expected 0", trailer.db_compat_name_len);
        found(codes::DIR_TRAILER_NAME_LEN, text);
    }
    let size = DirTrailer::SIZE;
    if usize::from(trailer.db_compat_rec_len) != size {
        let text = format!("db_compat_rec_len is {}, expected {size}", trailer.db_compat_rec_len);
        found(codes::DIR_TRAILER_REC_LEN, text);
    }
    if trailer.db_blkno != blkno {
        found(codes::DIR_TRAILER_BLKNO, format!("db_blkno is {}", trailer.db_blkno));
    }
    if trailer.db_parent_dinode != dir {
        let text = format!("db_parent_dinode is {}", trailer.db_parent_dinode);
        found(codes::DIR_TRAILER_PARENT_INODE, text);
    }
}
