//! One directory as a whole: its blocks in order, its names, its references.

use ocfs2_format::dinode::{Dinode, DynFeatures, FileKind};
use ocfs2_format::dir::DirTrailer;
use ocfs2_format::inline::InlineData;
use ocfs2_format::{Blkno, Block};
use ocfs2_volume::Inode;

use super::entry::{self, Reader};
use super::{Known, Read, block, index};
use crate::codes::directories as codes;
use crate::extents::{self, TreeRoot};
use crate::inodes::{LEAST_DIRECTORY, is_directory};
use crate::read::holds::once;
use crate::repair::Repair;
use crate::repair::directory::Hidden;
use crate::tables::collected::Collected;
use crate::{Context, Finding, Place};

/// Reads a directory in use, whose dinode is in `block`.
pub(super) fn read(known: &Known<'_>, dir: Blkno, block: Option<Vec<u8>>) -> Read {
    let mut read = Read { dir, ..Read::default() };
    // Pass 1 reported what is wrong with the inode.
    let Some(mut block) = block else { return read };
    known.context.check(&mut block, Dinode::CHECK_OFFSET);
    let Ok(inode) = Inode::decode(dir, block) else { return read };
    let is_inline = is_inline(known, &inode);
    let mut reader = Reader::new(known, &inode, is_inline);
    if is_inline {
        let data = InlineData::data(inode.id2()).unwrap_or_default();
        let size = usize::try_from(inode.size()).unwrap_or(usize::MAX);
        // All its entries count, as they will once its size is mended.
        let is_cut = size < LEAST_DIRECTORY && is_directory(known.context.volume, &inode);
        let size = if is_cut { data.len() } else { size };
        entry::check_all(&mut reader, dir, data.get(..size).unwrap_or(data), &mut read);
    } else {
        read_blocks(known, &inode, &mut reader, &mut read);
    }
    read.sum_up();
    match reader.end(&mut read) {
        Some(expected) => {
            let compared = index::check(known, &inode, expected, &mut read.findings);
            read.signs = compared.signs;
            for hidden in compared.hidden {
                refer(known, hidden, &mut read);
            }
        }
        None => index::check_absence(known, &inode, is_inline, &mut read),
    }
    read
}

/// Notes the reference of an entry that only the index shows.
fn refer(known: &Known<'_>, hidden: Hidden, read: &mut Read) {
    let Some(bit) = known.suballocs.find(hidden.inode) else { return };
    let is_root = read.dir == known.context.volume.superblock().s_root_blkno;
    read.has_lost_found |= is_root && hidden.name == b"lost+found";
    match known.inodes.get(bit).and_then(|facts| facts.kind) {
        Some(FileKind::Directory) => read.directories.push((bit, hidden.inode, hidden.name)),
        _ => read.references.push(bit),
    }
}

/// Returns whether to read these blocks of a directory or an index: not if many others have read
/// them before.
pub(super) fn enter(known: &Known<'_>, start: Blkno, blocks: u64) -> bool {
    let geometry = known.context.geometry();
    let end = start.0.saturating_add(blocks).div_ceil(geometry.blocks_per_cluster().into());
    known.visits.enter(start.0 >> geometry.bpc_bits()..end)
}

fn is_inline(known: &Known<'_>, inode: &Inode) -> bool {
    let flag = inode.dinode.dyn_features().contains(DynFeatures::INLINE_DATA);
    flag && known.context.volume.has(ocfs2_format::feature::Incompat::INLINE_DATA)
}

fn read_blocks(known: &Known<'_>, inode: &Inode, reader: &mut Reader<'_>, read: &mut Read) {
    let geometry = known.context.geometry();
    let root = TreeRoot::dense(known.context, inode);
    let mut runs = Vec::new();
    // Pass 1 reported its findings.
    let walked = extents::walk(known.context, &root, &mut Collected::default(), |_, extent| {
        runs.push((extent.blkno, u64::from(extent.clusters) << geometry.bpc_bits()));
    });
    if walked.incomplete || runs.is_empty() {
        reader.incomplete();
    }
    if once(geometry, &mut runs) {
        reader.incomplete();
    }
    // The C mkfs leaves lost+found with a size that does not count the trailer.
    let mut left = match inode.size() {
        0 => u64::MAX,
        size => geometry.blocks_for(size),
    };
    left = longer(known, inode, &runs, left, reader, read);
    // The directory then ends where its blocks stop being directory blocks.
    reader.is_too_long = left > runs.iter().map(|(_, blocks)| blocks).sum();
    let mut entered = Vec::new();
    for (start, blocks) in runs {
        let blocks = blocks.min(left);
        left -= blocks;
        if !enter(known, start, blocks) {
            reader.incomplete();
            continue;
        }
        entered.push((start, blocks));
        if !block::read(known, inode, start, blocks, reader, read) {
            break;
        }
    }
    if reader.has_repeated() {
        find_copies(known.context, &entered, reader);
    }
}

/// Looks for blocks of a directory that were written to the places of other blocks of it.
fn find_copies(context: &Context<'_>, runs: &[(Blkno, u64)], reader: &mut Reader<'_>) {
    for (start, blocks) in runs {
        context.read_each("directory block", *start, *blocks, |blkno, block| {
            // A block that cannot be read was reported before.
            let Ok(block) = block else { return };
            let check_offset = DirTrailer::check_offset(block.len());
            context.check(block, check_offset);
            reader.copied(blkno, block);
        });
    }
}

/// Blocks past the end of a directory, from the next cluster on, that are looked at.
const BEYOND: u64 = 4096;

/// Returns the number of blocks of a directory that states `stated`. It is more if whole clusters
/// follow its end, which no directory has, and hold blocks that name it as their owner. Such blocks
/// in the cluster in which it ends may have been part of another directory; only its index shows
/// whether they belong to it.
fn longer(
    known: &Known<'_>,
    inode: &Inode,
    runs: &[(Blkno, u64)],
    stated: u64,
    reader: &mut Reader<'_>,
    read: &mut Read,
) -> u64 {
    let geometry = known.context.geometry();
    let volume = known.context.volume;
    let total: u64 = runs.iter().map(|(_, blocks)| blocks).sum();
    if stated >= total || !volume.has_dir_trailers(inode) {
        return stated;
    }
    let bpc = u64::from(geometry.blocks_per_cluster());
    let whole = stated.next_multiple_of(bpc);
    let mut end = stated;
    for number in whole..total.min(whole.saturating_add(BEYOND)) {
        let Some(blkno) = nth(runs, number) else { break };
        let trailer = volume.read_block(blkno).ok().and_then(|it| DirTrailer::of_block(&it).ok());
        let is_own = trailer.is_some_and(|it| {
            it.db_signature == DirTrailer::SIGNATURE
                && (it.db_blkno, it.db_parent_dinode) == (blkno, inode.blkno)
        });
        end = if is_own { number + 1 } else { end };
    }
    if end > stated {
        read.found(size_short(known.context, inode.blkno, stated, end));
    }
    let beyond = (end..whole.max(end)).filter_map(|number| Some((nth(runs, number)?, number)));
    reader.beyond(stated, beyond);
    end
}

/// Returns the place of block `number` of a directory.
fn nth(runs: &[(Blkno, u64)], mut number: u64) -> Option<Blkno> {
    for (start, blocks) in runs {
        if number < *blocks {
            return start.0.checked_add(number).map(Blkno);
        }
        number -= blocks;
    }
    None
}

/// Returns the finding that a directory has `end` blocks and not only `stated`.
pub(super) fn size_short(context: &Context<'_>, dir: Blkno, stated: u64, end: u64) -> Finding {
    let bits = context.volume.block_size().bits();
    let (stated, size) = (stated << bits, end << bits);
    let text = format!("directory {dir}: i_size is {stated}, its blocks end at {size}");
    let repair = Repair::dinode(dir, move |dinode, _| dinode.i_size = dinode.i_size.max(size));
    Finding::new(codes::DIR_SIZE_SHORT, Place::inode(dir), text).repaired_by(repair)
}
