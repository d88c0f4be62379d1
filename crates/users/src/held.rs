//! The cluster's lock on the volume that is overwritten.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::lock::ClusterLock;
use ocfs2_volume::gate;

/// The lock, held by the gate, until the superblock of the old volume is gone: then no node can
/// mount it, and the heartbeat that goes with the lock has to end before its place is written to.
#[derive(Clone)]
pub struct HeldLock(Arc<Mutex<Option<Box<ClusterLock>>>>);

impl HeldLock {
    /// Held from now on.
    pub fn new(lock: Box<ClusterLock>) -> Self {
        Self(Arc::new(Mutex::new(Some(lock))))
    }

    /// Gives it up: for all clones.
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
    /// As that of [`ClusterLock`]; what was released was so on purpose.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}
