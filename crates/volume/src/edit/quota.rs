//! Quota: charging changes to the owners and the groups of inodes.
//!
//! Each write of a dinode in an [`Edit`] takes off what the inode used and adds what it uses now.
//! The difference reaches the global quota files at the end of the step, one entry for each id.
//! Linux counts the same: all inodes except system inodes (but the root directory is counted), with
//! the clusters of their contents and of the index of a directory.

use std::collections::BTreeMap;

use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::extent::ExtentFlags;
use ocfs2_format::quota::{
    GlobalInfo, LeafHeader, QuotaEntry, QuotaHeader, QuotaKind, check_offset, leaf_entries,
    references, set_reference, tree_depth, tree_index,
};
use ocfs2_format::{Blkno, Cpos, Structure};

use super::{Edit, EditError};
use crate::inode::Touch;
use crate::{Error, InBlock, Inode, SystemFile, Volume};

/// The root of the tree of a global file.
pub(super) const ROOT: u32 = 1;

/// A change of what an id uses.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Change {
    pub inodes: i64,
    pub bytes: i64,
}

/// Changes that the quota files do not have yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Owed {
    changes: BTreeMap<(QuotaKind, u32), Change>,
    /// Damaged quota files stay as they are, and no id gets a new entry.
    pub is_lenient: bool,
}

/// A quota file, block by block.
pub(crate) struct QuotaFile {
    pub inode: Inode,
}

impl QuotaFile {
    pub fn blocks(&self, volume: &Volume) -> u32 {
        let blocks = self.inode.size() >> volume.block_size().bits();
        u32::try_from(blocks).unwrap_or(u32::MAX)
    }

    fn place(&self, volume: &Volume, index: u32) -> Result<Option<Blkno>, Error> {
        let bits = volume.geometry().bpc_bits();
        let extent = volume.tree(&self.inode)?.map(Cpos(index >> bits))?;
        Ok(extent.map(|extent| {
            let within = u64::from(index) - (u64::from(extent.cpos.0) << bits);
            Blkno(extent.blkno.0 + within)
        }))
    }

    pub fn read(&self, volume: &Volume, index: u32) -> Result<(Blkno, Vec<u8>), Error> {
        let blkno = self.place(volume, index)?.filter(|_| index < self.blocks(volume));
        let hole = || self.inode.invalid("l_next_free_rec", index, "no hole at this block");
        let blkno = blkno.ok_or_else(hole)?;
        let check = check_offset(volume.block_size());
        Ok((blkno, volume.read_metadata("quota block", blkno, check)?))
    }

    pub fn write(volume: &Volume, blkno: Blkno, block: &[u8]) -> Result<(), Error> {
        volume.write_metadata(blkno, block, check_offset(volume.block_size()))
    }

    /// The leaf with the entry of an id, as block number and contents, and the offset of the entry
    /// in it; `None` if there is no entry. For a global file.
    pub(super) fn find(
        &self,
        volume: &Volume,
        id: u32,
    ) -> Result<Option<(Blkno, Vec<u8>, usize)>, Error> {
        let size = volume.block_size();
        let mut at = ROOT;
        for level in 0..tree_depth(size) {
            let (_, block) = self.read(volume, at)?;
            at = references(&block).nth(tree_index(size, id, level) as usize).unwrap_or(0);
            if at == 0 {
                return Ok(None);
            }
            if at == ROOT {
                return Err(self.inode.invalid("reference", at, "no block before it"));
            }
        }
        let (blkno, block) = self.read(volume, at)?;
        let index = leaf_entries(&block).position(|entry| entry.is_used() && entry.dqb_id == id);
        // A reference to a leaf for this id means that the leaf has its entry.
        let index = index.ok_or_else(|| self.inode.invalid("dqb_id", "missing", id))?;
        Ok(Some((blkno, block, LeafHeader::SIZE + index * QuotaEntry::SIZE)))
    }
}

impl Volume {
    /// The kinds of quota that the volume keeps.
    pub(crate) fn quota_kinds(&self) -> impl Iterator<Item = QuotaKind> + use<> {
        let features = self.features();
        let kinds = [QuotaKind::User, QuotaKind::Group];
        kinds.into_iter().filter(move |kind| features.has_quota(*kind))
    }

    pub(crate) fn quota_file(&self, file: SystemFile) -> Result<QuotaFile, Error> {
        Ok(QuotaFile { inode: self.system_file(file)? })
    }
}

/// Adds a change to the usage in an entry, which never falls below 0.
fn add(entry: &mut QuotaEntry, change: Change) {
    entry.dqb_curinodes = entry.dqb_curinodes.saturating_add_signed(change.inodes);
    entry.dqb_curspace = entry.dqb_curspace.saturating_add_signed(change.bytes);
    if !entry.is_used() {
        // An entry of zeros would count as unused.
        entry.dqb_itime = 1;
    }
}

impl Edit {
    /// Sets the interval, in milliseconds, at which slots sync their changes.
    ///
    /// # Errors
    /// [`EditError::Refused`] where that kind of quota is not kept; the file is damaged.
    pub fn set_quota_interval(&mut self, kind: QuotaKind, ms: u32) -> Result<(), EditError> {
        if !self.features().has_quota(kind) {
            let what = if kind == QuotaKind::User { "user" } else { "group" };
            return Err(EditError::Refused(format!("the {what} quota is not enabled")));
        }
        self.attempt(|edit| {
            let file = edit.quota_file(SystemFile::Quota(kind))?;
            let (blkno, mut block) = file.read(&edit.volume, 0)?;
            let place = block.get_mut(QuotaHeader::SIZE..).unwrap_or_default();
            let mut info = GlobalInfo::decode(place).in_block(blkno)?;
            info.dqi_syncms = ms;
            info.encode(place).in_block(blkno)?;
            Ok(QuotaFile::write(&edit.volume, blkno, &block)?)
        })
    }

    /// Gives an inode another owner and another group. The quota of a directory's index moves
    /// along; Linux leaves it with the owner at the time when the index was made.
    ///
    /// # Errors
    /// [`EditError::NoRoom`] in the quota files; something is damaged.
    pub fn set_owner(&mut self, inode: Blkno, uid: u32, gid: u32) -> Result<(), EditError> {
        self.attempt(|edit| {
            let (time, before) = (edit.time(), edit.inode(inode)?);
            edit.update_dinode(inode, |dinode, _| {
                (dinode.i_uid, dinode.i_gid) = (uid, gid);
                dinode.touch_inode(time);
            })?;
            if edit.is_indexed(&before) {
                let (index, _) = edit.dx_root(&before)?;
                let clusters = i64::from(index.dr_clusters);
                edit.count_index(&before.dinode, -clusters);
                edit.count_index(&Dinode { i_uid: uid, i_gid: gid, ..before.dinode }, clusters);
            }
            Ok(())
        })
    }

    /// Makes the quota files of a kind state what a scan of all inodes counts, without the clusters
    /// of directories' indexes, which some programs count and others do not. Limits stay.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; something is damaged.
    pub fn recount_quota(&mut self, kind: QuotaKind) -> Result<(), EditError> {
        if !self.features().has_quota(kind) {
            return Ok(());
        }
        self.attempt(|edit| {
            for (id, counted) in edit.quota_usage(kind, false)? {
                let file = edit.quota_file(SystemFile::Quota(kind))?;
                let stored = match file.find(&edit.volume, id)? {
                    Some((blkno, block, offset)) => {
                        QuotaEntry::decode(block.get(offset..).unwrap_or_default())
                            .in_block(blkno)?
                    }
                    None => QuotaEntry::default(),
                };
                let less = |now: u64, then: u64| now.wrapping_sub(then).cast_signed();
                let change = Change {
                    inodes: less(counted.dqb_curinodes, stored.dqb_curinodes),
                    bytes: less(counted.dqb_curspace, stored.dqb_curspace),
                };
                if change != Change::default() {
                    edit.charge(kind, id, change)?;
                }
            }
            Ok(())
        })
    }

    /// Leaves damaged quota files as they are: reporting them is left to a check.
    #[must_use]
    pub(crate) fn with_lenient_quota(mut self) -> Self {
        self.owed.is_lenient = true;
        self
    }

    /// Counts an inode: with `sign` 1 as it is from now on, with -1 as it was.
    pub(super) fn count_inode(&mut self, dinode: &Dinode, sign: i64) {
        if dinode.flags().contains(InodeFlags::VALID) {
            self.count(dinode, sign, sign * i64::from(dinode.i_clusters));
        }
    }

    /// Counts clusters that the index of a directory has gained; negative if it has lost them.
    pub(super) fn count_index(&mut self, dir: &Dinode, clusters: i64) {
        self.count(dir, 0, clusters);
    }

    fn count(&mut self, owned: &Dinode, inodes: i64, clusters: i64) {
        let is_root = owned.i_blkno == self.superblock().s_root_blkno;
        if owned.flags().contains(InodeFlags::SYSTEM) && !is_root {
            return;
        }
        let bytes = clusters << self.geometry().cluster_size.bits();
        for kind in self.quota_kinds() {
            let id = match kind {
                QuotaKind::User => owned.i_uid,
                QuotaKind::Group => owned.i_gid,
            };
            let change = self.owed.changes.entry((kind, id)).or_default();
            change.inodes = change.inodes.saturating_add(inodes);
            change.bytes = change.bytes.saturating_add(bytes);
        }
    }

    /// Brings what was counted to the quota files.
    pub(super) fn settle_quota(&mut self) -> Result<(), EditError> {
        for ((kind, id), change) in std::mem::take(&mut self.owed.changes) {
            if change == Change::default() {
                continue;
            }
            if !self.owed.is_lenient {
                // Without a journal of its own an edit is one of a tool, which no limit stops.
                if self.writes_apart() {
                    self.verify_limits(kind, id, change)?;
                }
                self.charge(kind, id, change)?;
            } else if let Err(err @ Error::Write { .. }) = self.add_usage(kind, id, change) {
                return Err(err.into());
            }
        }
        Ok(())
    }

    /// Adds to what an id uses. Returns false, and changes nothing, if the id has no entry.
    pub(crate) fn add_usage(
        &mut self,
        kind: QuotaKind,
        id: u32,
        change: Change,
    ) -> Result<bool, Error> {
        let volume = self.volume();
        let file = volume.quota_file(SystemFile::Quota(kind))?;
        let Some((blkno, mut block, offset)) = file.find(volume, id)? else { return Ok(false) };
        let bytes = block.get_mut(offset..).unwrap_or_default();
        let mut entry = QuotaEntry::decode(bytes).in_block(blkno)?;
        add(&mut entry, change);
        entry.encode(bytes).in_block(blkno)?;
        QuotaFile::write(volume, blkno, &block)?;
        Ok(true)
    }

    /// As [`Edit::add_usage`], but an id without an entry gets one.
    fn charge(&mut self, kind: QuotaKind, id: u32, change: Change) -> Result<(), EditError> {
        // Nothing can be taken from an id without an entry.
        let is_less = change.inodes <= 0 && change.bytes <= 0;
        if self.add_usage(kind, id, change)? || is_less {
            return Ok(());
        }
        let mut entry = QuotaEntry { dqb_id: id, ..QuotaEntry::default() };
        add(&mut entry, change);
        self.new_quota(entry, kind)
    }

    /// Puts an entry into a global quota file that has none for its id.
    pub(super) fn new_quota(
        &mut self,
        entry: QuotaEntry,
        kind: QuotaKind,
    ) -> Result<(), EditError> {
        let id = entry.dqb_id;
        let mut global = Global::open(self.volume(), kind)?;
        let leaf = global.insert(self, &entry)?;
        global.refer(self, id, leaf)?;
        global.write(self.volume())
    }
}

/// A global quota file that gets an entry.
struct Global {
    file: QuotaFile,
    info: GlobalInfo,
    /// The block that holds `info`.
    head: (Blkno, Vec<u8>),
}

impl Global {
    fn open(volume: &Volume, kind: QuotaKind) -> Result<Self, Error> {
        let file = volume.quota_file(SystemFile::Quota(kind))?;
        let (blkno, head) = file.read(volume, 0)?;
        let header = QuotaHeader::decode(&head).in_block(blkno)?;
        header.verify(blkno, kind.global_magic())?;
        let info = GlobalInfo::decode(head.get(QuotaHeader::SIZE..).unwrap_or_default())
            .in_block(blkno)?;
        info.verify(blkno, file.blocks(volume))?;
        Ok(Self { file, info, head: (blkno, head) })
    }

    fn write(self, volume: &Volume) -> Result<(), EditError> {
        let (blkno, mut block) = self.head;
        let info = block.get_mut(QuotaHeader::SIZE..).unwrap_or_default();
        self.info.encode(info).in_block(blkno)?;
        Ok(QuotaFile::write(volume, blkno, &block)?)
    }

    /// Puts an entry into the first leaf with room, or a new one. Returns the leaf.
    fn insert(&mut self, edit: &mut Edit, entry: &QuotaEntry) -> Result<u32, EditError> {
        let index = match self.info.dqi_free_entry {
            0 => self.new_block(edit)?,
            index => index,
        };
        let (blkno, mut block) = self.file.read(edit.volume(), index)?;
        let mut header = LeafHeader::decode(&block).in_block(blkno)?;
        header.verify(blkno, &block).map_err(Error::from)?;
        let places = leaf_entries(&block).enumerate().filter(|(_, entry)| !entry.is_used());
        let free: Vec<usize> = places.map(|(place, _)| place).take(2).collect();
        let Some(place) = free.first() else {
            return Err(self
                .file
                .inode
                .invalid("dqi_free_entry", index, "a leaf with room")
                .into());
        };
        let at = LeafHeader::SIZE + place * QuotaEntry::SIZE;
        entry.encode(block.get_mut(at..).unwrap_or_default()).in_block(blkno)?;
        header.dqdh_entries += 1;
        self.info.dqi_free_entry = index;
        if free.len() == 1 {
            // The leaf is full now. It was the first of the list, and leaves it.
            self.info.dqi_free_entry = std::mem::take(&mut header.dqdh_next_free);
            header.dqdh_prev_free = 0;
            self.set_first(edit.volume())?;
        }
        header.encode(&mut block).in_block(blkno)?;
        QuotaFile::write(edit.volume(), blkno, &block)?;
        Ok(index)
    }

    /// Records that there is no leaf before the first one of the list.
    fn set_first(&self, volume: &Volume) -> Result<(), Error> {
        if self.info.dqi_free_entry == 0 {
            return Ok(());
        }
        let (blkno, mut block) = self.file.read(volume, self.info.dqi_free_entry)?;
        let header = LeafHeader::decode(&block).in_block(blkno)?;
        let header = LeafHeader { dqdh_prev_free: 0, ..header };
        header.encode(&mut block).in_block(blkno)?;
        QuotaFile::write(volume, blkno, &block)
    }

    /// Makes the tree point from its root to the leaf of an id.
    fn refer(&mut self, edit: &mut Edit, id: u32, leaf: u32) -> Result<(), EditError> {
        let size = edit.block_size();
        let (mut at, depth) = (ROOT, tree_depth(size));
        for level in 0..depth {
            let (blkno, mut block) = self.file.read(edit.volume(), at)?;
            let digit = tree_index(size, id, level);
            let next = references(&block).nth(digit as usize).unwrap_or(0);
            at = match next {
                _ if level + 1 == depth => leaf,
                0 => self.new_block(edit)?,
                next => next,
            };
            if at != next {
                set_reference(&mut block, digit, at);
                QuotaFile::write(edit.volume(), blkno, &block)?;
            }
        }
        Ok(())
    }

    /// Returns a block of zeros: a free one, or a new one at the end of the file.
    fn new_block(&mut self, edit: &mut Edit) -> Result<u32, EditError> {
        let zeros = vec![0; edit.block_size().size()];
        if self.info.dqi_free_blk != 0 {
            let index = self.info.dqi_free_blk;
            let (blkno, block) = self.file.read(edit.volume(), index)?;
            let header = LeafHeader::decode(&block).in_block(blkno)?;
            self.info.dqi_free_blk = header.dqdh_next_free;
            QuotaFile::write(edit.volume(), blkno, &zeros)?;
            return Ok(index);
        }
        let (index, owner) = (self.info.dqi_blocks, self.file.inode.blkno);
        if self.file.place(edit.volume(), index)?.is_none() {
            let mut root = edit.inode_root(&self.file.inode)?;
            let cpos = u64::from(index >> edit.geometry().bpc_bits());
            edit.fill_hole(&mut root, cpos, 1, ExtentFlags::empty())?;
            edit.store_inode_root(&root)?;
        }
        let more = u64::from(edit.block_size().bytes());
        edit.update_dinode(owner, |dinode, _| dinode.i_size = dinode.i_size.saturating_add(more))?;
        self.file.inode = edit.inode(owner)?;
        self.info.dqi_blocks = index.saturating_add(1);
        let blkno = self.file.place(edit.volume(), index)?.unwrap_or_default();
        QuotaFile::write(edit.volume(), blkno, &zeros)?;
        Ok(index)
    }
}
