//! System files: slot map, heartbeat, journals, and the others by name.

use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::feature::Incompat;
use ocfs2_format::journal::JournalSuperblock;
use ocfs2_format::slot_map::{SlotMapFormat, TakenSlot};
use ocfs2_format::superblock::{MAX_SLOTS, Stack};
use ocfs2_format::{Blkno, Block, Cpos, Structure};

use crate::dir::Entry;
use crate::usage::{Heartbeat, Places, Region};
use crate::{Error, InBlock, Inode, SystemFile, Volume};

/// Most bytes of the system directory that are read to find a name, as they are read again for each
/// name. The names of all files of all possible slots take a tenth of that.
const MAX_DIR_BYTES: u64 = 1 << 20;

/// The journal of a slot.
#[derive(Clone, Debug)]
pub struct Journal {
    /// The slot.
    pub slot: u16,
    /// Its inode.
    pub inode: Inode,
    /// Where its first block is.
    pub blkno: Blkno,
    /// What its first block holds.
    pub superblock: JournalSuperblock,
}

impl Journal {
    /// Whether the slot is mounted or was not unmounted cleanly, so that the journal has to
    /// be replayed.
    pub fn is_dirty(&self) -> bool {
        self.inode.dinode.journal_flags() & Dinode::JOURNAL_DIRTY != 0
    }

    /// How often the slot was recovered.
    pub fn recovery_generation(&self) -> u32 {
        self.inode.dinode.journal_recovery_generation()
    }
}

impl Volume {
    /// Number of node slots.
    pub fn max_slots(&self) -> u16 {
        self.superblock().s_max_slots
    }

    /// The system directory.
    ///
    /// # Errors
    /// As [`Volume::inode`].
    pub fn system_dir(&self) -> Result<Inode, Error> {
        self.inode(self.superblock().s_system_dir_blkno)
    }

    /// A system file. The directory's checksums need not hold if there is such an entry; those of
    /// the file have to.
    ///
    /// # Errors
    /// [`Error::NotFound`], any of reading.
    pub fn system_file(&self, file: SystemFile) -> Result<Inode, Error> {
        self.system_file_named(&file.name())
    }

    /// As [`Volume::system_file`], by a name that somebody has given.
    ///
    /// # Errors
    /// As [`Volume::system_file`].
    pub fn system_file_named(&self, name: &str) -> Result<Inode, Error> {
        let entry = match self.system_entry(name.as_bytes()) {
            Err(err @ Error::Checksum { .. }) => {
                Some(self.torn_system_entry(name.as_bytes()).ok_or(err)?)
            }
            found => found?,
        };
        let entry = entry.ok_or_else(|| Error::NotFound { name: name.into() })?;
        self.inode(entry.inode)
    }

    fn system_entry(&self, name: &[u8]) -> Result<Option<Entry>, Error> {
        let dir = self.system_dir()?;
        match self.is_indexed(&dir) {
            true => self.lookup(&dir, name),
            false => self.scan_first(&dir, name, self.max_system_dir()),
        }
    }

    /// The entry in a system directory whose checksums do not hold. A crash may have torn the
    /// very block that points to the journal with the copy of it.
    fn torn_system_entry(&self, name: &[u8]) -> Option<Entry> {
        let dir = self.superblock().s_system_dir_blkno;
        let dir = Inode::decode(dir, self.read_block(dir).ok()?).ok()?;
        self.torn_entry(&dir, name)
    }

    /// The entry of a name in a directory whose checksums do not hold: the first one in the blocks
    /// that a system directory may have.
    pub fn torn_entry(&self, dir: &Inode, name: &[u8]) -> Option<Entry> {
        self.scan_unchecked(dir, name, self.max_system_dir())
    }

    /// Blocks of the system directory that are read for a name.
    fn max_system_dir(&self) -> u64 {
        MAX_DIR_BYTES >> self.block_size().bits()
    }

    /// How the slot map is stored.
    pub fn slot_map_format(&self) -> SlotMapFormat {
        match self.has(Incompat::EXTENDED_SLOT_MAP) {
            true => SlotMapFormat::Extended,
            false => SlotMapFormat::Old,
        }
    }

    /// The slots that are taken now; other nodes may change that at any moment.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the slot map is too small for the slots; any of reading.
    pub fn taken_slots(&self) -> Result<Vec<TakenSlot>, Error> {
        let format = self.slot_map_format();
        let inode = self.system_file(SystemFile::SlotMap)?;
        let mut map = vec![0; format.size(self.max_slots())];
        if inode.size() < map.len() as u64 {
            let expected = format_args!("at least {}", map.len()).to_string();
            return Err(inode.invalid("i_size", inode.size(), expected));
        }
        // The superblock may have lost slots: a node in one of them is there all the same, if the
        // slot has a journal. In the old format nothing shows where the entries end.
        let mut slots = self.max_slots();
        if format == SlotMapFormat::Extended {
            let stored = usize::try_from(inode.size()).unwrap_or(usize::MAX);
            let all = (stored / format.entry_size()).min(MAX_SLOTS.into());
            slots = slots.max(u16::try_from(all).unwrap_or(MAX_SLOTS));
            map.resize(format.size(slots), 0);
        }
        self.file(&inode)?.fresh().read_at(&mut map, 0)?;
        let entry = |slot: u16| map.get(usize::from(slot) * format.entry_size()).copied();
        let taken = format.taken(&map, slots);
        let is_one = |slot: u16| {
            entry(slot) == Some(1) && self.system_file(SystemFile::Journal(slot)).is_ok()
        };
        Ok(taken.filter(|it| it.slot < self.max_slots() || is_one(it.slot)).collect())
    }

    /// Where on the device the nodes write their heartbeat.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the file does not begin with an extent; any of reading.
    pub fn heartbeat_region(&self) -> Result<Region, Error> {
        let inode = self.system_file(SystemFile::Heartbeat)?;
        let extent = self.tree(&inode)?.map(Cpos(0))?;
        let geometry = self.geometry();
        let place = extent.and_then(|extent| {
            let offset_bytes = extent.blkno.offset_bytes(geometry.block_size)?;
            let size_bytes = u64::from(extent.clusters) << geometry.cluster_size.bits();
            Some(Region { offset_bytes, size_bytes })
        });
        place.ok_or_else(|| inode.invalid("l_next_free_rec", 0, "an extent"))
    }

    /// What the volume shows about its users: for [`Usage::probe`](crate::usage::Usage::probe).
    ///
    /// # Errors
    /// As [`Volume::taken_slots`] and [`Volume::heartbeat_region`].
    pub fn places(&self) -> Result<Places, Error> {
        let heartbeat_only = self.has(Incompat::HEARTBEAT_DEV);
        let taken = if heartbeat_only { Vec::new() } else { self.taken_slots()? };
        let heartbeat = match self.superblock().stack() {
            _ if heartbeat_only => Heartbeat::OnVolume(self.heartbeat_region()?),
            Stack::Local => Heartbeat::Local,
            Stack::O2cb { global_heartbeat: false } => {
                Heartbeat::OnVolume(self.heartbeat_region()?)
            }
            Stack::O2cb { global_heartbeat: true } => Heartbeat::Global,
            Stack::Userspace(_) => Heartbeat::Userspace,
        };
        Ok(Places { taken, heartbeat })
    }

    /// Whether the journal of a slot is dirty, by its inode alone.
    ///
    /// # Errors
    /// As [`Volume::system_file`]; [`Error::Invalid`] if it is not a journal.
    pub fn journal_is_dirty(&self, slot: u16) -> Result<bool, Error> {
        let inode = self.journal_inode(slot)?;
        Ok(inode.dinode.journal_flags() & Dinode::JOURNAL_DIRTY != 0)
    }

    /// The slots whose journals hold something newer than the blocks of the volume, as far as that is
    /// known: also those that are marked dirty and cannot be read.
    pub fn slots_with_newer(&self) -> Vec<u16> {
        let has_newer = |slot: &u16| match self.journal(*slot) {
            Ok(journal) => journal.is_dirty() && journal.superblock.s_start != 0,
            Err(_) => self.journal_is_dirty(*slot).unwrap_or(true),
        };
        (0..self.max_slots()).filter(has_newer).collect()
    }

    pub(crate) fn journal_inode(&self, slot: u16) -> Result<Inode, Error> {
        let inode = match self.system_file(SystemFile::Journal(slot)) {
            Err(err @ Error::Checksum { .. }) => self.torn_journal_inode(slot).ok_or(err)?,
            found => found?,
        };
        if !inode.dinode.flags().contains(InodeFlags::JOURNAL) {
            let found = format_args!("{:#x}", inode.dinode.i_flags).to_string();
            return Err(inode.invalid("i_flags", found, "the JOURNAL bit"));
        }
        Ok(inode)
    }

    /// The inode of a journal whose checksum does not hold, if all that points to the log is right:
    /// repairs that are made before the log is replayed are undone by its replay.
    fn torn_journal_inode(&self, slot: u16) -> Option<Inode> {
        let name = SystemFile::Journal(slot).name();
        let entry = match self.system_entry(name.as_bytes()) {
            Ok(entry) => entry,
            Err(_) => self.torn_system_entry(name.as_bytes()),
        };
        let blkno = entry?.inode;
        let inode = Inode::decode(blkno, self.read_block(blkno).ok()?).ok()?;
        let dinode = &inode.dinode;
        dinode.verify(blkno, self.generation()).ok()?;
        let flags = InodeFlags::VALID | InodeFlags::SYSTEM | InodeFlags::JOURNAL;
        let clusters = u64::from(dinode.i_clusters);
        let is_whole = clusters << self.geometry().cluster_size.bits() == inode.size();
        if dinode.flags() != flags || !is_whole {
            return None;
        }
        let extents: Vec<_> = self.tree(&inode).ok()?.extents().collect::<Result<_, _>>().ok()?;
        let held = extents.iter().map(|extent| u64::from(extent.clusters)).sum::<u64>();
        let first = extents.first().filter(|first| first.cpos == Cpos(0))?.blkno;
        let superblock = JournalSuperblock::decode(&self.read_block(first).ok()?).ok()?;
        superblock
            .verify(first, self.block_size(), self.geometry().blocks_for(inode.size()))
            .ok()?;
        let is_ours = superblock.s_uuid == self.superblock().s_uuid;
        (held == clusters && is_ours).then_some(inode)
    }

    /// The journal of a slot, with its superblock verified.
    ///
    /// # Errors
    /// As [`Volume::system_file`]; [`Error::Invalid`] if it is not a journal.
    pub fn journal(&self, slot: u16) -> Result<Journal, Error> {
        self.journal_of(slot, self.journal_inode(slot)?)
    }

    /// The journal with this inode, which is that of a slot.
    ///
    /// # Errors
    /// As [`Volume::journal`].
    pub fn journal_of(&self, slot: u16, inode: Inode) -> Result<Journal, Error> {
        let (blkno, superblock) = self.journal_superblock(&inode)?;
        Ok(Journal { slot, inode, blkno, superblock })
    }

    /// The first block of the journal with this inode, and the verified superblock in it.
    pub(crate) fn journal_superblock(
        &self,
        inode: &Inode,
    ) -> Result<(Blkno, JournalSuperblock), Error> {
        let extent = self.tree(inode)?.map(Cpos(0))?;
        let extent = extent.ok_or_else(|| inode.invalid("l_next_free_rec", 0, "an extent"))?;
        let blkno = extent.blkno;
        let block = self.read_block(blkno)?;
        let superblock = JournalSuperblock::decode(&block).in_block(blkno)?;
        let blocks = self.geometry().blocks_for(inode.size());
        superblock.verify(blkno, self.block_size(), blocks)?;
        Ok((blkno, superblock))
    }
}
