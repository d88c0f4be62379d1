//! Extended attributes: in the dinode, in an xattr block, in buckets.

mod find;

use std::collections::VecDeque;

use ocfs2_format::acl;
use ocfs2_format::dinode::{Dinode, DynFeatures};
use ocfs2_format::xattr::{
    BUCKET_SIZE, MAX_VALUE, XattrArea, XattrBlock, XattrEntry, XattrHeader, XattrItem, XattrPrefix,
    XattrTreeRoot, XattrValueRoot,
};
use ocfs2_format::{Blkno, Invalid, Structure};

use crate::file::FileReader;
use crate::tree::{Extent, Extents, Tree};
use crate::{Error, InBlock, Inode, Volume};

pub(crate) use find::{BucketAt, FoundXattr, Where};

/// The name of a bucket in errors.
pub(crate) const BUCKET: &str = "xattr bucket";

/// An extended attribute.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Xattr {
    /// The name with its prefix, e.g. `user.color`.
    pub name: Vec<u8>,
    /// The prefix.
    pub prefix: XattrPrefix,
    /// The entry.
    pub entry: XattrEntry,
    /// The block it is in, the first one of a bucket.
    pub blkno: Blkno,
    /// The value if it is local, else the root of its tree.
    pub(crate) stored: Vec<u8>,
}

impl Xattr {
    /// Bytes of the value, as the entry states: if that is damaged, any number.
    pub fn size(&self) -> u64 {
        self.entry.xe_value_size
    }

    /// The tree of the value; `None` if it is stored next to the name.
    pub(crate) fn tree<'v>(&self, volume: &'v Volume) -> Result<Option<Tree<'v>>, Error> {
        if self.entry.is_local() {
            return Ok(None);
        }
        let list = XattrValueRoot::list(&self.stored).in_block(self.blkno)?;
        Tree::new(volume, self.blkno, &list).map(Some)
    }

    fn new(blkno: Blkno, item: &XattrItem<'_>) -> Result<Self, Error> {
        let Some(prefix) = item.entry.prefix() else {
            let found = item.entry.xe_type & !XattrEntry::LOCAL;
            let invalid = Invalid::new(XattrEntry::NAME, blkno, "xe_type", found, "1 to 5");
            return Err(invalid.into());
        };
        let name = [prefix.as_str().as_bytes(), item.name].concat();
        Ok(Self { name, prefix, entry: item.entry, blkno, stored: item.stored.to_vec() })
    }
}

/// The attributes of an inode. See [`Volume::xattrs`].
#[derive(Debug)]
pub struct Xattrs<'v> {
    volume: &'v Volume,
    pending: VecDeque<Result<Xattr, Error>>,
    /// The xattr block, until it is read.
    block: Option<Blkno>,
    extents: Option<Extents<'v>>,
    /// The next bucket, and how many there are from it on.
    buckets: (Blkno, u64),
}

impl Xattrs<'_> {
    fn push_area(&mut self, blkno: Blkno, bytes: &[u8]) -> Result<(), Error> {
        let area = XattrArea::new(bytes).in_block(blkno)?;
        let count = area.header.xh_count;
        if usize::from(count) > area.capacity() {
            let expected = format_args!("at most {}", area.capacity()).to_string();
            let invalid = Invalid::new(XattrHeader::NAME, blkno, "xh_count", count, expected);
            return Err(invalid.into());
        }
        self.pending.extend(area.items().map(|item| {
            let item = item.map_err(|source| Error::XattrEntry { blkno, source })?;
            Xattr::new(blkno, &item)
        }));
        Ok(())
    }

    fn read_block(&mut self, blkno: Blkno) -> Result<(), Error> {
        let volume = self.volume;
        let (header, block) = volume.read::<XattrBlock>(blkno)?;
        if !header.is_indexed() {
            return self.push_area(blkno, block.get(XattrBlock::AREA_OFFSET..).unwrap_or_default());
        }
        let list = XattrTreeRoot::list(&block).in_block(blkno)?;
        self.extents = Some(Tree::new(volume, blkno, &list)?.extents());
        Ok(())
    }

    /// Reads the next piece; `None` if there is none left.
    fn advance(&mut self) -> Option<Result<(), Error>> {
        if let Some(blkno) = self.block.take() {
            return Some(self.read_block(blkno));
        }
        let (blkno, left) = self.buckets;
        if left > 0 {
            let blocks = BUCKET_SIZE as u64 >> self.volume.block_size().bits();
            self.buckets = (Blkno(blkno.0 + blocks), left - 1);
            return Some(
                self.volume.read_bucket(blkno).and_then(|bytes| self.push_area(blkno, &bytes)),
            );
        }
        let extent = match self.extents.as_mut()?.next()? {
            Ok(extent) => extent,
            Err(err) => return Some(Err(err)),
        };
        let count = self.volume.count_buckets(&extent);
        Some(count.map(|count| self.buckets = (extent.blkno, count)))
    }
}

impl Iterator for Xattrs<'_> {
    type Item = Result<Xattr, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(xattr) = self.pending.pop_front() {
                return Some(xattr);
            }
            if let Err(err) = self.advance()? {
                return Some(Err(err));
            }
        }
    }
}

impl Inode {
    /// The area of attributes at the end of the dinode, if there is one.
    pub(crate) fn inline_xattrs(&self) -> Result<Option<&[u8]>, Error> {
        if !self.dinode.dyn_features().contains(DynFeatures::INLINE_XATTR) {
            return Ok(None);
        }
        let size = usize::from(self.dinode.i_xattr_inline_size);
        let room = self.block().len().saturating_sub(Dinode::ID2_OFFSET);
        if !(XattrHeader::SIZE..=room).contains(&size) {
            let expected = format_args!("{} to {room}", XattrHeader::SIZE).to_string();
            return Err(self.invalid("i_xattr_inline_size", size, expected));
        }
        Ok(self.block().get(self.block().len() - size..))
    }
}

impl Volume {
    /// Reads a bucket.
    pub(crate) fn read_bucket(&self, blkno: Blkno) -> Result<Vec<u8>, Error> {
        let mut bucket = vec![0; BUCKET_SIZE];
        self.read_into(BUCKET, blkno, &mut bucket)?;
        self.verify_check(BUCKET, blkno, &mut bucket, XattrHeader::CHECK_OFFSET)?;
        Ok(bucket)
    }

    /// How many buckets of an extent are in use.
    pub(crate) fn count_buckets(&self, extent: &Extent) -> Result<u64, Error> {
        let bucket = self.read_bucket(extent.blkno)?;
        let header = XattrHeader::decode(&bucket).in_block(extent.blkno)?;
        let room = self.bucket_room(extent);
        let used = u64::from(header.xh_num_buckets);
        if used == 0 || used > room {
            let expected = format_args!("1 to {room}").to_string();
            let invalid = Invalid::new(BUCKET, extent.blkno, "xh_num_buckets", used, expected);
            return Err(invalid.into());
        }
        Ok(used)
    }

    /// How many buckets an extent has room for.
    pub(crate) fn bucket_room(&self, extent: &Extent) -> u64 {
        let cluster_bits = self.geometry().cluster_size.bits();
        (u64::from(extent.clusters) << cluster_bits) / BUCKET_SIZE as u64
    }

    /// The attributes of an inode in the order they are stored, without their values.
    ///
    /// What is wrong is returned as an error; what comes after it follows.
    pub fn xattrs(&self, inode: &Inode) -> Xattrs<'_> {
        let mut xattrs = Xattrs {
            volume: self,
            pending: VecDeque::new(),
            block: None,
            extents: None,
            buckets: (Blkno(0), 0),
        };
        if !inode.dinode.dyn_features().contains(DynFeatures::HAS_XATTR) {
            return xattrs;
        }
        let pushed = match inode.inline_xattrs() {
            Ok(Some(area)) => xattrs.push_area(inode.blkno, area),
            Ok(None) => Ok(()),
            Err(err) => Err(err),
        };
        xattrs.pending.extend(pushed.err().map(Err));
        xattrs.block = Some(inode.dinode.i_xattr_loc).filter(|blkno| !blkno.is_none());
        xattrs
    }

    /// All attributes of an inode, by name.
    ///
    /// # Errors
    /// The first error of [`Volume::xattrs`].
    pub fn sorted_xattrs(&self, inode: &Inode) -> Result<Vec<Xattr>, Error> {
        let mut xattrs = self.xattrs(inode).collect::<Result<Vec<_>, _>>()?;
        xattrs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(xattrs)
    }

    /// The value of an attribute as getxattr(2) returns it: an access control list has its version
    /// before it.
    ///
    /// # Errors
    /// As [`Volume::xattr_value`].
    pub fn shown_xattr_value(&self, xattr: &Xattr) -> Result<Vec<u8>, Error> {
        let value = self.xattr_value(xattr)?;
        Ok(if xattr.prefix.is_acl() { acl::shown(&value) } else { value })
    }

    /// The value of an attribute.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is longer than a value can be or not all of it is there;
    /// any of reading it.
    pub fn xattr_value(&self, xattr: &Xattr) -> Result<Vec<u8>, Error> {
        let Some(tree) = xattr.tree(self)? else { return Ok(xattr.stored.clone()) };
        let size = xattr.size();
        let invalid = |expected: String| {
            Invalid::new(XattrEntry::NAME, xattr.blkno, "xe_value_size", size, expected)
        };
        let value = FileReader::of_tree(self, tree, size);
        let bytes =
            value.read_whole(MAX_VALUE)?.ok_or_else(|| invalid(format!("at most {MAX_VALUE}")))?;
        let mut end = 0;
        while let Some(range) = value.next_data(end)?.filter(|range| range.start == end) {
            end = range.end;
        }
        if end < size {
            return Err(invalid(format!("at most {end}, what is there")).into());
        }
        Ok(bytes)
    }
}
