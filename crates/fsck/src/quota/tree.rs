//! The global quota file: header, tree, entries, free lists (invariant Q-1).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ocfs2_format::quota::{
    self, GlobalInfo, LeafHeader, QuotaEntry, QuotaHeader, QuotaKind, leaf_entries, references,
};
use ocfs2_format::{Blkno, Structure};

use super::file::{QuotaBlock, QuotaFile};
use crate::Finding;
use crate::codes::quota as codes;

/// The block of the root of the tree.
const ROOT: u32 = 1;

/// A leaf that was read.
struct Leaf {
    blkno: Blkno,
    header: LeafHeader,
    /// Entries in use, and entries that fit.
    used: usize,
    room: usize,
}

struct Walk<'a, 'f> {
    file: &'a QuotaFile<'a>,
    findings: &'f mut Vec<Finding>,
    /// Blocks of the tree above the leaves.
    inner: HashSet<u32>,
    leaves: BTreeMap<u32, Leaf>,
    entries: BTreeMap<u32, QuotaEntry>,
    /// Leaves and ids of entries that no reference has pointed to so far.
    unreferenced: BTreeSet<(u32, u32)>,
    /// Ids whose references point to no entry.
    astray: Vec<u32>,
    /// Whether parts of the tree could not be read.
    incomplete: bool,
    /// Whether an entry is damaged, or there twice: its repair changes what is free.
    doubtful: bool,
}

/// How findings describe lost entries, followed by the ids.
const ASTRAY: &str = "the tree points to no entry for ids";

/// Returns whether limits may be lost, or differ from those that were set.
pub(super) fn loses(finding: &Finding) -> bool {
    let damaged = [
        codes::QMAGIC_INVALID,
        codes::QTREE_BLK_INVALID,
        codes::DQBLK_INVALID,
        codes::DUP_DQBLK_INVALID,
        codes::DUP_DQBLK_VALID,
    ];
    damaged.contains(&finding.code)
        || finding.code == codes::QTREE_INDEX && finding.text.contains(ASTRAY)
}

/// Checks the file. Returns its entries by their ids.
pub(super) fn check(
    file: &QuotaFile<'_>,
    kind: QuotaKind,
    findings: &mut Vec<Finding>,
) -> BTreeMap<u32, QuotaEntry> {
    let info = header(file, kind, findings);
    let mut walk = Walk {
        file,
        findings,
        inner: HashSet::new(),
        leaves: BTreeMap::new(),
        entries: BTreeMap::new(),
        unreferenced: BTreeSet::new(),
        astray: Vec::new(),
        incomplete: false,
        doubtful: false,
    };
    walk.inner.insert(ROOT);
    walk.block(ROOT, 0, 0);
    walk.index();
    if let Some(info) = info.filter(|_| !walk.incomplete && !walk.doubtful) {
        let wrong = walk.lists(&info);
        let finding = wrong.map(|text| file.finding(codes::QTREE_FREE_LIST, None, text));
        walk.findings.extend(finding);
    }
    walk.entries
}

/// Returns the header, if it is sound.
fn header(
    file: &QuotaFile<'_>,
    kind: QuotaKind,
    findings: &mut Vec<Finding>,
) -> Option<GlobalInfo> {
    let before = findings.len();
    let block = file.read(0, findings);
    if findings.len() > before {
        // The block cannot be read, which was reported.
        return None;
    }
    let blkno = block.as_ref().map(|block| block.blkno);
    let info = sound_header(file, kind, block);
    info.map_err(|why| findings.push(file.finding(codes::QMAGIC_INVALID, blkno, why))).ok()
}

/// Returns the finding that the file is shorter than its header states and its clusters allow.
pub(super) fn cut(file: &QuotaFile<'_>, kind: QuotaKind) -> Option<Finding> {
    let block = file.read(0, &mut Vec::new()).filter(|block| block.bad_check.is_none())?;
    let header = QuotaHeader::decode(&block.bytes).ok()?;
    header.verify(block.blkno, kind.global_magic()).ok()?;
    let info = GlobalInfo::decode(block.bytes.get(QuotaHeader::SIZE..)?).ok()?;
    info.verify(block.blkno, info.dqi_blocks).ok()?;
    file.cut(info.dqi_blocks)
}

/// Returns the grace times and the like, as far as they can be read.
pub(super) fn info(file: &QuotaFile<'_>) -> GlobalInfo {
    let block = file.read(0, &mut Vec::new()).filter(|block| block.bad_check.is_none());
    let info = block.and_then(|block| {
        let bytes = block.bytes.get(QuotaHeader::SIZE..)?;
        GlobalInfo::decode(bytes).ok()
    });
    info.unwrap_or_default()
}

fn sound_header(
    file: &QuotaFile<'_>,
    kind: QuotaKind,
    block: Option<QuotaBlock>,
) -> Result<GlobalInfo, String> {
    let QuotaBlock { blkno, bytes, bad_check } = block.ok_or("has no first block")?;
    bad_check.map_or(Ok(()), Err)?;
    let header = QuotaHeader::decode(&bytes).map_err(|err| err.to_string())?;
    header.verify(blkno, kind.global_magic()).map_err(|err| err.to_string())?;
    let info = GlobalInfo::decode(bytes.get(QuotaHeader::SIZE..).unwrap_or_default());
    let info = info.map_err(|err| err.to_string())?;
    info.verify(blkno, file.blocks()).map_err(|err| err.to_string())?;
    Ok(info)
}

impl Walk<'_, '_> {
    fn depth(&self) -> u32 {
        quota::tree_depth(self.file.block_size())
    }

    /// Follows a block of the tree. `prefix` is the leading digits of the ids below it, one digit
    /// for each level above.
    fn block(&mut self, index: u32, level: u32, prefix: u64) {
        let Some(block) = self.file.read(index, self.findings) else {
            self.incomplete = true;
            return;
        };
        let blkno = block.blkno;
        let mut wrong = block.bad_check;
        let blocks = self.file.blocks();
        let fanout = u64::from(quota::tree_references(self.file.block_size()));
        for (digit, next) in (0..).zip(references(&block.bytes)).filter(|(_, next)| *next != 0) {
            let ids = prefix * fanout + digit;
            let is_leaf = level + 1 == self.depth();
            let problem = if next >= blocks || next <= ROOT {
                Some(format!("refers to block {next} of {blocks}"))
            } else if is_leaf && self.inner.contains(&next)
                || !is_leaf && self.leaves.contains_key(&next)
            {
                Some(format!("refers to block {next}, which is part of another level"))
            } else if !is_leaf && !self.inner.insert(next) {
                Some(format!("refers to block {next}, which is in the tree already"))
            } else if ids > u64::from(u32::MAX) {
                Some("has references beyond the last id".to_owned())
            } else {
                None
            };
            if problem.is_some() {
                self.incomplete = true;
                wrong = wrong.or(problem);
            } else if is_leaf {
                self.leaf(next);
                if let Ok(id) = u32::try_from(ids)
                    && !self.unreferenced.remove(&(next, id))
                {
                    self.astray.push(id);
                }
            } else {
                self.block(next, level + 1, ids);
            }
        }
        if let Some(why) = wrong {
            let text = format!("tree block {index}: {why}");
            self.findings.push(self.file.finding(codes::QTREE_BLK_INVALID, Some(blkno), text));
        }
    }

    /// Reads a leaf, unless it was read before.
    fn leaf(&mut self, index: u32) {
        if self.leaves.contains_key(&index) {
            return;
        }
        let Some(QuotaBlock { blkno, bytes, bad_check }) = self.file.read(index, self.findings)
        else {
            self.incomplete = true;
            return;
        };
        let header = LeafHeader::decode(&bytes).unwrap_or_default();
        let (mut used, mut room) = (0, 0);
        for entry in leaf_entries(&bytes) {
            room += 1;
            if !entry.is_used() {
                continue;
            }
            used += 1;
            let id = entry.dqb_id;
            let code = match (self.entries.contains_key(&id), &bad_check) {
                (false, None) => None,
                (false, Some(_)) => Some(codes::DQBLK_INVALID),
                (true, None) => Some(codes::DUP_DQBLK_VALID),
                (true, Some(_)) => Some(codes::DUP_DQBLK_INVALID),
            };
            if let Some(code) = code {
                self.doubtful = true;
                let bad = bad_check.as_deref().unwrap_or("it is there twice");
                let text = format!(
                    "leaf {index}, id {id}: {bad}; limits of {} and {} bytes, {} and {} inodes",
                    entry.dqb_bsoftlimit,
                    entry.dqb_bhardlimit,
                    entry.dqb_isoftlimit,
                    entry.dqb_ihardlimit
                );
                self.findings.push(self.file.finding(code, Some(blkno), text));
            }
            if self.entries.insert(id, entry).is_none() {
                self.unreferenced.insert((index, id));
            }
        }
        self.leaves.insert(index, Leaf { blkno, header, used, room });
    }

    /// Checks that references and entries belong to each other.
    fn index(&mut self) {
        if self.incomplete || self.astray.is_empty() && self.unreferenced.is_empty() {
            return;
        }
        let some = |ids: &mut dyn Iterator<Item = u32>| {
            let ids: Vec<_> = ids.take(10).map(|id| id.to_string()).collect();
            ids.join(", ")
        };
        let mut parts = Vec::new();
        if !self.astray.is_empty() {
            let ids = some(&mut self.astray.iter().copied());
            parts.push(format!("{ASTRAY} {ids}"));
        }
        if !self.unreferenced.is_empty() {
            let ids = some(&mut self.unreferenced.iter().map(|(_, id)| *id));
            parts.push(format!("it does not point to the entries of ids {ids}"));
        }
        self.findings.push(self.file.finding(codes::QTREE_INDEX, None, parts.join("; ")));
    }

    /// Returns what is wrong with the counts of leaves and the free lists.
    fn lists(&mut self, info: &GlobalInfo) -> Option<String> {
        for (index, leaf) in &self.leaves {
            let (entries, used) = (usize::from(leaf.header.dqdh_entries), leaf.used);
            if entries != used {
                let at = leaf.blkno;
                return Some(format!(
                    "leaf {index}, block {at}: dqdh_entries is {entries}, expected {used}"
                ));
            }
        }
        let with_room: BTreeSet<u32> = self
            .leaves
            .iter()
            .filter(|(_, leaf)| leaf.used < leaf.room)
            .map(|(index, _)| *index)
            .collect();
        let mut listed = BTreeSet::new();
        let (mut before, mut at) = (0, info.dqi_free_entry);
        while at != 0 {
            let Some(leaf) = self.leaves.get(&at) else {
                return Some(format!(
                    "block {at} is listed as a leaf with free entries, and is none"
                ));
            };
            if !listed.insert(at) {
                return Some(format!(
                    "the list of leaves with free entries comes back to block {at}"
                ));
            }
            if leaf.header.dqdh_prev_free != before {
                let (is, expected) = (leaf.header.dqdh_prev_free, before);
                return Some(format!("leaf {at}: dqdh_prev_free is {is}, expected {expected}"));
            }
            (before, at) = (at, leaf.header.dqdh_next_free);
        }
        if let Some(index) = with_room.symmetric_difference(&listed).next() {
            let is = if listed.contains(index) { "is full and listed" } else { "is not listed" };
            return Some(format!("leaf {index} {is} among those with free entries"));
        }
        self.free_blocks(info.dqi_free_blk)
    }

    /// Returns what is wrong with the list of free blocks, or that some blocks are neither in use
    /// nor free.
    fn free_blocks(&mut self, first: u32) -> Option<String> {
        let mut free = HashSet::new();
        let mut at = first;
        while at != 0 {
            if at >= self.file.blocks() || self.inner.contains(&at) || self.leaves.contains_key(&at)
            {
                return Some(format!("block {at} is listed as free, and is not"));
            }
            if !free.insert(at) {
                return Some(format!("the list of free blocks comes back to block {at}"));
            }
            let block = self.file.read(at, self.findings)?;
            at = LeafHeader::decode(&block.bytes).unwrap_or_default().dqdh_next_free;
        }
        let known = 1 + self.inner.len() + self.leaves.len() + free.len();
        let blocks = self.file.blocks();
        (known < blocks as usize)
            .then(|| format!("{known} of {blocks} blocks are in use or listed as free"))
    }
}
