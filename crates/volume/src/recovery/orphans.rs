//! Orphan directories: inodes that were to be deleted once nobody had them open any more.

use ocfs2_format::Cpos;
use ocfs2_format::dinode::InodeFlags;

use super::{RecoveryError, Stage};
use crate::dir::Entry;
use crate::edit::Edit;
use crate::{Error, Inode, SystemFile, Volume};

/// What comes before the number in the name of an inode that is to be cut back, not deleted.
const DIRECT_IO: &[u8] = b"dio-";

/// An entry of an orphan directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Orphan {
    /// The slot whose orphan directory it is in.
    pub slot: u16,
    /// The entry.
    pub entry: Entry,
}

impl Orphan {
    /// Whether direct writes beyond its end were going on: it has a name elsewhere, and loses
    /// only what it has beyond its size.
    pub fn is_direct_io(&self) -> bool {
        self.entry.name.starts_with(DIRECT_IO)
    }
}

impl Volume {
    /// What the orphan directory of a slot holds.
    ///
    /// # Errors
    /// As [`Volume::system_file`] and [`Volume::entries`]; the first entry that is wrong.
    pub fn orphans(&self, slot: u16) -> Result<Vec<Orphan>, Error> {
        self.orphan_entries(slot)?.collect()
    }

    /// As [`Volume::orphans`], one at a time. What was read of the directory is not affected by the
    /// removal of an entry.
    pub(super) fn orphan_entries(
        &self,
        slot: u16,
    ) -> Result<impl Iterator<Item = Result<Orphan, Error>> + '_, Error> {
        let entries = self.entries(&self.orphan_dir(slot)?)?;
        let orphans = entries.filter(|entry| !matches!(entry, Ok(entry) if entry.is_dot()));
        Ok(orphans.map(move |entry| Ok(Orphan { slot, entry: entry? })))
    }

    pub(crate) fn orphan_dir(&self, slot: u16) -> Result<Inode, Error> {
        self.system_file(SystemFile::OrphanDir(slot))
    }
}

impl Stage<'_> {
    /// Deletes an orphan, or cuts it back to its size, in as many steps as it takes.
    pub fn settle_orphan(&mut self, orphan: &Orphan) -> Result<(), RecoveryError> {
        let budget = self.budget();
        let work = match orphan.is_direct_io() {
            true => Edit::cut_step,
            false => Edit::delete_step,
        };
        while !self.step(|edit| work(edit, orphan, budget))? {}
        Ok(())
    }
}

impl Edit {
    /// Deletes an inode, or a part of its data if there is much. Returns whether that was all.
    fn delete_step(&mut self, orphan: &Orphan, budget: usize) -> Result<bool, RecoveryError> {
        let inode = self.inode(orphan.entry.inode)?;
        let flags = inode.dinode.flags();
        let links = self.links_count(&inode);
        if links > 0 || !flags.contains(InodeFlags::ORPHANED) || flags.contains(InodeFlags::SYSTEM)
        {
            return Err(RecoveryError::NoOrphan { blkno: inode.blkno, links, flags });
        }
        let cut = self.cut_contents(&inode, Cpos(0), budget)?;
        if cut > Cpos(0) {
            let size = u64::from(cut.0) << self.geometry().cluster_size.bits();
            self.update_dinode(inode.blkno, |dinode, _| dinode.i_size = dinode.i_size.min(size))?;
            return Ok(false);
        }
        self.delete(inode.blkno)?;
        self.forget_orphan(orphan.slot, &orphan.entry, inode.is_dir())?;
        Ok(true)
    }

    /// Frees what a file has beyond its size, or a part of that if it is much. Returns whether that
    /// was all.
    fn cut_step(&mut self, orphan: &Orphan, budget: usize) -> Result<bool, RecoveryError> {
        let inode = self.inode(orphan.entry.inode)?;
        let flags = inode.dinode.flags();
        if !flags.contains(InodeFlags::DIO_ORPHANED) || flags.contains(InodeFlags::SYSTEM) {
            let links = self.links_count(&inode);
            return Err(RecoveryError::NoOrphan { blkno: inode.blkno, links, flags });
        }
        // A size beyond what 32 bits of clusters hold has nothing after it.
        let end = Cpos(self.geometry().clusters_for(inode.size()).unwrap_or(u32::MAX));
        if self.cut_contents(&inode, end, budget)? > end {
            return Ok(false);
        }
        self.update_dinode(inode.blkno, |dinode, _| {
            dinode.i_flags = (flags - InodeFlags::DIO_ORPHANED).bits();
            dinode.i_dio_orphaned_slot = 0;
        })?;
        self.forget_orphan(orphan.slot, &orphan.entry, false)?;
        Ok(true)
    }
}
