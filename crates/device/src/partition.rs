//! The partitions of a disk or a disk image: MBR and GPT, read-only.
//!
//! Entries are listed as they are, including partitions that overlap, reach past the end of the
//! disk or are empty. Only [`open_partition`] requires the partition it opens to lie on the disk.

use std::io;
use std::sync::Arc;

use uuid::Uuid;

use crate::{Device, SliceDevice};

mod gpt;
mod mbr;

pub use mbr::is_extended;

/// A partition table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Table {
    /// Which kind of table, and what identifies it.
    pub scheme: Scheme,
    /// The unit of the table: sector size in bytes.
    pub sector_size: u32,
    /// In the order of the table. In an MBR: 1 to 4, then the logical ones from 5 on.
    pub partitions: Vec<Partition>,
}

/// The kind of a partition table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// Master boot record, with the disk signature at byte 440.
    Mbr {
        /// The disk signature; 0 if there is none.
        id: u32,
    },
    /// GUID partition table.
    Gpt {
        /// The disk's GUID.
        uuid: Uuid,
        /// The copy that was read: the first valid one.
        copy: GptCopy,
    },
    /// The MBR of a disk with a GPT of which no copy is valid. No partitions are known.
    ProtectiveMbr,
}

/// The copies of a GPT. The backup is read only if the primary is damaged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GptCopy {
    /// In the second sector.
    Primary,
    /// In the last sector.
    Backup,
}

/// A partition, as its table describes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Partition {
    /// Number of the partition, from 1.
    pub number: u32,
    /// Offset in bytes from the start of the disk.
    pub start_bytes: u64,
    /// Size in bytes; of an extended partition, of all that is inside it.
    pub size_bytes: u64,
    /// The type stated in the table.
    pub kind: PartitionType,
    /// GPT: the partition's GUID. MBR: `None`, see [`Table::partition_uuid`].
    pub uuid: Option<Uuid>,
    /// GPT: its name, with unpaired surrogates replaced. Empty for an MBR.
    pub name: String,
    /// GPT: the attribute bits. MBR: the boot indicator, 0x80 = active.
    pub flags: u64,
}

/// The stated type of a partition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PartitionType {
    /// Type code of an MBR; 0x83 is Linux.
    Mbr(u8),
    /// Type GUID of a GPT.
    Gpt(Uuid),
}

/// The error of opening a partition.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartitionError {
    /// Reading the table failed.
    #[error("the partition table could not be read: {0}")]
    Io(#[from] io::Error),
    /// There is no partition table.
    #[error("there is no partition table")]
    NoTable,
    /// There is only the protective MBR of a GPT.
    #[error("both copies of the GPT partition table are damaged")]
    Damaged,
    /// There is no such partition.
    #[error("there is no partition {number}, {}", available(.numbers))]
    NoSuchPartition {
        /// The number asked for.
        number: u32,
        /// The numbers of the existing partitions.
        numbers: Vec<u32>,
    },
    /// It is an extended partition, the container of the logical ones.
    #[error("partition {number} is an extended partition, which only contains others")]
    Extended {
        /// Its number.
        number: u32,
    },
    /// The partition reaches past the end of the disk, probably because an image is truncated.
    #[error("partition {number}, {size} bytes at {start}, reaches past the end at {disk_size}")]
    PastTheEnd {
        /// Its number.
        number: u32,
        /// Its first byte.
        start: u64,
        /// Its size in bytes.
        size: u64,
        /// Size of the disk in bytes.
        disk_size: u64,
    },
}

fn available(numbers: &[u32]) -> String {
    if numbers.is_empty() {
        return "the table is empty".to_owned();
    }
    let numbers: Vec<_> = numbers.iter().map(u32::to_string).collect();
    format!("only {}", numbers.join(", "))
}

impl Table {
    /// The table's identifier as blkid prints it (`PTUUID`), if it has one.
    pub fn uuid(&self) -> Option<String> {
        match self.scheme {
            Scheme::Mbr { id: 0 } | Scheme::ProtectiveMbr => None,
            Scheme::Mbr { id } => Some(format!("{id:08x}")),
            Scheme::Gpt { uuid, .. } => Some(uuid.to_string()),
        }
    }

    /// The identifier of one of its partitions as blkid prints it (`PARTUUID`).
    pub fn partition_uuid(&self, partition: &Partition) -> Option<String> {
        match partition.uuid {
            Some(uuid) => Some(uuid.to_string()),
            None => self.uuid().map(|table| format!("{table}-{:02x}", partition.number)),
        }
    }

    /// The partition called `number`.
    pub fn partition(&self, number: u32) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.number == number)
    }
}

/// Reads the partition table of `disk`, if there is one.
///
/// The boot sector of a FAT or NTFS volume can look like an MBR; callers have to rule that out. An
/// image may be of a disk with sectors of 4096 bytes, so a GPT is looked for with both sizes.
///
/// # Errors
/// Those of the device when its first sector is read. A later sector that cannot be read counts as
/// damaged.
pub fn read_table(disk: &dyn Device) -> io::Result<Option<Table>> {
    let Some(mbr) = mbr::Mbr::read(disk)? else { return Ok(None) };
    if mbr.is_protective() {
        return Ok(Some(gpt::read(disk).unwrap_or_else(|| Table {
            scheme: Scheme::ProtectiveMbr,
            sector_size: disk.sector_size(),
            partitions: Vec::new(),
        })));
    }
    Ok(Some(Table {
        scheme: Scheme::Mbr { id: mbr.id() },
        sector_size: disk.sector_size(),
        partitions: mbr.partitions(disk),
    }))
}

/// Returns partition `number` of `disk` as a device of its own.
///
/// # Errors
/// If there is no such partition, or it does not lie entirely on the disk.
pub fn open_partition(
    disk: Arc<dyn Device>,
    number: u32,
) -> Result<Arc<dyn Device>, PartitionError> {
    let table = read_table(&disk)?.ok_or(PartitionError::NoTable)?;
    if table.scheme == Scheme::ProtectiveMbr {
        return Err(PartitionError::Damaged);
    }
    let partition = table.partition(number).ok_or_else(|| PartitionError::NoSuchPartition {
        number,
        numbers: table.partitions.iter().map(|partition| partition.number).collect(),
    })?;
    if partition.kind.is_extended() {
        return Err(PartitionError::Extended { number });
    }
    let (start, size) = (partition.start_bytes, partition.size_bytes);
    let disk_size = disk.size_bytes();
    let past = |_| PartitionError::PastTheEnd { number, start, size, disk_size };
    Ok(Arc::new(SliceDevice::new(disk, start, size).map_err(past)?))
}

impl PartitionType {
    /// Whether it only contains the logical partitions of an MBR.
    pub fn is_extended(self) -> bool {
        matches!(self, Self::Mbr(code) if is_extended(code))
    }
}

/// `N` bytes at offset `at` of a sector, zeros if they reach past its end.
fn le<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let found = at.checked_add(N).and_then(|end| bytes.get(at..end));
    found.and_then(|found| found.try_into().ok()).unwrap_or([0; N])
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(le(bytes, at))
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(le(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDevice;

    #[test]
    fn a_partition_is_a_device() {
        let disk = MemoryDevice::new(1 << 20);
        mbr::tests::write(&disk, 0, &[(0x83, 64, 8), (0x83, 2000, 100)]);
        disk.write_at(b"inside", 64 * 512).unwrap();
        let disk: Arc<dyn Device> = Arc::new(disk);
        let partition = open_partition(disk.clone(), 1).unwrap();
        assert_eq!(partition.size_bytes(), 8 * 512);
        let mut bytes = [0; 6];
        partition.read_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"inside");

        let message = |number| open_partition(disk.clone(), number).err().unwrap().to_string();
        assert_eq!(message(7), "there is no partition 7, only 1, 2");
        assert_eq!(
            message(2),
            "partition 2, 51200 bytes at 1024000, reaches past the end at 1048576"
        );
        let blank: Arc<dyn Device> = Arc::new(MemoryDevice::new(4096));
        assert!(matches!(open_partition(blank, 1), Err(PartitionError::NoTable)));
    }

    #[test]
    fn the_container_of_logical_partitions_can_not_be_opened() {
        let disk = MemoryDevice::new(1 << 20);
        mbr::tests::write(&disk, 0, &[(5, 64, 800)]);
        let error = open_partition(Arc::new(disk), 1).err().unwrap();
        assert!(matches!(error, PartitionError::Extended { number: 1 }), "{error}");
    }

    #[test]
    fn any_disk_can_be_read() {
        use proptest::prelude::*;
        let entry = (any::<[u8; 16]>(), 0..0x100_usize);
        proptest!(|(entries in prop::collection::vec(entry, 1..12), id in any::<u32>())| {
            // Boot records all over a small disk, with links from anywhere to anywhere.
            let disk = MemoryDevice::new(64 * 512);
            for sector in 0..64 {
                mbr::tests::write(&disk, sector, &[]);
            }
            disk.write_at(&id.to_le_bytes(), 440).unwrap();
            for (i, (mut bytes, extended)) in entries.into_iter().enumerate() {
                bytes[0] &= 0x80;
                bytes[4] = if extended & 1 == 0 { 5 } else { bytes[4] };
                bytes[8] &= 31;
                bytes[9..12].fill(0);
                let at = if i < 4 { 0 } else { (i as u64 * 7 % 32) * 512 };
                disk.write_at(&bytes, at + 446 + 16 * (i as u64 % 4)).unwrap();
            }
            let table = read_table(&disk).unwrap();
            prop_assert!(table.is_none_or(|table| table.partitions.len() <= 4 + 256));
        });
    }
}
