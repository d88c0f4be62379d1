//! Taking clusters and blocks from the allocators, and giving them back.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

use ocfs2_format::chain::{ChainListHeader, ChainRec};
use ocfs2_format::dinode::Dinode;
use ocfs2_format::dx::DxRoot;
use ocfs2_format::extent::ExtentBlock;
use ocfs2_format::feature::Incompat;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::refcount::RefcountBlock;
use ocfs2_format::xattr::XattrBlock;
use ocfs2_format::{Blkno, Cluster, Invalid, Structure};

use super::{Allocator, Group, Run};
use crate::{Error, Volume};

/// A block of metadata with where it came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Suballocated {
    /// What it is.
    pub structure: &'static str,
    /// The block.
    pub blkno: Blkno,
    /// The slot of its allocator; `0xffff` for a dinode of the global one.
    pub slot: u16,
    /// Its bit in the group.
    pub bit: u16,
    /// The group's descriptor; 0 where the group is in one piece and begins so many blocks
    /// before it.
    pub loc: Blkno,
}

macro_rules! suballocated {
    ($($type:ident: $blkno:ident, $slot:ident, $bit:ident, $loc:ident;)*) => {$(
        impl From<&$type> for Suballocated {
            fn from(block: &$type) -> Self {
                Self {
                    structure: $type::NAME,
                    blkno: block.$blkno,
                    slot: block.$slot,
                    bit: block.$bit,
                    loc: block.$loc,
                }
            }
        }
    )*};
}
suballocated! {
    Dinode: i_blkno, i_suballoc_slot, i_suballoc_bit, i_suballoc_loc;
    ExtentBlock: h_blkno, h_suballoc_slot, h_suballoc_bit, h_suballoc_loc;
    DxRoot: dr_blkno, dr_suballoc_slot, dr_suballoc_bit, dr_suballoc_loc;
    XattrBlock: xb_blkno, xb_suballoc_slot, xb_suballoc_bit, xb_suballoc_loc;
    RefcountBlock: rf_blkno, rf_suballoc_slot, rf_suballoc_bit, rf_suballoc_loc;
}

/// A group of the global bitmap and bits of it.
type GroupRun = (Blkno, Range<u32>);

/// So many runs of clusters are looked at, if they are enough.
const MOST_RUNS: usize = 1 << 16;

/// An allocator.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Pool {
    Clusters,
    Inodes(u16),
    Blocks(u16),
}

/// Allocators while parts of them are taken and freed. Nothing is changed before
/// [`Space::write`], which needs a volume on an overlay.
#[derive(Debug)]
pub struct Space<'v> {
    volume: &'v Volume,
    pools: BTreeMap<Pool, Changing>,
}

#[derive(Debug)]
struct Changing {
    allocator: Allocator,
    groups: BTreeMap<Blkno, Group>,
    /// Bits that were set and are clear now, less those that were clear and are set now.
    freed: i64,
}

impl<'v> Space<'v> {
    /// Nothing is changed yet.
    pub fn new(volume: &'v Volume) -> Self {
        Self { volume, pools: BTreeMap::new() }
    }

    /// Takes clusters in a row: the first run of `most`, or else the longest there is. `None` if
    /// all are in use.
    ///
    /// # Errors
    /// The global bitmap cannot be read, or is wrong.
    pub fn take_clusters(&mut self, most: u32) -> Result<Option<Range<u32>>, Error> {
        let Some((group, bits)) = self.longest(Pool::Clusters, most, true)? else {
            return Ok(None);
        };
        self.take_run(group, bits).map(Some)
    }

    /// Takes so many clusters, in as few runs as there are. `None`, and none is taken, if fewer
    /// are free.
    ///
    /// # Errors
    /// The global bitmap cannot be read, or is wrong.
    pub fn take_runs(&mut self, count: u32) -> Result<Option<Vec<Range<u32>>>, Error> {
        if count == 0 {
            return Ok(Some(Vec::new()));
        }
        if self.free(Pool::Clusters)? < u64::from(count) {
            return Ok(None);
        }
        let Some((group, bits)) = self.longest(Pool::Clusters, count, true)? else {
            return Ok(None);
        };
        if bits.end - bits.start == count {
            return Ok(Some(vec![self.take_run(group, bits)?]));
        }
        let Some(found) = self.runs_for(count)? else { return Ok(None) };
        let mut runs = Vec::with_capacity(found.len());
        for (group, bits) in found {
            runs.push(self.take_run(group, bits)?);
        }
        Ok(Some(runs))
    }

    /// The longest free runs that are so many clusters together. Of very many runs no more are
    /// looked at than are enough.
    fn runs_for(&mut self, count: u32) -> Result<Option<Vec<GroupRun>>, Error> {
        let volume = self.volume;
        let changing = self.pool(Pool::Clusters)?;
        let (mut runs, mut sum) = (Vec::new(), 0_u64);
        for group in volume.groups(&changing.allocator) {
            let group = group?;
            let group = changing.groups.get(&group.blkno).unwrap_or(&group);
            for run in group.bitmap().runs(false) {
                sum += (run.end - run.start) as u64;
                runs.push((group.blkno, run.start as u32..run.end as u32));
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

    /// Takes clusters of a group of the global bitmap.
    fn take_run(&mut self, group: Blkno, bits: Range<u32>) -> Result<Range<u32>, Error> {
        let geometry = self.volume.geometry();
        let (index, _) = geometry.group_of(geometry.cluster_of(group).unwrap_or_default());
        let start = geometry.group_start(index).0;
        let clusters = start + bits.start..start + bits.end;
        self.change(Pool::Clusters, group, true, |_| Ok(bits))?;
        Ok(clusters)
    }

    /// How many clusters are free, as the chains of the global bitmap have it.
    ///
    /// # Errors
    /// The global bitmap cannot be read.
    pub fn free_clusters(&mut self) -> Result<u64, Error> {
        self.free(Pool::Clusters)
    }

    /// How many blocks are free in the `extent_alloc` of a slot, as its chains have it.
    ///
    /// # Errors
    /// The allocator cannot be read.
    pub fn free_blocks(&mut self, slot: u16) -> Result<u64, Error> {
        self.free(Pool::Blocks(slot))
    }

    fn free(&mut self, pool: Pool) -> Result<u64, Error> {
        let chains = &self.pool(pool)?.allocator.chains;
        Ok(chains.iter().map(|chain| u64::from(chain.c_free)).sum())
    }

    /// Takes a block of the `extent_alloc` of a slot, for an extent block, a block of
    /// attributes, an index root or a refcount block. The allocator gets another group where it
    /// has to. `None` if there is no room for that.
    ///
    /// # Errors
    /// An allocator cannot be read, or is wrong.
    pub fn take_block(
        &mut self,
        structure: &'static str,
        slot: u16,
    ) -> Result<Option<Suballocated>, Error> {
        self.take(Pool::Blocks(slot), structure, slot)
    }

    /// Takes a block for an inode, from the `inode_alloc` of a slot or the global one
    /// ([`Dinode::GLOBAL_SLOT`]).
    ///
    /// # Errors
    /// As [`Space::take_block`].
    pub fn take_inode(&mut self, slot: u16) -> Result<Option<Suballocated>, Error> {
        self.take(Pool::Inodes(slot), Dinode::NAME, slot)
    }

    fn take(
        &mut self,
        pool: Pool,
        structure: &'static str,
        slot: u16,
    ) -> Result<Option<Suballocated>, Error> {
        if self.longest(pool, 1, false)?.is_none() && !self.grow(pool)? {
            return Ok(None);
        }
        let Some((group, bits)) = self.longest(pool, 1, false)? else { return Ok(None) };
        let bit = bits.start;
        let blkno = self.change(pool, group, true, |_| Ok(bits))?.block_of_bit(bit);
        let taken = |blkno| Suballocated { structure, blkno, slot, bit: bit as u16, loc: group };
        Ok(blkno.map(taken))
    }

    /// The group and the bits of a free run: the first of `most` bits, or the longest. With
    /// `whole` all groups are looked at, else only up to the first with anything free.
    fn longest(
        &mut self,
        pool: Pool,
        most: u32,
        whole: bool,
    ) -> Result<Option<(Blkno, Range<u32>)>, Error> {
        let volume = self.volume;
        let changing = self.pool(pool)?;
        let mut longest: Option<(Blkno, Range<u32>)> = None;
        let length = |bits: &Range<u32>| bits.end - bits.start;
        // Whether that is enough.
        let mut look = |group: &Group| {
            for run in group.bitmap().runs(false) {
                let bits = run.start as u32..run.end.min(run.start + most as usize) as u32;
                if longest.as_ref().is_none_or(|(_, known)| length(known) < length(&bits)) {
                    longest = Some((group.blkno, bits));
                }
                if longest.as_ref().is_some_and(|(_, bits)| length(bits) == most) {
                    return true;
                }
            }
            !whole && longest.is_some()
        };
        // Those that were changed may be in no chain yet.
        if changing.groups.values().any(&mut look) {
            return Ok(longest);
        }
        for group in volume.groups(&changing.allocator) {
            let group = group?;
            if !changing.groups.contains_key(&group.blkno) && look(&group) {
                break;
            }
        }
        Ok(longest)
    }

    /// Gives a suballocator one more group; false if there is no room for it.
    fn grow(&mut self, pool: Pool) -> Result<bool, Error> {
        let (volume, geometry) = (self.volume, *self.volume.geometry());
        let wanted = u32::from(self.pool(pool)?.allocator.header.cl_cpg);
        let Some(clusters) = self.take_clusters(wanted)? else { return Ok(false) };
        if clusters.end - clusters.start < wanted {
            self.clusters(clusters)?;
            return Ok(false);
        }
        let discontiguous = volume.has(Incompat::DISCONTIG_BG);
        let changing = self.pool(pool)?;
        let allocator = &mut changing.allocator;
        let used = usize::from(allocator.header.cl_next_free_rec);
        let chain = if used < usize::from(allocator.header.cl_count) {
            allocator.chains.push(ChainRec::default());
            allocator.header.cl_next_free_rec += 1;
            used
        } else {
            let smallest = (0..).zip(&allocator.chains).min_by_key(|(_, chain)| chain.c_total);
            smallest.map_or(0, |(index, _)| index)
        };
        let bits = allocator.bits_per_group();
        let blkno = geometry.block_of(Cluster(clusters.start));
        let Some(record) = allocator.chains.get_mut(chain) else { return Ok(false) };
        let mut desc = GroupDesc {
            bg_signature: GroupDesc::SIGNATURE,
            bg_size: match discontiguous {
                true => GroupDesc::DISCONTIG_BITMAP_SIZE,
                false => GroupDesc::bitmap_size(geometry.block_size),
            },
            bg_bits: bits as u16,
            bg_free_bits_count: bits as u16,
            bg_chain: chain as u16,
            bg_generation: volume.generation(),
            bg_next_group: record.c_blkno,
            bg_parent_dinode: allocator.inode.blkno,
            bg_blkno: blkno,
            ..GroupDesc::default()
        };
        let mut block = vec![0; geometry.block_size.size()];
        desc.bitmap_mut(&mut block).map_err(Error::truncated(blkno))?.set_range(0, 1);
        desc.bg_free_bits_count -= 1;
        desc.encode(&mut block).map_err(Error::truncated(blkno))?;
        record.c_blkno = blkno;
        record.c_total = record.c_total.saturating_add(bits);
        record.c_free = record.c_free.saturating_add(bits - 1);
        let dinode = &mut allocator.inode.dinode;
        let (used, total) = dinode.bitmap();
        dinode.set_bitmap(used.saturating_add(1), total.saturating_add(bits));
        dinode.i_clusters = dinode.i_clusters.saturating_add(wanted);
        let bytes = u64::from(wanted) << geometry.cluster_size.bits();
        dinode.i_size = dinode.i_size.saturating_add(bytes);
        let runs = vec![Run { bit: 0, bits, blkno }];
        changing.groups.insert(blkno, Group { blkno, chain: chain as u16, desc, runs, block });
        Ok(true)
    }

    /// Clears the bits of a run of clusters; those that are clear already stay so.
    ///
    /// # Errors
    /// The global bitmap cannot be read, or is wrong; a cluster is outside the volume.
    pub fn clusters(&mut self, run: Range<u32>) -> Result<(), Error> {
        let geometry = *self.volume.geometry();
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
            self.change(Pool::Clusters, group, false, |_| Ok(bit..bit + count))?;
            start += count;
        }
        Ok(())
    }

    /// Frees a block that came from an `extent_alloc`.
    ///
    /// # Errors
    /// It did not come from there; the allocator cannot be read, or is wrong.
    pub fn block(&mut self, block: Suballocated) -> Result<(), Error> {
        self.suballocated(Pool::Blocks(block.slot), block)
    }

    /// Frees a dinode.
    ///
    /// # Errors
    /// As [`Space::block`].
    pub fn inode(&mut self, dinode: &Dinode) -> Result<(), Error> {
        let block = Suballocated::from(dinode);
        self.suballocated(Pool::Inodes(block.slot), block)
    }

    fn suballocated(&mut self, pool: Pool, block: Suballocated) -> Result<(), Error> {
        let Suballocated { structure, blkno, bit, loc, .. } = block;
        let bit = u32::from(bit);
        let wrong = |expected: String| {
            Error::from(Invalid::new(structure, blkno, "suballoc_bit", bit, expected))
        };
        let group = match loc.is_none() {
            false => loc,
            true => Blkno(blkno.0.checked_sub(bit.into()).ok_or_else(|| wrong("less".into()))?),
        };
        let cleared = self.change(pool, group, false, |group| match group.bit_of_block(blkno) {
            // The first one is the descriptor's own.
            Some(own) if own == bit && bit > 0 => Ok(bit..bit + 1),
            Some(own) => Err(wrong(own.to_string())),
            None => Err(wrong(format!("one of group {}", group.blkno))),
        });
        cleared.map(|_| ())
    }

    fn pool(&mut self, pool: Pool) -> Result<&mut Changing, Error> {
        Ok(match self.pools.entry(pool) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Changing::new(self.volume, pool)?),
        })
    }

    /// Sets or clears bits of a group.
    fn change(
        &mut self,
        pool: Pool,
        group: Blkno,
        set: bool,
        bits: impl FnOnce(&Group) -> Result<Range<u32>, Error>,
    ) -> Result<&Group, Error> {
        let volume = self.volume;
        let Changing { allocator, groups, freed } = self.pool(pool)?;
        let group = match groups.entry(group) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let group = *entry.key();
                entry.insert(volume.group_at(allocator, group)?)
            }
        };
        let bits = bits(group)?;
        let changed = group.change(bits, set)?;
        if let Some(chain) = allocator.chains.get_mut(usize::from(group.chain)) {
            let free = i64::from(chain.c_free) + changed;
            chain.c_free = free.clamp(0, chain.c_total.into()) as u32;
        }
        *freed += changed;
        Ok(group)
    }

    /// Writes what has changed.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write(self) -> Result<(), Error> {
        let volume = self.volume;
        for Changing { allocator, groups, freed } in self.pools.into_values() {
            for group in groups.values() {
                volume.write_metadata(group.blkno, group.block(), GroupDesc::CHECK_OFFSET)?;
            }
            let mut dinode = allocator.inode.dinode.clone();
            let (used, total) = dinode.bitmap();
            let used = (i64::from(used) - freed).clamp(0, total.into());
            dinode.set_bitmap(used as u32, total);
            let mut block = allocator.inode.block().to_vec();
            let list = block.get_mut(Dinode::ID2_OFFSET..).unwrap_or_default();
            allocator.header.encode(list).map_err(Error::truncated(dinode.i_blkno))?;
            let records = list.get_mut(ChainListHeader::SIZE..);
            let records = records.unwrap_or_default().chunks_exact_mut(ChainRec::SIZE);
            for (record, bytes) in allocator.chains.iter().zip(records) {
                record.encode(bytes).map_err(Error::truncated(dinode.i_blkno))?;
            }
            volume.write_dinode(&dinode, block)?;
        }
        Ok(())
    }
}

impl Changing {
    fn new(volume: &Volume, pool: Pool) -> Result<Self, Error> {
        let allocator = match pool {
            Pool::Clusters => volume.global_bitmap()?,
            Pool::Inodes(Dinode::GLOBAL_SLOT) => {
                volume.allocator(volume.system_file("global_inode_alloc")?)?
            }
            Pool::Inodes(slot) => volume.allocator(volume.slot_file("inode_alloc", slot)?)?,
            Pool::Blocks(slot) => volume.allocator(volume.slot_file("extent_alloc", slot)?)?,
        };
        Ok(Self { allocator, groups: BTreeMap::new(), freed: 0 })
    }
}
