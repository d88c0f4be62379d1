//! The structures in a block and their places, and whether they are valid.

use std::ops::Range;

use ocfs2_format::chain::{ChainList, ChainListHeader, ChainRec};
use ocfs2_format::dinode::{Arm, Dinode, DynFeatures, FileKind};
use ocfs2_format::dir::{self, DirEntryHeader, DirTrailer};
use ocfs2_format::dx::{DxEntry, DxEntryListHeader, DxLeaf, DxRoot};
use ocfs2_format::extent::{ExtentBlock, ExtentList, ExtentListHeader, ExtentRec};
use ocfs2_format::group::GroupDesc;
use ocfs2_format::inline::InlineData;
use ocfs2_format::journal::{BlockType, JournalHeader, JournalSuperblock};
use ocfs2_format::local_alloc::LocalAlloc;
use ocfs2_format::quota::{
    self, GlobalInfo, LeafHeader, LocalInfo, QuotaEntry, QuotaHeader, QuotaKind,
};
use ocfs2_format::refcount::{RefcountBlock, RefcountListHeader, RefcountRec};
use ocfs2_format::superblock::{SUPERBLOCK_SIGNATURE, SuperBlock};
use ocfs2_format::truncate_log::{TruncateLogHeader, TruncateRec};
use ocfs2_format::xattr::{
    BUCKET_SIZE, XattrArea, XattrBlock, XattrEntry, XattrHeader, XattrTreeRoot,
};
use ocfs2_format::{Blkno, Block, BlockSize, Field, Structure};
use ocfs2_volume::{Error as VolumeError, Volume};

use crate::error::Problem;
use crate::volume::Fs;

/// A structure at a place in a block.
#[derive(Clone)]
pub struct Part {
    /// The offset in the block in bytes.
    pub offset: usize,
    /// Its fields.
    pub fields: &'static [Field],
    /// The name of the list and the index in it, if this is a record.
    pub record: Option<(&'static str, usize)>,
    /// The place of the name that follows, if there is one.
    pub name: Option<Range<usize>>,
    /// Whether numbers are big-endian.
    pub is_big_endian: bool,
}

/// A part that is not a record of a list.
fn part(offset: usize, fields: &'static [Field]) -> Part {
    Part { offset, fields, record: None, name: None, is_big_endian: false }
}

/// The records after the header of a list at `offset`: as many as it states, but not more than
/// there is room for.
fn records<H: Structure, R: Structure>(
    block: &[u8],
    offset: usize,
    name: &'static str,
    count: impl FnOnce(&H) -> usize,
) -> Vec<Part> {
    let header = block.get(offset..).and_then(|bytes| H::decode(bytes).ok());
    let first = offset + H::SIZE;
    let room = block.len().saturating_sub(first) / R::SIZE.max(1);
    let count = header.map_or(0, |header| count(&header)).min(room);
    let record = |index| {
        let offset = first + index * R::SIZE;
        Part { record: Some((name, index)), ..part(offset, R::FIELDS) }
    };
    (0..count).map(record).collect()
}

fn extents(block: &[u8], offset: usize) -> Vec<Part> {
    let mut parts = vec![part(offset, ExtentListHeader::FIELDS)];
    parts.extend(records::<ExtentListHeader, ExtentRec>(block, offset, "l_recs", |list| {
        list.l_next_free_rec.into()
    }));
    parts
}

fn dx_entries(block: &[u8], offset: usize) -> Vec<Part> {
    let mut parts = vec![part(offset, DxEntryListHeader::FIELDS)];
    parts.extend(records::<DxEntryListHeader, DxEntry>(block, offset, "de_entries", |list| {
        list.de_num_used.into()
    }));
    parts
}

/// The structures of a block by its signature, including those of its lists.
pub fn parts(block: &[u8]) -> Vec<Part> {
    let is = |signature: &[u8; 8]| block.starts_with(signature);
    let with = |fields, more: Vec<Part>| {
        let mut parts = vec![part(0, fields)];
        parts.extend(more);
        parts
    };
    if is(&Dinode::SIGNATURE) || is(&SUPERBLOCK_SIGNATURE) {
        let mut parts = with(Dinode::FIELDS, arm(block));
        parts.extend(inline_attributes(block));
        parts
    } else if is(&ExtentBlock::SIGNATURE) {
        with(ExtentBlock::FIELDS, extents(block, ExtentBlock::LIST_OFFSET))
    } else if is(&GroupDesc::SIGNATURE) {
        with(GroupDesc::FIELDS, Vec::new())
    } else if is(&DxRoot::SIGNATURE) {
        let is_inline = DxRoot::decode(block).is_ok_and(|root| root.is_inline());
        let list = if is_inline { dx_entries } else { extents };
        with(DxRoot::FIELDS, list(block, DxRoot::LIST_OFFSET))
    } else if is(&DxLeaf::SIGNATURE) {
        with(DxLeaf::FIELDS, dx_entries(block, DxLeaf::LIST_OFFSET))
    } else if is(&RefcountBlock::SIGNATURE) {
        let (at, is_tree) =
            (RefcountBlock::LIST_OFFSET, RefcountBlock::decode(block).is_ok_and(|it| it.is_tree()));
        if is_tree {
            return with(RefcountBlock::FIELDS, extents(block, at));
        }
        let mut list = vec![part(at, RefcountListHeader::FIELDS)];
        list.extend(records::<RefcountListHeader, RefcountRec>(block, at, "rl_recs", |list| {
            list.rl_used.into()
        }));
        with(RefcountBlock::FIELDS, list)
    } else if is(&XattrBlock::SIGNATURE) {
        let at = XattrBlock::AREA_OFFSET;
        if XattrBlock::decode(block).is_ok_and(|it| it.is_indexed()) {
            let mut tree = vec![part(at, XattrTreeRoot::FIELDS)];
            tree.extend(extents(block, XattrTreeRoot::LIST_OFFSET));
            return with(XattrBlock::FIELDS, tree);
        }
        with(XattrBlock::FIELDS, attributes(block, at))
    } else {
        unsigned(block)
    }
}

/// The same for blocks that do not begin with a signature of OCFS2.
fn unsigned(block: &[u8]) -> Vec<Part> {
    if has_trailer(block) {
        return directory(block);
    }
    if let Some(kind) = log_block(block) {
        let is_head = matches!(kind, BlockType::SuperblockV1 | BlockType::SuperblockV2);
        let fields = if is_head { JournalSuperblock::FIELDS } else { JournalHeader::FIELDS };
        return vec![Part { is_big_endian: true, ..part(0, fields) }];
    }
    let info = match quota_magic(block) {
        Some(true) => GlobalInfo::FIELDS,
        Some(false) => LocalInfo::FIELDS,
        None => return Vec::new(),
    };
    vec![part(0, QuotaHeader::FIELDS), part(QuotaHeader::SIZE, info)]
}

fn has_trailer(block: &[u8]) -> bool {
    let trailer = DirTrailer::of_block(block).ok();
    trailer.is_some_and(|it| it.db_signature == DirTrailer::SIGNATURE)
}

/// The type of a block of a log; `None` if it is not one.
fn log_block(block: &[u8]) -> Option<BlockType> {
    JournalHeader::decode(block).ok()?.block_type()
}

/// Whether a block begins a global quota file, or a local one; `None` if neither.
fn quota_magic(block: &[u8]) -> Option<bool> {
    let magic = QuotaHeader::decode(block).ok()?.dqh_magic;
    let kinds = [QuotaKind::User, QuotaKind::Group];
    if kinds.iter().any(|kind| kind.global_magic() == magic) {
        return Some(true);
    }
    kinds.iter().any(|kind| kind.local_magic() == magic).then_some(false)
}

/// The end of the entries in a block of a directory.
fn entries_end(block: &[u8]) -> usize {
    if has_trailer(block) { DirTrailer::offset(block.len()) } else { block.len() }
}

/// The parts of a block of a directory.
fn directory(block: &[u8]) -> Vec<Part> {
    let end = entries_end(block);
    let mut parts = names(block, 0..end);
    if end < block.len() {
        parts.push(part(end, DirTrailer::FIELDS));
    }
    parts
}

/// The entries of a directory with their names, up to the first impossible one.
fn names(block: &[u8], range: Range<usize>) -> Vec<Part> {
    let entries = dir::entries(block.get(range.clone()).unwrap_or_default());
    let parts = entries.map_while(Result::ok).enumerate().map(|(index, entry)| {
        let offset = range.start + entry.offset;
        let name = offset + DirEntryHeader::SIZE;
        let name = Some(name..name + entry.name.len()).filter(|name| !name.is_empty());
        let record = Some(("entries", index));
        Part { record, name, ..part(offset, DirEntryHeader::FIELDS) }
    });
    parts.collect()
}

/// The header of an attribute area, and its entries.
fn attributes(block: &[u8], at: usize) -> Vec<Part> {
    let mut area = vec![part(at, XattrHeader::FIELDS)];
    area.extend(records::<XattrHeader, XattrEntry>(block, at, "xh_entries", |header| {
        header.xh_count.into()
    }));
    area
}

/// How a block is interpreted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Shape {
    /// By its signature.
    #[default]
    BySignature,
    /// As a block of a directory, with or without a trailer.
    Directory,
    /// As a bucket of attributes.
    Bucket,
    /// As a leaf of a quota file.
    QuotaLeaf,
}

impl Shape {
    /// The shape with this name.
    pub fn of_word(word: &[u8]) -> Option<Self> {
        Some(match word {
            b"directory" => Self::Directory,
            b"bucket" => Self::Bucket,
            b"quota" => Self::QuotaLeaf,
            _ => return None,
        })
    }

    /// Reads the bytes of this shape, which begin with a block.
    pub fn read(self, fs: &Fs, blkno: Blkno) -> Result<Vec<u8>, Problem> {
        let first = fs.block(blkno)?;
        let blocks = BUCKET_SIZE as u64 >> fs.volume.block_size().bits();
        if self != Self::Bucket || blocks <= 1 {
            return Ok(first);
        }
        if !fs.volume.geometry().is_valid_range(blkno, blocks) {
            return Err(Problem::InvalidBlock);
        }
        Ok(fs.volume.read_blocks(blkno, blocks as u32)?)
    }

    /// The structures in bytes of this shape.
    pub fn parts(self, block: &[u8]) -> Vec<Part> {
        match self {
            Self::BySignature => parts(block),
            Self::Directory => directory(block),
            Self::Bucket => attributes(block, 0),
            Self::QuotaLeaf => {
                let count = block.len().saturating_sub(LeafHeader::SIZE) / QuotaEntry::SIZE;
                let mut leaf = vec![part(0, LeafHeader::FIELDS)];
                leaf.extend(records::<LeafHeader, QuotaEntry>(block, 0, "entries", |_| count));
                leaf
            }
        }
    }

    /// The offset of the block check; `None` if there is none.
    pub fn check_offset(self, block: &[u8]) -> Option<usize> {
        match self {
            Self::BySignature => check_offset(block),
            Self::Directory => has_trailer(block).then(|| DirTrailer::check_offset(block.len())),
            Self::Bucket => Some(XattrHeader::CHECK_OFFSET),
            Self::QuotaLeaf => {
                Some(quota::check_offset(BlockSize::from_bytes(block.len() as u64)?))
            }
        }
    }

    /// Checks that the contents are valid.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn verify(self, block: &[u8], blkno: Blkno, volume: &Volume) -> Result<(), Problem> {
        match self {
            Self::BySignature => verify(block, blkno, volume),
            Self::Directory => verify_names(block, blkno, 0..entries_end(block)),
            Self::Bucket => {
                let items = XattrArea::new(block)?;
                let wrong = |_| Problem::NotAttributes;
                items.items().try_for_each(|item| item.map(|_| ()).map_err(wrong))
            }
            Self::QuotaLeaf => {
                let header = LeafHeader::decode(block)?;
                header.verify(blkno, block).map_err(|invalid| Problem::Volume(invalid.into()))
            }
        }
    }
}

/// Fails if an entry is impossible.
fn verify_names(block: &[u8], blkno: Blkno, range: Range<usize>) -> Result<(), Problem> {
    let entries = dir::entries(block.get(range).unwrap_or_default());
    for entry in entries {
        let dir = blkno;
        let entry = entry
            .map_err(|source| Problem::Volume(VolumeError::DirEntry { dir, blkno, source }))?;
        if entry.is_used() && entry.name.iter().any(|byte| matches!(byte, b'/' | 0)) {
            return Err(Problem::NotName);
        }
    }
    Ok(())
}

/// What a dinode has after its fixed fields.
fn arm(block: &[u8]) -> Vec<Part> {
    let at = Dinode::ID2_OFFSET;
    match Dinode::decode(block).map(|dinode| dinode.arm()) {
        Ok(Arm::Super) => vec![part(at, SuperBlock::FIELDS)],
        Ok(Arm::LocalAlloc) => vec![part(at, LocalAlloc::FIELDS)],
        Ok(Arm::Chain) => {
            let mut parts = vec![part(at, ChainListHeader::FIELDS)];
            parts.extend(records::<ChainListHeader, ChainRec>(block, at, "cl_recs", |list| {
                list.cl_next_free_rec.into()
            }));
            parts
        }
        Ok(Arm::TruncateLog) => {
            let mut parts = vec![part(at, TruncateLogHeader::FIELDS)];
            parts.extend(records::<TruncateLogHeader, TruncateRec>(block, at, "tl_recs", |list| {
                list.tl_used.into()
            }));
            parts
        }
        Ok(Arm::InlineData) => {
            let mut parts = vec![part(at, InlineData::FIELDS)];
            parts.extend(inline_names(block).map(|range| names(block, range)).unwrap_or_default());
            parts
        }
        Ok(Arm::ExtentList) => extents(block, at),
        Ok(Arm::Symlink) | Err(_) => Vec::new(),
    }
}

/// The place of the entries of an inline directory.
fn inline_names(block: &[u8]) -> Option<Range<usize>> {
    let dinode = Dinode::decode(block).ok()?;
    if dinode.kind() != Some(FileKind::Directory) || dinode.arm() != Arm::InlineData {
        return None;
    }
    let start = Dinode::ID2_OFFSET + InlineData::SIZE;
    let len = InlineData::data(dinode.id2(block)).ok()?.len();
    let len = usize::try_from(dinode.i_size).unwrap_or(usize::MAX).min(len);
    Some(start..start + len)
}

/// The attributes at the end of an inode.
fn inline_attributes(block: &[u8]) -> Vec<Part> {
    let Ok(dinode) = Dinode::decode(block) else { return Vec::new() };
    let at = block.len().saturating_sub(dinode.i_xattr_inline_size.into());
    match dinode.dyn_features().contains(DynFeatures::INLINE_XATTR) && at > Dinode::ID2_OFFSET {
        true => attributes(block, at),
        false => Vec::new(),
    }
}

/// The name of the structure with the signature of the block, and the offset of its check.
fn signed(block: &[u8]) -> Option<(&'static str, usize)> {
    fn is<T: Block>(block: &[u8]) -> Option<(&'static str, usize)> {
        block.starts_with(&T::SIGNATURE).then_some((T::NAME, T::CHECK_OFFSET))
    }
    if block.starts_with(&SUPERBLOCK_SIGNATURE) {
        return Some((SuperBlock::NAME, Dinode::CHECK_OFFSET));
    }
    let kinds = [
        is::<Dinode>,
        is::<ExtentBlock>,
        is::<GroupDesc>,
        is::<DxRoot>,
        is::<DxLeaf>,
        is::<RefcountBlock>,
        is::<XattrBlock>,
    ];
    kinds.iter().find_map(|is| is(block))
}

/// The kind of a block; `None` if it does not identify itself.
pub fn kind(block: &[u8]) -> Option<&'static str> {
    if let Some((name, _)) = signed(block) {
        return Some(name);
    }
    if has_trailer(block) {
        return Some("directory block");
    }
    if let Some(kind) = log_block(block) {
        return Some(match kind {
            BlockType::Descriptor => "descriptor of a journal",
            BlockType::Commit => "commit of a journal",
            BlockType::Revoke => "revocation of a journal",
            BlockType::SuperblockV1 | BlockType::SuperblockV2 => JournalSuperblock::NAME,
        });
    }
    quota_magic(block).map(|_| QuotaHeader::NAME)
}

/// The offset of the block check of metadata.
pub fn check_offset(block: &[u8]) -> Option<usize> {
    if let Some((_, offset)) = signed(block) {
        return Some(offset);
    }
    if has_trailer(block) {
        return Some(DirTrailer::check_offset(block.len()));
    }
    quota_magic(block)?;
    Some(quota::check_offset(BlockSize::from_bytes(block.len() as u64)?))
}

/// Checks that a block and the lists in it are valid.
///
/// # Errors
/// The first field that is wrong.
pub fn verify(block: &[u8], blkno: Blkno, volume: &Volume) -> Result<(), Problem> {
    let generation = volume.generation();
    let is = |signature: &[u8; 8]| block.starts_with(signature);
    let wrong = |invalid: ocfs2_format::Invalid| Problem::Volume(invalid.into());
    if is(&Dinode::SIGNATURE) {
        let dinode = Dinode::decode(block)?;
        dinode.verify(blkno, generation).map_err(wrong)?;
        match dinode.arm() {
            Arm::ExtentList => ExtentList::new(dinode.id2(block))?.verify(blkno).map_err(wrong),
            Arm::Chain => ChainList::new(dinode.id2(block))?.verify(blkno).map_err(wrong),
            Arm::InlineData => {
                inline_names(block).map_or(Ok(()), |range| verify_names(block, blkno, range))
            }
            _ => Ok(()),
        }
    } else if is(&SUPERBLOCK_SIGNATURE) {
        Ok(())
    } else if is(&ExtentBlock::SIGNATURE) {
        ExtentBlock::decode(block)?.verify(blkno, generation).map_err(wrong)?;
        ExtentBlock::list(block)?.verify(blkno).map_err(wrong)
    } else if is(&GroupDesc::SIGNATURE) {
        let desc = GroupDesc::decode(block)?;
        let Some(size) = ocfs2_format::BlockSize::from_bytes(block.len() as u64) else {
            return Ok(());
        };
        desc.verify(blkno, generation).map_err(wrong)?;
        desc.verify_bits(blkno, desc.bg_parent_dinode, size).map_err(wrong)
    } else if is(&DxRoot::SIGNATURE) {
        DxRoot::decode(block)?.verify(blkno, generation).map_err(wrong)
    } else if is(&DxLeaf::SIGNATURE) {
        DxLeaf::decode(block)?.verify(blkno, generation).map_err(wrong)
    } else if is(&RefcountBlock::SIGNATURE) {
        RefcountBlock::decode(block)?.verify(blkno, generation).map_err(wrong)
    } else if is(&XattrBlock::SIGNATURE) {
        XattrBlock::decode(block)?.verify(blkno, generation).map_err(wrong)
    } else if has_trailer(block) {
        let trailer = DirTrailer::of_block(block)?;
        trailer.verify(blkno, trailer.db_parent_dinode).map_err(wrong)?;
        verify_names(block, blkno, 0..entries_end(block))
    } else {
        verify_log(block, blkno, volume)
    }
}

/// The same for the superblock of a journal.
fn verify_log(block: &[u8], blkno: Blkno, volume: &Volume) -> Result<(), Problem> {
    if !matches!(log_block(block), Some(BlockType::SuperblockV1 | BlockType::SuperblockV2)) {
        return Ok(());
    }
    let superblock = JournalSuperblock::decode(block)?;
    for slot in 0..volume.max_slots() {
        let Ok(journal) = volume.journal(slot) else { continue };
        if journal.blkno == blkno {
            let blocks = volume.geometry().blocks_for(journal.inode.size());
            let verified = superblock.verify(blkno, volume.block_size(), blocks);
            return verified.map_err(|invalid| Problem::Volume(invalid.into()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::fields::places;

    #[test]
    fn any_bytes_have_fields_or_none() {
        for signature in [
            &Dinode::SIGNATURE,
            &SUPERBLOCK_SIGNATURE,
            &ExtentBlock::SIGNATURE,
            &GroupDesc::SIGNATURE,
            &DxRoot::SIGNATURE,
            &DxLeaf::SIGNATURE,
            &RefcountBlock::SIGNATURE,
            &XattrBlock::SIGNATURE,
        ] {
            for fill in [0, 0xff] {
                for len in [8, 100, 512] {
                    let mut block = vec![fill; len];
                    block[..8].copy_from_slice(signature);
                    let parts = parts(&block);
                    assert!(!parts.is_empty());
                    assert!(places(&block, &parts).len() > 7 || len < 512);
                }
            }
        }
        assert!(parts(&[0; 512]).is_empty() && parts(&[]).is_empty());
    }
}
