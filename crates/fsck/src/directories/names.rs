//! Whether the names of a directory are distinct, in 24 bytes per name.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use ocfs2_format::Blkno;

/// The hash that stands for a name.
type Key = (u64, u64);

/// The names seen so far, as 128 bits of keyed hash. The keys are random, so that whoever made the
/// volume cannot make two names share a hash.
#[derive(Debug, Default)]
pub(super) struct Names {
    keys: [RandomState; 2],
    /// The inode that the first entry of each name points to.
    seen: HashMap<Key, Blkno>,
    /// Names with a second entry that points to the same inode.
    repeated: HashSet<Key>,
}

/// What is known of a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Seen {
    /// It is new.
    New,
    /// There is an entry of that name for another inode.
    Taken,
    /// There is an entry of that name for the same inode.
    Repeated,
}

impl Names {
    /// Adds a name.
    pub fn insert(&mut self, name: &[u8], inode: Blkno) -> Seen {
        let key = self.key(name);
        match self.seen.insert(key, inode) {
            None => Seen::New,
            Some(first) if first == inode => {
                self.repeated.insert(key);
                Seen::Repeated
            }
            Some(first) => {
                self.seen.insert(key, first);
                Seen::Taken
            }
        }
    }

    /// Returns whether any entry is there twice.
    pub fn has_repeated(&self) -> bool {
        !self.repeated.is_empty()
    }

    /// Returns whether that entry is there twice.
    pub fn is_repeated(&self, name: &[u8], inode: Blkno) -> bool {
        let key = self.key(name);
        self.repeated.contains(&key) && self.seen.get(&key) == Some(&inode)
    }

    fn key(&self, name: &[u8]) -> Key {
        let [first, second] = &self.keys;
        (first.hash_one(name), second.hash_one(name))
    }
}
