//! Resizing of journals.

use std::ops::Range;

use ocfs2_format::{Cluster, Cpos};

use super::{Edit, EditError};
use crate::SystemFile;
use crate::inode::Touch;
use crate::tree::Extent;

impl Edit {
    /// Makes the journal of a slot `clusters` clusters long and returns its new clusters. Their
    /// contents are not part of this transaction: they have to be overwritten before it.
    ///
    /// The superblock of the journal, which states how many blocks it uses, is not part of a
    /// transaction and stays as it is. It must never state more than the file has: it has to be
    /// written before this transaction if the journal gets smaller, and after it if the journal
    /// gets larger.
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
