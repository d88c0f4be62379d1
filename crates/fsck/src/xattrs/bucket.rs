//! Buckets: attributes by their hash, in clusters that a tree leads to.

use std::collections::HashSet;

use ocfs2_format::feature::Incompat;
use ocfs2_format::xattr::{BUCKET_SIZE, XattrEntry, XattrHeader, XattrTreeRoot};
use ocfs2_format::{Blkno, Structure};
use ocfs2_volume::tree::Extent;

use super::entry::{self, Area, Names};
use super::{Owner, Stated, compare};
use crate::codes::{general, xattrs as codes};
use crate::collected::Collected;
use crate::context::{Block, io_error};
use crate::extents::{self, Holds, TreeRoot};
use crate::{Context, Finding};

/// What findings call a bucket.
const NAME: &str = "xattr bucket";

/// An extent of buckets does not grow beyond that, or one cluster. Twice as much is believed.
const MOST_BYTES: u64 = 1 << 16;

/// The hashes of an area, where they are to be in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashes {
    pub first: u32,
    pub last: u32,
}

/// The buckets of one tree, one after the other.
struct Buckets<'a, 'o> {
    context: &'a Context<'a>,
    owner: &'a Owner<'a>,
    names: &'a mut Names,
    out: &'o mut Collected,
    /// Extents that overlap must not make the work endless.
    seen: HashSet<Blkno>,
    /// The last hash so far, and the bucket it is in.
    last: Option<(u32, Blkno)>,
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
        mend: &|| None,
    };
    let mut extents = Vec::new();
    let walked = extents::walk(context, &tree, out, |_, extent| extents.push(extent));
    // Linux states one more than there are in what it clones, and reads the number nowhere.
    let is_cloned = u64::from(root.xt_clusters) == walked.clusters + 1;
    let clusters = root.xt_clusters - u32::from(is_cloned);
    let stated = Stated { clusters, last_eb_blk: root.xt_last_eb_blk };
    let what = format!("xattr block {blkno}");
    compare(stated, &walked, what, &owner.place(blkno), out);
    let (seen, last) = (HashSet::new(), None);
    let mut buckets = Buckets { context, owner, names, out, seen, last };
    for (index, extent) in extents.iter().enumerate() {
        buckets.extent(extent, extents.get(index + 1).map(|next| next.cpos.0));
    }
}

impl Buckets<'_, '_> {
    fn found(&mut self, finding: Finding) {
        self.out.found(finding);
    }

    /// The buckets of an extent, whose hashes are below `end`.
    fn extent(&mut self, extent: &Extent, end: Option<u32>) {
        if self.seen.contains(&extent.blkno) {
            return;
        }
        let first = extent.blkno.0 >> self.context.geometry().bpc_bits();
        if !self.out.enter_clusters(first..first + u64::from(extent.clusters)) {
            return;
        }
        let room = self.room(extent);
        let Some(first) = self.read(extent.blkno) else { return };
        let Ok(header) = XattrHeader::decode(&first.bytes) else { return };
        let stated = u64::from(header.xh_num_buckets);
        let tried = if (1..=room).contains(&stated) { stated } else { room };
        let count = self.count(extent.blkno, tried);
        if count != stated {
            let text = format!(
                "xattr bucket {}: xh_num_buckets is {stated}, there are {count} of at most {room}",
                extent.blkno
            );
            let place = self.owner.place(extent.blkno);
            self.found(Finding::new(codes::XATTR_BUCKET_COUNT_INVALID, place, text));
        }
        for index in 0..count {
            let blkno = self.bucket(extent.blkno, index);
            if !self.seen.insert(blkno) {
                return;
            }
            if let Some(block) = self.read(blkno) {
                self.one(&block, extent.cpos.0, end);
            }
        }
    }

    /// Buckets there may be in an extent.
    fn room(&self, extent: &Extent) -> u64 {
        let cluster_size = self.context.geometry().cluster_size;
        let bytes = u64::from(extent.clusters) << cluster_size.bits();
        let most = MOST_BYTES.max(cluster_size.bytes().into()) * 2;
        bytes.min(most) / BUCKET_SIZE as u64
    }

    fn bucket(&self, first: Blkno, index: u64) -> Blkno {
        let blocks = BUCKET_SIZE as u64 >> self.context.volume.block_size().bits();
        Blkno(first.0 + index * blocks)
    }

    /// How many of the `tried` buckets from `first` on are buckets; at least one.
    fn count(&self, first: Blkno, tried: u64) -> u64 {
        let is_bucket = |index: &u64| {
            let mut bytes = vec![0; BUCKET_SIZE];
            let blkno = self.bucket(first, *index);
            // One that cannot be read is told about when its turn comes.
            self.context.volume.read_into(NAME, blkno, &mut bytes).is_err()
                || is_sane(&bytes)
                || self.context.volume.has(Incompat::META_ECC)
                    && self.context.check(&mut bytes, XattrHeader::CHECK_OFFSET).is_none()
        };
        (1..tried).rev().find(is_bucket).map_or(1, |last| last + 1)
    }

    fn read(&mut self, blkno: Blkno) -> Option<Block> {
        let mut bytes = vec![0; BUCKET_SIZE];
        match self.context.volume.read_into(NAME, blkno, &mut bytes) {
            Ok(()) => {
                let bad_check = self.context.check(&mut bytes, XattrHeader::CHECK_OFFSET);
                Some(Block { blkno, bytes, bad_check })
            }
            Err(err) => {
                self.out.incomplete = true;
                let finding = self.owner.of_block(io_error(NAME, blkno, &err));
                self.found(finding);
                None
            }
        }
    }

    fn one(&mut self, block: &Block, start: u32, end: Option<u32>) {
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
            self.found(Finding::new(codes::XATTR_HASH_RANGE, self.owner.place(blkno), text));
        }
        self.last = Some((last, blkno));
    }
}

/// Whether the header is that of a bucket.
fn is_sane(bytes: &[u8]) -> bool {
    XattrHeader::decode(bytes).is_ok_and(|header| {
        let entries = XattrHeader::SIZE + usize::from(header.xh_count) * XattrEntry::SIZE;
        (entries..=BUCKET_SIZE).contains(&header.xh_free_start.into())
    })
}
