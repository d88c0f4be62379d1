//! Symbolic links: the target in the dinode, or in blocks of its own.

use ocfs2_format::extent::ExtentList;

use super::dinode::Subject;
use crate::Context;
use crate::codes::inodes as codes;
use crate::extents::Walked;
use crate::repair::Repair;
use crate::tables::collected::Collected;

/// Returns whether there is an extent list in place of a target in the dinode.
pub(super) fn has_extents(context: &Context<'_>, subject: &Subject<'_>) -> bool {
    // An extent list of depth 0 begins with a zero, a target does not.
    ExtentList::new(subject.inode.id2()).is_ok_and(|list| {
        list.header.l_tree_depth == 0
            && usize::from(list.header.l_count) == list.capacity()
            && list.records().any(|rec| context.geometry().is_valid_block(rec.e_blkno))
    })
}

/// Checks a target in the dinode.
pub(super) fn check_fast(subject: &Subject<'_>, out: &mut Collected) {
    let room = subject.inode.id2().len();
    // It ends where the size states, or else at the end of the room.
    let end = subject.repair(move |dinode, id2| {
        let size = usize::try_from(dinode.i_size).unwrap_or(usize::MAX).min(room - 1);
        id2.get_mut(size..room).unwrap_or_default().fill(0);
    });
    length(subject, subject.inode.id2(), end, out);
}

/// Checks a target in blocks, those of `walked`.
pub(super) fn check_slow(
    context: &Context<'_>,
    subject: &Subject<'_>,
    walked: &Walked,
    out: &mut Collected,
) {
    let size = subject.dinode().i_size;
    let block_size = context.volume.block_size();
    let bits = block_size.bits();
    let needed = context.geometry().blocks_for(size.saturating_add(1));
    let there = walked.clusters << context.geometry().bpc_bits();
    if needed > there {
        let text = format!("a target of {size} bytes needs {needed} blocks, there are {there}");
        let repair = match there {
            0 => Repair::new({
                let blkno = subject.blkno();
                move |editor| editor.delete_inode(blkno)
            }),
            // The next check finds the end of the target.
            _ => subject.repair(move |dinode, _| dinode.i_size = (there << bits) - 1),
        };
        out.found(subject.finding(codes::LINK_BLOCKS, text).repaired_by(repair));
        return;
    }
    // The whole target is read from the first extent.
    let Ok(list) = ExtentList::new(subject.inode.id2()) else { return };
    let first = list.records().find(|rec| rec.e_leaf_clusters() > 0);
    let Some(first) = first.filter(|_| list.header.l_tree_depth == 0) else { return };
    // The target may be longer than the size states.
    let most = u64::from(4096 / block_size.bytes()) + 1;
    let blocks =
        most.min(u64::from(first.e_leaf_clusters()) << context.geometry().bpc_bits()) as u32;
    match context.volume.read_blocks(first.e_blkno, blocks) {
        Ok(target) => {
            let start = first.e_blkno;
            let room = target.len();
            let size = usize::try_from(size).unwrap_or(usize::MAX).min(room - 1);
            let end = Repair::new(move |editor| {
                editor.blocks(start, blocks, None, |target| {
                    target.get_mut(size..).unwrap_or_default().fill(0);
                })
            });
            length(subject, &target, end, out);
        }
        Err(ocfs2_volume::Error::OutsideVolume { .. }) => {}
        Err(err) => out.found(crate::context::io_error("symbolic link", first.e_blkno, &err)),
    }
}

/// Compares the length of a target with the size. `end` is the repair of a target without an end.
fn length(subject: &Subject<'_>, target: &[u8], end: Repair, out: &mut Collected) {
    let size = subject.dinode().i_size;
    match target.iter().position(|byte| *byte == 0) {
        None => {
            let text = "the target of the symbolic link has no end";
            out.found(subject.finding(codes::LINK_NULLTERM, text).repaired_by(end));
        }
        Some(length) if length as u64 != size => {
            let text = format!("i_size is {size}, the target has {length} bytes");
            let length = length as u64;
            let repair = subject.repair(move |dinode, _| dinode.i_size = length);
            out.found(subject.finding(codes::LINK_SIZE, text).repaired_by(repair));
        }
        Some(_) => {}
    }
}
