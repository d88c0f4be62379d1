//! Groups that leave an allocator: for another one, or for good.

use std::collections::BTreeMap;

use ocfs2_format::chain::ChainRec;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::{Blkno, Cluster, Invalid, Structure};

use super::{Cached, Changing, Pool, Pools};
use crate::allocator::{Allocator, Group};
use crate::{Error, Volume};

impl Group {
    /// Whether any of its blocks is in cluster `limit` or after it.
    pub(crate) fn reaches(&self, volume: &Volume, limit: u32) -> bool {
        let end = u64::from(limit) << volume.geometry().bpc_bits();
        self.runs.iter().any(|run| run.blkno.0.saturating_add(run.bits.into()) > end)
    }
}

impl Pools {
    /// Takes the first group of the last chain out of a suballocator; `None` if it has no groups.
    /// Its clusters stay taken.
    pub fn take_last_group(&mut self, volume: &Volume, pool: Pool) -> Result<Option<Group>, Error> {
        let changing = self.pool(volume, pool)?;
        // Chains are followed on the volume.
        changing.write(volume)?;
        let allocator = &mut changing.allocator;
        while allocator.chains.pop_if(|chain| chain.c_blkno.is_none()).is_some() {}
        let Some(record) = allocator.chains.last_mut() else { return Ok(None) };
        let first = record.c_blkno;
        let group = volume.group_at(&changing.allocator, first)?;
        let allocator = &mut changing.allocator;
        if let Some(record) = allocator.chains.last_mut() {
            record.c_blkno = group.desc.bg_next_group;
            shorten(record, &group);
        }
        allocator.chains.pop_if(|chain| chain.c_blkno.is_none());
        allocator.uncount(volume, &group);
        changing.forget(group.blkno);
        Ok(Some(group))
    }

    /// Gives a suballocator a group that another one had. Returns false if it has no chain for it.
    pub fn put_group(
        &mut self,
        volume: &Volume,
        pool: Pool,
        mut group: Group,
    ) -> Result<bool, Error> {
        let changing = self.pool(volume, pool)?;
        let Some(chain) = changing.allocator.chain_for_group() else { return Ok(false) };
        changing.allocator.attach(volume, chain, &mut group);
        changing.is_changed = true;
        changing.groups.insert(group.blkno, Cached { group, is_changed: true });
        Ok(true)
    }

    /// Takes all groups that `goes` chooses out of an allocator, and returns how many those were.
    pub fn drop_groups<E: From<Error>>(
        &mut self,
        volume: &Volume,
        pool: Pool,
        goes: &mut dyn FnMut(&Group) -> Result<bool, E>,
    ) -> Result<usize, E> {
        let changing = self.pool(volume, pool)?;
        changing.write(volume)?;
        let (mut kept, mut gone) = (BTreeMap::<usize, Vec<(Blkno, Blkno)>>::new(), Vec::new());
        for group in volume.groups(&changing.allocator) {
            let group = group?;
            let chain = usize::from(group.chain);
            if goes(&group)? {
                if let Some(record) = changing.allocator.chains.get_mut(chain) {
                    shorten(record, &group);
                }
                changing.allocator.uncount(volume, &group);
                gone.push(group.blkno);
            } else {
                let link = (group.blkno, group.desc.bg_next_group);
                kept.entry(chain).or_default().push(link);
            }
        }
        if gone.is_empty() {
            return Ok(0);
        }
        gone.iter().for_each(|blkno| changing.forget(*blkno));
        for (chain, links) in &kept {
            if let (Some(record), Some((first, _))) =
                (changing.allocator.chains.get_mut(*chain), links.first())
            {
                record.c_blkno = *first;
            }
            let following = links.iter().skip(1).map(|(blkno, _)| *blkno).chain([Blkno(0)]);
            for ((blkno, next), follows) in links.iter().zip(following) {
                if *next != follows {
                    let cached = changing.group(volume, *blkno)?;
                    cached.group.desc.bg_next_group = follows;
                    cached.is_changed = true;
                }
            }
        }
        changing.close_gaps(volume, &mut kept)?;
        Ok(gone.len())
    }

    /// Takes the clusters from `end` on out of the last group of the global bitmap, which has them.
    /// None of them may be in use.
    pub fn cut_last_group(&mut self, volume: &Volume, end: u32) -> Result<(), Error> {
        let geometry = *volume.geometry();
        let changing = self.pool(volume, Pool::Clusters)?;
        let (index, last) = geometry.group_of(Cluster(end.saturating_sub(1)));
        let (blkno, bits) = (geometry.group_blkno(index), last + 1);
        let cached = changing.group(volume, blkno)?;
        let group = &mut cached.group;
        let had = u32::from(group.desc.bg_bits);
        if let Some(bit) = group.bitmap().next(true, bits as usize) {
            let found = format!("bit {bit} set");
            return Err(Invalid::new(GroupDesc::NAME, blkno, "bitmap", found, "clear").into());
        }
        let fewer = had.saturating_sub(bits);
        group.desc.bg_bits = bits as u16;
        group.desc.bg_free_bits_count = group.desc.bg_free_bits_count.saturating_sub(fewer as u16);
        group.desc.bg_contig_free_bits = 0;
        cached.is_changed = true;
        let chain = usize::from(cached.group.chain);
        if let Some(record) = changing.allocator.chains.get_mut(chain) {
            record.c_total = record.c_total.saturating_sub(fewer);
            record.c_free = record.c_free.saturating_sub(fewer);
        }
        let bits = geometry.cluster_size.bits();
        let dinode = &mut changing.allocator.inode.dinode;
        let (used, _) = dinode.bitmap();
        dinode.set_bitmap(used, end);
        (dinode.i_clusters, dinode.i_size) = (end, u64::from(end) << bits);
        changing.is_changed = true;
        Ok(())
    }
}

impl Changing {
    /// Drops what is remembered of a group that is no longer one of the allocator's.
    fn forget(&mut self, group: Blkno) {
        self.groups.remove(&group);
        self.cursor = self.cursor.filter(|cursor| *cursor != group);
        self.allocator.header.cl_next_free_rec = self.allocator.chains.len() as u16;
        self.is_changed = true;
    }

    /// Moves the last chains to the places of those that have no groups: no chain before the last
    /// may be empty.
    fn close_gaps(
        &mut self,
        volume: &Volume,
        kept: &mut BTreeMap<usize, Vec<(Blkno, Blkno)>>,
    ) -> Result<(), Error> {
        let mut at = 0;
        while at < self.allocator.chains.len() {
            if kept.contains_key(&at) {
                at += 1;
                continue;
            }
            let last = self.allocator.chains.len() - 1;
            let links = kept.remove(&last).unwrap_or_default();
            self.allocator.chains.swap_remove(at);
            for (blkno, _) in &links {
                let cached = self.group(volume, *blkno)?;
                (cached.group.chain, cached.group.desc.bg_chain) = (at as u16, at as u16);
                cached.is_changed = true;
            }
            if !links.is_empty() {
                kept.insert(at, links);
            }
        }
        self.allocator.header.cl_next_free_rec = self.allocator.chains.len() as u16;
        Ok(())
    }
}

fn shorten(record: &mut ChainRec, group: &Group) {
    record.c_total = record.c_total.saturating_sub(group.desc.bg_bits.into());
    record.c_free = record.c_free.saturating_sub(group.desc.bg_free_bits_count.into());
}

impl Allocator {
    /// Puts a group at the head of a chain, and counts it.
    pub(super) fn attach(&mut self, volume: &Volume, chain: usize, group: &mut Group) {
        let desc = &mut group.desc;
        (group.chain, desc.bg_chain) = (chain as u16, chain as u16);
        desc.bg_parent_dinode = self.inode.blkno;
        let (bits, free) = (u32::from(desc.bg_bits), u32::from(desc.bg_free_bits_count));
        if let Some(record) = self.chains.get_mut(chain) {
            desc.bg_next_group = std::mem::replace(&mut record.c_blkno, group.blkno);
            record.c_total = record.c_total.saturating_add(bits);
            record.c_free = record.c_free.saturating_add(free);
        }
        let dinode = &mut self.inode.dinode;
        let (used, total) = dinode.bitmap();
        dinode.set_bitmap(used.saturating_add(bits - free.min(bits)), total.saturating_add(bits));
        let clusters = bits / u32::from(self.header.cl_bpc).max(1);
        dinode.i_clusters = dinode.i_clusters.saturating_add(clusters);
        let bytes = u64::from(clusters) << volume.geometry().cluster_size.bits();
        dinode.i_size = dinode.i_size.saturating_add(bytes);
    }

    /// Takes a group that leaves from what the inode counts.
    fn uncount(&mut self, volume: &Volume, group: &Group) {
        let (bits, free) =
            (u32::from(group.desc.bg_bits), u32::from(group.desc.bg_free_bits_count));
        let dinode = &mut self.inode.dinode;
        let (used, total) = dinode.bitmap();
        dinode.set_bitmap(used.saturating_sub(bits - free.min(bits)), total.saturating_sub(bits));
        let clusters = bits / u32::from(self.header.cl_bpc).max(1);
        dinode.i_clusters = dinode.i_clusters.saturating_sub(clusters);
        let bytes = u64::from(clusters) << volume.geometry().cluster_size.bits();
        dinode.i_size = dinode.i_size.saturating_sub(bytes);
    }
}
