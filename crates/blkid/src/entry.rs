//! The result for a device, as tags in blkid's order.

use std::path::PathBuf;

use ocfs2_probe::{Found, Usage};

/// A device on which something was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The name in the output: the encoded path, or `IMAGE#NUMBER`.
    pub name: String,
    /// The path of the device node or image.
    pub path: PathBuf,
    /// The number of the partition within the image at `path`; `None` for the whole.
    pub partition: Option<u32>,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// What was found on it.
    pub found: Vec<Found>,
    /// What the partition table says about it, with the tag names of the low-level mode.
    pub part: Vec<Value>,
    /// I/O limits.
    pub limits: Vec<Value>,
}

/// A tag of a device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Value {
    /// Its name, in capitals.
    pub name: &'static str,
    /// The value, usually UTF-8; labels are the bytes on the device.
    pub value: Vec<u8>,
}

impl Value {
    /// A tag with the given name and value.
    pub fn new(name: &'static str, value: impl Into<Vec<u8>>) -> Self {
        Self { name, value: value.into() }
    }
}

/// Tags that only the low-level mode shows.
const LOW_LEVEL: [&str; 10] = [
    "VERSION",
    "USAGE",
    "SYSTEM_ID",
    "VOLUME_ID",
    "VOLUME_SET_ID",
    "LOGICAL_VOLUME_ID",
    "PUBLISHER_ID",
    "DATA_PREPARER_ID",
    "APPLICATION_ID",
    "BOOT_SYSTEM_ID",
];

impl Entry {
    /// What is on the device apart from a partition table; `None` if that is ambiguous or nothing.
    pub fn contents(&self) -> Option<&Found> {
        self.exclusive().next().filter(|_| !self.is_ambivalent())
    }

    /// What was found apart from partition tables, up to the first RAID or encryption: what comes
    /// after that is inside it, and not contents of this device.
    fn exclusive(&self) -> impl Iterator<Item = &Found> {
        let mut covered = false;
        let things = self.found.iter().filter(|found| found.usage != Usage::PartitionTable);
        things.take_while(move |found| {
            let visible = !covered;
            covered |= matches!(found.usage, Usage::Raid | Usage::Crypto);
            visible
        })
    }

    /// Whether more than one thing was found that cannot share a device.
    pub fn is_ambivalent(&self) -> bool {
        // Leftovers cannot lie between the parts in use of something as small as a floppy.
        const TINY: u64 = 1440 << 10;
        self.size_bytes > TINY
            && self.exclusive().count() > 1
            && self.exclusive().any(|found| !found.is_tolerant())
    }

    /// Usage, type and version of everything found, for the tag `AMBIVALENT`.
    pub(crate) fn candidates(&self) -> Vec<Vec<u8>> {
        let candidate = |found: &Found| {
            let usage = found.usage.name().map(str::as_bytes);
            let parts = [usage, Some(found.kind.as_bytes()), found.get("VERSION")];
            parts.into_iter().flatten().collect::<Vec<_>>().join(&b':')
        };
        self.exclusive().map(candidate).collect()
    }

    /// All tags, including those of the low-level mode if `low_level`.
    pub fn tags(&self, low_level: bool) -> Vec<Value> {
        let mut tags = Vec::new();
        if let Some(found) = self.contents() {
            let (known, ours): (Vec<_>, Vec<_>) =
                found.tags.iter().partition(|tag| !tag.name.starts_with("OCFS2_"));
            let value = |tag: &ocfs2_probe::Tag| Value::new(tag.name, tag.value.clone());
            tags.extend(known.into_iter().map(value));
            tags.push(Value::new("TYPE", found.kind));
            tags.extend(found.usage.name().map(|usage| Value::new("USAGE", usage)));
            // Last, so that the tags util-linux knows come first and unchanged.
            tags.extend(ours.into_iter().filter(|_| low_level).map(value));
        }
        let tables = self.found.iter().filter(|found| found.usage == Usage::PartitionTable);
        for table in tables {
            tags.extend(table.tags.iter().map(|tag| Value::new(tag.name, tag.value.clone())));
            tags.push(Value::new("PTTYPE", table.kind));
        }
        if low_level {
            tags.extend(self.part.iter().cloned());
        } else {
            tags.retain(|tag| !LOW_LEVEL.contains(&tag.name));
            let renamed = [("PART_ENTRY_NAME", "PARTLABEL"), ("PART_ENTRY_UUID", "PARTUUID")];
            tags.extend(renamed.into_iter().filter_map(|(from, to)| {
                let tag = self.part.iter().find(|tag| tag.name == from)?;
                Some(Value::new(to, tag.value.clone()))
            }));
        }
        tags.extend(self.limits.iter().cloned());
        tags
    }
}

#[cfg(test)]
mod tests {
    use ocfs2_device::Device;
    use ocfs2_device::MemoryDevice;

    use super::*;

    fn entry(size: u64, bytes: &[(u64, &[u8])]) -> Entry {
        let device = MemoryDevice::new(size);
        for (at, bytes) in bytes {
            device.write_at(bytes, *at).unwrap();
        }
        Entry {
            name: "disk.img".to_owned(),
            path: PathBuf::from("disk.img"),
            partition: None,
            size_bytes: size,
            found: ocfs2_probe::contents(&device).unwrap(),
            part: Vec::new(),
            limits: Vec::new(),
        }
    }

    const EXT2: (u64, &[u8]) = (1080, b"\x53\xef");
    const JFS: (u64, &[u8]) = (32 << 10, b"JFS1");
    const ASM: (u64, &[u8]) = (32, b"ORCLDISK");
    const LUKS: (u64, &[u8]) = (0, b"LUKS\xba\xbe\0\x01");

    #[test]
    fn two_file_systems_are_ambivalent_unless_the_device_is_tiny() {
        let large = entry(2 << 20, &[EXT2, ASM]);
        assert!(large.is_ambivalent());
        assert_eq!(large.candidates(), [&b"filesystem:ext2:0.0"[..], b"filesystem:oracleasm"]);
        assert!(large.tags(true).is_empty());
        let tiny = entry(1 << 20, &[EXT2, ASM]);
        assert!(!tiny.is_ambivalent());
        assert_eq!(tiny.contents().unwrap().kind, "ext2");
    }

    #[test]
    fn what_is_behind_encryption_does_not_count() {
        let entry = entry(2 << 20, &[EXT2, LUKS, JFS]);
        assert!(!entry.is_ambivalent());
        assert_eq!(entry.contents().unwrap().kind, "crypto_LUKS");
    }
}
