//! The cluster's lock on a volume that is being overwritten.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::lock::ClusterLock;
use ocfs2_volume::gate;

/// The lock, held through the gate until the superblock of the old volume is erased. After that no
/// node can mount it, and the heartbeat that belongs to the lock has to end before its place is
/// overwritten.
#[derive(Clone)]
pub struct HeldLock(Arc<Mutex<Option<Box<ClusterLock>>>>);

impl HeldLock {
    /// Takes over `lock`.
    pub fn new(lock: Box<ClusterLock>) -> Self {
        Self(Arc::new(Mutex::new(Some(lock))))
    }

    /// Releases the lock, for all clones.
    pub fn release(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl fmt::Debug for HeldLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeldLock")
    }
}

impl gate::Lock for HeldLock {
    /// That of [`ClusterLock`]. A released lock was released on purpose.
    fn check(&self) -> Result<(), String> {
        let lock = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lock.as_ref().map_or(Ok(()), |lock| lock.check())
    }
}
