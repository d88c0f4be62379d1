//! The real length of an extent of buckets.
//!
//! The record of the extent states clusters, its first bucket states buckets, and each bucket shows
//! by itself whether it continues the one before: its names fit their hashes, and hashes ascend. If
//! the record has room for the stated buckets, or only one of the two numbers is possible, no other
//! bucket is read for the length. Otherwise the buckets themselves decide, as either number may be
//! the wrong one.

use std::cell::Cell;

use ocfs2_format::extent::{ExtentFlags, ExtentRec};
use ocfs2_format::feature::Incompat;
use ocfs2_format::hash::{CharSign, xattr_hash};
use ocfs2_format::xattr::{BUCKET_SIZE, XattrArea, XattrEntry, XattrHeader};
use ocfs2_format::{Blkno, Structure, check};
use ocfs2_volume::Volume;

/// The name of a bucket in findings.
pub(crate) const NAME: &str = "xattr bucket";

/// The lowest and the highest hash of an area, where they have to be in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hashes {
    pub first: u32,
    pub last: u32,
}

/// The largest size of an extent of buckets, unless a cluster is larger.
const MOST_BYTES: u64 = 1 << 16;
/// Buckets that are read to find the lengths of all extents of one tree.
const MOST_LOOKS: u32 = 1 << 12;

/// What a bucket shows by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub header: XattrHeader,
    /// The lowest and the highest hash of those entries whose names have these hashes.
    pub hashes: Option<Hashes>,
    /// Whether these are all entries, in order, and make up the sum in the header.
    is_whole: bool,
    /// Whether the header is plausible, or the block check holds.
    may_be: bool,
}

impl Look {
    /// Returns whether its hashes are after `last` and below `end`.
    fn follows(&self, last: Option<u32>, end: u64) -> bool {
        self.hashes.is_some_and(|hashes| {
            last.is_none_or(|last| last < hashes.first) && u64::from(hashes.last) < end
        })
    }
}

/// Finds the ends of the extents of one tree.
pub(crate) struct Reach<'a> {
    volume: &'a Volume,
    left: Cell<u32>,
}

/// Numbers of buckets of an extent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Count {
    /// Those that the first bucket states.
    pub stated: u64,
    /// Those that exist.
    pub there: u64,
    /// Those for which the record has room.
    pub room: u64,
    /// Those that an extent can have at most.
    most: u64,
    /// Whether a bucket with attributes follows those that exist.
    goes_on: bool,
}

impl Count {
    /// Returns whether buckets were lost: more are stated than exist, and one wrong bit does not
    /// explain it.
    pub fn is_short(self) -> bool {
        self.is_doubtful() && !(self.stated ^ self.there).is_power_of_two()
    }

    /// Returns whether buckets may have been lost. A number that no extent can have means nothing,
    /// unless a bucket follows those that exist.
    pub fn is_doubtful(self) -> bool {
        let is_possible = (1..=self.most).contains(&self.stated);
        if is_possible { self.stated > self.there } else { self.goes_on }
    }
}

impl<'a> Reach<'a> {
    /// Starts for one tree on a volume.
    pub fn new(volume: &'a Volume) -> Self {
        Self { volume, left: Cell::new(MOST_LOOKS) }
    }

    /// Returns a record of the tree with the right length. `next` is the record after it.
    pub fn taken(&self, rec: &ExtentRec, next: Option<&ExtentRec>) -> ExtentRec {
        let clusters = self.clusters(rec, next);
        match clusters == rec.e_leaf_clusters() {
            true => *rec,
            false => ExtentRec::leaf(rec.e_cpos, clusters, ExtentFlags::empty(), rec.e_blkno),
        }
    }

    fn clusters(&self, rec: &ExtentRec, next: Option<&ExtentRec>) -> u16 {
        let clusters = rec.e_leaf_clusters();
        let Some(first) = self.spend().then(|| self.look(rec.e_blkno)).flatten() else {
            return clusters;
        };
        if first.hashes.is_none() || clusters == 0 && !first.is_whole {
            return clusters;
        }
        let (held, most) = (u64::from(clusters) * self.per_cluster(), self.most());
        let stated = u64::from(first.header.xh_num_buckets);
        let is_possible = (1..=most).contains(&stated);
        match (is_possible, held <= most) {
            (true, true) if stated <= held => clusters,
            (false, true) if clusters > 0 => clusters,
            (true, false) => self.clusters_of(stated),
            (true, true) => {
                let there = self.furthest(rec.e_blkno, held.max(1)..stated, self.end(next));
                self.clusters_of(there.max(held).max(1))
            }
            (false, _) => self.clusters_of(self.furthest(rec.e_blkno, 1..most, self.end(next))),
        }
    }

    /// Returns the only extent that can be too long, and the clusters that it should have, if the
    /// extents have more clusters than the `stated` ones of the tree.
    pub fn too_long(&self, extents: &[ExtentRec], stated: u32) -> Option<(usize, u16)> {
        let sum: u64 = extents.iter().map(|rec| u64::from(rec.e_leaf_clusters())).sum();
        let surplus = u16::try_from(sum.checked_sub(stated.into())?).ok().filter(|it| *it > 0)?;
        let shorter = extents.iter().enumerate().filter_map(|(index, rec)| {
            let clusters = rec.e_leaf_clusters();
            let buckets = self.look(rec.e_blkno)?.header.xh_num_buckets;
            let needed = self.clusters_of(buckets.max(1).into());
            let left = clusters.checked_sub(surplus).filter(|left| *left >= needed)?;
            // The total of a clone is one too high, so that the surplus may be one too low.
            let is_bit = (clusters ^ needed).is_power_of_two();
            Some((index, if is_bit { needed } else { left }))
        });
        let mut shorter = shorter.take(2);
        let first = shorter.next()?;
        shorter.next().is_none().then_some(first)
    }

    /// Counts the buckets of an extent whose record has the right length and whose hashes are below
    /// `end`.
    pub fn count(&self, first: &Look, rec: &ExtentRec, end: u64) -> Count {
        let held = u64::from(rec.e_leaf_clusters()) * self.per_cluster();
        let room = held.min(self.most());
        let stated = u64::from(first.header.xh_num_buckets);
        let mut there = stated;
        if !(1..=room).contains(&stated) {
            there = self.furthest(rec.e_blkno, 1..room, end);
        }
        // A bucket that cannot be read counts. It is reported when its turn comes.
        let may_be = |index: &u64| {
            let look = self.look(self.bucket(rec.e_blkno, *index));
            look.is_none_or(|look| look.may_be || look.hashes.is_some())
        };
        there = (1..there).rev().find(may_be).map_or(1, |last| last + 1);
        let reaches = self.whole(rec.e_blkno, there..room, end);
        if there == stated && (reaches ^ stated).is_power_of_two() {
            there = reaches;
        }
        let goes_on = !(1..=self.most()).contains(&stated) && there < room && {
            let next = self.look(self.bucket(rec.e_blkno, there));
            next.is_some_and(|look| look.hashes.is_some())
        };
        Count { stated, there, room, most: self.most(), goes_on }
    }

    /// Returns the index after the last bucket in `range` that continues those before it; the start
    /// of the range if none does. Buckets between them may be damaged.
    fn furthest(&self, first: Blkno, range: std::ops::Range<u64>, end: u64) -> u64 {
        let mut reached = range.start;
        let mut last = self.last_before(first, range.start);
        for index in range {
            if !self.spend() {
                break;
            }
            let look = self.look(self.bucket(first, index));
            let Some(look) = look.filter(|look| look.follows(last, end)) else { continue };
            last = look.hashes.map(|hashes| hashes.last);
            reached = index + 1;
        }
        reached
    }

    /// Returns the index after the consecutive buckets from the start of `range` on that are whole
    /// and continue each other.
    fn whole(&self, first: Blkno, range: std::ops::Range<u64>, end: u64) -> u64 {
        let start = range.start;
        let mut last = None;
        for index in range {
            let look = self.spend().then(|| self.look(self.bucket(first, index))).flatten();
            let is_one = |look: &Look| look.is_whole && look.header.xh_num_buckets == 0;
            let Some(look) = look.filter(is_one) else { return index };
            if index == start {
                last = self.last_before(first, start);
            }
            if !look.follows(last, end) {
                return index;
            }
            last = look.hashes.map(|hashes| hashes.last);
        }
        start.max(self.most())
    }

    /// Returns the last hash before a bucket, as far as it is known.
    fn last_before(&self, first: Blkno, index: u64) -> Option<u32> {
        let known = |index| self.look(self.bucket(first, index))?.hashes;
        Some(known(index.checked_sub(1)?).or_else(|| known(0))?.last)
    }

    /// Returns the end of the hashes of an extent: the first hash that the next extent really
    /// holds, as its record may state another one.
    pub fn end(&self, next: Option<&ExtentRec>) -> u64 {
        next.map_or(1 << 32, |next| {
            let hashes = self.look(next.e_blkno).and_then(|look| look.hashes);
            hashes.map_or(next.e_cpos.0, |hashes| hashes.first).into()
        })
    }

    /// Reads the bucket at a block; `None` if it cannot be read.
    pub fn look(&self, blkno: Blkno) -> Option<Look> {
        let mut bytes = vec![0; BUCKET_SIZE];
        self.volume.read_into(NAME, blkno, &mut bytes).ok()?;
        let is_good = self.volume.has(Incompat::META_ECC)
            && !matches!(
                check::correct(&mut bytes, XattrHeader::CHECK_OFFSET),
                check::Checked::Bad { .. }
            );
        look(&bytes, self.volume.superblock().s_uuid_hash, is_good)
    }

    fn spend(&self) -> bool {
        self.left.set(self.left.get().saturating_sub(1));
        self.left.get() > 0
    }

    /// Returns the block of bucket `index` of the extent that begins at `first`.
    pub fn bucket(&self, first: Blkno, index: u64) -> Blkno {
        let blocks = BUCKET_SIZE as u64 >> self.volume.block_size().bits();
        Blkno(first.0.saturating_add(index.saturating_mul(blocks)))
    }

    /// Returns the cluster that a block is in.
    pub fn cluster(&self, blkno: Blkno) -> u32 {
        let cluster = blkno.0 >> self.volume.geometry().bpc_bits();
        u32::try_from(cluster).unwrap_or(u32::MAX)
    }

    fn per_cluster(&self) -> u64 {
        (u64::from(self.volume.geometry().cluster_size.bytes()) / BUCKET_SIZE as u64).max(1)
    }

    /// Returns the largest number of buckets of an extent.
    fn most(&self) -> u64 {
        let cluster_size = self.volume.geometry().cluster_size.bytes();
        MOST_BYTES.max(cluster_size.into()) / BUCKET_SIZE as u64
    }

    /// Returns the clusters that `buckets` buckets take.
    pub fn clusters_of(&self, buckets: u64) -> u16 {
        u16::try_from(buckets.div_ceil(self.per_cluster())).unwrap_or(u16::MAX)
    }
}

fn look(bytes: &[u8], seed: u32, is_good: bool) -> Option<Look> {
    let area = XattrArea::new(bytes).ok()?;
    let header = area.header;
    let is_right = |hash: u32, name: &[u8]| {
        CharSign::ALL.into_iter().any(|sign| xattr_hash(name, seed, sign) == hash)
    };
    let (mut hashes, mut stored) = (Vec::new(), 0);
    for item in area.items().flatten() {
        let hash = item.entry.xe_name_hash;
        if item.entry.prefix().is_some() && is_right(hash, item.name) {
            hashes.push(hash);
            stored += item.entry.storage_size().unwrap_or(0);
        }
    }
    let is_whole = hashes.len() == usize::from(header.xh_count)
        && hashes.is_sorted()
        && stored == usize::from(header.xh_name_value_len);
    let ends = hashes.iter().min().zip(hashes.iter().max());
    let hashes = ends.map(|(first, last)| Hashes { first: *first, last: *last });
    let entries = XattrHeader::SIZE + usize::from(header.xh_count) * XattrEntry::SIZE;
    let may_be = is_good || (entries..=BUCKET_SIZE).contains(&header.xh_free_start.into());
    Some(Look { header, hashes, is_whole, may_be })
}
