//! Buckets, and the tree of the extents they are in.
//!
//! New extents are one cluster each, so that two of them can begin at adjacent hashes. Larger ones,
//! which Linux makes, are filled as they are and split into extents of one cluster when they are
//! full. A bucket that becomes empty is removed from its extent.

use ocfs2_format::extent::{ExtentFlags, ExtentList};
use ocfs2_format::feature::Incompat;
use ocfs2_format::xattr::{XattrBlock, XattrBlockFlags, XattrHeader, XattrTreeRoot};
use ocfs2_format::{Blkno, Cluster, Cpos, Invalid, Structure, check};

use super::area::{Area, Item};
use crate::allocator::Want;
use crate::edit::{Edit, EditError, Holds, Root};
use crate::tree::{Extent, Tree};
use crate::xattr::{BUCKET, BucketAt};
use crate::{Error, InBlock, Volume};

/// Most attempts to make room. A full bucket is cut once, or a few times if Linux has put more into
/// it than belongs there.
const MOST_CUTS: usize = 64;

impl Volume {
    fn bucket_area(&self, extent: &Extent, index: u64) -> Result<Area, Error> {
        let blkno = self.bucket_blkno(extent, index);
        Area::bucket(self.block_size()).read(blkno, &self.read_bucket(blkno)?)
    }

    /// The root of the tree in an xattr block.
    pub(in crate::edit) fn bucket_root(&self, blkno: Blkno) -> Result<Root, Error> {
        let (_, block) = self.read::<XattrBlock>(blkno)?;
        let root = XattrTreeRoot::of_block(&block).in_block(blkno)?;
        let list = block.get(XattrTreeRoot::LIST_OFFSET..).unwrap_or_default().to_vec();
        Ok(Root::new(blkno, Holds::Keyed, list, root.xt_last_eb_blk, root.xt_clusters))
    }

    /// The first extent of a tree of buckets.
    fn first_extent(&self, root: &Root) -> Result<Option<Extent>, Error> {
        let list = ExtentList::new(root.list()).in_block(root.at())?;
        Tree::new(self, root.at(), &list)?.extents().next().transpose()
    }

    /// The bucket that an entry with a hash belongs to; `None` if the tree has no bucket.
    fn bucket_of(&self, root: &Root, hash: u32) -> Result<Option<(BucketAt, Area)>, Error> {
        let list = ExtentList::new(root.list()).in_block(root.at())?;
        if let Some(extent) = Tree::new(self, root.at(), &list)?.floor(hash)? {
            let (at, bytes) = self.bucket_for(&extent, hash)?;
            let blkno = self.bucket_blkno(&extent, at.index);
            return Ok(Some((at, Area::bucket(self.block_size()).read(blkno, &bytes)?)));
        }
        let Some(first) = self.first_extent(root)? else { return Ok(None) };
        let found = first.cpos;
        Err(Invalid::new(XattrTreeRoot::NAME, root.at(), "e_cpos", found, "0 in the first").into())
    }
}

impl Edit {
    /// Turns an xattr block with these attributes into the root of a tree of buckets.
    pub(super) fn make_tree(&mut self, blkno: Blkno, area: Area) -> Result<(), EditError> {
        let mut bucket = Area::bucket(self.volume().block_size());
        for item in area.items() {
            // A block of a bucket holds all that an xattr block did.
            if !bucket.insert(item.clone()) {
                return Err(EditError::TooLarge("the attributes do not fit a bucket"));
            }
        }
        let bytes = self.volume().block_size().size().saturating_sub(XattrTreeRoot::LIST_OFFSET);
        let root = Root::empty(blkno, Holds::Keyed, bytes).in_block(blkno)?;
        self.update::<XattrBlock>(blkno, |header, _| {
            header.xb_flags |= XattrBlockFlags::INDEXED.bits();
        })?;
        self.add_extent(root, Cpos(0), None, vec![bucket])
    }

    /// Stores the root of the tree in an xattr block.
    pub(in crate::edit) fn store_bucket_root(&mut self, root: &Root) -> Result<(), EditError> {
        let header = XattrTreeRoot {
            xt_clusters: root.clusters(),
            xt_reserved0: 0,
            xt_last_eb_blk: root.last_leaf(),
        };
        let mut encoded = Ok(());
        self.update::<XattrBlock>(root.at(), |_, rest| {
            encoded = header.encode(rest);
            let start = XattrTreeRoot::LIST_OFFSET - XattrBlock::AREA_OFFSET;
            if let Some(list) = rest.get_mut(start..start + root.list().len()) {
                list.copy_from_slice(root.list());
            }
        })?;
        Ok(encoded.in_block(root.at())?)
    }

    /// Puts an attribute into the bucket its hash belongs to.
    pub(super) fn put_in_tree(&mut self, blkno: Blkno, item: Item) -> Result<(), EditError> {
        for _ in 0..MOST_CUTS {
            let root = self.volume().bucket_root(blkno)?;
            let Some((at, mut area)) = self.volume().bucket_of(&root, item.hash())? else {
                let mut area = Area::bucket(self.volume().block_size());
                area.insert(item);
                return self.add_extent(root, Cpos(0), None, vec![area]);
            };
            if area.insert(item.clone()) {
                return self.store_bucket(&at, area);
            }
            self.make_room(root, at, area)?;
        }
        Err(same_hash())
    }

    /// Writes a bucket. The number of buckets of its extent stays.
    pub(super) fn store_bucket(&mut self, at: &BucketAt, area: Area) -> Result<(), EditError> {
        let buckets = if at.index == 0 { at.count } else { 0 };
        self.write_area(&at.extent, at.index, area, buckets)
    }

    fn write_area(
        &mut self,
        extent: &Extent,
        index: u64,
        mut area: Area,
        buckets: u64,
    ) -> Result<(), EditError> {
        let blkno = self.volume().bucket_blkno(extent, index);
        let bytes = area.encode(buckets).in_block(blkno)?;
        self.write_bucket(blkno, bytes)
    }

    /// Writes those blocks of a bucket that change.
    fn write_bucket(&mut self, blkno: Blkno, mut bytes: Vec<u8>) -> Result<(), EditError> {
        let volume = self.volume();
        if volume.has(Incompat::META_ECC) {
            check::stamp(&mut bytes, XattrHeader::CHECK_OFFSET);
        }
        let mut before = vec![0; bytes.len()];
        volume.read_into(BUCKET, blkno, &mut before)?;
        let unit = volume.block_size().size();
        for (index, (new, old)) in bytes.chunks(unit).zip(before.chunks(unit)).enumerate() {
            if new != old {
                volume.write_raw(Blkno(blkno.0 + index as u64), new)?;
            }
        }
        Ok(())
    }

    /// Writes all buckets of an extent, of which there is at least one.
    fn store_extent(&mut self, extent: &Extent, areas: Vec<Area>) -> Result<(), EditError> {
        let count = areas.len() as u64;
        for (index, area) in (0..).zip(areas) {
            self.write_area(extent, index, area, if index == 0 { count } else { 0 })?;
        }
        Ok(())
    }

    /// Puts buckets into a new cluster, and the cluster into the tree.
    fn add_extent(
        &mut self,
        mut root: Root,
        cpos: Cpos,
        near: Option<Cluster>,
        areas: Vec<Area>,
    ) -> Result<(), EditError> {
        let run = self.take_clusters(Want { near, ..Want::exactly(1) })?;
        let blkno = self.volume().geometry().block_of(Cluster(run.start));
        let extent = Extent { cpos, clusters: 1, blkno, flags: ExtentFlags::empty() };
        self.store_extent(&extent, areas)?;
        self.tree_insert(&mut root, extent)?;
        self.store_bucket_root(&root)
    }

    /// Makes room near a full bucket: another one after it, or another extent.
    fn make_room(&mut self, root: Root, at: BucketAt, area: Area) -> Result<(), EditError> {
        if at.count < self.volume().bucket_room(&at.extent) {
            return self.cut_bucket(&at, area);
        }
        let mut areas = Vec::new();
        for index in 0..at.count {
            areas.push(self.volume().bucket_area(&at.extent, index)?);
        }
        areas.retain(|area| !area.is_empty());
        if (areas.len() as u64) < at.count {
            return self.store_extent(&at.extent, areas);
        }
        if at.extent.clusters > 1 {
            return self.part_extent(root, &at.extent, areas);
        }
        let upper = match &mut areas[..] {
            [only] => vec![only.split().ok_or_else(same_hash)?],
            _ => areas.split_off(areas.len() / 2),
        };
        let cpos = upper.first().and_then(Area::first_hash).map_or(at.extent.cpos, Cpos);
        let near = self.volume().geometry().cluster_of(at.extent.blkno);
        let near = near.map(|Cluster(cluster)| Cluster(cluster.saturating_add(1)));
        self.store_extent(&at.extent, areas)?;
        self.add_extent(root, cpos, near, upper)
    }

    /// Moves the upper half of a bucket to a new one after it.
    fn cut_bucket(&mut self, at: &BucketAt, mut area: Area) -> Result<(), EditError> {
        let upper = area.split().ok_or_else(same_hash)?;
        for index in (at.index + 1..at.count).rev() {
            self.move_bucket(&at.extent, index, index + 1)?;
        }
        self.write_area(&at.extent, at.index + 1, upper, 0)?;
        self.store_bucket(&BucketAt { count: at.count + 1, ..*at }, area)?;
        self.set_count(&at.extent, at.count + 1)
    }

    fn move_bucket(&mut self, extent: &Extent, from: u64, to: u64) -> Result<(), EditError> {
        let bytes = self.volume().read_bucket(self.volume().bucket_blkno(extent, from))?;
        self.write_bucket(self.volume().bucket_blkno(extent, to), bytes)
    }

    /// Records in the first bucket of an extent how many are in use.
    fn set_count(&mut self, extent: &Extent, count: u64) -> Result<(), EditError> {
        let blkno = extent.blkno;
        let mut bytes = self.volume().read_bucket(blkno)?;
        let mut header = XattrHeader::decode(&bytes).in_block(blkno)?;
        header.xh_num_buckets = count as u16;
        header.encode(&mut bytes).in_block(blkno)?;
        self.write_bucket(blkno, bytes)
    }

    /// Splits a full extent into extents of one cluster. The buckets stay where they are.
    fn part_extent(
        &mut self,
        mut root: Root,
        extent: &Extent,
        areas: Vec<Area>,
    ) -> Result<(), EditError> {
        self.cut_out(&mut root, extent)?;
        let mut piece = Extent { clusters: 1, ..*extent };
        let per_cluster = self.volume().bucket_room(&piece).max(1) as usize;
        let blocks = u64::from(self.volume().geometry().blocks_per_cluster());
        for (index, areas) in areas.chunks(per_cluster).enumerate() {
            let first = areas.first().and_then(Area::first_hash).map(Cpos);
            if let Some(first) = first.filter(|_| index > 0) {
                piece.cpos = first;
                piece.blkno = Blkno(extent.blkno.0 + index as u64 * blocks);
            }
            self.store_extent(&piece, areas.to_vec())?;
            self.tree_insert(&mut root, piece)?;
        }
        self.store_bucket_root(&root)
    }

    /// Removes a bucket without attributes from its extent, and an extent without buckets from the
    /// tree. Returns whether the tree has other buckets.
    pub(super) fn drop_bucket(&mut self, blkno: Blkno, at: &BucketAt) -> Result<bool, EditError> {
        if at.count > 1 {
            for index in at.index + 1..at.count {
                self.move_bucket(&at.extent, index, index - 1)?;
            }
            self.set_count(&at.extent, at.count - 1)?;
            return Ok(true);
        }
        let mut root = self.volume().bucket_root(blkno)?;
        self.cut_out(&mut root, &at.extent)?;
        self.give_extent(&at.extent)?;
        let first = self.volume().first_extent(&root)?;
        if let Some(first) = first.filter(|first| first.cpos != Cpos(0)) {
            // The first extent begins at 0, as it also holds all lower hashes.
            self.cut_out(&mut root, &first)?;
            self.tree_insert(&mut root, Extent { cpos: Cpos(0), ..first })?;
        }
        self.store_bucket_root(&root)?;
        Ok(first.is_some())
    }

    fn cut_out(&mut self, root: &mut Root, extent: &Extent) -> Result<(), EditError> {
        let range = u64::from(extent.cpos.0)..extent.end();
        self.tree_change(root, range, &mut |_| None)
    }
}

fn same_hash() -> EditError {
    EditError::TooLarge("too many names of attributes have the same hash")
}
