//! Room for repairs, taken from and given back to the allocators, which have to be sound:
//! [`Repair::when_sound`](super::Repair::when_sound).

use std::ops::Range;

use ocfs2_volume::allocator::{Space, Suballocated};

use super::{EditError, Editor};

impl Editor<'_> {
    fn must_be_sound(&self) -> Result<(), EditError> {
        if self.terms.may_take { Ok(()) } else { Err(EditError::NotYet) }
    }

    /// Takes `count` clusters, in as few runs as there are. Their contents are whatever was
    /// there.
    ///
    /// # Errors
    /// [`EditError::NoRoom`], and none is taken; an allocator that is wrong.
    pub fn take_clusters(&mut self, count: u32) -> Result<Vec<Range<u32>>, EditError> {
        self.must_be_sound()?;
        let mut space = Space::new(self.volume());
        let runs = space.take_runs(count)?.ok_or(EditError::NoRoom("clusters"))?;
        space.write()?;
        Ok(runs)
    }

    /// Ends a repair early for which so many blocks of metadata and so many clusters besides are
    /// not there: making a part of it would be in vain. It may turn out later that they are too
    /// few.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; an allocator that is wrong.
    pub fn must_have_room(&self, blocks: u64, clusters: u64) -> Result<(), EditError> {
        self.must_be_sound()?;
        let mut space = Space::new(self.volume());
        let free = space.free_clusters()?;
        if clusters > free {
            return Err(EditError::NoRoom("clusters"));
        }
        let mut there =
            (free - clusters).saturating_mul(self.volume().geometry().blocks_per_cluster().into());
        for slot in 0..self.volume().max_slots() {
            if there >= blocks {
                return Ok(());
            }
            // One that is wrong is met when something is taken from it.
            there += space.free_blocks(slot).unwrap_or(0);
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
        let mut taken = Vec::with_capacity(count);
        let mut space = Space::new(self.volume());
        for slot in self.slots_from(slot) {
            while taken.len() < count {
                self.check_interrupt()?;
                match space.take_block(structure, slot)? {
                    Some(block) => taken.push(block),
                    None => break,
                }
            }
        }
        if taken.len() < count {
            return Err(EditError::NoRoom(structure));
        }
        space.write()?;
        Ok(taken)
    }

    /// All slots, this one first.
    fn slots_from(&self, slot: u16) -> impl Iterator<Item = u16> + use<> {
        let slots = self.volume().max_slots().max(1);
        (0..slots).map(move |next| (slot % slots + next) % slots)
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
        self.take(slot, structure, |space, slot| space.take_block(structure, slot))
    }

    /// Takes a block for an inode from the `inode_alloc` of a slot; another slot's if that has
    /// none left.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; an allocator that is wrong.
    pub fn take_inode(&mut self, slot: u16) -> Result<Suballocated, EditError> {
        self.take(slot, "an inode", |space, slot| space.take_inode(slot))
    }

    /// Takes a block for an inode of the system from the `global_inode_alloc`.
    ///
    /// # Errors
    /// As [`Editor::take_inode`].
    pub fn take_system_inode(&mut self) -> Result<Suballocated, EditError> {
        self.must_be_sound()?;
        let mut space = Space::new(self.volume());
        let global = ocfs2_format::dinode::Dinode::GLOBAL_SLOT;
        let taken = space.take_inode(global)?.ok_or(EditError::NoRoom("a system file"))?;
        space.write()?;
        Ok(taken)
    }

    fn take(
        &mut self,
        slot: u16,
        what: &'static str,
        mut take: impl FnMut(&mut Space<'_>, u16) -> Result<Option<Suballocated>, ocfs2_volume::Error>,
    ) -> Result<Suballocated, EditError> {
        self.must_be_sound()?;
        for slot in self.slots_from(slot) {
            let mut space = Space::new(self.volume());
            if let Some(taken) = take(&mut space, slot)? {
                space.write()?;
                return Ok(taken);
            }
        }
        Err(EditError::NoRoom(what))
    }

    /// Gives clusters back; those that are free already stay so.
    ///
    /// # Errors
    /// The global bitmap is wrong.
    pub fn free_clusters(&mut self, run: Range<u32>) -> Result<(), EditError> {
        let mut space = Space::new(self.volume());
        space.free_run(run)?;
        Ok(space.write()?)
    }

    /// Gives a block of an `extent_alloc` back.
    ///
    /// # Errors
    /// It is none, or the allocator is wrong.
    pub fn free_block(&mut self, block: Suballocated) -> Result<(), EditError> {
        let mut space = Space::new(self.volume());
        space.free_block(block)?;
        Ok(space.write()?)
    }
}
