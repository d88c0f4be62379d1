//! Groups in several pieces (section 8.5 of the format reference, invariant A-10).
//!
//! Positions and lengths state the same thing twice, so that a wrong length does not lose the
//! group: the lengths count if they add up to the group, otherwise the positions, if these are in
//! order.

use ocfs2_format::Blkno;
use ocfs2_format::extent::{ExtentList, ExtentRec};
use ocfs2_volume::allocator::Run;

use crate::Context;
use crate::codes::{Code, chains as codes};

/// Returns the pieces of the group at block `blkno`, of `cpg` clusters, that lie in the volume.
/// `None` without the first piece, which has the descriptor.
pub(super) fn runs(
    context: &Context<'_>,
    blkno: Blkno,
    cpg: u32,
    list: &ExtentList<'_>,
    mut found: impl FnMut(&'static Code, String),
) -> Option<Vec<Run>> {
    let header = list.header;
    if header.l_tree_depth != 0 {
        found(codes::DISCONTIG_BG_DEPTH, format!("l_tree_depth is {}", header.l_tree_depth));
    }
    let capacity = list.capacity();
    if usize::from(header.l_count) != capacity {
        let text = format!("l_count is {}, {capacity} fit", header.l_count);
        found(codes::DISCONTIG_BG_COUNT, text);
    }
    let records = (0..capacity).map_while(|index| list.record(index));
    let mut records: Vec<_> = records.collect();
    let filled = records.iter().rposition(|rec| rec.e_leaf_clusters() > 0);
    records.truncate(filled.map_or(0, |last| last + 1));
    lengths(&records, header.l_next_free_rec, cpg, &mut found);
    lend_rest(&mut records, cpg);
    pieces(context, blkno, cpg, &records, &mut found)
}

/// Gives the only record without a length, if there is one, the clusters that the others leave.
fn lend_rest(records: &mut [ExtentRec], cpg: u32) {
    let sum: u32 = records.iter().map(|rec| u32::from(rec.e_leaf_clusters())).sum();
    let mut empty = records.iter_mut().filter(|rec| rec.e_leaf_clusters() == 0);
    if let (Some(rec), None) = (empty.next(), empty.next())
        && let Some(rest) = cpg.checked_sub(sum).and_then(|rest| u16::try_from(rest).ok())
    {
        *rec = ExtentRec::leaf(rec.e_cpos, rest, rec.e_flags(), rec.e_blkno);
    }
}

/// Checks that the lengths of the records add up to a group. The finding has the code of what can
/// be done about it.
fn lengths(
    records: &[ExtentRec],
    stated: u16,
    cpg: u32,
    found: &mut impl FnMut(&'static Code, String),
) {
    let clusters = |rec: &ExtentRec| u64::from(rec.e_leaf_clusters());
    let sum: u64 = records.iter().map(clusters).sum();
    let cpg = u64::from(cpg);
    let is_large = |rec: &&ExtentRec| clusters(rec) > cpg;
    let large = records.iter().filter(is_large).count();
    let largest = records.iter().map(clusters).max().unwrap_or(0);
    let used = records.len();
    if usize::from(stated) != used {
        let text = format!("l_next_free_rec is {stated}, {used} records are filled");
        if large > 0 || sum != cpg {
            let text = format!("{text} with {sum} clusters, expected {cpg}");
            return found(codes::DISCONTIG_BG_LIST_CORRUPT, text);
        }
        return found(codes::DISCONTIG_BG_NEXT_FREE_REC, text);
    }
    match large {
        0 => {
            let text = format!("its records have {sum} clusters, expected {cpg}");
            match sum.cmp(&cpg) {
                std::cmp::Ordering::Greater => found(codes::DISCONTIG_BG_CLUSTERS, text),
                std::cmp::Ordering::Less => found(codes::DISCONTIG_BG_LESS_CLUSTERS, text),
                std::cmp::Ordering::Equal => {}
            }
        }
        1 => {
            let rest = sum - largest;
            let text =
                format!("a record has {largest} clusters, the others {rest}, a group has {cpg}");
            let code = match rest < cpg {
                true => codes::DISCONTIG_BG_LEAF_CLUSTERS,
                false => codes::DISCONTIG_BG_REC_CORRUPT,
            };
            found(code, text);
        }
        _ => {
            let text = format!("{large} records have more than the {cpg} clusters of a group");
            found(codes::DISCONTIG_BG_CORRUPT_LEAVES, text);
        }
    }
}

/// Returns the places of the pieces.
fn pieces(
    context: &Context<'_>,
    blkno: Blkno,
    cpg: u32,
    records: &[ExtentRec],
    found: &mut impl FnMut(&'static Code, String),
) -> Option<Vec<Run>> {
    let geometry = context.geometry();
    let bpc = geometry.blocks_per_cluster();
    let starts = positions(records, cpg);
    let wrong = records.iter().zip(&starts).find(|(rec, start)| rec.e_cpos.0 != **start);
    if let Some((rec, start)) = wrong {
        let text = format!("a record is at position {}, expected {start}", rec.e_cpos);
        found(codes::DISCONTIG_BG_CPOS, text);
    }
    let mut runs: Vec<Run> = Vec::new();
    for (index, rec) in records.iter().enumerate() {
        let start = starts.get(index).copied().unwrap_or(cpg).min(cpg);
        let end = starts.get(index + 1).copied().unwrap_or(cpg).clamp(start, cpg);
        let (bit, bits) = (start.saturating_mul(bpc), (end - start).saturating_mul(bpc));
        let mut at = rec.e_blkno;
        if index == 0 && at != blkno {
            found(codes::DISCONTIG_BG_START, format!("its first record begins at block {at}"));
            at = blkno;
        }
        let is_aligned = at.0.is_multiple_of(bpc.into());
        if !is_aligned || !geometry.is_valid_range(at, bits.into()) {
            let text = format!("record {index} names {bits} blocks from {at} on");
            found(codes::DISCONTIG_BG_REC_RANGE, text);
        } else if bits > 0 {
            runs.push(Run { bit, bits, blkno: at });
        }
    }
    // Without its first piece it is not a group.
    runs.first().is_some_and(|run| run.blkno == blkno).then_some(runs)
}

/// Returns the position of each record in the group: from the lengths, unless these do not add up
/// to the group and the stated positions are plausible.
fn positions(records: &[ExtentRec], cpg: u32) -> Vec<u32> {
    let stated: Vec<_> = records.iter().map(|rec| rec.e_cpos.0).collect();
    let mut sum = 0_u32;
    let counted: Vec<_> = records
        .iter()
        .map(|rec| {
            let start = sum;
            sum = sum.saturating_add(rec.e_leaf_clusters().into());
            start
        })
        .collect();
    let ascending = stated.windows(2).all(|pair| pair[0] < pair[1]);
    let plausible =
        ascending && stated.first() == Some(&0) && stated.last().is_some_and(|last| *last < cpg);
    if sum != cpg && plausible { stated } else { counted }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocfs2_format::Cpos;
    use ocfs2_format::extent::ExtentFlags;

    fn records(records: &[(u32, u16)]) -> Vec<ExtentRec> {
        let leaf = |(cpos, clusters): &(u32, u16)| {
            ExtentRec::leaf(Cpos(*cpos), *clusters, ExtentFlags::empty(), Blkno(8))
        };
        records.iter().map(leaf).collect()
    }

    #[test]
    fn a_wrong_length_is_made_up_for_by_the_positions_and_the_other_way_round() {
        assert_eq!(positions(&records(&[(0, 10), (10, 9), (20, 12)]), 32), [0, 10, 20]);
        assert_eq!(positions(&records(&[(0, 10), (11, 10), (20, 12)]), 32), [0, 10, 20]);
        assert_eq!(positions(&records(&[(3, 10), (2, 10), (1, 70)]), 32), [0, 10, 20]);
    }

    #[test]
    fn lengths_that_are_wrong_have_the_code_of_what_can_be_done() {
        let code = |rows: &[(u32, u16)], stated| {
            let mut codes = Vec::new();
            lengths(&records(rows), stated, 32, &mut |code: &'static Code, _| {
                codes.push(code.name);
            });
            codes
        };
        assert!(code(&[(0, 16), (16, 16)], 2).is_empty());
        assert_eq!(code(&[(0, 16), (16, 16)], 3), ["DISCONTIG_BG_NEXT_FREE_REC"]);
        assert_eq!(code(&[(0, 16), (16, 17)], 3), ["DISCONTIG_BG_LIST_CORRUPT"]);
        assert_eq!(code(&[(0, 16), (16, 17)], 2), ["DISCONTIG_BG_CLUSTERS"]);
        assert_eq!(code(&[(0, 16), (16, 15)], 2), ["DISCONTIG_BG_LESS_CLUSTERS"]);
        assert_eq!(code(&[(0, 16), (16, 33)], 2), ["DISCONTIG_BG_LEAF_CLUSTERS"]);
        assert_eq!(code(&[(0, 32), (16, 33)], 2), ["DISCONTIG_BG_REC_CORRUPT"]);
        assert_eq!(code(&[(0, 33), (16, 33)], 2), ["DISCONTIG_BG_CORRUPT_LEAVES"]);
        assert_eq!(code(&[], 1), ["DISCONTIG_BG_LIST_CORRUPT"]);
    }
}
