//! The lock of a program that resizes a mounted volume: the C tool of no node does so meanwhile.

use ocfs2_cluster::Kernel;
use ocfs2_cluster::domain::{self, Domain, DomainError, Lock};
use ocfs2_format::superblock::Stack;
use ocfs2_volume::Volume;

/// The name of the lock in the domain of the volume, which the C tool takes as well.
const NAME: &str = "tunefs-online-resize-lock";

/// The lock, held until it is dropped.
#[derive(Debug)]
pub struct ResizeLock {
    // The fields are dropped in this order: a domain cannot be left while a lock in it is held.
    _lock: Lock,
    _domain: Domain,
}

/// What came of an attempt to take the lock.
#[derive(Debug)]
pub enum Resize {
    /// It was taken.
    Locked(ResizeLock),
    /// The volume is local, or its stack has no such lock.
    NoLock,
    /// A program resizes the volume, on this node or another one.
    Held,
}

/// Takes the lock of a volume that is mounted on this host.
///
/// # Errors
/// [`DomainError`]: the lock manager cannot be used.
pub fn take(volume: &Volume, kernel: &dyn Kernel) -> Result<Resize, DomainError> {
    if !matches!(volume.superblock().stack(), Stack::O2cb { .. }) {
        return Ok(Resize::NoLock);
    }
    let domain = Domain::join(&domain::dlmfs(kernel)?, &volume.superblock().uuid_string())?;
    Ok(match domain.try_exclusive(NAME)? {
        Some(lock) => Resize::Locked(ResizeLock { _lock: lock, _domain: domain }),
        None => Resize::Held,
    })
}
