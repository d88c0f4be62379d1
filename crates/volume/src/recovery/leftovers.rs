//! What a crashed node had not yet told the global bitmap: clusters its local alloc had
//! reserved and not handed out, and clusters its truncate log was to free.

use std::ops::Range;

use ocfs2_format::Structure;
use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::local_alloc::LocalAlloc;
use ocfs2_format::truncate_log::{TruncateLog, TruncateLogHeader};

use crate::allocator::Space;
use crate::{Error, Inode, Volume};

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

    /// Whether the local alloc of a slot counts the bits that are set in it: as all do that a
    /// kernel has left.
    ///
    /// # Errors
    /// As [`Volume::leftovers`].
    pub fn local_alloc_is_counted(&self, slot: u16) -> Result<bool, Error> {
        let inode = self.local_alloc(slot)?;
        let (used, total) = inode.dinode.bitmap();
        let bitmap = LocalAlloc::bitmap(inode.id2(), total);
        let bitmap = bitmap.map_err(Error::truncated(inode.blkno))?;
        Ok(bitmap.count_ones() == used as usize)
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

    /// Gives the leftovers of a slot back to the global bitmap and resets local alloc and
    /// truncate log, on the device of this volume. Says what they were.
    pub(super) fn give_back(&self, slot: u16) -> Result<Leftovers, Error> {
        let leftovers = self.leftovers(slot)?;
        let mut space = Space::new(self);
        for run in leftovers.local_alloc.iter().chain(&leftovers.truncate_log) {
            space.free_run(run.clone())?;
        }
        space.write()?;
        self.reset_local_alloc(&self.local_alloc(slot)?)?;
        self.reset_truncate_log(&self.truncate_log(slot)?)?;
        Ok(leftovers)
    }

    fn reset_local_alloc(&self, inode: &Inode) -> Result<(), Error> {
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
        self.write_dinode(&dinode, block)
    }

    fn reset_truncate_log(&self, inode: &Inode) -> Result<(), Error> {
        let mut block = inode.block().to_vec();
        let id2 = &mut block[Dinode::ID2_OFFSET..];
        let wrong = |source| Error::Truncated { blkno: inode.blkno, source };
        let header = TruncateLogHeader::decode(id2).map_err(wrong)?;
        if header.tl_used == 0 {
            return Ok(());
        }
        TruncateLogHeader { tl_used: 0, ..header }.encode(id2).map_err(wrong)?;
        id2[TruncateLogHeader::SIZE..].fill(0);
        self.write_dinode(&inode.dinode, block)
    }
}
