//! Whether the names of a directory are distinct, in 24 bytes a name.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use ocfs2_format::Blkno;

/// What stands for a name.
type Key = (u64, u64);

/// The names seen so far, by 128 bits of keyed hash: that two names share one is out of
/// reach for whoever made the volume.
#[derive(Debug, Default)]
pub(super) struct Names {
    keys: [RandomState; 2],
    /// Where each leads.
    seen: HashMap<Key, Blkno>,
    /// Those that are there again and point to the same inode.
    repeated: HashSet<Key>,
}

/// What is known of a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Seen {
    /// It was not there.
    New,
    /// It was there, and points to another inode.
    Taken,
    /// It was there, and points to the same inode.
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

    /// Whether any entry is there twice.
    pub fn has_repeated(&self) -> bool {
        !self.repeated.is_empty()
    }

    /// Whether that entry is there twice.
    pub fn is_repeated(&self, name: &[u8], inode: Blkno) -> bool {
        let key = self.key(name);
        self.repeated.contains(&key) && self.seen.get(&key) == Some(&inode)
    }

    fn key(&self, name: &[u8]) -> Key {
        let [first, second] = &self.keys;
        (first.hash_one(name), second.hash_one(name))
    }
}
