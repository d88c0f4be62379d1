//! LVM2 physical volumes.

use std::io;

use crate::checksum::crc32_raw;
use crate::found::{Found, Usage};
use crate::reader::Reader;

const LABEL: &[u8] = b"LABELONE";
const MAGIC: &[u8] = b"LVM2 001";
const MAGIC_AT: usize = 24;
/// Initial value of LVM's CRC-32.
const CRC_START: u32 = 0xf597_a6cf;

pub fn probe(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    for sector in 0..4 {
        let offset = sector * 512;
        let Some(label) = reader.signed(offset, 512, 0, LABEL)? else { continue };
        let sum = crc32_raw(CRC_START, label.slice(20, 512));
        if !label.has(MAGIC_AT, MAGIC) || label.le64(8) != sector || label.le32(16) != sum {
            continue;
        }
        let header_at = usize::try_from(label.le32(20)).unwrap_or(usize::MAX);
        let found = Found::new("LVM2_member", Usage::Raid, offset + MAGIC_AT as u64, MAGIC)
            .tag("UUID", dashed(label.slice(header_at, 32)))
            .version("LVM2 001");
        return Ok(Some(found));
    }
    Ok(None)
}

/// LVM's own form of a UUID: 32 letters and digits as 6-4-4-4-4-4-6.
fn dashed(uuid: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 6 | 10 | 14 | 18 | 22 | 26) {
            out.push(b'-');
        }
        out.push(*byte);
    }
    out
}
