//! Directories and their indexes.

use ocfs2_format::dinode::{Dinode, DynFeatures};
use ocfs2_format::dir::{self, DirEntryHeader, DirTrailer};
use ocfs2_format::dx::{DxEntry, DxEntryList, DxEntryListHeader, DxLeaf, DxRoot};
use ocfs2_format::feature::Incompat;
use ocfs2_format::hash::dx_hash;
use ocfs2_format::inline::InlineData;
use ocfs2_format::{Blkno, Block, Structure};

use crate::census::Census;

impl Census {
    pub fn directory(&mut self, blkno: Blkno, block: &[u8]) {
        let dinode = Dinode::decode(block).unwrap();
        if dinode.i_mode & 0o170_000 != 0o040_000 {
            return;
        }
        if dinode.dyn_features().contains(DynFeatures::INLINE_DATA) {
            let id2 = dinode.id2(block);
            let data = &InlineData::data(id2).unwrap()[..dinode.i_size as usize];
            self.dir_entries(blkno, data, &mut Vec::new());
            return;
        }
        let indexed = dinode.dyn_features().contains(DynFeatures::INDEXED_DIR);
        let mut hashes = Vec::new();
        for at in self.blocks_of(blkno, block) {
            let block = self.image.read(at);
            let mut used = block.len();
            if indexed || self.image.has(Incompat::META_ECC) {
                used = DirTrailer::offset(block.len());
                let trailer = self.see::<DirTrailer>(&block[used..]);
                trailer.verify(at, blkno).unwrap();
                if indexed {
                    let hole = dir::largest_hole(&block[..used]);
                    assert_eq!(trailer.db_free_rec_len, hole, "{} {at}", self.image.name);
                }
                let check_offset = DirTrailer::check_offset(block.len());
                self.guard("directory block", at, &block, check_offset);
            }
            self.dir_entries(at, &block[..used], &mut hashes);
        }
        if indexed {
            self.dir_index(blkno, dinode.i_dx_root, hashes);
        }
    }

    /// Reads the entries of a block, and collects what an index has to contain for them.
    fn dir_entries(&mut self, blkno: Blkno, bytes: &[u8], hashes: &mut Vec<(u32, u32, Blkno)>) {
        let mut copy = bytes.to_vec();
        for entry in dir::entries(bytes) {
            let entry = entry.unwrap();
            self.see::<DirEntryHeader>(&bytes[entry.offset..]);
            if !entry.is_used() {
                continue;
            }
            let header = entry.header;
            let file_type = entry.file_type().unwrap();
            let place = &mut copy[entry.offset..];
            dir::write_entry(place, header.inode, header.rec_len, file_type, entry.name).unwrap();
            let hash =
                dx_hash(entry.name, self.image.super_block.s_dx_seed, self.image.name_hash());
            hashes.push((hash.major, hash.minor, blkno));
            if entry.name != b"." && entry.name != b".." {
                self.names.insert(header.inode, entry.name.to_vec());
            }
            if !entry.name.is_ascii() {
                self.add("name that is not ASCII");
            }
        }
        assert_eq!(copy, bytes, "{}: directory block {blkno}", self.image.name);
    }

    fn dir_index(&mut self, dir: Blkno, blkno: Blkno, mut expected: Vec<(u32, u32, Blkno)>) {
        let block = self.image.read(blkno);
        let root = self.see::<DxRoot>(&block);
        root.verify(blkno, self.image.generation()).unwrap();
        root.verify_dir(blkno, dir).unwrap();
        self.guard(DxRoot::NAME, blkno, &block, DxRoot::CHECK_OFFSET);
        let mut found = Vec::new();
        if root.is_inline() {
            self.add("dx root without leaves");
            self.dx_entries(blkno, &block[DxRoot::LIST_OFFSET..], &mut found);
        } else {
            self.add("dx root with leaves");
            let per_cluster = self.image.blocks_per_cluster();
            for rec in self.tree(blkno, &block[DxRoot::LIST_OFFSET..]) {
                for index in 0..u64::from(rec.e_leaf_clusters()) * per_cluster {
                    let at = Blkno(rec.e_blkno.0 + index);
                    let block = self.image.read(at);
                    let leaf = self.see::<DxLeaf>(&block);
                    leaf.verify(at, self.image.generation()).unwrap();
                    self.guard(DxLeaf::NAME, at, &block, DxLeaf::CHECK_OFFSET);
                    self.dx_entries(at, &block[DxLeaf::LIST_OFFSET..], &mut found);
                }
            }
        }
        assert_eq!(found.len(), root.dr_num_entries as usize, "{} {dir}", self.image.name);
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{}: index of directory {dir}", self.image.name);
    }

    fn dx_entries(&mut self, blkno: Blkno, bytes: &[u8], found: &mut Vec<(u32, u32, Blkno)>) {
        self.see::<DxEntryListHeader>(bytes);
        let list = DxEntryList::new(bytes).unwrap();
        list.verify(blkno).unwrap();
        for (index, entry) in list.records().enumerate() {
            self.see::<DxEntry>(&bytes[DxEntryListHeader::SIZE + index * DxEntry::SIZE..]);
            found.push((entry.dx_major_hash, entry.dx_minor_hash, entry.dx_dirent_blk));
        }
    }
}
