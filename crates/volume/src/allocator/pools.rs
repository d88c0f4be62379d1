//! The allocators of a volume in memory, while parts of them are taken and given back.
//!
//! What was read once is kept, so that a search goes on where the last one ended instead of at
//! the first group: with a hundred operations on one volume the groups that are full are read
//! once, not a hundred times. Nothing reaches the volume before [`Pools::write`].

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

mod groups;

use ocfs2_format::chain::{ChainListHeader, ChainRec};
use ocfs2_format::dinode::Dinode;
use ocfs2_format::extent::{ExtentFlags, ExtentRec, write_extent_list};
use ocfs2_format::feature::Incompat;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::{Blkno, Block, Cluster, Cpos, Invalid, Structure};

use super::{Allocator, Group, Run, Suballocated};
use crate::{Error, InBlock, SystemFile, Volume};

/// How many consecutive clusters are wanted, and where.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Want {
    /// Fewer are of no use; at least 1.
    pub least: u32,
    /// More are not needed; at least `least`.
    pub most: u32,
    /// The preferred first cluster, for instance the one after those a file has.
    pub near: Option<Cluster>,
}

impl Want {
    /// Exactly `count` clusters.
    pub fn exactly(count: u32) -> Self {
        Self { least: count, most: count, near: None }
    }

    /// As many as can be had, up to `most`.
    pub fn up_to(most: u32) -> Self {
        Self { least: 1, most, near: None }
    }

    /// The same number of clusters, near a cluster.
    #[must_use]
    pub fn near(self, cluster: Cluster) -> Self {
        Self { near: Some(cluster), ..self }
    }
}

/// An allocator.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Pool {
    Clusters,
    Inodes(u16),
    Blocks(u16),
}

impl Pool {
    /// The allocator that a system file is.
    pub fn of(file: SystemFile) -> Option<Self> {
        Some(match file {
            SystemFile::GlobalBitmap => Self::Clusters,
            SystemFile::GlobalInodeAlloc => Self::Inodes(Dinode::GLOBAL_SLOT),
            SystemFile::InodeAlloc(slot) => Self::Inodes(slot),
            SystemFile::ExtentAlloc(slot) => Self::Blocks(slot),
            _ => return None,
        })
    }
}

/// A group of the global bitmap and bits of it.
type GroupRun = (Blkno, Range<u32>);

/// Runs of clusters that are looked at, and no more once these are enough.
const MOST_RUNS: usize = 1 << 16;

/// Groups that are looked at for a longer run after one that is long enough was found.
const MOST_GROUPS: u32 = 64;

/// Groups that are kept after they were written.
const KEPT_GROUPS: usize = 1024;

/// Allocators that are being changed.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    pools: BTreeMap<Pool, Changing>,
    /// Nothing is taken from this cluster on.
    limit: Option<u32>,
}

#[derive(Debug)]
struct Changing {
    allocator: Allocator,
    groups: BTreeMap<Blkno, Cached>,
    /// Bits that were set and are clear now, less those that were clear and are set now.
    freed: i64,
    /// Whether the allocator's inode has to be written.
    is_changed: bool,
    /// Where the last search ended.
    cursor: Option<Blkno>,
}

#[derive(Debug)]
struct Cached {
    group: Group,
    is_changed: bool,
}

impl Pools {
    /// Allocators that take nothing from cluster `limit` on.
    pub fn within(limit: Option<u32>) -> Self {
        Self { pools: BTreeMap::new(), limit }
    }

    /// The first cluster of those that are not taken.
    pub fn limit(&self) -> Option<u32> {
        self.limit
    }

    /// Takes consecutive clusters. `None` if there is no such run.
    pub fn take_clusters(
        &mut self,
        volume: &Volume,
        want: Want,
    ) -> Result<Option<Range<u32>>, Error> {
        let geometry = *volume.geometry();
        let end = self.limit.unwrap_or(u32::MAX).min(geometry.clusters);
        let changing = self.pool(volume, Pool::Clusters)?;
        let cursor = changing.cursor.and_then(|blkno| geometry.cluster_of(blkno));
        let near = want.near.filter(|near| near.0 < end);
        let (first, bit) = near.or(cursor).map_or((0, 0), |near| geometry.group_of(near));
        let mut best: Option<GroupRun> = None;
        let groups = end.div_ceil(geometry.clusters_per_group());
        let mut left = groups;
        for step in 0..groups {
            if left == 0 {
                break;
            }
            left -= 1;
            let index = (first + step) % groups;
            let room = end - geometry.group_start(index).0;
            let cached = changing.group(volume, geometry.group_blkno(index))?;
            if u32::from(cached.group.desc.bg_free_bits_count) < want.least {
                continue;
            }
            let goal = (step == 0 && near.is_some()).then_some(bit);
            let Some(run) = longest_run(&cached.group, want, goal, room) else { continue };
            let is_enough = run.end - run.start == want.most || goal == Some(run.start);
            let is_longer = best.as_ref().is_none_or(|best| best.1.len() < run.len());
            if is_longer || goal == Some(run.start) {
                if best.is_none() {
                    left = left.min(MOST_GROUPS);
                }
                best = Some((cached.group.blkno, run));
            }
            if is_enough {
                break;
            }
        }
        let Some((group, bits)) = best else { return Ok(None) };
        changing.cursor = Some(group);
        self.take_run(volume, group, bits).map(Some)
    }

    /// Takes `count` clusters, in as few runs as possible. `None`, with nothing taken, if fewer are
    /// free.
    pub fn take_runs(
        &mut self,
        volume: &Volume,
        count: u32,
    ) -> Result<Option<Vec<Range<u32>>>, Error> {
        if count == 0 {
            return Ok(Some(Vec::new()));
        }
        if self.free(volume, Pool::Clusters)? < u64::from(count) {
            return Ok(None);
        }
        if let Some(run) = self.take_clusters(volume, Want::exactly(count))? {
            return Ok(Some(vec![run]));
        }
        let Some(found) = self.runs_for(volume, count)? else { return Ok(None) };
        let mut runs = Vec::with_capacity(found.len());
        for (group, bits) in found {
            runs.push(self.take_run(volume, group, bits)?);
        }
        Ok(Some(runs))
    }

    /// The longest free runs that add up to `count` clusters. With very many runs, the search ends
    /// as soon as they are enough.
    fn runs_for(&mut self, volume: &Volume, count: u32) -> Result<Option<Vec<GroupRun>>, Error> {
        let (geometry, limit) = (*volume.geometry(), self.limit.unwrap_or(u32::MAX));
        let changing = self.pool(volume, Pool::Clusters)?;
        let (mut runs, mut sum) = (Vec::new(), 0_u64);
        for group in volume.groups(&changing.allocator) {
            let group = group?;
            let group = changing.groups.get(&group.blkno).map_or(&group, |cached| &cached.group);
            let (index, _) =
                geometry.group_of(geometry.cluster_of(group.blkno).unwrap_or_default());
            let room = limit.saturating_sub(geometry.group_start(index).0);
            for run in group.bitmap().runs(false) {
                let run = run.start as u32..(run.end as u32).min(room);
                if run.is_empty() {
                    continue;
                }
                sum += u64::from(run.end - run.start);
                runs.push((group.blkno, run));
            }
            if sum >= count.into() && runs.len() > MOST_RUNS {
                break;
            }
        }
        runs.sort_by_key(|(_, bits)| std::cmp::Reverse(bits.end - bits.start));
        let mut missing = count;
        let used = runs.iter_mut().position(|(_, bits)| {
            bits.end = bits.end.min(bits.start.saturating_add(missing));
            missing -= bits.end - bits.start;
            missing == 0
        });
        let Some(last) = used else { return Ok(None) };
        runs.truncate(last + 1);
        Ok(Some(runs))
    }

    /// Takes this very run of clusters, which has to be within a group. Returns false, with nothing
    /// taken, if one of them is not free.
    pub fn take_exactly(&mut self, volume: &Volume, run: Range<u32>) -> Result<bool, Error> {
        let geometry = *volume.geometry();
        let (index, bit) = geometry.group_of(Cluster(run.start));
        let end = bit + run.end.saturating_sub(run.start);
        let is_beyond = self.limit.is_some_and(|limit| run.end > limit);
        if run.is_empty() || is_beyond || end > geometry.group_clusters(index) {
            return Ok(false);
        }
        let group = geometry.group_blkno(index);
        let cached = self.pool(volume, Pool::Clusters)?.group(volume, group)?;
        let bitmap = cached.group.bitmap();
        if end as usize > bitmap.len()
            || bitmap.next(true, bit as usize).is_some_and(|used| used < end as usize)
        {
            return Ok(false);
        }
        self.take_run(volume, group, bit..end).map(|_| true)
    }

    /// Takes clusters of a group of the global bitmap.
    fn take_run(
        &mut self,
        volume: &Volume,
        group: Blkno,
        bits: Range<u32>,
    ) -> Result<Range<u32>, Error> {
        let geometry = volume.geometry();
        let (index, _) = geometry.group_of(geometry.cluster_of(group).unwrap_or_default());
        let start = geometry.group_start(index).0;
        let clusters = start + bits.start..start + bits.end;
        self.change(volume, Pool::Clusters, group, true, |_| Ok(bits))?;
        Ok(clusters)
    }

    /// Number of free bits, according to the chains.
    pub fn free(&mut self, volume: &Volume, pool: Pool) -> Result<u64, Error> {
        let chains = &self.pool(volume, pool)?.allocator.chains;
        Ok(chains.iter().map(|chain| u64::from(chain.c_free)).sum())
    }

    /// Takes a block of the `extent_alloc` of a slot. A full allocator gets another group. `None`
    /// if there is no room for one.
    pub fn take_block(
        &mut self,
        volume: &Volume,
        structure: &'static str,
        slot: u16,
    ) -> Result<Option<Suballocated>, Error> {
        self.take(volume, Pool::Blocks(slot), structure, slot)
    }

    /// Takes a block for an inode in the same way.
    pub fn take_inode(
        &mut self,
        volume: &Volume,
        slot: u16,
    ) -> Result<Option<Suballocated>, Error> {
        self.take(volume, Pool::Inodes(slot), Dinode::NAME, slot)
    }

    fn take(
        &mut self,
        volume: &Volume,
        pool: Pool,
        structure: &'static str,
        slot: u16,
    ) -> Result<Option<Suballocated>, Error> {
        let limit = self.limit;
        let mut found = self.pool(volume, pool)?.free_bit(volume, limit)?;
        if found.is_none() && self.grow(volume, pool)? {
            found = self.pool(volume, pool)?.free_bit(volume, limit)?;
        }
        let Some((group, bit)) = found else { return Ok(None) };
        let group = self.change(volume, pool, group, true, |_| Ok(bit..bit + 1))?;
        let (loc, blkno) = (group.blkno, group.block_of_bit(bit));
        Ok(blkno.map(|blkno| Suballocated { structure, blkno, slot, bit: bit as u16, loc }))
    }

    /// Gives a suballocator one more group. Returns false if there is no room for it.
    fn grow(&mut self, volume: &Volume, pool: Pool) -> Result<bool, Error> {
        let wanted = u32::from(self.pool(volume, pool)?.allocator.header.cl_cpg);
        let Some(pieces) = self.clusters_for_group(volume, wanted)? else { return Ok(false) };
        let changing = self.pool(volume, pool)?;
        let allocator = &mut changing.allocator;
        let Some(chain) = allocator.chain_for_group() else {
            for piece in pieces {
                self.free_clusters(volume, piece)?;
            }
            return Ok(false);
        };
        let group = allocator.new_group(volume, chain, &pieces)?;
        changing.is_changed = true;
        changing.cursor = Some(group.blkno);
        changing.groups.insert(group.blkno, Cached { group, is_changed: true });
        Ok(true)
    }

    /// Takes the clusters of a group: one run, or, if the volume can have discontiguous groups, at
    /// most as many runs as a descriptor has room for.
    fn clusters_for_group(
        &mut self,
        volume: &Volume,
        wanted: u32,
    ) -> Result<Option<Vec<Range<u32>>>, Error> {
        if let Some(run) = self.take_clusters(volume, Want::exactly(wanted))? {
            return Ok(Some(vec![run]));
        }
        if !volume.has(Incompat::DISCONTIG_BG) {
            return Ok(None);
        }
        let Some(runs) = self.take_runs(volume, wanted)? else { return Ok(None) };
        if runs.len() > GroupDesc::list_capacity(volume.block_size()) {
            for run in runs {
                self.free_clusters(volume, run)?;
            }
            return Ok(None);
        }
        Ok(Some(runs))
    }

    /// Clears the bits of a run of clusters; those that are clear already stay so.
    pub fn free_clusters(&mut self, volume: &Volume, run: Range<u32>) -> Result<(), Error> {
        let geometry = *volume.geometry();
        let mut start = run.start;
        while start < run.end {
            let (index, bit) = geometry.group_of(Cluster(start));
            let room = geometry.group_clusters(index).saturating_sub(bit);
            let count = (run.end - start).min(room);
            if count == 0 {
                let (blkno, blocks) = (geometry.block_of(Cluster(start)), geometry.blocks());
                return Err(Error::OutsideVolume { structure: "cluster", blkno, blocks });
            }
            let group = geometry.group_blkno(index);
            self.change(volume, Pool::Clusters, group, false, |_| Ok(bit..bit + count))?;
            start += count;
        }
        Ok(())
    }

    /// Frees a block that came from an `extent_alloc`.
    pub fn free_block(&mut self, volume: &Volume, block: Suballocated) -> Result<(), Error> {
        self.suballocated(volume, Pool::Blocks(block.slot), block)
    }

    /// Frees a dinode.
    pub fn free_inode(&mut self, volume: &Volume, dinode: &Dinode) -> Result<(), Error> {
        let block = Suballocated::from(dinode);
        self.suballocated(volume, Pool::Inodes(block.slot), block)
    }

    fn suballocated(
        &mut self,
        volume: &Volume,
        pool: Pool,
        block: Suballocated,
    ) -> Result<(), Error> {
        let Suballocated { structure, blkno, bit, loc, .. } = block;
        let bit = u32::from(bit);
        let wrong = |expected: String| {
            Error::from(Invalid::new(structure, blkno, "suballoc_bit", bit, expected))
        };
        let group = match loc.is_none() {
            false => loc,
            true => Blkno(blkno.0.checked_sub(bit.into()).ok_or_else(|| wrong("less".into()))?),
        };
        let cleared = self.change(volume, pool, group, false, |group| {
            match group.bit_of_block(blkno) {
                // Bit 0 is the descriptor's own.
                Some(own) if own == bit && bit > 0 => Ok(bit..bit + 1),
                Some(own) => Err(wrong(own.to_string())),
                None => Err(wrong(format!("one of group {}", group.blkno))),
            }
        });
        cleared.map(|_| ())
    }

    /// Marks bits of a group as used or free. Returns false, and changes nothing, if the group has
    /// fewer bits.
    pub fn mark(
        &mut self,
        volume: &Volume,
        pool: Pool,
        group: Blkno,
        bits: Range<u32>,
        used: bool,
    ) -> Result<bool, Error> {
        let cached = self.pool(volume, pool)?.group(volume, group)?;
        if bits.start > bits.end || bits.end > u32::from(cached.group.desc.bg_bits) {
            return Ok(false);
        }
        self.change(volume, pool, group, used, |_| Ok(bits))?;
        Ok(true)
    }

    fn pool(&mut self, volume: &Volume, pool: Pool) -> Result<&mut Changing, Error> {
        Ok(match self.pools.entry(pool) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Changing::new(volume, pool)?),
        })
    }

    /// Sets or clears bits of a group.
    fn change(
        &mut self,
        volume: &Volume,
        pool: Pool,
        group: Blkno,
        set: bool,
        bits: impl FnOnce(&Group) -> Result<Range<u32>, Error>,
    ) -> Result<&Group, Error> {
        let changing = self.pool(volume, pool)?;
        let cached = changing.group(volume, group)?;
        let bits = bits(&cached.group)?;
        let changed = cached.group.change(bits, set)?;
        cached.is_changed = true;
        let chain = usize::from(cached.group.chain);
        if let Some(chain) = changing.allocator.chains.get_mut(chain) {
            let free = i64::from(chain.c_free) + changed;
            chain.c_free = free.clamp(0, chain.c_total.into()) as u32;
        }
        changing.freed += changed;
        changing.is_changed = true;
        Ok(&changing.group(volume, group)?.group)
    }

    /// Writes what has changed.
    pub fn write(&mut self, volume: &Volume) -> Result<(), Error> {
        self.pools.values_mut().try_for_each(|changing| changing.write(volume))
    }
}

/// A free run of the first `room` bits of a group: from bit `goal` on if that is free and the run
/// long enough; else the first of `most` bits, or the longest.
fn longest_run(group: &Group, want: Want, goal: Option<u32>, room: u32) -> Option<Range<u32>> {
    let (least, most) = (want.least.max(1) as usize, want.most.max(want.least) as usize);
    let (bitmap, room) = (group.bitmap(), room as usize);
    if let Some(goal) = goal.map(|goal| goal as usize)
        && goal < bitmap.len().min(room)
        && !bitmap.get(goal)
    {
        let end = bitmap.next(true, goal).unwrap_or(bitmap.len()).min(goal + most).min(room);
        if end - goal >= least {
            return Some(goal as u32..end as u32);
        }
    }
    let mut longest: Option<Range<usize>> = None;
    for run in bitmap.runs(false).take_while(|run| run.start < room) {
        let run = run.start..run.end.min(run.start + most).min(room);
        if longest.as_ref().is_none_or(|known| known.len() < run.len()) {
            let is_enough = run.len() == most;
            longest = Some(run);
            if is_enough {
                break;
            }
        }
    }
    let longest = longest.filter(|run| run.len() >= least)?;
    Some(longest.start as u32..longest.end as u32)
}

impl Changing {
    fn new(volume: &Volume, pool: Pool) -> Result<Self, Error> {
        let allocator = |file| volume.allocator(volume.system_file(file)?);
        let allocator = match pool {
            Pool::Clusters => volume.global_bitmap()?,
            Pool::Inodes(Dinode::GLOBAL_SLOT) => allocator(SystemFile::GlobalInodeAlloc)?,
            Pool::Inodes(slot) => allocator(SystemFile::InodeAlloc(slot))?,
            Pool::Blocks(slot) => allocator(SystemFile::ExtentAlloc(slot))?,
        };
        let groups = BTreeMap::new();
        Ok(Self { allocator, groups, freed: 0, is_changed: false, cursor: None })
    }

    fn group(&mut self, volume: &Volume, blkno: Blkno) -> Result<&mut Cached, Error> {
        if self.groups.len() >= KEPT_GROUPS {
            self.groups.retain(|_, cached| cached.is_changed);
        }
        Ok(match self.groups.entry(blkno) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let group = volume.group_at(&self.allocator, blkno)?;
                entry.insert(Cached { group, is_changed: false })
            }
        })
    }

    /// A free bit of a group of which nothing is from cluster `limit` on, and that group.
    fn free_bit(
        &mut self,
        volume: &Volume,
        limit: Option<u32>,
    ) -> Result<Option<(Blkno, u32)>, Error> {
        let first_free = |group: &Group| {
            let bit = group.bitmap().next(false, 0)?;
            let is_within = limit.is_none_or(|limit| !group.reaches(volume, limit));
            if !is_within {
                return None;
            }
            Some((group.blkno, bit as u32))
        };
        if self.allocator.chains.iter().all(|chain| chain.c_free == 0) {
            return Ok(None);
        }
        let last = self.cursor.and_then(|cursor| self.groups.get(&cursor));
        if let Some(found) = last.and_then(|cached| first_free(&cached.group)) {
            return Ok(Some(found));
        }
        if let Some(found) = self.groups.values().find_map(|cached| first_free(&cached.group)) {
            self.cursor = Some(found.0);
            return Ok(Some(found));
        }
        // New groups are part of the chains: they have to be written before the chains are
        // followed.
        self.write(volume)?;
        let mut with_room = self.allocator.clone();
        let full = with_room.chains.iter_mut().filter(|chain| chain.c_free == 0);
        full.for_each(|chain| chain.c_blkno = Blkno(0));
        for group in volume.groups(&with_room) {
            let group = group?;
            if let Some(found) = first_free(&group) {
                self.cursor = Some(found.0);
                self.groups.insert(group.blkno, Cached { group, is_changed: false });
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn write(&mut self, volume: &Volume) -> Result<(), Error> {
        if !self.is_changed {
            return Ok(());
        }
        for cached in self.groups.values_mut().filter(|cached| cached.is_changed) {
            let group = &cached.group;
            volume.write(group.blkno, &group.desc, group.block().to_vec())?;
            cached.is_changed = false;
        }
        let mut dinode = self.allocator.inode.dinode.clone();
        let (used, total) = dinode.bitmap();
        let used = (i64::from(used) - self.freed).clamp(0, total.into());
        dinode.set_bitmap(used as u32, total);
        self.allocator.inode.dinode = dinode.clone();
        (self.freed, self.is_changed) = (0, false);
        let mut block = self.allocator.inode.block().to_vec();
        let list = block.get_mut(Dinode::ID2_OFFSET..).unwrap_or_default();
        self.allocator.header.encode(list).in_block(dinode.i_blkno)?;
        let records = list.get_mut(ChainListHeader::SIZE..);
        let records = records.unwrap_or_default().chunks_exact_mut(ChainRec::SIZE);
        let records = records.take(self.allocator.header.cl_count.into());
        let unused = std::iter::repeat(&ChainRec { c_free: 0, c_total: 0, c_blkno: Blkno(0) });
        for (record, bytes) in self.allocator.chains.iter().chain(unused).zip(records) {
            record.encode(bytes).in_block(dinode.i_blkno)?;
        }
        volume.write(dinode.i_blkno, &dinode, block)
    }
}

impl Allocator {
    /// The chain that gets the next group: a new one while there is room for that, then the one
    /// with the fewest bits.
    fn chain_for_group(&mut self) -> Option<usize> {
        let used = usize::from(self.header.cl_next_free_rec);
        if used < usize::from(self.header.cl_count) {
            self.chains.truncate(used);
            self.chains.push(ChainRec::default());
            self.header.cl_next_free_rec += 1;
            return Some(used);
        }
        let smallest = (0..).zip(&self.chains).min_by_key(|(_, chain)| chain.c_total);
        smallest.map(|(index, _)| index)
    }

    /// A group in these clusters, put at the head of a chain and counted.
    fn new_group(
        &mut self,
        volume: &Volume,
        chain: usize,
        pieces: &[Range<u32>],
    ) -> Result<Group, Error> {
        let geometry = volume.geometry();
        let first = pieces.first().map_or(0, |piece| piece.start);
        let blkno = geometry.block_of(Cluster(first));
        let clusters: u32 = pieces.iter().map(|piece| piece.end - piece.start).sum();
        let bits = clusters * u32::from(self.header.cl_bpc);
        let mut desc = GroupDesc {
            bg_signature: GroupDesc::SIGNATURE,
            bg_size: match volume.has(Incompat::DISCONTIG_BG) {
                true => GroupDesc::DISCONTIG_BITMAP_SIZE,
                false => GroupDesc::bitmap_size(geometry.block_size),
            },
            bg_bits: bits as u16,
            bg_free_bits_count: bits as u16,
            bg_generation: volume.generation(),
            bg_blkno: blkno,
            ..GroupDesc::default()
        };
        let mut block = vec![0; geometry.block_size.size()];
        desc.bitmap_mut(&mut block).in_block(blkno)?.set_range(0, 1);
        desc.bg_free_bits_count -= 1;
        desc.encode(&mut block).in_block(blkno)?;
        let runs = self.runs_of(volume, pieces);
        if runs.len() > 1 {
            let bpc = u32::from(self.header.cl_bpc).max(1);
            let records = runs.iter().map(|run| {
                let (cpos, length) = (Cpos(run.bit / bpc), (run.bits / bpc) as u16);
                ExtentRec::leaf(cpos, length, ExtentFlags::empty(), run.blkno)
            });
            let list = block.get_mut(GroupDesc::LIST_OFFSET..).unwrap_or_default();
            let records: Vec<_> = records.collect();
            write_extent_list(list, 0, &records).in_block(blkno)?;
        }
        let mut group = Group { blkno, chain: 0, desc, runs, block };
        self.attach(volume, chain, &mut group);
        Ok(group)
    }

    /// The blocks of a group in these clusters, by bit.
    fn runs_of(&self, volume: &Volume, pieces: &[Range<u32>]) -> Vec<Run> {
        let mut bit = 0;
        let mut runs = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let bits = (piece.end - piece.start) * u32::from(self.header.cl_bpc);
            let blkno = volume.geometry().block_of(Cluster(piece.start));
            runs.push(Run { bit, bits, blkno });
            bit += bits;
        }
        runs
    }
}
