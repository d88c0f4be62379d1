//! Reading and setting entries of global quota files.

use std::collections::HashSet;

use ocfs2_format::Structure;
use ocfs2_format::quota::{QuotaEntry, QuotaKind, leaf_entries, references, tree_depth};

use super::quota::{Change, QuotaFile, ROOT};
use super::{Edit, EditError};
use crate::{Error, InBlock, SystemFile, Volume};

impl Volume {
    /// All entries of a global quota file, in the order of their ids.
    ///
    /// # Errors
    /// That kind of quota is not kept; the file is damaged.
    pub fn quota_entries(&self, kind: QuotaKind) -> Result<Vec<QuotaEntry>, Error> {
        let file = self.quota_file(SystemFile::Quota(kind))?;
        let depth = tree_depth(self.block_size());
        let (mut found, mut visited) = (Vec::new(), HashSet::new());
        // Blocks to visit, with their distance from the root: depth first.
        let mut left = vec![(ROOT, 0)];
        while let Some((index, level)) = left.pop() {
            // Several ids share a leaf.
            if !visited.insert((index, level)) {
                continue;
            }
            let (_, block) = file.read(self, index)?;
            if level == depth {
                found.extend(leaf_entries(&block).filter(QuotaEntry::is_used));
                continue;
            }
            let below: Vec<_> = references(&block).filter(|index| *index != 0).collect();
            if below.contains(&ROOT) {
                return Err(file.inode.invalid("reference", ROOT, "no block before it"));
            }
            left.extend(below.into_iter().rev().map(|index| (index, level + 1)));
        }
        found.sort_by_key(|entry| entry.dqb_id);
        Ok(found)
    }

    /// The entry of an id; `None` if it has none.
    ///
    /// # Errors
    /// As [`Volume::quota_entries`].
    pub fn quota_entry(&self, kind: QuotaKind, id: u32) -> Result<Option<QuotaEntry>, Error> {
        let file = self.quota_file(SystemFile::Quota(kind))?;
        let Some((blkno, block, offset)) = file.find(self, id)? else { return Ok(None) };
        let bytes = block.get(offset..).unwrap_or_default();
        QuotaEntry::decode(bytes).map(Some).in_block(blkno)
    }
}

impl Edit {
    /// Changes the entry of an id, which gets one if it has none. `change` has to leave the usage
    /// alone: that is counted.
    ///
    /// # Errors
    /// [`EditError::Refused`] where that kind of quota is not kept; [`EditError::NoRoom`]; the file
    /// is damaged.
    pub fn update_quota(
        &mut self,
        kind: QuotaKind,
        id: u32,
        change: impl FnOnce(&mut QuotaEntry),
    ) -> Result<(), EditError> {
        if !self.features().has_quota(kind) {
            let what = if kind == QuotaKind::User { "user" } else { "group" };
            return Err(EditError::Refused(format!("the {what} quota is not enabled")));
        }
        self.attempt(|edit| {
            edit.ensure_quota(kind, id)?;
            let file = edit.quota_file(SystemFile::Quota(kind))?;
            let found = file.find(&edit.volume, id)?;
            let (blkno, mut block, offset) =
                found.ok_or_else(|| file.inode.invalid("dqb_id", "missing", id))?;
            let bytes = block.get_mut(offset..).unwrap_or_default();
            let mut entry = QuotaEntry::decode(bytes).in_block(blkno)?;
            change(&mut entry);
            entry.dqb_id = id;
            if !entry.is_used() {
                // An entry of zeros would count as unused.
                entry.dqb_itime = 1;
            }
            entry.encode(bytes).in_block(blkno)?;
            Ok(QuotaFile::write(&edit.volume, blkno, &block)?)
        })
    }

    fn ensure_quota(&mut self, kind: QuotaKind, id: u32) -> Result<(), EditError> {
        if self.add_usage(kind, id, Change::default())? {
            return Ok(());
        }
        self.new_quota(QuotaEntry { dqb_id: id, dqb_itime: 1, ..QuotaEntry::default() }, kind)
    }
}
