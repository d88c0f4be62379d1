//! Giving clusters and blocks back to the allocators they came from.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

use ocfs2_format::chain::{ChainListHeader, ChainRec};
use ocfs2_format::dinode::Dinode;
use ocfs2_format::dx::DxRoot;
use ocfs2_format::extent::ExtentBlock;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::refcount::RefcountBlock;
use ocfs2_format::xattr::XattrBlock;
use ocfs2_format::{Blkno, Cluster, Invalid, Structure};

use crate::allocator::{Allocator, Group};
use crate::{Error, Volume};

/// A block of metadata with where it came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Suballocated {
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

/// An allocator.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Pool {
    Clusters,
    Inodes(u16),
    Blocks(u16),
}

/// Allocators while parts of them are freed.
pub(super) struct Freeing<'v> {
    volume: &'v Volume,
    pools: BTreeMap<Pool, Changing>,
}

struct Changing {
    allocator: Allocator,
    groups: BTreeMap<Blkno, Group>,
    freed: u32,
}

impl<'v> Freeing<'v> {
    pub fn new(volume: &'v Volume) -> Self {
        Self { volume, pools: BTreeMap::new() }
    }

    /// Clears the bits of a run of clusters; those that are clear already stay so.
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
            self.clear(Pool::Clusters, geometry.group_blkno(index), |_| Ok(bit..bit + count))?;
            start += count;
        }
        Ok(())
    }

    /// Frees a block that came from an `extent_alloc`.
    pub fn block(&mut self, block: Suballocated) -> Result<(), Error> {
        self.suballocated(Pool::Blocks(block.slot), block)
    }

    /// Frees a dinode.
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
        self.clear(pool, group, |group| match group.bit_of_block(blkno) {
            // The first one is the descriptor's own.
            Some(own) if own == bit && bit > 0 => Ok(bit..bit + 1),
            Some(own) => Err(wrong(own.to_string())),
            None => Err(wrong(format!("one of group {}", group.blkno))),
        })
    }

    fn clear(
        &mut self,
        pool: Pool,
        group: Blkno,
        bits: impl FnOnce(&Group) -> Result<Range<u32>, Error>,
    ) -> Result<(), Error> {
        let volume = self.volume;
        let Changing { allocator, groups, freed } = match self.pools.entry(pool) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Changing::new(volume, pool)?),
        };
        let group = match groups.entry(group) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let group = *entry.key();
                entry.insert(volume.group_at(allocator, group)?)
            }
        };
        let bits = bits(group)?;
        let cleared = group.clear(bits)?;
        if let Some(chain) = allocator.chains.get_mut(usize::from(group.chain)) {
            chain.c_free = chain.c_free.saturating_add(cleared.into()).min(chain.c_total);
        }
        *freed = freed.saturating_add(cleared.into());
        Ok(())
    }

    /// Writes what has changed.
    pub fn write(self) -> Result<(), Error> {
        let volume = self.volume;
        for Changing { allocator, groups, freed } in self.pools.into_values() {
            for group in groups.values() {
                volume.write_metadata(group.blkno, group.block(), GroupDesc::CHECK_OFFSET)?;
            }
            let mut dinode = allocator.inode.dinode.clone();
            let (used, total) = dinode.bitmap();
            dinode.set_bitmap(used.saturating_sub(freed), total);
            let mut block = allocator.inode.block().to_vec();
            let records = block.get_mut(Dinode::ID2_OFFSET + ChainListHeader::SIZE..);
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
