//! Space for repairs, taken from and given back to the allocators. These have to be sound:
//! [`Repair::when_sound`](super::Repair::when_sound).
//!
//! Allocations are written at once, since a repair reads the volume beside its edit.

use std::ops::Range;

use ocfs2_volume::allocator::Suballocated;
use ocfs2_volume::edit::{Edit, EditError as NotEdited};

use super::{EditError, Editor};

impl Editor<'_> {
    /// Makes an allocation; if it fails, nothing is taken.
    fn take<T>(
        &mut self,
        take: impl FnOnce(&mut Edit) -> Result<T, NotEdited>,
    ) -> Result<T, EditError> {
        self.must_be_sound()?;
        Ok(self.edit.attempt(take)?)
    }

    fn must_be_sound(&self) -> Result<(), EditError> {
        if self.terms.may_take { Ok(()) } else { Err(EditError::NotYet) }
    }

    /// Takes `count` clusters in as few runs as possible. Their old contents remain.
    ///
    /// # Errors
    /// [`EditError::NoRoom`], and none is taken; an allocator is damaged.
    pub fn take_clusters(&mut self, count: u32) -> Result<Vec<Range<u32>>, EditError> {
        self.take(|edit| edit.take_runs(count))
    }

    /// Fails early if fewer than `blocks` blocks of metadata and, besides, `clusters` clusters are
    /// free: a part of the repair would be of no use. That it succeeds does not guarantee that they
    /// are enough.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; an allocator is damaged.
    pub fn must_have_room(&mut self, blocks: u64, clusters: u64) -> Result<(), EditError> {
        self.must_be_sound()?;
        let free = self.edit.free_clusters()?;
        if clusters > free {
            return Err(EditError::NoRoom("clusters"));
        }
        let per_cluster = self.volume().geometry().blocks_per_cluster();
        let mut there = (free - clusters).saturating_mul(per_cluster.into());
        for slot in 0..self.volume().max_slots() {
            if there >= blocks {
                return Ok(());
            }
            // A damaged allocator is reported when something is taken from it.
            there += self.edit.free_blocks(slot).unwrap_or(0);
        }
        if there >= blocks { Ok(()) } else { Err(EditError::NoRoom("blocks of metadata")) }
    }

    /// Takes `count` blocks as [`Editor::take_block`] does.
    ///
    /// # Errors
    /// As [`Editor::take_block`]; none is taken then.
    pub fn take_blocks(
        &mut self,
        structure: &'static str,
        slot: u16,
        count: usize,
    ) -> Result<Vec<Suballocated>, EditError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        self.must_have_room(count as u64, 0)?;
        let interrupt = self.interrupt();
        self.edit.attempt(|edit| {
            let take = |_| {
                interrupt.check().map_err(|_| EditError::Interrupted)?;
                Ok(edit.take_block_from(structure, slot)?)
            };
            (0..count).map(take).collect()
        })
    }

    /// Takes a block for a `structure` from the `extent_alloc` of a slot, or of another slot if
    /// that one is full.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; an allocator is damaged.
    pub fn take_block(
        &mut self,
        structure: &'static str,
        slot: u16,
    ) -> Result<Suballocated, EditError> {
        self.take(|edit| edit.take_block_from(structure, slot))
    }

    /// Takes a block for an inode from the `inode_alloc` of a slot, or of another slot if that one
    /// is full.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; an allocator is damaged.
    pub fn take_inode(&mut self, slot: u16) -> Result<Suballocated, EditError> {
        self.take(|edit| edit.take_inode_from(slot))
    }

    /// Takes a block for an inode of the system from the `global_inode_alloc`.
    ///
    /// # Errors
    /// As [`Editor::take_inode`].
    pub fn take_system_inode(&mut self) -> Result<Suballocated, EditError> {
        self.take(Edit::take_system_inode)
    }

    /// Gives clusters back; clusters that are already free stay so.
    ///
    /// # Errors
    /// The global bitmap is damaged.
    pub fn free_clusters(&mut self, run: Range<u32>) -> Result<(), EditError> {
        Ok(self.edit.attempt(|edit| edit.give_clusters(run))?)
    }

    /// Gives a block of an `extent_alloc` back.
    ///
    /// # Errors
    /// It is not a block of one, or the allocator is damaged.
    pub fn free_block(&mut self, block: Suballocated) -> Result<(), EditError> {
        Ok(self.edit.attempt(|edit| edit.give_block(block))?)
    }
}
