//! Orphan directories: inodes that were to be deleted once nobody had them open any more.

use ocfs2_format::Cpos;
use ocfs2_format::dinode::InodeFlags;

use super::delete::Parting;
use super::{RecoveryError, Stage};
use crate::allocator::Space;
use crate::dir::Entry;
use crate::{Error, Inode, Volume};

/// What comes before the number in the name of an inode that is to be cut back, not deleted.
const DIRECT_IO: &[u8] = b"dio-";

/// An entry of an orphan directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Orphan {
    /// The slot it is of.
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
    /// As [`Volume::slot_file`] and [`Volume::entries`]; the first entry that is wrong.
    pub fn orphans(&self, slot: u16) -> Result<Vec<Orphan>, Error> {
        self.orphan_entries(slot)?.collect()
    }

    /// The same, one after the other; what is read of the directory stays what it was before one
    /// of them is removed.
    pub(super) fn orphan_entries(
        &self,
        slot: u16,
    ) -> Result<impl Iterator<Item = Result<Orphan, Error>> + '_, Error> {
        let entries = self.entries(&self.orphan_dir(slot)?)?;
        let orphans = entries.filter(|entry| !matches!(entry, Ok(entry) if entry.is_dot()));
        Ok(orphans.map(move |entry| Ok(Orphan { slot, entry: entry? })))
    }

    fn orphan_dir(&self, slot: u16) -> Result<Inode, Error> {
        self.slot_file("orphan_dir", slot)
    }

    /// Does with an orphan what has to be done, in as many steps as it takes.
    pub(super) fn settle_orphan(
        stage: &mut Stage<'_>,
        orphan: &Orphan,
        time: u64,
    ) -> Result<(), RecoveryError> {
        let budget = stage.budget();
        let work = match orphan.is_direct_io() {
            true => Self::cut_orphan,
            false => Self::delete_orphan,
        };
        while !stage.step(|volume| work(volume, orphan, time, budget))? {}
        Ok(())
    }

    /// Deletes an inode, or a part of its data if there is much; says whether that was all.
    fn delete_orphan(
        &self,
        orphan: &Orphan,
        time: u64,
        budget: usize,
    ) -> Result<bool, RecoveryError> {
        let inode = self.inode(orphan.entry.inode)?;
        let flags = inode.dinode.flags();
        let links = self.links_count(&inode);
        if links > 0 || !flags.contains(InodeFlags::ORPHANED) || flags.contains(InodeFlags::SYSTEM)
        {
            return Err(RecoveryError::NoOrphan { blkno: inode.blkno, links, flags });
        }
        let mut parting = Parting::new(self, &inode, Space::new(self))?;
        let cut = parting.data(Cpos(0), budget)?;
        let size = u64::from(cut.0) << self.geometry().cluster_size.bits();
        parting.dinode.i_size = parting.dinode.i_size.min(size);
        if cut > Cpos(0) {
            parting.keep()?;
            return Ok(false);
        }
        parting.attributes()?;
        parting.index()?;
        parting.free(time)?;
        self.forget(orphan, inode.is_dir())?;
        Ok(true)
    }

    /// Takes what a file has beyond its size, or a part of that if it is much; says whether
    /// that was all.
    fn cut_orphan(&self, orphan: &Orphan, _: u64, budget: usize) -> Result<bool, RecoveryError> {
        let inode = self.inode(orphan.entry.inode)?;
        let flags = inode.dinode.flags();
        if !flags.contains(InodeFlags::DIO_ORPHANED) || flags.contains(InodeFlags::SYSTEM) {
            let links = self.links_count(&inode);
            return Err(RecoveryError::NoOrphan { blkno: inode.blkno, links, flags });
        }
        // A size beyond what 32 bits of clusters hold has nothing after it.
        let end = Cpos(self.geometry().clusters_for(inode.size()).unwrap_or(u32::MAX));
        let mut parting = Parting::new(self, &inode, Space::new(self))?;
        if parting.data(end, budget)? > end {
            parting.keep()?;
            return Ok(false);
        }
        parting.dinode.i_flags = (flags - InodeFlags::DIO_ORPHANED).bits();
        parting.dinode.i_dio_orphaned_slot = 0;
        parting.keep()?;
        self.forget(orphan, false)?;
        Ok(true)
    }

    /// Removes an entry of an orphan directory.
    fn forget(&self, orphan: &Orphan, was_dir: bool) -> Result<(), Error> {
        self.remove_entry(&self.orphan_dir(orphan.slot)?, &orphan.entry)?;
        if was_dir {
            // What was removed may be in this very block.
            let dir = self.orphan_dir(orphan.slot)?;
            let mut dinode = dir.dinode.clone();
            let links = self.links_count(&dir).saturating_sub(1);
            let indexed = self.has(ocfs2_format::feature::Incompat::INDEXED_DIRS);
            dinode.set_links_count(links, indexed);
            self.write_dinode(&dinode, dir.block().to_vec())?;
        }
        Ok(())
    }
}
