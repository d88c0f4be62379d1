//! Growth of a volume: more clusters at its end.
//!
//! The groups of the new part, and the backups of the superblock in it, are outside the volume
//! until the transaction is made: they are written before it, when nothing points to them yet. The
//! transaction changes the group that was the last one and the inode of the global bitmap. The
//! superblock, which states the size of the volume, follows.

use std::ops::Range;

use ocfs2_format::chain::{ChainListHeader, ChainRec};
use ocfs2_format::dinode::Dinode;
use ocfs2_format::feature::Incompat;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::{Blkno, Block, Cluster, Structure};

use super::{Edit, EditError};
use crate::allocator::Allocator;
use crate::{Error, InBlock, Volume};
use ocfs2_device::Device;

/// The new part of a volume.
#[derive(Debug)]
pub struct Growth {
    /// The volume with its new size.
    volume: Volume,
    allocator: Allocator,
    /// The groups that are new, by number.
    groups: Range<u32>,
    /// The chain of the first of them.
    chain: u32,
    /// The blocks that are new.
    blocks: Range<u64>,
}

impl Edit {
    /// Grows the volume to `clusters` clusters, more than it has, on a device that is large enough.
    /// This has to be alone in its transaction, and [`Growth::write`] has to come before the
    /// commit.
    ///
    /// # Errors
    /// [`EditError::Refused`] for fewer clusters, and for a volume whose groups have fewer bits
    /// than they could have; the global bitmap is damaged.
    pub fn grow(&mut self, clusters: u32) -> Result<Growth, EditError> {
        self.attempt(|edit| {
            let old = *edit.geometry();
            if clusters <= old.clusters {
                let text = format!("the volume has {} clusters already", old.clusters);
                return Err(EditError::Refused(text));
            }
            let mut allocator = edit.global_bitmap()?;
            let last = old.groups().saturating_sub(1);
            let group = edit.group_at(&allocator, old.group_blkno(last))?;
            let per_group = old.clusters_per_group();
            if u32::from(allocator.header.cl_cpg) != per_group {
                if old.groups() > 1 {
                    let cpg = allocator.header.cl_cpg;
                    let text = format!("groups have {cpg} clusters instead of {per_group}");
                    return Err(EditError::Refused(text));
                }
                allocator.header.cl_cpg = per_group as u16;
            }
            let mut found = edit.volume.found_superblock().clone();
            found.dinode.i_clusters = clusters;
            edit.volume = edit.volume.with_superblock(found).with_clusters(clusters);
            let geometry = *edit.geometry();
            let growth = Growth {
                chain: u32::from(group.chain) + 1,
                groups: last + 1..geometry.groups(),
                blocks: old.blocks()..geometry.blocks(),
                allocator: allocator.clone(),
                volume: edit.volume.on(edit.volume.device().clone()),
            };
            // What the last group gains.
            let (mut desc, mut block) = (group.desc.clone(), group.block().to_vec());
            let (before, after) = (desc.bg_bits, geometry.group_clusters(last) as u16);
            desc.bg_bits = after;
            let backups: Vec<u32> =
                backups_in(&growth.volume, last, growth.blocks.clone()).collect();
            let added = after.saturating_sub(before);
            let mut bitmap = desc.bitmap_mut(&mut block).in_block(group.blkno)?;
            bitmap.clear_range(before.into(), added.into());
            backups.iter().for_each(|bit| bitmap.set_range(*bit as usize, 1));
            let free = added.saturating_sub(backups.len() as u16);
            desc.bg_free_bits_count = desc.bg_free_bits_count.saturating_add(free);
            desc.bg_contig_free_bits = 0;
            edit.volume.write(group.blkno, &desc, block)?;
            let mut used = backups.len() as u32;
            if let Some(chain) = allocator.chains.get_mut(usize::from(group.chain)) {
                chain.c_total = chain.c_total.saturating_add(added.into());
                chain.c_free = chain.c_free.saturating_add(free.into());
            }
            for index in growth.groups.clone() {
                let group = growth.group(index);
                let chain = usize::from(group.chain);
                if chain >= allocator.chains.len() {
                    allocator.chains.resize(chain + 1, ChainRec::default());
                }
                if let Some(record) = allocator.chains.get_mut(chain) {
                    record.c_blkno = group.blkno;
                    record.c_total = record.c_total.saturating_add(group.clusters.into());
                    record.c_free = record.c_free.saturating_add(group.free().into());
                }
                used += u32::from(group.clusters - group.free());
            }
            edit.write_global_bitmap(&allocator, (used, clusters))?;
            edit.write_superblocks(old.blocks())?;
            Ok(growth)
        })
    }

    /// Writes the chains of the global bitmap and the size of the volume; `used` more bits of
    /// `total` are set.
    fn write_global_bitmap(
        &mut self,
        allocator: &Allocator,
        (used, total): (u32, u32),
    ) -> Result<(), EditError> {
        let bits = self.geometry().cluster_size.bits();
        let mut header = allocator.header;
        header.cl_next_free_rec = allocator.chains.len() as u16;
        let mut encoded = Ok(());
        let blkno = allocator.inode.blkno;
        self.update_dinode(blkno, |dinode, id2| {
            dinode.set_bitmap(dinode.bitmap().0.saturating_add(used), total);
            dinode.i_clusters = total;
            dinode.i_size = u64::from(total) << bits;
            encoded = header.encode(id2).and_then(|()| {
                let records = id2.get_mut(ChainListHeader::SIZE..).unwrap_or_default();
                let mut places = records.chunks_exact_mut(ChainRec::SIZE);
                let mut pairs = allocator.chains.iter().zip(&mut places);
                pairs.try_for_each(|(record, place)| record.encode(place))
            });
        })?;
        Ok(encoded.in_block(blkno)?)
    }
}

impl Growth {
    /// Number of new groups.
    pub fn groups(&self) -> u32 {
        self.groups.end - self.groups.start
    }

    /// A new group.
    fn group(&self, index: u32) -> NewGroup {
        let chains = u32::from(self.allocator.header.cl_count).max(1);
        let chain = (self.chain + (index - self.groups.start)) % chains;
        NewGroup::new(&self.volume, self.allocator.inode.blkno, index, chain as u16)
    }

    /// Writes the new groups and backups to `device` and flushes it.
    ///
    /// # Errors
    /// [`EditError::Volume`]: it cannot be written; the volume is as before.
    pub fn write(&self, device: &dyn Device) -> Result<(), EditError> {
        let chains = u32::from(self.allocator.header.cl_count).max(1);
        for index in self.groups.clone() {
            let group = self.group(index);
            // The head of the chain so far: another new group, or the old head.
            let before = index.checked_sub(chains).filter(|before| self.groups.contains(before));
            let heads = &self.allocator.chains;
            let head = || heads.get(usize::from(group.chain)).map(|record| record.c_blkno);
            let next =
                before.map(|before| self.volume.geometry().group_blkno(before)).or_else(head);
            group.write(&self.volume, next.unwrap_or_default(), device)?;
        }
        for blkno in self.volume.backups_within(self.blocks.clone()) {
            let found = self.volume.superblock_of(self.volume.superblock(), blkno)?;
            zero_cluster_of(&self.volume, device, blkno)?;
            put::<Dinode>(&self.volume, device, blkno, found.block)?;
        }
        let blkno = Blkno(self.blocks.start);
        Ok(device.flush().map_err(|source| Error::Write { blkno, source })?)
    }
}

/// A group of clusters behind the end of a volume, before it becomes a part of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewGroup {
    /// The block of its descriptor.
    pub blkno: Blkno,
    /// The chain that it becomes a part of.
    pub chain: u16,
    /// Number of its clusters.
    pub clusters: u16,
    /// The clusters of its descriptor and of backups of the superblock.
    taken: Vec<u32>,
    /// The inode of the global bitmap.
    bitmap: Blkno,
}

impl NewGroup {
    /// Group number `index` of `volume`, which has its new size already.
    fn new(volume: &Volume, bitmap: Blkno, index: u32, chain: u16) -> Self {
        let geometry = volume.geometry();
        let clusters = geometry.group_clusters(index) as u16;
        let mut taken = vec![0];
        taken.extend(backups_in(volume, index, 0..geometry.blocks()));
        taken.dedup();
        Self { blkno: geometry.group_blkno(index), chain, clusters, taken, bitmap }
    }

    /// The group after group number `last`, which is on the disk. `volume` is the volume with its
    /// new size.
    ///
    /// # Errors
    /// The descriptor of that group, or the inode of the global bitmap, is damaged.
    pub fn after(volume: &Volume, last: u32) -> Result<Self, Error> {
        let allocator = volume.global_bitmap()?;
        let chains = allocator.header.cl_count.max(1);
        let (desc, _) = volume.read::<GroupDesc>(volume.geometry().group_blkno(last))?;
        let chain = desc.bg_chain.saturating_add(1) % chains;
        Ok(Self::new(volume, allocator.inode.blkno, last + 1, chain))
    }

    /// Number of its clusters that are free.
    pub fn free(&self) -> u16 {
        self.clusters.saturating_sub(self.taken.len() as u16)
    }

    /// Writes its descriptor, with `next` as the group after it in its chain. `volume` is the one it
    /// becomes a part of. The rest of that cluster is never used and stays as it is.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, volume: &Volume, next: Blkno, device: &dyn Device) -> Result<(), Error> {
        let desc = GroupDesc {
            bg_signature: GroupDesc::SIGNATURE,
            bg_size: GroupDesc::bitmap_size(volume.block_size()),
            bg_bits: self.clusters,
            bg_free_bits_count: self.free(),
            bg_chain: self.chain,
            bg_generation: volume.generation(),
            bg_next_group: next,
            bg_parent_dinode: self.bitmap,
            bg_blkno: self.blkno,
            ..GroupDesc::default()
        };
        let mut block = vec![0; volume.block_size().size()];
        desc.encode(&mut block).in_block(self.blkno)?;
        let mut bitmap = desc.bitmap_mut(&mut block).in_block(self.blkno)?;
        self.taken.iter().for_each(|bit| bitmap.set_range(*bit as usize, 1));
        put::<GroupDesc>(volume, device, self.blkno, block)
    }
}

/// The bits of group number `index` for the backups of the superblock that are in these blocks.
fn backups_in(volume: &Volume, index: u32, blocks: Range<u64>) -> impl Iterator<Item = u32> {
    let geometry = *volume.geometry();
    let clusters = volume.backups_within(blocks);
    let clusters = clusters.filter_map(move |blkno| geometry.cluster_of(blkno));
    let places = clusters.map(move |cluster| geometry.group_of(cluster));
    places.filter(move |(group, _)| *group == index).map(|(_, bit)| bit)
}

/// Zeroes the cluster of a block: whoever looks for backups of the superblock finds nothing else.
fn zero_cluster_of(volume: &Volume, device: &dyn Device, blkno: Blkno) -> Result<(), Error> {
    let geometry = volume.geometry();
    let start = geometry.block_of(geometry.cluster_of(blkno).unwrap_or(Cluster(0)));
    let offset = start.offset_bytes(geometry.block_size).unwrap_or(u64::MAX);
    let zeroed = device.zero(offset, geometry.cluster_size.bytes().into());
    zeroed.map_err(|source| Error::Write { blkno, source })
}

/// Writes a block of metadata.
fn put<T: Block>(
    volume: &Volume,
    device: &dyn Device,
    blkno: Blkno,
    mut block: Vec<u8>,
) -> Result<(), Error> {
    let offset = blkno.offset_bytes(volume.block_size()).unwrap_or(u64::MAX);
    if volume.has(Incompat::META_ECC) {
        T::stamp(&mut block);
    }
    device.write_at(&block, offset).map_err(|source| Error::Write { blkno, source })
}
