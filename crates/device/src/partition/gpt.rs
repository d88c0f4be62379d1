//! The GUID partition table (UEFI specification, chapter 5).

use uuid::Uuid;

use super::{GptCopy, Partition, PartitionType, Scheme, Table, le, le32, le64};
use crate::Device;

const SIGNATURE: &[u8; 8] = b"EFI PART";
/// Smallest valid length of the header in bytes.
const MIN_HEADER_LEN: usize = 92;
/// Smallest valid length of an entry in bytes.
const MIN_ENTRY_LEN: usize = 128;
/// Most bytes of entries that are read; 16 KiB are usual.
const MAX_ENTRIES_LEN: usize = 4 << 20;

/// Returns the first valid copy, with either sector size.
pub(super) fn read(disk: &dyn Device) -> Option<Table> {
    let mut sizes = vec![disk.sector_size()];
    sizes.extend([512, 4096].into_iter().filter(|size| *size != disk.sector_size()));
    sizes.into_iter().find_map(|size| {
        let sectors = disk.size_bytes() / u64::from(size.max(512));
        let copies = [(GptCopy::Primary, 1), (GptCopy::Backup, sectors.saturating_sub(1))];
        copies.into_iter().find_map(|(copy, sector)| read_copy(disk, size, copy, sector))
    })
}

/// Returns the copy with its header in `sector`, if it is valid.
fn read_copy(disk: &dyn Device, sector_size: u32, copy: GptCopy, sector: u64) -> Option<Table> {
    let unit = u64::from(sector_size);
    let mut header = vec![0; usize::try_from(sector_size).ok()?];
    disk.read_at(&mut header, sector.checked_mul(unit)?).ok()?;
    let header_len = usize::try_from(le32(&header, 12)).ok()?;
    if !header.starts_with(SIGNATURE) || header_len < MIN_HEADER_LEN {
        return None;
    }
    let header = header.get_mut(..header_len)?;
    let sum = le32(header, 16);
    header.get_mut(16..20)?.fill(0);
    if crc32fast::hash(header) != sum || le64(header, 24) != sector {
        return None;
    }
    let count = usize::try_from(le32(header, 80)).ok()?;
    let entry_len = usize::try_from(le32(header, 84)).ok()?;
    let entries_len = count.checked_mul(entry_len).filter(|len| *len <= MAX_ENTRIES_LEN)?;
    if entry_len < MIN_ENTRY_LEN {
        return None;
    }
    let mut entries = vec![0; entries_len];
    disk.read_at(&mut entries, le64(header, 72).checked_mul(unit)?).ok()?;
    if crc32fast::hash(&entries) != le32(header, 88) {
        return None;
    }
    let used = |entry: &[u8]| entry.iter().take(16).any(|byte| *byte != 0);
    let partitions = entries
        .chunks_exact(entry_len)
        .zip(1..)
        .filter(|(entry, _)| used(entry))
        .map(|(entry, number)| partition(entry, number, unit))
        .collect();
    let uuid = Uuid::from_bytes_le(le(header, 56));
    Some(Table { scheme: Scheme::Gpt { uuid, copy }, sector_size, partitions })
}

fn partition(entry: &[u8], number: u32, sector_size: u64) -> Partition {
    let (first, last) = (le64(entry, 32), le64(entry, 40));
    // The range includes the last sector; a last sector just before the first makes it empty.
    let sectors = last.checked_sub(first).map_or(0, |count| count.saturating_add(1));
    let name: Vec<u16> = (56..MIN_ENTRY_LEN)
        .step_by(2)
        .map(|at| u16::from_le_bytes(le(entry, at)))
        .take_while(|unit| *unit != 0)
        .collect();
    Partition {
        number,
        start_bytes: first.saturating_mul(sector_size),
        size_bytes: sectors.saturating_mul(sector_size),
        kind: PartitionType::Gpt(Uuid::from_bytes_le(le(entry, 0))),
        uuid: Some(Uuid::from_bytes_le(le(entry, 16))),
        name: String::from_utf16_lossy(&name),
        flags: le64(entry, 48),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{mbr, open_partition, read_table};
    use super::*;
    use crate::MemoryDevice;

    const SECTORS: u64 = 100;
    const LINUX: Uuid = uuid::uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4");
    const DISK: Uuid = uuid::uuid!("12345678-9abc-def0-1234-56789abcdef0");

    /// A disk with 16 entries, of which those given as (index, first, last, name) are used.
    fn disk(sector_size: u32, entries: &[(usize, u64, u64, &str)]) -> MemoryDevice {
        let unit = u64::from(sector_size);
        let disk = MemoryDevice::new(SECTORS * unit).with_sector_size(sector_size);
        mbr::tests::write(&disk, 0, &[(0xee, 1, u32::MAX)]);
        let mut table = vec![0; 16 * MIN_ENTRY_LEN];
        for (index, first, last, name) in entries {
            let entry = &mut table[index * MIN_ENTRY_LEN..][..MIN_ENTRY_LEN];
            entry[..16].copy_from_slice(&LINUX.to_bytes_le());
            entry[16..32].copy_from_slice(&Uuid::from_u128(*index as u128).to_bytes_le());
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
            entry[48] = 1;
            for (i, unit) in name.encode_utf16().enumerate() {
                entry[56 + 2 * i..][..2].copy_from_slice(&unit.to_le_bytes());
            }
        }
        for (sector, entries_at) in [(1, 2), (SECTORS - 1, SECTORS - 10)] {
            let mut header = [0_u8; MIN_HEADER_LEN];
            header[..8].copy_from_slice(SIGNATURE);
            header[12] = MIN_HEADER_LEN as u8;
            header[24..32].copy_from_slice(&sector.to_le_bytes());
            header[56..72].copy_from_slice(&DISK.to_bytes_le());
            header[72..80].copy_from_slice(&entries_at.to_le_bytes());
            header[80] = 16;
            header[84] = MIN_ENTRY_LEN as u8;
            header[88..].copy_from_slice(&crc32fast::hash(&table).to_le_bytes());
            let sum = crc32fast::hash(&header);
            header[16..20].copy_from_slice(&sum.to_le_bytes());
            disk.write_at(&header, sector * unit).unwrap();
            disk.write_at(&table, entries_at * unit).unwrap();
        }
        disk
    }

    #[test]
    fn partitions_are_found_with_either_sector_size() {
        for (sector_size, as_image) in [(512, false), (4096, false), (4096, true)] {
            let mut disk = disk(sector_size, &[(0, 40, 49, "boot"), (3, 50, 50, "dätä")]);
            if as_image {
                disk = disk.with_sector_size(512);
            }
            let table = read_table(&disk).unwrap().unwrap();
            assert_eq!(table.scheme, Scheme::Gpt { uuid: DISK, copy: GptCopy::Primary });
            assert_eq!(table.uuid().unwrap(), DISK.to_string());
            assert_eq!(table.sector_size, sector_size);
            let [boot, data] = &table.partitions[..] else { panic!("{table:?}") };
            let unit = u64::from(sector_size);
            assert_eq!((boot.number, boot.start_bytes, boot.size_bytes), (1, 40 * unit, 10 * unit));
            assert_eq!((data.number, data.start_bytes, data.size_bytes), (4, 50 * unit, unit));
            assert_eq!((boot.name.as_str(), data.name.as_str()), ("boot", "dätä"));
            assert_eq!(data.kind, PartitionType::Gpt(LINUX));
            assert_eq!(table.partition_uuid(data), Some(Uuid::from_u128(3).to_string()));
            assert_eq!(data.flags, 1);
            open_partition(std::sync::Arc::new(disk), 4).unwrap();
        }
    }

    #[test]
    fn the_backup_is_used_when_the_primary_is_damaged() {
        for damaged in [512, 512 + 30, 2 * 512 + 60, 2 * 512 + 16 * 128 - 1] {
            let disk = disk(512, &[(0, 40, 49, "boot")]);
            let mut byte = [0];
            disk.read_at(&mut byte, damaged).unwrap();
            disk.write_at(&[byte[0] ^ 1], damaged).unwrap();
            let table = read_table(&disk).unwrap().unwrap();
            assert_eq!(table.scheme, Scheme::Gpt { uuid: DISK, copy: GptCopy::Backup });
            assert_eq!(table.partitions.len(), 1);

            disk.write_at(&[0], (SECTORS - 1) * 512).unwrap();
            let table = read_table(&disk).unwrap().unwrap();
            assert_eq!(table.scheme, Scheme::ProtectiveMbr);
            assert_eq!((table.uuid(), table.partitions.len()), (None, 0));
        }
    }

    #[test]
    fn absurd_entries_are_data() {
        let disk = disk(512, &[(0, 50, 40, ""), (1, 0, u64::MAX, ""), (2, u64::MAX, u64::MAX, "")]);
        let table = read_table(&disk).unwrap().unwrap();
        let sizes: Vec<_> = table.partitions.iter().map(|p| p.size_bytes).collect();
        assert_eq!(sizes, [0, u64::MAX, 512]);
        let disk = std::sync::Arc::new(disk);
        for number in [2, 3] {
            assert!(open_partition(disk.clone(), number).is_err());
        }
    }
}
