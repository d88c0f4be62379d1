//! FAT with 12, 16 and 32 bits.

use std::io;

use crate::found::Found;
use crate::reader::{Bytes, Reader};
use crate::text;

/// Names of file systems in a boot sector, with their offsets.
const NAMES: [(usize, &[u8]); 6] = [
    (0x52, b"MSWIN"),
    (0x52, b"FAT32   "),
    (0x36, b"MSDOS"),
    (0x36, b"FAT16   "),
    (0x36, b"FAT12   "),
    (0x36, b"FAT     "),
];
/// Boot sectors without a name: a jump at the start, or the signature of all boot sectors.
const UNNAMED: [(usize, &[u8]); 3] = [(0, b"\xeb"), (0, b"\xe9"), (0x1fe, b"\x55\xaa")];

const ENTRY_LEN: usize = 32;
const NO_NAME: &[u8] = b"NO NAME    ";
/// Most entries of a root directory that are read. The label is one of the first.
const MAX_ENTRIES: u64 = 64 << 10;
/// Most clusters of a FAT32 root directory that are read.
const MAX_CLUSTERS: usize = 100;

/// The layout stated in a boot sector, in sectors unless stated otherwise.
struct Layout {
    sector_size: u64,
    sectors_per_cluster: u64,
    reserved: u64,
    fats: u64,
    fat_len: u64,
    root_entries: u64,
    clusters: u64,
    is_fat32: bool,
}

impl Layout {
    fn of(boot: &Bytes) -> Option<Self> {
        let either = |small: u16, large: u32| match small {
            0 => u64::from(large),
            small => u64::from(small),
        };
        let sector_size = u64::from(boot.le16(11));
        let sectors_per_cluster = u64::from(boot.u8(13));
        let (reserved, fats) = (u64::from(boot.le16(14)), u64::from(boot.u8(16)));
        let media = boot.u8(21);
        let sound = (512..=4096).contains(&sector_size)
            && sector_size.is_power_of_two()
            && sectors_per_cluster.is_power_of_two()
            && reserved != 0
            && fats != 0
            && (media >= 0xf8 || media == 0xf0);
        if !sound {
            return None;
        }
        let root_entries = u64::from(boot.le16(17));
        let sectors = either(boot.le16(19), boot.le32(32));
        let fat_len = either(boot.le16(22), boot.le32(36));
        let root_len = (root_entries * ENTRY_LEN as u64).div_ceil(sector_size);
        let data = sectors.checked_sub(reserved + fats * fat_len + root_len)?;
        let clusters = data / sectors_per_cluster;
        let is_fat32 = boot.le16(22) == 0 && boot.le32(36) != 0;
        // Larger numbers are reserved for the end of a chain.
        if clusters > if is_fat32 { 0x0fff_fff6 } else { 0xfff4 } {
            return None;
        }
        Some(Self {
            sector_size,
            sectors_per_cluster,
            reserved,
            fats,
            fat_len,
            root_entries,
            clusters,
            is_fat32,
        })
    }

    fn name(&self) -> &'static str {
        match self.clusters {
            _ if self.is_fat32 => "FAT32",
            0..=4084 => "FAT12",
            _ => "FAT16",
        }
    }

    /// Offset in bytes of the root directory, or with FAT32 of the first cluster.
    fn data_start(&self) -> u64 {
        (self.reserved + self.fats * self.fat_len) * self.sector_size
    }

    fn fixed_root_label(&self, reader: &Reader<'_>) -> io::Result<Option<Vec<u8>>> {
        let entries = self.root_entries.min(MAX_ENTRIES) as usize;
        let root = reader.read(self.data_start(), entries * ENTRY_LEN)?;
        Ok(root.and_then(|root| label_in(&root)))
    }

    /// The label in the root directory of FAT32, which is a chain of clusters.
    fn chained_root_label(&self, reader: &Reader<'_>, first: u32) -> io::Result<Option<Vec<u8>>> {
        let cluster_len = self.sectors_per_cluster * self.sector_size;
        let mut cluster = u64::from(first);
        for _ in 0..MAX_CLUSTERS {
            let Some(index) = cluster.checked_sub(2).filter(|index| *index < self.clusters) else {
                break;
            };
            let at = self.data_start() + index * cluster_len;
            let Some(entries) = reader.read(at, cluster_len as usize)? else { break };
            if let Some(label) = label_in(&entries) {
                return Ok(Some(label));
            }
            let link = self.reserved * self.sector_size + cluster * 4;
            let Some(next) = reader.read(link, 4)? else { break };
            cluster = u64::from(next.le32(0) & 0x0fff_ffff);
        }
        Ok(None)
    }
}

/// The label among the entries of a directory.
fn label_in(directory: &Bytes) -> Option<Vec<u8>> {
    for entry in directory.0.chunks_exact(ENTRY_LEN) {
        let entry = Bytes(entry.to_vec());
        let (attributes, start) = (entry.u8(11), (entry.le16(20), entry.le16(26)));
        match entry.u8(0) {
            0 => return None,
            0xe5 => continue,
            // A volume label: not part of a long name, and not a directory.
            _ if attributes & 0x3f != 0x0f && attributes & 0x18 == 0x08 && start == (0, 0) => {
                let mut label = entry.slice(0, 11).to_vec();
                if label.first() == Some(&0x05) {
                    label[0] = 0xe5;
                }
                return Some(label);
            }
            _ => {}
        }
    }
    None
}

/// Whether `boot` belongs to another format that only shares the signature.
fn is_other(boot: &Bytes) -> bool {
    let others: [&[u8]; 3] = [b"NTFS    ", b"EXFAT   ", b"-FVE-FS-"];
    others.iter().any(|name| boot.has(3, name))
}

pub fn probe(reader: &Reader<'_>) -> io::Result<Option<Found>> {
    let Some(boot) = reader.read(0, 512)? else { return Ok(None) };
    Ok(match recognise(&boot) {
        Some((layout, at, magic)) => found(reader, &boot, &layout, at, magic)?,
        None => None,
    })
}

/// Whether the first sector is the boot sector of a FAT volume, and so not a partition table.
pub fn is_boot_sector(reader: &Reader<'_>) -> io::Result<bool> {
    Ok(reader.read(0, 512)?.is_some_and(|boot| recognise(&boot).is_some()))
}

fn recognise(boot: &Bytes) -> Option<(Layout, usize, &'static [u8])> {
    let here = |(at, magic): &(usize, &'static [u8])| boot.has(*at, magic);
    let magic = NAMES.into_iter().find(here).or_else(|| {
        let plausible = boot.has(0x1fe, b"\x55\xaa") && !is_other(boot) && !has_names(boot);
        UNNAMED.into_iter().find(here).filter(|_| plausible)
    });
    let (at, magic) = magic?;
    Some((Layout::of(boot)?, at, magic))
}

/// Whether the sector has a name used by others that write similar boot sectors.
fn has_names(boot: &Bytes) -> bool {
    boot.has(3, b"JFS     ") || boot.has(3, b"HPFS    ") || boot.has(0x36, b"JFS     ")
}

fn found(
    reader: &Reader<'_>,
    boot: &Bytes,
    layout: &Layout,
    at: usize,
    magic: &[u8],
) -> io::Result<Option<Found>> {
    let mut found = Found::filesystem("vfat", at as u64, magic);
    let (root_label, boot_label, serial);
    if layout.is_fat32 {
        if !has_sound_info(reader, boot, layout)? {
            return Ok(None);
        }
        root_label = layout.chained_root_label(reader, boot.le32(44))?;
        boot_label = if boot.u8(66) == 0x29 { boot.slice(71, 11) } else { &[] };
        serial = boot.array::<4>(67);
    } else {
        root_label = layout.fixed_root_label(reader)?;
        // A byte says whether both are present, or only the number.
        boot_label = if boot.u8(38) == 0x29 { boot.slice(43, 11) } else { &[] };
        let has_serial = matches!(boot.u8(38), 0x28 | 0x29);
        serial = if has_serial { boot.array::<4>(39) } else { [0; 4] };
        found = found.tag("SEC_TYPE", "msdos");
    }
    let named = |label: &&[u8]| *label != NO_NAME;
    if let Some(label) = Some(boot_label).filter(named) {
        found = found.text("LABEL_FATBOOT", label);
    }
    if let Some(label) = root_label.as_deref().filter(named) {
        found = found.label(label);
    }
    found = found.tag("UUID", serial_text(serial));
    Ok(Some(found.version(layout.name()).block_size(layout.sector_size)))
}

/// A serial number as DOS prints it; empty for 0.
pub fn serial_text(serial: [u8; 4]) -> String {
    match serial {
        [0, 0, 0, 0] => String::new(),
        [a, b, c, d] => format!("{d:02X}{c:02X}-{b:02X}{a:02X}"),
    }
}

/// Whether the info sector of FAT32 is valid, or missing.
fn has_sound_info(reader: &Reader<'_>, boot: &Bytes, layout: &Layout) -> io::Result<bool> {
    let sector = u64::from(boot.le16(48));
    if sector == 0 {
        return Ok(true);
    }
    let Some(info) = reader.read(sector * layout.sector_size, 512)? else { return Ok(false) };
    let signed = |at, signatures: &[&[u8]]| signatures.iter().any(|text| info.has(at, text));
    Ok(signed(0, &[b"RRaA", b"RRdA", &[0; 4]]) && signed(484, &[b"rrAa", &[0; 4]]))
}

/// The label of an exFAT or NTFS volume, trimmed.
pub fn utf16_label(bytes: &[u8]) -> Vec<u8> {
    text::trimmed(&text::utf16(bytes, u16::from_le_bytes)).to_vec()
}
