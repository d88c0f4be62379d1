//! Finding a volume by its UUID or label, whatever kind of block device it is on.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::VolumeOptions;
use crate::open::find_superblock;
use ocfs2_device::{DeviceOptions, OpenCause, OpenError, list, open, shown};

/// What is looked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Identity {
    /// The volume of that UUID.
    Uuid(Uuid),
    /// Volumes of that label.
    Label(Vec<u8>),
}

/// Why no device could be found by UUID or label.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// There is none.
    #[error("no block device of this machine has an OCFS2 volume with {0}")]
    NotFound(Identity),
    /// None was found, and not all devices may be read by this user.
    #[error(
        "no block device of this machine has an OCFS2 volume with {identity}, of those that may be \
         read: {} may not",
        shown::path(refused)
    )]
    Refused {
        /// What was looked for.
        identity: Identity,
        /// A device that may not be read.
        refused: PathBuf,
    },
    /// Several devices have such a volume.
    #[error("{identity} is on several devices, so say which: {}", list_of(devices))]
    Ambiguous {
        /// What was looked for.
        identity: Identity,
        /// Where it is.
        devices: Vec<PathBuf>,
    },
    /// What is after `UUID=` is none.
    #[error("after UUID= a UUID is needed, of 32 hexadecimal digits")]
    NotUuid,
    /// The list of devices cannot be read.
    #[error("/proc/partitions: {0}")]
    Io(#[from] io::Error),
}

fn list_of(devices: &[PathBuf]) -> String {
    devices.iter().map(|path| shown::path(path)).collect::<Vec<_>>().join(", ")
}

impl Identity {
    /// From `UUID=...` or `LABEL=...`, with or without quotes; `None` for anything else, such
    /// as a path.
    pub fn parse(text: impl AsRef<OsStr>) -> Option<Self> {
        let text = text.as_ref().as_bytes();
        let at = text.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (text.get(..at)?, text.get(at + 1..)?);
        let quoted =
            |value: &'_ [u8]| value.len() > 1 && value[0] == b'"' && value.ends_with(b"\"");
        let value = if quoted(value) { value.get(1..value.len() - 1)? } else { value };
        match key {
            b"UUID" => Uuid::try_parse_ascii(value).ok().map(Self::Uuid),
            b"LABEL" => Some(Self::Label(value.to_vec())),
            _ => None,
        }
    }
}

/// Returns `path` itself, or, if it is `UUID=...` or `LABEL=...`, the device with this volume.
///
/// # Errors
/// [`FindError`].
pub fn resolve(path: &Path) -> Result<PathBuf, FindError> {
    match Identity::parse(path) {
        None if path.as_os_str().as_bytes().starts_with(b"UUID=") && !path.exists() => {
            Err(FindError::NotUuid)
        }
        None => Ok(path.to_owned()),
        Some(identity) => choose(find(&identity)?, identity),
    }
}

fn choose(devices: Vec<PathBuf>, identity: Identity) -> Result<PathBuf, FindError> {
    // Several paths to one disk have the same UUID; the mapper's device comes first.
    let several = devices.len() > 1;
    let mapped = devices.first().is_some_and(|path| path.starts_with("/dev/mapper"));
    match devices.first() {
        None => Err(FindError::NotFound(identity)),
        Some(first) if mapped || !several => Ok(first.clone()),
        Some(_) => Err(FindError::Ambiguous { identity, devices }),
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

/// The block devices of this machine that hold such a volume or heartbeat device. Those of the
/// device mapper come first: one of them may stand for several paths to one disk.
///
/// Devices that cannot be read are passed over.
///
/// # Errors
/// [`FindError::Io`]; [`FindError::Refused`].
pub fn find(identity: &Identity) -> Result<Vec<PathBuf>, FindError> {
    let (mut found, mut refused) = (Vec::new(), None);
    for device in list()? {
        match matches(&device.path, identity) {
            Ok(true) => found.push(device.path),
            Ok(false) => {}
            Err(OpenError { cause: OpenCause::Permission { .. }, path }) => refused = Some(path),
            Err(_) => {}
        }
    }
    if let (true, Some(refused)) = (found.is_empty(), refused) {
        return Err(FindError::Refused { identity: identity.clone(), refused });
    }
    found.sort_by_key(|path| !path.starts_with("/dev/mapper"));
    Ok(found)
}

fn matches(path: &Path, identity: &Identity) -> Result<bool, OpenError> {
    let device = open(path, &DeviceOptions::default())?;
    let found = find_superblock(&*device, &VolumeOptions::default());
    Ok(found.is_ok_and(|found| match identity {
        Identity::Uuid(uuid) => found.superblock.uuid() == *uuid,
        Identity::Label(label) => found.superblock.label() == label,
    }))
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
    fn a_path_stays_one_and_several_disks_of_a_label_are_named() {
        assert_eq!(resolve(Path::new("disk.img")).unwrap(), Path::new("disk.img"));
        assert!(matches!(resolve(Path::new("UUID=none")), Err(FindError::NotUuid)));
        let err = resolve(Path::new("UUID=00000000-0000-0000-0000-00000000000f")).unwrap_err();
        assert!(err.to_string().starts_with("no block device of this machine has"), "{err}");
        let label = || Identity::Label(b"data".to_vec());
        let paths = |paths: [&str; 2]| paths.map(PathBuf::from).to_vec();
        let err = choose(paths(["/dev/sda", "/dev/sdb"]), label()).unwrap_err().to_string();
        assert_eq!(err, "label `data` is on several devices, so say which: /dev/sda, /dev/sdb");
        let mapped = choose(paths(["/dev/mapper/a", "/dev/sda"]), label()).unwrap();
        assert_eq!(mapped, Path::new("/dev/mapper/a"));
    }

    #[test]
    fn an_image_of_the_uuid_matches_and_another_one_does_not() {
        use std::io::Write;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&vec![0; 1 << 20]).unwrap();
        let none = matches(file.path(), &Identity::Label(Vec::new())).unwrap();
        assert!(!none, "there is no volume");
    }
}
