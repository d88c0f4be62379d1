//! The marks of journals: the signature of the inode, and the magic number of the superblock.
//!
//! Without either a journal is not found, and what crashed nodes wrote last is lost. Where all else
//! says that it is one the mark is put right before the journals are replayed.

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
    let unmarked = unmarked(&superblock, first, volume.block_size(), blocks);
    if !is_sound && unmarked.is_none() {
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
    if unmarked.is_some() {
        findings.push(finding(slot, inode.blkno, first, &superblock));
    }
    Some(findings)
}

fn place(slot: u16, inode: Blkno) -> Place {
    let name = SystemFile::Journal(slot).name();
    Place::inode(inode).in_slot(slot).named(name.as_bytes())
}

/// That the superblock of a journal, in block `first`, has another magic number.
pub fn finding(slot: u16, inode: Blkno, first: Blkno, found: &JournalSuperblock) -> Finding {
    let text = format!(
        "journal of slot {slot}: h_magic is {:#010x}, all else is that of a journal",
        found.header.h_magic
    );
    let marked = system::journal_superblock(first, |superblock| {
        superblock.header.h_magic = JBD2_MAGIC;
    });
    Finding::new(codes::JOURNAL_MAGIC, place(slot, inode), text).repaired_by(marked)
}

/// The superblock of a journal of so many blocks with its magic number, if that is all it lacks.
pub fn unmarked(
    found: &JournalSuperblock,
    first: Blkno,
    block_size: BlockSize,
    blocks: u64,
) -> Option<JournalSuperblock> {
    let wrong_bits = (found.header.h_magic ^ JBD2_MAGIC).count_ones();
    let is_whole = found.header.h_blocktype == BlockType::SuperblockV2.code()
        && u64::from(found.s_maxlen) == blocks;
    if !(1..=WRONG_BITS).contains(&wrong_bits) || !is_whole {
        return None;
    }
    let header = JournalHeader { h_magic: JBD2_MAGIC, ..found.header };
    let marked = JournalSuperblock { header, ..found.clone() };
    marked.verify(first, block_size, blocks).is_ok().then_some(marked)
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
