//! Entries that wrong lengths hide.
//!
//! An entry that is too long covers those after it, and an entry whose name is longer than the
//! entry is not valid. The index still has them: what is in the same block under a name of that
//! hash, and points to an inode in use, is the entry.

use std::collections::{BTreeMap, HashMap, HashSet};

use ocfs2_format::dir::{DirEntryHeader, DirTrailer};
use ocfs2_format::hash::NameHash;
use ocfs2_format::{Blkno, Structure};

use super::expected::{Expected, Key};
use super::names::{DOTS, Left};
use crate::Context;
use crate::repair::directory::{Hidden, Renamed};

/// Entries begin at multiples of this.
const ALIGNMENT: usize = 4;

/// A search in the blocks of one directory.
pub(super) struct Search<'a> {
    pub context: &'a Context<'a>,
    pub expected: &'a Expected,
    /// Entries of the directory that the index does not have.
    pub missing: &'a HashSet<Key>,
    /// Keys of the index that are explained already.
    pub explained: &'a HashSet<Key>,
    /// Returns whether there is an inode in use at a block.
    pub is_in_use: &'a dyn Fn(Blkno) -> bool,
}

/// What a block holds for an entry of the index.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Found {
    /// An entry that is not reached from the entries before it.
    Hidden(Hidden),
    /// An entry that is there under another name.
    Renamed(Renamed),
}

/// The candidates for one entry of the index: those under the stated name, and those with one wrong
/// bit in the length of the name. If there are several nothing shows which one it is.
#[derive(Debug, Default)]
struct Candidates([Vec<Found>; 2]);

impl Candidates {
    fn only(self) -> Option<Found> {
        let [exact, near] = self.0;
        let mut all = if exact.is_empty() { near } else { exact };
        all.dedup();
        all.pop().filter(|_| all.is_empty())
    }
}

impl Search<'_> {
    /// Finds the entries for which the index has what is `left`.
    pub fn look(&self, left: &[Left]) -> Vec<(Key, Found)> {
        let dots = DOTS.map(|name| self.expected.hashes(name)[0]);
        let is_wanted = |left: &&Left| {
            left.is_in_place
                && !dots.contains(&left.key.hash)
                && !self.explained.contains(&left.key)
                && !self.expected.unsure_names.contains(&left.key)
        };
        let mut by_block: BTreeMap<Blkno, HashMap<NameHash, Candidates>> = BTreeMap::new();
        for left in left.iter().filter(is_wanted) {
            let hashes = by_block.entry(left.key.blkno).or_default();
            hashes.entry(left.key.hash).or_default();
        }
        // Only blocks of the directory, and not those past its end.
        by_block.retain(|blkno, _| self.expected.next_free.contains_key(blkno));
        let mut found = Vec::new();
        for (blkno, mut hashes) in by_block {
            if self.context.interrupt.requested() {
                break;
            }
            self.in_block(blkno, &mut hashes);
            found.extend(hashes.into_iter().filter_map(|(hash, candidates)| {
                let key = Key { hash, blkno };
                Some((key, candidates.only()?))
            }));
        }
        found
    }

    fn in_block(&self, blkno: Blkno, hashes: &mut HashMap<NameHash, Candidates>) {
        let Ok(mut block) = self.context.volume.read_block(blkno) else { return };
        let check_offset = DirTrailer::check_offset(block.len());
        self.context.check(&mut block, check_offset);
        let area = block.get(..DirTrailer::offset(block.len())).unwrap_or_default();
        for at in (0..area.len()).step_by(ALIGNMENT) {
            self.at(blkno, area.get(at..).unwrap_or_default(), hashes);
        }
    }

    /// Takes what is at the start of `bytes`, if it may be an entry, under its stated name and with
    /// each bit of the length of the name flipped.
    fn at(&self, blkno: Blkno, bytes: &[u8], hashes: &mut HashMap<NameHash, Candidates>) {
        let Ok(header) = DirEntryHeader::decode(bytes) else { return };
        let inode = header.inode;
        if !self.context.geometry().is_valid_block(inode) || !(self.is_in_use)(inode) {
            return;
        }
        let room = bytes.get(DirEntryHeader::SIZE..).unwrap_or_default();
        let own = room.get(..header.name_len.into()).unwrap_or_default();
        let key = Key { hash: self.expected.hashes(own)[0], blkno };
        let is_known = self.expected.entries.binary_search(&key).is_ok();
        let is_unsure = self.missing.contains(&key) || self.expected.unsure_names.contains(&key);
        let lens = (0..u8::BITS).map(|bit| header.name_len ^ 1 << bit);
        // An entry that the index has under its name had no other one.
        let lens = lens.filter(|_| !is_known || is_unsure);
        for (index, len) in std::iter::once((0, header.name_len)).chain(lens.map(|len| (1, len))) {
            let name = room.get(..len.into()).unwrap_or_default();
            if name.is_empty() || name.contains(&0) || name.contains(&b'/') {
                continue;
            }
            let mut own_hashes = self.expected.hashes(name).into_iter();
            let Some(hash) = own_hashes.find(|hash| hashes.contains_key(hash)) else { continue };
            let name = name.to_vec();
            let found = match index == 1 && is_unsure {
                true => Found::Renamed(Renamed { wrong: own.to_vec(), right: name, inode }),
                false => Found::Hidden(Hidden { name, inode }),
            };
            if let Some(candidates) = hashes.get_mut(&hash)
                && let Some(all) = candidates.0.get_mut(index)
            {
                all.push(found);
            }
        }
    }
}
