//! Clusters that a crashed node had not yet returned to the global bitmap: those its local alloc
//! had reserved and not handed out, and those its truncate log was to free.

use std::ops::Range;

use ocfs2_format::Structure;
use ocfs2_format::dinode::InodeFlags;
use ocfs2_format::local_alloc::LocalAlloc;
use ocfs2_format::truncate_log::{TruncateLog, TruncateLogHeader};

use crate::edit::{Edit, EditError};
use crate::{Error, InBlock, Inode, SystemFile, Volume};

/// Clusters that are set in the global bitmap for a slot and belong to nobody.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Leftovers {
    /// Reserved by the local alloc and not handed out.
    pub local_alloc: Vec<Range<u32>>,
    /// Freed by files, and recorded in the truncate log.
    pub truncate_log: Vec<Range<u32>>,
}

impl Leftovers {
    /// Number of clusters of both.
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
    /// Returns what local alloc and truncate log of a slot hold, once its journal was replayed.
    ///
    /// # Errors
    /// [`Error::Invalid`] where they name clusters the volume does not have; any of reading.
    pub fn leftovers(&self, slot: u16) -> Result<Leftovers, Error> {
        Ok(Leftovers {
            local_alloc: self.unused_window(&self.local_alloc(slot)?)?,
            truncate_log: self.truncate_records(&self.truncate_log(slot)?)?,
        })
    }

    /// Whether the local alloc of a slot states the number of bits that are set in it, as any that
    /// a kernel has left does.
    ///
    /// # Errors
    /// As [`Volume::leftovers`].
    pub fn local_alloc_is_counted(&self, slot: u16) -> Result<bool, Error> {
        let inode = self.local_alloc(slot)?;
        let (used, total) = inode.dinode.bitmap();
        let bitmap = LocalAlloc::bitmap(inode.id2(), total).in_block(inode.blkno)?;
        Ok(bitmap.count_ones() == used as usize)
    }

    fn system_file_with(&self, file: SystemFile, flag: InodeFlags) -> Result<Inode, Error> {
        let inode = self.system_file(file)?;
        if inode.dinode.flags().contains(flag) {
            return Ok(inode);
        }
        let found = format!("{:#x}", inode.dinode.i_flags);
        Err(inode.invalid("i_flags", found, format!("with {:#x}", flag.bits())))
    }

    fn local_alloc(&self, slot: u16) -> Result<Inode, Error> {
        self.system_file_with(SystemFile::LocalAlloc(slot), InodeFlags::LOCAL_ALLOC)
    }

    fn truncate_log(&self, slot: u16) -> Result<Inode, Error> {
        self.system_file_with(SystemFile::TruncateLog(slot), InodeFlags::DEALLOC)
    }

    fn unused_window(&self, inode: &Inode) -> Result<Vec<Range<u32>>, Error> {
        let header = LocalAlloc::decode(inode.id2()).in_block(inode.blkno)?;
        let counts = inode.dinode.bitmap();
        header.verify(inode.blkno, self.block_size(), counts, self.geometry().clusters)?;
        let bitmap = LocalAlloc::bitmap(inode.id2(), counts.1).in_block(inode.blkno)?;
        let at = |bit: usize| header.la_bm_off + bit as u32;
        Ok(bitmap.runs(false).map(|run| at(run.start)..at(run.end)).collect())
    }

    fn truncate_records(&self, inode: &Inode) -> Result<Vec<Range<u32>>, Error> {
        let log = TruncateLog::new(inode.id2()).in_block(inode.blkno)?;
        log.verify_log(inode.blkno, self.block_size(), self.geometry().clusters)?;
        let records = log.records().filter(|record| record.t_start != 0);
        Ok(records.map(|record| record.t_start..record.t_start + record.t_clusters).collect())
    }
}

impl Edit {
    /// Gives the leftovers of a slot back to the global bitmap, and resets local alloc and
    /// truncate log.
    pub(super) fn give_back(&mut self, slot: u16) -> Result<(), EditError> {
        let leftovers = self.leftovers(slot)?;
        for run in leftovers.local_alloc.into_iter().chain(leftovers.truncate_log) {
            self.give_clusters(run)?;
        }
        self.reset_local_alloc(slot)?;
        self.reset_truncate_log(slot)
    }

    fn reset_local_alloc(&mut self, slot: u16) -> Result<(), EditError> {
        let inode = self.local_alloc(slot)?;
        if inode.dinode.bitmap() == (0, 0) {
            return Ok(());
        }
        let header = LocalAlloc::decode(inode.id2()).in_block(inode.blkno)?;
        self.update_dinode(inode.blkno, |dinode, id2| {
            dinode.set_bitmap(0, 0);
            reset(id2, &LocalAlloc { la_bm_off: 0, ..header });
        })
    }

    fn reset_truncate_log(&mut self, slot: u16) -> Result<(), EditError> {
        let inode = self.truncate_log(slot)?;
        let header = TruncateLogHeader::decode(inode.id2()).in_block(inode.blkno)?;
        if header.tl_used == 0 {
            return Ok(());
        }
        self.update_dinode(inode.blkno, |_, id2| {
            reset(id2, &TruncateLogHeader { tl_used: 0, ..header });
        })
    }
}

/// Writes what a system file begins with, and zeros after it.
fn reset<T: Structure>(id2: &mut [u8], header: &T) {
    // It was read from there, so that there is room.
    let _ = header.encode(id2);
    id2.get_mut(T::SIZE..).unwrap_or_default().fill(0);
}
