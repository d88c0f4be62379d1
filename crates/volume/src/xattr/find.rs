//! One attribute found by its name, without reading the others.

use ocfs2_format::Blkno;
use ocfs2_format::dinode::DynFeatures;
use ocfs2_format::hash::{CharSign, xattr_hash};
use ocfs2_format::xattr::{BUCKET_SIZE, XattrArea, XattrBlock, XattrPrefix, XattrTreeRoot};

use super::{Xattr, Xattrs};
use crate::tree::{Extent, Tree};
use crate::{Error, InBlock, Inode, Volume};

/// A bucket of an extent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BucketAt {
    pub extent: Extent,
    /// Which one of the extent it is.
    pub index: u64,
    /// Buckets in use in the extent.
    pub count: u64,
}

/// Where attributes are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Where {
    /// At the end of the dinode.
    Inline,
    /// In an xattr block.
    Block(Blkno),
    /// In a bucket of the tree in an xattr block.
    Bucket(BucketAt),
}

/// An entry that was looked for.
#[derive(Clone, Debug)]
pub(crate) struct FoundXattr {
    pub at: Where,
    /// The area it is in.
    pub area: Vec<u8>,
    /// Which entry it is.
    pub index: usize,
}

impl Volume {
    /// The attribute of an inode with a name, which is without its prefix.
    ///
    /// # Errors
    /// The area it would be in cannot be read, or is wrong.
    pub fn xattr(
        &self,
        inode: &Inode,
        prefix: XattrPrefix,
        name: &[u8],
    ) -> Result<Option<Xattr>, Error> {
        let Some(found) = self.find_xattr(inode, prefix, name)? else { return Ok(None) };
        let blkno = match found.at {
            Where::Inline => inode.blkno,
            Where::Block(blkno) => blkno,
            Where::Bucket(at) => self.bucket_blkno(&at.extent, at.index),
        };
        let area = XattrArea::new(&found.area).in_block(blkno)?;
        let Some(item) = area.items().nth(found.index) else { return Ok(None) };
        let item = item.map_err(|source| Error::XattrEntry { blkno, source })?;
        Xattr::new(blkno, &item).map(Some)
    }

    /// The hashes a name may have.
    pub(crate) fn xattr_hashes(&self, name: &[u8]) -> Vec<u32> {
        let seed = self.superblock().s_uuid_hash;
        let mut hashes = CharSign::ALL.map(|sign| xattr_hash(name, seed, sign)).to_vec();
        hashes.dedup();
        hashes
    }

    /// Where an attribute is.
    pub(crate) fn find_xattr(
        &self,
        inode: &Inode,
        prefix: XattrPrefix,
        name: &[u8],
    ) -> Result<Option<FoundXattr>, Error> {
        if !inode.dinode.dyn_features().contains(DynFeatures::HAS_XATTR) {
            return Ok(None);
        }
        if let Some(area) = inode.inline_xattrs()?
            && let Some(index) = position(inode.blkno, area, prefix, name)?
        {
            return Ok(Some(FoundXattr { at: Where::Inline, area: area.to_vec(), index }));
        }
        let blkno = inode.dinode.i_xattr_loc;
        if blkno.is_none() {
            return Ok(None);
        }
        let (header, mut block) = self.read::<XattrBlock>(blkno)?;
        if header.is_indexed() {
            return self.find_in_tree(blkno, &block, prefix, name);
        }
        let area = block.split_off(XattrBlock::AREA_OFFSET.min(block.len()));
        let index = position(blkno, &area, prefix, name)?;
        Ok(index.map(|index| FoundXattr { at: Where::Block(blkno), area, index }))
    }

    fn find_in_tree(
        &self,
        blkno: Blkno,
        block: &[u8],
        prefix: XattrPrefix,
        name: &[u8],
    ) -> Result<Option<FoundXattr>, Error> {
        let list = XattrTreeRoot::list(block).in_block(blkno)?;
        let tree = Tree::new(self, blkno, &list)?;
        for hash in self.xattr_hashes(name) {
            let Some(extent) = tree.floor(hash)? else { continue };
            let (at, area) = self.bucket_for(&extent, hash)?;
            let bucket = self.bucket_blkno(&at.extent, at.index);
            if let Some(index) = position(bucket, &area, prefix, name)? {
                return Ok(Some(FoundXattr { at: Where::Bucket(at), area, index }));
            }
        }
        Ok(None)
    }

    /// The first block of a bucket.
    pub(crate) fn bucket_blkno(&self, extent: &Extent, index: u64) -> Blkno {
        let blocks = BUCKET_SIZE as u64 >> self.block_size().bits();
        Blkno(extent.blkno.0 + index * blocks)
    }

    /// The bucket of an extent that an entry with a hash belongs to: the last one that does not
    /// begin with a higher hash. Buckets without entries, as Linux leaves them, are passed over.
    pub(crate) fn bucket_for(
        &self,
        extent: &Extent,
        hash: u32,
    ) -> Result<(BucketAt, Vec<u8>), Error> {
        let count = self.count_buckets(extent)?;
        let (mut low, mut high) = (0, count);
        let mut found = self.read_bucket(extent.blkno)?;
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let mut next = None;
            for index in middle..high {
                let bucket = self.read_bucket(self.bucket_blkno(extent, index))?;
                if let Some(first) = first_hash(extent.blkno, &bucket)? {
                    next = Some((index, first, bucket));
                    break;
                }
            }
            match next {
                Some((index, first, bucket)) if first <= hash => (low, found) = (index, bucket),
                _ => high = middle,
            }
        }
        Ok((BucketAt { extent: *extent, index: low, count }, found))
    }
}

impl Xattrs<'_> {
    /// The sign that the first name with two possible hashes shows, of the first `most` attributes;
    /// `None` if no name shows one.
    pub(crate) fn shown_sign(self, most: usize) -> Option<CharSign> {
        let seed = self.volume.superblock().s_uuid_hash;
        self.take(most).filter_map(Result::ok).find_map(|xattr| {
            let name = xattr.name.get(xattr.prefix.as_str().len()..)?;
            let [signed, unsigned] = CharSign::ALL.map(|sign| xattr_hash(name, seed, sign));
            match xattr.entry.xe_name_hash {
                _ if signed == unsigned => None,
                hash if hash == signed => Some(CharSign::Signed),
                hash if hash == unsigned => Some(CharSign::Unsigned),
                _ => None,
            }
        })
    }
}

fn first_hash(blkno: Blkno, bucket: &[u8]) -> Result<Option<u32>, Error> {
    let area = XattrArea::new(bucket).in_block(blkno)?;
    Ok(area.entries().next().map(|entry| entry.xe_name_hash))
}

/// Which entry of an area has a name; `None` if none has.
fn position(
    blkno: Blkno,
    bytes: &[u8],
    prefix: XattrPrefix,
    name: &[u8],
) -> Result<Option<usize>, Error> {
    let area = XattrArea::new(bytes).in_block(blkno)?;
    area.verify(blkno)?;
    for (index, item) in area.items().enumerate() {
        let item = item.map_err(|source| Error::XattrEntry { blkno, source })?;
        if item.name == name && item.entry.prefix() == Some(prefix) {
            return Ok(Some(index));
        }
    }
    Ok(None)
}
