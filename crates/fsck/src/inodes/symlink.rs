//! Symbolic links: the target in the dinode, or in blocks of its own.

use ocfs2_format::extent::ExtentList;

use super::dinode::Subject;
use crate::Context;
use crate::codes::inodes as codes;
use crate::collected::Collected;
use crate::extents::Walked;

/// Whether there is an extent list in place of a target in the dinode.
pub(super) fn has_extents(context: &Context<'_>, subject: &Subject<'_>) -> bool {
    // A target does not begin with a zero, an extent list of depth 0 does.
    ExtentList::new(subject.inode.id2()).is_ok_and(|list| {
        list.header.l_tree_depth == 0
            && usize::from(list.header.l_count) == list.capacity()
            && list.records().any(|rec| context.geometry().is_valid_block(rec.e_blkno))
    })
}

/// A target in the dinode.
pub(super) fn check_fast(subject: &Subject<'_>, out: &mut Collected) {
    length(subject, subject.inode.id2(), out);
}

/// A target in blocks, those of `walked`.
pub(super) fn check_slow(
    context: &Context<'_>,
    subject: &Subject<'_>,
    walked: &Walked,
    out: &mut Collected,
) {
    let size = subject.dinode().i_size;
    let block_size = context.volume.block_size();
    let needed = context.geometry().blocks_for(size.saturating_add(1));
    let there = walked.clusters << context.geometry().bpc_bits();
    if needed > there {
        let text = format!("a target of {size} bytes needs {needed} blocks, there are {there}");
        out.found(subject.finding(codes::LINK_BLOCKS, text));
        return;
    }
    // A target the kernel makes fits a block, and the first extent.
    let Ok(list) = ExtentList::new(subject.inode.id2()) else { return };
    let first = list.records().find(|rec| rec.e_leaf_clusters() > 0);
    let Some(first) = first.filter(|_| list.header.l_tree_depth == 0) else { return };
    let blocks = needed.min(u64::from(first.e_leaf_clusters()) << context.geometry().bpc_bits());
    let blocks = blocks.min(u64::from(4096 / block_size.bytes()) + 1) as u32;
    match context.volume.read_blocks(first.e_blkno, blocks) {
        Ok(target) => length(subject, &target, out),
        Err(ocfs2_volume::Error::OutsideVolume { .. }) => {}
        Err(err) => out.found(crate::context::io_error("symbolic link", first.e_blkno, &err)),
    }
}

fn length(subject: &Subject<'_>, target: &[u8], out: &mut Collected) {
    let size = subject.dinode().i_size;
    match target.iter().position(|byte| *byte == 0) {
        None => {
            let text = "the target of the symbolic link has no end";
            out.found(subject.finding(codes::LINK_NULLTERM, text));
        }
        Some(length) if length as u64 != size => {
            let text = format!("i_size is {size}, the target has {length} bytes");
            out.found(subject.finding(codes::LINK_SIZE, text));
        }
        Some(_) => {}
    }
}
