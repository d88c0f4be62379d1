//! ISO 9660 with Joliet names, and High Sierra.

use std::io;

use crate::found::Found;
use crate::reader::{Bytes, Reader};
use crate::text::utf16;

const START: u64 = 32 << 10;
const DESCRIPTOR_LEN: usize = 2048;
/// Most descriptors that are read.
const MAX_DESCRIPTORS: u64 = 100;
const MAGIC_AT: usize = 1;
const MAGIC: &[u8] = b"CD001";
const HIGH_SIERRA_AT: usize = 9;
const HIGH_SIERRA: &[u8] = b"CDROM";

/// Tag, offset, length, and whether a `_` at the start means that it is the name of a file.
const FIELDS: [(&str, usize, usize, bool); 5] = [
    ("SYSTEM_ID", 8, 32, false),
    ("VOLUME_SET_ID", 190, 128, false),
    ("PUBLISHER_ID", 318, 128, true),
    ("DATA_PREPARER_ID", 446, 128, true),
    ("APPLICATION_ID", 574, 128, true),
];

const BOOT: u8 = 0;
const PRIMARY: u8 = 1;
const SUPPLEMENTARY: u8 = 2;
const END: u8 = 255;

pub fn probe(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    let Some(first) = reader.read(START, DESCRIPTOR_LEN)? else { return Ok(None) };
    if first.has(HIGH_SIERRA_AT, HIGH_SIERRA) {
        let found = Found::filesystem("iso9660", START + HIGH_SIERRA_AT as u64, HIGH_SIERRA)
            .block_size(2048)
            .version("High Sierra")
            .label(first.slice(48, 32));
        return Ok(Some(found));
    }
    if !first.has(MAGIC_AT, MAGIC) {
        return Ok(None);
    }
    let (mut primary, mut boot, mut joliet) = (None, None, None);
    for index in 0..MAX_DESCRIPTORS {
        let at = START + index * DESCRIPTOR_LEN as u64;
        let Some(descriptor) = reader.read(at, DESCRIPTOR_LEN)? else { break };
        match descriptor.u8(0) {
            END => break,
            BOOT if boot.is_none() => boot = Some(descriptor),
            PRIMARY if primary.is_none() => primary = Some(descriptor),
            SUPPLEMENTARY if joliet.is_none() && is_joliet(&descriptor) => {
                joliet = Some(descriptor);
            }
            _ => {}
        }
    }
    Ok(primary.map(|primary| found(&primary, boot.as_ref(), joliet.as_ref())))
}

/// Whether names are UCS-2, in any of the three levels.
fn is_joliet(descriptor: &Bytes) -> bool {
    ["%/@", "%/C", "%/E"].iter().any(|escape| descriptor.has(88, escape.as_bytes()))
}

fn found(primary: &Bytes, boot: Option<&Bytes>, joliet: Option<&Bytes>) -> Found {
    let mut found =
        Found::filesystem("iso9660", START + MAGIC_AT as u64, MAGIC).block_size(DESCRIPTOR_LEN);
    for (name, at, len, may_be_file) in FIELDS {
        let plain = primary.slice(at, len);
        let joliet = joliet.map(|joliet| joliet.slice(at, len)).filter(|joliet| {
            let text = utf16(joliet, u16::from_be_bytes);
            !may_be_file || !(text.starts_with(b"_") || text.trim_ascii().is_empty())
        });
        let both = joliet.map(|joliet| joined(joliet, plain));
        let value = match &both {
            Some(both) => both,
            None if may_be_file && plain.starts_with(b"_") => continue,
            None => plain,
        };
        found = found.text(name, value.trim_ascii_start());
    }
    let (created, modified) = (primary.slice(813, 17), primary.slice(830, 17));
    found = found.text("UUID", &date(modified).or_else(|| date(created)).unwrap_or_default());
    if let Some(boot) = boot {
        found = found.text("BOOT_SYSTEM_ID", boot.slice(7, 32).trim_ascii_start());
    }
    let label = primary.slice(40, 32);
    match joliet {
        Some(joliet) => {
            let label = joined(joliet.slice(40, 32), label);
            found.version("Joliet Extension").label(&label)
        }
        None => found.label(label),
    }
}

/// A date as text, which serves as an identifier; `None` if it is not set.
fn date(bytes: &[u8]) -> Option<Vec<u8>> {
    let digits = bytes.get(..16)?;
    let zone = bytes.get(16)?;
    if digits.iter().all(|digit| *digit == b'0') && *zone == 0 {
        return None;
    }
    let mut out = Vec::new();
    for (index, digit) in digits.iter().enumerate() {
        if index >= 4 && index % 2 == 0 {
            out.push(b'-');
        }
        out.push(*digit);
    }
    Some(out)
}

/// A Joliet text has half as many characters as the plain one. It is continued by the plain text if
/// both agree, except where that cannot express a character.
fn joined(joliet: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut same = true;
    for (pair, plain) in joliet.chunks_exact(2).zip(plain) {
        let unit = u16::from_be_bytes(pair.try_into().unwrap_or_default());
        let is_plain = u8::try_from(unit).is_ok_and(|byte| byte.eq_ignore_ascii_case(plain));
        same &= is_plain || *plain == b'_';
        text.extend(utf16(pair, u16::from_be_bytes));
    }
    if same {
        for byte in plain.get(joliet.len() / 2..).unwrap_or_default() {
            text.extend_from_slice(char::from(*byte).encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    text
}
