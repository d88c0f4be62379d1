//! Groups of blocks whose descriptor is lost, recovered from what was allocated from them.
//!
//! Inodes and other blocks of metadata state which bit of which group they are. That gives the
//! place of the group and of its pieces. Its bitmap is that of a full group until the next check
//! finds out what of it is in use. A group from which nothing was allocated is not recreated:
//! nothing is lost with it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::dx::DxRoot;
use ocfs2_format::extent::{ExtentBlock, ExtentListHeader, ExtentRec};
use ocfs2_format::feature::Incompat;
use ocfs2_format::geometry::Geometry;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::refcount::RefcountBlock;
use ocfs2_format::xattr::XattrBlock;
use ocfs2_format::{Blkno, Block, Cluster, Structure};
use ocfs2_volume::allocator::{Run, Suballocated};

use super::list::Allocator;
use super::places::Places;
use crate::Context;
use crate::tables::suballocs::{Group, Suballoc};

/// The clusters of a group on the volume, by their number in the group.
type Clusters = BTreeMap<u32, u32>;

/// Groups of blocks, by the blocks that name them.
pub(super) struct Named<'a> {
    context: &'a Context<'a>,
    allocators: &'a [Allocator],
    /// By allocator and descriptor: how many blocks name which cluster as which one of the group.
    groups: BTreeMap<(usize, Blkno), BTreeMap<(u32, u32), u32>>,
}

/// A group that a chain of an allocator points to or pointed to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linked {
    /// The index of the allocator.
    pub allocator: usize,
    /// The index of the chain; `None` for a group that is only named.
    pub chain: Option<usize>,
    /// The block that its descriptor has to be in.
    pub blkno: Blkno,
}

impl<'a> Named<'a> {
    /// Starts without any blocks.
    pub fn new(context: &'a Context<'a>, allocators: &'a [Allocator]) -> Self {
        Self { context, allocators, groups: BTreeMap::new() }
    }

    /// Notes a block that was read, whatever it is.
    pub fn see(&mut self, blkno: Blkno, block: &[u8]) {
        let Some((index, home)) = self.home(blkno, block) else { return };
        let geometry = self.context.geometry();
        let group = match home.loc {
            Blkno(0) => Blkno(blkno.0.wrapping_sub(home.bit.into())),
            loc => loc,
        };
        let bpc = u64::from(geometry.blocks_per_cluster());
        let is_group = geometry.is_valid_block(group) && is_first(geometry, group);
        // The first block of a cluster is the first one of a cluster of the group as well.
        let fits = is_group && blkno.0 % bpc == u64::from(home.bit) % bpc;
        if let Some(Cluster(cluster)) = geometry.cluster_of(blkno).filter(|_| fits) {
            let number = u32::from(home.bit) >> geometry.bpc_bits();
            let clusters = self.groups.entry((index, group)).or_default();
            *clusters.entry((number, cluster)).or_default() += 1;
        }
    }

    /// Returns the allocator from which a block of metadata in use was allocated, and the place.
    fn home(&self, blkno: Blkno, block: &[u8]) -> Option<(usize, Suballocated)> {
        let (home, generation) = stated(block)?;
        if home.blkno != blkno || generation != self.context.volume.generation() || home.bit == 0 {
            return None;
        }
        let is_inode = home.structure == Dinode::NAME;
        let index = self.allocators.iter().position(|it| {
            it.suballoc.is_some_and(|suballoc| {
                suballoc.slot() == home.slot && suballoc.holds_inodes() == is_inode
            })
        })?;
        let bits = self.allocators.get(index)?.bits_per_group(self.context);
        (u32::from(home.bit) < bits).then_some((index, home))
    }

    /// Returns the named groups and those that are `linked`, if something was allocated from them,
    /// they are not `there` and their places are free.
    pub fn groups(
        &mut self,
        linked: &[Linked],
        there: &HashSet<Blkno>,
        places: &mut Places,
    ) -> Vec<(Linked, Group)> {
        let mut wanted = Vec::new();
        for link in linked.iter().filter(|link| !there.contains(&link.blkno)) {
            self.look_into(link);
            wanted.push(*link);
        }
        let named = self.groups.keys().copied();
        let link = |(allocator, blkno)| Linked { allocator, chain: None, blkno };
        wanted.extend(named.map(link));
        let mut made: Vec<(Linked, Group)> = Vec::new();
        let mut done = there.clone();
        for link in wanted {
            let Some(allocator) = self.allocators.get(link.allocator) else { continue };
            if done.contains(&link.blkno) || self.is_used(link.blkno) {
                continue;
            }
            let Some(group) = self.group(link.allocator, allocator, link.blkno) else { continue };
            if places.take(self.context, &group) {
                done.insert(link.blkno);
                made.push((link, group));
            }
        }
        made
    }

    fn group(&self, index: usize, allocator: &Allocator, blkno: Blkno) -> Option<Group> {
        let runs = self.runs(index, blkno, &[])?;
        let bits = allocator.bits_per_group(self.context);
        Some(full(allocator.suballoc?, blkno, runs, bits))
    }

    /// Reads the blocks of a group as if it were in one piece.
    fn look_into(&mut self, link: &Linked) {
        let Some(allocator) = self.allocators.get(link.allocator) else { return };
        let (context, bits) = (self.context, allocator.bits_per_group(self.context));
        let geometry = context.geometry();
        if is_first(geometry, link.blkno) && geometry.is_valid_range(link.blkno, bits.into()) {
            context.read_each(GroupDesc::NAME, link.blkno, bits.into(), |blkno, block| {
                if let Ok(block) = block {
                    self.see(blkno, block);
                }
            });
        }
    }

    /// Returns whether a block is metadata in use, and so not the place of a descriptor.
    fn is_used(&self, blkno: Blkno) -> bool {
        let block = self.context.volume.read_block(blkno);
        block.is_ok_and(|block| self.home(blkno, &block).is_some())
    }

    /// Returns all blocks of a group, if something was allocated from it or some `known` blocks of
    /// it are left.
    pub fn runs(&self, index: usize, blkno: Blkno, known: &[Run]) -> Option<Vec<Run>> {
        let (context, geometry) = (self.context, self.context.geometry());
        let allocator = self.allocators.get(index)?;
        let Cluster(first) = geometry.cluster_of(blkno)?;
        let seen = self.groups.get(&(index, blkno));
        if seen.is_none() && known.is_empty() {
            return None;
        }
        let has_pieces = context.volume.has(Incompat::DISCONTIG_BG);
        let in_order = |number: u32, cluster: u32| first.checked_add(number) == Some(cluster);
        let mut clusters = Clusters::from([(0, first)]);
        for run in known {
            let Some(Cluster(cluster)) = geometry.cluster_of(run.blkno) else { continue };
            let (number, count) = (run.bit >> geometry.bpc_bits(), run.bits >> geometry.bpc_bits());
            clusters.extend((0..count).map(|next| (number + next, cluster.saturating_add(next))));
        }
        let mut taken: BTreeSet<u32> = clusters.values().copied().collect();
        // First what most blocks state, and of equals what keeps the group in one piece.
        let mut by_count: Vec<_> = seen.into_iter().flatten().collect();
        by_count.sort_by_key(|((number, cluster), count)| {
            (Reverse(**count), !in_order(*number, *cluster), *number, *cluster)
        });
        let mut is_any = !known.is_empty();
        for ((number, cluster), _) in by_count {
            let fits = has_pieces || in_order(*number, *cluster);
            is_any |= fits;
            if fits && !clusters.contains_key(number) && taken.insert(*cluster) {
                clusters.insert(*number, *cluster);
            }
        }
        let runs = pieces(&filled(&clusters, allocator.cpg).filter(|_| is_any)?, geometry);
        let room = context.volume.block_size().size();
        let room = room.saturating_sub(GroupDesc::LIST_OFFSET + ExtentListHeader::SIZE);
        let most = if has_pieces { room / ExtentRec::SIZE } else { 1 };
        let is_valid = |run: &Run| geometry.is_valid_range(run.blkno, run.bits.into());
        (runs.len() <= most && runs.iter().all(is_valid)).then_some(runs)
    }
}

/// Returns a group in which everything is in use.
fn full(suballoc: Suballoc, blkno: Blkno, runs: Vec<Run>, bits: u32) -> Group {
    Group::new(suballoc, blkno, runs, bits, &vec![0xff; bits.div_ceil(8) as usize])
}

/// Returns whether a cluster begins with this block.
fn is_first(geometry: &Geometry, blkno: Blkno) -> bool {
    blkno.0.is_multiple_of(geometry.blocks_per_cluster().into())
}

/// Returns all clusters of a group. An unknown one follows the one before, or else precedes the
/// next known one.
fn filled(known: &Clusters, cpg: u32) -> Option<Vec<u32>> {
    let taken: HashSet<_> = known.values().copied().collect();
    let mut all: Vec<u32> = Vec::new();
    for number in 0..cpg {
        if let Some(cluster) = known.get(&number) {
            all.push(*cluster);
            continue;
        }
        let after = all.last()?.checked_add(1).filter(|cluster| !taken.contains(cluster));
        let before = || {
            let (next, cluster) = known.range(number..).next()?;
            cluster.checked_sub(next - number).filter(|cluster| !taken.contains(cluster))
        };
        all.push(after.or_else(before)?);
    }
    Some(all)
}

/// Joins clusters to pieces.
fn pieces(clusters: &[u32], geometry: &Geometry) -> Vec<Run> {
    let bpc = geometry.blocks_per_cluster();
    let mut runs: Vec<Run> = Vec::new();
    for piece in clusters.chunk_by(|one, next| one.checked_add(1) == Some(*next)) {
        let Some(first) = piece.first() else { continue };
        let bit = runs.last().map_or(0, |run| run.bit + run.bits);
        let bits = (piece.len() as u32).saturating_mul(bpc);
        runs.push(Run { bit, bits, blkno: geometry.block_of(Cluster(*first)) });
    }
    runs
}

/// Returns where a block of metadata says it was allocated, and its generation.
fn stated(block: &[u8]) -> Option<(Suballocated, u32)> {
    if block.starts_with(&Dinode::SIGNATURE) {
        let dinode = Dinode::decode(block).ok()?;
        let is_valid = dinode.flags().contains(InodeFlags::VALID);
        return is_valid.then_some((Suballocated::from(&dinode), dinode.i_fs_generation));
    }
    if block.starts_with(&ExtentBlock::SIGNATURE) {
        let block = ExtentBlock::decode(block).ok()?;
        return Some((Suballocated::from(&block), block.h_fs_generation));
    }
    if block.starts_with(&XattrBlock::SIGNATURE) {
        let block = XattrBlock::decode(block).ok()?;
        return Some((Suballocated::from(&block), block.xb_fs_generation));
    }
    if block.starts_with(&DxRoot::SIGNATURE) {
        let block = DxRoot::decode(block).ok()?;
        return Some((Suballocated::from(&block), block.dr_fs_generation));
    }
    if block.starts_with(&RefcountBlock::SIGNATURE) {
        let block = RefcountBlock::decode(block).ok()?;
        return Some((Suballocated::from(&block), block.rf_fs_generation));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_nobody_names_follow_those_that_are_known() {
        let filled = |known: &[(u32, u32)]| filled(&known.iter().copied().collect(), 6);
        assert_eq!(filled(&[(0, 10)]), Some((10..16).collect()));
        assert_eq!(filled(&[(0, 10), (3, 40)]), Some(vec![10, 11, 12, 40, 41, 42]));
        assert_eq!(filled(&[(0, 10), (3, 40), (4, 11)]), Some(vec![10, 38, 39, 40, 11, 12]));
        assert_eq!(filled(&[(0, 10), (2, 11), (4, 80)]), None);
        assert_eq!(filled(&[(3, 40)]), None);
        assert_eq!(filled(&[(0, u32::MAX)]), None);
    }
}
