//! LUKS 1 and 2.

use std::io;

use crate::found::{Found, Usage};
use crate::reader::{Bytes, Reader};

const MAGIC: &[u8] = b"LUKS\xba\xbe";
const SECOND_MAGIC: &[u8] = b"SKUL\xba\xbe";

pub fn probe(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    if let Some(header) = reader.signed(0, 512, 0, MAGIC)? {
        let found = |version| Found::new("crypto_LUKS", Usage::Crypto, 0, MAGIC).version(version);
        return Ok(Some(match header.be16(6) {
            1 => found(1).text("UUID", header.slice(168, 40)),
            2 => version_2(&header, 0, MAGIC),
            version => found(version),
        }));
    }
    // The second header of version 2, at 16 KiB to 4 MiB, states its own offset.
    for shift in 14..=22 {
        let offset = 1 << shift;
        let Some(header) = reader.signed(offset, 512, 0, SECOND_MAGIC)? else { continue };
        if header.be16(6) == 2 && header.be64(256) == offset {
            return Ok(Some(version_2(&header, offset, SECOND_MAGIC)));
        }
    }
    Ok(None)
}

fn version_2(header: &Bytes, offset: u64, magic: &[u8]) -> Found {
    Found::new("crypto_LUKS", Usage::Crypto, offset, magic)
        .version(2)
        .text("UUID", header.slice(168, 40))
        .label(header.slice(24, 48))
        .text("SUBSYSTEM", header.slice(208, 48))
}
