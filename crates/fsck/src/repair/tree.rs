//! Extent trees rebuilt from what can be read of them.
//!
//! Whatever is wrong with the lists, records and extent blocks of a tree, the order of its extents
//! is taken to be right. They are gathered as the check reads them, and written into a tree of the
//! least possible depth, in the extent blocks of the old one.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use ocfs2_format::dinode::{Arm, DynFeatures};
use ocfs2_format::extent::{
    ExtentBlock, ExtentFlags, ExtentList, ExtentListHeader, ExtentRec, MAX_TREE_DEPTH,
    write_extent_list,
};
use ocfs2_format::feature::{Incompat, RoCompat};
use ocfs2_format::{Blkno, Block, Cluster, Cpos, Structure};
use ocfs2_volume::allocator::Suballocated;
use ocfs2_volume::{Error, Inode, Volume};

use super::{EditError, Editor, Repair};
use crate::read::corrected::read_corrected;
use crate::read::extent_order;
use crate::read::holds::{Holds, Longest, Taken};

/// What could be read of a tree.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The extents, in the order of their positions.
    pub extents: Vec<ExtentRec>,
    /// The extent blocks of the old tree, which are used again, with their headers.
    blocks: Vec<(Blkno, ExtentBlock)>,
}

/// A tree that was rebuilt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Built {
    /// The clusters of all extents together.
    pub clusters: u32,
    /// The rightmost leaf that is an extent block; 0 if the root is the leaf.
    pub last_leaf: Blkno,
}

/// The repair that rebuilds the tree of an inode's contents.
pub fn of_inode(blkno: Blkno, holds: Holds) -> Repair {
    Repair::once("tree", blkno.0, move |editor| {
        let inode = editor.inode(blkno)?;
        if inode.dinode.arm() != Arm::ExtentList {
            return Ok(());
        }
        let shares = inode.dinode.dyn_features().contains(DynFeatures::HAS_REFCOUNT);
        let gathered = gather(editor.volume(), blkno, inode.id2(), holds, shares)?;
        let mut id2 = inode.id2().to_vec();
        let built = gathered.build(editor, &mut id2)?;
        write_inode(editor, &inode, &id2, built)
    })
}

/// The repair that shortens an extent of an inode to its greatest possible length. The clusters cut
/// off are not freed: they belong to others or are free already.
pub fn shortened(blkno: Blkno, holds: Holds, longest: Longest) -> Repair {
    Repair::once("longest extent", blkno.0, move |editor| {
        let inode = editor.inode(blkno)?;
        if inode.dinode.arm() != Arm::ExtentList {
            return Ok(());
        }
        let shares = inode.dinode.dyn_features().contains(DynFeatures::HAS_REFCOUNT);
        let volume = editor.volume();
        let taken = |rec: &ExtentRec, _: Option<&ExtentRec>| longest.of(*rec);
        let gathered = gather_as(volume, blkno, inode.id2(), holds, shares, &taken)?;
        let mut id2 = inode.id2().to_vec();
        let built = gathered.build(editor, &mut id2)?;
        write_inode(editor, &inode, &id2, built)
    })
}

/// The repair that points the shared extent of an inode at cluster `start`, with `count` clusters,
/// to cluster `to` instead.
pub fn led_back(blkno: Blkno, (start, count): (u32, u32), to: u32) -> Repair {
    Repair::once("place of an extent", blkno.0, move |editor| {
        let inode = editor.inode(blkno)?;
        if inode.dinode.arm() != Arm::ExtentList {
            return Ok(());
        }
        let volume = editor.volume();
        let shares = inode.dinode.dyn_features().contains(DynFeatures::HAS_REFCOUNT);
        let mut gathered = gather(volume, blkno, inode.id2(), Holds::Data, shares)?;
        let [from, to] = [start, to].map(|it| volume.geometry().block_of(Cluster(it)));
        let found = gathered.extents.iter_mut().find(|rec| {
            rec.e_blkno == from
                && u32::from(rec.e_leaf_clusters()) == count
                && rec.e_flags().contains(ExtentFlags::REFCOUNTED)
        });
        let Some(rec) = found else { return Ok(()) };
        *rec = ExtentRec::leaf(rec.e_cpos, rec.e_leaf_clusters(), rec.e_flags(), to);
        let mut id2 = inode.id2().to_vec();
        let built = gathered.build(editor, &mut id2)?;
        write_inode(editor, &inode, &id2, built)
    })
}

/// Writes the root list of an inode's contents, with the fields of the inode that depend on the
/// tree.
pub(super) fn write_inode(
    editor: &mut Editor<'_>,
    inode: &Inode,
    id2: &[u8],
    built: Built,
) -> Result<(), EditError> {
    editor.dinode(inode.blkno, |dinode, rest| {
        dinode.i_clusters = built.clusters;
        dinode.i_last_eb_blk = built.last_leaf;
        if let Some(bytes) = rest.get_mut(..id2.len()) {
            bytes.copy_from_slice(id2);
        }
    })
}

/// Reads the tree whose root list, in block `root`, is `list`. `shares` allows refcounted extents.
///
/// # Errors
/// There is no list.
pub fn gather(
    volume: &Volume,
    root: Blkno,
    list: &[u8],
    holds: Holds,
    shares: bool,
) -> Result<Gathered, EditError> {
    gather_as(volume, root, list, holds, shares, &|rec, _| *rec)
}

/// The same, with each record of a leaf replaced by what `taken` makes of it.
///
/// # Errors
/// There is no list.
pub fn gather_as(
    volume: &Volume,
    root: Blkno,
    list: &[u8],
    holds: Holds,
    shares: bool,
    taken: &Taken<'_>,
) -> Result<Gathered, EditError> {
    let list = ExtentList::new(list).map_err(|source| Error::Truncated { blkno: root, source })?;
    let mut allowed = ExtentFlags::empty();
    allowed.set(ExtentFlags::UNWRITTEN, volume.features().ro_compat.contains(RoCompat::UNWRITTEN));
    allowed.set(ExtentFlags::REFCOUNTED, shares && volume.has(Incompat::REFCOUNT_TREE));
    let mut gathering = Gathering {
        volume,
        holds,
        allowed,
        taken,
        seen: HashSet::from([root]),
        leaves: Vec::new(),
        blocks: Vec::new(),
    };
    let depth = gathering.depth(&list);
    gathering.list(&list, depth);
    let Gathering { leaves, blocks, .. } = gathering;
    let extents = match holds {
        Holds::Data | Holds::Dense => placed(in_order(leaves), holds),
        // These positions are hashes or cluster numbers, which no neighbour tells: all are kept.
        Holds::Hashed | Holds::RefcountLeaves => {
            let mut leaves: Vec<_> = leaves.into_iter().flatten().collect();
            leaves.sort_by_key(|rec| (rec.e_cpos.0, rec.e_blkno.0));
            // One of two equal hashes may be wrong, but not the cluster that it points to: both
            // stay if the clusters differ.
            leaves.dedup_by_key(|rec| match holds {
                Holds::Hashed => (rec.e_cpos.0, Some(rec.e_blkno)),
                _ => (rec.e_cpos.0, None),
            });
            leaves
        }
    };
    Ok(Gathered { extents, blocks })
}

struct Gathering<'a> {
    volume: &'a Volume,
    holds: Holds,
    allowed: ExtentFlags,
    taken: &'a Taken<'a>,
    seen: HashSet<Blkno>,
    /// The extents of each leaf.
    leaves: Vec<Vec<ExtentRec>>,
    blocks: Vec<(Blkno, ExtentBlock)>,
}

impl Gathering<'_> {
    /// The depth of the root; an impossible one is derived from the first list below.
    fn depth(&self, list: &ExtentList<'_>) -> u16 {
        let depth = list.header.l_tree_depth;
        if depth <= MAX_TREE_DEPTH {
            return depth;
        }
        let first = list.record(0).and_then(|rec| self.extent_block(rec.e_blkno));
        first.map_or(0, |(_, block)| {
            let below = ExtentBlock::list(&block).map_or(0, |list| list.header.l_tree_depth);
            below.min(MAX_TREE_DEPTH - 1) + 1
        })
    }

    /// Reads an extent block; `None` if there is none at `blkno`.
    fn extent_block(&self, blkno: Blkno) -> Option<(ExtentBlock, Vec<u8>)> {
        if !self.volume.geometry().is_valid_block(blkno) {
            return None;
        }
        let block = read_corrected::<ExtentBlock>(self.volume, blkno).ok()?;
        let header = ExtentBlock::decode(&block).ok()?;
        (header.h_signature == ExtentBlock::SIGNATURE).then_some((header, block))
    }

    fn list(&mut self, list: &ExtentList<'_>, depth: u16) {
        let ExtentListHeader { l_next_free_rec, .. } = list.header;
        let used = usize::from(l_next_free_rec).min(list.capacity());
        let mut records: Vec<_> = (0..used).filter_map(|index| list.record(index)).collect();
        extent_order::restore(&mut records, depth, self.holds);
        if depth == 0 {
            let taken = records.iter().enumerate();
            let taken = taken.map(|(index, rec)| (self.taken)(rec, records.get(index + 1)));
            let leaf = taken.filter_map(|rec| self.leaf(rec)).collect();
            self.leaves.push(leaf);
            return;
        }
        for rec in records {
            if !self.seen.insert(rec.e_blkno) {
                continue;
            }
            let Some((header, block)) = self.extent_block(rec.e_blkno) else { continue };
            self.blocks.push((rec.e_blkno, header));
            if let Ok(list) = ExtentBlock::list(&block) {
                self.list(&list, depth - 1);
            }
        }
    }

    /// The extent of a record, cut to the volume; `None` if nothing is left.
    fn leaf(&self, rec: ExtentRec) -> Option<ExtentRec> {
        let geometry = self.volume.geometry();
        let clusters = u64::from(rec.e_leaf_clusters());
        if clusters == 0 || !geometry.is_valid_block(rec.e_blkno) {
            return None;
        }
        let bits = if self.holds == Holds::RefcountLeaves { 0 } else { geometry.bpc_bits() };
        let start = rec.e_blkno.0 >> bits;
        let room = (geometry.blocks() >> bits).saturating_sub(start);
        let clusters = u16::try_from(clusters.min(room)).ok()?;
        let flags = rec.e_flags() & self.allowed;
        (clusters > 0).then(|| ExtentRec::leaf(rec.e_cpos, clusters, flags, Blkno(start << bits)))
    }
}

/// The extents of all leaves, in the order of the positions if only whole leaves are out of order,
/// otherwise in the order of the tree. Sorting single extents would be simpler, but would move one
/// with a wrong position to another place in the file.
fn in_order(leaves: Vec<Vec<ExtentRec>>) -> Vec<ExtentRec> {
    let mut sorted: Vec<_> = leaves.iter().filter(|leaf| !leaf.is_empty()).collect();
    sorted.sort_by_key(|leaf| leaf.first().map(|rec| rec.e_cpos.0));
    let sorted: Vec<_> = sorted.into_iter().flatten().copied().collect();
    let mut pairs = sorted.iter().zip(sorted.iter().skip(1));
    match pairs.all(|(rec, next)| end_of(rec, 0) <= u64::from(next.e_cpos.0)) {
        true => sorted,
        false => leaves.into_iter().flatten().collect(),
    }
}

/// The extents with positions that do not overlap; dense ones are put one after the other.
fn placed(leaves: Vec<ExtentRec>, holds: Holds) -> Vec<ExtentRec> {
    let mut placed: Vec<ExtentRec> = Vec::with_capacity(leaves.len());
    let mut end = 0_u64;
    for (index, rec) in leaves.iter().enumerate() {
        let mut behind = leaves.iter().skip(index + 1).map(|rec| rec.e_cpos.0);
        let stated = Longest { cpos: rec.e_cpos, clusters: rec.e_leaf_clusters() };
        let Longest { cpos, clusters } = holds.room(rec, end, behind.clone()).unwrap_or(stated);
        let (mut cpos, length) = (u64::from(cpos.0), u64::from(clusters));
        // If the extent reaches into the next one, one of their positions is wrong: this one if the
        // extent would fit between its neighbours, otherwise the next one, which is then moved. If
        // the earlier one always won, a single position that is too high would displace all extents
        // after it.
        let next = behind.next().map(u64::from);
        let fits_in_front = next.is_some_and(|next| next >= end + length && cpos + length > next);
        let is_beyond = cpos + length > holds.end();
        if cpos < end || holds == Holds::Dense || fits_in_front || is_beyond {
            cpos = end;
        }
        let Ok(start) = u32::try_from(cpos) else { break };
        end = cpos + length;
        if end > holds.end() {
            break;
        }
        placed.push(ExtentRec::leaf(Cpos(start), clusters, rec.e_flags(), rec.e_blkno));
    }
    placed
}

/// Appends clusters to the contents of an inode.
///
/// # Errors
/// There is no room; it cannot be written.
pub fn append(
    editor: &mut Editor<'_>,
    blkno: Blkno,
    holds: Holds,
    start: u32,
    count: u16,
) -> Result<(), EditError> {
    let inode = editor.inode(blkno)?;
    let shares = inode.dinode.dyn_features().contains(DynFeatures::HAS_REFCOUNT);
    let gathered = gather(editor.volume(), blkno, inode.id2(), holds, shares)?;
    let mut extents = gathered.extents.clone();
    let end = extents.last().map_or(0, |rec| end_of(rec, 0));
    let first = editor.volume().geometry().block_of(Cluster(start));
    let end = u32::try_from(end).map_err(|_| EditError::NoRoom("more extents"))?;
    extents.push(ExtentRec::leaf(Cpos(end), count, ExtentFlags::empty(), first));
    let mut id2 = inode.id2().to_vec();
    let slot = inode.dinode.i_suballoc_slot;
    let room = list_room(id2.len());
    let built = gathered.with(editor, extents, room, slot)?.build(editor, &mut id2)?;
    write_inode(editor, &inode, &id2, built)
}

/// Frees all clusters of an inode after the first `keep`; its extents have to be dense.
///
/// # Errors
/// It cannot be read or written.
pub fn cut(
    editor: &mut Editor<'_>,
    blkno: Blkno,
    holds: Holds,
    keep: u64,
) -> Result<(), EditError> {
    let inode = editor.inode(blkno)?;
    let bits = editor.volume().geometry().bpc_bits();
    let mut gathered = gather(editor.volume(), blkno, inode.id2(), holds, false)?;
    let mut kept = Vec::new();
    for rec in std::mem::take(&mut gathered.extents) {
        let start = (rec.e_blkno.0 >> bits) as u32;
        let clusters = rec.e_leaf_clusters();
        let stays = keep.saturating_sub(rec.e_cpos.0.into()).min(clusters.into()) as u16;
        if stays > 0 {
            kept.push(ExtentRec::leaf(rec.e_cpos, stays, rec.e_flags(), rec.e_blkno));
        }
        if stays < clusters {
            editor.free_clusters(start + u32::from(stays)..start + u32::from(clusters))?;
        }
    }
    gathered.extents = kept;
    let mut id2 = inode.id2().to_vec();
    gathered.free_surplus(editor, list_room(id2.len()))?;
    let built = gathered.build(editor, &mut id2)?;
    write_inode(editor, &inode, &id2, built)
}

impl Gathered {
    /// Frees the extent blocks that a tree with a root list of `room` records does not need.
    fn free_surplus(&mut self, editor: &mut Editor<'_>, room: usize) -> Result<(), EditError> {
        let needed = blocks_for(editor.volume(), self.extents.len(), room);
        for (_, block) in self.blocks.drain(needed.min(self.blocks.len())..) {
            editor.free_block(Suballocated::from(&block))?;
        }
        Ok(())
    }

    /// Frees all clusters and extent blocks.
    ///
    /// # Errors
    /// The allocators cannot be written.
    pub fn free(mut self, editor: &mut Editor<'_>) -> Result<(), EditError> {
        let bits = editor.volume().geometry().bpc_bits();
        for rec in std::mem::take(&mut self.extents) {
            let start = (rec.e_blkno.0 >> bits) as u32;
            editor.free_clusters(start..start + u32::from(rec.e_leaf_clusters()))?;
        }
        self.free_surplus(editor, 1)
    }

    /// Replaces the extents, for a root list with room for `room` records. The extent blocks stay,
    /// and missing ones come from the `extent_alloc` of a slot.
    ///
    /// # Errors
    /// [`EditError::NoRoom`].
    pub fn with(
        mut self,
        editor: &mut Editor<'_>,
        extents: Vec<ExtentRec>,
        room: usize,
        slot: u16,
    ) -> Result<Self, EditError> {
        let needed = blocks_for(editor.volume(), extents.len(), room);
        let missing = needed.saturating_sub(self.blocks.len());
        for taken in editor.take_blocks(ExtentBlock::NAME, slot, missing)? {
            let header = ExtentBlock {
                h_signature: ExtentBlock::SIGNATURE,
                h_check: Default::default(),
                h_suballoc_slot: taken.slot,
                h_suballoc_bit: taken.bit,
                h_fs_generation: editor.volume().generation(),
                h_blkno: taken.blkno,
                h_suballoc_loc: taken.loc,
                h_next_leaf_blk: Blkno(0),
            };
            self.blocks.push((taken.blkno, header));
        }
        Ok(Self { extents, ..self })
    }

    /// Writes the tree: its extent blocks to the volume at once, its root list into `root`.
    ///
    /// # Errors
    /// There are too few extent blocks; they cannot be written.
    pub fn build(self, editor: &mut Editor<'_>, root: &mut [u8]) -> Result<Built, EditError> {
        let room = list_room(root.len());
        let per_block = usize::from(ExtentBlock::list_capacity(editor.volume().block_size()));
        let clusters = self.extents.iter().map(|rec| u32::from(rec.e_leaf_clusters()));
        let clusters = clusters.fold(0, u32::saturating_add);
        let mut blocks = self.blocks.into_iter();
        let mut last_leaf = Blkno(0);
        let mut level = self.extents;
        let mut depth = 0;
        while level.len() > room {
            if depth >= MAX_TREE_DEPTH {
                return Err(EditError::Impossible("the extent tree would be too deep".to_owned()));
            }
            let lists: Vec<_> = level.chunks(per_block).collect();
            let homes: Vec<_> = blocks.by_ref().take(lists.len()).collect();
            if homes.len() < lists.len() {
                return Err(EditError::Impossible("extent blocks are missing".to_owned()));
            }
            if depth == 0 {
                last_leaf = homes.last().map_or(Blkno(0), |(blkno, _)| *blkno);
            }
            let mut above = Vec::with_capacity(lists.len());
            for (index, (records, (blkno, header))) in lists.iter().zip(&homes).enumerate() {
                let next = homes.get(index + 1).filter(|_| depth == 0);
                let next = next.map_or(Blkno(0), |(blkno, _)| *blkno);
                write_block(editor, *blkno, header, next, depth, records)?;
                let first = records.first().map_or(0, |rec| rec.e_cpos.0);
                let following = lists.get(index + 1).and_then(|records| records.first());
                let end = records.last().map_or(0, |rec| end_of(rec, depth));
                // Beneath an interior record is everything up to the next one.
                let end = following.map_or(end, |rec| rec.e_cpos.0.into());
                let length = end.saturating_sub(first.into()).min(u32::MAX.into()) as u32;
                above.push(ExtentRec::interior(Cpos(first), length, *blkno));
            }
            level = above;
            depth += 1;
        }
        root.get_mut(ExtentListHeader::SIZE..).unwrap_or_default().fill(0);
        write_extent_list(root, depth, &level)
            .map_err(|source| Error::Truncated { blkno: Blkno(0), source })?;
        Ok(Built { clusters, last_leaf })
    }
}

/// Numbers of extents of trees. Each block is read once, however many trees share it.
#[derive(Debug, Default)]
pub struct Sizes(Mutex<HashMap<Blkno, usize>>);

impl Sizes {
    /// The number of extent blocks that a copy of the tree of an inode takes, as far as the tree
    /// can be read.
    pub fn blocks(&self, volume: &Volume, inode: &Inode) -> usize {
        let list = ExtentList::new(inode.id2());
        let extents = list.map_or(0, |list| self.extents(volume, &list, MAX_TREE_DEPTH));
        blocks_for(volume, extents, list_room(inode.id2().len()))
    }

    fn extents(&self, volume: &Volume, list: &ExtentList<'_>, most: u16) -> usize {
        if list.header.l_tree_depth == 0 || most == 0 {
            return list.records().len();
        }
        let beneath = list.records().map(|rec| self.beneath(volume, rec.e_blkno, most - 1));
        beneath.fold(0, usize::saturating_add)
    }

    fn beneath(&self, volume: &Volume, blkno: Blkno, most: u16) -> usize {
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(size) = known().get(&blkno) {
            return *size;
        }
        // A block that points back to itself adds nothing.
        known().insert(blkno, 0);
        let block = volume.geometry().is_valid_block(blkno).then(|| volume.read_block(blkno).ok());
        let size = block.flatten().map_or(0, |block| {
            ExtentBlock::list(&block).map_or(0, |list| self.extents(volume, &list, most))
        });
        known().insert(blkno, size);
        size
    }
}

/// The number of records that fit into a list of `bytes` bytes.
pub fn list_room(bytes: usize) -> usize {
    bytes.saturating_sub(ExtentListHeader::SIZE) / ExtentRec::SIZE
}

fn end_of(rec: &ExtentRec, depth: u16) -> u64 {
    let length = match depth {
        0 => rec.e_leaf_clusters().into(),
        _ => rec.e_int_clusters(),
    };
    u64::from(rec.e_cpos.0) + u64::from(length)
}

/// The number of extent blocks for `extents` extents beneath a root list of `room` records.
fn blocks_for(volume: &Volume, extents: usize, room: usize) -> usize {
    let per_block = usize::from(ExtentBlock::list_capacity(volume.block_size()));
    let (mut level, mut needed) = (extents, 0);
    while level > room {
        level = level.div_ceil(per_block);
        needed += level;
    }
    needed
}

fn write_block(
    editor: &mut Editor<'_>,
    blkno: Blkno,
    header: &ExtentBlock,
    next_leaf: Blkno,
    depth: u16,
    records: &[ExtentRec],
) -> Result<(), EditError> {
    let header = ExtentBlock {
        h_fs_generation: editor.volume().generation(),
        h_blkno: blkno,
        h_next_leaf_blk: next_leaf,
        ..header.clone()
    };
    editor.create(blkno, &header, |list| {
        // `records` is a chunk of at most the capacity of a block.
        let _ = write_extent_list(list, depth, records);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rec(cpos: u32, clusters: u16) -> ExtentRec {
        ExtentRec::leaf(Cpos(cpos), clusters, ExtentFlags::empty(), Blkno(8 * u64::from(cpos) + 80))
    }

    fn positions(leaves: &[ExtentRec], holds: Holds) -> Vec<u32> {
        placed(leaves.to_vec(), holds).iter().map(|rec| rec.e_cpos.0).collect()
    }

    #[test]
    fn a_position_that_can_not_be_is_the_one_between_its_neighbours() {
        let sound = [rec(0, 5), rec(5, 3), rec(10, 2)];
        assert_eq!(positions(&sound, Holds::Data), [0, 5, 10]);
        assert_eq!(positions(&sound, Holds::Dense), [0, 5, 8]);
        let too_low = [rec(0, 5), rec(2, 3), rec(10, 2)];
        assert_eq!(positions(&too_low, Holds::Data), [0, 5, 10]);
        let too_high = [rec(0, 5), rec(900, 3), rec(10, 2)];
        assert_eq!(positions(&too_high, Holds::Data), [0, 5, 10]);
        let at_the_end = [rec(u32::MAX - 1, 5), rec(5, 3)];
        assert_eq!(positions(&at_the_end, Holds::Data), [0, 5]);
        assert_eq!(positions(&[rec(u32::MAX - 1, 5)], Holds::Data), [0]);
        let at_the_last = [rec(0, 5), rec(u32::MAX, 1)];
        assert_eq!(positions(&at_the_last, Holds::Data), [0, 5]);
    }
}
