//! Records of an extent list that are out of order and otherwise sound.
//!
//! Two records that were exchanged only have to be put back. A record with a wrong position is out
//! of order as well, but sorting would move it to another place in the file. That is why records
//! are not simply sorted: what else they state tells the two cases apart.

use ocfs2_format::extent::{ExtentFlags, ExtentRec};

use crate::read::holds::Holds;

/// Bits of a position.
const POSITION_BITS: u32 = u32::BITS;

/// The number of records from which on positions without a hole are no coincidence.
const MANY: usize = 8;

/// Sorts the records of a list of that depth if they are only out of order. Returns whether they
/// were.
pub fn restore(records: &mut [ExtentRec], depth: u16, holds: Holds) -> bool {
    if is_sorted(records) {
        return false;
    }
    let mut sorted = records.to_vec();
    // A kernel leaves an empty record in front; its position means nothing.
    let start = usize::from(depth == 0 && records.first().is_some_and(|it| length(it, 0) == 0));
    let Some(rest) = sorted.get_mut(start..) else { return false };
    rest.sort_by_key(|rec| rec.e_cpos.0);
    let given = records.get(start..).unwrap_or_default();
    let is_right = match (depth, holds) {
        (1.., _) | (0, Holds::Dense) => is_dense(rest, depth),
        (_, Holds::Hashed | Holds::RefcountLeaves) => is_sorted(rest),
        // A record with unknown flags has a garbage position as well.
        (_, Holds::Data) => {
            rest.iter().all(has_known_flags) && is_disjoint(rest) && were_exchanged(given, rest)
        }
    };
    if is_right {
        records.copy_from_slice(&sorted);
    }
    is_right
}

fn pairs(records: &[ExtentRec]) -> impl Iterator<Item = (&ExtentRec, &ExtentRec)> {
    records.iter().zip(records.iter().skip(1))
}

/// Returns whether positions ascend; empty records in front do not count.
fn is_sorted(records: &[ExtentRec]) -> bool {
    pairs(records).all(|(rec, next)| length(rec, 0) == 0 || rec.e_cpos < next.e_cpos)
}

/// Returns whether no record reaches over the next one, and none is empty.
fn is_disjoint(records: &[ExtentRec]) -> bool {
    let is_empty = |rec: &ExtentRec| length(rec, 0) == 0;
    !records.iter().any(is_empty)
        && pairs(records).all(|(rec, next)| end(rec, 0) <= next.e_cpos.0.into())
}

/// Returns whether each record begins where the one before ends.
fn is_dense(records: &[ExtentRec], depth: u16) -> bool {
    pairs(records)
        .all(|(rec, next)| rec.e_cpos < next.e_cpos && end(rec, depth) == u64::from(next.e_cpos.0))
}

fn has_known_flags(rec: &ExtentRec) -> bool {
    ExtentFlags::KNOWN.contains(rec.e_flags())
}

fn length(rec: &ExtentRec, depth: u16) -> u64 {
    match depth {
        0 => rec.e_leaf_clusters().into(),
        _ => rec.e_int_clusters().into(),
    }
}

fn end(rec: &ExtentRec, depth: u16) -> u64 {
    u64::from(rec.e_cpos.0) + length(rec, depth)
}

/// Returns whether extents of a file were exchanged, rather than that one position is wrong.
///
/// They were if more than one record is out of place, or if there are many and they leave no hole
/// once sorted. They were not if one wrong bit of a position explains the order as well, or if the
/// clusters on the volume are in order now. They were if the clusters are in order once sorted.
/// Otherwise exactly two neighbours have to differ, neither of them the last record.
fn were_exchanged(given: &[ExtentRec], sorted: &[ExtentRec]) -> bool {
    let on_volume = |list: &[ExtentRec]| pairs(list).all(|(rec, next)| rec.e_blkno < next.e_blkno);
    if without_one(given).is_none() {
        return true;
    }
    if given.len() >= MANY && is_dense(sorted, 0) {
        return true;
    }
    if is_a_bit(given) || on_volume(given) {
        return false;
    }
    if on_volume(sorted) {
        return true;
    }
    let differing = given.iter().zip(sorted).filter(|(a, b)| a != b).count();
    let last_stays = given.last() == sorted.last();
    differing == 2 && last_stays
}

/// Returns the index of a record without which the others are in order.
fn without_one(given: &[ExtentRec]) -> Option<usize> {
    let at = pairs(given).position(|(rec, next)| rec.e_cpos >= next.e_cpos)?;
    let is_it = |index: &usize| {
        let rest: Vec<_> = given.iter().enumerate().filter(|(at, _)| at != index).collect();
        let mut steps = rest.iter().zip(rest.iter().skip(1));
        steps.all(|((_, rec), (_, next))| rec.e_cpos < next.e_cpos)
    };
    [at, at + 1].into_iter().find(is_it)
}

/// Returns whether flipping one bit of one position makes the order right. The last record must not
/// go beyond the last position of all.
fn is_a_bit(given: &[ExtentRec]) -> bool {
    let end = given.iter().map(|rec| rec.e_cpos).max();
    let Some(at) = pairs(given).position(|(rec, next)| rec.e_cpos >= next.e_cpos) else {
        return false;
    };
    [at, at + 1].into_iter().any(|index| {
        (0..POSITION_BITS).any(|bit| {
            let mut other = given.to_vec();
            if let Some(rec) = other.get_mut(index) {
                rec.e_cpos.0 ^= 1 << bit;
            }
            is_disjoint(&other) && other.last().map(|rec| rec.e_cpos) <= end
        })
    })
}

#[cfg(test)]
mod tests {
    use ocfs2_format::{Blkno, Cpos};

    use super::*;

    /// Records of one cluster at these positions, on the volume in order of `places`.
    fn list(positions: &[u32], places: &[u64]) -> Vec<ExtentRec> {
        let rec = |(cpos, place): (&u32, &u64)| {
            ExtentRec::leaf(Cpos(*cpos), 1, ExtentFlags::empty(), Blkno(*place * 8))
        };
        positions.iter().zip(places).map(rec).collect()
    }

    fn restored(positions: &[u32], places: &[u64], holds: Holds) -> Option<Vec<u32>> {
        let mut records = list(positions, places);
        let is_restored = restore(&mut records, 0, holds);
        is_restored.then(|| records.iter().map(|rec| rec.e_cpos.0).collect())
    }

    #[test]
    fn exchanged_records_are_put_back() {
        let is = |positions: &[u32], places: &[u64], holds| {
            let mut sorted = positions.to_vec();
            sorted.sort_unstable();
            assert_eq!(restored(positions, places, holds), Some(sorted), "{positions:?}");
        };
        is(&[0, 6, 4, 2, 8], &[1, 4, 3, 2, 5], Holds::Data);
        is(&[0, 4, 2, 6], &[1, 3, 2, 4], Holds::Data);
        // Nothing but the order on the volume tells for the last two.
        is(&[0, 2, 6, 4], &[1, 2, 4, 3], Holds::Data);
        // A bit of the first one would have it before what is in the leaf before.
        is(&[253, 252, 254, 255, 256, 257, 258, 259], &[1, 2, 3, 9, 4, 5, 6, 7], Holds::Data);
        is(&[2, 1, 0], &[9, 1, 5], Holds::Dense);
        is(&[0, 900, 50, 1000], &[9, 1, 5, 3], Holds::Hashed);
    }

    #[test]
    fn a_wrong_position_is_no_order() {
        let is_not = |positions: &[u32], places: &[u64], holds| {
            assert_eq!(restored(positions, places, holds), None, "{positions:?}");
        };
        is_not(&[0, 2, 4], &[3, 2, 1], Holds::Data);
        // 2 with another bit, on a volume in order and on one that is not.
        is_not(&[0, 6, 4, 8], &[1, 2, 3, 4], Holds::Data);
        is_not(&[0, 6, 4, 8], &[4, 2, 7, 1], Holds::Data);
        is_not(&[0, 9000, 4, 8], &[4, 2, 7, 1], Holds::Data);
        // The order on the volume and a bit speak against each other.
        is_not(&[0, 6, 4, 8], &[1, 3, 2, 4], Holds::Data);
        is_not(&[253, 252, 254], &[1, 2, 3], Holds::Data);
        is_not(&[0, 3, 2], &[1, 2, 3], Holds::Dense);
        is_not(&[0, 2, 2], &[1, 2, 3], Holds::Data);
        is_not(&[0, 2, 2], &[1, 2, 3], Holds::Hashed);
    }

    #[test]
    fn lists_above_have_to_cover_all() {
        let above = |positions: &[(u32, u32)]| {
            let rec = |(cpos, count): &(u32, u32)| {
                ExtentRec::interior(Cpos(*cpos), *count, Blkno(u64::from(*cpos) + 9))
            };
            restore(&mut positions.iter().map(rec).collect::<Vec<_>>(), 1, Holds::Data)
        };
        assert!(above(&[(0, 5), (9, 3), (5, 4)]));
        assert!(!above(&[(0, 5), (9, 3), (6, 3)]));
        assert!(!above(&[(0, 5), (5, 4), (9, 3)]));
    }
}
