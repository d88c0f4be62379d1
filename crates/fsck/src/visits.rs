//! What was read already, so that it is not read again for each of many who claim it.
//!
//! On a sound volume a block of metadata belongs to one tree, and a cluster of a directory or of
//! attributes to one owner. Where a few belong to several, each is looked at, so that all that is
//! wrong with it is said. Where many do the first is, and of the others is known that they share.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// So many blocks or clusters are read once more.
const REPEATS: u64 = 1024;

/// Blocks or clusters that were read. Shared by threads.
#[derive(Debug, Default)]
pub struct Visits(Mutex<Visited>);

#[derive(Debug, Default)]
struct Visited {
    units: HashSet<u64>,
    repeats: u64,
}

impl Visits {
    /// Whether to read these, of which each counts as read then.
    pub fn enter(&self, units: Range<u64>) -> bool {
        let mut visited = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for unit in units {
            if !visited.units.insert(unit) {
                visited.repeats += 1;
                if visited.repeats > REPEATS {
                    return false;
                }
            }
        }
        true
    }
}

/// Blocks and clusters of metadata that were read in one pass.
#[derive(Debug, Default)]
pub struct MetadataVisits {
    /// Blocks that lead to others.
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
}
