//! Names with a wrong bit, restored by the index that was made for the right ones.
//!
//! The 64 bits of a hash identify a name. If an entry is not in the index under its name, and the
//! index has an entry for its block that belongs to no name, that one was made for the name the
//! entry had. If flipping one bit yields a name with that hash, this bit was wrong.

use std::collections::{BTreeMap, HashSet};

use ocfs2_format::dir::{self, DirEntry, DirEntryHeader, DirTrailer};
use ocfs2_format::hash::NameHash;
use ocfs2_format::{Blkno, Structure};

use super::expected::{Expected, Key};
use crate::Context;
use crate::repair::directory::Renamed;

/// Names of one directory that are tried, each with every bit flipped.
const MOST_TRIED: usize = 1024;

/// The names of the first two entries of a directory.
pub(super) const DOTS: [&[u8]; 2] = [b".", b".."];

/// An entry of the index to which no entry of the directory belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    /// The list it is in.
    pub list: Blkno,
    pub key: Key,
    /// Whether a lookup would find it there.
    pub is_in_place: bool,
    /// Whether it may belong to an entry with which something else is wrong.
    pub is_excused: bool,
}

/// What the index shows about names.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Names with a wrong bit, and the blocks they are in.
    pub restored: Vec<(Blkno, Renamed)>,
    /// Names that were different before; the old ones are not known.
    pub others: Vec<(Blkno, Vec<u8>)>,
    /// Keys of the directory and of the index that are explained by that.
    pub explained: HashSet<Key>,
}

/// Searches the blocks for which the index has entries that are `left`. `missing` are entries of
/// the directory that the index does not have.
pub(super) fn look(
    context: &Context<'_>,
    dir: Blkno,
    expected: &Expected,
    missing: &[Key],
    left: &[Left],
) -> Names {
    let missing: HashSet<Key> = missing.iter().copied().collect();
    let mut names = Names::default();
    let mut by_block: BTreeMap<Blkno, Vec<NameHash>> = BTreeMap::new();
    // `.` and `..` are known by their places, whatever their names are.
    let dots = DOTS.map(|name| expected.hashes(name)[0]);
    let is_named = |left: &&Left| left.is_in_place && !dots.contains(&left.key.hash);
    for left in left.iter().filter(is_named) {
        by_block.entry(left.key.blkno).or_default().push(left.key.hash);
    }
    let mut tries = MOST_TRIED;
    for (blkno, hashes) in by_block {
        if context.interrupt.requested() || !context.geometry().is_valid_block(blkno) {
            continue;
        }
        let Ok(mut block) = context.volume.read_block(blkno) else { continue };
        let check_offset = DirTrailer::check_offset(block.len());
        context.check(&mut block, check_offset);
        let area = block.get(..DirTrailer::offset(block.len())).unwrap_or_default();
        let of_block = OfBlock { dir, expected, missing: &missing, blkno, area };
        of_block.look(hashes, &mut tries, &mut names);
    }
    names
}

struct OfBlock<'a> {
    dir: Blkno,
    expected: &'a Expected,
    missing: &'a HashSet<Key>,
    blkno: Blkno,
    /// The part of the block that holds entries.
    area: &'a [u8],
}

impl OfBlock<'_> {
    fn look(&self, mut hashes: Vec<NameHash>, tries: &mut usize, names: &mut Names) {
        let entries = dir::entries(self.area).map_while(Result::ok);
        let is_first = dir::entries(self.area)
            .next()
            .is_some_and(|it| it.is_ok_and(|it| it.header.inode == self.dir));
        let entries = entries.skip(if is_first { DOTS.len() } else { 0 });
        let entries = entries.filter(DirEntry::is_used);
        let candidates: Vec<_> = entries.filter(|it| self.is_astray(it, &mut hashes)).collect();
        // If there are as many names as hashes, each of the names was a different one.
        let are_others = candidates.len() == hashes.len();
        let hashes: HashSet<_> = hashes.into_iter().collect();
        let mut unclaimed = hashes.clone();
        for entry in candidates {
            let Some(left) = tries.checked_sub(1) else { return };
            *tries = left;
            let found = self.right_names(&entry, &hashes);
            let [signed, _] = self.expected.hashes(entry.name);
            let of_index = match &found[..] {
                [(right, hash)] => {
                    let (wrong, right) = (entry.name.to_vec(), right.clone());
                    let renamed = Renamed { wrong, right, inode: entry.header.inode };
                    names.restored.push((self.blkno, renamed));
                    *hash
                }
                _ if are_others => {
                    names.others.push((self.blkno, entry.name.to_vec()));
                    let Some(hash) = unclaimed.iter().next() else { continue };
                    *hash
                }
                _ => continue,
            };
            unclaimed.remove(&of_index);
            let keys = [signed, of_index].map(|hash| Key { hash, blkno: self.blkno });
            names.explained.extend(keys);
        }
    }

    /// Returns whether the index has nothing for an entry under its name. Otherwise removes from
    /// the remaining `hashes` the one of the entry, which may have a wrong bit itself.
    fn is_astray(&self, entry: &DirEntry<'_>, hashes: &mut Vec<NameHash>) -> bool {
        let own = self.expected.hashes(entry.name);
        let key = Key { hash: own[0], blkno: self.blkno };
        if self.expected.entries.binary_search(&key).is_ok() && !self.missing.contains(&key) {
            return false;
        }
        let is_its = |hash: &NameHash| own.iter().any(|own| wrong_bits(own, hash) <= 1);
        match hashes.iter().position(is_its) {
            Some(at) => {
                hashes.swap_remove(at);
                false
            }
            None => true,
        }
    }

    /// Returns the names that differ from that of an entry by a bit, or by a bit of its length, and
    /// have one of these hashes.
    fn right_names(
        &self,
        entry: &DirEntry<'_>,
        hashes: &HashSet<NameHash>,
    ) -> Vec<(Vec<u8>, NameHash)> {
        let mut found = Vec::new();
        let mut add = |name: &[u8]| {
            if name.is_empty() || DOTS.contains(&name) || name.contains(&0) || name.contains(&b'/')
            {
                return;
            }
            let own = self.expected.hashes(name);
            if let Some(hash) = own.iter().find(|hash| hashes.contains(hash)) {
                found.push((name.to_vec(), *hash));
            }
        };
        let mut name = entry.name.to_vec();
        for bit in 0..name.len() * 8 {
            let flip = |name: &mut Vec<u8>| {
                if let Some(byte) = name.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
            };
            flip(&mut name);
            add(&name);
            flip(&mut name);
        }
        let start = entry.offset + DirEntryHeader::SIZE;
        let end = entry.offset + usize::from(entry.header.rec_len);
        let room = self.area.get(start..end).unwrap_or_default();
        for bit in 0..u8::BITS {
            let len = usize::from(entry.header.name_len ^ (1 << bit));
            add(room.get(..len).unwrap_or_default());
        }
        found
    }
}

fn wrong_bits(one: &NameHash, other: &NameHash) -> u32 {
    (one.major ^ other.major).count_ones() + (one.minor ^ other.minor).count_ones()
}
