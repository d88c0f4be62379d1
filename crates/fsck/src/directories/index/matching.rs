//! Compares the entries of an index with those of the directory.

use std::collections::HashSet;
use std::sync::Arc;

use ocfs2_cli::encode;
use ocfs2_format::dir::{self, DirTrailer};
use ocfs2_format::dx::{DxEntry, DxEntryList, DxLeaf, DxRoot};
use ocfs2_format::hash::{CharSign, NameHash};
use ocfs2_format::{Blkno, Block, Structure};

use super::super::Known;
use super::super::contents::size_short;
use super::expected::{Expected, Key};
use super::hidden::{Found, Search};
use super::names::{self, Left, Names};
use super::{Compared, Several};
use crate::codes::{directories as codes, general};
use crate::inodes::index_root::Index;
use crate::name_hashes::Signs;
use crate::read::holds::once;
use crate::repair::directory::{self, Hidden, Renamed};
use crate::{Context, Finding, Place};

/// Entries of an index without a name that are kept apart. More are only counted.
const MOST_LEFT: usize = 1024;

/// Reads all lists of an index, and compares them with the `expected` entries.
pub(super) fn check(
    known: &Known<'_>,
    dir: Blkno,
    index: &Index,
    mut expected: Expected,
    findings: &mut Vec<Finding>,
) -> Compared {
    expected.entries.sort_unstable();
    expected.unsigned.sort_unstable();
    let found = vec![0; expected.entries.len()];
    let signed = expected.unsigned.iter().map(|(key, hash)| Key { hash: *hash, ..*key });
    let mut with_two: Vec<_> = signed.collect();
    with_two.sort_unstable();
    let mut matching = Matching {
        context: known.context,
        dir,
        index,
        expected,
        with_two,
        signs: Signs::default(),
        found,
        entries: 0,
        unread: HashSet::new(),
        left: Vec::new(),
        left_out: 0,
        invalid: Several::default(),
        findings,
    };
    if index.root.is_inline() {
        if let Ok(list) = DxRoot::entries(&index.block) {
            matching.list(index.blkno, &list);
        }
    } else {
        matching.leaves();
    }
    let signs = matching.signs;
    let is_in_use = |blkno| known.inodes.find(known.suballocs, blkno).is_some();
    Compared { signs, hidden: matching.end(&is_in_use) }
}

struct Matching<'a> {
    context: &'a Context<'a>,
    dir: Blkno,
    index: &'a Index,
    expected: Expected,
    /// Entries whose names have two hashes, by the signed one.
    with_two: Vec<Key>,
    /// Which of the two hashes they were found by.
    signs: Signs,
    /// How often each entry was found. Equal entries, which hash and block do not tell apart, are
    /// counted at the first of them.
    found: Vec<u32>,
    /// The number of entries of the index.
    entries: u64,
    /// Lists with unknown entries.
    unread: HashSet<Blkno>,
    /// Entries of the index to which no entry of the directory belongs: the first ones, and the
    /// number of the others.
    left: Vec<Left>,
    left_out: u64,
    /// Lists that are not valid.
    invalid: Several,
    findings: &'a mut Vec<Finding>,
}

impl Matching<'_> {
    fn leaves(&mut self) {
        let (context, index) = (self.context, self.index);
        let bits = context.geometry().bpc_bits();
        let runs = index.extents.iter().map(|it| (it.blkno, u64::from(it.clusters) << bits));
        let mut runs: Vec<_> = runs.collect();
        once(context.geometry(), &mut runs);
        for (start, blocks) in runs {
            context.read_each(DxLeaf::NAME, start, blocks, |blkno, block| match block {
                Ok(block) => self.leaf(blkno, block),
                Err(finding) => {
                    self.unread.insert(blkno);
                    let place = finding.place.clone().of(self.dir);
                    self.findings.push(Finding { place, ..finding });
                }
            });
        }
    }

    fn leaf(&mut self, blkno: Blkno, block: &mut [u8]) {
        let bad_check = self.context.check(block, DxLeaf::CHECK_OFFSET);
        let (Ok(leaf), Ok(list)) = (DxLeaf::decode(block), DxLeaf::entries(block)) else { return };
        let place = || Place::block(blkno).of(self.dir);
        let generation = self.context.volume.generation();
        if let Err(wrong) = leaf.verify(blkno, generation) {
            self.invalid.add(|| (place(), format!("directory {}: {wrong}", self.dir)));
            // A leaf that only states a wrong block number still holds its entries.
            if leaf.dl_signature != DxLeaf::SIGNATURE || leaf.dl_fs_generation != generation {
                self.unread.insert(blkno);
                return;
            }
        }
        if let Some(bad) = bad_check {
            let text = format!("directory {}: {} {blkno}: {bad}", self.dir, DxLeaf::NAME);
            let finding = Finding::new(general::BLOCK_ECC, place(), text);
            self.findings.push(finding.repaired_by(directory::rewrite(self.dir)));
        }
        self.list(blkno, &list);
    }

    fn list(&mut self, blkno: Blkno, list: &DxEntryList<'_>) {
        if let Err(wrong) = list.verify(blkno) {
            let place = Place::block(blkno).of(self.dir);
            self.invalid.add(|| (place, format!("directory {}: {wrong}", self.dir)));
            if usize::from(list.header.de_num_used) > list.capacity() {
                self.unread.insert(blkno);
                return;
            }
        }
        for entry in list.records() {
            self.entry(blkno, &entry);
        }
    }

    fn entry(&mut self, list: Blkno, entry: &DxEntry) {
        self.entries += 1;
        let key = Key { hash: entry.hash(), blkno: entry.dx_dirent_blk };
        let is_in_place = self.list_of(key.hash) == Some(list);
        if is_in_place && self.take(key) {
            return;
        }
        if self.expected.copied.contains(&key.blkno) {
            return;
        }
        let is_excused = self.is_excused(key.blkno);
        if self.left.len() < MOST_LEFT {
            self.left.push(Left { list, key, is_in_place, is_excused });
        } else {
            self.left_out += u64::from(!is_excused);
        }
    }

    /// Returns the entries of the index for names that are not there. Those whose names are in
    /// unused entries are reported one by one.
    fn stale(&mut self, names: &Names) -> Several {
        let (mut stale, mut erased) = (Several::default(), Vec::new());
        let dir = self.dir;
        for Left { list, key, is_excused, .. } in &self.left {
            let is_beyond = self.expected.beyond.contains_key(&key.blkno);
            if *is_excused || is_beyond || names.explained.contains(key) {
                continue;
            }
            if let Some(name) = self.name(*key, false) {
                let text = format!(
                    "directory {dir}: index block {list} has an entry for \"{}\" in block {}, where \
                     that name points to no inode",
                    encode::escaped(&name),
                    key.blkno
                );
                let place = Place::block(*list).of(dir).named(&name);
                let finding = Finding::new(codes::DX_ENTRY_LEFT, place, text);
                erased.push(finding.repaired_by(directory::rewrite(dir)));
                continue;
            }
            let (blkno, NameHash { major, minor }) = (key.blkno, key.hash);
            stale.add(|| {
                let text = format!(
                    "directory {dir}: index block {list} has an entry of hash {major:#010x} \
                     {minor:#010x} in block {blkno}, which has no such name"
                );
                (Place::block(*list).of(dir), text)
            });
        }
        stale.count += self.left_out;
        self.findings.extend(erased);
        stale
    }

    /// Returns the list in which a lookup looks for a hash.
    fn list_of(&self, hash: NameHash) -> Option<Blkno> {
        if self.index.root.is_inline() {
            return Some(self.index.blkno);
        }
        let extents = &self.index.extents;
        let next = extents.partition_point(|extent| extent.cpos.0 <= hash.major);
        let extent = extents.get(next.checked_sub(1)?)?;
        let last = u32::from(extent.clusters).saturating_sub(1);
        let cluster = hash.major.checked_sub(extent.cpos.0)?.min(last);
        let bpc_bits = self.context.geometry().bpc_bits();
        let within = u64::from(hash.minor) & ((1 << bpc_bits) - 1);
        extent.blkno.0.checked_add((u64::from(cluster) << bpc_bits) + within).map(Blkno)
    }

    /// Marks the entry of the directory that an entry of the index belongs to as found. Returns
    /// whether there is one that was not found before. Kernels hash names as signed or as unsigned
    /// bytes, so that both hashes are right.
    fn take(&mut self, key: Key) -> bool {
        if self.take_signed(key) {
            if self.with_two.binary_search(&key).is_ok() {
                self.signs.add(CharSign::Signed);
            }
            return true;
        }
        let unsigned = &self.expected.unsigned;
        let at = unsigned.partition_point(|(other, _)| *other < key);
        let signed = unsigned.get(at).filter(|(other, _)| *other == key);
        let signed = signed.map(|(_, hash)| Key { hash: *hash, ..key });
        let is_found = signed.is_some_and(|signed| self.take_signed(signed));
        if is_found {
            self.signs.add(CharSign::Unsigned);
        }
        is_found
    }

    fn take_signed(&mut self, key: Key) -> bool {
        let entries = &self.expected.entries;
        let start = entries.partition_point(|other| *other < key);
        let rest = entries.get(start..).unwrap_or_default();
        let equal = if rest.get(1).is_some_and(|other| *other == key) {
            rest.partition_point(|other| *other == key)
        } else {
            usize::from(rest.first() == Some(&key))
        };
        match self.found.get_mut(start) {
            Some(found) if (*found as usize) < equal => {
                *found += 1;
                true
            }
            _ => false,
        }
    }

    /// Returns whether an entry for that block may belong to an entry that is unsure or unread.
    fn is_excused(&mut self, blkno: Blkno) -> bool {
        if let Some(unsure) = self.expected.unsure.get_mut(&blkno).filter(|unsure| **unsure > 0) {
            *unsure -= 1;
            return true;
        }
        self.expected.unread.contains(&blkno)
            || self.expected.is_incomplete && !self.expected.next_free.contains_key(&blkno)
    }

    /// Reports what is wrong. Returns the entries that only the index shows.
    fn end(mut self, is_in_use: &dyn Fn(Blkno) -> bool) -> Vec<Hidden> {
        let is_sound = self.invalid.count == 0 && self.unread.is_empty();
        if is_sound && self.is_of_another_seed() {
            let (dir, blkno) = (self.dir, self.index.blkno);
            let text = format!(
                "directory {dir}: none of its names is where index {blkno} has it: it was made \
                 with another seed"
            );
            let finding = Finding::new(codes::DX_LOOKUP_FAILED, Place::block(blkno).of(dir), text);
            self.findings.push(finding.repaired_by(directory::rewrite(dir)));
            return Vec::new();
        }
        let missing = self.missing();
        let mut names = match is_sound && !self.left.is_empty() && self.left_out == 0 {
            true => names::look(self.context, self.dir, &self.expected, &missing, &self.left),
            false => Names::default(),
        };
        let hidden = match is_sound && !self.left.is_empty() {
            true => self.hidden(&mut names, &missing, is_in_use),
            false => Vec::new(),
        };
        let is_missing = |key: &&Key| !names.explained.contains(key);
        let mut lacking = Several::default();
        for key in missing.iter().filter(is_missing) {
            lacking.add(|| self.describe(*key));
        }
        let mut stale = self.stale(&names);
        let is_whole = is_sound && lacking.count + stale.count == 0 && names.explained.is_empty();
        let stated = self.index.root.dr_num_entries;
        // An index that is to be rebuilt is counted again then.
        if is_whole && u64::from(stated) != self.entries {
            let (dir, blkno) = (self.dir, self.index.blkno);
            let text = format!(
                "directory {dir}: index root {blkno}: dr_num_entries is {stated}, expected {}",
                self.entries
            );
            let place = Place::block(blkno).of(dir);
            let finding = Finding::new(codes::DX_COUNT, place, text);
            self.findings.push(finding.repaired_by(directory::rewrite(dir)));
        }
        // An entry under a wrong hash was counted as missing.
        if lacking.count > 0 {
            stale = Several::default();
        }
        self.tell_names(names);
        self.tell_hidden(&hidden);
        self.tell_end();
        let found = [
            self.invalid.finding(codes::DX_LEAF_INVALID),
            lacking.finding(codes::DX_LOOKUP_FAILED),
            stale.finding(codes::DX_ENTRY_LEFT),
        ];
        let rewritten = || directory::rewrite(self.dir);
        let found = found.into_iter().flatten().map(|it| it.repaired_by(rewritten()));
        self.findings.extend(found);
        hidden.into_iter().map(|(_, hidden)| hidden).collect()
    }

    /// Returns whether no name is found: the seed is wrong then, and one finding says so instead of
    /// one per name. A single name may itself be the wrong part, unless the seed is known to be
    /// new.
    fn is_of_another_seed(&self) -> bool {
        let least = if self.context.options.is_new_seed { 1 } else { 2 };
        // `.` and `..` are found under any seed.
        let names = self.expected.entries.iter().zip(&self.found);
        let names: Vec<_> = names.filter(|(key, _)| key.hash != NameHash::default()).collect();
        names.len() >= least
            && self.left.len() >= least
            && names.iter().all(|(_, found)| **found == 0)
    }

    /// Returns the entries that wrong lengths hide. What the index has for them is explained.
    fn hidden(
        &self,
        names: &mut Names,
        missing: &[Key],
        is_in_use: &dyn Fn(Blkno) -> bool,
    ) -> Vec<(Key, Hidden)> {
        let Self { context, expected, .. } = self;
        let missing = &missing.iter().copied().collect();
        let search = Search { context, expected, missing, explained: &names.explained, is_in_use };
        let mut hidden = Vec::new();
        for (key, found) in search.look(&self.left) {
            names.explained.insert(key);
            match found {
                Found::Hidden(one) => hidden.push((key, one)),
                Found::Renamed(one) => names.restored.push((key.blkno, one)),
            }
        }
        hidden
    }

    /// Reports hidden entries.
    fn tell_hidden(&mut self, hidden: &[(Key, Hidden)]) {
        let dir = self.dir;
        let all: Arc<Vec<_>> = Arc::new(hidden.iter().map(|(_, hidden)| hidden.clone()).collect());
        for (Key { blkno, .. }, Hidden { name, inode }) in hidden {
            let text = format!(
                "directory {dir}: block {blkno} has an entry \"{}\" of inode {inode} that a wrong \
                 length hides",
                encode::escaped(name)
            );
            let place = Place::block(*blkno).of(dir).named(name);
            let finding = Finding::new(codes::DIRENT_HIDDEN, place, text);
            self.findings.push(finding.repaired_by(directory::shown(dir, &all)));
        }
    }

    /// Reports entries in blocks past the end of the directory: it is longer than it states.
    fn tell_end(&mut self) {
        let Expected { beyond, stated, .. } = &self.expected;
        let places = self.left.iter().filter(|left| left.is_in_place);
        let last = places.filter_map(|left| beyond.get(&left.key.blkno)).max();
        if let Some(last) = last {
            let finding = size_short(self.context, self.dir, *stated, *last + 1);
            // First, as all other repairs depend on the blocks of the directory.
            self.findings.insert(0, finding);
        }
    }

    /// Reports names that are not those the index was made for.
    fn tell_names(&mut self, names: Names) {
        let dir = self.dir;
        let place = |blkno, name: &[u8]| Place::block(blkno).of(dir).named(name);
        let all: Arc<Vec<_>> = Arc::new(names.restored.iter().map(|it| it.1.clone()).collect());
        for (blkno, Renamed { wrong, right, .. }) in &names.restored {
            let text = format!(
                "directory {dir}: entry \"{}\" in block {blkno} is \"{}\" in the index",
                encode::escaped(wrong),
                encode::escaped(right)
            );
            let place = place(*blkno, wrong);
            // Under the right name the entry is there only once.
            let again = [codes::DIRENT_DUPLICATE, codes::DIRENT_REPEATED];
            let is_again = |it: &Finding| again.contains(&it.code) && it.place.name == place.name;
            if let Some(at) = self.findings.iter().position(is_again) {
                self.findings.remove(at);
            }
            let finding = Finding::new(codes::DIRENT_NAME_BIT, place, text);
            self.findings.push(finding.repaired_by(directory::renamed(dir, &all)));
        }
        for (blkno, name) in &names.others {
            let text = format!(
                "directory {dir}: entry \"{}\" in block {blkno} is in the index under another name",
                encode::escaped(name)
            );
            let finding = Finding::new(codes::DX_NAME_DIFFERS, place(*blkno, name), text);
            self.findings.push(finding.repaired_by(directory::rewrite(dir)));
        }
    }

    /// Returns the entries of the directory that are not in the index. Entries whose list or block
    /// was not read do not count.
    fn missing(&self) -> Vec<Key> {
        let mut missing = Vec::new();
        let is_unread = |hash| self.list_of(hash).is_some_and(|list| self.unread.contains(&list));
        let unsigned = self.expected.unsigned.iter().filter(|(key, _)| is_unread(key.hash));
        let lost: HashSet<Key> = match self.unread.is_empty() {
            true => HashSet::new(),
            false => unsigned.map(|(key, hash)| Key { hash: *hash, ..*key }).collect(),
        };
        let mut start = 0;
        for run in self.expected.entries.chunk_by(|a, b| a == b) {
            let found = self.found.get(start).map_or(0, |found| *found as usize);
            start += run.len();
            let Some(key) = run.first().filter(|_| found < run.len()) else { continue };
            let is_known = !is_unread(key.hash) && !lost.contains(key);
            if !is_known || self.expected.unread.contains(&key.blkno) {
                continue;
            }
            missing.extend((found..run.len()).map(|_| *key));
        }
        missing
    }

    /// Describes an entry with its name, which is read again.
    fn describe(&self, key: Key) -> (Place, String) {
        let name = self.name(key, true).unwrap_or_default();
        let text = format!(
            "directory {}: entry \"{}\" in block {} is not where the index is looked into for it",
            self.dir,
            encode::escaped(&name),
            key.blkno
        );
        (Place::block(key.blkno).of(self.dir).named(&name), text)
    }

    /// Returns the name of that hash in a block, of an entry that is used or of one that is not.
    fn name(&self, key: Key, is_used: bool) -> Option<Vec<u8>> {
        let mut block = self.context.volume.read_block(key.blkno).ok()?;
        let check_offset = DirTrailer::check_offset(block.len());
        self.context.check(&mut block, check_offset);
        let bytes = block.get(..DirTrailer::offset(block.len()))?;
        let mut entries = dir::entries(bytes).map_while(Result::ok);
        let is_it =
            |name: &[u8]| self.expected.hashes(name).first().is_some_and(|hash| *hash == key.hash);
        let entry = entries.find(|entry| entry.is_used() == is_used && is_it(entry.name));
        entry.map(|entry| entry.name.to_vec())
    }
}
