//! Journals made larger and smaller.

use std::ops::Range;

use ocfs2_format::{Cluster, Cpos};

use super::{Edit, EditError};
use crate::SystemFile;
use crate::inode::Touch;
use crate::tree::Extent;

impl Edit {
    /// Makes the journal of a slot so many clusters long, and gives the clusters that are new in
    /// it: whatever is in them is not part of this transaction, and has to be overwritten before.
    ///
    /// The superblock of the journal, which says how many blocks it uses, is not changed: it is in
    /// no transaction. It must not be larger than the file at any time: the one of a journal that
    /// gets smaller is written before this transaction, of one that gets larger after it.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; the journal is damaged.
    pub fn resize_journal(
        &mut self,
        slot: u16,
        clusters: u32,
    ) -> Result<Vec<Range<u32>>, EditError> {
        self.attempt(|edit| {
            let inode = edit.system_file(SystemFile::Journal(slot))?;
            let mut root = edit.inode_root(&inode)?;
            let has = root.clusters();
            let mut new = Vec::new();
            if has < clusters {
                new = edit.take_runs(clusters - has)?;
                let mut cpos = has;
                for run in &new {
                    let mut at = run.start;
                    while at < run.end {
                        let count = (run.end - at).min(u16::MAX.into());
                        let blkno = edit.geometry().block_of(Cluster(at));
                        let extent = Extent::new(Cpos(cpos), count as u16, blkno);
                        edit.tree_insert(&mut root, extent)?;
                        (at, cpos) = (at + count, cpos + count);
                    }
                }
            } else if has > clusters {
                let mut freed = Vec::new();
                edit.tree_change(&mut root, u64::from(clusters)..1 << 32, &mut |extent| {
                    freed.push(extent);
                    None
                })?;
                for extent in freed {
                    let run = edit.run_of(&extent);
                    edit.give_clusters(run)?;
                }
            } else {
                return Ok(new);
            }
            edit.store_inode_root(&root)?;
            let size = u64::from(clusters) << edit.geometry().cluster_size.bits();
            let time = edit.time();
            edit.update_dinode(root.at(), |dinode, _| {
                dinode.i_size = size;
                dinode.touch(time);
            })?;
            Ok(new)
        })
    }
}
