//! Removing node slots: what a slot's allocators gave out goes to the allocators of another slot,
//! then its files go.
//!
//! A group keeps its place, so that inodes keep their numbers. Each block in it states the slot of
//! its allocator, and gets the new one in the same transaction.

use ocfs2_format::dinode::FileKind;
use ocfs2_format::dx::DxRoot;
use ocfs2_format::extent::ExtentBlock;
use ocfs2_format::quota::{LocalInfo, QuotaHeader};
use ocfs2_format::refcount::RefcountBlock;
use ocfs2_format::xattr::XattrBlock;
use ocfs2_format::{Blkno, Block, Cluster, Invalid, Structure};

use super::{Edit, EditError};
use crate::allocator::Group;
use crate::allocator::pools::Pool;
use crate::{Error, InBlock, SystemFile, Volume};

impl Volume {
    /// Fails if a slot still has something to do: deletions, clusters to be given back, or changes
    /// of quotas. A recovery does it.
    ///
    /// # Errors
    /// [`EditError::Refused`]; something is damaged.
    pub fn verify_slot_is_done(&self, slot: u16) -> Result<(), EditError> {
        let refused = |what: &str| {
            let text = format!("the {what} of slot {slot} is not empty: run fsck.ocfs2 -f first");
            Err(EditError::Refused(text))
        };
        for entry in self.entries(&self.system_file(SystemFile::OrphanDir(slot))?)? {
            if !entry?.is_dot() {
                return refused("orphan directory");
            }
        }
        let leftovers = self.leftovers(slot)?;
        if !leftovers.local_alloc.is_empty() {
            return refused("local alloc");
        }
        if !leftovers.truncate_log.is_empty() {
            return refused("truncate log");
        }
        for kind in self.quota_kinds() {
            let file = self.quota_file(SystemFile::LocalQuota(kind, slot))?;
            let (blkno, block) = file.read(self, 0)?;
            let info = block.get(QuotaHeader::SIZE..).unwrap_or_default();
            let info = LocalInfo::decode(info).in_block(blkno)?;
            if info.dqi_flags & LocalInfo::CLEAN == 0 {
                return refused(kind.file_name());
            }
        }
        Ok(())
    }

    /// The system files of slots that the volume does not have, as an interrupted change of their
    /// number leaves them.
    ///
    /// # Errors
    /// The system directory is damaged.
    pub fn surplus_slot_files(&self) -> Result<Vec<SystemFile>, Error> {
        let mut found = Vec::new();
        for entry in self.entries(&self.system_dir()?)? {
            let name = entry?.name;
            if name.contains(&b':')
                && let Some(file) = SystemFile::of_name(&name)
                && file.slot().is_some_and(|slot| slot >= self.max_slots())
            {
                found.push(file);
            }
        }
        Ok(found)
    }
}

impl Edit {
    /// Moves a group of an allocator of one slot to the same allocator of another slot. A group of
    /// which nothing is in use is freed. Returns false if the allocator has no groups left.
    ///
    /// # Errors
    /// [`EditError::Refused`] for other files than `inode_alloc` and `extent_alloc`, and if the
    /// other allocator can have no more groups; something is damaged.
    pub fn pass_group(&mut self, file: SystemFile, to: u16) -> Result<bool, EditError> {
        let (from, into) = match file {
            SystemFile::InodeAlloc(slot) => (Pool::Inodes(slot), Pool::Inodes(to)),
            SystemFile::ExtentAlloc(slot) => (Pool::Blocks(slot), Pool::Blocks(to)),
            _ => return Err(EditError::Refused(format!("{} is not of a slot", file.name()))),
        };
        self.attempt(|edit| {
            let Some(group) = edit.pools.take_last_group(&edit.volume, from)? else {
                return Ok(false);
            };
            let used = group.bitmap();
            let blocks: Vec<_> = (1..used.len())
                .filter(|bit| used.get(*bit))
                .filter_map(|bit| group.block_of_bit(bit as u32))
                .collect();
            if blocks.is_empty() {
                edit.free_group(&group)?;
                return Ok(true);
            }
            for blkno in blocks {
                match from {
                    Pool::Inodes(_) => {
                        edit.update_dinode(blkno, |it, _| it.i_suballoc_slot = to)?
                    }
                    _ => edit.pass_block(blkno, to)?,
                }
            }
            match edit.pools.put_group(&edit.volume, into, group)? {
                true => Ok(true),
                false => Err(EditError::TooLarge("the allocator can have no more groups")),
            }
        })
    }

    /// Gives the clusters of a group back that is no longer one of an allocator's.
    pub(super) fn free_group(&mut self, group: &Group) -> Result<(), EditError> {
        let bits = self.geometry().bpc_bits();
        for run in &group.runs {
            let Some(Cluster(first)) = self.geometry().cluster_of(run.blkno) else { continue };
            self.give_clusters(first..first + (run.bits >> bits))?;
        }
        Ok(())
    }

    /// Makes a block of metadata state another slot.
    fn pass_block(&mut self, blkno: Blkno, slot: u16) -> Result<(), EditError> {
        let block = self.read_block(blkno)?;
        if block.starts_with(&ExtentBlock::SIGNATURE) {
            self.update::<ExtentBlock>(blkno, |it, _| it.h_suballoc_slot = slot)
        } else if block.starts_with(&DxRoot::SIGNATURE) {
            self.update::<DxRoot>(blkno, |it, _| it.dr_suballoc_slot = slot)
        } else if block.starts_with(&XattrBlock::SIGNATURE) {
            self.update::<XattrBlock>(blkno, |it, _| it.xb_suballoc_slot = slot)
        } else if block.starts_with(&RefcountBlock::SIGNATURE) {
            self.update::<RefcountBlock>(blkno, |it, _| it.rf_suballoc_slot = slot)
        } else {
            let found = block.get(..8).unwrap_or_default().escape_ascii().to_string();
            let expected = "that of a block of metadata";
            let wrong = Invalid::new(ExtentBlock::NAME, blkno, "h_signature", found, expected);
            Err(Error::from(wrong).into())
        }
    }

    /// Removes a file of a slot that the volume does not have any more, and all it holds.
    ///
    /// # Errors
    /// [`EditError::Refused`] if the slot is still there, or if the file is an allocator with
    /// groups; something is damaged.
    pub fn remove_slot_file(&mut self, file: SystemFile) -> Result<(), EditError> {
        self.attempt(|edit| {
            let is_there = file.slot().is_none_or(|slot| slot < edit.max_slots());
            let inode = edit.system_file(file)?;
            let is_allocator =
                matches!(file, SystemFile::InodeAlloc(_) | SystemFile::ExtentAlloc(_));
            if is_there || is_allocator && inode.dinode.i_clusters > 0 {
                return Err(EditError::Refused(format!("{} is in use", file.name())));
            }
            let dir = edit.superblock().s_system_dir_blkno;
            edit.take_name(dir, file.name().as_bytes())?;
            edit.delete(inode.blkno)?;
            if file.kind() == FileKind::Directory {
                edit.drop_link(dir)?;
            }
            Ok(())
        })
    }
}
