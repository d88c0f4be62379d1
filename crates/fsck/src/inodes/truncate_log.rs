//! Truncate logs (invariant L-2): clusters that are to be freed.
//!
//! Claims the clusters that the records name: they are still set in the global bitmap.

use ocfs2_format::Blkno;
use ocfs2_format::truncate_log::{TruncateLog, TruncateLogHeader, TruncateRec};

use super::dinode::Subject;
use crate::Context;
use crate::codes::slots as codes;
use crate::repair::{Repair, edit_list};
use crate::tables::collected::{Claim, Collected};

/// Wrong records that are reported one by one.
const MANY: usize = 8;

/// Returns the repair that empties the log: clusters that nobody else claims are then found to be
/// free.
pub(crate) fn clear(blkno: Blkno) -> Repair {
    Repair::dinode(blkno, |_, id2| {
        edit_list(id2, |log: &mut TruncateLogHeader, records: &mut Vec<TruncateRec>| {
            log.tl_used = 0;
            records.clear();
        });
    })
}

pub(super) fn check(context: &Context<'_>, subject: &Subject<'_>, out: &mut Collected) {
    let Ok(log) = TruncateLog::new(subject.inode.id2()) else { return };
    let TruncateLogHeader { tl_count, tl_used, .. } = log.header;
    let capacity = TruncateLogHeader::capacity(context.volume.block_size());
    let has_wrong_count = !(1..=capacity).contains(&tl_count);
    if has_wrong_count {
        let text = format!("tl_count is {tl_count}, 1 to {capacity} fit");
        let repair = subject.repair(move |_, id2| {
            edit_list(id2, |log: &mut TruncateLogHeader, _: &mut Vec<TruncateRec>| {
                log.tl_count = capacity;
            });
        });
        out.found(subject.finding(codes::DEALLOC_COUNT, text).repaired_by(repair));
    }
    let count = if has_wrong_count { capacity } else { tl_count };
    if tl_used > count {
        let text = format!("tl_used is {tl_used}, tl_count is {count}");
        let repair = subject.repair(move |_, id2| {
            edit_list(id2, |log: &mut TruncateLogHeader, _: &mut Vec<TruncateRec>| {
                log.tl_used = log.tl_used.min(count);
            });
        });
        out.found(subject.finding(codes::DEALLOC_USED, text).repaired_by(repair));
    }
    let clusters = context.geometry().clusters;
    let mut wrong = Vec::new();
    let used = usize::from(tl_used.min(count));
    for (index, rec) in log.records().take(count.into()).enumerate() {
        let (start, count) = (rec.t_start, rec.t_clusters);
        if start == 0 {
            continue;
        }
        let end = start.checked_add(count);
        let code = match end {
            _ if start >= clusters => codes::TRUNCATE_REC_START_RANGE,
            None => codes::TRUNCATE_REC_WRAP,
            Some(end) if end > clusters => codes::TRUNCATE_REC_RANGE,
            Some(_) => {
                out.claims.push(Claim { owner: subject.blkno(), start, count });
                continue;
            }
        };
        wrong.push((index, start, count, code));
    }
    // In a log of garbage all wrong records are reported and left out together.
    let is_garbage = wrong.len() > MANY && wrong.len() * 2 > used;
    let at_once = if is_garbage { wrong.len() } else { 1 };
    for records in wrong.chunks(at_once.max(1)) {
        let Some((index, start, cut, code)) = records.first() else { continue };
        let more = match records.len() {
            1 => String::new(),
            all => format!("; {} more of its records are wrong", all - 1),
        };
        let text = format!(
            "record {index}: {cut} clusters from {start} on, the volume has {clusters}{more}"
        );
        // Records without a start are skipped. What they were to free is then found not to be in
        // use.
        let left_out: Vec<_> = records.iter().map(|(_, start, cut, _)| (*start, *cut)).collect();
        let repair = subject.repair(move |_, id2| {
            edit_list(id2, |_: &mut TruncateLogHeader, records: &mut Vec<TruncateRec>| {
                for (start, count) in &left_out {
                    let same =
                        |it: &&mut TruncateRec| (it.t_start, it.t_clusters) == (*start, *count);
                    if let Some(rec) = records.iter_mut().find(same) {
                        *rec = TruncateRec::default();
                    }
                }
            });
        });
        out.found(subject.finding(code, text).repaired_by(repair));
        out.incomplete = true;
    }
}
