//! Locks of a DLM domain through dlmfs, the file interface of the o2cb stack.
//!
//! A folder is a domain. A file in it is a lock, which is held while the file is open: exclusive if
//! for writing, shared if for reading. With `O_NONBLOCK` opening does not wait for the lock.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use crate::{Kernel, StackError, stack};

/// Where the C tools mount dlmfs; also used here if it is not mounted yet.
const MOUNT_POINT: &str = "/dlm";

/// The error of taking a lock.
#[derive(Debug, thiserror::Error)]
pub enum DomainError {
    /// The kernel has no dlmfs.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// The kernel has dlmfs, but it cannot be mounted.
    #[error("mounting ocfs2_dlmfs on {MOUNT_POINT}: {0}")]
    Mount(io::Error),
    /// The nodes of the domain are not reachable, or this node has no heartbeat.
    #[error("joining the lock domain {name}: {cause}")]
    Join {
        /// The domain.
        name: String,
        /// The error of the kernel.
        cause: io::Error,
    },
    /// The kernel's lock manager refuses the lock.
    #[error("lock {name}: {cause}")]
    Lock {
        /// The lock.
        name: String,
        /// The error of the kernel.
        cause: io::Error,
    },
}

/// A domain that this host has joined. Dropping it leaves the domain.
#[derive(Debug)]
pub struct Domain {
    folder: PathBuf,
}

/// A lock, held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: Option<File>,
}

/// Returns the folder on which dlmfs is mounted, and mounts it if necessary.
///
/// # Errors
/// [`DomainError::Stack`], [`DomainError::Mount`].
pub fn dlmfs(kernel: &dyn Kernel) -> Result<PathBuf, DomainError> {
    if let Some(folder) = mounted(kernel) {
        return Ok(folder);
    }
    let supported = |kernel: &dyn Kernel| {
        let types = kernel.read("proc/filesystems").unwrap_or_default();
        types.lines().any(|line| line.split_whitespace().last() == Some("ocfs2_dlmfs"))
    };
    if !supported(kernel) {
        stack::module(kernel, "ocfs2_dlmfs")?;
    }
    kernel.mount_dlmfs(MOUNT_POINT).map_err(DomainError::Mount)?;
    Ok(MOUNT_POINT.into())
}

fn mounted(kernel: &dyn Kernel) -> Option<PathBuf> {
    let mounts = kernel.read("proc/mounts").unwrap_or_default();
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (folder, kind) = (fields.next()?, fields.next()?);
        (kind == "ocfs2_dlmfs").then(|| folder.into())
    })
}

impl Domain {
    /// Joins the domain `name`, the UUID of a volume as 32 upper-case digits. This needs the
    /// heartbeat of this node in the region of the volume. `dlmfs` is the folder that [`dlmfs`]
    /// returns.
    ///
    /// # Errors
    /// [`DomainError::Join`].
    pub fn join(dlmfs: &Path, name: &str) -> Result<Self, DomainError> {
        let folder = dlmfs.join(name);
        match fs::create_dir(&folder) {
            Ok(()) => Ok(Self { folder }),
            // Left behind by a killed program, or in use by another one. Neither prevents its use.
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(Self { folder }),
            Err(cause) => Err(DomainError::Join { name: name.to_owned(), cause }),
        }
    }

    /// Takes a lock exclusively; `None` if another node holds it.
    ///
    /// # Errors
    /// [`DomainError::Lock`].
    pub fn try_exclusive(&self, name: &str) -> Result<Option<Lock>, DomainError> {
        let path = self.folder.join(name);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match open(&path, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => Ok(Some(Lock { path, file: Some(file.into()) })),
            Err(Errno::TXTBSY) => {
                // The attempt has created the file, which would keep the domain from being left.
                let _ = fs::remove_file(&path);
                Ok(None)
            }
            Err(cause) => Err(DomainError::Lock { name: name.to_owned(), cause: cause.into() }),
        }
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        // Fails while another program of this host uses the domain; that program leaves it later.
        let _ = fs::remove_dir(&self.folder);
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.file.take();
        // Removes only the file: nodes that wait for the lock get it.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeKernel;

    #[test]
    fn dlmfs_is_found_or_mounted() {
        let kernel = FakeKernel::new("a");
        kernel.put("proc/mounts", Some("none /sys/dlm ocfs2_dlmfs rw 0 0\n"));
        assert_eq!(dlmfs(&kernel).unwrap(), Path::new("/sys/dlm"));
        kernel.put("proc/mounts", Some("/dev/sda1 / ext4 rw 0 0\n"));
        let err = dlmfs(&kernel).unwrap_err().to_string();
        assert!(err.contains("ocfs2_dlmfs"), "{err}");
        kernel.put("proc/filesystems", Some("nodev\tocfs2_dlmfs\n"));
        assert_eq!(dlmfs(&kernel).unwrap(), Path::new("/dlm"));
        assert_eq!(kernel.take_log(), ["mount ocfs2_dlmfs /dlm"]);
    }

    #[test]
    fn nothing_is_left_in_a_domain_when_it_is_left() {
        let root = tempfile::tempdir().unwrap();
        let domain = Domain::join(root.path(), "ABC").unwrap();
        let lock = domain.try_exclusive("S1").unwrap().unwrap();
        assert!(root.path().join("ABC/S1").exists());
        drop(lock);
        drop(domain);
        assert!(!root.path().join("ABC").exists());
        let err = Domain::join(&root.path().join("none"), "ABC").unwrap_err().to_string();
        assert!(err.starts_with("joining the lock domain ABC: "), "{err}");
    }
}
