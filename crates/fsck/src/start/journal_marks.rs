//! The marks of journals: the signature of the inode, and of the superblock the magic number, the kind,
//! the block size and the length.
//!
//! Without these a journal is not found, and what crashed nodes wrote last is lost. Where all else says
//! that it is one the mark is put right before the journals are replayed.

use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::journal::{BlockType, JBD2_MAGIC, JournalHeader, JournalSuperblock};
use ocfs2_format::{Blkno, BlockSize, Cpos, Structure};
use ocfs2_volume::{Inode, Volume};

use super::SystemFile;
use crate::codes::journals as codes;
use crate::inodes::seen::{self, Seen};
use crate::repair::{Repair, system};
use crate::{Context, Finding, Place};

/// Bits of a magic number that may be wrong, where all else says that it is a superblock.
const WRONG_BITS: u32 = 8;

/// What is wrong with the marks of all journals.
pub fn check(context: &Context<'_>) -> Vec<Finding> {
    let slots = 0..context.volume.max_slots();
    slots.filter_map(|slot| of_slot(context.volume, slot)).flatten().collect()
}

fn of_slot(volume: &Volume, slot: u16) -> Option<Vec<Finding>> {
    let (inode, is_unsigned) = inode(volume, slot)?;
    let first = volume.tree(&inode).ok()?.map(Cpos(0)).ok()??.blkno;
    let superblock = JournalSuperblock::decode(&volume.read_block(first).ok()?).ok()?;
    let blocks = volume.geometry().blocks_for(inode.size());
    let is_sound = superblock.verify(first, volume.block_size(), blocks).is_ok();
    let mended = mended(&superblock, first, volume.block_size(), blocks);
    if !is_sound && mended.is_none() {
        return None;
    }
    let mut findings = Vec::new();
    if is_unsigned {
        let blkno = inode.blkno;
        let text = format!(
            "journal of slot {slot}: i_signature of inode {blkno} is wrong, all else is that of a \
             journal"
        );
        let repair = Repair::dinode(blkno, |dinode, _| dinode.i_signature = Dinode::SIGNATURE);
        let finding = Finding::new(codes::JOURNAL_MAGIC, place(slot, blkno), text);
        findings.push(finding.repaired_by(repair));
    }
    findings.extend(mended.map(|mended| finding(slot, inode.blkno, first, &mended)));
    Some(findings)
}

fn place(slot: u16, inode: Blkno) -> Place {
    let name = SystemFile::Journal(slot).name();
    Place::inode(inode).in_slot(slot).named(name.as_bytes())
}

/// A superblock of a journal of which all is right but one field, which is known.
#[derive(Clone, Debug)]
pub struct Mended {
    /// The superblock as it was.
    pub superblock: JournalSuperblock,
    /// What the field is, and what it was.
    text: String,
}

/// That a field of the superblock of a journal, in block `first`, is wrong.
pub fn finding(slot: u16, inode: Blkno, first: Blkno, mended: &Mended) -> Finding {
    let text = format!("journal of slot {slot}: {}, all else is that of a journal", mended.text);
    let JournalSuperblock { header, s_blocksize, s_maxlen, .. } = mended.superblock;
    let marked = system::journal_superblock(first, move |superblock| {
        let JournalHeader { h_magic, h_blocktype, .. } = header;
        superblock.header = JournalHeader { h_magic, h_blocktype, ..superblock.header };
        (superblock.s_blocksize, superblock.s_maxlen) = (s_blocksize, s_maxlen);
    });
    Finding::new(codes::JOURNAL_MAGIC, place(slot, inode), text).repaired_by(marked)
}

/// The superblock of a journal of so many blocks as it was, if it is one but for a bit of its kind,
/// its block size or its length, or for some of its magic number.
pub fn mended(
    found: &JournalSuperblock,
    first: Blkno,
    block_size: BlockSize,
    blocks: u64,
) -> Option<Mended> {
    let kind = BlockType::SuperblockV2.code();
    let length = u32::try_from(blocks).ok()?;
    let right = JournalHeader { h_magic: JBD2_MAGIC, h_blocktype: kind, ..found.header };
    let of_header = |header: JournalHeader| JournalSuperblock { header, ..found.clone() };
    let was = &found.header;
    let (h_magic, h_blocktype) = (was.h_magic, was.h_blocktype);
    let fields = [
        ("h_magic", h_magic, JBD2_MAGIC, of_header(JournalHeader { h_blocktype, ..right })),
        ("h_blocktype", h_blocktype, kind, of_header(JournalHeader { h_magic, ..right })),
        (
            "s_blocksize",
            found.s_blocksize,
            block_size.bytes(),
            JournalSuperblock { s_blocksize: block_size.bytes(), ..found.clone() },
        ),
        (
            "s_maxlen",
            found.s_maxlen,
            length,
            JournalSuperblock { s_maxlen: length, ..found.clone() },
        ),
    ];
    let mut wrong = fields.into_iter().filter(|(_, is, was, _)| is != was);
    let (name, is, was, superblock) = wrong.next().filter(|_| wrong.next().is_none())?;
    let most = if name == "h_magic" { WRONG_BITS } else { 1 };
    let is_near = (is ^ was).count_ones() <= most;
    if !is_near || superblock.verify(first, block_size, blocks).is_err() {
        return None;
    }
    let text = match name {
        "h_magic" => format!("{name} is {is:#010x}"),
        _ => format!("{name} is {is}, expected {was}"),
    };
    Some(Mended { superblock, text })
}

/// The inode of the journal of a slot, and whether its signature is wrong.
fn inode(volume: &Volume, slot: u16) -> Option<(Inode, bool)> {
    let dir = volume.superblock().s_system_dir_blkno;
    let dir = Inode::decode(dir, volume.read_block(dir).ok()?).ok()?;
    let name = SystemFile::Journal(slot).name();
    let blkno = volume.torn_entry(&dir, name.as_bytes())?.inode;
    if !volume.geometry().is_valid_block(blkno) {
        return None;
    }
    let mut block = volume.read_block(blkno).ok()?;
    let seen = seen::mended(volume, blkno, &mut block);
    let inode = Inode::decode(blkno, block).ok().filter(|_| seen != Seen::No)?;
    let dinode = &inode.dinode;
    dinode.verify(blkno, volume.generation()).ok()?;
    let flags = InodeFlags::VALID | InodeFlags::SYSTEM | InodeFlags::JOURNAL;
    let clusters = u64::from(dinode.i_clusters);
    let is_whole = clusters << volume.geometry().cluster_size.bits() == inode.size();
    (dinode.flags() == flags && is_whole).then_some((inode, seen == Seen::Unsigned))
}
