//! What a crashed node had not yet told the global bitmap: clusters its local alloc had
//! reserved and not handed out, and clusters its truncate log was to free.

use std::collections::BTreeMap;
use std::ops::Range;

use ocfs2_format::chain::{ChainListHeader, ChainRec};
use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::feature::Incompat;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::local_alloc::LocalAlloc;
use ocfs2_format::truncate_log::{TruncateLog, TruncateLogHeader};
use ocfs2_format::{Blkno, Cluster, Structure, check};

use crate::{Device, Error, Inode, Volume};

/// Clusters that are set in the global bitmap for a slot and belong to nobody.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Leftovers {
    /// Reserved by the local alloc and not handed out.
    pub local_alloc: Vec<Range<u32>>,
    /// Freed by files, and recorded in the truncate log.
    pub truncate_log: Vec<Range<u32>>,
}

impl Leftovers {
    /// Clusters of both.
    pub fn clusters(&self) -> u64 {
        let runs = self.local_alloc.iter().chain(&self.truncate_log);
        runs.map(|run| u64::from(run.end - run.start)).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.local_alloc.is_empty() && self.truncate_log.is_empty()
    }
}

/// Leftovers that can not be given back.
#[derive(Debug, thiserror::Error)]
pub enum SlotRecoveryError {
    /// Something of the volume can not be had, or is wrong.
    #[error(transparent)]
    Volume(#[from] Error),
    /// The device can not be written.
    #[error("block {blkno}: could not be written: {source}")]
    Write {
        /// The block.
        blkno: Blkno,
        /// What the device said.
        source: std::io::Error,
    },
}

impl Volume {
    /// What local alloc and truncate log of a slot hold, once its journal was replayed.
    ///
    /// # Errors
    /// [`Error::Invalid`] where they name clusters the volume does not have; any of reading.
    pub fn leftovers(&self, slot: u16) -> Result<Leftovers, Error> {
        Ok(Leftovers {
            local_alloc: self.unused_window(&self.local_alloc(slot)?)?,
            truncate_log: self.truncate_records(&self.truncate_log(slot)?)?,
        })
    }

    fn system_file_with(&self, name: &str, slot: u16, flag: InodeFlags) -> Result<Inode, Error> {
        let inode = self.slot_file(name, slot)?;
        if inode.dinode.flags().contains(flag) {
            return Ok(inode);
        }
        let found = format!("{:#x}", inode.dinode.i_flags);
        Err(inode.invalid("i_flags", found, format!("with {:#x}", flag.bits())))
    }

    fn local_alloc(&self, slot: u16) -> Result<Inode, Error> {
        self.system_file_with("local_alloc", slot, InodeFlags::LOCAL_ALLOC)
    }

    fn truncate_log(&self, slot: u16) -> Result<Inode, Error> {
        self.system_file_with("truncate_log", slot, InodeFlags::DEALLOC)
    }

    fn unused_window(&self, inode: &Inode) -> Result<Vec<Range<u32>>, Error> {
        let wrong = Error::truncated(inode.blkno);
        let header = LocalAlloc::decode(inode.id2()).map_err(wrong)?;
        let counts = inode.dinode.bitmap();
        header.verify(inode.blkno, self.block_size(), counts, self.geometry().clusters)?;
        let bitmap = LocalAlloc::bitmap(inode.id2(), counts.1);
        let bitmap = bitmap.map_err(Error::truncated(inode.blkno))?;
        let at = |bit: usize| header.la_bm_off + bit as u32;
        Ok(bitmap.runs(false).map(|run| at(run.start)..at(run.end)).collect())
    }

    fn truncate_records(&self, inode: &Inode) -> Result<Vec<Range<u32>>, Error> {
        let log = TruncateLog::new(inode.id2()).map_err(Error::truncated(inode.blkno))?;
        log.verify(inode.blkno, self.block_size(), self.geometry().clusters)?;
        let records = log.records().filter(|record| record.t_start != 0);
        Ok(records.map(|record| record.t_start..record.t_start + record.t_clusters).collect())
    }

    /// Gives the leftovers of a slot back to the global bitmap on `device`, the one this
    /// volume is read from or an overlay it is read through, and then resets local alloc
    /// and truncate log. Says what they were.
    ///
    /// The bitmap comes first: interrupted, the same clusters are freed once more.
    ///
    /// # Errors
    /// As [`Volume::leftovers`], or a block can not be written.
    pub fn recover_allocations(
        &self,
        device: &dyn Device,
        slot: u16,
    ) -> Result<Leftovers, SlotRecoveryError> {
        let leftovers = self.leftovers(slot)?;
        if !leftovers.is_empty() {
            let mut freeing = Freeing::new(self)?;
            for run in leftovers.local_alloc.iter().chain(&leftovers.truncate_log) {
                freeing.free(run.clone())?;
            }
            freeing.write(device)?;
        }
        self.reset_local_alloc(device, self.local_alloc(slot)?)?;
        self.reset_truncate_log(device, self.truncate_log(slot)?)?;
        Ok(leftovers)
    }

    fn reset_local_alloc(
        &self,
        device: &dyn Device,
        inode: Inode,
    ) -> Result<(), SlotRecoveryError> {
        if inode.dinode.bitmap() == (0, 0) {
            return Ok(());
        }
        let mut dinode = inode.dinode.clone();
        dinode.set_bitmap(0, 0);
        let mut block = inode.block().to_vec();
        let id2 = &mut block[Dinode::ID2_OFFSET..];
        let wrong = |source| Error::Truncated { blkno: inode.blkno, source };
        let header = LocalAlloc { la_bm_off: 0, ..LocalAlloc::decode(id2).map_err(wrong)? };
        header.encode(id2).map_err(wrong)?;
        id2[LocalAlloc::SIZE..].fill(0);
        self.write_dinode(device, &dinode, block)
    }

    fn reset_truncate_log(
        &self,
        device: &dyn Device,
        inode: Inode,
    ) -> Result<(), SlotRecoveryError> {
        let mut block = inode.block().to_vec();
        let id2 = &mut block[Dinode::ID2_OFFSET..];
        let wrong = |source| Error::Truncated { blkno: inode.blkno, source };
        let header = TruncateLogHeader::decode(id2).map_err(wrong)?;
        if header.tl_used == 0 {
            return Ok(());
        }
        TruncateLogHeader { tl_used: 0, ..header }.encode(id2).map_err(wrong)?;
        id2[TruncateLogHeader::SIZE..].fill(0);
        self.write_dinode(device, &inode.dinode, block)
    }

    fn write_dinode(
        &self,
        device: &dyn Device,
        dinode: &Dinode,
        mut block: Vec<u8>,
    ) -> Result<(), SlotRecoveryError> {
        let blkno = dinode.i_blkno;
        let encoded = dinode.encode(&mut block);
        encoded.map_err(|source| Error::Truncated { blkno, source })?;
        self.write_checked(device, blkno, block, Dinode::CHECK_OFFSET)
    }

    /// Writes a block of metadata with its block check, where the volume has them.
    fn write_checked(
        &self,
        device: &dyn Device,
        blkno: Blkno,
        mut block: Vec<u8>,
        check_offset: usize,
    ) -> Result<(), SlotRecoveryError> {
        if self.has(Incompat::META_ECC) {
            check::stamp(&mut block, check_offset);
        }
        let offset = blkno.offset_bytes(self.block_size()).unwrap_or(u64::MAX);
        let written = device.write_at(&block, offset);
        written.map_err(|source| SlotRecoveryError::Write { blkno, source })
    }
}

/// The global bitmap while clusters of it are freed.
struct Freeing<'v> {
    volume: &'v Volume,
    inode: Inode,
    chains: Vec<ChainRec>,
    groups: BTreeMap<u32, (GroupDesc, Vec<u8>)>,
    freed: u32,
}

impl<'v> Freeing<'v> {
    fn new(volume: &'v Volume) -> Result<Self, Error> {
        let allocator = volume.global_bitmap()?;
        Ok(Self {
            volume,
            inode: allocator.inode,
            chains: allocator.chains,
            groups: BTreeMap::new(),
            freed: 0,
        })
    }

    /// Clears the bits of a run; those that are clear already stay so.
    fn free(&mut self, run: Range<u32>) -> Result<(), Error> {
        let geometry = *self.volume.geometry();
        let mut start = run.start;
        while start < run.end {
            let (index, bit) = geometry.group_of(Cluster(start));
            let count = (run.end - start).min(geometry.group_clusters(index) - bit);
            if let std::collections::btree_map::Entry::Vacant(entry) = self.groups.entry(index) {
                entry.insert(self.volume.cluster_group(self.inode.blkno, index)?);
            }
            if let Some((desc, block)) = self.groups.get_mut(&index) {
                let wrong = |source| Error::Truncated { blkno: desc.bg_blkno, source };
                let mut bitmap = desc.bitmap_mut(block).map_err(wrong)?;
                let before = bitmap.as_ref().count_ones();
                bitmap.clear_range(bit as usize, count as usize);
                let freed = (before - bitmap.as_ref().count_ones()) as u16;
                let free = desc.bg_free_bits_count.saturating_add(freed).min(desc.bg_bits);
                desc.bg_free_bits_count = free;
                // A hint that is right only until something is freed; 0 is "not known".
                desc.bg_contig_free_bits = 0;
                if let Some(chain) = self.chains.get_mut(usize::from(desc.bg_chain)) {
                    chain.c_free = chain.c_free.saturating_add(freed.into());
                }
                self.freed += u32::from(freed);
            }
            start += count;
        }
        Ok(())
    }

    fn write(self, device: &dyn Device) -> Result<(), SlotRecoveryError> {
        for (desc, mut block) in self.groups.into_values() {
            let blkno = desc.bg_blkno;
            let encoded = desc.encode(&mut block);
            encoded.map_err(|source| Error::Truncated { blkno, source })?;
            self.volume.write_checked(device, blkno, block, GroupDesc::CHECK_OFFSET)?;
        }
        let mut dinode = self.inode.dinode.clone();
        let (used, total) = dinode.bitmap();
        dinode.set_bitmap(used.saturating_sub(self.freed), total);
        let mut block = self.inode.block().to_vec();
        let records = &mut block[Dinode::ID2_OFFSET + ChainListHeader::SIZE..];
        for (record, bytes) in self.chains.iter().zip(records.chunks_exact_mut(ChainRec::SIZE)) {
            let encoded = record.encode(bytes);
            encoded.map_err(|source| Error::Truncated { blkno: dinode.i_blkno, source })?;
        }
        self.volume.write_dinode(device, &dinode, block)?;
        let blkno = self.inode.blkno;
        device.flush().map_err(|source| SlotRecoveryError::Write { blkno, source })
    }
}

impl Volume {
    /// The descriptor of group `index` of the global bitmap, and its block.
    fn cluster_group(&self, parent: Blkno, index: u32) -> Result<(GroupDesc, Vec<u8>), Error> {
        let blkno = self.geometry().group_blkno(index);
        let block = self.read_metadata(GroupDesc::NAME, blkno, GroupDesc::CHECK_OFFSET)?;
        let desc = GroupDesc::decode(&block).map_err(Error::truncated(blkno))?;
        desc.verify(blkno, self.generation(), parent, self.block_size())?;
        Ok((desc, block))
    }
}
