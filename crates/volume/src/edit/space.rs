//! Taking and giving back clusters and blocks in an edit.

use std::ops::Range;

use ocfs2_format::dinode::Dinode;
use ocfs2_format::{Blkno, Cluster};

use super::{Edit, EditError};
use crate::SystemFile;
use crate::allocator::pools::Pool;
use crate::allocator::{Suballocated, Want};

impl Edit {
    /// Takes consecutive clusters. Their contents are whatever was there before.
    ///
    /// # Errors
    /// [`EditError::NoRoom`] if there is no such run; the global bitmap is damaged.
    pub fn take_clusters(&mut self, want: Want) -> Result<Range<u32>, EditError> {
        let taken = self.pools.take_clusters(&self.volume, want)?;
        taken.ok_or(EditError::NoRoom("clusters"))
    }

    /// Takes this very cluster. Returns false if it is not free.
    ///
    /// # Errors
    /// The global bitmap is damaged.
    pub fn take_cluster(&mut self, cluster: u32) -> Result<bool, EditError> {
        let want = Want::exactly(1).near(Cluster(cluster));
        let Some(run) = self.pools.take_clusters(&self.volume, want)? else { return Ok(false) };
        if run.start == cluster {
            return Ok(true);
        }
        self.give_clusters(run)?;
        Ok(false)
    }

    /// Takes `count` clusters, in as few runs as possible.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; the global bitmap is damaged.
    pub fn take_runs(&mut self, count: u32) -> Result<Vec<Range<u32>>, EditError> {
        let taken = self.pools.take_runs(&self.volume, count)?;
        taken.ok_or(EditError::NoRoom("clusters"))
    }

    /// Number of free clusters.
    ///
    /// # Errors
    /// The global bitmap is damaged.
    pub fn free_clusters(&mut self) -> Result<u64, EditError> {
        Ok(self.pools.free(&self.volume, Pool::Clusters)?)
    }

    /// Gives clusters back.
    ///
    /// # Errors
    /// One is outside the volume; the global bitmap is damaged.
    pub fn give_clusters(&mut self, run: Range<u32>) -> Result<(), EditError> {
        self.note_freed(&run);
        Ok(self.pools.free_clusters(&self.volume, run)?)
    }

    /// Takes a block of metadata for a `structure` from the `extent_alloc` of this edit's slot, or
    /// of another one if that has no room left.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; an allocator is damaged.
    pub fn take_block(&mut self, structure: &'static str) -> Result<Suballocated, EditError> {
        self.take_block_from(structure, self.options.slot)
    }

    /// As [`Edit::take_block`], from the `extent_alloc` of `slot`, or of another slot if that has
    /// no room left.
    ///
    /// # Errors
    /// As [`Edit::take_block`].
    pub fn take_block_from(
        &mut self,
        structure: &'static str,
        slot: u16,
    ) -> Result<Suballocated, EditError> {
        for slot in self.slots_from(slot) {
            if let Some(taken) = self.pools.take_block(&self.volume, structure, slot)? {
                return Ok(taken);
            }
        }
        Err(EditError::NoRoom(structure))
    }

    /// Takes a block for an inode from the `inode_alloc` of this edit's slot, or of another one if
    /// that has no room left.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; an allocator is damaged.
    pub fn take_inode(&mut self) -> Result<Suballocated, EditError> {
        self.take_inode_from(self.options.slot)
    }

    /// As [`Edit::take_inode`], from the `inode_alloc` of `slot`, or of another slot if that has no
    /// room left.
    ///
    /// # Errors
    /// As [`Edit::take_inode`].
    pub fn take_inode_from(&mut self, slot: u16) -> Result<Suballocated, EditError> {
        for slot in self.slots_from(slot) {
            if let Some(taken) = self.pools.take_inode(&self.volume, slot)? {
                return Ok(taken);
            }
        }
        Err(EditError::NoRoom("an inode"))
    }

    /// Takes a block for an inode of the system from the `global_inode_alloc`.
    ///
    /// # Errors
    /// As [`Edit::take_inode`].
    pub fn take_system_inode(&mut self) -> Result<Suballocated, EditError> {
        let taken = self.pools.take_inode(&self.volume, Dinode::GLOBAL_SLOT)?;
        taken.ok_or(EditError::NoRoom("a system file"))
    }

    /// Number of free blocks in the `extent_alloc` of a slot, according to its chains.
    ///
    /// # Errors
    /// The allocator is damaged.
    pub fn free_blocks(&mut self, slot: u16) -> Result<u64, EditError> {
        Ok(self.pools.free(&self.volume, Pool::Blocks(slot))?)
    }

    /// Gives a block of an `extent_alloc` back.
    ///
    /// # Errors
    /// It did not come from there; the allocator is damaged.
    pub fn give_block(&mut self, block: Suballocated) -> Result<(), EditError> {
        Ok(self.pools.free_block(&self.volume, block)?)
    }

    /// Gives the block of a dinode back.
    ///
    /// # Errors
    /// As [`Edit::give_block`].
    pub fn give_inode(&mut self, dinode: &Dinode) -> Result<(), EditError> {
        Ok(self.pools.free_inode(&self.volume, dinode)?)
    }

    /// Marks bits of a group of an allocator as in use or as free, and updates the counts. Who uses
    /// what the bits stand for is not checked: the caller has to know. Bits already in that state
    /// stay.
    ///
    /// # Errors
    /// [`EditError::Refused`] if the group does not have them, or `allocator` is not an allocator;
    /// something is damaged.
    pub fn mark_bits(
        &mut self,
        allocator: SystemFile,
        group: Blkno,
        bits: Range<u32>,
        used: bool,
    ) -> Result<(), EditError> {
        let pool = Pool::of(allocator)
            .ok_or_else(|| EditError::Refused(format!("{} is no allocator", allocator.name())))?;
        self.attempt(|edit| {
            if edit.pools.mark(&edit.volume, pool, group, bits.clone(), used)? {
                return Ok(());
            }
            let Range { start, end } = bits;
            Err(EditError::Refused(format!("group {group} does not have the bits {start}..{end}")))
        })
    }

    /// All slots, beginning with `first`.
    fn slots_from(&self, first: u16) -> impl Iterator<Item = u16> + use<> {
        let slots = self.volume.max_slots().max(1);
        (0..slots).map(move |next| (first % slots + next) % slots)
    }
}
