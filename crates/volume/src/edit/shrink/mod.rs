//! Making a volume smaller: what is in the part that goes moves to the part that stays.
//!
//! Each step is a transaction of its own after which the volume is sound and has its old size: the
//! last one, [`Edit::end_after`], takes off an end that nothing is in. An edit takes nothing from
//! the end if it has a [limit](Edit::set_limit).
//!
//! Contents of files are copied outside of transactions, to places that nothing points to yet.
//! Everything else is part of the transaction that makes something point to it.

mod bound;
mod cut;
mod directories;
mod inodes;
mod journals;
mod refcounts;
mod trees;
mod verify;
mod xattrs;

use std::ops::Range;

use ocfs2_format::dinode::{Arm, Dinode, DynFeatures, InodeFlags};
use ocfs2_format::xattr::XattrBlock;
use ocfs2_format::{Blkno, Cluster};

use super::moving::is_shared;
use super::{Contents, Edit, EditError};
use crate::allocator::pools::Pool;
use crate::allocator::{Group, Run, Suballocated};
use crate::tree::Extent;
use crate::{Error, Inode, SystemFile, Volume};

pub use bound::Bound;
pub use inodes::Names;
pub use journals::JournalStep;
pub use refcounts::Shared;

/// Extents that are moved in one step.
const MOST_EXTENTS: usize = 32;

/// The part of a volume that goes: the clusters from a number on, and the groups of suballocators
/// that reach there.
#[derive(Clone, Debug)]
pub struct Beyond {
    /// The first cluster that goes.
    limit: u32,
    /// Its first block.
    first: u64,
    /// The blocks of groups that go, in order.
    groups: Vec<Range<u64>>,
}

impl Beyond {
    /// The first cluster that goes.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Whether a block goes that a suballocator gave out.
    pub fn has(&self, blkno: Blkno) -> bool {
        let at = self.groups.partition_point(|group| group.end <= blkno.0);
        blkno.0 >= self.first || self.groups.get(at).is_some_and(|group| group.contains(&blkno.0))
    }

    /// The clusters of an extent that go, as positions in the file.
    fn part(&self, volume: &Volume, extent: &Extent) -> Range<u64> {
        let bits = volume.geometry().bpc_bits();
        let stays = self.first.saturating_sub(extent.blkno.0) >> bits;
        let start = u64::from(extent.cpos.0) + stays.min(extent.clusters.into());
        start..extent.end()
    }

    /// Whether any of an extent goes.
    fn cuts(&self, volume: &Volume, extent: &Extent) -> bool {
        !self.part(volume, extent).is_empty()
    }
}

/// The suballocators of a volume.
fn suballocators(volume: &Volume) -> Vec<SystemFile> {
    let slots = || 0..volume.max_slots();
    let files = std::iter::once(SystemFile::GlobalInodeAlloc);
    files
        .chain(slots().map(SystemFile::InodeAlloc))
        .chain(slots().map(SystemFile::ExtentAlloc))
        .collect()
}

impl Volume {
    /// What goes if the volume gets `clusters` clusters.
    ///
    /// # Errors
    /// An allocator is damaged.
    pub fn beyond(&self, clusters: u32) -> Result<Beyond, Error> {
        let mut groups = Vec::new();
        for file in suballocators(self) {
            let allocator = self.allocator(self.system_file(file)?)?;
            for group in self.groups(&allocator) {
                let group = group?;
                if group.reaches(self, clusters) {
                    let end = |run: &Run| run.blkno.0 + u64::from(run.bits);
                    groups.extend(group.runs.iter().map(|run| run.blkno.0..end(run)));
                }
            }
        }
        groups.sort_unstable_by_key(|group| group.start);
        let first = self.geometry().block_of(Cluster(clusters)).0;
        Ok(Beyond { limit: clusters, first, groups })
    }

    /// Whether any metadata of an inode goes, apart from its own block: blocks, index, attributes,
    /// the blocks of its trees.
    ///
    /// # Errors
    /// It is damaged.
    pub fn has_metadata_beyond(&self, inode: &Inode, beyond: &Beyond) -> Result<bool, Error> {
        if inode.dinode.arm() == Arm::ExtentList {
            let mut extents = self.tree(inode)?.extents();
            for extent in extents.by_ref() {
                if inode.is_dir() && beyond.cuts(self, &extent?) {
                    return Ok(true);
                }
            }
            if extents.extent_blocks().any(|blkno| beyond.has(blkno)) {
                return Ok(true);
            }
        }
        Ok(self.has_index_beyond(inode, beyond)? || self.has_xattrs_beyond(inode, beyond)?)
    }

    /// Whether any contents of a file go that it does not share.
    ///
    /// # Errors
    /// It is damaged.
    pub fn has_contents_beyond(&self, inode: &Inode, beyond: &Beyond) -> Result<bool, Error> {
        let is_other = inode.is_dir() || inode.dinode.flags().contains(InodeFlags::JOURNAL);
        if is_other || inode.dinode.arm() != Arm::ExtentList {
            return Ok(false);
        }
        for extent in self.tree(inode)?.extents() {
            let extent = extent?;
            if !is_shared(&extent) && beyond.cuts(self, &extent) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The xattr block of an inode, if it has one.
    fn xattr_block_of(&self, inode: &Inode) -> Result<Option<(XattrBlock, Vec<u8>)>, Error> {
        let at = inode.dinode.i_xattr_loc;
        if at.is_none() || !inode.dinode.dyn_features().contains(DynFeatures::HAS_XATTR) {
            return Ok(None);
        }
        self.read(at).map(Some)
    }
}

impl Edit {
    /// Moves the contents of a file that go and that it does not share, from cluster `from` of the
    /// file on. Returns the cluster to go on with, if there may be more, and what has to be copied
    /// before the transaction.
    ///
    /// Clusters of `bad_blocks` are not moved but forgotten: they are bad where they are. The
    /// heartbeat region stays in one piece.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; the file is damaged.
    pub fn move_contents(
        &mut self,
        blkno: Blkno,
        beyond: &Beyond,
        from: u64,
    ) -> Result<(Option<u64>, Vec<Contents>), EditError> {
        self.attempt(|edit| {
            let inode = edit.inode(blkno)?;
            let mut root = edit.inode_root(&inode)?;
            let flags = inode.dinode.flags();
            if flags.contains(InodeFlags::SYSTEM)
                && edit.system_file(SystemFile::BadBlocks)?.blkno == blkno
            {
                edit.forget_extents(&mut root, beyond)?;
                edit.store_inode_root(&root)?;
                return Ok((None, Vec::new()));
            }
            let whole = flags.contains(InodeFlags::HEARTBEAT);
            let (next, copied) = edit.move_extents(&mut root, beyond, from, whole)?;
            edit.store_inode_root(&root)?;
            if !flags.contains(InodeFlags::SYSTEM) {
                return Ok((next, copied.into_iter().map(Contents::of).collect()));
            }
            // Others read them in this transaction already.
            for copy in copied {
                edit.copy(copy.from, copy.to, copy.clusters)?;
            }
            Ok((next, Vec::new()))
        })
    }

    /// Gives the blocks of the tree of a file's contents other places, if one of them goes.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; the file is damaged.
    pub fn move_tree(&mut self, blkno: Blkno, beyond: &Beyond) -> Result<(), EditError> {
        self.attempt(|edit| {
            let inode = edit.inode(blkno)?;
            if inode.dinode.arm() != Arm::ExtentList {
                return Ok(());
            }
            let mut root = edit.inode_root(&inode)?;
            if edit.rebuild_tree(&mut root, beyond, trees::Unit::Clusters)? {
                edit.store_inode_root(&root)?;
            }
            Ok(())
        })
    }

    /// Frees the groups of suballocators that go, and that nothing is in any more. Returns how
    /// many there were.
    ///
    /// # Errors
    /// [`EditError::Refused`] if something is in one of them; an allocator is damaged.
    pub fn drop_groups(&mut self, beyond: &Beyond) -> Result<usize, EditError> {
        self.attempt(|edit| {
            let mut count = 0;
            for file in suballocators(&edit.volume) {
                let Some(pool) = Pool::of(file) else { continue };
                let mut gone: Vec<Group> = Vec::new();
                let limit = beyond.limit;
                let volume = &edit.volume;
                count += edit.pools.drop_groups(volume, pool, &mut |group: &Group| {
                    if !group.reaches(volume, limit) {
                        return Ok(false);
                    }
                    if group.bitmap().count_ones() > 1 {
                        let (name, at) = (file.name(), group.blkno);
                        let text = format!(
                            "group {at} of {name} has blocks in use that belong to nothing: run \
                             fsck.ocfs2 -f first"
                        );
                        return Err(EditError::Refused(text));
                    }
                    gone.push(group.clone());
                    Ok(true)
                })?;
                for group in &gone {
                    edit.free_group(group)?;
                }
            }
            Ok(count)
        })
    }

    /// Takes a block for something whose block goes, from the same slot if possible.
    fn take_other(
        &mut self,
        structure: &'static str,
        slot: u16,
    ) -> Result<Suballocated, EditError> {
        let slot = if slot == Dinode::GLOBAL_SLOT { self.slot() } else { slot };
        self.take_block_from(structure, slot)
    }
}
