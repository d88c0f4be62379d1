//! Growth of directories: the first block, when the names no longer fit into the inode, and further
//! blocks at the end.

use ocfs2_format::dinode::DynFeatures;
use ocfs2_format::dir::entries;
use ocfs2_format::extent::ExtentFlags;
use ocfs2_format::feature::Incompat;
use ocfs2_format::inline::InlineData;
use ocfs2_format::{Blkno, Cluster, Cpos};

use super::dir::dx_entry;
use super::entry_block::EntryBlock;
use super::index::Index;
use super::{Edit, EditError, Holds, Root};
use crate::allocator::Want;
use crate::tree::Extent;
use crate::{Error, InBlock, Inode};

/// The error for a directory that would have too many blocks.
const MANY: EditError = EditError::TooLarge("the directory would have too many blocks");

impl Edit {
    /// Moves the names of an inline directory to a block.
    pub(super) fn leave_inline(&mut self, dir: &Inode) -> Result<(), EditError> {
        let data = InlineData::data(dir.id2()).in_block(dir.blkno)?;
        let len = usize::try_from(dir.size()).unwrap_or(usize::MAX).min(data.len());
        let names = data.get(..len).unwrap_or_default().to_vec();
        self.make_blocks(dir, &names)
    }

    /// Gives a directory its first block, with these entries in it, and an index where the
    /// volume's directories have one.
    pub(super) fn make_blocks(&mut self, dir: &Inode, names: &[u8]) -> Result<(), EditError> {
        let room = dir.id2().len();
        let mut root = Root::empty(dir.blkno, Holds::Data, room).in_block(dir.blkno)?;
        let blkno = self.add_cluster(&mut root, Cpos(0), None)?;
        // The system directory is read by programs and nodes that look for few names: it has none.
        let is_top = dir.blkno == self.superblock().s_system_dir_blkno;
        let mut index = match self.has(Incompat::INDEXED_DIRS) && !is_top {
            true => Some(self.index_of(dir.blkno, names, blkno)?),
            false => None,
        };
        let size = self.block_size().bytes().into();
        self.update_dinode(dir.blkno, |dinode, id2| {
            let mut features = dinode.dyn_features() - DynFeatures::INLINE_DATA;
            if let Some(index) = &index {
                features |= DynFeatures::INDEXED_DIR;
                dinode.i_dx_root = index.root.dr_blkno;
            }
            (dinode.i_dyn_features, dinode.i_size) = (features.bits(), size);
            if let Some(bytes) = id2.get_mut(..room) {
                bytes.fill(0);
            }
        })?;
        self.store_inode_root(&root)?;
        let dir = self.inode(dir.blkno)?;
        let mut block = EntryBlock::empty(&self.volume, &dir, blkno)?;
        block.fill(names)?;
        let hole = block.hole();
        if let (Some(trailer), Some(index)) = (&mut block.trailer, &mut index)
            && hole > 0
        {
            trailer.db_free_rec_len = hole;
            index.root.dr_free_blk = blkno;
        }
        if let Some(index) = index {
            index.write(&self.volume)?;
        }
        Ok(block.write(&self.volume)?)
    }

    /// Creates an index of entries that are going to be in a block.
    fn index_of(&mut self, dir: Blkno, names: &[u8], blkno: Blkno) -> Result<Index, EditError> {
        let mut found = Vec::new();
        for entry in entries(names) {
            let entry = entry.map_err(|source| Error::DirEntry { dir, blkno: dir, source })?;
            if entry.is_used() {
                found.push(dx_entry(self.hash_of(entry.name), blkno));
            }
        }
        Index::create(self, dir, &found)
    }

    /// Moves the names of an inline directory, or the data of an inline file, to clusters. Times
    /// stay.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; the inode is damaged.
    pub fn leave_inode(&mut self, blkno: Blkno) -> Result<(), EditError> {
        self.attempt(|edit| {
            let inode = edit.inode(blkno)?;
            if !inode.is_inline() {
                return Ok(());
            }
            match inode.is_dir() {
                true => edit.leave_inline(&inode),
                false => edit.with_extents(inode).map(|_| ()),
            }
        })
    }

    /// Adds a block at the end of a directory and returns it: not written yet, all of it a hole,
    /// and in no list.
    pub(super) fn append_block(&mut self, dir: &Inode) -> Result<EntryBlock, EditError> {
        let blkno = self.append_to_dir(dir)?;
        Ok(EntryBlock::empty(&self.volume, dir, blkno)?)
    }

    /// Makes a directory one block longer and returns that block, whose contents are whatever was
    /// there before.
    pub(super) fn append_to_dir(&mut self, dir: &Inode) -> Result<Blkno, EditError> {
        let (geometry, block_size) = (*self.geometry(), u64::from(self.block_size().bytes()));
        // The C mkfs leaves lost+found at a size without the trailer.
        let number = dir.size().div_ceil(block_size);
        let per_cluster = u64::from(geometry.blocks_per_cluster());
        let cpos = Cpos(u32::try_from(number / per_cluster).map_err(|_| MANY)?);
        let mapped = self.tree(dir)?.map(cpos)?;
        let first = match mapped {
            Some(extent) => {
                let within = u64::from(cpos.0.saturating_sub(extent.cpos.0));
                Blkno(extent.blkno.0 + within * per_cluster)
            }
            None => {
                let before = match cpos.0.checked_sub(1) {
                    Some(before) => self.tree(dir)?.map(Cpos(before))?,
                    None => None,
                };
                let end = before.map(|before| {
                    let clusters = (u64::from(cpos.0)).saturating_sub(before.cpos.0.into());
                    Blkno(before.blkno.0 + clusters * per_cluster)
                });
                let mut root = self.inode_root(dir)?;
                let near = end.and_then(|end| geometry.cluster_of(end));
                let first = self.add_cluster(&mut root, cpos, near)?;
                self.store_inode_root(&root)?;
                first
            }
        };
        let size = number.saturating_add(1).checked_mul(block_size).ok_or(MANY)?;
        self.update_dinode(dir.blkno, |dinode, _| dinode.i_size = size)?;
        Ok(Blkno(first.0 + number % per_cluster))
    }

    /// Puts a new cluster into a tree and returns its first block.
    fn add_cluster(
        &mut self,
        root: &mut Root,
        cpos: Cpos,
        near: Option<Cluster>,
    ) -> Result<Blkno, EditError> {
        let want = Want::exactly(1);
        let run = self.take_clusters(near.map_or(want, |near| want.near(near)))?;
        let blkno = self.geometry().block_of(Cluster(run.start));
        let flags = ExtentFlags::empty();
        self.tree_insert(root, Extent { cpos, clusters: 1, blkno, flags })?;
        Ok(blkno)
    }
}
