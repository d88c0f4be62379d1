//! BitLocker, whose boot sector imitates one of NTFS or FAT.

use std::io;

use crate::found::{Found, Usage};
use crate::reader::Reader;

const METADATA: &[u8] = b"-FVE-FS-";
const VISTA: &[u8] = b"\xeb\x52\x90-FVE-FS-";
const SEVEN: &[u8] = b"\xeb\x58\x90-FVE-FS-";
const TO_GO: &[u8] = b"\xeb\x58\x90MSWIN4.1";
/// Distinguishes BitLocker To Go from FAT.
const TO_GO_GUID: &[u8] = b"\x3b\xd6\x67\x49\x2e\x29\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01";

pub fn probe(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    let Some(boot) = reader.read(0, 512)? else { return Ok(None) };
    let found = |magic| Found::new("BitLocker", Usage::Crypto, 0, magic);
    if boot.has(0, VISTA) {
        return Ok(Some(found(VISTA)));
    }
    let (magic, place) = match () {
        () if boot.has(0, SEVEN) => (SEVEN, 176),
        () if boot.has(0, TO_GO) && boot.has(424, TO_GO_GUID) => (TO_GO, 440),
        () => return Ok(None),
    };
    let metadata = reader.signed(boot.le64(place), 64, 0, METADATA)?;
    Ok(metadata.map(|metadata| found(magic).version(metadata.le16(10))))
}
