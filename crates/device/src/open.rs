//! Opening a device by its path, the same way for all tools.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::holders::{self, Holder};
use super::{Caching, Device, FileDevice, claims};
use crate::partition::{PartitionError, open_partition};
use crate::shown;

/// How to open a device. The default reads through the page cache and shares the device.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DeviceOptions {
    /// Open for writing, too.
    pub write: bool,
    /// What the page cache is used for.
    pub caching: Caching,
    /// Fail if it is in use on this machine: a block device that is mounted or otherwise claimed, a
    /// file that is locked or under a loop device in use, a loop device whose file is. Exclusive
    /// opens by others fail until it is closed.
    pub exclusive: bool,
    /// With `write`: create a missing regular file, or extend a shorter one, to this many bytes.
    pub create_size: Option<u64>,
    /// Open this partition, according to the partition table, instead of the whole device.
    pub partition: Option<u32>,
}

/// The error of opening a device.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", shown::path(path))]
pub struct OpenError {
    /// The path that was to be opened.
    pub path: PathBuf,
    /// Why it could not be opened.
    pub cause: OpenCause,
}

/// Why a device could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenCause {
    /// There is no such file.
    #[error("no such file or directory")]
    NotFound,
    /// The caller is not permitted to open it.
    #[error("permission denied{}", if *write { " (opening for writing)" } else { "" })]
    Permission {
        /// Whether it was to be opened for writing.
        write: bool,
    },
    /// The device or its file system is read-only.
    #[error("cannot be written: it is read-only")]
    ReadOnly,
    /// It is a directory.
    #[error("is a directory, not a block device or an image")]
    Directory,
    /// It is a character device.
    #[error("is a character device, not a block device or an image")]
    CharacterDevice,
    /// It is a pipe or a socket.
    #[error("is not a block device or an image")]
    NotStorage,
    /// The device node exists, but the device does not.
    #[error("there is no such device, or no medium in it")]
    NoDevice,
    /// It has no contents.
    #[error("is empty (0 bytes)")]
    Empty,
    /// The file system it is on does not allow a file of that size.
    #[error("cannot be made {size} bytes long: {source}")]
    Resize {
        /// The size wanted, in bytes.
        size: u64,
        /// The error of the file system.
        source: io::Error,
    },
    /// It is in use on this machine.
    #[error("is in use: {}", list(holders))]
    InUse {
        /// The users, as far as they can be determined.
        holders: Vec<Holder>,
    },
    /// The partition asked for cannot be opened.
    #[error(transparent)]
    Partition(PartitionError),
    /// Any other error.
    #[error(transparent)]
    Io(io::Error),
}

fn list(holders: &[Holder]) -> String {
    if holders.is_empty() {
        return "another process has it, or it is mounted where this one cannot see it".to_owned();
    }
    holders.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Opens the block device or regular file `path`.
///
/// # Errors
/// [`OpenError`] with the path and the cause.
pub fn open(path: &Path, options: &DeviceOptions) -> Result<Arc<dyn Device>, OpenError> {
    let open = || {
        let device = Arc::new(open_when_free(path, options)?);
        match options.partition {
            None => Ok(device as Arc<dyn Device>),
            Some(number) => open_partition(device, number).map_err(OpenCause::Partition),
        }
    };
    open().map_err(|cause| OpenError { path: path.to_owned(), cause })
}

/// How long to wait for a device that another process has. Programs that look at new devices (udev,
/// a desktop) soon close them, and a child of this process holds its files until it executes.
const WAIT_FOR_A_PROCESS: Duration = Duration::from_millis(300);

fn open_when_free(path: &Path, options: &DeviceOptions) -> Result<FileDevice, OpenCause> {
    let began = Instant::now();
    loop {
        let outcome = open_file(path, options);
        let passes = |holder: &Holder| matches!(holder, Holder::Process { .. });
        match &outcome {
            Err(OpenCause::InUse { holders })
                if holders.iter().all(passes) && began.elapsed() < WAIT_FOR_A_PROCESS => {}
            _ => return outcome,
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn open_file(path: &Path, options: &DeviceOptions) -> Result<FileDevice, OpenCause> {
    let failed = |err: io::Error| cause_of(path, options, err);
    let create = options.create_size.filter(|_| options.write);
    // Check first: opening a pipe would wait, opening a tape would wind it.
    let is_block_device = match fs::metadata(path) {
        Ok(metadata) => {
            let kind = metadata.file_type();
            if kind.is_dir() {
                return Err(OpenCause::Directory);
            } else if kind.is_char_device() {
                return Err(OpenCause::CharacterDevice);
            } else if !kind.is_file() && !kind.is_block_device() {
                return Err(OpenCause::NotStorage);
            }
            kind.is_block_device()
        }
        Err(err) if err.kind() == io::ErrorKind::NotFound && create.is_some() => false,
        Err(err) => return Err(failed(err)),
    };
    // The kernel opens a read-only device for writing and fails the writes.
    if is_block_device && options.write && holders::is_read_only(path) {
        return Err(OpenCause::ReadOnly);
    }
    let claim = is_block_device && options.exclusive;
    let flags = if claim { OFlags::EXCL } else { OFlags::empty() };
    let file = File::options()
        .read(true)
        .write(options.write)
        .create(create.is_some() && !is_block_device)
        .truncate(false)
        .custom_flags(flags.bits() as i32)
        .open(path)
        .map_err(failed)?;
    let held = match options.exclusive {
        true => claims::take(path, &file, is_block_device, options.write)?,
        false => Vec::new(),
    };
    if let Some(size) = create.filter(|_| !is_block_device)
        && file.metadata().map_err(failed)?.len() < size
    {
        file.set_len(size).map_err(|source| OpenCause::Resize { size, source })?;
    }
    let device = FileDevice::new(file, options.write, options.caching).map_err(failed)?;
    let device = device.holding(held);
    if device.size_bytes() == 0 {
        return Err(OpenCause::Empty);
    }
    Ok(device)
}

fn cause_of(path: &Path, options: &DeviceOptions, err: io::Error) -> OpenCause {
    match err.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NOTDIR) => OpenCause::NotFound,
        Some(Errno::ROFS) => OpenCause::ReadOnly,
        Some(Errno::ACCESS | Errno::PERM) if options.write && holders::is_read_only(path) => {
            OpenCause::ReadOnly
        }
        Some(Errno::ACCESS | Errno::PERM) => OpenCause::Permission { write: options.write },
        Some(Errno::NXIO | Errno::NODEV | Errno::NOMEDIUM) => OpenCause::NoDevice,
        Some(Errno::BUSY) => {
            OpenCause::InUse { holders: holders::holders(path).unwrap_or_default() }
        }
        _ => OpenCause::Io(err),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(path: &Path, options: &DeviceOptions) -> OpenCause {
        let Err(err) = open(path, options) else { panic!("{} opened", path.display()) };
        assert_eq!(err.path, path);
        assert!(err.to_string().starts_with(&format!("{}: ", path.display())), "{err}");
        err.cause
    }

    #[test]
    fn what_is_no_volume_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let reading = DeviceOptions::default();
        let writing = DeviceOptions { write: true, ..Default::default() };
        let empty = dir.path().join("empty");
        fs::write(&empty, "").unwrap();
        for options in [reading, writing] {
            assert!(matches!(cause(dir.path(), &options), OpenCause::Directory));
            assert!(matches!(cause(&dir.path().join("none"), &options), OpenCause::NotFound));
            assert!(matches!(cause(&empty.join("below"), &options), OpenCause::NotFound));
            assert!(matches!(cause(Path::new("/dev/null"), &options), OpenCause::CharacterDevice));
            assert!(matches!(cause(&empty, &options), OpenCause::Empty));
        }
    }

    #[test]
    fn an_image_is_created_or_made_longer_but_never_shorter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.img");
        let sized =
            |size| DeviceOptions { write: true, create_size: Some(size), ..Default::default() };
        for (asked, expected) in [(10_000, 10_000), (20_000, 20_000), (5, 20_000)] {
            let device = open(&path, &sized(asked)).unwrap();
            assert_eq!(device.size_bytes(), expected);
            assert_eq!(device.sector_size(), 512);
        }
        // Longer than an offset can be.
        let huge = cause(&path, &sized(u64::MAX));
        assert!(
            huge.to_string().starts_with("cannot be made 18446744073709551615 bytes"),
            "{huge}"
        );
        let read_only = DeviceOptions { create_size: Some(1), ..Default::default() };
        let missing = dir.path().join("missing");
        assert!(matches!(cause(&missing, &read_only), OpenCause::NotFound));
    }

    #[test]
    fn a_partition_is_opened_by_its_number_and_a_wrong_number_says_which_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.img");
        let mut disk = vec![0; 64 * 512];
        // Partition 2: 8 sectors from sector 32 on.
        disk[446 + 16 + 4] = 0x83;
        disk[446 + 16 + 8] = 32;
        disk[446 + 16 + 12] = 8;
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        disk[32 * 512..40 * 512].fill(9);
        fs::write(&path, disk).unwrap();
        let partition = |number| DeviceOptions { partition: Some(number), ..Default::default() };
        let device = open(&path, &partition(2)).unwrap();
        let mut contents = [0; 8 * 512];
        device.read_at(&mut contents, 0).unwrap();
        assert_eq!(contents, [9; 8 * 512]);
        assert_eq!(device.size_bytes(), 8 * 512);

        let missing = cause(&path, &partition(1));
        assert!(matches!(missing, OpenCause::Partition(_)));
        assert_eq!(missing.to_string(), "there is no partition 1, only 2");
    }

    #[test]
    fn an_image_can_be_opened_exclusively_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.img");
        fs::write(&path, [0; 512]).unwrap();
        let exclusive = DeviceOptions { write: true, exclusive: true, ..Default::default() };
        let reader = DeviceOptions { exclusive: true, ..Default::default() };
        let first = open(&path, &exclusive).unwrap();
        assert!(matches!(cause(&path, &exclusive), OpenCause::InUse { .. }));
        assert!(matches!(cause(&path, &reader), OpenCause::InUse { .. }));
        open(&path, &DeviceOptions::default()).unwrap();
        drop(first);
        let _reader = open(&path, &reader).unwrap();
        open(&path, &reader).unwrap();
    }
}
