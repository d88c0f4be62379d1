//! The device or image on which a volume is made.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocfs2_device::partition::{PartitionError, open_partition};
use ocfs2_device::{Device, DeviceOptions, OpenCause, OpenError, holders::Holder, open};
use ocfs2_users::holding;
use rustix::fs::Access;
use rustix::io::Errno;

use crate::options::Extent;

/// What to open, and how.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Request {
    pub(crate) path: PathBuf,
    pub(crate) partition: Option<u32>,
    pub(crate) extent: Extent,
    /// Open a device even if it is in use.
    pub(crate) force: bool,
}

/// The reason why a target cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The disk that is to have the partition does not exist.
    #[error("{}: no such file or directory; --partition needs a disk that has partitions", ocfs2_cli::shown(.0))]
    NoDisk(PathBuf),
    /// The file does not exist, and there is no size to create it with.
    #[error("{}: no such file or directory; a size such as 4G creates an image", ocfs2_cli::shown(.0))]
    NoSize(PathBuf),
    /// The target is in use on this machine.
    #[error("{cause}; {advice}; -F overwrites it nevertheless, after a question that -x answers")]
    InUse {
        /// The users.
        cause: OpenError,
        /// What would free the device.
        advice: String,
    },
    /// The partition cannot be used.
    #[error("{}: {cause}", ocfs2_cli::shown(path))]
    Partition {
        /// The path of the disk.
        path: PathBuf,
        /// The reason.
        cause: PartitionError,
    },
}

/// An open device or image, or an image to be created.
pub(crate) struct Target {
    request: Request,
    /// `None` if there is nothing to read yet.
    pub(crate) device: Option<Arc<dyn Device>>,
    /// Size in bytes, or the size it will have.
    pub(crate) size_bytes: u64,
    /// Sector size in bytes.
    pub(crate) sector_size: u32,
    /// Its users on this machine; only with [`Request::force`].
    pub(crate) in_use: Option<Vec<Holder>>,
    /// Whether the file has to be created, or made longer.
    file: File,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum File {
    LongEnough,
    Short,
    Missing,
}

impl Target {
    /// Opens an existing target. Nothing is created or changed.
    pub(crate) fn find(request: Request) -> Result<Self, TargetError> {
        let size = match (request.extent, request.partition) {
            (Extent::Bytes(size), None) => Some(size),
            _ => None,
        };
        let file = match fs::metadata(&request.path) {
            Ok(meta) if meta.is_file() && size.is_some_and(|size| meta.len() < size) => File::Short,
            Err(err) if err.kind() == io::ErrorKind::NotFound && can_be_made(&request.path) => {
                if request.partition.is_some() {
                    return Err(TargetError::NoDisk(request.path));
                }
                if size.is_none() {
                    return Err(TargetError::NoSize(request.path));
                }
                may_be_made(&request.path)?;
                File::Missing
            }
            _ => File::LongEnough,
        };
        // A dry run opens it in the same way, to report what the real run could not have.
        let options = DeviceOptions { write: true, exclusive: true, ..Default::default() };
        let mut in_use = None;
        let disk = match open(&request.path, &options) {
            Ok(disk) => Some(disk),
            Err(OpenError { cause: OpenCause::NotFound, .. }) if file == File::Missing => None,
            Err(OpenError { cause: OpenCause::Empty, .. }) if file == File::Short => None,
            Err(OpenError { cause: OpenCause::InUse { holders }, .. }) if request.force => {
                in_use = Some(holders);
                Some(open(&request.path, &DeviceOptions { exclusive: false, ..options })?)
            }
            Err(cause) if matches!(cause.cause, OpenCause::InUse { .. }) => {
                return Err(in_use_here(cause));
            }
            Err(err) => return Err(err.into()),
        };
        let device = match (disk, request.partition) {
            (Some(disk), Some(number)) => Some(partition(&request.path, disk, number)?),
            (disk, _) => disk,
        };
        let size_bytes = match (&device, size) {
            (_, Some(size)) if file != File::LongEnough => size,
            (Some(device), _) => device.size_bytes(),
            (None, size) => size.unwrap_or(0),
        };
        let sector_size = device.as_ref().map_or(512, |device| device.sector_size());
        Ok(Self { request, device, size_bytes, sector_size, in_use, file })
    }

    /// Whether it can be written without being extended or created.
    pub(crate) fn is_provided(&self) -> bool {
        self.device.is_some() && self.file == File::LongEnough
    }

    /// Creates or extends the image if necessary, and opens it for writing.
    pub(crate) fn provide(&mut self) -> Result<Arc<dyn Device>, TargetError> {
        if let Some(device) = self.device.as_ref().filter(|_| self.file == File::LongEnough) {
            return Ok(Arc::clone(device));
        }
        // Releases the lock.
        self.device = None;
        let options = DeviceOptions {
            write: true,
            exclusive: self.in_use.is_none(),
            create_size: Some(self.size_bytes),
            ..Default::default()
        };
        let device = open(&self.request.path, &options)?;
        self.device = Some(Arc::clone(&device));
        Ok(device)
    }

    /// Removes a file that [`Target::provide`] created. Returns whether it did.
    pub(crate) fn remove_created(&self) -> bool {
        self.file == File::Missing && fs::remove_file(&self.request.path).is_ok()
    }
}

fn partition(
    path: &Path,
    disk: Arc<dyn Device>,
    number: u32,
) -> Result<Arc<dyn Device>, TargetError> {
    open_partition(disk, number)
        .map_err(|cause| TargetError::Partition { path: path.to_owned(), cause })
}

fn in_use_here(cause: OpenError) -> TargetError {
    let advice = match &cause.cause {
        OpenCause::InUse { holders } => holding::advice(holders),
        _ => holding::advice(&[]),
    };
    TargetError::InUse { cause, advice }
}

/// Whether an image could be created there. A missing name in /dev is a missing device.
fn can_be_made(path: &Path) -> bool {
    if path.starts_with("/dev") && !path.starts_with("/dev/shm") {
        return false;
    }
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => true,
        Some(folder) => folder.is_dir(),
        None => false,
    }
}

/// Whether this user is allowed to create an image there, which a dry run does not try.
fn may_be_made(path: &Path) -> Result<(), OpenError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let cause = match rustix::fs::access(folder, Access::WRITE_OK) {
        Err(Errno::ACCESS) => OpenCause::Permission { write: true },
        Err(Errno::ROFS) => OpenCause::ReadOnly,
        _ => return Ok(()),
    };
    Err(OpenError { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: PathBuf, extent: Extent) -> Request {
        Request { path, partition: None, extent, force: false }
    }

    #[test]
    fn an_image_is_only_created_or_made_longer_when_it_is_provided() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.img");
        let size = Extent::Bytes(1 << 20);
        let mut target = Target::find(request(path.clone(), size)).unwrap();
        assert_eq!((target.size_bytes, target.device.is_none()), (1 << 20, true));
        assert!(!path.exists());
        assert_eq!(target.provide().unwrap().size_bytes(), 1 << 20);
        assert!(target.remove_created() && !path.exists());

        for old in [0, 4096] {
            fs::write(&path, vec![1; old]).unwrap();
            let mut target = Target::find(request(path.clone(), size)).unwrap();
            assert_eq!((target.size_bytes, path.metadata().unwrap().len()), (1 << 20, old as u64));
            assert_eq!(target.device.is_some(), old > 0);
            assert_eq!(target.provide().unwrap().size_bytes(), 1 << 20);
            assert!(!target.remove_created(), "it was there before");
        }
        let smaller = request(path.clone(), Extent::Bytes(4096));
        assert_eq!(Target::find(smaller).unwrap().size_bytes, 1 << 20);
    }

    #[test]
    fn without_a_size_there_has_to_be_something() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.img");
        for extent in [Extent::Whole, Extent::Blocks(5000)] {
            let Err(err) = Target::find(request(path.clone(), extent)) else { panic!("found") };
            assert!(err.to_string().ends_with("a size such as 4G creates an image"), "{err}");
        }
        fs::write(&path, "").unwrap();
        let Err(err) = Target::find(request(path.clone(), Extent::Whole)) else { panic!("found") };
        assert!(err.to_string().ends_with("is empty (0 bytes)"), "{err}");
        let below = path.join("below");
        let Err(err) = Target::find(request(below, Extent::Bytes(1))) else { panic!("found") };
        assert!(err.to_string().ends_with("no such file or directory"), "{err}");
    }

    #[test]
    fn an_image_in_use_is_only_opened_by_force() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.img");
        fs::write(&path, [0; 4096]).unwrap();
        let first = Target::find(request(path.clone(), Extent::Whole)).unwrap();
        let Err(err) = Target::find(request(path.clone(), Extent::Whole)) else { panic!("found") };
        assert!(matches!(err, TargetError::InUse { .. }), "{err}");
        let forced = Request { force: true, ..request(path.clone(), Extent::Whole) };
        assert!(Target::find(forced).unwrap().in_use.is_some());
        drop(first);
        assert!(Target::find(request(path, Extent::Whole)).unwrap().in_use.is_none());
    }
}
