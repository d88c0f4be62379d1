//! Description of a device that was expected to hold an OCFS2 volume but does not.

use std::fmt::Display;

use ocfs2_device::Device;
use ocfs2_format::Structure;
use ocfs2_format::image::ImageHeader;

use crate::{Found, Usage, contents};

/// Returns what is on `device` instead, as the end of a sentence; `None` if nothing is recognized,
/// or an OCFS2 volume is. `choose` is appended for a partitioned disk, to say how to select a
/// partition.
pub fn instead(device: &dyn Device, choose: &str) -> Option<String> {
    if is_packed_image(device) {
        let reads = "debugfs.ocfs2 -i reads it, o2image -I installs it";
        return Some(format!("it is a packed image of o2image: {reads}"));
    }
    let found = contents(device).ok()?;
    let (tables, others): (Vec<_>, Vec<_>) =
        found.iter().partition(|found| found.usage == Usage::PartitionTable);
    if others.iter().any(|found| found.kind == "ocfs2") {
        return None;
    }
    let table = tables.iter().find(|found| found.table.is_some());
    let numbers = table.map_or(Vec::new(), |found| partitions(found));
    let numbers: Vec<_> = numbers.iter().map(u32::to_string).collect();
    if let [number, ..] = &numbers[..]
        && others.iter().all(|found| found.is_tolerant())
    {
        let (partitions, numbers) = match numbers.len() {
            1 => ("partition", number.clone()),
            _ => ("partitions", numbers.join(", ")),
        };
        return Some(format!("it is a disk with {partitions} {numbers}{choose}"));
    }
    let names: Vec<_> = others.into_iter().chain(tables).map(Found::to_string).collect();
    (!names.is_empty()).then(|| format!("it holds: {}", names.join("; ")))
}

/// Returns the error about a missing superblock followed by what is on `device` instead, if that is
/// known, see [`instead`]; otherwise by what helps if there was a volume.
pub fn explained(err: &dyn Display, device: &dyn Device, choose: &str) -> String {
    match instead(device, choose) {
        Some(instead) => format!("{err}; {instead}"),
        None => format!("{err}; if there was a volume, fsck.ocfs2 --salvage looks for its rest"),
    }
}

fn is_packed_image(device: &dyn Device) -> bool {
    let mut header = [0; 512];
    if device.size_bytes() < header.len() as u64 || device.read_at(&mut header, 0).is_err() {
        return false;
    }
    ImageHeader::decode(&header).is_ok_and(|header| header.verify().is_ok())
}

/// The numbers of the partitions that can hold data, if `found` is a partition table.
pub fn partitions(found: &Found) -> Vec<u32> {
    let all = found.table.iter().flat_map(|table| &table.partitions);
    all.filter(|partition| !partition.kind.is_extended()).map(|it| it.number).collect()
}

#[cfg(test)]
mod tests {
    use ocfs2_device::MemoryDevice;

    use super::*;

    fn told(parts: &[(u64, &[u8])]) -> Option<String> {
        let device = MemoryDevice::new(4 << 20);
        for (at, bytes) in parts {
            device.write_at(bytes, *at).unwrap();
        }
        instead(&device, ": --partition NUMBER chooses one")
    }

    #[test]
    fn a_partitioned_disk_and_another_file_system_are_told() {
        const TABLE: &[(u64, &[u8])] = &[(510, b"\x55\xaa"), (450, b"\x83"), (458, b"\x08")];
        let disk = "it is a disk with partition 1: --partition NUMBER chooses one";
        assert_eq!(told(TABLE).as_deref(), Some(disk));
        let second: &[(u64, &[u8])] = &[(466, b"\x83"), (474, b"\x08")];
        let told_of_two = told(&[TABLE, second].concat()).unwrap();
        assert!(told_of_two.starts_with("it is a disk with partitions 1, 2: "), "{told_of_two}");
        let ext2 = told(&[(1080, b"\x53\xef")]);
        assert_eq!(ext2.as_deref(), Some("it holds: ext2 file system"));
        assert_eq!((told(&[]), told(&[(8192, b"OCFSV2")])), (None, None));
    }
}
