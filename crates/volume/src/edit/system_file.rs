//! Creating the system files of a slot.

use ocfs2_format::chain::{ChainList, write_chain_list};
use ocfs2_format::dinode::{Dinode, FileKind};
use ocfs2_format::dir::FileType;
use ocfs2_format::extent::write_extent_list;
use ocfs2_format::local_alloc::LocalAlloc;
use ocfs2_format::quota::{LocalInfo, QuotaHeader, QuotaKind};
use ocfs2_format::truncate_log::TruncateLogHeader;
use ocfs2_format::{Blkno, Cluster, Cpos, Structure};

use super::entry_block::NewEntry;
use super::quota::QuotaFile;
use super::{Edit, EditError};
use crate::allocator::Want;
use crate::tree::Extent;
use crate::{Error, InBlock, SystemFile};

const MODE_DIRECTORY: u16 = 0o755;
pub(super) const MODE_FILE: u16 = 0o644;

/// Blocks of a new quota file of a slot: its head, and a chunk without entries.
const LOCAL_QUOTA_BLOCKS: u64 = 2;

impl Edit {
    /// Creates a system file of a slot, as on a new volume: allocators without groups, a journal
    /// without clusters, an empty directory, a quota file without entries. Returns the block of its
    /// inode. A file that exists already stays as it is.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; [`EditError::Refused`] for a file that is not one of a slot, and
    /// where something else has its name; something is damaged.
    pub fn create_slot_file(&mut self, file: SystemFile) -> Result<Blkno, EditError> {
        self.attempt(|edit| {
            let name = file.name();
            match edit.system_file(file) {
                Ok(inode) => {
                    let is_it = inode.dinode.flags() == file.flags();
                    return match is_it && inode.kind() == Some(file.kind()) {
                        true => Ok(inode.blkno),
                        false => Err(EditError::Refused(format!("{name} is another file"))),
                    };
                }
                Err(Error::NotFound { .. }) => {}
                Err(err) => return Err(err.into()),
            }
            let blkno = edit.write_slot_file(file)?;
            let dir = edit.superblock().s_system_dir_blkno;
            let file_type = FileType::from(file.kind());
            edit.add_name(dir, &NewEntry { name: name.as_bytes(), inode: blkno, file_type })?;
            if file.kind() == FileKind::Directory {
                edit.add_link(dir)?;
            }
            Ok(blkno)
        })
    }

    fn write_slot_file(&mut self, file: SystemFile) -> Result<Blkno, EditError> {
        let block_size = self.block_size();
        let taken = self.pools.take_inode(&self.volume, Dinode::GLOBAL_SLOT)?;
        let taken = taken.ok_or(EditError::NoRoom("the inodes of system files"))?;
        let permissions = match file.kind() {
            FileKind::Directory => MODE_DIRECTORY,
            _ => MODE_FILE,
        };
        let dinode = Dinode {
            i_mode: file.kind().mode_bits() | permissions,
            i_flags: file.flags().bits(),
            ..self.dinode_in(taken)
        };
        let blkno = dinode.i_blkno;
        match file {
            SystemFile::OrphanDir(_) => {
                let parent = self.superblock().s_system_dir_blkno;
                self.write_directory(dinode, parent)?;
            }
            SystemFile::ExtentAlloc(_) | SystemFile::InodeAlloc(_) => {
                let (per_group, per_cluster) = self.group_size_of(file)?;
                self.write_inode(&dinode, |id2| {
                    write_chain_list(id2, per_group, per_cluster, &[])
                })?;
            }
            SystemFile::Journal(_) => {
                self.write_inode(&dinode, |id2| write_extent_list(id2, 0, &[]))?;
            }
            SystemFile::LocalAlloc(_) => {
                let la_size = LocalAlloc::bitmap_size(block_size);
                let head = LocalAlloc { la_size, ..Default::default() };
                self.write_inode(&dinode, |id2| head.encode(id2))?;
            }
            SystemFile::TruncateLog(_) => {
                let tl_count = TruncateLogHeader::capacity(block_size);
                let head = TruncateLogHeader { tl_count, ..Default::default() };
                self.write_inode(&dinode, |id2| head.encode(id2))?;
            }
            SystemFile::LocalQuota(kind, _) => self.write_local_quota(dinode, kind)?,
            _ => {
                let text = format!("{} is not a file of a slot", file.name());
                return Err(EditError::Refused(text));
            }
        }
        Ok(blkno)
    }

    /// Clusters per group and bits per cluster, as in the allocator of the first slot.
    fn group_size_of(&self, file: SystemFile) -> Result<(u16, u16), EditError> {
        let first = match file {
            SystemFile::ExtentAlloc(_) => SystemFile::ExtentAlloc(0),
            _ => SystemFile::InodeAlloc(0),
        };
        let inode = self.system_file(first)?;
        let list = ChainList::new(inode.id2()).in_block(inode.blkno)?;
        list.verify(inode.blkno).map_err(Error::from)?;
        Ok((list.header.cl_cpg, list.header.cl_bpc))
    }

    fn write_local_quota(&mut self, mut dinode: Dinode, kind: QuotaKind) -> Result<(), EditError> {
        let (geometry, block_size) = (*self.geometry(), self.block_size());
        let (blkno, size) = (dinode.i_blkno, LOCAL_QUOTA_BLOCKS << block_size.bits());
        dinode.i_size = size;
        self.write_inode(&dinode, |id2| write_extent_list(id2, 0, &[]))?;
        // Two blocks can be two clusters.
        let count = geometry.clusters_for(size).unwrap_or_default();
        let run = self.take_clusters(Want::exactly(count))?;
        let first = geometry.block_of(Cluster(run.start));
        self.insert_extent(blkno, Extent::new(Cpos(0), count as u16, first))?;
        let (mut head, empty) = (vec![0; block_size.size()], vec![0; block_size.size()]);
        let magic = QuotaHeader { dqh_magic: kind.local_magic(), dqh_version: 0 };
        let dqi_blocks = LOCAL_QUOTA_BLOCKS as u32;
        let info = LocalInfo { dqi_flags: LocalInfo::CLEAN, dqi_chunks: 1, dqi_blocks };
        magic.encode(&mut head).in_block(first)?;
        let place = head.get_mut(QuotaHeader::SIZE..).unwrap_or_default();
        info.encode(place).in_block(first)?;
        QuotaFile::write(&self.volume, first, &head)?;
        Ok(QuotaFile::write(&self.volume, Blkno(first.0 + 1), &empty)?)
    }
}
