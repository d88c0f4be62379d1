//! Quota files.

use std::collections::BTreeMap;

use ocfs2_format::bitmap::Bitmap;
use ocfs2_format::quota::{
    self, GlobalInfo, LeafHeader, LocalChunk, LocalEntry, LocalInfo, QuotaEntry, QuotaHeader,
    QuotaKind,
};
use ocfs2_format::{Blkno, Structure};

use crate::census::Census;

impl Census {
    pub fn quota_file(&mut self, blkno: Blkno, block: &[u8], name: &[u8]) {
        let map = self.blocks_of(blkno, block);
        let blocks: Vec<_> = map.iter().map(|at| self.image.read(*at)).collect();
        for (at, block) in map.iter().zip(&blocks) {
            let check_offset = quota::check_offset(self.image.block_size);
            self.guard("quota block", *at, block, check_offset);
        }
        let name = std::str::from_utf8(name).unwrap();
        let kinds = [QuotaKind::User, QuotaKind::Group];
        let kind = kinds.into_iter().find(|kind| name.starts_with(kind.file_name())).unwrap();
        let header = self.see::<QuotaHeader>(&blocks[0]);
        if name.contains(':') {
            header.verify(map[0], kind.local_magic()).unwrap();
            self.local_quota(map[0], &blocks);
        } else {
            header.verify(map[0], kind.global_magic()).unwrap();
            let info = self.see::<GlobalInfo>(&blocks[0][QuotaHeader::SIZE..]);
            info.verify(map[0], blocks.len() as u32).unwrap();
            let mut leaves = BTreeMap::new();
            self.quota_tree(&blocks, 1, 0, 0, &mut leaves);
            for (leaf, ids) in leaves {
                self.quota_leaf(map[leaf as usize], &blocks[leaf as usize], &ids);
            }
        }
    }

    /// Collects the leaves, each with the ids that point to it.
    fn quota_tree(
        &mut self,
        blocks: &[Vec<u8>],
        at: u32,
        level: u32,
        id: u64,
        leaves: &mut BTreeMap<u32, Vec<u64>>,
    ) {
        let block_size = self.image.block_size;
        if level == quota::tree_depth(block_size) {
            leaves.entry(at).or_default().push(id);
            return;
        }
        self.add("quota tree block");
        for (index, next) in quota::references(&blocks[at as usize]).enumerate() {
            if next != 0 {
                let id = id * u64::from(quota::tree_references(block_size)) + index as u64;
                self.quota_tree(blocks, next, level + 1, id, leaves);
            }
        }
    }

    fn quota_leaf(&mut self, blkno: Blkno, block: &[u8], ids: &[u64]) {
        let header = self.see::<LeafHeader>(block);
        let mut found = Vec::new();
        for (index, entry) in quota::leaf_entries(block).enumerate() {
            if entry.is_used() {
                self.see::<QuotaEntry>(&block[LeafHeader::SIZE + index * QuotaEntry::SIZE..]);
                found.push(u64::from(entry.dqb_id));
            }
        }
        header.verify(blkno, block).unwrap();
        found.sort_unstable();
        assert_eq!(found, ids, "{}", self.image.name);
    }

    fn local_quota(&mut self, blkno: Blkno, blocks: &[Vec<u8>]) {
        let block_size = self.image.block_size;
        let info = self.see::<LocalInfo>(&blocks[0][QuotaHeader::SIZE..]);
        info.verify(blkno, block_size, blocks.len() as u32).unwrap();
        let per_block = quota::local_entries_per_block(block_size) as usize;
        for chunk in 0..info.dqi_chunks {
            let start = quota::local_chunk_block(block_size, chunk) as usize;
            let header = self.see::<LocalChunk>(&blocks[start]);
            let data = &blocks[start + 1..];
            let data = &data[..data.len().min(quota::local_blocks_per_chunk(block_size) as usize)];
            let bits = data.len() * per_block;
            let bitmap = Bitmap::new(&blocks[start][LocalChunk::SIZE..], bits);
            let free = bits - bitmap.count_ones();
            assert_eq!(free, header.dqc_free as usize, "{}", self.image.name);
            for index in bitmap.runs(true).flatten() {
                let block = &data[index / per_block];
                self.see::<LocalEntry>(&block[index % per_block * LocalEntry::SIZE..]);
            }
        }
    }
}
