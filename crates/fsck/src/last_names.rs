//! The last names of what may lose them: a name in a block that no directory leads to any more is
//! still the best one for what has no other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ocfs2_format::Blkno;

use crate::repair::lost_found::LastName;

/// Names that are kept.
const MOST: usize = 1 << 20;

/// A name and the directory that it was in.
type InDirectory = (Vec<u8>, Blkno);

/// The last known names of inodes, from round to round: a later one may not see the block.
#[derive(Clone, Debug, Default)]
pub struct LastNames(Arc<Mutex<HashMap<Blkno, InDirectory>>>);

impl LastNames {
    /// Notes a name of an inode in a directory; the first one stays.
    pub fn note(&self, inode: Blkno, name: &[u8], dir: Blkno) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() < MOST || names.contains_key(&inode) {
            names.entry(inode).or_insert_with(|| (name.to_vec(), dir));
        }
    }

    /// The name of an inode.
    pub(crate) fn of(&self, inode: Blkno) -> Option<LastName> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, dir) = names.get(&inode)?.clone();
        let dir_name = names.get(&dir).map(|(name, _)| name.clone());
        Some(LastName { name, dir: Some(dir), dir_name })
    }
}

impl PartialEq for LastNames {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for LastNames {}
