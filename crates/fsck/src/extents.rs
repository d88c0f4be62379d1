//! Walks of extent trees, as far as these can be followed.
//!
//! Verifies every list, record and extent block of a tree (invariants E-1 to E-8) and collects the
//! extent blocks and clusters that it claims. What is wrong is reported and then treated as if it
//! had been mended, so that one damage causes one finding.
//!
//! The walk ends for any contents. A list is read with the depth that its parent leaves it, not
//! with the one it states, so that the depth falls from list to list; and no extent block is read
//! twice in one tree. An extent block that belongs to many trees is not followed for each of them.

use std::collections::HashSet;
use std::ops::Range;

use ocfs2_format::extent::{
    ExtentBlock, ExtentFlags, ExtentList, ExtentListHeader, ExtentRec, MAX_TREE_DEPTH,
};
use ocfs2_format::{Blkno, Block, Structure};
use ocfs2_volume::Inode;
use ocfs2_volume::tree::Extent;

use crate::codes::extents as codes;
use crate::read::extent_order;
use crate::read::holds::{Holds, Longest, Taken};
use crate::repair::{Repair, edit_list};
use crate::signatures;
use crate::tables::collected::{BlockClaim, BlockUse, Claim, Collected, SharedClaim};
use crate::{Context, Finding, Place, finding, misplaced};

/// A tree to be followed.
#[derive(Clone, Copy)]
pub struct TreeRoot<'a> {
    /// The inode it belongs to.
    pub owner: Blkno,
    /// The block that holds the root list.
    pub blkno: Blkno,
    /// The bytes from the list's header to the end of its room.
    pub list: &'a [u8],
    /// What the tree holds.
    pub holds: Holds,
    /// The refcount tree that the owner names. Without one no extent may be refcounted.
    pub refcount_tree: Option<Blkno>,
    /// Whether extents may be unwritten.
    pub may_be_unwritten: bool,
    /// Returns the repair of the whole tree, for findings without a repair of their own.
    pub mend: &'a dyn Fn() -> Option<Repair>,
}

impl<'a> TreeRoot<'a> {
    /// The contents of a directory or a system file: without holes, not shared, and not mended here.
    pub fn dense(context: &Context<'_>, inode: &'a Inode) -> Self {
        let (owner, list) = (inode.blkno, inode.id2());
        Self {
            owner,
            blkno: owner,
            list,
            holds: Holds::Dense,
            refcount_tree: None,
            may_be_unwritten: context.has_unwritten(),
            mend: &|| None,
        }
    }
}

/// The result of a walk.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Walked {
    /// Clusters of all extents; the number of leaves for a refcount tree.
    pub clusters: u64,
    /// The number of extents.
    pub extents: u64,
    /// The highest position after an extent.
    pub end: u64,
    /// The rightmost leaf, if it is an extent block; 0 if the root is the leaf.
    pub last_leaf: Blkno,
    /// Whether a part of the tree was not followed, so that the sums mean nothing.
    pub incomplete: bool,
    /// Whether an extent ends after the end of the volume.
    pub overruns: bool,
    /// An extent that was shortened, as it reaches over others, and the clusters that it states.
    pub cut: Option<(Longest, u16)>,
}

/// Findings about one tree that are reported one by one. The rest is summed up.
const MOST_FINDINGS: u64 = 256;

struct Walk<'a, 'c, V> {
    context: &'a Context<'a>,
    root: &'a TreeRoot<'a>,
    out: &'c mut Collected,
    visit: V,
    taken: &'a Taken<'a>,
    seen: HashSet<Blkno>,
    walked: Walked,
    /// The last leaf that is an extent block, and the next leaf that it names.
    next_leaf: Option<(Blkno, Blkno)>,
    /// The position of the extent before.
    last_cpos: Option<u64>,
    /// Whether a part that could not be read may claim more clusters and blocks.
    hides: bool,
    /// Findings so far, and the last of those beyond the limit.
    found: u64,
    left_out: Option<Finding>,
}

/// Follows a tree. Calls `visit` with each extent that begins in the volume, in the order of the
/// tree, cut at the end of the volume.
pub fn walk(
    context: &Context<'_>,
    root: &TreeRoot<'_>,
    out: &mut Collected,
    visit: impl FnMut(&mut Collected, Extent),
) -> Walked {
    walk_as(context, root, &|rec, _| *rec, out, visit)
}

/// As [`walk`], but `taken` may replace each record of a leaf by another one. The replacement
/// causes no finding.
pub fn walk_as(
    context: &Context<'_>,
    root: &TreeRoot<'_>,
    taken: &Taken<'_>,
    out: &mut Collected,
    visit: impl FnMut(&mut Collected, Extent),
) -> Walked {
    let (seen, walked) = (HashSet::new(), Walked::default());
    let (next_leaf, last_cpos) = (None, None);
    let (hides, found, left_out) = (false, 0, None);
    let mut walk = Walk {
        context,
        root,
        out,
        visit,
        taken,
        seen,
        walked,
        next_leaf,
        last_cpos,
        hides,
        found,
        left_out,
    };
    match ExtentList::new(root.list) {
        Ok(list) => {
            let depth = walk.root_depth(&list);
            walk.list(root.blkno, &list, depth, 0..root.holds.end());
            walk.end_of_leaves();
        }
        Err(_) => walk.lose(),
    }
    walk.out.incomplete |= walk.hides;
    walk.sum_up();
    walk.walked
}

/// Sets `l_count` of the list in an extent block to its room.
fn with_room(blkno: Blkno, capacity: usize) -> Repair {
    Repair::extent_block(blkno, move |_, list| {
        edit_list(list, |header: &mut ExtentListHeader, _: &mut Vec<ExtentRec>| {
            header.l_count = u16::try_from(capacity).unwrap_or(header.l_count);
        });
    })
}

/// Sorts the records of an extent block.
fn sorted(blkno: Blkno, depth: u16, holds: Holds) -> Repair {
    Repair::extent_block(blkno, move |_, list| {
        edit_list(list, |header: &mut ExtentListHeader, records: &mut Vec<ExtentRec>| {
            let used = usize::from(header.l_next_free_rec).min(records.len());
            if let Some(records) = records.get_mut(..used) {
                extent_order::restore(records, depth, holds);
            }
        });
    })
}

impl<V: FnMut(&mut Collected, Extent)> Walk<'_, '_, V> {
    /// Notes that a part of the tree cannot be read.
    fn lose(&mut self) {
        self.walked.incomplete = true;
        self.hides = true;
    }

    /// Adds the findings beyond the limit, as one finding.
    fn sum_up(&mut self) {
        if let Some(mut last) = self.left_out.take() {
            let count = self.found - MOST_FINDINGS;
            if count > 1 {
                last.text += &format!(", and {} more like it", count - 1);
            }
            self.out.found(last);
        }
    }

    /// Adds a finding. Where it has no repair of its own the tree as a whole is rebuilt.
    fn found(&mut self, finding: Finding) {
        self.found += 1;
        if self.found > MOST_FINDINGS {
            let mend = (self.root.mend)();
            self.left_out = Some(finding.repaired_otherwise_by(mend));
            return;
        }
        let lacks = finding.chain().any(|it| it.repair.is_none());
        let mend = if lacks { (self.root.mend)() } else { None };
        self.out.found(finding.repaired_otherwise_by(mend));
    }

    fn found_losing(&mut self, finding: Finding, may_lose: bool) {
        self.found(match may_lose {
            true => finding.repaired_otherwise_by((self.root.mend)()).losing(true),
            false => finding,
        });
    }

    fn place(&self, blkno: Blkno) -> Place {
        Place::block(blkno).of(self.root.owner)
    }

    /// Returns the depth of the root list. A depth that is too large is replaced by the one that
    /// follows from the first extent block below.
    fn root_depth(&mut self, list: &ExtentList<'_>) -> u16 {
        let depth = list.header.l_tree_depth;
        if depth <= MAX_TREE_DEPTH {
            return depth;
        }
        let below =
            list.records().next().filter(|rec| self.context.geometry().is_valid_block(rec.e_blkno));
        let below = below.and_then(|rec| self.context.volume.read_block(rec.e_blkno).ok());
        let below = below.filter(|block| block.starts_with(&ExtentBlock::SIGNATURE));
        let below = below.and_then(|block| Some(ExtentBlock::list(&block).ok()?.header));
        let expected = below.map_or(0, |header| header.l_tree_depth.min(MAX_TREE_DEPTH - 1) + 1);
        let text = format!(
            "extent list {}: l_tree_depth is {depth}, expected {expected}",
            self.root.blkno
        );
        self.found(Finding::new(codes::EXTENT_LIST_DEPTH, self.place(self.root.blkno), text));
        expected
    }

    /// Returns the records of a list that are in use.
    fn records(&mut self, blkno: Blkno, list: &ExtentList<'_>) -> Vec<ExtentRec> {
        let ExtentListHeader { l_count, l_next_free_rec, .. } = list.header;
        let (mut count, used) = (usize::from(l_count), usize::from(l_next_free_rec));
        let capacity = list.capacity();
        // `l_count` of an inode's list may be less than its room, but not 0.
        let is_exact = blkno != self.root.blkno
            || matches!(self.root.holds, Holds::Hashed | Holds::RefcountLeaves);
        let is_short = count < capacity && (is_exact || count == 0 || used > count);
        if count > capacity || is_short && capacity > 0 {
            let text = format!("extent list {blkno}: l_count is {count}, {capacity} fit");
            let finding = Finding::new(codes::EXTENT_LIST_COUNT, self.place(blkno), text);
            self.found(match blkno == self.root.blkno {
                true => finding,
                false => finding.repaired_by(with_room(blkno, capacity)),
            });
            count = capacity;
        }
        if used > count {
            let text =
                format!("extent list {blkno}: l_next_free_rec is {used}, l_count is {count}");
            self.found(Finding::new(codes::EXTENT_LIST_FREE, self.place(blkno), text));
        }
        list.records().take(count).collect()
    }

    /// Follows a list of depth `depth`, whose records have to lie in `range`.
    fn list(&mut self, blkno: Blkno, list: &ExtentList<'_>, depth: u16, range: Range<u64>) {
        let from = self.out.findings.len();
        let mut records = self.records(blkno, list);
        self.in_order(blkno, &mut records, depth);
        self.records_of(blkno, &records, depth, range);
        // That a record points to something other than an extent block counts as a finding about
        // this list, although its place is the block.
        finding::sum_up(&mut self.out.findings, from, records.len(), |finding| {
            let is_here = finding.place.block == Some(blkno.0);
            is_here && finding.code != codes::EB_BLKNO && finding.code != codes::EB_GEN
                || depth > 0 && finding.code == codes::EXTENT_EB_INVALID
        });
    }

    /// Sorts records that are out of order and otherwise sound.
    fn in_order(&mut self, blkno: Blkno, records: &mut [ExtentRec], depth: u16) {
        let holds = self.root.holds;
        if !extent_order::restore(records, depth, holds) {
            return;
        }
        let text = format!("extent list {blkno}: its {} records are out of order", records.len());
        let finding = Finding::new(codes::EXTENT_ORDER, self.place(blkno), text);
        self.found(match blkno == self.root.blkno {
            true => finding,
            false => finding.repaired_by(sorted(blkno, depth, holds)),
        });
    }

    fn records_of(&mut self, blkno: Blkno, records: &[ExtentRec], depth: u16, range: Range<u64>) {
        if depth == 0 {
            for (index, rec) in records.iter().enumerate() {
                let behind = records.iter().skip(index + 1).map(|rec| rec.e_cpos.0);
                let rec = (self.taken)(rec, records.get(index + 1));
                let rec = self.fitting(blkno, index, rec, behind);
                self.leaf_record(blkno, index, &rec, &range);
            }
            return;
        }
        // The end that the record before states, if its subtree was followed.
        let mut before: Option<(usize, u64)> = None;
        for (index, rec) in records.iter().enumerate() {
            if self.context.interrupt.requested() {
                return self.lose();
            }
            let own = u64::from(rec.e_cpos.0);
            let next = records.get(index + 1).map(|next| u64::from(next.e_cpos.0));
            let end = next.unwrap_or(range.end).min(range.end);
            let start = if index == 0 { range.start } else { own };
            // A lookup of a hash before the first record goes to the last one.
            if index == 0 && own != start && self.root.holds == Holds::Hashed {
                let text = format!("record 0 begins at {own}, expected {start}");
                self.found_range(blkno, text);
            }
            // The first record also covers the positions before it.
            let misplaced = own < range.start && index > 0 || own >= end || start >= end;
            if misplaced {
                let text =
                    format!("record {index} begins at {own}, outside {}..{end}", range.start);
                self.found_range(blkno, text);
            }
            let range = if misplaced { range.clone() } else { start..end };
            if !self.child(blkno, rec, depth - 1, range) {
                before = None;
                continue;
            }
            if let Some((index, stored)) = before.filter(|(_, stored)| *stored != own) {
                let text = format!("record {index} covers up to {stored}, expected {own}");
                self.found_range(blkno, text);
            }
            before = Some((index, own + u64::from(rec.e_int_clusters())));
        }
        let end = self.walked.end;
        if let Some((index, stored)) = before.filter(|(_, stored)| *stored < end) {
            let text = format!("record {index} covers up to {stored}, expected {end}");
            self.found_range(blkno, text);
        }
    }

    fn found_range(&mut self, blkno: Blkno, text: String) {
        let text = format!("extent list {blkno}: {text}");
        self.found(Finding::new(codes::EXTENT_RANGE, self.place(blkno), text));
    }

    /// Follows an interior record to the extent block that it names. Returns whether there is one.
    fn child(&mut self, parent: Blkno, rec: &ExtentRec, depth: u16, range: Range<u64>) -> bool {
        let blkno = rec.e_blkno;
        if !self.context.geometry().is_valid_block(blkno) {
            let text = format!("extent list {parent}: points at block {blkno}");
            self.found(Finding::new(codes::EXTENT_BLKNO_RANGE, self.place(parent), text));
            self.lose();
            return false;
        }
        if blkno == self.root.blkno || !self.seen.insert(blkno) {
            let text = format!(
                "extent list {parent}: points at block {blkno}, which the tree already holds"
            );
            self.found(Finding::new(codes::EXTENT_LOOP, self.place(parent), text));
            self.lose();
            return false;
        }
        let block = self.context.read_block::<ExtentBlock>(blkno);
        let mut block = match block {
            Ok(block) => block,
            Err(finding) => {
                self.lose();
                let place = finding.place.clone().of(self.root.owner);
                // Not `self.found`, which would have the tree rebuilt without this block: it may be
                // readable again some day, and nothing is cut off.
                self.out.found(Finding { place, ..finding });
                return false;
            }
        };
        let place = self.place(blkno);
        let unsigned = signatures::mend::<ExtentBlock>(self.context, &mut block, place);
        unsigned.into_iter().for_each(|finding| self.found(finding));
        let (Ok(header), Ok(list)) =
            (ExtentBlock::decode(&block.bytes), ExtentBlock::list(&block.bytes))
        else {
            return false;
        };
        if header.h_signature != ExtentBlock::SIGNATURE {
            let text = format!("extent list {parent}: block {blkno} is not an extent block");
            self.found(Finding::new(codes::EXTENT_EB_INVALID, self.place(blkno), text));
            self.lose();
            return false;
        }
        let ecc = block.ecc_finding(ExtentBlock::NAME, crate::codes::general::BLOCK_ECC);
        let rewritten = || Repair::block_check::<ExtentBlock>(blkno);
        self.out.findings.extend(ecc.map(|finding| finding.repaired_by(rewritten())));
        if header.h_blkno != blkno {
            let what = (ExtentBlock::NAME, blkno);
            let misplaced = misplaced::finding(self.context.volume, what, self.place(blkno));
            self.found(misplaced.unwrap_or_else(|| {
                let text = format!("extent block {blkno}: h_blkno is {}", header.h_blkno);
                let repair = Repair::extent_block(blkno, move |header, _| header.h_blkno = blkno);
                Finding::new(codes::EB_BLKNO, self.place(blkno), text).repaired_by(repair)
            }));
        }
        let generation = self.context.volume.generation();
        if header.h_fs_generation != generation {
            let text = format!(
                "extent block {blkno}: h_fs_generation is {:#010x}, expected {generation:#010x}",
                header.h_fs_generation
            );
            let finding = Finding::new(codes::EB_GEN, self.place(blkno), text);
            self.found(finding.or_else(codes::EB_GEN_FIX));
        }
        if list.header.l_tree_depth != depth {
            let text = format!(
                "extent block {blkno}: l_tree_depth is {}, expected {depth}",
                list.header.l_tree_depth
            );
            self.found(Finding::new(codes::EXTENT_LIST_DEPTH, self.place(blkno), text));
        }
        self.out.blocks.push(BlockClaim {
            owner: self.root.owner,
            blkno,
            used_as: BlockUse::ExtentBlock,
            suballoc: (header.h_suballoc_slot, header.h_suballoc_bit, header.h_suballoc_loc),
        });
        if !self.out.enter_block(blkno) {
            // The trees that came to this block before have claimed what it points to.
            self.walked.incomplete = true;
            self.next_leaf = None;
            return true;
        }
        if depth == 0 {
            self.leaf_follows(blkno);
            self.next_leaf = Some((blkno, header.h_next_leaf_blk));
            self.walked.last_leaf = blkno;
        }
        self.list(blkno, &list, depth, range);
        true
    }

    /// Compares the link of the leaf before with the actual next leaf.
    fn leaf_follows(&mut self, leaf: Blkno) {
        let Some((before, next)) = self.next_leaf else { return };
        if next != leaf && !self.walked.incomplete {
            let text = format!("extent block {before}: h_next_leaf_blk is {next}, expected {leaf}");
            self.found(Finding::new(codes::EB_NEXT_LEAF, self.place(before), text));
        }
    }

    fn end_of_leaves(&mut self) {
        self.leaf_follows(Blkno(0));
    }

    /// Returns the record, shortened to where the records after it begin if it reaches over them.
    /// Otherwise a single wrong length would make all records after it overlap.
    fn fitting(
        &mut self,
        blkno: Blkno,
        index: usize,
        rec: ExtentRec,
        behind: impl Iterator<Item = u32>,
    ) -> ExtentRec {
        let Some(room) = self.root.holds.room(&rec, self.walked.end, behind) else { return rec };
        let Longest { cpos, clusters } = room;
        let text = format!(
            "extent list {blkno}: record {index}, position {}: has {} clusters, those after it \
             leave room for {clusters}",
            rec.e_cpos,
            rec.e_leaf_clusters()
        );
        self.found(Finding::new(codes::EXTENT_OVERLAP, self.place(blkno), text));
        let longest = Longest { cpos: rec.e_cpos, clusters };
        self.walked.cut = Some((longest, rec.e_leaf_clusters()));
        ExtentRec::leaf(cpos, clusters, rec.e_flags(), rec.e_blkno)
    }

    fn leaf_record(&mut self, blkno: Blkno, index: usize, rec: &ExtentRec, range: &Range<u64>) {
        let geometry = *self.context.geometry();
        let mut extent = Extent {
            cpos: rec.e_cpos,
            clusters: rec.e_leaf_clusters(),
            blkno: rec.e_blkno,
            flags: rec.e_flags(),
        };
        if extent.clusters == 0 {
            // The kernel leaves an empty first record where it removed the first clusters.
            if index > 0 {
                let text = format!("extent list {blkno}: record {index} is empty");
                self.found(Finding::new(codes::EXTENT_EMPTY, self.place(blkno), text));
            }
            return;
        }
        let what = format!("extent list {blkno}: record {index}, position {}", extent.cpos);
        let holds = self.root.holds;
        let (bpc_bits, unit) = match holds {
            Holds::RefcountLeaves => (0, "block"),
            _ => (geometry.bpc_bits(), "cluster"),
        };
        if !geometry.is_valid_block(extent.blkno) {
            let text = format!("{what}: begins at block {}", extent.blkno);
            self.found(Finding::new(codes::EXTENT_BLKNO_RANGE, self.place(blkno), text));
            self.lose();
            return;
        }
        let start = extent.blkno.0 >> bpc_bits;
        if extent.blkno.0 != start << bpc_bits {
            let text = format!("{what}: begins at block {}, within a cluster", extent.blkno);
            self.found(Finding::new(codes::EXTENT_BLKNO_UNALIGNED, self.place(blkno), text));
            extent.blkno = Blkno(start << bpc_bits);
        }
        let units = geometry.blocks() >> bpc_bits;
        let room = units.saturating_sub(start);
        if u64::from(extent.clusters) > room {
            let text = format!(
                "{what}: {} {unit}s from {unit} {start} on, the volume has {units}",
                extent.clusters
            );
            self.found(Finding::new(codes::EXTENT_CLUSTERS_OVERRUN, self.place(blkno), text));
            self.lose();
            self.walked.overruns = true;
            extent.clusters = u16::try_from(room).unwrap_or(extent.clusters);
        }
        self.flags(blkno, &what, &mut extent);
        self.position(blkno, &what, &extent, range);
        self.walked.clusters += u64::from(extent.clusters);
        self.walked.extents += 1;
        self.walked.end = self.walked.end.max(extent.end());
        self.claim(&extent, start);
        (self.visit)(self.out, extent);
    }

    fn flags(&mut self, blkno: Blkno, what: &str, extent: &mut Extent) {
        let place = self.place(blkno);
        if extent.flags.contains(ExtentFlags::UNWRITTEN) && !self.root.may_be_unwritten {
            let text = format!("{what}: is marked unwritten, the volume has no unwritten extents");
            self.found(Finding::new(codes::EXTENT_MARKED_UNWRITTEN, place.clone(), text));
            extent.flags.remove(ExtentFlags::UNWRITTEN);
        }
        if extent.flags.contains(ExtentFlags::REFCOUNTED) && self.root.refcount_tree.is_none() {
            let text = format!("{what}: is marked refcounted, there is no refcount tree");
            self.found(Finding::new(codes::EXTENT_MARKED_REFCOUNTED, place.clone(), text));
            extent.flags.remove(ExtentFlags::REFCOUNTED);
        }
        let known = ExtentFlags::KNOWN;
        if !known.contains(extent.flags) {
            let text = format!("{what}: e_flags is {:#04x}", extent.flags.bits());
            // Where unknown flags are set, the known ones may be garbage as well.
            let may_lose = extent.flags.intersects(known);
            self.found_losing(Finding::new(codes::EXTENT_FLAGS, place, text), may_lose);
            extent.flags &= known;
        }
    }

    fn position(&mut self, blkno: Blkno, what: &str, extent: &Extent, range: &Range<u64>) {
        let cpos = u64::from(extent.cpos.0);
        let end = self.walked.end;
        let hashed = matches!(self.root.holds, Holds::Hashed | Holds::RefcountLeaves);
        // Of positions that are hashes only the order is checked: they do not depend on lengths.
        let free_from = if hashed { self.last_cpos.map_or(0, |cpos| cpos + 1) } else { end };
        self.last_cpos = Some(cpos);
        if cpos < free_from {
            let text = format!("{what}: the extent before it ends at {free_from}");
            self.found(Finding::new(codes::EXTENT_OVERLAP, self.place(blkno), text));
        } else if cpos > end && self.root.holds == Holds::Dense && !self.walked.incomplete {
            let text = format!("{what}: the extent before it ends at {end}, there may be no hole");
            self.found(Finding::new(codes::NO_HOLES, self.place(blkno), text));
        }
        if cpos < range.start || (!hashed && extent.end() > range.end) || cpos >= range.end {
            let text = format!("{what}: lies outside {}..{}", range.start, range.end);
            self.found(Finding::new(codes::EXTENT_RANGE, self.place(blkno), text));
        }
    }

    fn claim(&mut self, extent: &Extent, start: u64) {
        if self.root.holds == Holds::RefcountLeaves {
            return;
        }
        let (owner, count) = (self.root.owner, extent.clusters.into());
        let Ok(start) = u32::try_from(start) else { return };
        match self.root.refcount_tree {
            Some(tree) if extent.flags.contains(ExtentFlags::REFCOUNTED) => {
                self.out.shared.push(SharedClaim { owner, tree, start, count });
            }
            _ => self.out.claims.push(Claim { owner, start, count }),
        }
    }
}
