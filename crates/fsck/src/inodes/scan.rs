//! Reads the groups of the inode allocators piece by piece.

use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::{Blkno, Structure};
use ocfs2_volume::Inode;
use ocfs2_volume::device::AlignedBuffer;

use super::seen::{self, Seen};
use super::{Piece, dinode};
use crate::codes::inodes as codes;
use crate::collected::Collected;
use crate::parallel;
use crate::repair::Repair;
use crate::start::SystemFiles;
use crate::suballocs::{Bit, Group, Suballoc, Suballocs};
use crate::{Context, Finding, Place, Stop};

/// Bytes that are read at once.
const PIECE_BYTES: u32 = 2 << 20;

/// Reads all inodes; `merge` gets what each piece collected, in the order of the groups.
///
/// # Errors
/// [`Stop`] if that was asked for.
pub fn scan(
    context: &Context<'_>,
    suballocs: &Suballocs,
    system: &SystemFiles,
    mut merge: impl FnMut(Collected),
) -> Result<(), Stop> {
    let pieces = pieces(context, suballocs);
    let work =
        |buffer: &mut AlignedBuffer, piece: Piece| read(context, suballocs, system, &piece, buffer);
    let (threads, pieces) = (context.options.threads, pieces.into_iter());
    parallel::ordered_with(threads, pieces, AlignedBuffer::default, work, |collected| {
        merge(collected);
        !context.interrupt.requested()
    });
    context.check_interrupt()
}

/// The pieces of all groups that hold inodes.
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
) -> Collected {
    let mut out = Collected::default();
    let Some(group) = suballocs.groups().get(piece.group as usize) else { return out };
    let count = piece.bits.end - piece.bits.start;
    out.scanned = count.into();
    let mut bits = BitFindings::default();
    let size = context.volume.block_size().size();
    let blocks = buffer.get(size * count as usize);
    match context.volume.read_into(Dinode::NAME, piece.start, blocks) {
        Ok(()) => {
            for (index, block) in (0..).zip(blocks.chunks_exact_mut(size)) {
                let (at, blkno) = piece.at(index);
                one(context, (group, system), at, blkno, block, &mut bits, &mut out);
            }
        }
        // One bad block must not hide the others.
        Err(_) => {
            for index in 0..count {
                let (at, blkno) = piece.at(index);
                match context.volume.read_block(blkno) {
                    Ok(mut block) => {
                        one(context, (group, system), at, blkno, &mut block, &mut bits, &mut out);
                    }
                    Err(err) if group.bitmap().get(at.bit as usize) => {
                        out.found(crate::context::io_error(Dinode::NAME, blkno, &err));
                    }
                    Err(_) => {}
                }
            }
        }
    }
    bits.report(group, &mut out);
    out
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
    let seen = seen::mended(context.volume, blkno, block);
    let in_use = seen != Seen::No || is_foreign(context, blkno, block, is_set, out);
    if in_use != is_set {
        bits.push(at.bit, is_set);
    }
    if !in_use {
        return;
    }
    // The checksum may be that of the wrong signature.
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
    // The block was looked at before a wrong bit was mended.
    if let Ok(mut inode) = Inode::decode(blkno, &*block) {
        if group.suballoc == Suballoc::GlobalInodes {
            system.mend(&mut inode);
        }
        dinode::check(context, group, at, &inode, bad_check, out);
    }
}

fn set_signature(block: &mut [u8], signature: Option<[u8; 8]>) {
    if let (Some(place), Some(signature)) = (block.first_chunk_mut(), signature) {
        *place = signature;
    }
}

/// Whether it is an inode of another generation that is taken as one of the volume.
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

/// Bits that do not agree with their inodes, as ranges.
#[derive(Debug, Default)]
struct BitFindings(Vec<(u32, u32, bool)>);

impl BitFindings {
    fn push(&mut self, bit: u32, is_set: bool) {
        match self.0.last_mut() {
            Some((_, end, set)) if *end == bit && *set == is_set => *end += 1,
            _ => self.0.push((bit, bit + 1, is_set)),
        }
    }

    fn report(self, group: &Group, out: &mut Collected) {
        for (start, end, is_set) in self.0 {
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
            out.found(finding.repaired_by(repair));
        }
    }
}
