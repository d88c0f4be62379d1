//! UDF, as far as to tell that it is there.

use std::io;

use crate::found::Found;
use crate::reader::Reader;

/// Where the volume recognition sequence starts, and the units it comes in.
const START: u64 = 32 << 10;
const UNITS: [u64; 2] = [2048, 4096];
/// Most descriptors that are looked at.
const MAX_DESCRIPTORS: u64 = 64;
/// Where a descriptor has its name.
const NAME_AT: u64 = 1;

/// Label and identifiers are not read. A disc that is ISO 9660 too is found as that, which
/// has them.
pub fn probe(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    for unit in UNITS {
        for index in 0..MAX_DESCRIPTORS {
            let at = START + index * unit + NAME_AT;
            let Some(name) = reader.read(at, 5)? else { break };
            match name.slice(0, 5) {
                magic @ (b"NSR02" | b"NSR03") => {
                    return Ok(Some(Found::filesystem("udf", at, magic)));
                }
                b"BEA01" | b"BOOT2" | b"CDW02" => {}
                _ => break,
            }
        }
    }
    Ok(None)
}
