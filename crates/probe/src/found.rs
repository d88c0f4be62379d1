//! The result of a search.

use std::fmt;
use std::ops::Range;

use ocfs2_device::partition::{GptCopy, Scheme, Table};
use uuid::Uuid;

use crate::text;

/// Something found on a device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// The type as blkid calls it: the value of `TYPE`, or of `PTTYPE` for a partition table.
    pub kind: &'static str,
    /// The purpose of it.
    pub usage: Usage,
    /// Its tags in the order of blkid, without `TYPE`, `PTTYPE` and `USAGE`.
    pub tags: Vec<Tag>,
    /// The place of its signature, in bytes from the start of the device. If these bytes are
    /// overwritten, it is no longer recognized.
    pub magic: Range<u64>,
    /// The partitions, if it is a partition table.
    pub table: Option<Table>,
}

/// A property of something found on a device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tag {
    /// The name in capitals, as blkid calls it.
    pub name: &'static str,
    /// The value, usually UTF-8; labels are the bytes on the device.
    pub value: Vec<u8>,
}

/// What something is used for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Usage {
    /// A file system.
    Filesystem,
    /// A member of a RAID or a similar structure that spans devices.
    Raid,
    /// Encrypted data.
    Crypto,
    /// Something else, such as swap space.
    Other,
    /// A partition table.
    PartitionTable,
}

impl Usage {
    /// The value of `USAGE` in blkid; `None` for partition tables, which have none.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Filesystem => Some("filesystem"),
            Self::Raid => Some("raid"),
            Self::Crypto => Some("crypto"),
            Self::Other => Some("other"),
            Self::PartitionTable => None,
        }
    }
}

impl Found {
    pub(crate) fn new(kind: &'static str, usage: Usage, at: u64, magic: &[u8]) -> Self {
        let magic = at..at.saturating_add(magic.len() as u64);
        Self { kind, usage, tags: Vec::new(), magic, table: None }
    }

    pub(crate) fn filesystem(kind: &'static str, at: u64, magic: &[u8]) -> Self {
        Self::new(kind, Usage::Filesystem, at, magic)
    }

    /// Adds a tag, unless it is empty.
    pub(crate) fn tag(mut self, name: &'static str, value: impl Into<Vec<u8>>) -> Self {
        let value = value.into();
        if !value.is_empty() {
            self.tags.push(Tag { name, value });
        }
        self
    }

    /// Adds a text from the device, up to the first NUL and without trailing white space.
    pub(crate) fn text(self, name: &'static str, bytes: &[u8]) -> Self {
        self.tag(name, text::trimmed(bytes))
    }

    pub(crate) fn label(self, bytes: &[u8]) -> Self {
        self.text("LABEL", bytes)
    }

    /// Adds a UUID, unless it is nil.
    pub(crate) fn uuid_as(self, name: &'static str, bytes: [u8; 16]) -> Self {
        let uuid = Uuid::from_bytes(bytes);
        if uuid.is_nil() { self } else { self.tag(name, uuid.to_string()) }
    }

    pub(crate) fn uuid(self, bytes: [u8; 16]) -> Self {
        self.uuid_as("UUID", bytes)
    }

    pub(crate) fn version(self, version: impl fmt::Display) -> Self {
        self.tag("VERSION", version.to_string())
    }

    pub(crate) fn block_size(self, bytes: impl fmt::Display) -> Self {
        self.tag("BLOCK_SIZE", bytes.to_string())
    }

    /// Adds the block size `unit << log`, unless `log` is too large to be valid.
    pub(crate) fn block_size_log(self, log: u32, unit: u64) -> Self {
        if log < 32 { self.block_size(unit << log) } else { self }
    }

    /// The value of a tag.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.tags.iter().find(|tag| tag.name == name).map(|tag| tag.value.as_slice())
    }

    /// Whether it may share a device with something else without ambiguity, because it leaves room
    /// for that on purpose.
    pub fn is_tolerant(&self) -> bool {
        self.usage == Usage::PartitionTable || matches!(self.kind, "iso9660" | "udf")
    }
}

/// One line for a person: `ext4 file system, label "data", UUID ...`.
impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(table) = &self.table {
            return describe_table(table, f);
        }
        match (self.kind, self.usage) {
            ("ocfs2", _) => f.write_str("OCFS2 volume")?,
            ("ocfs", _) => f.write_str("OCFS1 volume")?,
            ("jbd", _) => f.write_str("ext journal")?,
            ("swap", _) => f.write_str("swap space")?,
            ("swsuspend", _) => f.write_str("hibernated system in swap space")?,
            ("LVM2_member", _) => f.write_str("LVM2 physical volume")?,
            ("linux_raid_member", _) => f.write_str("Linux software RAID member")?,
            ("crypto_LUKS", _) => f.write_str("LUKS encrypted device")?,
            ("BitLocker", _) => f.write_str("BitLocker encrypted device")?,
            ("oracleasm", _) => f.write_str("Oracle ASM disk")?,
            ("sbd", _) => f.write_str("SBD disk, by which a cluster fences its nodes")?,
            ("ceph_bluestore", _) => f.write_str("Ceph BlueStore device")?,
            ("vdo", _) => f.write_str("VDO device")?,
            ("stratis", _) => f.write_str("Stratis pool member")?,
            ("LVM1_member", _) => f.write_str("LVM1 physical volume")?,
            ("DM_snapshot_cow", _) => f.write_str("device mapper snapshot")?,
            ("DM_verity_hash", _) => f.write_str("dm-verity hash device")?,
            ("DM_integrity", _) => f.write_str("dm-integrity device")?,
            ("xfs_external_log", _) => f.write_str("external log of xfs")?,
            ("bcache", _) => f.write_str("bcache device")?,
            ("drbd", _) => f.write_str("DRBD device")?,
            ("zfs_member", _) => f.write_str("ZFS pool member")?,
            ("VMFS_volume_member", _) => f.write_str("VMFS volume member")?,
            (kind, Usage::Filesystem) => write!(f, "{kind} file system")?,
            (kind, _) => f.write_str(kind)?,
        }
        if let Some(label) = self.get("LABEL") {
            write!(f, ", label \"{}\"", text::printable(label))?;
        }
        if let Some(uuid) = self.get("UUID") {
            write!(f, ", UUID {}", text::printable(uuid))?;
        }
        Ok(())
    }
}

fn describe_table(table: &Table, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match table.scheme {
        Scheme::Mbr { .. } => f.write_str("MBR partition table")?,
        Scheme::Gpt { copy: GptCopy::Primary, .. } => f.write_str("GPT partition table")?,
        Scheme::Gpt { copy: GptCopy::Backup, .. } => f.write_str("damaged GPT partition table")?,
        Scheme::ProtectiveMbr => return f.write_str("remains of a GPT partition table"),
    }
    match table.partitions.len() {
        0 => f.write_str(" without partitions"),
        1 => f.write_str(" with 1 partition"),
        count => write!(f, " with {count} partitions"),
    }
}

#[cfg(test)]
mod tests {
    use ocfs2_device::Device;
    use ocfs2_device::MemoryDevice;

    /// Descriptions of what is found on 4 MiB of zeros with `parts` written to them.
    fn described(parts: &[(u64, &[u8])]) -> Vec<String> {
        let device = MemoryDevice::new(4 << 20);
        for (at, bytes) in parts {
            device.write_at(bytes, *at).unwrap();
        }
        let found = crate::contents(&device).unwrap();
        for thing in &found {
            device.zero(thing.magic.start, thing.magic.end - thing.magic.start).unwrap();
        }
        assert_eq!(crate::contents(&device).unwrap(), [], "without the signature");
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_found_is_described_in_a_line_and_is_gone_with_its_signature() {
        let uuid: &[u8] = &[0x11; 16];
        assert_eq!(
            described(&[(1080, b"\x53\xef"), (1144, b"my \"\n"), (1128, uuid)]),
            ["ext2 file system, label \"my \\\"\", UUID 11111111-1111-1111-1111-111111111111"]
        );
        assert_eq!(described(&[(0, b"LUKS\xba\xbe\0\x01")]), ["LUKS encrypted device"]);
        assert_eq!(described(&[(8192, b"OCFSV2")]), ["OCFS2 volume"]);
        assert_eq!(
            described(&[(510, b"\x55\xaa"), (450, b"\x83"), (458, b"\x08")]),
            ["MBR partition table with 1 partition"]
        );
        assert_eq!(
            described(&[(510, b"\x55\xaa"), (450, b"\xee")]),
            ["remains of a GPT partition table"]
        );
        assert_eq!(described(&[(32769, b"BEA01"), (34817, b"NSR03")]), ["udf file system"]);
    }
}
