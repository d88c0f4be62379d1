//! All block devices of this machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::holders::{Number, System};

/// A block device of this machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListedDevice {
    /// Its path; for the device mapper the one in `/dev/mapper`.
    pub path: PathBuf,
    /// Its size in bytes; 1024 for an extended partition.
    pub size_bytes: u64,
    /// Whether partitions of it are in the list too.
    pub has_partitions: bool,
}

/// The block devices of `/proc/partitions`, in its order.
///
/// # Errors
/// If it cannot be read.
pub fn list() -> io::Result<Vec<ListedDevice>> {
    Ok(listed(&fs::read_to_string("/proc/partitions")?, &System::running()))
}

fn listed(partitions: &str, system: &System) -> Vec<ListedDevice> {
    let entries: Vec<Entry<'_>> = partitions.lines().filter_map(Entry::parse).collect();
    let disks: Vec<Number> =
        entries.iter().filter_map(|entry| system.disk_of(entry.number)).collect();
    entries
        .into_iter()
        .map(|Entry { number, size_bytes, name }| ListedDevice {
            // Without sysfs, mapper names and the disks of partitions are unknown.
            path: system.name(number).unwrap_or_else(|| Path::new("/dev").join(name)),
            size_bytes,
            has_partitions: disks.contains(&number),
        })
        .collect()
}

/// A line like ` 8 1 1048576 sda1`, with the size in KiB.
struct Entry<'a> {
    number: Number,
    size_bytes: u64,
    name: &'a str,
}

impl<'a> Entry<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split_whitespace();
        let (major, minor) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let kib: u64 = fields.next()?.parse().ok()?;
        let (number, size_bytes) = (Number { major, minor }, kib.checked_mul(1024)?);
        Some(Self { number, size_bytes, name: fields.next()? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::holders::tests::system;
    use super::*;

    #[test]
    fn disks_with_partitions_and_mapped_devices_are_told_apart() {
        let root = tempfile::tempdir().unwrap();
        let text = "\
major minor  #blocks  name

   8        0   10485760 sda
   8        1    1048576 sda1
   8       16          1 sdb
 253        0    1048575 dm-0
 104        0    1048575 cciss/c0d0
   9        0    1048575 md0
";
        let found: Vec<_> = listed(text, &system(root.path()))
            .into_iter()
            .map(|device| {
                (device.path.display().to_string(), device.size_bytes, device.has_partitions)
            })
            .collect();
        let expected = [
            ("/dev/sda", 10 << 30, true),
            ("/dev/sda1", 1 << 30, false),
            ("/dev/sdb", 1024, false),
            ("/dev/mapper/vg-ovs", (1 << 30) - 1024, false),
            ("/dev/cciss/c0d0", (1 << 30) - 1024, false),
            ("/dev/md0", (1 << 30) - 1024, false),
        ];
        assert_eq!(found, expected.map(|(path, size, disk)| (path.to_owned(), size, disk)));
    }
}
