//! Whether the clusters of a deleted file still have its contents: they are free, and nothing shows
//! that another file had them since.

use std::collections::BTreeMap;
use std::ops::Range;

use ocfs2_format::bitmap::{Bitmap, BitmapMut};
use ocfs2_format::dinode::Arm;
use ocfs2_format::extent::ExtentFlags;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::{Blkno, Block, Structure};
use ocfs2_volume::{Inode, Volume};

use super::refused;
use crate::error::{Explain, Failure, Problem};
use crate::past::{Deleted, Past};
use crate::volume::Fs;

/// Clusters of a file.
pub(super) struct Clusters {
    runs: Vec<Run>,
    total: u64,
}

struct Run {
    clusters: Range<u64>,
    /// Several files had them at the same time.
    is_shared: bool,
}

impl Clusters {
    /// Those of an inode, as its tree was in `past`.
    pub(super) fn of(fs: &Fs, past: &Volume, inode: &Inode) -> Result<Self, Problem> {
        let mut found = Self { runs: Vec::new(), total: 0 };
        if inode.dinode.arm() != Arm::ExtentList {
            return Ok(found);
        }
        let geometry = fs.volume.geometry();
        for extent in past.tree(inode)?.extents() {
            fs.check()?;
            let extent = extent?;
            found.total += u64::from(extent.clusters);
            let first = u64::from(geometry.cluster_of(extent.blkno).unwrap_or_default().0);
            let clusters = first..first + u64::from(extent.clusters);
            let is_shared = extent.flags.contains(ExtentFlags::REFCOUNTED);
            found.runs.push(Run { clusters, is_shared });
        }
        found.runs.sort_by_key(|run| run.clusters.start);
        Ok(found)
    }

    /// The first cluster that `other` had as well, but not together with this file.
    pub(super) fn overlap(&self, other: &Self) -> Option<u64> {
        let (mut own, mut others) = (self.runs.iter().peekable(), other.runs.iter().peekable());
        while let (Some(a), Some(b)) = (own.peek(), others.peek()) {
            let start = a.clusters.start.max(b.clusters.start);
            let meet = start < a.clusters.end.min(b.clusters.end);
            if meet && !(a.is_shared && b.is_shared) {
                return Some(start);
            }
            if a.clusters.end <= b.clusters.end {
                own.next()
            } else {
                others.next()
            };
        }
        None
    }

    /// Fails unless all that `inode` had are known and free. Returns the bits that stand for them,
    /// by group.
    pub(super) fn verify_free(&self, fs: &Fs, inode: &Inode, word: &[u8]) -> Result<Bits, Failure> {
        let (expected, known) = (inode.dinode.i_clusters, self.total);
        let mut all = Bits::new();
        if inode.dinode.arm() != Arm::ExtentList {
            return Ok(all);
        }
        if known != u64::from(expected) {
            let why =
                format!("had {expected} clusters, of which {known} are known: the rest is lost");
            return Err(refused(word, &why));
        }
        let allocator = fs.volume.global_bitmap().of(word)?;
        let mut seen = 0;
        for group in fs.volume.groups(&allocator) {
            fs.check()?;
            let group = group.of(word)?;
            let first = fs.volume.cluster_of_bit(&group, 0);
            let Some(first) = first.map(|cluster| u64::from(cluster.0)) else { continue };
            let bitmap = group.bitmap();
            let end = first + u64::from(group.desc.bg_bits);
            for run in &self.runs {
                let part = run.clusters.start.max(first)..run.clusters.end.min(end);
                if part.is_empty() {
                    continue;
                }
                seen += part.end - part.start;
                let bits = (part.start - first) as usize..(part.end - first) as usize;
                if let Some(used) = next_in(bitmap, true, bits.clone()) {
                    let cluster = first + used as u64;
                    let why = format!("had cluster {cluster}, which is in use again");
                    return Err(refused(word, &why));
                }
                all.entry(group.blkno).or_default().push(bits);
            }
        }
        match seen == known {
            true => Ok(all),
            false => Err(refused(word, "had clusters that no group has")),
        }
    }
}

/// Bits of the global bitmap, by the block of their group.
pub(super) type Bits = BTreeMap<Blkno, Vec<Range<usize>>>;

fn next_in(bitmap: Bitmap<'_>, value: bool, bits: Range<usize>) -> Option<usize> {
    bitmap.next(value, bits.start).filter(|bit| *bit < bits.end)
}

/// The first cluster of `bits` that was freed and allocated after transaction `sequence`, as far as
/// the log has copies of the groups.
///
/// One transaction does not do both: Linux allocates only what was free when it began, and
/// `debugfs.ocfs2` makes one transaction of each command.
pub(super) fn allocated_since(
    fs: &Fs,
    past: &Past<'_>,
    sequence: u32,
    bits: &Bits,
) -> Result<Option<u64>, Problem> {
    let geometry = fs.volume.geometry();
    let mut free: BTreeMap<Blkno, Vec<u8>> = BTreeMap::new();
    for copy in past.after(sequence) {
        let (home, block) = copy?;
        let Some(bits) = bits.get(&home) else { continue };
        let Ok(desc) = GroupDesc::decode(&block) else { continue };
        let Ok(bitmap) = desc.bitmap(&block) else { continue };
        if desc.verify_identity(home, fs.volume.generation()).is_err() {
            continue;
        }
        let free = free.entry(home).or_insert_with(|| vec![0; block.len()]);
        for bits in bits {
            let mut at = bits.start;
            while let Some(start) = next_in(bitmap, true, at..bits.end) {
                at = bitmap.next(false, start).unwrap_or(bits.end).min(bits.end);
                if let Some(bit) = next_in(Bitmap::new(free, usize::MAX), true, start..at) {
                    let (index, _) =
                        geometry.group_of(geometry.cluster_of(home).unwrap_or_default());
                    return Ok(Some(u64::from(geometry.group_start(index).0) + bit as u64));
                }
            }
            let mut free = BitmapMut::new(free, usize::MAX);
            let mut at = bits.start;
            while let Some(start) = next_in(bitmap, false, at..bits.end) {
                at = bitmap.next(true, start).unwrap_or(bits.end).min(bits.end);
                free.set_range(start, at - start);
            }
        }
    }
    Ok(None)
}

/// Whether `other` may have existed after `deleted` did not any more.
pub(super) fn is_later(other: &Deleted, deleted: &Deleted) -> bool {
    let changed = other.inode.ctime() >= deleted.inode.ctime();
    match (other.dtime, deleted.dtime) {
        (0, _) | (_, 0) => changed,
        (other, deleted) if other == deleted => changed,
        (other, deleted) => other > deleted,
    }
}
