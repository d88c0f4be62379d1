//! Structures field by field, as the format declares them.

use std::fmt::Write;

use ocfs2_format::chain::{ChainListHeader, ChainRec};
use ocfs2_format::dinode::{Arm, Dinode};
use ocfs2_format::dir::{DirEntryHeader, DirTrailer};
use ocfs2_format::dx::{DxEntry, DxEntryListHeader, DxLeaf, DxRoot};
use ocfs2_format::extent::{ExtentBlock, ExtentListHeader, ExtentRec};
use ocfs2_format::group::GroupDesc;
use ocfs2_format::heartbeat::HeartbeatBlock;
use ocfs2_format::inline::InlineData;
use ocfs2_format::journal::JournalSuperblock;
use ocfs2_format::local_alloc::LocalAlloc;
use ocfs2_format::refcount::{RefcountBlock, RefcountListHeader, RefcountRec};
use ocfs2_format::superblock::{ClusterInfo, SUPERBLOCK_SIGNATURE, SuperBlock};
use ocfs2_format::truncate_log::{TruncateLogHeader, TruncateRec};
use ocfs2_format::xattr::{XattrBlock, XattrEntry, XattrHeader, XattrTreeRoot, XattrValueRoot};
use ocfs2_format::{BlockCheck, Field, FieldKind, Structure};

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
type Part = (usize, &'static [Field]);

/// The structures that a block says it begins with; those of its lists included.
pub fn parts(block: &[u8]) -> Vec<Part> {
    let list = |offset| (offset, ExtentListHeader::FIELDS);
    let is = |signature: &[u8; 8]| block.starts_with(signature);
    if is(&Dinode::SIGNATURE) || is(&SUPERBLOCK_SIGNATURE) {
        let arm = Dinode::decode(block).map(|dinode| dinode.arm());
        let fields = match arm {
            Ok(Arm::Super) => SuperBlock::FIELDS,
            Ok(Arm::LocalAlloc) => LocalAlloc::FIELDS,
            Ok(Arm::Chain) => ChainListHeader::FIELDS,
            Ok(Arm::TruncateLog) => TruncateLogHeader::FIELDS,
            Ok(Arm::InlineData) => InlineData::FIELDS,
            Ok(Arm::ExtentList) => ExtentListHeader::FIELDS,
            Ok(Arm::Symlink) | Err(_) => &[],
        };
        vec![(0, Dinode::FIELDS), (Dinode::ID2_OFFSET, fields)]
    } else if is(&ExtentBlock::SIGNATURE) {
        vec![(0, ExtentBlock::FIELDS), list(ExtentBlock::LIST_OFFSET)]
    } else if is(&GroupDesc::SIGNATURE) {
        vec![(0, GroupDesc::FIELDS)]
    } else if is(&DxRoot::SIGNATURE) {
        let is_inline = DxRoot::decode(block).is_ok_and(|root| root.is_inline());
        let fields = if is_inline { DxEntryListHeader::FIELDS } else { ExtentListHeader::FIELDS };
        vec![(0, DxRoot::FIELDS), (DxRoot::LIST_OFFSET, fields)]
    } else if is(&DxLeaf::SIGNATURE) {
        vec![(0, DxLeaf::FIELDS), (DxLeaf::LIST_OFFSET, DxEntryListHeader::FIELDS)]
    } else if is(&RefcountBlock::SIGNATURE) {
        let is_tree = RefcountBlock::decode(block).is_ok_and(|it| it.is_tree());
        let fields = if is_tree { ExtentListHeader::FIELDS } else { RefcountListHeader::FIELDS };
        vec![(0, RefcountBlock::FIELDS), (RefcountBlock::LIST_OFFSET, fields)]
    } else if is(&XattrBlock::SIGNATURE) {
        let is_indexed = XattrBlock::decode(block).is_ok_and(|it| it.is_indexed());
        let fields = if is_indexed { XattrTreeRoot::FIELDS } else { XattrHeader::FIELDS };
        vec![(0, XattrBlock::FIELDS), (XattrBlock::AREA_OFFSET, fields)]
    } else {
        let trailer = DirTrailer::of_block(block).ok();
        let is_one = trailer.is_some_and(|it| it.db_signature == DirTrailer::SIGNATURE);
        let part = (DirTrailer::offset(block.len()), DirTrailer::FIELDS);
        if is_one { vec![part] } else { Vec::new() }
    }
}

/// A field with what a block has in it.
pub struct Value {
    /// Its name, after that of the structure it is in.
    pub name: String,
    /// What it holds.
    pub text: String,
}

/// All fields of parts of a block.
pub fn values(block: &[u8], parts: &[Part]) -> Vec<Value> {
    let mut values = Vec::new();
    for (offset, fields) in parts {
        add(block, *offset, fields, "", &mut values);
    }
    values
}

fn add(block: &[u8], start: usize, fields: &[Field], prefix: &str, values: &mut Vec<Value>) {
    for field in fields {
        let at = start + field.offset;
        let Some(bytes) = at.checked_add(field.size).and_then(|end| block.get(at..end)) else {
            continue;
        };
        let name = format!("{prefix}{}", field.name);
        match field.kind {
            FieldKind::Structure(inner) => {
                add(block, at, inner, &format!("{name}."), values);
            }
            kind => values.push(Value { name, text: shown(bytes, kind) }),
        }
    }
}

fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn shown(bytes: &[u8], kind: FieldKind) -> String {
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
        assert_eq!(shown(&[7, 0], FieldKind::Number), "7");
        assert_eq!(shown(&[0, 1], FieldKind::Block), "256 (0x100)");
        assert_eq!(shown(&[0xff; 4], FieldKind::Signed), "-1");
        assert_eq!(shown(b"INODE01\0", FieldKind::Numbers(1)), "\"INODE01\"");
        assert_eq!(shown(&[0, 0xff], FieldKind::Numbers(1)), "00ff");
        assert_eq!(shown(&[1, 0, 2, 0], FieldKind::Numbers(2)), "1 2");
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
                    assert!(values(&block, &parts).len() > 7 || len < 512);
                }
            }
        }
        assert!(parts(&[0; 512]).is_empty() && parts(&[]).is_empty());
    }
}
