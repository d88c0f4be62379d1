//! Linux swap space, and a system hibernated into it.

use std::io;

use crate::found::{Found, Usage};
use crate::reader::{Bytes, Reader};

/// The signature is at the end of the first page, whose size depends on the machine.
const PAGES: [u64; 5] = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];
const MAGIC_LEN: u64 = 10;
/// Offset of the header of version 1; boot code may come before it.
const HEADER_AT: u64 = 1024;
const SUSPENDED: [&[u8]; 4] = [b"S1SUSPEND", b"S2SUSPEND", b"ULSUSPEND", b"LINHIB0001"];
/// Signature of TuxOnIce, at the start.
const TUXONICE: &[u8] = b"\xed\xc3\x02\xe9\x98\x56\xe5\x0c";
const SWAP: [&[u8]; 2] = [b"SWAP-SPACE", b"SWAPSPACE2"];

pub fn probe(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    for page in PAGES {
        let at = page - MAGIC_LEN;
        let Some(bytes) = reader.read(at, MAGIC_LEN as usize)? else { return Ok(None) };
        let Some(magic) = SWAP.into_iter().find(|magic| bytes.has(0, magic)) else { continue };
        let found = Found::new("swap", Usage::Other, at, magic);
        if magic == SWAP[0] {
            return Ok(Some(found.version(0)));
        }
        return Ok(version_1(reader, found)?.map(|found| found.version(1)));
    }
    Ok(None)
}

/// Adds label and UUID, if the header is valid.
fn version_1(reader: &Reader<'_>, found: Found) -> io::Result<Option<Found>> {
    let Some(header) = reader.read(HEADER_AT, 512)? else { return Ok(None) };
    // In the byte order of the machine that wrote it.
    let is_version_1 = matches!(header.array(0), [1, 0, 0, 0] | [0, 0, 0, 1]);
    let last_page = header.le32(4);
    if !is_version_1 || last_page == 0 {
        return Ok(None);
    }
    Ok(Some(named(&header, found)))
}

fn named(header: &Bytes, found: Found) -> Found {
    // If the padding is used, it is boot code, which then also covers label and UUID.
    let is_named = header.le32(44 + 32 * 4) == 0 && header.le32(44 + 33 * 4) == 0;
    if is_named { found.label(header.slice(28, 16)).uuid(header.array(12)) } else { found }
}

pub fn suspended(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    if reader.signed(0, TUXONICE.len(), 0, TUXONICE)?.is_some() {
        return Ok(Some(Found::new("swsuspend", Usage::Other, 0, TUXONICE).version("tuxonice")));
    }
    for page in PAGES {
        let at = page - MAGIC_LEN;
        let Some(bytes) = reader.read(at, MAGIC_LEN as usize)? else { return Ok(None) };
        let magic = SUSPENDED.into_iter().find(|magic| bytes.has(0, magic));
        if let Some(magic) = magic {
            let found = Found::new("swsuspend", Usage::Other, at, magic);
            let version = String::from_utf8_lossy(magic).to_lowercase();
            let Some(header) = reader.read(HEADER_AT, 512)? else { return Ok(None) };
            return Ok(Some(named(&header, found).version(version)));
        }
    }
    Ok(None)
}
