//! Description of a device that was expected to hold an OCFS2 volume but does not.

use std::fmt::Display;

use ocfs2_device::Device;

use crate::{Found, Usage, container, contents};

/// Returns what is on `device` instead, as the end of a sentence; `None` if nothing is recognized,
/// or an OCFS2 volume is. `choose` is appended for a partitioned disk, to say how to select a
/// partition.
pub fn instead(device: &dyn Device, choose: &str) -> Option<String> {
    if let Some(container) = container(device) {
        return Some(container);
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
/// known, see [`instead`]; otherwise by what helps if there was a volume. `has_backup` says whether
/// there is a good backup of the superblock.
pub fn explained(err: &dyn Display, device: &dyn Device, choose: &str, has_backup: bool) -> String {
    match instead(device, choose) {
        Some(instead) => format!("{err}; {instead}"),
        None if has_backup => format!("{err}; fsck.ocfs2 -f restores the superblock from one"),
        None => format!("{err}; if there was a volume, fsck.ocfs2 --salvage looks for its rest"),
    }
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

    #[test]
    fn a_volume_is_looked_for_only_where_nothing_else_is_known() {
        let told = |start: &[u8], size| {
            let device = MemoryDevice::new(size);
            device.write_at(start, 0).unwrap();
            explained(&"no volume", &device, "", false)
        };
        assert!(told(b"x", 4 << 20).contains("--salvage"));
        let qcow2 = told(b"QFI\xfb\0\0\0\x03", 4 << 20);
        assert!(qcow2.contains("qcow2 image: `qemu-img convert -O raw IMAGE FILE`"), "{qcow2}");
        assert_eq!(told(b"", 0), "no volume; it is empty");
        for (start, name) in [(&b"\x1f\x8b\x08"[..], "gzip"), (b"\xfd7zXZ\0", "xz")] {
            let text = told(start, 600);
            assert!(text.contains(name) && !text.contains("--salvage"), "{text}");
        }
    }
}
