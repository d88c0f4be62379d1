//! Truncate logs (invariant L-2): clusters that are to be freed.
//!
//! Claims what its records name: in the global bitmap they are still set.

use ocfs2_format::truncate_log::{TruncateLog, TruncateLogHeader};

use super::dinode::Subject;
use crate::Context;
use crate::codes::slots as codes;
use crate::collected::{Claim, Collected};

pub(super) fn check(context: &Context<'_>, subject: &Subject<'_>, out: &mut Collected) {
    let Ok(log) = TruncateLog::new(subject.inode.id2()) else { return };
    let TruncateLogHeader { tl_count, tl_used, .. } = log.header;
    let capacity = TruncateLog::capacity(context.volume.block_size());
    if tl_count > capacity {
        let text = format!("tl_count is {tl_count}, at most {capacity} fit");
        out.found(subject.finding(codes::DEALLOC_COUNT, text));
    }
    let count = tl_count.min(capacity);
    if tl_used > count {
        let text = format!("tl_used is {tl_used}, tl_count is {count}");
        out.found(subject.finding(codes::DEALLOC_USED, text));
    }
    let clusters = context.geometry().clusters;
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
        let text =
            format!("record {index}: {count} clusters from {start} on, the volume has {clusters}");
        out.found(subject.finding(code, text));
        out.incomplete = true;
    }
}
