//! Finding a volume by what it says of itself, whatever kind of block device it is on.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::VolumeOptions;
use crate::device::{DeviceOptions, list, open};
use crate::open::find_superblock;

/// What is looked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Identity {
    /// The volume of that UUID.
    Uuid(Uuid),
    /// Volumes of that label.
    Label(Vec<u8>),
}

impl Identity {
    /// From `UUID=...` or `LABEL=...`, with or without quotes; `None` for anything else, such
    /// as a path.
    pub fn parse(text: &str) -> Option<Self> {
        let (key, value) = text.split_once('=')?;
        let value = value.trim_matches('"');
        match key {
            "UUID" => Uuid::parse_str(value).ok().map(Self::Uuid),
            "LABEL" => Some(Self::Label(value.as_bytes().to_vec())),
            _ => None,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(uuid) => write!(f, "UUID {uuid}"),
            Self::Label(label) => write!(f, "label `{}`", label.escape_ascii()),
        }
    }
}

/// The block devices of this machine that hold such a volume or heartbeat device, those of the
/// device mapper first: they may be several paths to one disk under one name.
///
/// Devices that can not be read are passed over.
///
/// # Errors
/// The list of devices can not be read.
pub fn find(identity: &Identity) -> io::Result<Vec<PathBuf>> {
    let devices = list()?.into_iter().map(|device| device.path);
    let mut found: Vec<_> = devices.filter(|path| matches(path, identity)).collect();
    found.sort_by_key(|path| !path.starts_with("/dev/mapper"));
    Ok(found)
}

fn matches(path: &Path, identity: &Identity) -> bool {
    let Ok(device) = open(path, &DeviceOptions::default()) else { return false };
    let Ok(found) = find_superblock(&*device, &VolumeOptions::default()) else { return false };
    match identity {
        Identity::Uuid(uuid) => found.superblock.uuid() == *uuid,
        Identity::Label(label) => found.superblock.label() == label,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_named_by_uuid_or_label() {
        let uuid = Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        for text in [
            "UUID=01234567-89ab-cdef-0123-456789abcdef",
            "UUID=0123456789ABCDEF0123456789ABCDEF",
            "UUID=\"0123456789ABCDEF0123456789ABCDEF\"",
        ] {
            assert_eq!(Identity::parse(text), Some(Identity::Uuid(uuid)));
        }
        assert_eq!(Identity::parse("LABEL=/OVS"), Some(Identity::Label(b"/OVS".to_vec())));
        for text in ["/dev/sdb1", "UUID=1", "PARTUUID=0123456789ABCDEF0123456789ABCDEF", ""] {
            assert_eq!(Identity::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_image_of_the_uuid_matches_and_another_one_does_not() {
        use std::io::Write;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&vec![0; 1 << 20]).unwrap();
        assert!(!matches(file.path(), &Identity::Label(Vec::new())), "there is no volume");
    }
}
