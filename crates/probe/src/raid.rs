//! Members of storage that spans devices: Linux software RAID, bcache, DRBD.

use std::io;

use crate::found::{Found, Usage};
use crate::reader::{Bytes, Reader};

const MD_MAGIC: u32 = 0xa92b_4efc;

pub fn md(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    let size = reader.size();
    if let Some(at) = (size & !0xffff).checked_sub(0x10000)
        && let Some(sb) = reader.read(at, 4096)?
        && let Some(found) = md_0_90(&sb, at)
    {
        return Ok(Some(found));
    }
    let end = (size / 512).checked_sub(16).map(|sector| (sector & !7) * 512);
    for (at, version) in [(end, "1.0"), (Some(0), "1.1"), (Some(4096), "1.2")] {
        let Some(at) = at else { continue };
        let Some(sb) = reader.read(at, 4096)? else { continue };
        if let Some(found) = md_1(&sb, at, version) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The old superblock, in the byte order of the machine that wrote it.
fn md_0_90(sb: &Bytes, at: u64) -> Option<Found> {
    let word = match sb.array(0) {
        magic if u32::from_le_bytes(magic) == MD_MAGIC => Bytes::le32,
        magic if u32::from_be_bytes(magic) == MD_MAGIC => Bytes::be32,
        _ => return None,
    };
    let (major, minor, patch) = (word(sb, 4), word(sb, 8), word(sb, 12));
    if major != 0 {
        return None;
    }
    let mut uuid = [0; 16];
    // The last three words were added later.
    let places: &[usize] = if minor >= 90 { &[20, 52, 56, 60] } else { &[20] };
    for (to, from) in uuid.chunks_exact_mut(4).zip(places) {
        to.copy_from_slice(&word(sb, *from).to_be_bytes());
    }
    let found = Found::new("linux_raid_member", Usage::Raid, at, &sb.0[..4])
        .version(format_args!("{major}.{minor}.{patch}"))
        .uuid(uuid);
    Some(found)
}

fn md_1(sb: &Bytes, at: u64, version: &str) -> Option<Found> {
    let is_here = sb.le64(144) == at / 512;
    if sb.le32(0) != MD_MAGIC || sb.le32(4) != 1 || !is_here {
        return None;
    }
    let found = Found::new("linux_raid_member", Usage::Raid, at, &sb.0[..4])
        .uuid(sb.array(16))
        .uuid_as("UUID_SUB", sb.array(168))
        .label(sb.slice(32, 32))
        .version(version);
    Some(found)
}

pub fn bcache(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    const OFFSET: u64 = 4096;
    const MAGIC_AT: usize = 24;
    const MAGIC: &[u8] = b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81";
    let Some(sb) = reader.signed(OFFSET, 4096, MAGIC_AT, MAGIC)? else { return Ok(None) };
    // The superblock states its own sector.
    if sb.le64(8) != OFFSET / 512 {
        return Ok(None);
    }
    let found = Found::new("bcache", Usage::Other, OFFSET + MAGIC_AT as u64, MAGIC);
    Ok(Some(found.uuid(sb.array(40))))
}

/// DRBD has its metadata at the end of the device.
pub fn drbd(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    const LEN: u64 = 4096;
    const MAGIC_AT: usize = 60;
    const MAGICS: [(&[u8], &str, usize); 3] = [
        (b"\x83\x74\x02\x6b", "v08", 40),
        (b"\x83\x74\x02\x6c", "v08", 40),
        (b"\x83\x74\x02\x6d", "v09", 48),
    ];
    let Some(at) = reader.size().checked_sub(LEN) else { return Ok(None) };
    // Such a device would be smaller than its metadata.
    if reader.size() < 0x10000 {
        return Ok(None);
    }
    let Some(bytes) = reader.read(at, LEN as usize)? else { return Ok(None) };
    let magic = MAGICS.into_iter().find(|(magic, ..)| bytes.has(MAGIC_AT, magic));
    let Some((magic, version, uuid_at)) = magic else { return Ok(None) };
    let uuid = match bytes.be64(uuid_at) {
        0 => String::new(),
        uuid => format!("{uuid:x}"),
    };
    let found = Found::new("drbd", Usage::Raid, at + MAGIC_AT as u64, magic);
    Ok(Some(found.tag("UUID", uuid).version(version)))
}
