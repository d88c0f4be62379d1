//! Open files and directories.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use ocfs2_volume::Inode;

/// An open file or directory.
#[derive(Debug)]
pub(crate) struct Handle {
    pub inode: Inode,
    /// Whether something of the directory could not be read.
    pub is_damaged: AtomicBool,
}

/// All open files and directories, by number.
#[derive(Debug, Default)]
pub(crate) struct Handles {
    last: AtomicU64,
    open: RwLock<HashMap<u64, Arc<Handle>>>,
}

impl Handles {
    /// Adds one and returns its number.
    pub fn add(&self, inode: Inode) -> u64 {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let handle = Arc::new(Handle { inode, is_damaged: AtomicBool::new(false) });
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(number, handle);
        number
    }

    /// The one of that number.
    pub fn get(&self, number: u64) -> Option<Arc<Handle>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    /// Removes one, and returns it.
    pub fn remove(&self, number: u64) -> Option<Arc<Handle>> {
        self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&number)
    }
}
