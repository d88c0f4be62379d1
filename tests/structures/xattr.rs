//! Extended attributes: in dinodes, blocks and buckets.

use ocfs2_format::dinode::{Dinode, DynFeatures};
use ocfs2_format::hash::xattr_hash;
use ocfs2_format::xattr::{
    BUCKET_SIZE, XattrArea, XattrBlock, XattrEntry, XattrHeader, XattrTreeRoot, XattrValueRoot,
};
use ocfs2_format::{Blkno, Block, Structure};

use crate::census::Census;

impl Census {
    pub fn xattrs(&mut self, dinode: &Dinode, block: &[u8]) {
        if dinode.dyn_features().contains(DynFeatures::INLINE_XATTR) {
            self.add("inline xattr area");
            let start = block.len() - usize::from(dinode.i_xattr_inline_size);
            self.xattr_area(dinode.i_blkno, &block[start..]);
        }
        let blkno = dinode.i_xattr_loc;
        if blkno.is_none() || !dinode.dyn_features().contains(DynFeatures::HAS_XATTR) {
            return;
        }
        let block = self.image.read(blkno);
        let header = self.see::<XattrBlock>(&block);
        header.verify(blkno, self.image.generation()).unwrap();
        self.guard(XattrBlock::NAME, blkno, &block, XattrBlock::CHECK_OFFSET);
        if !header.is_indexed() {
            self.xattr_area(blkno, &block[XattrBlock::AREA_OFFSET..]);
            return;
        }
        self.see::<XattrTreeRoot>(&block[XattrBlock::AREA_OFFSET..]);
        let per_bucket = (BUCKET_SIZE / self.image.block_size.size()) as u64;
        for rec in self.tree(blkno, &block[XattrTreeRoot::LIST_OFFSET..]) {
            let first = self.image.read(rec.e_blkno);
            let buckets = XattrHeader::decode(&first).unwrap().xh_num_buckets;
            assert!(buckets > 0, "{} {blkno}", self.image.name);
            for index in 0..u64::from(buckets) {
                let at = Blkno(rec.e_blkno.0 + index * per_bucket);
                let bucket = self.image.read_run(at, per_bucket);
                self.guard("xattr bucket", at, &bucket, XattrHeader::CHECK_OFFSET);
                self.add("xattr bucket");
                self.xattr_area(at, &bucket);
                let area = XattrArea::new(&bucket).unwrap();
                let hashes: Vec<_> = area.entries().map(|entry| entry.xe_name_hash).collect();
                assert!(hashes.is_sorted(), "{} {at}", self.image.name);
                assert!(hashes.first().is_none_or(|hash| *hash >= rec.e_cpos.0));
            }
        }
    }

    fn xattr_area(&mut self, blkno: Blkno, bytes: &[u8]) {
        self.see::<XattrHeader>(bytes);
        let area = XattrArea::new(bytes).unwrap();
        area.verify(blkno).unwrap();
        for (index, item) in area.items().enumerate() {
            let item = item.unwrap();
            self.see::<XattrEntry>(&bytes[XattrHeader::SIZE + index * XattrEntry::SIZE..]);
            let uuid_hash = self.image.super_block.s_uuid_hash;
            let hash = xattr_hash(item.name, uuid_hash, self.image.name_hash());
            assert_eq!(hash, item.entry.xe_name_hash, "{} {blkno}", self.image.name);
            assert!(item.entry.prefix().is_some());
            if !item.entry.is_local() {
                let root = self.see::<XattrValueRoot>(item.stored);
                let records = self.tree(blkno, &item.stored[XattrValueRoot::LIST_OFFSET..]);
                let clusters: u32 =
                    records.iter().map(|rec| u32::from(rec.e_leaf_clusters())).sum();
                assert_eq!(clusters, root.xr_clusters, "{} {blkno}", self.image.name);
            }
        }
    }
}
