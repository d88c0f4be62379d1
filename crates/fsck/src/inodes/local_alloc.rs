//! Local allocs (invariant L-1): windows of clusters that slots have reserved.
//!
//! Claims the clusters that are reserved and not yet handed out, unless the window is damaged.

use ocfs2_format::local_alloc::LocalAlloc;
use ocfs2_format::{Blkno, Structure};

use super::dinode::Subject;
use crate::Context;
use crate::codes::slots as codes;
use crate::repair::Repair;
use crate::tables::collected::{Claim, Collected};

pub(super) fn check(context: &Context<'_>, subject: &Subject<'_>, out: &mut Collected) {
    let id2 = subject.inode.id2();
    let Ok(alloc) = LocalAlloc::decode(id2) else { return };
    let (used, total) = subject.dinode().bitmap();
    let damaged = damage(context, subject, &alloc, out);
    if total == 0 || damaged {
        out.incomplete |= damaged;
        return;
    }
    let Ok(bitmap) = LocalAlloc::bitmap(id2, total) else { return };
    let set = bitmap.count_ones();
    if set != used as usize {
        let text = format!("i_used is {used}, {set} bits are set");
        let finding = subject.finding(codes::LALLOC_USED_BITS, text);
        out.found(finding.repaired_by(cleared(subject)));
    }
    for run in bitmap.runs(false) {
        let start = alloc.la_bm_off + run.start as u32;
        let count = run.len() as u32;
        out.claims.push(Claim { owner: subject.blkno(), start, count });
    }
}

fn cleared(subject: &Subject<'_>) -> Repair {
    clear(subject.blkno())
}

/// Returns the repair that drops the window: what was handed out of it is claimed by its owner, and
/// the rest is free.
pub(crate) fn clear(blkno: Blkno) -> Repair {
    Repair::new(move |editor| {
        let len = editor.inode(blkno)?.id2().len();
        editor.dinode(blkno, |dinode, id2| {
            dinode.set_bitmap(0, 0);
            if let Ok(alloc) = LocalAlloc::decode(id2) {
                id2.get_mut(LocalAlloc::SIZE..len).unwrap_or_default().fill(0);
                let _ = LocalAlloc { la_bm_off: 0, ..alloc }.encode(id2);
            }
        })
    })
}

/// Reports what keeps the window from being used. Returns whether there is anything.
fn damage(
    context: &Context<'_>,
    subject: &Subject<'_>,
    alloc: &LocalAlloc,
    out: &mut Collected,
) -> bool {
    let before = out.findings.len();
    let (used, total) = subject.dinode().bitmap();
    let (offset, size) = (alloc.la_bm_off, alloc.la_size);
    let room = LocalAlloc::bitmap_size(context.volume.block_size());
    let has_wrong_size = !(1..=room).contains(&size);
    if has_wrong_size {
        let finding =
            subject.finding(codes::LALLOC_SIZE, format!("la_size is {size}, 1 to {room} fit"));
        let fits = subject.repair(move |_, id2| {
            if let Ok(alloc) = LocalAlloc::decode(id2) {
                let _ = LocalAlloc { la_size: room, ..alloc }.encode(id2);
            }
        });
        let finding = finding.repaired_by(fits).or_else(codes::LALLOC_CLEAR);
        out.found(finding.repaired_by(cleared(subject)));
    }
    if total == 0 {
        if used != 0 {
            let text = format!("i_used is {used}, there is no window");
            out.found(subject.finding(codes::LALLOC_NZ_USED, text).repaired_by(cleared(subject)));
        }
        if offset != 0 {
            let text = format!("la_bm_off is {offset}, there is no window");
            out.found(subject.finding(codes::LALLOC_NZ_BM, text).repaired_by(cleared(subject)));
        }
        // Without a window nothing is lost.
        return false;
    }
    let clusters = context.geometry().clusters;
    let most = 8 * u32::from(if has_wrong_size { room } else { size });
    if offset >= clusters {
        let text = format!("la_bm_off is {offset}, the volume has {clusters} clusters");
        out.found(subject.finding(codes::LALLOC_BM_OVERRUN, text).repaired_by(cleared(subject)));
    } else if total > most {
        let text = format!("i_total is {total}, the bitmap has room for {most}");
        let finding = subject.finding(codes::LALLOC_BM_SIZE, text);
        let finding = finding.repaired_by(cleared(subject)).or_else(codes::LALLOC_CLEAR);
        out.found(finding.repaired_by(cleared(subject)));
    } else if total > clusters - offset {
        let text = format!("{total} clusters from {offset} on, the volume has {clusters}");
        out.found(subject.finding(codes::LALLOC_BM_STRADDLE, text).repaired_by(cleared(subject)));
    }
    if used > total {
        let text = format!("i_used is {used}, i_total is {total}");
        let finding = subject.finding(codes::LALLOC_USED_OVERRUN, text);
        let finding = finding.repaired_by(cleared(subject)).or_else(codes::LALLOC_CLEAR);
        out.found(finding.repaired_by(cleared(subject)));
    }
    out.findings.len() > before
}
