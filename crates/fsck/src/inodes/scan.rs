//! Reads the groups of the inode allocators piece by piece.

use std::sync::Arc;

use ocfs2_device::AlignedBuffer;
use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::{Blkno, Block, Structure};
use ocfs2_volume::Inode;

use super::{Piece, dinode, shape};
use crate::codes::inodes as codes;
use crate::parallel;
use crate::read::seen::{self, Seen};
use crate::repair::Repair;
use crate::system_files::SystemFiles;
use crate::tables::collected::Collected;
use crate::tables::suballocs::{Bit, Group, Suballoc, Suballocs};
use crate::{Context, Finding, Place, Stop};

/// Bytes per read.
const PIECE_BYTES: u32 = 2 << 20;

/// Reads all inodes. Calls `merge` with what each piece collected, in the order of the groups.
///
/// # Errors
/// [`Stop`] if the check was interrupted.
pub fn scan(
    context: &Context<'_>,
    suballocs: &Suballocs,
    system: &SystemFiles,
    mut merge: impl FnMut(Collected),
) -> Result<(), Stop> {
    let pieces = pieces(context, suballocs);
    let visits = Arc::default();
    let work = |buffer: &mut AlignedBuffer, piece: Piece| {
        let mut out = Collected::within(&visits);
        read(context, suballocs, system, &piece, buffer, &mut out);
        out
    };
    let (threads, pieces) = (context.options.threads, pieces.into_iter());
    parallel::ordered_with(threads, pieces, AlignedBuffer::default, work, |collected| {
        merge(collected);
        !context.interrupt.requested()
    });
    context.check_interrupt()
}

/// Returns the pieces of all groups that hold inodes.
fn pieces(context: &Context<'_>, suballocs: &Suballocs) -> Vec<Piece> {
    let most = PIECE_BYTES / context.volume.block_size().bytes();
    let mut pieces = Vec::new();
    for (index, group) in suballocs.groups().iter().enumerate() {
        for run in group.runs.iter().filter(|_| group.suballoc.holds_inodes()) {
            let mut at = 0;
            while at < run.bits {
                let count = most.min(run.bits - at);
                let bits = run.bit + at..run.bit + at + count;
                let start = Blkno(run.blkno.0 + u64::from(at));
                pieces.push(Piece { group: index as u32, bits, start });
                at += count;
            }
        }
    }
    pieces
}

fn read(
    context: &Context<'_>,
    suballocs: &Suballocs,
    system: &SystemFiles,
    piece: &Piece,
    buffer: &mut AlignedBuffer,
    out: &mut Collected,
) {
    let Some(group) = suballocs.groups().get(piece.group as usize) else { return };
    let count = piece.bits.end - piece.bits.start;
    out.scanned = count.into();
    let mut bits = BitFindings::default();
    let size = context.volume.block_size().size();
    let blocks = buffer.get(size * count as usize);
    match context.volume.read_into(Dinode::NAME, piece.start, blocks) {
        Ok(()) => {
            for (index, block) in (0..).zip(blocks.chunks_exact_mut(size)) {
                if context.interrupt.requested() {
                    return;
                }
                let (at, blkno) = piece.at(index);
                one(context, (group, system), at, blkno, block, &mut bits, out);
            }
        }
        // One bad block must not hide the others.
        Err(_) => {
            for index in 0..count {
                if context.interrupt.requested() {
                    return;
                }
                let (at, blkno) = piece.at(index);
                match context.volume.read_block(blkno) {
                    Ok(mut block) => {
                        one(context, (group, system), at, blkno, &mut block, &mut bits, out);
                    }
                    Err(err) if group.bitmap().get(at.bit as usize) => {
                        out.found(crate::context::io_error(Dinode::NAME, blkno, &err));
                    }
                    Err(_) => {}
                }
            }
        }
    }
    bits.report(group, out);
}

fn one(
    context: &Context<'_>,
    (group, system): (&Group, &SystemFiles),
    at: Bit,
    blkno: Blkno,
    block: &mut [u8],
    bits: &mut BitFindings,
    out: &mut Collected,
) {
    // Bit 0 is the descriptor.
    if at.bit == 0 {
        return;
    }
    let is_set = group.bitmap().get(at.bit as usize);
    let stored = block.first_chunk::<8>().copied();
    let seen = match seen::mended(context.volume, blkno, block) {
        Seen::Unmarked if !is_set || is_asked_about(context, block) => Seen::No,
        seen => seen,
    };
    let in_use = seen != Seen::No || is_foreign(context, blkno, block, is_set, out);
    if in_use != is_set {
        bits.push(
            at.bit,
            is_set,
            is_set && !Dinode::decode(block).is_ok_and(|dinode| was_deleted(blkno, &dinode)),
        );
    }
    if !in_use {
        return;
    }
    // The checksum may have been computed with the wrong signature.
    set_signature(block, stored.filter(|_| seen == Seen::Unsigned));
    let bad_check = match seen {
        Seen::Corrected(bit) => Some(format!("bit {} of byte {} is wrong", bit & 7, bit >> 3)),
        _ => context.check(block, Dinode::CHECK_OFFSET),
    };
    if seen == Seen::Unsigned {
        set_signature(block, Some(Dinode::SIGNATURE));
        let text = format!("inode {blkno}: i_signature is wrong, all else is that of an inode");
        let repair = Repair::dinode(blkno, |dinode, _| dinode.i_signature = Dinode::SIGNATURE);
        let finding = Finding::new(codes::INODE_SIGNATURE, Place::inode(blkno), text);
        out.found(finding.repaired_by(repair));
    }
    if seen == Seen::Unmarked {
        out.found(unmarked(context, blkno, block));
    }
    // Decoded again: `block` may have been mended since.
    if let Ok(mut inode) = Inode::decode(blkno, &*block) {
        out.findings.extend(system_flag(context, group, system, &mut inode));
        if group.suballoc == Suballoc::GlobalInodes {
            system.mend(&mut inode);
        }
        out.findings.extend(shape::mended(context, group, &mut inode));
        dinode::check(context, group, at, &inode, bad_check, out);
    }
}

/// Returns whether this is an inode of another generation, and such inodes are asked about.
fn is_asked_about(context: &Context<'_>, block: &[u8]) -> bool {
    let is_other = |dinode: Dinode| dinode.i_fs_generation != context.volume.generation();
    context.options.foreign_generations && Dinode::decode(block).is_ok_and(is_other)
}

/// Returns the finding that an inode lacks the flag or the generation of an inode in use, although
/// everything else says it is one. Sets both in `block`.
fn unmarked(context: &Context<'_>, blkno: Blkno, block: &mut [u8]) -> Finding {
    let generation = context.volume.generation();
    let mark = move |dinode: &mut Dinode| {
        dinode.i_flags = dinode.flags().union(InodeFlags::VALID).bits();
        dinode.i_fs_generation = generation;
    };
    let mut text = format!("inode {blkno}: ");
    if let Ok(mut dinode) = Dinode::decode(block) {
        text += &match dinode.flags().contains(InodeFlags::VALID) {
            true => format!(
                "i_fs_generation is {:#x}, expected {generation:#x}",
                dinode.i_fs_generation
            ),
            false => format!("i_flags is {:#x}, VALID is not set", dinode.i_flags),
        };
        text += ", all else is that of an inode in use";
        mark(&mut dinode);
        let _ = dinode.encode(block);
    }
    let repair = Repair::first(move |editor| editor.dinode(blkno, |dinode, _| mark(dinode)));
    Finding::new(codes::INODE_UNMARKED, Place::inode(blkno), text).repaired_by(repair)
}

/// Returns the finding that an inode wrongly has or lacks the flag of the system, and mends it in
/// `inode`. The root and the system directory always have it, inodes from the allocator of a slot
/// never do. The files that the system directory names are checked elsewhere.
fn system_flag(
    context: &Context<'_>,
    group: &Group,
    system: &SystemFiles,
    inode: &mut Inode,
) -> Option<Finding> {
    let superblock = context.volume.superblock();
    let tops = [superblock.s_root_blkno, superblock.s_system_dir_blkno];
    let (blkno, dinode) = (inode.blkno, &mut inode.dinode);
    let is_top = tops.contains(&blkno);
    let is_of_slot = matches!(group.suballoc, Suballoc::Inodes(_))
        && dinode.i_suballoc_slot != Dinode::GLOBAL_SLOT
        && !system.names(blkno);
    let is_stated = dinode.flags().contains(InodeFlags::SYSTEM);
    if is_stated == is_top || !is_top && !is_of_slot {
        return None;
    }
    let set = move |dinode: &mut Dinode| {
        let mut flags = dinode.flags();
        flags.set(InodeFlags::SYSTEM, is_top);
        dinode.i_flags = flags.bits();
    };
    let what = match is_top {
        true => "SYSTEM is not set",
        false => "SYSTEM is set, and it is not a system file",
    };
    let text = format!("inode {blkno}: i_flags is {:#x}, {what}", dinode.i_flags);
    set(dinode);
    let finding = Finding::new(codes::INODE_SYSTEM_FLAG, Place::inode(blkno), text);
    Some(finding.repaired_by(Repair::dinode(blkno, move |dinode, _| set(dinode))))
}

fn set_signature(block: &mut [u8], signature: Option<[u8; 8]>) {
    if let (Some(place), Some(signature)) = (block.first_chunk_mut(), signature) {
        *place = signature;
    }
}

/// Returns whether it is an inode of another generation that is treated as one of the volume.
fn is_foreign(
    context: &Context<'_>,
    blkno: Blkno,
    block: &[u8],
    is_set: bool,
    out: &mut Collected,
) -> bool {
    if !is_set || !context.options.foreign_generations || !block.starts_with(&Dinode::SIGNATURE) {
        return false;
    }
    let Ok(dinode) = Dinode::decode(block) else { return false };
    if !dinode.flags().contains(InodeFlags::VALID) {
        return false;
    }
    let generation = context.volume.generation();
    let text = format!(
        "inode {blkno}: i_fs_generation is {:#010x}, expected {generation:#010x}",
        dinode.i_fs_generation
    );
    let delete = Repair::new(move |editor| editor.delete_inode(blkno));
    let keep = Repair::dinode(blkno, move |dinode, _| dinode.i_fs_generation = generation);
    let finding = Finding::new(codes::INODE_GEN, Place::inode(blkno), text).repaired_by(delete);
    out.found(finding.or_else(codes::INODE_GEN_FIX).repaired_by(keep));
    true
}

/// Returns whether an inode is as a deletion leaves it. Any other one that is not in use may be
/// damaged.
pub fn was_deleted(blkno: Blkno, dinode: &Dinode) -> bool {
    dinode.i_signature == Dinode::SIGNATURE
        && dinode.i_blkno == blkno
        && !dinode.flags().contains(InodeFlags::VALID)
        && dinode.i_dtime != 0
        && (dinode.i_links_count, dinode.i_links_count_hi) == (0, 0)
}

/// Bits that do not agree with their inodes, as ranges: start, end, whether they are set, and
/// whether changing them may lose something.
#[derive(Debug, Default)]
struct BitFindings(Vec<(u32, u32, bool, bool)>);

impl BitFindings {
    fn push(&mut self, bit: u32, is_set: bool, may_lose: bool) {
        match self.0.last_mut() {
            Some((_, end, set, loses)) if *end == bit && *set == is_set => {
                *end += 1;
                *loses |= may_lose;
            }
            _ => self.0.push((bit, bit + 1, is_set, may_lose)),
        }
    }

    fn report(self, group: &Group, out: &mut Collected) {
        for (start, end, is_set, may_lose) in self.0 {
            let first = group.block_of_bit(start).unwrap_or(group.blkno);
            let what = match end - start {
                1 => format!("inode {first} is"),
                count => format!("{count} inodes from {first} on are"),
            };
            let (is, bit) = if is_set { ("not in use", "set") } else { ("in use", "clear") };
            let file = group.suballoc.file_name();
            let text = format!("{what} {is}, and {bit} in the bitmap of {file}");
            let (blkno, bits) = (group.blkno, start..end);
            let repair = Repair::new(move |editor| editor.change_bits(blkno, &bits, !is_set));
            let finding = Finding::new(codes::INODE_ALLOC_REPAIR, Place::inode(first), text);
            out.found(finding.repaired_by(repair).losing(may_lose));
        }
    }
}
