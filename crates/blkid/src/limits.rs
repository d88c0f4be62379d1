//! I/O limits of a block device, and its place on a disk, from sysfs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocfs2_device::partition::{Partition, PartitionType, Scheme, Table, read_table};
use ocfs2_device::{Device, DeviceOptions, open};

use crate::entry::Value;

/// The sysfs folder of a block device; `None` for anything else.
fn sysfs(path: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::FileTypeExt;
    let metadata = fs::metadata(path).ok().filter(|meta| meta.file_type().is_block_device())?;
    let number = metadata.rdev();
    // As in makedev(3).
    let major = (number >> 8 & 0xfff) | (number >> 32 & 0xffff_f000);
    let minor = (number & 0xff) | (number >> 12 & 0xffff_ff00);
    fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()
}

fn number(path: PathBuf) -> Option<i64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The sysfs folder of the disk, which is that of the device unless it is a partition.
fn disk_of(folder: &Path) -> &Path {
    if folder.join("partition").exists() { folder.parent().unwrap_or(folder) } else { folder }
}

/// The I/O limits of `path`; empty if it is not a block device.
pub fn limits(path: &Path) -> Vec<Value> {
    let Some(folder) = sysfs(path) else { return Vec::new() };
    let disk = disk_of(&folder);
    let queue = |name: &str| number(disk.join("queue").join(name));
    let limits = [
        ("ALIGNMENT_OFFSET", number(folder.join("alignment_offset")).filter(|at| *at != 0)),
        ("MINIMUM_IO_SIZE", queue("minimum_io_size").filter(|size| *size != 0)),
        ("OPTIMAL_IO_SIZE", queue("optimal_io_size").filter(|size| *size != 0)),
        ("PHYSICAL_SECTOR_SIZE", queue("physical_block_size")),
        ("LOGICAL_SECTOR_SIZE", queue("logical_block_size")),
        ("DAX", queue("dax").filter(|dax| *dax != 0)),
    ];
    let value = |(name, limit): (_, Option<i64>)| Some(Value::new(name, limit?.to_string()));
    limits.into_iter().filter_map(value).collect()
}

/// Describes the block device `path` as a partition; empty if it is not one.
pub fn part_entry(path: &Path) -> Vec<Value> {
    part_entry_of(path).unwrap_or_default()
}

fn part_entry_of(path: &Path) -> Option<Vec<Value>> {
    let folder = sysfs(path)?;
    let index = u32::try_from(number(folder.join("partition"))?).ok()?;
    let disk = folder.parent()?;
    let node = Path::new("/dev").join(disk.file_name()?);
    let device = open(&node, &DeviceOptions::default()).ok()?;
    let device: Arc<dyn Device> = device;
    let table = read_table(&device).ok()??;
    let mut tags = describe(&table, table.partition(index)?);
    if let Ok(dev) = fs::read_to_string(disk.join("dev")) {
        tags.push(Value::new("PART_ENTRY_DISK", dev.trim()));
    }
    Some(tags)
}

/// Describes a partition as in the low-level mode.
pub fn describe(table: &Table, partition: &Partition) -> Vec<Value> {
    let is_gpt = matches!(table.scheme, Scheme::Gpt { .. });
    let mut tags = vec![Value::new("PART_ENTRY_SCHEME", if is_gpt { "gpt" } else { "dos" })];
    let mut tag = |name, value: String| {
        if !value.is_empty() {
            tags.push(Value::new(name, value));
        }
    };
    tag("PART_ENTRY_NAME", partition.name.clone());
    tag("PART_ENTRY_UUID", table.partition_uuid(partition).unwrap_or_default());
    tag("PART_ENTRY_TYPE", kind(partition.kind));
    if partition.flags != 0 {
        tag("PART_ENTRY_FLAGS", format!("{:#x}", partition.flags));
    }
    tag("PART_ENTRY_NUMBER", partition.number.to_string());
    tag("PART_ENTRY_OFFSET", (partition.start_bytes / 512).to_string());
    tag("PART_ENTRY_SIZE", (partition.size_bytes / 512).to_string());
    tags
}

/// The type of a partition: `0x83`, or a GUID.
pub fn kind(kind: PartitionType) -> String {
    match kind {
        PartitionType::Mbr(code) => format!("{code:#x}"),
        PartitionType::Gpt(uuid) => uuid.to_string(),
    }
}
