//! The entries that the index of a directory has to contain.

use std::collections::{HashMap, HashSet};

use ocfs2_format::Blkno;
use ocfs2_format::dir::DirTrailer;
use ocfs2_format::hash::{CharSign, NameHash, dx_hash};

/// An entry as the index stores it. Names are not kept, to save memory: a message reads its name
/// again.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Key {
    /// The hash of its name.
    pub hash: NameHash,
    /// The block it is in.
    pub blkno: Blkno,
}

/// The entries of a directory as the index has to contain them, in 16 bytes each.
#[derive(Debug)]
pub(in crate::directories) struct Expected {
    seed: [u32; 3],
    /// All entries, by the hash of signed bytes.
    pub(super) entries: Vec<Key>,
    /// Entries whose hash of unsigned bytes differs, by that hash, each with the signed one.
    pub(super) unsigned: Vec<(Key, NameHash)>,
    /// By block, the number of entries whose names a repair changes: what the index has for them is
    /// not known.
    pub(super) unsure: HashMap<Blkno, u64>,
    /// The keys of these entries under their present names.
    pub(super) unsure_names: HashSet<Key>,
    /// Blocks with unknown entries.
    pub(super) unread: HashSet<Blkno>,
    /// Blocks that are copies of others or have a copy: their entries say nothing about those that
    /// the index has.
    pub(super) copied: HashSet<Blkno>,
    /// For each block of the directory the next one in the list of blocks with holes.
    pub(super) next_free: HashMap<Blkno, Blkno>,
    /// Blocks past the end of the directory in its last cluster, with their numbers.
    pub(in crate::directories) beyond: HashMap<Blkno, u64>,
    /// The number of blocks that the directory states.
    pub(in crate::directories) stated: u64,
    /// Whether some blocks were not found.
    pub(super) is_incomplete: bool,
}

impl Expected {
    /// Starts without entries; `seed` is `s_dx_seed`.
    pub fn new(seed: [u32; 3]) -> Self {
        Self {
            seed,
            entries: Vec::new(),
            unsigned: Vec::new(),
            unsure: HashMap::new(),
            unsure_names: HashSet::new(),
            unread: HashSet::new(),
            copied: HashSet::new(),
            next_free: HashMap::new(),
            beyond: HashMap::new(),
            stated: 0,
            is_incomplete: false,
        }
    }

    /// Adds an entry in use.
    pub fn entry(&mut self, blkno: Blkno, name: &[u8]) {
        let [signed, unsigned] = self.hashes(name);
        self.entries.push(Key { hash: signed, blkno });
        if unsigned != signed {
            self.unsigned.push((Key { hash: unsigned, blkno }, signed));
        }
    }

    /// Notes an entry that a repair renames, removes or makes: the index may have it or not.
    pub fn unsure_entry(&mut self, blkno: Blkno, name: &[u8]) {
        *self.unsure.entry(blkno).or_default() += 1;
        let keys = self.hashes(name).map(|hash| Key { hash, blkno });
        self.unsure_names.extend(keys);
    }

    /// Notes a block of the directory.
    pub fn block(&mut self, blkno: Blkno, trailer: &DirTrailer) {
        self.next_free.insert(blkno, trailer.db_free_next);
    }

    /// Notes a block with unknown entries.
    pub fn lost_block(&mut self, blkno: Blkno) {
        self.unread.insert(blkno);
    }

    /// Notes a block that is a copy of another one, or of which there is a copy.
    pub fn copied_block(&mut self, blkno: Blkno) {
        self.unread.insert(blkno);
        self.copied.insert(blkno);
    }

    /// Notes that there are more blocks that cannot be found.
    pub fn incomplete(&mut self) {
        self.is_incomplete = true;
    }

    /// Returns the hashes of a name, of signed and of unsigned bytes.
    pub(super) fn hashes(&self, name: &[u8]) -> [NameHash; 2] {
        let signed = dx_hash(name, self.seed, CharSign::Signed);
        if name.is_ascii() {
            return [signed; 2];
        }
        [signed, dx_hash(name, self.seed, CharSign::Unsigned)]
    }
}
