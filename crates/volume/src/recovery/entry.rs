//! Taking an entry out of a directory, and out of its index.

use ocfs2_format::dinode::Dinode;
use ocfs2_format::dir::{DirEntryHeader, DirTrailer, entries, largest_hole};
use ocfs2_format::dx::{DxEntry, DxEntryList, DxEntryListHeader, DxLeaf, DxRoot, write_dx_entries};
use ocfs2_format::hash::{CharSign, NameHash, dx_hash};
use ocfs2_format::inline::InlineData;
use ocfs2_format::{Blkno, Invalid, Structure};

use crate::dir::Entry;
use crate::tree::Tree;
use crate::{Error, Inode, Volume};

impl Volume {
    /// Removes `entry`, which is one of `dir`.
    pub(super) fn remove_entry(&self, dir: &Inode, entry: &Entry) -> Result<(), Error> {
        if dir.is_inline() {
            let mut block = dir.block().to_vec();
            let data = block.get_mut(Dinode::ID2_OFFSET + InlineData::SIZE..).unwrap_or_default();
            let len = usize::try_from(dir.size()).unwrap_or(usize::MAX).min(data.len());
            clear(&mut data[..len], dir.blkno, entry)?;
            return self.write_metadata(dir.blkno, &block, Dinode::CHECK_OFFSET);
        }
        let mut block = self.read_block(entry.blkno)?;
        let size = block.len();
        if !self.has_dir_trailers(dir) {
            clear(&mut block, dir.blkno, entry)?;
            return self.write_raw(entry.blkno, &block);
        }
        let truncated = || Error::truncated(entry.blkno);
        let mut trailer = DirTrailer::of_block(&block).map_err(truncated())?;
        trailer.verify(entry.blkno, dir.blkno)?;
        let names = &mut block[..DirTrailer::offset(size)];
        clear(names, dir.blkno, entry)?;
        if self.is_indexed(dir) {
            let hole = largest_hole(names);
            let mut index = Index::new(self, dir)?;
            index.remove(entry)?;
            // Blocks with a hole are in a list.
            if trailer.db_free_rec_len == 0 && hole > 0 {
                trailer.db_free_next = index.root.dr_free_blk;
                index.root.dr_free_blk = entry.blkno;
            }
            trailer.db_free_rec_len = hole;
            trailer.write(&mut block).map_err(truncated())?;
            index.write()?;
        }
        self.write_metadata(entry.blkno, &block, DirTrailer::check_offset(size))
    }
}

/// Makes the place of an entry part of the entry before it, or unused.
fn clear(bytes: &mut [u8], dir: Blkno, entry: &Entry) -> Result<(), Error> {
    let failed = |source| Error::DirEntry { dir, blkno: entry.blkno, source };
    let mut before = None;
    let mut found = None;
    for at in entries(bytes) {
        let at = at.map_err(failed)?;
        if at.offset == entry.offset {
            found = Some(at.header);
            break;
        }
        before = Some((at.offset, at.header));
    }
    let Some(header) = found else {
        return Err(Error::NotFound { name: entry.name.clone() });
    };
    let unused = DirEntryHeader { inode: Blkno(0), ..header };
    let truncated = |source| Error::Truncated { blkno: entry.blkno, source };
    unused.encode(&mut bytes[entry.offset..]).map_err(truncated)?;
    if let Some((offset, before)) = before {
        let rec_len = before.rec_len.saturating_add(header.rec_len);
        let longer = DirEntryHeader { rec_len, ..before };
        longer.encode(&mut bytes[offset..]).map_err(truncated)?;
    }
    Ok(())
}

/// The index of a directory.
struct Index<'v> {
    volume: &'v Volume,
    root: DxRoot,
    block: Vec<u8>,
}

impl<'v> Index<'v> {
    fn new(volume: &'v Volume, dir: &Inode) -> Result<Self, Error> {
        let (root, block) = volume.dx_root(dir)?;
        Ok(Self { volume, root, block })
    }

    /// Removes what leads to an entry.
    fn remove(&mut self, entry: &Entry) -> Result<(), Error> {
        let seed = self.volume.superblock().s_dx_seed;
        for sign in CharSign::ALL {
            if self.remove_hash(dx_hash(&entry.name, seed, sign), entry.blkno)? {
                self.root.dr_num_entries = self.root.dr_num_entries.saturating_sub(1);
                return Ok(());
            }
        }
        let (name, blkno) = (DxRoot::NAME, self.root.dr_blkno);
        let expected = entry.name.escape_ascii();
        Err(Invalid::new(name, blkno, "de_num_used", "without an entry", expected).into())
    }

    fn remove_hash(&mut self, hash: NameHash, dirent_blk: Blkno) -> Result<bool, Error> {
        let root = self.root.dr_blkno;
        if self.root.is_inline() {
            return remove_from(&mut self.block, DxRoot::LIST_OFFSET, root, hash, dirent_blk);
        }
        let list = DxRoot::extents(&self.block).map_err(Error::truncated(root))?;
        let Some(leaf) = Tree::new(self.volume, root, &list)?.dx_leaf(hash)? else {
            return Ok(false);
        };
        let mut block = self.volume.read_metadata(DxLeaf::NAME, leaf, DxLeaf::CHECK_OFFSET)?;
        let header = DxLeaf::decode(&block).map_err(Error::truncated(leaf))?;
        header.verify(leaf, self.volume.generation())?;
        let removed = remove_from(&mut block, DxLeaf::LIST_OFFSET, leaf, hash, dirent_blk)?;
        if removed {
            self.volume.write_metadata(leaf, &block, DxLeaf::CHECK_OFFSET)?;
        }
        Ok(removed)
    }

    fn write(mut self) -> Result<(), Error> {
        let blkno = self.root.dr_blkno;
        self.root.encode(&mut self.block).map_err(Error::truncated(blkno))?;
        self.volume.write_metadata(blkno, &self.block, DxRoot::CHECK_OFFSET)
    }
}

fn remove_from(
    block: &mut [u8],
    offset: usize,
    blkno: Blkno,
    hash: NameHash,
    dirent_blk: Blkno,
) -> Result<bool, Error> {
    let bytes = block.get_mut(offset..).unwrap_or_default();
    let list = DxEntryList::new(bytes).map_err(Error::truncated(blkno))?;
    list.verify(blkno)?;
    let mut entries: Vec<DxEntry> = list.entries().collect();
    let leads_there = |at: &DxEntry| at.hash() == hash && at.dx_dirent_blk == dirent_blk;
    let Some(index) = entries.iter().position(leads_there) else { return Ok(false) };
    entries.remove(index);
    write_dx_entries(bytes, &entries).map_err(Error::truncated(blkno))?;
    let used = DxEntryListHeader::SIZE + entries.len() * DxEntry::SIZE;
    bytes.get_mut(used..).unwrap_or_default().fill(0);
    Ok(true)
}
