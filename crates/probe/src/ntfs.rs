//! NTFS.

use std::io;

use crate::fat::utf16_label;
use crate::found::Found;
use crate::reader::{Bytes, Reader};

const MAGIC_AT: usize = 3;
const MAGIC: &[u8] = b"NTFS    ";
/// Number of the record with the properties of the volume.
const VOLUME_RECORD: u64 = 3;
const VOLUME_NAME: u32 = 0x60;
const END: u32 = 0xffff_ffff;
/// Longest record in bytes.
const MAX_RECORD_LEN: u64 = 1 << 16;

pub fn probe(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    let Some(boot) = reader.signed(0, 512, MAGIC_AT, MAGIC)? else { return Ok(None) };
    let Some((record_at, record_len)) = records(&boot) else { return Ok(None) };
    let is_record = |record: &Bytes| record.has(0, b"FILE");
    let first = reader.read(record_at, record_len as usize)?;
    if !first.is_some_and(|record| is_record(&record)) {
        return Ok(None);
    }
    let at = record_at.saturating_add(VOLUME_RECORD * record_len);
    let volume = reader.read(at, record_len as usize)?.filter(is_record);
    let Some(volume) = volume else { return Ok(None) };
    let found = Found::filesystem("ntfs", MAGIC_AT as u64, MAGIC)
        .tag("LABEL", volume_name(&volume).unwrap_or_default())
        .block_size(boot.le16(11))
        .tag("UUID", format!("{:016X}", boot.le64(72)));
    Ok(Some(found))
}

/// The offset of the file records, and the length of one in bytes.
fn records(boot: &Bytes) -> Option<(u64, u64)> {
    // A size in units, or its logarithm as a negative number.
    let sized = |size: u8, unit: u64| match size {
        0..=0x80 => Some(u64::from(size) * unit),
        _ => 1_u64.checked_shl(0x100 - u32::from(size)),
    };
    let sector_size = u64::from(boot.le16(11));
    if !(256..=4096).contains(&sector_size) {
        return None;
    }
    let cluster_size = sized(boot.u8(13), sector_size)?;
    // These fields are used by FAT only.
    let unused = boot.le16(14) == 0
        && boot.u8(16) == 0
        && boot.le16(17) == 0
        && boot.le16(19) == 0
        && boot.le16(22) == 0
        && boot.le32(32) == 0;
    if !unused || !boot.u8(13).is_power_of_two() && boot.u8(13) < 0x80 || cluster_size > 2 << 20 {
        return None;
    }
    let sectors_per_cluster = cluster_size / sector_size;
    let clusters = boot.le64(40).checked_div(sectors_per_cluster)?;
    let (table, mirror) = (boot.le64(48), boot.le64(56));
    if table > clusters || mirror > clusters {
        return None;
    }
    let record_len = sized(boot.u8(64), cluster_size)?;
    let in_bounds = (1..=MAX_RECORD_LEN).contains(&record_len);
    in_bounds.then_some((table.checked_mul(cluster_size)?, record_len))
}

fn volume_name(record: &Bytes) -> Option<Vec<u8>> {
    let mut at = usize::from(record.le16(20));
    loop {
        let (kind, len) = (record.le32(at), usize::try_from(record.le32(at + 4)).ok()?);
        if kind == END || len == 0 || at >= record.0.len() {
            return None;
        }
        if kind == VOLUME_NAME {
            let value_len = usize::try_from(record.le32(at + 16)).ok()?;
            let value_at = at + usize::from(record.le16(at + 20));
            return Some(utf16_label(record.slice(value_at, value_len)));
        }
        at = at.checked_add(len)?;
    }
}
