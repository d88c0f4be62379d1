//! Room for repairs, taken from and given back to the allocators, which have to be sound:
//! [`Repair::when_sound`](super::Repair::when_sound).
//!
//! What is taken is written at once: a repair reads the volume beside its edit.

use std::ops::Range;

use ocfs2_volume::allocator::Suballocated;
use ocfs2_volume::edit::{Edit, EditError as NotEdited};

use super::{EditError, Editor};

impl Editor<'_> {
    /// Has `take` take something; what is left of it where it fails is nothing.
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

    /// Takes `count` clusters, in as few runs as there are. Their contents are whatever was
    /// there.
    ///
    /// # Errors
    /// [`EditError::NoRoom`], and none is taken; an allocator that is wrong.
    pub fn take_clusters(&mut self, count: u32) -> Result<Vec<Range<u32>>, EditError> {
        self.take(|edit| edit.take_runs(count))
    }

    /// Ends a repair early for which so many blocks of metadata and so many clusters besides are
    /// not there: making a part of it would be in vain. It may turn out later that they are too
    /// few.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; an allocator that is wrong.
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
            // One that is wrong is met when something is taken from it.
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

    /// Takes a block of the `extent_alloc` of a slot for a `structure`; another slot's if that
    /// has none left.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; an allocator that is wrong.
    pub fn take_block(
        &mut self,
        structure: &'static str,
        slot: u16,
    ) -> Result<Suballocated, EditError> {
        self.take(|edit| edit.take_block_from(structure, slot))
    }

    /// Takes a block for an inode from the `inode_alloc` of a slot; another slot's if that has
    /// none left.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; an allocator that is wrong.
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

    /// Gives clusters back; those that are free already stay so.
    ///
    /// # Errors
    /// The global bitmap is wrong.
    pub fn free_clusters(&mut self, run: Range<u32>) -> Result<(), EditError> {
        Ok(self.edit.attempt(|edit| edit.give_clusters(run))?)
    }

    /// Gives a block of an `extent_alloc` back.
    ///
    /// # Errors
    /// It is none, or the allocator is wrong.
    pub fn free_block(&mut self, block: Suballocated) -> Result<(), EditError> {
        Ok(self.edit.attempt(|edit| edit.give_block(block))?)
    }
}
