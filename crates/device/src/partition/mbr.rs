//! The master boot record: four entries, and a chain of boot records for logical partitions.

use std::io;

use super::{Partition, PartitionType, le32};
use crate::Device;

/// Bytes of a boot record, whatever the size of a sector.
const LEN: usize = 512;
/// Offset of the entries in a boot record.
const ENTRIES: usize = 446;
/// Bytes of an entry.
const ENTRY_LEN: usize = 16;
/// Type code of the entry that protects a GPT.
const PROTECTIVE: u8 = 0xee;
/// Most boot records of logical partitions that are followed.
const MAX_LOGICAL: usize = 256;

/// Whether a type code stands for a container of logical partitions.
pub fn is_extended(code: u8) -> bool {
    matches!(code, 0x05 | 0x0f | 0x85)
}

/// A boot record with a partition table in it.
pub(super) struct Mbr {
    bytes: [u8; LEN],
}

#[derive(Clone, Copy)]
struct Entry {
    boot: u8,
    code: u8,
    /// First sector, relative to a place that depends on the entry.
    start: u32,
    /// Number of sectors.
    size: u32,
}

impl Entry {
    fn is_used(self) -> bool {
        self.code != 0 && self.size != 0
    }

    fn partition(self, number: u32, base: u64, sector_size: u64) -> Partition {
        Partition {
            number,
            start_bytes: base.saturating_add(self.start.into()).saturating_mul(sector_size),
            size_bytes: u64::from(self.size).saturating_mul(sector_size),
            kind: PartitionType::Mbr(self.code),
            uuid: None,
            name: String::new(),
            flags: self.boot.into(),
        }
    }
}

impl Mbr {
    /// Returns the table in the first sector of `disk`, if there is one.
    pub(super) fn read(disk: &dyn Device) -> io::Result<Option<Self>> {
        if disk.size_bytes() < LEN as u64 {
            return Ok(None);
        }
        let mut bytes = [0; LEN];
        disk.read_at(&mut bytes, 0)?;
        let mbr = Self { bytes };
        // Other boot sectors have code or text in this place.
        let plausible = || mbr.entries().all(|entry| entry.boot & 0x7f == 0);
        Ok((mbr.is_signed() && (mbr.is_protective() || plausible())).then_some(mbr))
    }

    fn is_signed(&self) -> bool {
        self.bytes.ends_with(&[0x55, 0xaa])
    }

    /// The disk signature.
    pub(super) fn id(&self) -> u32 {
        le32(&self.bytes, 440)
    }

    /// Whether its purpose is to keep older programs off a GPT.
    pub(super) fn is_protective(&self) -> bool {
        self.entries().any(|entry| entry.code == PROTECTIVE)
    }

    fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.bytes[ENTRIES..LEN - 2].chunks_exact(ENTRY_LEN).map(|bytes| Entry {
            boot: bytes[0],
            code: bytes[4],
            start: le32(bytes, 8),
            size: le32(bytes, 12),
        })
    }

    /// All partitions, with the logical ones of every extended one.
    pub(super) fn partitions(&self, disk: &dyn Device) -> Vec<Partition> {
        let sector_size = u64::from(disk.sector_size());
        let used = || self.entries().zip(1..).filter(|(entry, _)| entry.is_used());
        let mut partitions: Vec<_> =
            used().map(|(entry, number)| entry.partition(number, 0, sector_size)).collect();
        let mut number = 5;
        for (entry, _) in used().filter(|(entry, _)| is_extended(entry.code)) {
            logical(disk, entry, &mut number, &mut partitions);
        }
        partitions
    }
}

/// Follows the chain of boot records in the extended partition `outer`.
///
/// Each record describes one partition, relative to the record itself, and points to the next
/// record, relative to the start of the extended partition.
fn logical(disk: &dyn Device, outer: Entry, number: &mut u32, partitions: &mut Vec<Partition>) {
    let sector_size = u64::from(disk.sector_size());
    let outer_start = u64::from(outer.start);
    let mut seen = Vec::new();
    let mut place = outer_start;
    while !seen.contains(&place) && seen.len() < MAX_LOGICAL && partitions.len() < MAX_LOGICAL {
        seen.push(place);
        let mut record = Mbr { bytes: [0; LEN] };
        let Some(offset) = place.checked_mul(sector_size) else { return };
        if disk.read_at(&mut record.bytes, offset).is_err() || !record.is_signed() {
            return;
        }
        let data = record.entries().enumerate().filter(|(index, entry)| {
            // The last two entries are not for partitions. Programs that still use them mean the
            // same as in the first; otherwise they are garbage.
            let inside = u64::from(entry.start) + u64::from(entry.size) <= u64::from(outer.size);
            entry.is_used() && !is_extended(entry.code) && (*index < 2 || inside)
        });
        for (_, entry) in data {
            partitions.push(entry.partition(*number, place, sector_size));
            *number += 1;
        }
        let next = record.entries().find(|entry| entry.is_used() && is_extended(entry.code));
        let Some(next) = next else { return };
        place = outer_start + u64::from(next.start);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::MemoryDevice;
    use crate::partition::{Scheme, read_table};

    /// Writes a boot record with entries of (type, start, size) to a sector.
    pub(in crate::partition) fn write(
        disk: &MemoryDevice,
        sector: u64,
        entries: &[(u8, u32, u32)],
    ) {
        let mut bytes = [0; LEN];
        for (i, (code, start, size)) in entries.iter().enumerate() {
            let entry = &mut bytes[ENTRIES + i * ENTRY_LEN..][..ENTRY_LEN];
            entry[4] = *code;
            entry[8..12].copy_from_slice(&start.to_le_bytes());
            entry[12..].copy_from_slice(&size.to_le_bytes());
        }
        bytes[510..].copy_from_slice(&[0x55, 0xaa]);
        disk.write_at(&bytes, sector * u64::from(disk.sector_size())).unwrap();
    }

    fn places(disk: &MemoryDevice) -> Vec<(u32, u64, u64)> {
        let table = read_table(disk).unwrap().unwrap();
        let unit = u64::from(table.sector_size);
        let place = |p: &Partition| (p.number, p.start_bytes / unit, p.size_bytes / unit);
        table.partitions.iter().map(place).collect()
    }

    #[test]
    fn logical_partitions_are_numbered_from_five() {
        for sector_size in [512, 4096] {
            let disk = MemoryDevice::new(1000 * 4096).with_sector_size(sector_size);
            write(&disk, 0, &[(0x83, 10, 20), (0, 0, 0), (0x0f, 100, 200), (0x82, 400, 50)]);
            write(&disk, 100, &[(0x83, 1, 9), (5, 50, 20)]);
            write(&disk, 150, &[(0x83, 2, 18)]);
            assert_eq!(
                places(&disk),
                [(1, 10, 20), (3, 100, 200), (4, 400, 50), (5, 101, 9), (6, 152, 18)]
            );
        }
    }

    #[test]
    fn a_chain_that_loops_ends() {
        let disk = MemoryDevice::new(1 << 20);
        write(&disk, 0, &[(5, 100, 200)]);
        write(&disk, 100, &[(0x83, 1, 9), (5, 50, 20)]);
        write(&disk, 150, &[(0x83, 1, 9), (5, 0, 20)]);
        assert_eq!(places(&disk).len(), 3);
        // The same extended partition twice, and two that lead to no record.
        write(&disk, 0, &[(5, 100, 200), (5, 100, 200), (5, 300, 1), (5, u32::MAX, 1)]);
        assert_eq!(places(&disk).len(), 4 + 4);
    }

    #[test]
    fn the_disk_signature_names_the_partitions() {
        let disk = MemoryDevice::new(1 << 20);
        write(&disk, 0, &[(0x83, 10, 20)]);
        let table = read_table(&disk).unwrap().unwrap();
        assert_eq!((table.uuid(), table.partition_uuid(&table.partitions[0])), (None, None));
        disk.write_at(&[0x78, 0x56, 0x34, 0x12], 440).unwrap();
        let table = read_table(&disk).unwrap().unwrap();
        assert_eq!(table.scheme, Scheme::Mbr { id: 0x1234_5678 });
        assert_eq!(table.uuid().unwrap(), "12345678");
        assert_eq!(table.partition_uuid(&table.partitions[0]).unwrap(), "12345678-01");
    }

    #[test]
    fn a_boot_sector_with_code_in_place_of_entries_is_no_table() {
        let disk = MemoryDevice::new(1 << 20);
        assert_eq!(read_table(&disk).unwrap(), None);
        write(&disk, 0, &[]);
        assert!(read_table(&disk).unwrap().unwrap().partitions.is_empty());
        disk.write_at(&[0x20], 446).unwrap();
        assert_eq!(read_table(&disk).unwrap(), None);
        assert_eq!(read_table(&MemoryDevice::new(511)).unwrap(), None);
    }
}
