//! Moving journals.
//!
//! The journal that a transaction is written through may be the one that moves. So it first becomes
//! twice as long, then its halves change places, which changes nothing but its inode, and then it
//! loses its second half. Journals are empty, apart from their first block.

use std::ops::Range;

use ocfs2_format::{Blkno, Cpos};

use super::{Beyond, trees::Unit};
use crate::edit::file::part_of;
use crate::edit::{Edit, EditError};
use crate::tree::Extent;
use crate::{SystemFile, Volume};

/// A step of moving a journal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum JournalStep {
    /// It has become longer: these clusters have to be zeroed before the transaction.
    Longer(Vec<Range<u32>>),
    /// Its halves have changed places.
    Turned {
        /// Whether nothing but its inode has changed: then the transaction may go through it.
        is_inode_only: bool,
    },
    /// It has lost its end.
    Cut,
    /// Nothing of it goes.
    Done,
}

impl Volume {
    /// Whether any of a journal goes.
    ///
    /// # Errors
    /// The journal is damaged.
    pub fn has_journal_beyond(&self, slot: u16, beyond: &Beyond) -> Result<bool, EditError> {
        let inode = self.system_file(SystemFile::Journal(slot))?;
        let mut extents = self.tree(&inode)?.extents();
        for extent in extents.by_ref() {
            if beyond.cuts(self, &extent?) {
                return Ok(true);
            }
        }
        Ok(extents.extent_blocks().any(|blkno| beyond.has(blkno)))
    }
}

impl Edit {
    /// Makes the next step of moving the journal of a slot. `last` is the step before, which is
    /// committed.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; the journal is damaged.
    pub fn move_journal(
        &mut self,
        slot: u16,
        beyond: &Beyond,
        last: &JournalStep,
    ) -> Result<JournalStep, EditError> {
        self.attempt(|edit| {
            let journal = edit.volume.journal(slot)?;
            let bytes = u64::from(journal.superblock.s_maxlen) << edit.block_size().bits();
            let used = edit.geometry().clusters_for(bytes).unwrap_or(u32::MAX);
            let has = journal.inode.dinode.i_clusters;
            match last {
                JournalStep::Longer(_) => {
                    let is_inode_only = edit.turn_journal(slot, used)?;
                    Ok(JournalStep::Turned { is_inode_only })
                }
                _ if !edit.volume.has_journal_beyond(slot, beyond)? => Ok(JournalStep::Done),
                // An interrupted move has left a second half.
                _ if has > used => {
                    edit.resize_journal(slot, used)?;
                    Ok(JournalStep::Cut)
                }
                _ => {
                    let new = edit.resize_journal(slot, used.saturating_mul(2))?;
                    let inode = edit.system_file(SystemFile::Journal(slot))?;
                    let head = edit.tree(&inode)?.map(Cpos(used))?;
                    let missing = || inode.invalid("i_clusters", has, "more");
                    let head = head.ok_or_else(missing)?;
                    let bits = edit.geometry().bpc_bits();
                    let at = head.blkno.0 + (u64::from(used - head.cpos.0) << bits);
                    let block = edit.read_block(journal.blkno)?;
                    edit.volume.write_raw(Blkno(at), &block)?;
                    Ok(JournalStep::Longer(new))
                }
            }
        })
    }

    /// Puts what a journal has from cluster `half` on before the rest. Returns whether nothing but
    /// its inode has changed.
    fn turn_journal(&mut self, slot: u16, half: u32) -> Result<bool, EditError> {
        let inode = self.system_file(SystemFile::Journal(slot))?;
        let mut root = self.inode_root(&inode)?;
        let had_blocks = !root.last_leaf().is_none();
        let extents = self.volume.tree_of(&root, Unit::Clusters)?.extents();
        let mut parts = Vec::new();
        for extent in extents {
            let extent = extent?;
            let middle = u64::from(half);
            for range in [
                u64::from(extent.cpos.0)..extent.end().min(middle),
                middle.max(extent.cpos.0.into())..extent.end(),
            ] {
                if !range.is_empty() {
                    parts.push(part_of(self, &extent, range));
                }
            }
        }
        self.tree_change(&mut root, 0..1 << 32, &mut |_| None)?;
        for part in parts {
            let cpos = match part.cpos.0.checked_sub(half) {
                Some(cpos) => cpos,
                None => part.cpos.0 + half,
            };
            self.tree_insert(&mut root, Extent { cpos: Cpos(cpos), ..part })?;
        }
        self.store_inode_root(&root)?;
        Ok(!had_blocks && root.last_leaf().is_none())
    }
}
