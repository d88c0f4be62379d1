//! Structures field by field, as the format declares them.

use std::fmt::Write;

use ocfs2_format::chain::{ChainList, ChainListHeader, ChainRec};
use ocfs2_format::dinode::{Arm, Dinode};
use ocfs2_format::dir::{DirEntryHeader, DirTrailer};
use ocfs2_format::dx::{DxEntry, DxEntryListHeader, DxLeaf, DxRoot};
use ocfs2_format::extent::{ExtentBlock, ExtentList, ExtentListHeader, ExtentRec};
use ocfs2_format::group::GroupDesc;
use ocfs2_format::heartbeat::HeartbeatBlock;
use ocfs2_format::inline::InlineData;
use ocfs2_format::journal::JournalSuperblock;
use ocfs2_format::local_alloc::LocalAlloc;
use ocfs2_format::refcount::{RefcountBlock, RefcountListHeader, RefcountRec};
use ocfs2_format::superblock::{ClusterInfo, SUPERBLOCK_SIGNATURE, SuperBlock};
use ocfs2_format::truncate_log::{TruncateLogHeader, TruncateRec};
use ocfs2_format::xattr::{XattrBlock, XattrEntry, XattrHeader, XattrTreeRoot, XattrValueRoot};
use ocfs2_format::{Blkno, BlockCheck, Field, FieldKind, Structure};

use crate::error::Problem;
use crate::words::number;

/// A structure that can be asked for by name.
pub struct Described {
    /// What messages call it.
    pub name: &'static str,
    /// Its fields.
    pub fields: &'static [Field],
}

const fn described<T: Structure>() -> Described {
    Described { name: T::NAME, fields: T::FIELDS }
}

/// All of them.
pub const STRUCTURES: &[Described] = &[
    described::<BlockCheck>(),
    described::<ChainListHeader>(),
    described::<ChainRec>(),
    described::<ClusterInfo>(),
    described::<Dinode>(),
    described::<DirEntryHeader>(),
    described::<DirTrailer>(),
    described::<DxEntry>(),
    described::<DxEntryListHeader>(),
    described::<DxLeaf>(),
    described::<DxRoot>(),
    described::<ExtentBlock>(),
    described::<ExtentListHeader>(),
    described::<ExtentRec>(),
    described::<GroupDesc>(),
    described::<HeartbeatBlock>(),
    described::<InlineData>(),
    described::<JournalSuperblock>(),
    described::<LocalAlloc>(),
    described::<RefcountBlock>(),
    described::<RefcountListHeader>(),
    described::<RefcountRec>(),
    described::<SuperBlock>(),
    described::<TruncateLogHeader>(),
    described::<TruncateRec>(),
    described::<XattrBlock>(),
    described::<XattrEntry>(),
    described::<XattrHeader>(),
    described::<XattrTreeRoot>(),
    described::<XattrValueRoot>(),
];

/// A structure that lies at an offset of a block.
#[derive(Clone, Copy)]
pub struct Part {
    offset: usize,
    fields: &'static [Field],
    /// What stands before the names of its fields, and its number: of a record in a list.
    record: Option<(&'static str, usize)>,
}

/// A part of a block that is there once.
fn part(offset: usize, fields: &'static [Field]) -> Part {
    Part { offset, fields, record: None }
}

/// The records after the header of a list at `offset`: as many as it says, and as there is room
/// for.
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
        Part { offset, fields: R::FIELDS, record: Some((name, index)) }
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

/// The structures that a block says it begins with; those of its lists included.
pub fn parts(block: &[u8]) -> Vec<Part> {
    let is = |signature: &[u8; 8]| block.starts_with(signature);
    let with = |fields, more: Vec<Part>| {
        let mut parts = vec![part(0, fields)];
        parts.extend(more);
        parts
    };
    if is(&Dinode::SIGNATURE) || is(&SUPERBLOCK_SIGNATURE) {
        with(Dinode::FIELDS, arm(block))
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
        let mut area = vec![part(at, XattrHeader::FIELDS)];
        area.extend(records::<XattrHeader, XattrEntry>(block, at, "xh_entries", |header| {
            header.xh_count.into()
        }));
        with(XattrBlock::FIELDS, area)
    } else {
        let trailer = DirTrailer::of_block(block).ok();
        let is_one = trailer.is_some_and(|it| it.db_signature == DirTrailer::SIGNATURE);
        let part = part(DirTrailer::offset(block.len()), DirTrailer::FIELDS);
        if is_one { vec![part] } else { Vec::new() }
    }
}

/// What a dinode has after its fields.
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
        Ok(Arm::InlineData) => vec![part(at, InlineData::FIELDS)],
        Ok(Arm::ExtentList) => extents(block, at),
        Ok(Arm::Symlink) | Err(_) => Vec::new(),
    }
}

/// Where the block check is in a block of metadata.
pub fn check_offset(block: &[u8]) -> Option<usize> {
    let is = |signature: &[u8; 8]| block.starts_with(signature);
    Some(if is(&Dinode::SIGNATURE) || is(&SUPERBLOCK_SIGNATURE) {
        Dinode::CHECK_OFFSET
    } else if is(&ExtentBlock::SIGNATURE) {
        ExtentBlock::CHECK_OFFSET
    } else if is(&GroupDesc::SIGNATURE) {
        GroupDesc::CHECK_OFFSET
    } else if is(&DxRoot::SIGNATURE) {
        DxRoot::CHECK_OFFSET
    } else if is(&DxLeaf::SIGNATURE) {
        DxLeaf::CHECK_OFFSET
    } else if is(&RefcountBlock::SIGNATURE) {
        RefcountBlock::CHECK_OFFSET
    } else if is(&XattrBlock::SIGNATURE) {
        XattrBlock::CHECK_OFFSET
    } else {
        let trailer = DirTrailer::of_block(block).ok()?;
        let is_one = trailer.db_signature == DirTrailer::SIGNATURE;
        return is_one.then(|| DirTrailer::check_offset(block.len()));
    })
}

/// Whether a block, and the lists in it, still are what the format says.
///
/// # Errors
/// The first field that is wrong.
pub fn verify(block: &[u8], blkno: Blkno, generation: u32) -> Result<(), Problem> {
    let is = |signature: &[u8; 8]| block.starts_with(signature);
    let wrong = |invalid: ocfs2_format::Invalid| Problem::Volume(invalid.into());
    if is(&Dinode::SIGNATURE) {
        let dinode = Dinode::decode(block)?;
        dinode.verify(blkno, generation).map_err(wrong)?;
        match dinode.arm() {
            Arm::ExtentList => ExtentList::new(dinode.id2(block))?.verify(blkno).map_err(wrong),
            Arm::Chain => ChainList::new(dinode.id2(block))?.verify(blkno).map_err(wrong),
            _ => Ok(()),
        }
    } else if is(&ExtentBlock::SIGNATURE) {
        ExtentBlock::decode(block)?.verify(blkno, generation).map_err(wrong)?;
        ExtentBlock::list(block)?.verify(blkno).map_err(wrong)
    } else if is(&GroupDesc::SIGNATURE) {
        let desc = GroupDesc::decode(block)?;
        let Some(size) = ocfs2_format::BlockSize::from_bytes(block.len() as u64) else {
            return Ok(());
        };
        desc.verify(blkno, generation, desc.bg_parent_dinode, size).map_err(wrong)
    } else if is(&DxRoot::SIGNATURE) {
        let root = DxRoot::decode(block)?;
        root.verify(blkno, generation, root.dr_dir_blkno).map_err(wrong)
    } else if is(&DxLeaf::SIGNATURE) {
        DxLeaf::decode(block)?.verify(blkno, generation).map_err(wrong)
    } else if is(&RefcountBlock::SIGNATURE) {
        let root = RefcountBlock::decode(block)?;
        root.verify(blkno, generation, root.rf_parent).map_err(wrong)
    } else if is(&XattrBlock::SIGNATURE) {
        XattrBlock::decode(block)?.verify(blkno, generation).map_err(wrong)
    } else {
        let trailer = DirTrailer::of_block(block)?;
        trailer.verify(blkno, trailer.db_parent_dinode).map_err(wrong)
    }
}

/// Where a field of a block is.
pub struct Place {
    /// Its name, after that of the structure it is in.
    pub name: String,
    /// The byte of the block it begins with.
    pub at: usize,
    /// Bytes it takes.
    pub size: usize,
    kind: FieldKind,
}

impl Place {
    /// Whether `wanted` names it, or a structure it is in.
    pub fn is(&self, wanted: &str) -> bool {
        let inner = self.name.strip_prefix(wanted);
        inner.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            || self.name.ends_with(&format!(".{wanted}"))
    }
}

/// All fields of parts of a block.
pub fn places(block: &[u8], parts: &[Part]) -> Vec<Place> {
    let mut places = Vec::new();
    for Part { offset, fields, record } in parts {
        let prefix = record.map_or_else(String::new, |(list, index)| format!("{list}[{index}]."));
        add(block.len(), *offset, fields, &prefix, &mut places);
    }
    places
}

fn add(len: usize, start: usize, fields: &[Field], prefix: &str, places: &mut Vec<Place>) {
    for field in fields {
        let (at, size) = (start + field.offset, field.size);
        if at.checked_add(size).is_none_or(|end| end > len) {
            continue;
        }
        let name = format!("{prefix}{}", field.name);
        match field.kind {
            FieldKind::Structure(inner) => add(len, at, inner, &format!("{name}."), places),
            kind => places.push(Place { name, at, size, kind }),
        }
    }
}

/// What a field that holds `bytes` is shown as.
pub fn shown(bytes: &[u8], place: &Place) -> String {
    text(bytes, place.kind)
}

/// The bytes a field has when it holds what words say: a number, as many as it has, or text.
///
/// # Errors
/// Why it cannot; after the name of the field.
pub fn encoded(place: &Place, words: &[Vec<u8>], before: &[u8]) -> Result<Vec<u8>, String> {
    let put = |word: &[u8], size: usize| {
        let (negative, digits) = match word.strip_prefix(b"-") {
            Some(digits) => (true, digits),
            None => (false, word),
        };
        let value = number(digits).ok_or_else(|| "is set to a number".to_owned())?;
        let is_signed = matches!(place.kind, FieldKind::Signed);
        if negative && !is_signed {
            return Err("has no sign".to_owned());
        }
        let bits = (8 * size.min(8)) as u32 - u32::from(is_signed);
        if bits < 64 && value >> bits != 0 && !(negative && value == 1 << bits) {
            return Err(format!("has {size} bytes, which is too few for {value}"));
        }
        let value = if negative { value.wrapping_neg() } else { value };
        Ok(value.to_le_bytes().get(..size).unwrap_or_default().to_vec())
    };
    match (place.kind, words) {
        (FieldKind::Numbers(1), [word]) => {
            let len = before.len();
            if let Some(bytes) = unhex(word).filter(|bytes| bytes.len() == len) {
                return Ok(bytes);
            }
            let mut bytes = word.clone();
            if bytes.len() > len {
                return Err(format!("has {len} bytes, which is too few"));
            }
            bytes.resize(len, 0);
            Ok(bytes)
        }
        (FieldKind::Numbers(size), words) => {
            let count = before.len() / size.max(1);
            if words.len() != count {
                return Err(format!("has {count} numbers"));
            }
            Ok(words.iter().map(|word| put(word, size)).collect::<Result<Vec<_>, _>>()?.concat())
        }
        (_, [word]) => put(word, before.len()),
        _ => Err("is one number".to_owned()),
    }
}

/// The bytes whose digits these are, two a byte.
fn unhex(word: &[u8]) -> Option<Vec<u8>> {
    let digits = std::str::from_utf8(word).ok().filter(|it| it.is_ascii())?;
    let pairs = (0..digits.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect()
}

fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn text(bytes: &[u8], kind: FieldKind) -> String {
    match kind {
        FieldKind::Number | FieldKind::Block => {
            let number = little(bytes);
            if number < 10 { number.to_string() } else { format!("{number} ({number:#x})") }
        }
        FieldKind::Signed => {
            let unused = 64 - 8 * bytes.len().clamp(1, 8);
            ((little(bytes) << unused) as i64 >> unused).to_string()
        }
        FieldKind::Numbers(1) => {
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let used = bytes.get(..end).unwrap_or_default();
            match used.iter().all(|byte| matches!(byte, b' '..=b'~')) {
                true => format!("\"{}\"", ocfs2_cli::terminal(used)),
                false => hex(bytes),
            }
        }
        FieldKind::Numbers(size) => {
            let numbers = bytes.chunks(size.max(1)).map(|bytes| little(bytes).to_string());
            numbers.collect::<Vec<_>>().join(" ")
        }
        FieldKind::Structure(_) => hex(bytes),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    bytes.iter().for_each(|byte| {
        let _ = write!(text, "{byte:02x}");
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_value_is_shown_for_what_it_is() {
        assert_eq!(text(&[7, 0], FieldKind::Number), "7");
        assert_eq!(text(&[0, 1], FieldKind::Block), "256 (0x100)");
        assert_eq!(text(&[0xff; 4], FieldKind::Signed), "-1");
        assert_eq!(text(b"INODE01\0", FieldKind::Numbers(1)), "\"INODE01\"");
        assert_eq!(text(&[0, 0xff], FieldKind::Numbers(1)), "00ff");
        assert_eq!(text(&[1, 0, 2, 0], FieldKind::Numbers(2)), "1 2");
    }

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
