//! The end of pass 1: compares the bitmaps with what is in use.
//!
//! Verifies invariant G-3, and the same for the extent allocators. What could not be read may use
//! more than is known. Then bits that are set without an owner are not reported, so that nothing is
//! freed that was only not seen. A bit that is clear and in use is always reported.

mod blocks;
mod clusters;
mod own_xattrs;

use std::ops::Range;

use crate::state::State;
use crate::{Context, Stop, chains};

/// Compares all bitmaps except those of the inode allocators, which were compared when the inodes
/// were read. Returns clusters that have no owner and are in use, as far as is known.
///
/// # Errors
/// [`Stop`] if the check was interrupted.
pub(crate) fn check(context: &Context<'_>, state: &mut State<'_>) -> Result<Vec<Range<u32>>, Stop> {
    clusters::descriptors(context, state);
    let (mut findings, mut leaks) = clusters::compared(context, state)?;
    leaks.splice(0..0, clusters::suspected(context, state));
    let lost = chains::unlinked(context, state, &leaks);
    if !lost.is_empty() {
        // The contents of these groups are not free, and come back with them.
        (state.lost_groups, state.incomplete, state.unlinked_groups) = (true, true, true);
        state.found_all(lost);
        (findings, _) = clusters::compared(context, state)?;
    }
    blocks::check(context, state);
    state.found_all(findings);
    leaks.extend(clusters::of_unknown_groups(context, state));
    Ok(leaks)
}

/// Consecutive bits that are wrong in the same way.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Wrong {
    /// The first one, and the one after the last.
    start: u32,
    end: u32,
    /// Whether they are set.
    is_set: bool,
}

/// Returns where `stored` differs from `expected`, ascending. Both have `bits` bits, the first of
/// which has number `first`.
fn differences(stored: &[u8], expected: &[u8], bits: usize, first: u32) -> Vec<Wrong> {
    use ocfs2_format::bitmap::Bitmap;
    if stored == expected {
        return Vec::new();
    }
    let different: Vec<_> = stored.iter().zip(expected).map(|(one, other)| one ^ other).collect();
    let stored = Bitmap::new(stored, bits);
    let mut wrong = Vec::new();
    for run in Bitmap::new(&different, bits).runs(true) {
        let mut at = run.start;
        while at < run.end {
            let is_set = stored.get(at);
            let end = stored.next(!is_set, at).unwrap_or(run.end).min(run.end);
            wrong.push(Wrong { start: first + at as u32, end: first + end as u32, is_set });
            at = end;
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_that_are_wrong_in_different_ways_are_apart() {
        let wrong = |start, end, is_set| Wrong { start, end, is_set };
        let found = differences(&[0b0011_1000, 0b1], &[0b1100_0000, 0b1], 16, 100);
        assert_eq!(found, [wrong(103, 106, true), wrong(106, 108, false)]);
        assert_eq!(differences(&[0xff], &[0x0f], 6, 0), [wrong(4, 6, true)]);
        assert!(differences(&[0xff], &[0x3f], 6, 0).is_empty());
    }
}
