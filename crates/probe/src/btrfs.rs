//! Btrfs.

use std::io;

use crate::found::Found;
use crate::reader::Reader;

const OFFSET: u64 = 64 << 10;
const MAGIC_AT: usize = 0x40;
const MAGIC: &[u8] = b"_BHRfS_M";

pub fn probe(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    let Some(sb) = reader.signed(OFFSET, 4096, MAGIC_AT, MAGIC)? else { return Ok(None) };
    let found = Found::filesystem("btrfs", OFFSET + MAGIC_AT as u64, MAGIC)
        .label(sb.slice(0x12b, 256))
        .uuid(sb.array(0x20))
        .uuid_as("UUID_SUB", sb.array(0x10b))
        .block_size(sb.le32(0x90));
    Ok(Some(found))
}
