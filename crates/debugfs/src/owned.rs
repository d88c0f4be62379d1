//! What an inode owns besides its contents: attributes, an index, a refcount tree.

use std::ops::Range;

use ocfs2_format::dinode::DynFeatures;
use ocfs2_format::dx::DxRoot;
use ocfs2_format::extent::ExtentList;
use ocfs2_format::refcount::RefcountBlock;
use ocfs2_format::xattr::{
    BUCKET_SIZE, XattrArea, XattrBlock, XattrHeader, XattrTreeRoot, XattrValueRoot,
};
use ocfs2_format::{Blkno, Block, Structure};
use ocfs2_volume::Inode;
use ocfs2_volume::tree::Tree;

use crate::error::Problem;
use crate::volume::Fs;

/// Blocks that belong to an inode.
pub struct Owned<'f> {
    fs: &'f Fs,
    ranges: Vec<Range<u64>>,
}

impl<'f> Owned<'f> {
    /// The blocks that an inode owns, as far as they can be found.
    pub fn of(fs: &'f Fs, inode: &Inode) -> Vec<Range<u64>> {
        let mut owned = Self { fs, ranges: Vec::new() };
        let features = inode.dinode.dyn_features();
        // Damage hides only what the damaged block points to.
        if features.contains(DynFeatures::INLINE_XATTR) {
            let block = inode.block();
            let start = block.len().saturating_sub(inode.dinode.i_xattr_inline_size.into());
            let _ = owned.values(inode.blkno, block.get(start..).unwrap_or_default());
        }
        if features.contains(DynFeatures::HAS_XATTR) && !inode.dinode.i_xattr_loc.is_none() {
            let _ = owned.attributes(inode.dinode.i_xattr_loc);
        }
        if fs.is_indexed(inode) {
            let _ = owned.index(inode.dinode.i_dx_root);
        }
        if features.contains(DynFeatures::HAS_REFCOUNT) {
            let _ = owned.refcounts(inode.dinode.i_refcount_loc);
        }
        owned.ranges
    }

    fn add(&mut self, first: Blkno, blocks: u64) {
        self.ranges.push(first.0..first.0.saturating_add(blocks));
    }

    /// Adds the extents of a tree, in clusters or in blocks of 2^-`bits` of them, and its extent
    /// blocks.
    fn tree(&mut self, tree: &Tree<'_>, bits: u32) -> Result<(), Problem> {
        let most = self.fs.volume.geometry().blocks();
        let mut extents = tree.extents();
        for extent in extents.by_ref().filter_map(Result::ok) {
            // Many attributes may claim the same tree: more ranges than blocks are not kept.
            if self.ranges.len() as u64 >= most {
                return Err(Problem::InvalidBlock);
            }
            self.fs.check()?;
            self.ranges.push(extent.blkno.0..extent.blkno.0 + (u64::from(extent.clusters) << bits));
        }
        self.ranges.extend(extents.extent_blocks().map(|blkno| blkno.0..blkno.0 + 1));
        Ok(())
    }

    fn clusters(&mut self, owner: Blkno, list: &ExtentList<'_>) -> Result<(), Problem> {
        let tree = Tree::new(&self.fs.volume, owner, list)?;
        self.tree(&tree, self.fs.volume.geometry().bpc_bits())
    }

    fn values(&mut self, owner: Blkno, area: &[u8]) -> Result<(), Problem> {
        let area = XattrArea::new(area)?;
        for item in area.items().filter_map(Result::ok).filter(|item| !item.entry.is_local()) {
            self.clusters(owner, &XattrValueRoot::list(item.stored)?)?;
        }
        Ok(())
    }

    fn attributes(&mut self, blkno: Blkno) -> Result<(), Problem> {
        let problem = Problem::BadMagic("extended attribute block");
        let block = self.fs.signed(blkno, &XattrBlock::SIGNATURE, problem)?;
        self.add(blkno, 1);
        if !XattrBlock::decode(&block)?.is_indexed() {
            return self.values(blkno, block.get(XattrBlock::AREA_OFFSET..).unwrap_or_default());
        }
        let list = XattrTreeRoot::list(&block)?;
        self.clusters(blkno, &list)?;
        let per_bucket = BUCKET_SIZE as u64 >> self.fs.volume.block_size().bits();
        let bits = self.fs.volume.geometry().bpc_bits();
        for extent in Tree::new(&self.fs.volume, blkno, &list)?.extents() {
            let extent = extent?;
            let room = (u64::from(extent.clusters) << bits) / per_bucket;
            let first = XattrHeader::decode(&self.bucket(extent.blkno, 0)?)?;
            let used = u64::from(first.xh_num_buckets).min(room);
            for index in 0..used {
                let bytes = self.bucket(extent.blkno, index)?;
                let _ = self.values(blkno, &bytes);
            }
        }
        Ok(())
    }

    /// Reads bucket `index` of the extent that begins with `first`.
    fn bucket(&self, first: Blkno, index: u64) -> Result<Vec<u8>, Problem> {
        self.fs.check()?;
        let blocks = BUCKET_SIZE as u64 >> self.fs.volume.block_size().bits();
        let blkno = Blkno(first.0 + index * blocks);
        Ok(self.fs.volume.read_blocks(blkno, blocks as u32)?)
    }

    fn index(&mut self, root: Blkno) -> Result<(), Problem> {
        let block = self.fs.signed(root, &DxRoot::SIGNATURE, Problem::DirCorrupt)?;
        self.add(root, 1);
        if DxRoot::decode(&block)?.is_inline() {
            return Ok(());
        }
        self.clusters(root, &DxRoot::extents(&block)?)
    }

    fn refcounts(&mut self, root: Blkno) -> Result<(), Problem> {
        let problem = Problem::BadMagic("refcount block");
        let block = self.fs.signed(root, &RefcountBlock::SIGNATURE, problem)?;
        self.add(root, 1);
        if !RefcountBlock::decode(&block)?.is_tree() {
            return Ok(());
        }
        let list = RefcountBlock::extents(&block)?;
        let tree = Tree::of_blocks(&self.fs.volume, root, &list)?;
        self.tree(&tree, 0)
    }
}
