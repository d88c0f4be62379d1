//! Changing extent trees in place.
//!
//! A change is made in one leaf, and its consequences go up: a list with too many records is cut in
//! two, one without records is removed from the tree, and the record above states where the first
//! record below begins. A tree whose root has a single child that fits into it becomes shallower.
//! What the owner keeps of its tree (clusters, rightmost leaf, root list) is a [`Root`], which the
//! owner loads and stores: trees hang from dinodes, indexes, attributes and refcount trees, and are
//! changed in the same way.

use std::ops::Range;

use ocfs2_format::extent::{
    ExtentBlock, ExtentList, ExtentListHeader, ExtentRec, MAX_TREE_DEPTH, write_extent_list,
};
use ocfs2_format::{Blkno, Block, Cpos, Invalid, Structure, Truncated};

use super::{Edit, EditError};
use crate::allocator::Suballocated;
use crate::tree::{Extent, Tree};
use crate::{Error, InBlock, Volume};

/// What the leaf records of a tree stand for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Holds {
    /// Clusters of contents: positions are those of the contents, and records that continue each
    /// other are merged.
    Data,
    /// Clusters or blocks that are found by a hash or a number: records are never merged.
    Keyed,
}

/// The root of a tree that is being changed: the list, and what else its owner keeps.
#[derive(Clone, Debug)]
pub struct Root {
    at: Blkno,
    holds: Holds,
    list: Vec<u8>,
    last_leaf: Blkno,
    clusters: u32,
}

impl Root {
    /// The root in block `at`. `list` is all the room that the list may use.
    pub fn new(at: Blkno, holds: Holds, list: Vec<u8>, last_leaf: Blkno, clusters: u32) -> Self {
        Self { at, holds, list, last_leaf, clusters }
    }

    /// A root without extents in a list of `bytes` bytes.
    ///
    /// # Errors
    /// [`Truncated`] if the list has no room for its header.
    pub fn empty(at: Blkno, holds: Holds, bytes: usize) -> Result<Self, Truncated> {
        let mut list = vec![0; bytes];
        write_extent_list(&mut list, 0, &[])?;
        Ok(Self::new(at, holds, list, Blkno(0), 0))
    }

    /// The block it is in.
    pub fn at(&self) -> Blkno {
        self.at
    }

    /// The bytes of the list.
    pub fn list(&self) -> &[u8] {
        &self.list
    }

    /// The rightmost leaf that is an extent block; 0 where the root is the leaf.
    pub fn last_leaf(&self) -> Blkno {
        self.last_leaf
    }

    /// Clusters of all extents together.
    pub fn clusters(&self) -> u32 {
        self.clusters
    }

    /// Reads all extents strictly, and sets the number of clusters to their sum.
    pub(super) fn extents(&mut self, volume: &Volume) -> Result<Vec<Extent>, Error> {
        let list = ExtentList::new(&self.list).in_block(self.at)?;
        let extents = Tree::new(volume, self.at, &list)?.extents();
        let extents = extents.collect::<Result<Vec<_>, _>>()?;
        let clusters: u64 = extents.iter().map(|extent| u64::from(extent.clusters)).sum();
        self.clusters = u32::try_from(clusters).unwrap_or(u32::MAX);
        Ok(extents)
    }

    fn capacity(&self) -> usize {
        self.list.len().saturating_sub(ExtentListHeader::SIZE) / ExtentRec::SIZE
    }
}

/// A list on the way from the root to a leaf.
#[derive(Clone, Debug)]
struct Level {
    /// The header of the extent block; `None` for the root.
    header: Option<ExtentBlock>,
    depth: u16,
    records: Vec<ExtentRec>,
    /// The record that the way goes through.
    index: usize,
    is_changed: bool,
}

impl Level {
    fn new(
        header: Option<ExtentBlock>,
        at: Blkno,
        list: &ExtentList<'_>,
        cpos: Cpos,
    ) -> Result<Self, Error> {
        list.verify(at)?;
        let depth = list.header.l_tree_depth;
        let mut records: Vec<_> = list.records().collect();
        if depth == 0 {
            // The kernel leaves an empty record at the head.
            records.retain(|rec| rec.e_leaf_clusters() > 0);
        }
        if !records.is_sorted_by(|one, next| one.e_cpos < next.e_cpos) {
            let wrong = Invalid::new(ExtentRec::NAME, at, "e_cpos", "not in order", "ascending");
            return Err(wrong.into());
        }
        let next = records.partition_point(|rec| rec.e_cpos <= cpos);
        Ok(Self { header, depth, records, index: next.saturating_sub(1), is_changed: false })
    }

    fn blkno(&self) -> Option<Blkno> {
        self.header.as_ref().map(|header| header.h_blkno)
    }

    /// Where the next record begins; `None` if there is none.
    fn next(&self) -> Option<Cpos> {
        Some(self.records.get(self.index + 1)?.e_cpos)
    }

    /// Where its records end.
    fn end(&self) -> u64 {
        self.records.last().map_or(0, |rec| end_of(rec, self.depth))
    }

    /// Makes each interior record reach to the next one, the last one to `limit`, if it is known.
    fn meet(&mut self, limit: Option<u64>) {
        let last = self.records.len().saturating_sub(1);
        for index in 0..self.records.len() {
            let next = match index == last {
                true => limit,
                false => self.records.get(index + 1).map(|rec| u64::from(rec.e_cpos.0)),
            };
            if let (Some(rec), Some(next)) = (self.records.get_mut(index), next) {
                let length = next.saturating_sub(rec.e_cpos.0.into()).min(u32::MAX.into()) as u32;
                self.is_changed |= rec.e_int_clusters() != length;
                *rec = ExtentRec::interior(rec.e_cpos, length, rec.e_blkno);
            }
        }
    }
}

fn end_of(rec: &ExtentRec, depth: u16) -> u64 {
    let length = if depth == 0 { rec.e_leaf_clusters().into() } else { rec.e_int_clusters() };
    u64::from(rec.e_cpos.0) + u64::from(length)
}

fn extent_of(rec: &ExtentRec) -> Extent {
    let (clusters, flags) = (rec.e_leaf_clusters(), rec.e_flags());
    Extent { cpos: rec.e_cpos, clusters, blkno: rec.e_blkno, flags }
}

fn record_of(extent: &Extent) -> ExtentRec {
    ExtentRec::leaf(extent.cpos, extent.clusters, extent.flags, extent.blkno)
}

impl Volume {
    /// The lists from the root to the leaf that `cpos` belongs to.
    fn way_to(&self, root: &Root, cpos: Cpos) -> Result<Vec<Level>, Error> {
        let list = ExtentList::new(&root.list).in_block(root.at)?;
        let mut way = vec![Level::new(None, root.at, &list, cpos)?];
        while let Some(level) = way.last()
            && level.depth > 0
        {
            let Some(rec) = level.records.get(level.index) else { break };
            let (blkno, depth) = (rec.e_blkno, level.depth - 1);
            way.push(self.level_at(blkno, depth, cpos)?);
        }
        Ok(way)
    }

    /// The block that the record for `key` of a keyed tree points to, and the keys the record
    /// stands for. The first record also stands for the keys before it.
    pub(crate) fn keyed_at(&self, root: &Root, key: Cpos) -> Result<(Blkno, Range<u64>), Error> {
        let way = self.way_to(root, key)?;
        let leaf = way.last().filter(|leaf| leaf.depth == 0);
        let Some(rec) = leaf.and_then(|leaf| leaf.records.get(leaf.index)) else {
            let wrong =
                Invalid::new(ExtentListHeader::NAME, root.at, "l_next_free_rec", 0, "records");
            return Err(wrong.into());
        };
        let is_first = way.iter().all(|level| level.index == 0);
        let start = if is_first { 0 } else { u64::from(rec.e_cpos.0) };
        let end = way.iter().rev().find_map(Level::next).map_or(1 << 32, |next| u64::from(next.0));
        Ok((rec.e_blkno, start..end))
    }

    /// The list of an extent block, which has to be of that depth.
    fn level_at(&self, blkno: Blkno, depth: u16, cpos: Cpos) -> Result<Level, Error> {
        let (header, block) = self.read(blkno)?;
        let list = ExtentBlock::list(&block).in_block(blkno)?;
        let level = Level::new(Some(header), blkno, &list, cpos)?;
        if level.depth != depth {
            let name = ExtentBlock::NAME;
            return Err(Invalid::new(name, blkno, "l_tree_depth", level.depth, depth).into());
        }
        Ok(level)
    }
}

impl Edit {
    /// Puts an extent into a tree, at a position that is free.
    ///
    /// # Errors
    /// [`EditError::Exists`], [`EditError::NoRoom`], [`EditError::TooLarge`]; the tree is damaged.
    pub fn tree_insert(&mut self, root: &mut Root, extent: Extent) -> Result<(), EditError> {
        let way = self.volume.way_to(root, extent.cpos)?;
        let per_cluster = u64::from(self.volume.geometry().blocks_per_cluster());
        let holds = root.holds;
        let merge = (holds == Holds::Data).then_some(per_cluster);
        self.change_leaf(root, way, |records| {
            let at = records.partition_point(|rec| rec.e_cpos < extent.cpos);
            let before = at.checked_sub(1).and_then(|at| records.get(at));
            let overlaps = before.is_some_and(|rec| end_of(rec, 0) > extent.cpos.0.into())
                || records.get(at).is_some_and(|rec| u64::from(rec.e_cpos.0) < extent.end());
            // Keyed records cover more than their clusters: only the same key is a conflict.
            let overlaps = match holds {
                Holds::Data => overlaps,
                Holds::Keyed => records.get(at).is_some_and(|rec| rec.e_cpos == extent.cpos),
            };
            if overlaps {
                return Err(EditError::Exists(format!("an extent at {}", extent.cpos)));
            }
            records.insert(at, record_of(&extent));
            merge_records(records, merge);
            Ok(())
        })
    }

    /// Changes all extents of a tree, or the parts of them, that are within `range` to what
    /// `change` returns: an extent at the same position and of the same length, or nothing.
    ///
    /// # Errors
    /// As [`Edit::tree_insert`].
    pub fn tree_change(
        &mut self,
        root: &mut Root,
        range: Range<u64>,
        change: &mut dyn FnMut(Extent) -> Option<Extent>,
    ) -> Result<(), EditError> {
        let per_cluster = u64::from(self.volume.geometry().blocks_per_cluster());
        let merge = (root.holds == Holds::Data).then_some(per_cluster);
        let mut at = range.start;
        while at < range.end {
            let Ok(cpos) = u32::try_from(at) else { break };
            let way = self.volume.way_to(root, Cpos(cpos))?;
            let next = way.iter().rev().skip(1).find_map(Level::next);
            self.change_leaf(root, way, |records| {
                let mut changed = Vec::with_capacity(records.len() + 2);
                for rec in records.iter() {
                    replace(&extent_of(rec), &range, per_cluster, change, &mut changed);
                }
                *records = changed.iter().map(record_of).collect();
                merge_records(records, merge);
                Ok(())
            })?;
            let Some(next) = next else { break };
            at = u64::from(next.0).max(at + 1);
        }
        Ok(())
    }

    /// Changes the records of the leaf at the end of a way, and the lists above accordingly.
    fn change_leaf(
        &mut self,
        root: &mut Root,
        mut way: Vec<Level>,
        change: impl FnOnce(&mut Vec<ExtentRec>) -> Result<(), EditError>,
    ) -> Result<(), EditError> {
        let Some(leaf) = way.last_mut() else { return Ok(()) };
        if leaf.depth > 0 {
            // A tree without a leaf: its root has no records.
            leaf.depth = 0;
            leaf.is_changed = true;
        }
        let sum = |records: &[ExtentRec]| -> u64 {
            records.iter().map(|rec| u64::from(rec.e_leaf_clusters())).sum()
        };
        let (before, had) = (leaf.records.clone(), sum(&leaf.records));
        change(&mut leaf.records)?;
        // A block without records, which somebody has left, is removed, too.
        let is_empty_block = leaf.records.is_empty() && leaf.header.is_some();
        if before == leaf.records && !leaf.is_changed && !is_empty_block {
            return Ok(());
        }
        let clusters = u64::from(root.clusters).saturating_sub(had) + sum(&leaf.records);
        root.clusters = u32::try_from(clusters).map_err(|_| EditError::TooLarge(MANY))?;
        leaf.is_changed = true;
        self.settle(root, way)
    }

    /// Brings the lists of a way in order, from the last one, which has changed, upwards, and
    /// writes them.
    fn settle(&mut self, root: &mut Root, mut way: Vec<Level>) -> Result<(), EditError> {
        while let Some(level) = way.pop() {
            if way.is_empty() {
                return self.settle_root(root, level);
            }
            if level.records.is_empty() {
                self.drop_level(root, &mut way, &level)?;
                continue;
            }
            let pieces = self.cut(root, level)?;
            let Some(parent) = way.last_mut() else { return Ok(()) };
            let (mut above, mut end) = (Vec::with_capacity(pieces.len()), 0);
            for piece in &pieces {
                let first = piece.records.first().map_or(Cpos(0), |rec| rec.e_cpos);
                end = piece.end();
                let length = end.saturating_sub(first.0.into()).min(u32::MAX.into()) as u32;
                above.push(ExtentRec::interior(first, length, piece.blkno().unwrap_or_default()));
            }
            for piece in pieces.iter().filter(|piece| piece.is_changed) {
                self.write_level(piece)?;
            }
            let (index, more) = (parent.index, above.len() > 1);
            let before = parent.records.clone();
            parent.records.splice(index..=index, above);
            let is_last = index + 1 == before.len();
            self.meet(&mut way, is_last.then_some(end));
            let Some(parent) = way.last_mut() else { return Ok(()) };
            parent.is_changed |= more || before != parent.records;
            if !parent.is_changed {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Makes each record of the last list of a way reach to the next one. The last record reaches
    /// to what follows further up, or to `end` at the end of the tree.
    fn meet(&self, way: &mut [Level], end: Option<u64>) {
        let Some((level, above)) = way.split_last_mut() else { return };
        let limit = above.iter().rev().find_map(Level::next).map(|cpos| u64::from(cpos.0));
        level.meet(limit.or(end));
    }

    /// Cuts a list with too many records in two. A new leaf is linked to the old one.
    fn cut(&mut self, root: &mut Root, mut level: Level) -> Result<Vec<Level>, EditError> {
        let room = usize::from(ExtentBlock::list_capacity(self.volume.block_size()));
        if level.records.len() <= room {
            return Ok(vec![level]);
        }
        // A list that grows at its end stays full; any other is cut in half.
        let is_end = level.index + 2 >= level.records.len();
        let keep = if is_end { room } else { level.records.len() / 2 };
        let mut next = self.new_block(level.depth)?;
        if let (Some(new), Some(old)) = (&mut next.header, &mut level.header)
            && level.depth == 0
        {
            new.h_next_leaf_blk = old.h_next_leaf_blk;
            old.h_next_leaf_blk = new.h_blkno;
            if root.last_leaf == old.h_blkno {
                root.last_leaf = new.h_blkno;
            }
        }
        next.records = level.records.split_off(keep);
        level.is_changed = true;
        Ok(vec![level, next])
    }

    /// An extent block without records, not written yet.
    fn new_block(&mut self, depth: u16) -> Result<Level, EditError> {
        let taken = self.take_block(ExtentBlock::NAME)?;
        let header = ExtentBlock {
            h_signature: ExtentBlock::SIGNATURE,
            h_check: Default::default(),
            h_suballoc_slot: taken.slot,
            h_suballoc_bit: taken.bit,
            h_fs_generation: self.volume.generation(),
            h_blkno: taken.blkno,
            h_suballoc_loc: taken.loc,
            h_next_leaf_blk: Blkno(0),
        };
        let header = Some(header);
        Ok(Level { header, depth, records: Vec::new(), index: 0, is_changed: true })
    }

    /// Removes a list without records from the tree.
    fn drop_level(
        &mut self,
        root: &mut Root,
        way: &mut [Level],
        level: &Level,
    ) -> Result<(), EditError> {
        let Some(header) = &level.header else { return Ok(()) };
        if level.depth == 0 {
            let before = self.leaf_before(way)?;
            if root.last_leaf == header.h_blkno {
                root.last_leaf = before.as_ref().and_then(Level::blkno).unwrap_or_default();
            }
            if let Some(mut before) = before {
                if let Some(before) = &mut before.header {
                    before.h_next_leaf_blk = header.h_next_leaf_blk;
                }
                self.write_level(&before)?;
            }
        }
        self.give_block(Suballocated::from(header))?;
        let Some(parent) = way.last_mut() else { return Ok(()) };
        if parent.index < parent.records.len() {
            parent.records.remove(parent.index);
        }
        parent.is_changed = true;
        self.meet(way, None);
        Ok(())
    }

    /// The leaf before the one that a way points to; the way ends above that leaf.
    fn leaf_before(&self, way: &[Level]) -> Result<Option<Level>, Error> {
        let Some(turn) = way.iter().rev().find(|level| level.index > 0) else { return Ok(None) };
        let Some(rec) = turn.records.get(turn.index - 1) else { return Ok(None) };
        let (mut blkno, mut depth) = (rec.e_blkno, turn.depth.saturating_sub(1));
        loop {
            let level = self.volume.level_at(blkno, depth, Cpos(u32::MAX))?;
            match level.records.last() {
                Some(rec) if depth > 0 => (blkno, depth) = (rec.e_blkno, depth - 1),
                _ => return Ok(Some(level)),
            }
        }
    }

    /// Stores the root list: one level deeper if it has too many records, or shallower if all of
    /// its only child fits into it.
    fn settle_root(&mut self, root: &mut Root, mut level: Level) -> Result<(), EditError> {
        let room = root.capacity();
        if level.records.len() > room {
            if level.depth >= MAX_TREE_DEPTH {
                return Err(EditError::TooLarge(MANY));
            }
            let mut child = self.new_block(level.depth)?;
            if child.depth == 0 {
                root.last_leaf = child.blkno().unwrap_or_default();
            }
            child.index = level.index;
            child.records = std::mem::take(&mut level.records);
            let first = child.records.first().map_or(Cpos(0), |rec| rec.e_cpos);
            let length = child.end().saturating_sub(first.0.into()).min(u32::MAX.into()) as u32;
            let below = ExtentRec::interior(first, length, child.blkno().unwrap_or_default());
            let depth = level.depth + 1;
            let above =
                Level { header: None, depth, records: vec![below], index: 0, is_changed: true };
            return self.settle(root, vec![above, child]);
        }
        while level.depth > 0 {
            let [only] = &level.records[..] else { break };
            let child = self.volume.level_at(only.e_blkno, level.depth - 1, Cpos(0))?;
            if child.records.len() > room {
                break;
            }
            if let Some(header) = &child.header {
                self.give_block(Suballocated::from(header))?;
            }
            (level.depth, level.records) = (child.depth, child.records);
        }
        if level.records.is_empty() {
            level.depth = 0;
        }
        if level.depth == 0 {
            root.last_leaf = Blkno(0);
        }
        let depth = level.depth;
        write_root(&mut root.list, depth, &level.records).in_block(root.at)?;
        self.end_at_leaf(root)
    }

    /// Makes the last interior records of a tree end where its last extent does.
    fn end_at_leaf(&mut self, root: &mut Root) -> Result<(), EditError> {
        let mut way = self.volume.way_to(root, Cpos(u32::MAX))?;
        let Some(end) = way.last().map(Level::end) else { return Ok(()) };
        way.pop();
        for mut level in way {
            level.meet(Some(end));
            if !level.is_changed {
                continue;
            }
            match &level.header {
                Some(_) => self.write_level(&level)?,
                None => {
                    write_root(&mut root.list, level.depth, &level.records).in_block(root.at)?
                }
            }
        }
        Ok(())
    }

    fn write_level(&mut self, level: &Level) -> Result<(), EditError> {
        let Some(header) = &level.header else { return Ok(()) };
        self.create_block(header.h_blkno, header, |list| {
            write_extent_list(list, level.depth, &level.records)
        })
    }
}

/// Writes a list, and zeros after its records.
fn write_root(bytes: &mut [u8], depth: u16, records: &[ExtentRec]) -> Result<(), Truncated> {
    bytes.fill(0);
    write_extent_list(bytes, depth, records)
}

/// The error for a tree that would get too deep, or too many clusters.
const MANY: &str = "the file would have too many extents";

/// Merges records that continue each other, if they may be: then `per_cluster` is given.
fn merge_records(records: &mut Vec<ExtentRec>, per_cluster: Option<u64>) {
    let Some(per_cluster) = per_cluster else { return };
    let mut merged: Vec<ExtentRec> = Vec::with_capacity(records.len());
    for rec in records.drain(..) {
        if let Some(last) = merged.last_mut() {
            let clusters = u32::from(last.e_leaf_clusters()) + u32::from(rec.e_leaf_clusters());
            let blkno = last.e_blkno.0 + u64::from(last.e_leaf_clusters()) * per_cluster;
            let continues = end_of(last, 0) == u64::from(rec.e_cpos.0)
                && blkno == rec.e_blkno.0
                && last.e_flags() == rec.e_flags();
            if let Ok(clusters) = u16::try_from(clusters)
                && continues
            {
                *last = ExtentRec::leaf(last.e_cpos, clusters, last.e_flags(), last.e_blkno);
                continue;
            }
        }
        merged.push(rec);
    }
    *records = merged;
}

/// What becomes of an extent: the parts outside `range` stay, the one within is changed.
fn replace(
    extent: &Extent,
    range: &Range<u64>,
    per_cluster: u64,
    change: &mut dyn FnMut(Extent) -> Option<Extent>,
    out: &mut Vec<Extent>,
) {
    let own = u64::from(extent.cpos.0)..extent.end();
    let within = own.start.max(range.start)..own.end.min(range.end);
    if within.is_empty() {
        out.push(*extent);
        return;
    }
    let part = |part: Range<u64>| {
        let blkno = Blkno(extent.blkno.0 + (part.start - own.start) * per_cluster);
        let clusters = (part.end - part.start) as u16;
        Extent { cpos: Cpos(part.start as u32), clusters, blkno, ..*extent }
    };
    if own.start < within.start {
        out.push(part(own.start..within.start));
    }
    out.extend(change(part(within.clone())));
    if within.end < own.end {
        out.push(part(within.end..own.end));
    }
}
