//! Buckets: attributes by their hash, in clusters that a tree points to.

use std::cell::RefCell;
use std::collections::HashSet;

use ocfs2_format::extent::{ExtentBlock, ExtentList, ExtentListHeader, ExtentRec};
use ocfs2_format::xattr::{BUCKET_SIZE, XattrBlock, XattrHeader, XattrTreeRoot};
use ocfs2_format::{Blkno, Block, Structure};
use ocfs2_volume::tree::Extent;

use super::entry::{self, Area, Names};
use super::{Owner, Stated, compare};
use crate::codes::{general, xattrs as codes};
use crate::context::{ReadBlock, io_error};
use crate::extents::{self, TreeRoot, Walked};
use crate::read::holds::Holds;
use crate::read::reach::{Count, Hashes, NAME, Reach};
use crate::repair::{Repair, bucket_tree};
use crate::tables::collected::{Claim, Collected};
use crate::{Context, Finding, Place};

/// The buckets of one tree, in order.
struct Buckets<'a, 'o> {
    context: &'a Context<'a>,
    owner: &'a Owner<'a>,
    names: &'a mut Names,
    out: &'o mut Collected,
    reach: &'a Reach<'a>,
    /// Buckets that were read: extents that overlap must not make the work endless.
    seen: HashSet<Blkno>,
    /// The last hash so far, and the bucket it is in.
    last: Option<(u32, Blkno)>,
}

/// Returns the real number of records of a list that states fewer: with the next records the tree,
/// of which `clusters` are known, has the clusters that it states, they are in order, and each
/// points to a bucket.
fn hidden(root: &XattrTreeRoot, clusters: u64, list: &[u8], reach: &Reach<'_>) -> Option<u16> {
    let list = ExtentList::new(list).ok().filter(|list| list.header.l_tree_depth == 0)?;
    let used = list.header.l_next_free_rec;
    let (mut count, mut sum) = (used, clusters);
    let mut last = list.records().next_back().map(|rec| rec.e_cpos);
    let stated = u64::from(root.xt_clusters);
    while sum < stated {
        let next = list.record(count.into())?;
        let is_bucket = reach.look(next.e_blkno).is_some_and(|look| look.hashes.is_some());
        if last.is_some_and(|last| next.e_cpos <= last) || !is_bucket {
            return None;
        }
        last = Some(next.e_cpos);
        sum += u64::from(next.e_leaf_clusters());
        count += 1;
    }
    (count > used && sum == stated).then_some(count)
}

/// Returns the repair that sets the number of records of the list in a block.
fn with_records(blkno: Blkno, (check, list): (usize, usize), count: u16) -> Repair {
    Repair::block(blkno, Some(check), move |block| {
        let list = block.get_mut(list..).unwrap_or_default();
        if let Ok(mut header) = ExtentListHeader::decode(list) {
            header.l_next_free_rec = count;
            let _ = header.encode(list);
        }
    })
}

/// The same for the last leaf of a tree that has leaves. Returns the leaf, the stated number and
/// the real one.
fn hidden_in_leaf(
    context: &Context<'_>,
    root: &XattrTreeRoot,
    walked: &Walked,
    reach: &Reach<'_>,
) -> Option<(Blkno, u16, u16)> {
    let leaf = root.xt_last_eb_blk;
    if leaf.is_none() || walked.incomplete {
        return None;
    }
    let name = ExtentBlock::NAME;
    let block = context.volume.read_metadata(name, leaf, ExtentBlock::CHECK_OFFSET).ok()?;
    let stated = ExtentBlock::list(&block).ok()?.header.l_next_free_rec;
    let count = hidden(root, walked.clusters, block.get(ExtentBlock::LIST_OFFSET..)?, reach)?;
    Some((leaf, stated, count))
}

pub(super) fn check(
    context: &Context<'_>,
    owner: &Owner<'_>,
    blkno: Blkno,
    block: &[u8],
    names: &mut Names,
    out: &mut Collected,
) {
    let Ok(root) = XattrTreeRoot::of_block(block) else { return };
    let tree = TreeRoot {
        owner: owner.inode.blkno,
        blkno,
        list: block.get(XattrTreeRoot::LIST_OFFSET..).unwrap_or_default(),
        holds: Holds::Hashed,
        refcount_tree: None,
        may_be_unwritten: context.has_unwritten(),
        mend: &|| Some(settled(owner)),
    };
    let reach = &Reach::new(context.volume);
    let list = ExtentList::new(tree.list).ok();
    let clusters = |list: &ExtentList<'_>| {
        list.records().map(|rec| u64::from(rec.e_leaf_clusters())).sum::<u64>()
    };
    if let Some(list) = list
        && let Some(count) = hidden(&root, clusters(&list), tree.list, reach)
    {
        let text = format!(
            "xattr block {blkno}: l_next_free_rec is {}, there are the clusters of {count} records",
            list.header.l_next_free_rec
        );
        let finding = Finding::new(codes::XATTR_CLUSTERS, owner.place(blkno), text);
        let places = (XattrBlock::CHECK_OFFSET, XattrTreeRoot::LIST_OFFSET);
        out.incomplete = true;
        let repair = with_records(blkno, places, count);
        return out.found(finding.repaired_by(repair));
    }
    let wrong = RefCell::new(Vec::new());
    let taken = |rec: &ExtentRec, next: Option<&ExtentRec>| {
        let taken = reach.taken(rec, next);
        if taken != *rec {
            wrong.borrow_mut().push((*rec, taken));
        }
        taken
    };
    let mut extents = Vec::new();
    let mut walked =
        extents::walk_as(context, &tree, &taken, out, |_, extent| extents.push(extent));
    let mut wrong = wrong.into_inner();
    wrong.extend(shorten(owner, reach, &root, &mut walked, &mut extents, out));
    let place = owner.place(blkno);
    out.findings.extend(misfits(owner, &place, &wrong));
    let first = extents.first().filter(|_| !walked.incomplete);
    out.findings.extend(first.and_then(|first| late(owner, &place, first)));
    if let Some((leaf, used, count)) = hidden_in_leaf(context, &root, &walked, reach) {
        out.incomplete = true;
        let text = format!(
            "xattr block {blkno}: l_next_free_rec of its last leaf {leaf} is {used}, there are the \
             clusters of {count} records"
        );
        let finding = Finding::new(codes::XATTR_CLUSTERS, owner.place(blkno), text);
        let places = (ExtentBlock::CHECK_OFFSET, ExtentBlock::LIST_OFFSET);
        let repair = with_records(leaf, places, count);
        return out.found(finding.repaired_by(repair));
    }
    // Linux states one more than there are in what it clones, and reads the number nowhere.
    let is_cloned = walked.clusters > 0 && u64::from(root.xt_clusters) == walked.clusters + 1;
    let clusters = root.xt_clusters - u32::from(is_cloned);
    let stated = Stated { clusters, last_eb_blk: root.xt_last_eb_blk };
    let what = format!("xattr block {blkno}");
    let from = out.findings.len();
    compare(stated, &walked, what, &place, out);
    let compared = out.findings.split_off(from);
    // Clusters that are stated and missing had buckets, unless one bit of the number is wrong.
    let is_bit = (walked.clusters ^ u64::from(clusters)).is_power_of_two();
    let is_short = walked.clusters < clusters.into() && !is_bit;
    let settle = |it: Finding| it.repaired_by(settled(owner)).losing(is_short);
    out.findings.extend(compared.into_iter().map(settle));
    let (seen, last) = (HashSet::new(), None);
    let mut buckets = Buckets { context, owner, names, out, reach, seen, last };
    for (index, extent) in extents.iter().enumerate() {
        buckets.extent(extent, extents.get(index + 1));
    }
}

/// Shortens an extent that has more clusters than it can have, by the number that the root states.
/// Returns the extent before and after.
fn shorten(
    owner: &Owner<'_>,
    reach: &Reach<'_>,
    root: &XattrTreeRoot,
    walked: &mut Walked,
    extents: &mut [Extent],
    out: &mut Collected,
) -> Option<(ExtentRec, ExtentRec)> {
    if walked.incomplete || walked.clusters <= root.xt_clusters.into() {
        return None;
    }
    let records: Vec<_> = extents.iter().map(record).collect();
    let (index, clusters) = reach.too_long(&records, root.xt_clusters)?;
    let extent = extents.get_mut(index)?;
    let was = record(extent);
    let surplus = extent.clusters - clusters;
    extent.clusters = clusters;
    walked.clusters -= u64::from(surplus);
    let start = reach.cluster(extent.blkno);
    let is_it = |claim: &&mut Claim| claim.owner == owner.inode.blkno && claim.start == start;
    if let Some(claim) = out.claims.iter_mut().rev().find(is_it) {
        claim.count = claim.count.saturating_sub(surplus.into());
    }
    Some((was, record(extent)))
}

/// Returns the findings that extents have another length than their buckets take.
fn misfits(
    owner: &Owner<'_>,
    place: &Place,
    wrong: &[(ExtentRec, ExtentRec)],
) -> impl Iterator<Item = Finding> {
    wrong.iter().map(|(rec, taken)| {
        let text = format!(
            "xattr block {}: the extent at hash {:#010x} has {} clusters, its buckets take {}",
            owner.inode.dinode.i_xattr_loc,
            rec.e_cpos.0,
            rec.e_leaf_clusters(),
            taken.e_leaf_clusters()
        );
        let finding = Finding::new(codes::XATTR_EXTENT_LENGTH, place.clone(), text);
        finding.repaired_by(settled(owner))
    })
}

/// Returns the finding that the first extent does not begin at hash 0: Linux lists attributes from
/// the last extent down to the one at 0, and never ends without that one.
fn late(owner: &Owner<'_>, place: &Place, first: &Extent) -> Option<Finding> {
    let text = format!(
        "xattr block {}: the first extent begins at hash {:#010x}, expected 0",
        owner.inode.dinode.i_xattr_loc, first.cpos.0
    );
    let finding = Finding::new(codes::XATTR_HASH_RANGE, place.clone(), text);
    (first.cpos.0 != 0).then(|| finding.repaired_by(settled(owner)))
}

/// Returns the repair of the records that point to buckets.
fn settled(owner: &Owner<'_>) -> Repair {
    bucket_tree::settle(owner.inode.blkno)
}

/// Returns the record of an extent.
fn record(extent: &Extent) -> ExtentRec {
    ExtentRec::leaf(extent.cpos, extent.clusters, extent.flags, extent.blkno)
}

impl Buckets<'_, '_> {
    fn found(&mut self, finding: Finding) {
        self.out.found(finding);
    }

    /// Checks the buckets of an extent.
    fn extent(&mut self, extent: &Extent, next: Option<&Extent>) {
        if self.seen.contains(&extent.blkno) {
            return;
        }
        let first = extent.blkno.0 >> self.context.geometry().bpc_bits();
        if !self.out.enter_clusters(first..first + u64::from(extent.clusters)) {
            return;
        }
        let Some(look) = self.reach.look(extent.blkno) else {
            // Reports why it cannot be read.
            self.read(extent.blkno);
            return;
        };
        let end = self.reach.end(next.map(record).as_ref());
        let count = self.reach.count(&look, &record(extent), end);
        self.counted(extent, count);
        for index in 0..count.there {
            let blkno = self.reach.bucket(extent.blkno, index);
            if !self.seen.insert(blkno) {
                return;
            }
            if let Some(block) = self.read(blkno) {
                self.one(&block, extent.cpos.0, next.map(|next| next.cpos.0));
            }
        }
    }

    fn counted(&mut self, extent: &Extent, count: Count) {
        let Count { stated, there, room, .. } = count;
        if there == stated {
            return;
        }
        let text = format!(
            "xattr bucket {}: xh_num_buckets is {stated}, there are {there} of at most {room}",
            extent.blkno
        );
        let code = match count.is_short() {
            true => codes::XATTR_BUCKETS_LOST,
            false => codes::XATTR_BUCKET_COUNT_INVALID,
        };
        let finding = Finding::new(code, self.owner.place(extent.blkno), text);
        self.found(finding.repaired_by(settled(self.owner)).losing(count.is_doubtful()));
    }

    fn read(&mut self, blkno: Blkno) -> Option<ReadBlock> {
        let mut bytes = vec![0; BUCKET_SIZE];
        match self.context.volume.read_into(NAME, blkno, &mut bytes) {
            Ok(()) => {
                let bad_check = self.context.check(&mut bytes, XattrHeader::CHECK_OFFSET);
                Some(ReadBlock { blkno, bytes, bad_check })
            }
            Err(err) => {
                self.out.incomplete = true;
                let finding = self.owner.of_block(io_error(NAME, blkno, &err));
                self.found(finding);
                None
            }
        }
    }

    fn one(&mut self, block: &ReadBlock, start: u32, end: Option<u32>) {
        let blkno = block.blkno;
        let ecc = block.ecc_finding(NAME, general::BLOCK_ECC);
        self.out.findings.extend(ecc.map(|finding| self.owner.of_block(finding)));
        let unit = Some(self.context.volume.block_size().size());
        let area = Area { bytes: &block.bytes, blkno, name: NAME, unit };
        let hashes = entry::check(self.context, self.owner, &area, self.names, self.out);
        let Some(Hashes { first, last }) = hashes else { return };
        if let Some((before, bucket)) = self.last
            && first <= before
        {
            let text = format!(
                "xattr bucket {blkno}: begins with hash {first:#010x}, bucket {bucket} before it \
                 ends with {before:#010x}"
            );
            self.found(Finding::new(codes::XATTR_BUCKET_ORDER, self.owner.place(blkno), text));
        } else if first < start || end.is_some_and(|end| last >= end) {
            let end = end.map_or(1 << 32, u64::from);
            let text = format!(
                "xattr bucket {blkno}: hashes {first:#010x} to {last:#010x} are outside \
                 {start:#010x}..{end:#010x} of its extent"
            );
            let finding = Finding::new(codes::XATTR_HASH_RANGE, self.owner.place(blkno), text);
            self.found(finding.repaired_by(settled(self.owner)));
        }
        self.last = Some((last, blkno));
    }
}
