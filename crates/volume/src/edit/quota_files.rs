//! Making and removing the quota files of a kind.

use std::collections::BTreeMap;

use ocfs2_format::dinode::{Dinode, InodeFlags};
use ocfs2_format::dir::FileType;
use ocfs2_format::extent::write_extent_list;
use ocfs2_format::quota::{GlobalInfo, QuotaEntry, QuotaKind};
use ocfs2_format::quota_tree::pack_global;
use ocfs2_format::{Blkno, Cluster, Cpos};

use super::entry_block::NewEntry;
use super::quota::QuotaFile;
use super::system_file::MODE_FILE;
use super::{Edit, EditError};
use crate::tree::Extent;
use crate::{Error, Inode, SystemFile, Volume};

impl Volume {
    /// What users or groups use, by id. With the clusters of directories' `indexes` it is as Linux
    /// counts it.
    ///
    /// # Errors
    /// An inode or an index is damaged.
    pub fn quota_usage(
        &self,
        kind: QuotaKind,
        indexes: bool,
    ) -> Result<BTreeMap<u32, QuotaEntry>, Error> {
        let mut usage = BTreeMap::new();
        let bits = self.geometry().cluster_size.bits();
        for inode in self.inodes() {
            let inode = inode?;
            let flags = inode.dinode.flags();
            let is_root = inode.blkno == self.superblock().s_root_blkno;
            if !flags.contains(InodeFlags::VALID) || flags.contains(InodeFlags::SYSTEM) && !is_root
            {
                continue;
            }
            let index = match indexes && self.is_indexed(&inode) {
                true => self.dx_root(&inode)?.0.dr_clusters,
                false => 0,
            };
            let clusters = u64::from(inode.dinode.i_clusters) + u64::from(index);
            let id = match kind {
                QuotaKind::User => inode.dinode.i_uid,
                QuotaKind::Group => inode.dinode.i_gid,
            };
            let new = || QuotaEntry { dqb_id: id, ..QuotaEntry::default() };
            let entry = usage.entry(id).or_insert_with(new);
            entry.dqb_curinodes = entry.dqb_curinodes.saturating_add(1);
            entry.dqb_curspace = entry.dqb_curspace.saturating_add(clusters << bits);
        }
        Ok(usage)
    }

    /// The quota files of a kind that there are.
    ///
    /// # Errors
    /// The system directory is damaged.
    pub fn quota_files(&self, kind: QuotaKind) -> Result<Vec<(SystemFile, Inode)>, Error> {
        let locals = (0..self.max_slots()).map(|slot| SystemFile::LocalQuota(kind, slot));
        let mut found = Vec::new();
        for file in std::iter::once(SystemFile::Quota(kind)).chain(locals) {
            match self.system_file(file) {
                Ok(inode) => found.push((file, inode)),
                Err(Error::NotFound { .. }) => {}
                Err(err) => return Err(err),
            }
        }
        Ok(found)
    }
}

impl Edit {
    /// Makes the quota files of a kind, which the volume does not keep yet, with these entries and
    /// without limits. Files that are there already are replaced.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; something is damaged.
    pub fn create_quota_files(
        &mut self,
        kind: QuotaKind,
        usage: &BTreeMap<u32, QuotaEntry>,
    ) -> Result<(), EditError> {
        self.attempt(|edit| {
            edit.remove_quota_files(kind)?;
            edit.write_global_quota(kind, usage)?;
            for slot in 0..edit.max_slots() {
                edit.create_slot_file(SystemFile::LocalQuota(kind, slot))?;
            }
            Ok(())
        })
    }

    /// Removes the quota files of a kind, which the volume does not keep any more.
    ///
    /// # Errors
    /// [`EditError::Refused`] on a volume that keeps it; something is damaged.
    pub fn remove_quota_files(&mut self, kind: QuotaKind) -> Result<(), EditError> {
        if self.features().has_quota(kind) {
            return Err(EditError::Refused("the quota is kept".to_owned()));
        }
        self.attempt(|edit| {
            let dir = edit.superblock().s_system_dir_blkno;
            for (file, inode) in edit.quota_files(kind)? {
                edit.take_name(dir, file.name().as_bytes())?;
                edit.delete(inode.blkno)?;
            }
            Ok(())
        })
    }

    fn write_global_quota(
        &mut self,
        kind: QuotaKind,
        usage: &BTreeMap<u32, QuotaEntry>,
    ) -> Result<(), EditError> {
        let file = SystemFile::Quota(kind);
        let (geometry, block_size) = (*self.geometry(), self.block_size());
        let entries: Vec<_> = usage.values().copied().collect();
        let blocks = pack_global(block_size, kind, GlobalInfo::default(), &entries);
        let taken = self.take_system_inode()?;
        let dinode = Dinode {
            i_mode: file.kind().mode_bits() | MODE_FILE,
            i_flags: file.flags().bits(),
            i_size: (blocks.len() as u64) << block_size.bits(),
            ..self.dinode_in(taken)
        };
        self.write_inode(&dinode, |id2| write_extent_list(id2, 0, &[]))?;
        let count = geometry.clusters_for(dinode.i_size).unwrap_or(u32::MAX);
        let mut root = self.inode_root(&self.inode(dinode.i_blkno)?)?;
        let (mut cpos, mut rest) = (0, blocks.iter());
        for run in self.take_runs(count)? {
            // The length of an extent has 16 bits.
            for start in run.clone().step_by(u16::MAX.into()) {
                let clusters = (run.end - start).min(u16::MAX.into()) as u16;
                let first = geometry.block_of(Cluster(start));
                self.tree_insert(&mut root, Extent::new(Cpos(cpos), clusters, first))?;
                let room = u64::from(clusters) << geometry.bpc_bits();
                for (index, block) in (0..room).zip(rest.by_ref()) {
                    QuotaFile::write(&self.volume, Blkno(first.0 + index), block)?;
                }
                cpos += u32::from(clusters);
            }
        }
        self.store_inode_root(&root)?;
        let dir = self.superblock().s_system_dir_blkno;
        let (name, file_type) = (file.name(), FileType::from(file.kind()));
        self.add_name(dir, &NewEntry { name: name.as_bytes(), inode: dinode.i_blkno, file_type })
    }
}
