//! Partition tables.

use std::io;

use ocfs2_device::partition::{GptCopy, Scheme, read_table};

use crate::found::{Found, Usage};
use crate::reader::Reader;
use crate::{fat, ntfs};

pub fn probe(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    // These boot sectors have the same signature, and code in place of entries.
    if fat::is_boot_sector(reader)? || ntfs::probe(reader)?.is_some() {
        return Ok(None);
    }
    let Some(table) = read_table(reader.device())? else { return Ok(None) };
    const MBR: &[u8] = b"\x55\xaa";
    const GPT: &[u8] = b"EFI PART";
    let sector = u64::from(table.sector_size);
    let (kind, at, magic) = match table.scheme {
        Scheme::Mbr { .. } => ("dos", 510, MBR),
        Scheme::ProtectiveMbr => ("PMBR", 510, MBR),
        Scheme::Gpt { copy: GptCopy::Primary, .. } => ("gpt", sector, GPT),
        Scheme::Gpt { copy: GptCopy::Backup, .. } => {
            ("gpt", (reader.size() / sector.max(1)).saturating_sub(1) * sector, GPT)
        }
    };
    let mut found = Found::new(kind, Usage::PartitionTable, at, magic)
        .tag("PTUUID", table.uuid().unwrap_or_default());
    found.table = Some(table);
    Ok(Some(found))
}
