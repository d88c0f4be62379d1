//! Members of ZFS pools.

use std::io;

use crate::found::{Found, Usage};
use crate::reader::{Bytes, Reader};

/// Length of a label. There are four copies, two at each end.
const LABEL_LEN: u64 = 256 << 10;
/// Offset of the description of the pool in a label, and its length.
const PAIRS_AT: u64 = 16 << 10;
const PAIRS_LEN: usize = 112 << 10;
/// Offset of the uberblocks in a label.
const UBERBLOCKS_AT: u64 = 128 << 10;
const UBERBLOCK_LEN: usize = 1024;
const MAGIC: u64 = 0x00ba_b10c;
/// Uberblocks needed for a result, because a few may be left over.
const ENOUGH: usize = 4;

pub fn probe(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    let size = reader.size();
    let end = (size - size % LABEL_LEN).saturating_sub(2 * LABEL_LEN);
    let mut seen = 0;
    let mut first = None;
    for label in [0, LABEL_LEN, end, end.saturating_add(LABEL_LEN)] {
        let at = label.saturating_add(UBERBLOCKS_AT);
        let len = (LABEL_LEN - UBERBLOCKS_AT) as usize;
        let Some(blocks) = reader.read(at, len)? else { continue };
        for place in (0..len).step_by(UBERBLOCK_LEN) {
            let version = match () {
                () if blocks.le64(place) == MAGIC => blocks.le64(place + 8),
                () if blocks.be64(place) == MAGIC => blocks.be64(place + 8),
                () => continue,
            };
            seen += 1;
            let magic = blocks.slice(place, 8).to_vec();
            first.get_or_insert((label, at + place as u64, magic, version));
        }
    }
    let Some((label, at, magic, version)) = first.filter(|_| seen >= ENOUGH) else {
        return Ok(None);
    };
    let mut found = Found::new("zfs_member", Usage::Filesystem, at, &magic).version(version);
    if let Some(pairs) = reader.read(label.saturating_add(PAIRS_AT), PAIRS_LEN)? {
        found = described(found, &pairs);
    }
    Ok(Some(found))
}

/// Adds name and numbers of the pool from a list of pairs in XDR encoding: length of the pair,
/// length in memory, name, type, count, value, all padded to multiples of four bytes.
fn described(mut found: Found, pairs: &Bytes) -> Found {
    const NUMBER: u32 = 8;
    const TEXT: u32 = 9;
    let mut at = 12;
    loop {
        let len = pairs.be32(at) as usize;
        let name_len = pairs.be32(at + 8) as usize;
        if len == 0 || !len.is_multiple_of(4) || len > PAIRS_LEN || name_len > len {
            return found;
        }
        let name = pairs.slice(at + 12, name_len);
        let value_at = at + 12 + name_len.next_multiple_of(4);
        let tag = match (name, pairs.be32(value_at)) {
            (b"name", TEXT) => Some("LABEL"),
            (b"pool_guid", NUMBER) => Some("UUID"),
            (b"guid", NUMBER) => Some("UUID_SUB"),
            _ => None,
        };
        if let Some(tag) = tag {
            if tag == "LABEL" {
                let text_len = (pairs.be32(value_at + 8) as usize).min(256);
                found = found.text(tag, pairs.slice(value_at + 12, text_len));
            } else {
                found = found.tag(tag, pairs.be64(value_at + 8).to_string());
            }
        }
        at += len;
        if at >= PAIRS_LEN {
            return found;
        }
    }
}
