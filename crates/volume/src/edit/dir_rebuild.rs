//! Rebuilding the index of a directory from its names, and adding a block for future names.

use ocfs2_format::Blkno;
use ocfs2_format::dinode::{DynFeatures, FileKind};
use ocfs2_format::feature::Incompat;
use ocfs2_format::hash::{CharSign, NameHash, dx_hash};

use super::dir::dx_entry;
use super::entry_block::EntryBlock;
use super::index::Index;
use super::{Edit, EditError};
use crate::dir::Entry;
use crate::{Error, Inode};

impl Edit {
    /// Adds an empty block to a directory. An inline directory gets its first block, which its
    /// names move to.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; the directory is damaged.
    pub fn expand_dir(&mut self, dir: Blkno) -> Result<(), EditError> {
        self.attempt(|edit| {
            let inode = edit.directory(dir)?;
            if inode.is_inline() {
                edit.leave_inline(&inode)?;
                return edit.touch(dir);
            }
            let mut block = edit.append_block(&inode)?;
            if edit.is_indexed(&inode) {
                let mut index = Index::read(&edit.volume, &inode)?;
                list_block(&mut block, &mut index.root.dr_free_blk);
                index.write(&edit.volume)?;
            }
            block.write(&edit.volume)?;
            edit.touch(dir)
        })
    }

    /// Rebuilds the index of a directory and the list of its blocks with room. A directory without
    /// an index gets one if its blocks end in trailers. Returns the number of entries of the index.
    ///
    /// # Errors
    /// [`EditError::Refused`] where there can be no index; [`EditError::NoRoom`]; the directory or
    /// its index is damaged.
    pub fn rebuild_index(&mut self, dir: Blkno) -> Result<u32, EditError> {
        self.attempt(|edit| {
            let inode = edit.directory(dir)?;
            let refused = |why: &str| EditError::Refused(format!("directory {dir}: {why}"));
            if !edit.has(Incompat::INDEXED_DIRS) {
                return Err(refused("the volume has no indexed directories"));
            }
            if inode.is_inline() {
                return Err(refused("its names are in its inode, which needs no index"));
            }
            if !edit.has_dir_trailers(&inode) {
                return Err(refused("its blocks have no room for what an index needs in them"));
            }
            let entries = edit.make_index(&inode)?;
            edit.touch(dir)?;
            Ok(entries)
        })
    }

    /// Gives a directory an index, and its blocks the trailers that takes. Nothing is done where
    /// there is none to be: on a volume without indexed directories, for a directory in its inode,
    /// for the system directory. Times stay.
    ///
    /// # Errors
    /// [`EditError::NoRoom`]; the directory or its index is damaged.
    pub fn index_directory(&mut self, dir: Blkno) -> Result<(), EditError> {
        self.attempt(|edit| {
            let inode = edit.directory(dir)?;
            if !edit.lacks_index(&inode) {
                return Ok(());
            }
            edit.add_trailers(&inode)?;
            edit.make_index(&edit.inode(dir)?)?;
            Ok(())
        })
    }

    /// Removes the index of a directory. The trailers of its blocks stay: to who expects none they
    /// are room. Times stay. The quota stays, too: [`Edit::recount_quota`] has to come first, since
    /// the clusters of an index may be counted or not.
    ///
    /// # Errors
    /// The index is damaged.
    pub fn drop_index(&mut self, dir: Blkno) -> Result<(), EditError> {
        self.attempt(|edit| {
            let inode = edit.directory(dir)?;
            if edit.is_indexed(&inode) {
                let (index, _) = edit.dx_root(&inode)?;
                edit.count_index(&inode.dinode, index.dr_clusters.into());
            }
            edit.free_index(&inode)?;
            edit.update_dinode(dir, |dinode, _| {
                let features = dinode.dyn_features() - DynFeatures::INDEXED_DIR;
                (dinode.i_dyn_features, dinode.i_dx_root) = (features.bits(), Blkno(0));
            })
        })
    }

    /// Builds the index of a directory whose blocks end in trailers, whether or not something reads
    /// them already. Returns the number of entries.
    fn make_index(&mut self, inode: &Inode) -> Result<u32, EditError> {
        let hashes = self.name_hashes(inode)?;
        self.free_index(inode)?;
        self.put_index(inode, hashes)
    }

    /// The hashes of the names of a directory, block by block.
    pub(super) fn name_hashes(&self, inode: &Inode) -> Result<Vec<Vec<NameHash>>, Error> {
        let before = match self.is_indexed(inode) {
            true => Some(Index::read(&self.volume, inode)?),
            false => None,
        };
        let mut blocks = Vec::new();
        for block in self.dir_blocks(inode)? {
            let (block, mut hashes) = (block?, Vec::new());
            for entry in block.entries() {
                let Entry { name, blkno, .. } = entry?;
                hashes.push(self.hash_as_in(before.as_ref(), &name, blkno));
            }
            blocks.push(hashes);
        }
        Ok(blocks)
    }

    /// Gives a directory, whose old index is freed, an index of these hashes. Returns the number of
    /// entries.
    pub(super) fn put_index(
        &mut self,
        inode: &Inode,
        hashes: Vec<Vec<NameHash>>,
    ) -> Result<u32, EditError> {
        let (edit, dir) = (self, inode.blkno);
        let blocks: Vec<Blkno> = edit
            .dir_blocks(inode)?
            .map(|block| block.map(|block| block.blkno))
            .collect::<Result<_, _>>()?;
        let mut index = Index::create(edit, dir, &[])?;
        let root = index.root.dr_blkno;
        edit.update_dinode(dir, |dinode, _| {
            let features = dinode.dyn_features() | DynFeatures::INDEXED_DIR;
            (dinode.i_dyn_features, dinode.i_dx_root) = (features.bits(), root);
        })?;
        let inode = edit.inode(dir)?;
        // In reverse, so that the first block with room is the first of the list.
        for (blkno, hashes) in blocks.into_iter().zip(hashes).rev() {
            for hash in hashes {
                index.insert(edit, dx_entry(hash, blkno))?;
            }
            let mut block = EntryBlock::read(&edit.volume, &inode, blkno)?;
            list_block(&mut block, &mut index.root.dr_free_blk);
            block.write(&edit.volume)?;
        }
        let entries = index.root.dr_num_entries;
        index.write(&edit.volume)?;
        Ok(entries)
    }

    /// The hash of a name as the old index has it, if it does: kernels differ in how they hash
    /// bytes from 0x80 on.
    fn hash_as_in(&self, index: Option<&Index>, name: &[u8], blkno: Blkno) -> NameHash {
        let seed = self.superblock().s_dx_seed;
        let mut hashes = CharSign::ALL.into_iter().map(|sign| dx_hash(name, seed, sign));
        let known = index.filter(|_| !name.is_ascii()).and_then(|index| {
            hashes.find(|hash| index.has(&self.volume, *hash, blkno).unwrap_or(false))
        });
        known.unwrap_or_else(|| self.hash_of(name))
    }

    pub(super) fn directory(&self, dir: Blkno) -> Result<Inode, Error> {
        let inode = self.inode(dir)?;
        inode.expect(FileKind::Directory, "a directory")?;
        Ok(inode)
    }
}

/// Puts a block at the head of the list of blocks with room, if it has any.
fn list_block(block: &mut EntryBlock, first: &mut Blkno) {
    let (blkno, hole) = (block.blkno, block.hole());
    let Some(trailer) = &mut block.trailer else { return };
    trailer.db_free_rec_len = hole;
    trailer.db_free_next = if hole > 0 { std::mem::replace(first, blkno) } else { Blkno(0) };
}
