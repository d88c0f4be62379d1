//! UDF, of which only the presence is reported.

use std::io;

use crate::found::Found;
use crate::reader::Reader;

/// Start of the volume recognition sequence, and the possible sizes of its units.
const START: u64 = 32 << 10;
const UNITS: [u64; 2] = [2048, 4096];
/// Most descriptors that are read.
const MAX_DESCRIPTORS: u64 = 64;
/// Offset of the name in a descriptor.
const NAME_AT: u64 = 1;

/// Label and identifiers are not read. A disc that is also ISO 9660 is reported as such, with its
/// label.
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
