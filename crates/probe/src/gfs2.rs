//! GFS and GFS2.

use std::io;

use crate::found::Found;
use crate::reader::{Bytes, Reader};

const OFFSET: u64 = 64 << 10;
const MAGIC: &[u8] = b"\x01\x16\x19\x70";

fn superblock(reader: &Reader<'_>) -> io::Result<Option<Bytes>> {
    reader.signed(OFFSET, 512, 0, MAGIC)
}

pub fn first(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    let Some(sb) = superblock(reader)? else { return Ok(None) };
    if (sb.be32(24), sb.be32(28)) != (1309, 1401) {
        return Ok(None);
    }
    let found =
        Found::filesystem("gfs", OFFSET, MAGIC).label(sb.slice(160, 64)).uuid(sb.array(256));
    Ok(Some(found))
}

pub fn probe(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    let Some(sb) = superblock(reader)? else { return Ok(None) };
    if !(1800..1900).contains(&sb.be32(24)) || !(1900..2000).contains(&sb.be32(28)) {
        return Ok(None);
    }
    let found = Found::filesystem("gfs2", OFFSET, MAGIC)
        .label(sb.slice(160, 64))
        .uuid(sb.array(256))
        .version(1)
        .block_size(sb.be32(36));
    Ok(Some(found))
}
