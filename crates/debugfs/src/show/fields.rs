//! Structures field by field, as the format declares them.

use std::fmt::Write;

use ocfs2_format::chain::{ChainListHeader, ChainRec};
use ocfs2_format::dinode::Dinode;
use ocfs2_format::dir::{DirEntryHeader, DirTrailer};
use ocfs2_format::dx::{DxEntry, DxEntryListHeader, DxLeaf, DxRoot};
use ocfs2_format::extent::{ExtentBlock, ExtentListHeader, ExtentRec};
use ocfs2_format::group::GroupDesc;
use ocfs2_format::heartbeat::HeartbeatBlock;
use ocfs2_format::inline::InlineData;
use ocfs2_format::journal::{JournalHeader, JournalSuperblock};
use ocfs2_format::local_alloc::LocalAlloc;
use ocfs2_format::quota::{GlobalInfo, LeafHeader, LocalInfo, QuotaEntry, QuotaHeader};
use ocfs2_format::refcount::{RefcountBlock, RefcountListHeader, RefcountRec};
use ocfs2_format::superblock::{ClusterInfo, SuperBlock};
use ocfs2_format::truncate_log::{TruncateLogHeader, TruncateRec};
use ocfs2_format::xattr::{XattrBlock, XattrEntry, XattrHeader, XattrTreeRoot, XattrValueRoot};
use ocfs2_format::{BlockCheck, Field, FieldKind, Structure};

use ocfs2_format::check;
use serde_json::{Map, Value};

use super::parts::{Part, Shape, kind};
use crate::record::Record;
use crate::words::number;

/// A structure that can be named in a command.
pub struct Described {
    /// Its name in messages.
    pub name: &'static str,
    /// Its fields.
    pub fields: &'static [Field],
}

const fn described<T: Structure>() -> Described {
    Described { name: T::NAME, fields: T::FIELDS }
}

/// All of these structures.
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
    described::<GlobalInfo>(),
    described::<GroupDesc>(),
    described::<HeartbeatBlock>(),
    described::<InlineData>(),
    described::<JournalHeader>(),
    described::<JournalSuperblock>(),
    described::<LeafHeader>(),
    described::<LocalAlloc>(),
    described::<LocalInfo>(),
    described::<QuotaEntry>(),
    described::<QuotaHeader>(),
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

/// A field at a place in a block.
pub struct Place {
    /// Its name, after those of the structures that contain it.
    pub name: String,
    /// The offset in the block in bytes.
    pub at: usize,
    /// The size in bytes.
    pub size: usize,
    kind: FieldKind,
    /// Whether numbers are big-endian.
    is_big_endian: bool,
}

impl Place {
    /// Whether `wanted` names this field, or a structure that contains it.
    pub fn is(&self, wanted: &str) -> bool {
        let inner = self.name.strip_prefix(wanted);
        inner.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            || self.name.ends_with(&format!(".{wanted}"))
    }
}

/// All fields of the parts of a block.
pub fn places(block: &[u8], parts: &[Part]) -> Vec<Place> {
    let mut places = Vec::new();
    for part in parts {
        let Part { offset, fields, is_big_endian, .. } = *part;
        let prefix = match part.record {
            Some((list, index)) => format!("{list}[{index}]."),
            None => String::new(),
        };
        add(offset, is_big_endian, fields, &prefix, &mut places);
        if let Some(name) = &part.name {
            let (at, size, kind) = (name.start, name.len(), FieldKind::Numbers(1));
            let name = format!("{prefix}name");
            places.push(Place { name, at, size, kind, is_big_endian });
        }
    }
    places.retain(|place| place.at.checked_add(place.size).is_some_and(|it| it <= block.len()));
    places
}

fn add(start: usize, is_big_endian: bool, fields: &[Field], prefix: &str, places: &mut Vec<Place>) {
    for field in fields {
        let (at, size) = (start + field.offset, field.size);
        let name = format!("{prefix}{}", field.name);
        match field.kind {
            FieldKind::Structure(inner) => {
                add(at, is_big_endian, inner, &format!("{name}."), places);
            }
            kind => places.push(Place { name, at, size, kind, is_big_endian }),
        }
    }
}

/// Converts the numbers of a field to little-endian, or back.
pub fn little_endian(bytes: &[u8], place: &Place) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let unit = match place.kind {
        _ if !place.is_big_endian => 1,
        FieldKind::Numbers(size) => size.max(1),
        FieldKind::Number | FieldKind::Signed | FieldKind::Block => bytes.len().max(1),
        FieldKind::Structure(_) => 1,
    };
    bytes.chunks_mut(unit).for_each(<[u8]>::reverse);
    bytes
}

/// A field with the contents `bytes` as text.
pub fn shown(bytes: &[u8], place: &Place) -> String {
    text(&little_endian(bytes, place), place.kind)
}

/// Fills the record of a structure: its name, fields and lists, and whether its check is right.
pub fn record(record: Record, shape: Shape, block: &[u8], is_checked: bool) -> Record {
    let name = match shape {
        Shape::BySignature => kind(block).unwrap_or("unknown"),
        Shape::Directory => "directory block",
        Shape::Bucket => "attribute bucket",
        Shape::QuotaLeaf => "quota leaf",
    };
    let mut fields = Map::new();
    for place in places(block, &shape.parts(block)) {
        let bytes = block.get(place.at..place.at + place.size).unwrap_or_default();
        insert(&mut fields, &place.name, value(bytes, &place));
    }
    let record = record.put("structure", name).put("fields", fields);
    match shape.check_offset(block).filter(|_| is_checked) {
        Some(offset) => {
            let mut stamped = block.to_vec();
            check::stamp(&mut stamped, offset);
            record.put("check_holds", stamped == block)
        }
        None => record,
    }
}

/// Inserts a value by its name: `a.b` into the object `a`, `a[0].b` into one of the list `a`.
fn insert(fields: &mut Map<String, Value>, name: &str, value: Value) {
    let Some((first, rest)) = name.split_once('.') else {
        fields.insert(name.to_owned(), value);
        return;
    };
    let (list, is_list) = match first.split_once('[') {
        Some((list, _)) => (list, true),
        None => (first, false),
    };
    let index: Option<usize> =
        first.trim_end_matches(']').rsplit('[').next().and_then(|it| it.parse().ok());
    let inner = fields.entry(list).or_insert_with(|| match is_list {
        true => Value::Array(Vec::new()),
        false => Value::Object(Map::new()),
    });
    match (inner, index) {
        (Value::Object(inner), _) => insert(inner, rest, value),
        (Value::Array(all), Some(index)) => {
            // Records come in order.
            if all.len() == index {
                all.push(Value::Object(Map::new()));
            }
            if let Some(Value::Object(inner)) = all.get_mut(index) {
                insert(inner, rest, value);
            }
        }
        _ => {}
    }
}

/// A field with the contents `bytes` as JSON: a number, a list of numbers, text, or otherwise
/// hexadecimal digits.
pub fn value(bytes: &[u8], place: &Place) -> Value {
    let bytes = &little_endian(bytes, place)[..];
    match place.kind {
        FieldKind::Number | FieldKind::Block if bytes.len() <= 8 => little(bytes).into(),
        FieldKind::Signed if bytes.len() <= 8 => signed(bytes).into(),
        FieldKind::Numbers(size) if size > 1 => {
            bytes.chunks(size).map(little).collect::<Vec<_>>().into()
        }
        FieldKind::Numbers(_) => match printable(bytes) {
            Some(text) => ocfs2_cli::terminal(text).into(),
            None => hex(bytes).into(),
        },
        _ => hex(bytes).into(),
    }
}

/// Encodes words as the contents of a field, in little-endian order: a number, all its numbers, or
/// text.
///
/// # Errors
/// Why that is not possible, as a text after the name of the field.
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
                return Err(format!("has room for {len} bytes, and these are {}", bytes.len()));
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

/// Decodes hexadecimal digits, two per byte.
fn unhex(word: &[u8]) -> Option<Vec<u8>> {
    let digits = std::str::from_utf8(word).ok().filter(|it| it.is_ascii())?;
    let pairs = (0..digits.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect()
}

fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn signed(bytes: &[u8]) -> i64 {
    let unused = 64 - 8 * bytes.len().clamp(1, 8);
    (little(bytes) << unused) as i64 >> unused
}

/// Bytes as printable text, without zeros at the end; `None` if they are not printable.
fn printable(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.get(..end).filter(|used| used.iter().all(|byte| matches!(byte, b' '..=b'~')))
}

fn text(bytes: &[u8], kind: FieldKind) -> String {
    match kind {
        FieldKind::Number | FieldKind::Block => {
            let number = little(bytes);
            if number < 10 { number.to_string() } else { format!("{number} ({number:#x})") }
        }
        FieldKind::Signed => signed(bytes).to_string(),
        FieldKind::Numbers(1) => match printable(bytes) {
            Some(text) => format!("\"{}\"", ocfs2_cli::terminal(text)),
            None => hex(bytes),
        },
        FieldKind::Numbers(size) => {
            let numbers = bytes.chunks(size.max(1)).map(|bytes| little(bytes).to_string());
            numbers.collect::<Vec<_>>().join(" ")
        }
        FieldKind::Structure(_) => hex(bytes),
    }
}

/// Hexadecimal digits, two per byte.
pub fn hex(bytes: &[u8]) -> String {
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
}
