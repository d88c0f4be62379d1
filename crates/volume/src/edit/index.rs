//! Changing the index of a directory: its root and leaves, and the removal of entries. Growth is in
//! [`index_growth`](super::index_growth).

use ocfs2_format::dx::{DxEntry, DxEntryList, DxLeaf, DxRoot, write_dx_entries};
use ocfs2_format::hash::{CharSign, NameHash, dx_hash};
use ocfs2_format::{Blkno, Block, Cpos, Invalid, Structure};

use crate::dir::Entry;
use crate::tree::Tree;
use crate::{Error, InBlock, Inode, Volume};

/// The index of a directory.
#[derive(Debug)]
pub(crate) struct Index {
    pub root: DxRoot,
    pub(super) block: Vec<u8>,
}

impl Index {
    pub fn read(volume: &Volume, dir: &Inode) -> Result<Self, Error> {
        let (root, block) = volume.dx_root(dir)?;
        Ok(Self { root, block })
    }

    /// The entries of an inline root.
    pub(super) fn entries(&self) -> Result<Vec<DxEntry>, Error> {
        let blkno = self.root.dr_blkno;
        let list = DxRoot::entries(&self.block).in_block(blkno)?;
        entries_of(&list, blkno)
    }

    pub(super) fn set_entries(&mut self, entries: &[DxEntry]) -> Result<(), Error> {
        let bytes = self.block.get_mut(DxRoot::LIST_OFFSET..).unwrap_or_default();
        bytes.fill(0);
        write_dx_entries(bytes, entries).in_block(self.root.dr_blkno)
    }

    /// The cluster of leaves for a hash: the lowest major hash in it, and its first block.
    pub(super) fn cluster(
        &self,
        volume: &Volume,
        hash: NameHash,
    ) -> Result<Option<(Cpos, Blkno)>, Error> {
        let blkno = self.root.dr_blkno;
        let list = DxRoot::extents(&self.block).in_block(blkno)?;
        Tree::new(volume, blkno, &list)?.dx_cluster(hash)
    }

    /// The leaf for a hash.
    pub(super) fn leaf(&self, volume: &Volume, hash: NameHash) -> Result<Option<Leaf>, Error> {
        let Some((_, first)) = self.cluster(volume, hash)? else { return Ok(None) };
        let within = u64::from(hash.minor) % u64::from(volume.geometry().blocks_per_cluster());
        Leaf::read(volume, Blkno(first.0 + within)).map(Some)
    }

    /// Removes the index entry that points to a directory entry.
    pub fn remove(&mut self, volume: &Volume, entry: &Entry) -> Result<(), Error> {
        let seed = volume.superblock().s_dx_seed;
        for sign in CharSign::ALL {
            if self.remove_hash(volume, dx_hash(&entry.name, seed, sign), entry.blkno)? {
                self.root.dr_num_entries = self.root.dr_num_entries.saturating_sub(1);
                return Ok(());
            }
        }
        let (name, blkno) = (DxRoot::NAME, self.root.dr_blkno);
        let expected = entry.name.escape_ascii();
        Err(Invalid::new(name, blkno, "de_num_used", "without an entry", expected).into())
    }

    /// Whether an entry with this hash points to a block.
    pub(super) fn has(
        &self,
        volume: &Volume,
        hash: NameHash,
        dirent_blk: Blkno,
    ) -> Result<bool, Error> {
        let entries = match self.root.is_inline() {
            true => self.entries()?,
            false => self.leaf(volume, hash)?.map_or_else(Vec::new, |leaf| leaf.entries),
        };
        Ok(entries.iter().any(|at| at.hash() == hash && at.dx_dirent_blk == dirent_blk))
    }

    fn remove_hash(
        &mut self,
        volume: &Volume,
        hash: NameHash,
        dirent_blk: Blkno,
    ) -> Result<bool, Error> {
        let leads_there = |at: &DxEntry| at.hash() == hash && at.dx_dirent_blk == dirent_blk;
        if self.root.is_inline() {
            let mut entries = self.entries()?;
            let Some(index) = entries.iter().position(leads_there) else { return Ok(false) };
            entries.remove(index);
            self.set_entries(&entries)?;
            return Ok(true);
        }
        let Some(mut leaf) = self.leaf(volume, hash)? else { return Ok(false) };
        let Some(index) = leaf.entries.iter().position(leads_there) else { return Ok(false) };
        leaf.entries.remove(index);
        leaf.write(volume)?;
        Ok(true)
    }

    /// Writes the root. Leaves are written when they are changed.
    pub fn write(self, volume: &Volume) -> Result<(), Error> {
        volume.write(self.root.dr_blkno, &self.root, self.block)
    }
}

/// A leaf of an index: a block of entries.
#[derive(Debug)]
pub(super) struct Leaf {
    header: DxLeaf,
    pub entries: Vec<DxEntry>,
}

impl Leaf {
    pub fn new(volume: &Volume, blkno: Blkno, entries: Vec<DxEntry>) -> Self {
        let header = DxLeaf {
            dl_signature: DxLeaf::SIGNATURE,
            dl_blkno: blkno,
            dl_fs_generation: volume.generation(),
            ..DxLeaf::default()
        };
        Self { header, entries }
    }

    pub fn read(volume: &Volume, blkno: Blkno) -> Result<Self, Error> {
        let (header, block) = volume.read(blkno)?;
        let list = DxLeaf::entries(&block).in_block(blkno)?;
        Ok(Self { header, entries: entries_of(&list, blkno)? })
    }

    pub fn write(&self, volume: &Volume) -> Result<(), Error> {
        let blkno = self.header.dl_blkno;
        volume.write_new(blkno, &self.header, |list| write_dx_entries(list, &self.entries))
    }
}

fn entries_of(list: &DxEntryList<'_>, blkno: Blkno) -> Result<Vec<DxEntry>, Error> {
    list.verify(blkno)?;
    Ok(list.records().collect())
}
