//! Whether the names of a directory are distinct, in 16 bytes a name.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// The names seen so far, by 128 bits of keyed hash: that two names share one is out of
/// reach for whoever made the volume.
#[derive(Debug, Default)]
pub(super) struct Names {
    keys: [RandomState; 2],
    seen: HashSet<(u64, u64)>,
}

impl Names {
    /// Adds a name; false if it is there already.
    pub fn insert(&mut self, name: &[u8]) -> bool {
        let [first, second] = &self.keys;
        self.seen.insert((first.hash_one(name), second.hash_one(name)))
    }
}
