//! The blocks of a refcount tree.

use std::collections::HashSet;
use std::ops::Range;

use ocfs2_format::refcount::{
    RefcountBlock, RefcountFlags, RefcountList, RefcountListHeader, RefcountRec,
};
use ocfs2_format::{Blkno, Block, Structure};

use crate::codes::{Code, general, refcounts as codes};
use crate::context::ReadBlock;
use crate::extents::{self, TreeRoot};
use crate::read::holds::Holds;
use crate::tables::collected::{BlockClaim, BlockUse, Collected};
use crate::{Context, Finding, Place, finding};

/// A record that can be right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Record {
    pub clusters: Range<u32>,
    pub count: u32,
}

/// The counts of a tree.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    /// Ascending and disjoint.
    pub records: Vec<Record>,
    /// Clusters whose records cannot be used, which was reported; ascending.
    pub lost: Vec<Range<u32>>,
}

struct Reader<'a, 'o> {
    context: &'a Context<'a>,
    root: Blkno,
    /// One of the inodes that use it.
    user: Blkno,
    out: &'o mut Collected,
    tree: Tree,
}

/// Reads the tree at `root`, which `users` inodes name, `user` among them. `None` if it was not
/// read as a whole, so that its counts cannot be compared with anything.
pub(super) fn read(
    context: &Context<'_>,
    root: Blkno,
    user: Blkno,
    users: usize,
    out: &mut Collected,
) -> Option<Tree> {
    let mut reader = Reader { context, root, user, out, tree: Tree::default() };
    let complete = reader.root(users);
    reader.out.incomplete |= !complete;
    for claim in &mut reader.out.blocks {
        claim.owner = root;
    }
    complete.then_some(reader.tree)
}

impl Reader<'_, '_> {
    fn found(&mut self, code: &'static Code, blkno: Blkno, text: impl std::fmt::Display) {
        self.out.found(self.finding(code, blkno, text));
    }

    fn finding(&self, code: &'static Code, blkno: Blkno, text: impl std::fmt::Display) -> Finding {
        let text = format!("refcount block {blkno}: {text}");
        Finding::new(code, Place::block(blkno).of(self.user), text)
    }

    /// Reads the root and everything below it. Returns whether that was complete.
    fn root(&mut self, users: usize) -> bool {
        let root = self.root;
        if !self.context.geometry().is_valid_block(root) {
            self.invalid_root(users, "is not in the volume");
            return false;
        }
        let Some((block, header)) = self.block(root) else { return false };
        if header.rf_signature != RefcountBlock::SIGNATURE {
            self.invalid_root(users, "is not a refcount block");
            return false;
        }
        let is_leaf = header.flags().contains(RefcountFlags::LEAF) && !header.is_tree();
        if is_leaf && !header.rf_parent.is_none() {
            self.invalid_root(users, &format!("is a leaf of tree {}", header.rf_parent));
            return false;
        }
        self.header(&block, &header, Blkno(0));
        let expected = header.flags() & RefcountFlags::TREE;
        self.flags(root, &header, expected);
        if usize::try_from(header.rf_count) != Ok(users) {
            let text = format!("rf_count is {}, {users} inodes use the tree", header.rf_count);
            self.found(codes::REFCOUNT_COUNT, root, text);
        }
        if header.is_tree() {
            return self.leaves(&block, &header);
        }
        self.records(&block, 0..u64::from(u32::MAX) + 1);
        true
    }

    fn invalid_root(&mut self, users: usize, why: &str) {
        let (root, user) = (self.root, self.user);
        let others = match users {
            0 | 1 => String::new(),
            more => format!(" and {} others", more - 1),
        };
        let text = format!("inode {user}{others}: i_refcount_loc is {root}, which {why}");
        let place = Place::block(root).of(user);
        self.out.found(Finding::new(codes::REFCOUNT_ROOT_BLOCK_INVALID, place, text));
    }

    fn leaves(&mut self, block: &ReadBlock, header: &RefcountBlock) -> bool {
        let tree = TreeRoot {
            owner: self.user,
            blkno: self.root,
            list: block.bytes.get(RefcountBlock::LIST_OFFSET..).unwrap_or_default(),
            holds: Holds::RefcountLeaves,
            refcount_tree: None,
            may_be_unwritten: self.context.has_unwritten(),
            mend: &|| None,
        };
        let mut leaves = Vec::new();
        let walked = extents::walk(self.context, &tree, self.out, |_, leaf| leaves.push(leaf));
        if !walked.incomplete && header.rf_last_eb_blk != walked.last_leaf {
            let (found, expected) = (header.rf_last_eb_blk, walked.last_leaf);
            let text = format!("rf_last_eb_blk is {found}, expected {expected}");
            self.found(codes::REFCOUNT_LAST_EB, self.root, text);
        }
        let mut seen = HashSet::from([self.root]);
        let mut sound = 0;
        for (index, leaf) in leaves.iter().enumerate() {
            let cpos = leaf.cpos.0;
            let next = leaves.get(index + 1).map(|next| u64::from(next.cpos.0));
            let range = cpos.into()..next.unwrap_or(u64::from(u32::MAX) + 1);
            if !seen.insert(leaf.blkno) {
                let text = "the tree has this block twice";
                self.found(codes::REFCOUNT_BLOCK_INVALID, leaf.blkno, text);
                self.lose(&range);
                continue;
            }
            sound += u64::from(self.leaf(leaf.blkno, cpos, range));
        }
        let found = u64::from(header.rf_clusters);
        // A block that is not a leaf may have been counted.
        if !walked.incomplete && !(sound..=walked.clusters).contains(&found) {
            let text = format!("rf_clusters is {found}, expected {sound}");
            self.found(codes::REFCOUNT_CLUSTERS, self.root, text);
        }
        !walked.incomplete
    }

    /// Reads a leaf. Returns whether there is one.
    fn leaf(&mut self, blkno: Blkno, cpos: u32, range: Range<u64>) -> bool {
        let Some((block, header)) = self.block(blkno) else {
            self.lose(&range);
            return false;
        };
        if header.rf_signature != RefcountBlock::SIGNATURE {
            self.out.incomplete = true;
            let text = format!("is in tree {} and not a refcount block", self.root);
            self.found(codes::REFCOUNT_BLOCK_INVALID, blkno, text);
            self.lose(&range);
            return false;
        }
        self.header(&block, &header, self.root);
        if !self.out.enter_block(blkno) {
            // A leaf of many trees: it belongs to at most one of them, and is not read for each.
            self.lose(&range);
            return false;
        }
        self.flags(blkno, &header, RefcountFlags::LEAF);
        if header.rf_cpos != cpos {
            let text = format!("rf_cpos is {}, expected {cpos}", header.rf_cpos);
            self.found(codes::REFCOUNT_LEAF_CPOS, blkno, text);
        }
        self.records(&block, range);
        true
    }

    fn block(&mut self, blkno: Blkno) -> Option<(ReadBlock, RefcountBlock)> {
        match self.context.read_block::<RefcountBlock>(blkno) {
            Ok(block) => {
                let header = RefcountBlock::decode(&block.bytes).ok()?;
                Some((block, header))
            }
            Err(finding) => {
                let place = finding.place.clone().of(self.user);
                self.out.incomplete = true;
                self.out.found(Finding { place, ..finding });
                None
            }
        }
    }

    /// Checks the fields that all blocks have in common, and claims the block.
    fn header(&mut self, block: &ReadBlock, header: &RefcountBlock, parent: Blkno) {
        let blkno = block.blkno;
        if let Some(finding) = block.ecc_finding(RefcountBlock::NAME, general::BLOCK_ECC) {
            let place = finding.place.clone().of(self.user);
            self.out.found(Finding { place, ..finding });
        }
        if header.rf_blkno != blkno {
            self.found(codes::RB_BLKNO, blkno, format!("rf_blkno is {}", header.rf_blkno));
        }
        let (found, generation) = (header.rf_fs_generation, self.context.volume.generation());
        if found != generation {
            let text = format!("rf_fs_generation is {found:#010x}, expected {generation:#010x}");
            let finding = self.finding(codes::RB_GEN, blkno, text);
            self.out.found(finding.or_else(codes::RB_GEN_FIX));
        }
        if header.rf_parent != parent {
            let text = format!("rf_parent is {}, expected {parent}", header.rf_parent);
            self.found(codes::RB_PARENT, blkno, text);
        }
        self.out.blocks.push(BlockClaim {
            owner: self.root,
            blkno,
            used_as: BlockUse::RefcountBlock,
            suballoc: (header.rf_suballoc_slot, header.rf_suballoc_bit, header.rf_suballoc_loc),
        });
    }

    fn flags(&mut self, blkno: Blkno, header: &RefcountBlock, expected: RefcountFlags) {
        if header.flags() != expected {
            let text = format!("rf_flags is {:#x}, expected {:#x}", header.rf_flags, expected);
            self.found(codes::REFCOUNT_FLAGS, blkno, text);
        }
    }

    /// Reads the records of a block, which have to lie in `range`.
    fn records(&mut self, block: &ReadBlock, range: Range<u64>) {
        let blkno = block.blkno;
        let Ok(list) = RefcountBlock::records(&block.bytes) else { return };
        let from = self.out.findings.len();
        let used = self.used(blkno, &list, &range);
        let records: Vec<_> = list.records().take(used).collect();
        self.each_record(blkno, &records, range);
        finding::sum_up(&mut self.out.findings, from, records.len(), |finding| {
            finding.place.block == Some(blkno.0)
        });
    }

    fn each_record(&mut self, blkno: Blkno, records: &[RefcountRec], range: Range<u64>) {
        let clusters = u64::from(self.context.geometry().clusters);
        if let Some(first) = records.first() {
            self.reaches_into(blkno, first, &range);
        }
        // The start of a range without usable records, which ends at the next one.
        let mut lost_from = None;
        for (index, rec) in records.iter().enumerate() {
            let &RefcountRec { r_cpos, r_clusters, r_refcount } = rec;
            let end = end_of(rec);
            let before = self.tree.records.last().map_or(0, |last| u64::from(last.clusters.end));
            let what = || format!("record {index}, clusters {r_cpos} to {}", end.saturating_sub(1));
            // If the next two records fit what is before this one, this one is wrong rather than
            // they.
            let follow = records.get(index + 1).zip(records.get(index + 2));
            let astray = follow.filter(|(one, two)| {
                end > one.r_cpos
                    && one.r_cpos >= before
                    && one.r_clusters > 0
                    && end_of(one) <= two.r_cpos
                    && range.contains(&one.r_cpos)
            });
            let wrong = if r_clusters == 0 {
                Some((codes::REFCOUNT_REC_EMPTY, format!("record {index} has no clusters")))
            } else if end > clusters {
                let text = format!("{}: the volume has {clusters} clusters", what());
                Some((codes::REFCOUNT_CLUSTER_RANGE, text))
            } else if r_cpos < before {
                let text = format!("{}: the record before ends at {}", what(), before - 1);
                Some((codes::REFCOUNT_CLUSTER_COLLISION, text))
            } else if let Some((next, _)) = astray {
                let text = format!("{}: the record after begins at {}", what(), next.r_cpos);
                Some((codes::REFCOUNT_CLUSTER_COLLISION, text))
            } else {
                None
            };
            if let Some((code, text)) = wrong {
                self.found(code, blkno, text);
                lost_from.get_or_insert(before);
                continue;
            }
            if !range.contains(&r_cpos) {
                let text = format!("{}: begins outside {}..{}", what(), range.start, range.end);
                self.found(codes::REFCOUNT_REC_RANGE, blkno, text);
            }
            if let Some(from) = lost_from.take() {
                self.lose(&(from..r_cpos));
            }
            let (Ok(start), Ok(end)) = (u32::try_from(r_cpos), u32::try_from(end)) else {
                continue;
            };
            self.tree.records.push(Record { clusters: start..end, count: r_refcount });
        }
        if let Some(from) = lost_from {
            self.lose(&(from..range.end));
        }
    }

    /// Drops the last record of the leaf before if it reaches into the `first` one of this leaf,
    /// which is where it should be.
    fn reaches_into(&mut self, blkno: Blkno, first: &RefcountRec, range: &Range<u64>) {
        let reaches = |last: &mut Record| {
            u64::from(last.clusters.end) > first.r_cpos
                && u64::from(last.clusters.start) < range.start
                && range.contains(&first.r_cpos)
        };
        let Some(last) = self.tree.records.pop_if(reaches) else { return };
        let Range { start, end } = last.clusters;
        let text = format!(
            "the record before this leaf, clusters {start} to {}, reaches beyond {}, its first",
            end.saturating_sub(1),
            first.r_cpos
        );
        self.found(codes::REFCOUNT_CLUSTER_COLLISION, blkno, text);
        self.lose(&(start.into()..first.r_cpos));
    }

    /// Returns how many records count.
    fn used(&mut self, blkno: Blkno, list: &RefcountList<'_>, range: &Range<u64>) -> usize {
        let RefcountListHeader { rl_count, rl_used, .. } = list.header;
        let (count, used) = (usize::from(rl_count), usize::from(rl_used));
        let capacity = list.capacity();
        if count != capacity {
            let text = format!("rl_count is {count}, {capacity} fit");
            self.found(codes::REFCOUNT_LIST_COUNT, blkno, text);
        }
        let count = capacity;
        if used == 0 && blkno != self.root {
            self.found(codes::REFCOUNT_LIST_EMPTY, blkno, "is a leaf without records");
            self.lose(range);
        }
        if used <= count {
            return used;
        }
        // The room after the records holds garbage, so that only plausible records count.
        let clusters = u64::from(self.context.geometry().clusters).min(range.end);
        let mut before = range.start;
        let makes_sense = |rec: &RefcountRec| {
            let follows = rec.r_cpos >= before && rec.r_clusters > 0 && end_of(rec) <= clusters;
            before = end_of(rec);
            follows
        };
        let there = list.records().take(count).take_while(makes_sense).count();
        let text = format!("rl_used is {used}, {count} fit, there are {there} records");
        self.found(codes::REFCOUNT_LIST_USED, blkno, text);
        self.lose(range);
        there
    }

    /// Notes a range in which clusters without a record may have lost it: such counts are not
    /// reported.
    fn lose(&mut self, range: &Range<u64>) {
        let bound = |cluster: u64| u32::try_from(cluster).unwrap_or(u32::MAX);
        let start = self.tree.lost.last().map_or(0, |last| last.end).max(bound(range.start));
        let end = bound(range.end);
        if start < end {
            self.tree.lost.push(start..end);
        }
    }
}

/// Returns the cluster after those of a record.
fn end_of(rec: &RefcountRec) -> u64 {
    rec.r_cpos.saturating_add(rec.r_clusters.into())
}
