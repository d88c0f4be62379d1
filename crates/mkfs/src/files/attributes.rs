//! Extended attributes: in the inode, in a separate block, or in buckets.

use ocfs2_format::acl;
use ocfs2_format::dinode::{Dinode, DynFeatures};
use ocfs2_format::extent::{ExtentFlags, ExtentRec};
use ocfs2_format::feature::Incompat;
use ocfs2_format::hash::{uuid_hash, xattr_hash};
use ocfs2_format::superblock::XATTR_INLINE_SIZE;
use ocfs2_format::xattr::{
    BUCKET_SIZE, MAX_LOCAL_VALUE, MAX_VALUE, XattrBlock, XattrBlockFlags, XattrEntry, XattrHeader,
    XattrPrefix, XattrTreeRoot, XattrValueRoot, bucket_entries,
};
use ocfs2_format::{Blkno, Block, BlockSize, Cpos, Structure, Truncated};

use super::{Files, FillError};
use crate::file::{FileData, list_capacity};

/// The place of an inode's attributes.
#[derive(Clone, Debug, Default)]
pub(super) struct Stored {
    inline: Vec<u8>,
    block: Option<Blkno>,
}

impl Stored {
    /// The area at the end of the inode; empty if there is none.
    pub(super) fn inline(&self) -> &[u8] {
        &self.inline
    }

    /// Sets the fields of the inode that describe the place.
    pub(super) fn mark(&self, dinode: &mut Dinode) {
        let mut features = dinode.dyn_features();
        if !self.inline.is_empty() {
            features |= DynFeatures::HAS_XATTR | DynFeatures::INLINE_XATTR;
            dinode.i_xattr_inline_size = self.inline.len() as u16;
        }
        if let Some(block) = self.block {
            features |= DynFeatures::HAS_XATTR;
            dinode.i_xattr_loc = block;
        }
        dinode.i_dyn_features = features.bits();
    }
}

/// An attribute in its stored form.
#[derive(Clone, Debug)]
struct Item {
    prefix: XattrPrefix,
    /// The name without its prefix.
    name: Vec<u8>,
    hash: u32,
    size: u64,
    /// The name, then the value or the root of its tree, each padded to a multiple of four bytes.
    pair: Vec<u8>,
}

impl Item {
    fn entry(&self, offset: usize) -> XattrEntry {
        let local = if self.size <= MAX_LOCAL_VALUE { XattrEntry::LOCAL } else { 0 };
        XattrEntry {
            xe_name_hash: self.hash,
            xe_name_offset: offset as u16,
            xe_name_len: self.name.len() as u8,
            xe_type: self.prefix.code() | local,
            xe_value_size: self.size,
        }
    }
}

/// Free bytes between the entries and the names and values.
const GAP: usize = 4;

/// Puts names and values of `items` at the end of `area`, and the entries at its start. No name
/// with its value crosses a multiple of `block`. Returns the lowest offset of names and values;
/// `None` if there is no room, in which case the contents of `area` are undefined.
fn fill(area: &mut [u8], items: &[Item], block: usize) -> Result<Option<usize>, Truncated> {
    let mut end = area.len();
    let end_of_entries = XattrHeader::SIZE + items.len() * XattrEntry::SIZE;
    for (index, item) in items.iter().enumerate() {
        let size = item.pair.len();
        let start = end.checked_sub(size);
        let start = match start {
            Some(start) if size > 0 && start / block != (end - 1) / block => {
                (end - 1).checked_div(block).and_then(|at| (at * block).checked_sub(size))
            }
            start => start,
        };
        let Some(start) = start.filter(|start| *start >= end_of_entries + GAP) else {
            return Ok(None);
        };
        area[start..start + size].copy_from_slice(&item.pair);
        let at = XattrHeader::SIZE + index * XattrEntry::SIZE;
        item.entry(start).encode(&mut area[at..])?;
        end = start;
    }
    XattrHeader { xh_count: items.len() as u16, ..Default::default() }.encode(area)?;
    Ok(Some(end))
}

/// A bucket with items, which must be sorted by hash; `None` if they do not fit.
fn bucket(items: &[Item], block_size: BlockSize) -> Result<Option<Vec<u8>>, Truncated> {
    if items.len() > bucket_entries(block_size) {
        return Ok(None);
    }
    let mut area = vec![0; BUCKET_SIZE];
    let Some(start) = fill(&mut area, items, block_size.size())? else { return Ok(None) };
    let header = XattrHeader {
        xh_count: items.len() as u16,
        xh_free_start: start as u16,
        xh_name_value_len: items.iter().map(|item| item.pair.len()).sum::<usize>() as u16,
        ..Default::default()
    };
    header.encode(&mut area)?;
    Ok(Some(area))
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

impl Files<'_> {
    /// Size in bytes of the attribute area at the end of an inode; 0 if inodes are too small for
    /// one.
    pub(super) fn inline_xattr_size(&self) -> usize {
        let layout = &self.plan.layout;
        match layout.geometry.block_size == BlockSize::MIN {
            true => 0,
            false => XATTR_INLINE_SIZE.into(),
        }
    }

    /// Stores attributes, in the inode only if `inline`.
    pub(super) fn store_xattrs(
        &mut self,
        xattrs: &[(Vec<u8>, Vec<u8>)],
        inline: bool,
    ) -> Result<Stored, FillError> {
        let mut items = Vec::new();
        for (name, value) in xattrs {
            items.push(self.item(name, value)?);
        }
        if items.is_empty() {
            return Ok(Stored::default());
        }
        items.sort_by(|a, b| (a.prefix, &a.name).cmp(&(b.prefix, &b.name)));
        let size = self.inline_xattr_size();
        let mut area = vec![0; size];
        if inline && size > 0 && fill(&mut area, &items, usize::MAX)?.is_some() {
            return Ok(Stored { inline: area, block: None });
        }
        let block = self.store_in_block(items)?;
        Ok(Stored { inline: Vec::new(), block: Some(block) })
    }

    fn item(&mut self, full_name: &[u8], value: &[u8]) -> Result<Item, FillError> {
        let shown = || ocfs2_cli::terminal(full_name);
        let wrong = |why| FillError::Attribute { name: shown(), why };
        if !self.plan.layout.has(Incompat::XATTR) {
            return Err(FillError::NoAttributes { name: shown() });
        }
        let Some((prefix, name)) = XattrPrefix::split(full_name) else {
            return Err(FillError::AttributeKind { name: shown() });
        };
        let value = match prefix.is_acl() {
            false => value,
            true => acl::stored(value)
                .ok_or_else(|| wrong("it is not an access control list of version 2"))?,
        };
        if name.len() > usize::from(u8::MAX) {
            return Err(wrong("its name is longer than 255 bytes"));
        }
        if name.contains(&0) {
            return Err(wrong("its name has a NUL in it"));
        }
        if value.len() as u64 > MAX_VALUE {
            return Err(wrong("its value is longer than 65536 bytes"));
        }
        let hash = uuid_hash(self.plan.settings.uuid.as_bytes());
        let hash = xattr_hash(name, hash, self.plan.settings.name_hash);
        let mut pair = padded(name.to_vec());
        if value.len() as u64 <= MAX_LOCAL_VALUE {
            pair.extend(padded(value.to_vec()));
        } else {
            pair.extend(self.value_root(value)?);
        }
        Ok(Item { prefix, name: name.to_vec(), hash, size: value.len() as u64, pair })
    }

    /// Writes a value to its own clusters. Returns the root of its tree.
    fn value_root(&mut self, value: &[u8]) -> Result<Vec<u8>, FillError> {
        let mut data = self.write_clusters(value.to_vec())?;
        let mut root = vec![0; XattrValueRoot::FULL_SIZE];
        let list = &mut root[XattrValueRoot::LIST_OFFSET..];
        self.put_tree(&mut data, list)?;
        let header = XattrValueRoot {
            xr_clusters: data.clusters(),
            xr_last_eb_blk: data.last_leaf(&self.plan.layout, list_capacity(list)),
            ..Default::default()
        };
        header.encode(&mut root)?;
        Ok(root)
    }

    fn store_in_block(&mut self, mut items: Vec<Item>) -> Result<Blkno, FillError> {
        let place = self.new_block()?;
        let mut block = vec![0; self.plan.layout.block_size()];
        let mut header = XattrBlock {
            xb_signature: XattrBlock::SIGNATURE,
            xb_suballoc_slot: 0,
            xb_suballoc_bit: place.bit,
            xb_fs_generation: self.plan.layout.generation,
            xb_blkno: place.blkno,
            xb_suballoc_loc: place.loc,
            ..Default::default()
        };
        if fill(&mut block[XattrBlock::AREA_OFFSET..], &items, usize::MAX)?.is_none() {
            block.fill(0);
            header.xb_flags = XattrBlockFlags::INDEXED.bits();
            items.sort_by_key(|item| item.hash);
            let mut data = self.write_buckets(items)?;
            let list = &mut block[XattrTreeRoot::LIST_OFFSET..];
            self.put_tree(&mut data, list)?;
            let root = XattrTreeRoot {
                xt_clusters: data.clusters(),
                xt_last_eb_blk: data.last_leaf(&self.plan.layout, list_capacity(list)),
                ..Default::default()
            };
            root.encode(&mut block[XattrBlock::AREA_OFFSET..])?;
        }
        header.encode(&mut block)?;
        self.plan.stamp::<XattrBlock>(&mut block);
        self.blocks.put(place, &block)?;
        Ok(place.blkno)
    }

    /// Writes items, which must be sorted by hash, to buckets. Each cluster is an extent.
    fn write_buckets(&mut self, items: Vec<Item>) -> Result<FileData, FillError> {
        let block_size = self.plan.layout.geometry.block_size;
        let mut buckets: Vec<(u32, Vec<u8>)> = Vec::new();
        let mut in_bucket: Vec<Item> = Vec::new();
        // Items with the same hash stay together.
        for same in items.chunk_by(|a, b| a.hash == b.hash) {
            let before = in_bucket.len();
            in_bucket.extend_from_slice(same);
            if bucket(&in_bucket, block_size)?.is_some() {
                continue;
            }
            in_bucket.truncate(before);
            buckets.extend(full_bucket(&in_bucket, block_size)?);
            in_bucket = same.to_vec();
            if bucket(&in_bucket, block_size)?.is_none() {
                let name = ocfs2_cli::terminal(&same[0].name);
                let why = "too many names have the same hash";
                return Err(FillError::Attribute { name, why });
            }
        }
        buckets.extend(full_bucket(&in_bucket, block_size)?);

        let per_cluster = self.plan.layout.cluster_size() as usize / BUCKET_SIZE;
        let mut data = FileData::default();
        for (index, buckets) in buckets.chunks_mut(per_cluster).enumerate() {
            let (start, _) = self.new_clusters(1)?;
            let count = buckets.len() as u16;
            let mut bytes = Vec::new();
            for (number, (_, bucket)) in buckets.iter_mut().enumerate() {
                if number == 0 {
                    let header = XattrHeader::decode(bucket)?;
                    XattrHeader { xh_num_buckets: count, ..header }.encode(bucket)?;
                }
                self.plan.stamp_at(bucket, XattrHeader::CHECK_OFFSET);
                bytes.extend_from_slice(bucket);
            }
            let offset = self.offset_of(start);
            self.data.put(offset, &bytes)?;
            let lowest = if index == 0 { 0 } else { buckets[0].0 };
            let blkno = self.plan.layout.geometry.block_of(start);
            data.push(ExtentRec::leaf(Cpos(lowest), 1, ExtentFlags::empty(), blkno));
        }
        Ok(data)
    }
}

/// A bucket with these items, which are known to fit, and its lowest hash.
fn full_bucket(items: &[Item], block_size: BlockSize) -> Result<Option<(u32, Vec<u8>)>, Truncated> {
    let Some(first) = items.first() else { return Ok(None) };
    Ok(bucket(items, block_size)?.map(|bucket| (first.hash, bucket)))
}
