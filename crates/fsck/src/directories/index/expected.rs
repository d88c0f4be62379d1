//! What a directory's entries demand of its index.

use std::collections::{HashMap, HashSet};

use ocfs2_format::Blkno;
use ocfs2_format::dir::DirTrailer;
use ocfs2_format::hash::{CharSign, NameHash, dx_hash};

/// An entry as the index sees it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Key {
    /// The hash of its name.
    pub hash: NameHash,
    /// The block it is in.
    pub blkno: Blkno,
}

/// The entries of a directory as the index has to have them: 16 bytes for each.
#[derive(Debug)]
pub(in crate::directories) struct Expected {
    seed: [u32; 3],
    /// The entries, their hashes of signed bytes.
    pub(super) entries: Vec<Key>,
    /// Those whose hash of unsigned bytes is another one, by that, and the signed one.
    pub(super) unsigned: Vec<(Key, NameHash)>,
    /// By block how many entries have a name that a repair changes: what the index says of
    /// them is not known.
    pub(super) unsure: HashMap<Blkno, u64>,
    /// What the index has of these under the names they have.
    pub(super) unsure_names: HashSet<Key>,
    /// Blocks of which not all entries are known.
    pub(super) unread: HashSet<Blkno>,
    /// Blocks of which another one is a copy, and those that are one: the entries that are there say
    /// nothing of those the index has.
    pub(super) copied: HashSet<Blkno>,
    /// By block of the directory the next one in the list of those with holes.
    pub(super) next_free: HashMap<Blkno, Blkno>,
    /// Blocks in the last cluster past the end of the directory, and their numbers.
    pub(in crate::directories) beyond: HashMap<Blkno, u64>,
    /// Blocks of the directory as it says.
    pub(in crate::directories) stated: u64,
    /// Whether there are blocks of which nothing is known.
    pub(super) is_incomplete: bool,
}

impl Expected {
    /// None so far; `seed` is `s_dx_seed`.
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

    /// An entry in use.
    pub fn entry(&mut self, blkno: Blkno, name: &[u8]) {
        let [signed, unsigned] = self.hashes(name);
        self.entries.push(Key { hash: signed, blkno });
        if unsigned != signed {
            self.unsigned.push((Key { hash: unsigned, blkno }, signed));
        }
    }

    /// An entry that a repair renames, removes or makes: the index may have it or not.
    pub fn unsure_entry(&mut self, blkno: Blkno, name: &[u8]) {
        *self.unsure.entry(blkno).or_default() += 1;
        let keys = self.hashes(name).map(|hash| Key { hash, blkno });
        self.unsure_names.extend(keys);
    }

    /// A block of the directory.
    pub fn block(&mut self, blkno: Blkno, trailer: &DirTrailer) {
        self.next_free.insert(blkno, trailer.db_free_next);
    }

    /// A block of which not all entries are known.
    pub fn lost_block(&mut self, blkno: Blkno) {
        self.unread.insert(blkno);
    }

    /// A block that is a copy of another one, or of which there is one.
    pub fn copied_block(&mut self, blkno: Blkno) {
        self.unread.insert(blkno);
        self.copied.insert(blkno);
    }

    /// There are more blocks, and they cannot be found.
    pub fn incomplete(&mut self) {
        self.is_incomplete = true;
    }

    /// The hashes of a name, of signed and of unsigned bytes.
    pub(super) fn hashes(&self, name: &[u8]) -> [NameHash; 2] {
        let signed = dx_hash(name, self.seed, CharSign::Signed);
        if name.is_ascii() {
            return [signed; 2];
        }
        [signed, dx_hash(name, self.seed, CharSign::Unsigned)]
    }
}
