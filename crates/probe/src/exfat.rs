//! exFAT.

use std::io;

use crate::fat::{serial_text, utf16_label};
use crate::found::Found;
use crate::reader::{Bytes, Reader};

const MAGIC_AT: usize = 3;
const MAGIC: &[u8] = b"EXFAT   ";
const ENTRY_LEN: usize = 32;
const LABEL_ENTRY: u8 = 0x83;
/// Longest label in UTF-16 units.
const MAX_UNITS: usize = 11;
/// Most clusters of the root directory that are read.
const MAX_CLUSTERS: usize = 100;

struct Layout {
    sector_size: usize,
    cluster_size: u64,
    fat_start: u64,
    data_start: u64,
    clusters: u64,
}

pub fn probe(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    let Some(boot) = reader.signed(0, 512, MAGIC_AT, MAGIC)? else { return Ok(None) };
    let Some(layout) = Layout::of(&boot) else { return Ok(None) };
    let found = Found::filesystem("exfat", MAGIC_AT as u64, MAGIC)
        .tag("LABEL", layout.label(reader, boot.le32(96))?.unwrap_or_default())
        .tag("UUID", serial_text(boot.array(100)))
        .version(format_args!("{}.{}", boot.u8(105), boot.u8(104)))
        .block_size(layout.sector_size);
    Ok(Some(found))
}

impl Layout {
    fn of(boot: &Bytes) -> Option<Self> {
        let (sector_bits, cluster_bits) = (boot.u8(108), boot.u8(109));
        if sector_bits >= 32 || cluster_bits >= 32 {
            return None;
        }
        let bytes = |sectors: u32| u64::from(sectors) << sector_bits;
        Some(Self {
            sector_size: 1 << sector_bits,
            cluster_size: 1 << (sector_bits + cluster_bits),
            fat_start: bytes(boot.le32(80)),
            data_start: bytes(boot.le32(88)),
            clusters: boot.le32(92).into(),
        })
    }

    fn label(&self, reader: &Reader<'_>, first: u32) -> io::Result<Option<Vec<u8>>> {
        let mut cluster = u64::from(first);
        // The label is near the start, so of a large cluster only the first 64 KiB are read.
        let len = self.cluster_size.min(1 << 16) as usize;
        for _ in 0..MAX_CLUSTERS {
            let Some(index) = cluster.checked_sub(2).filter(|index| *index < self.clusters) else {
                break;
            };
            let at = self.data_start.saturating_add(index.saturating_mul(self.cluster_size));
            let Some(entries) = reader.read(at, len)? else { break };
            for entry in entries.0.chunks_exact(ENTRY_LEN) {
                match entry {
                    [0, ..] => return Ok(None),
                    [LABEL_ENTRY, units, text @ ..] => {
                        let len = 2 * usize::from(*units).min(MAX_UNITS);
                        return Ok(text.get(..len).map(utf16_label));
                    }
                    _ => {}
                }
            }
            let Some(next) = reader.read(self.fat_start.saturating_add(cluster * 4), 4)? else {
                break;
            };
            cluster = next.le32(0).into();
        }
        Ok(None)
    }
}
