//! What was read before, so that it is not read again for each of many owners.
//!
//! On a sound volume a block of metadata belongs to one tree, and a cluster of a directory or of
//! attributes to one owner. Where a few belong to several owners, they are read for each, so that
//! everything that is wrong is reported. Where many do, they are read for the first owner only; for
//! the others it is enough that they share.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Blocks or clusters that may be read again.
const REPEATS: u64 = 1024;

/// Bits per word.
const WORD: u64 = u64::BITS as u64;

/// Blocks or clusters that were read. Shared by threads.
#[derive(Debug, Default)]
pub struct Visits(Mutex<Visited>);

#[derive(Debug, Default)]
struct Visited {
    /// One bit per unit, in words of 64, only for units that were read: those of a large directory
    /// are close together, those of trees far apart.
    words: HashMap<u64, u64>,
    repeats: u64,
}

impl Visits {
    /// Returns whether to read these units, and counts them as read.
    pub fn enter(&self, units: Range<u64>) -> bool {
        let mut visited = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = units.start;
        while at < units.end {
            let (word, first) = (at / WORD, at % WORD);
            let count = (units.end - at).min(WORD - first);
            let mask = (u64::MAX >> (WORD - count)) << first;
            let bits = visited.words.entry(word).or_default();
            let again = u64::from((*bits & mask).count_ones());
            *bits |= mask;
            visited.repeats += again;
            if again > 0 && visited.repeats > REPEATS {
                return false;
            }
            at += count;
        }
        true
    }
}

/// Blocks and clusters of metadata that were read in one pass.
#[derive(Debug, Default)]
pub struct MetadataVisits {
    /// Blocks that point to others.
    pub blocks: Visits,
    /// Clusters of directories, of their indexes, and of attributes.
    pub clusters: Visits,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_read_twice_and_many_are_not() {
        let visits = Visits::default();
        assert!(visits.enter(0..10 * REPEATS));
        assert!(visits.enter(5..5 + REPEATS));
        assert!(!visits.enter(0..1) && !visits.enter(10 * REPEATS - 1..11 * REPEATS));
        assert!(visits.enter(11 * REPEATS..12 * REPEATS));
    }

    #[test]
    fn what_lies_side_by_side_takes_little() {
        let visits = Visits::default();
        assert!(visits.enter(7..1 << 20) && visits.enter(u64::MAX - 3..u64::MAX));
        assert!(visits.enter(0..7) && visits.enter(1 << 20..1 << 20) && visits.enter(7..8));
        let visited = visits.0.lock().unwrap();
        assert_eq!((visited.repeats, visited.words.len()), (1, (1 << 14) + 1));
    }
}
