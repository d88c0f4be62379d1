//! VMware's file system, and the volumes it is made of.

use std::io;

use crate::found::{Found, Usage};
use crate::reader::{Bytes, Reader};

pub fn member(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    const OFFSET: u64 = 1 << 20;
    const MAGIC: &[u8] = b"\x0d\xd0\x01\xc0";
    let Some(info) = reader.signed(OFFSET, 512, 0, MAGIC)? else { return Ok(None) };
    let found = Found::new("VMFS_volume_member", Usage::Raid, OFFSET, MAGIC)
        .tag("UUID_SUB", uuid(&info, 130))
        .version(info.le32(4));
    Ok(Some(found))
}

pub fn probe(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    const OFFSET: u64 = 2 << 20;
    const MAGIC: &[u8] = b"\x5e\xf1\xab\x2f";
    let Some(info) = reader.signed(OFFSET, 512, 0, MAGIC)? else { return Ok(None) };
    let found = Found::filesystem("VMFS", OFFSET, MAGIC)
        .tag("UUID", uuid(&info, 9))
        .label(info.slice(29, 128))
        .version(info.u8(8));
    Ok(Some(found))
}

/// VMware's own form of a UUID: 8-8-4-12 digits.
fn uuid(info: &Bytes, at: usize) -> String {
    let (a, b, c) = (info.le32(at), info.le32(at + 4), info.le16(at + 8));
    let node: String = info.slice(at + 10, 6).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{a:08x}-{b:08x}-{c:04x}-{node}")
}
