//! Whether a block that several directories have belongs to the one that it names.

use ocfs2_format::Blkno;
use ocfs2_format::extent::ExtentRec;
use ocfs2_volume::{Inode, Volume};

use crate::read::holds::Holds;
use crate::repair::share::clusters_of;
use crate::repair::tree;

/// The extents of the directory that was asked for last.
#[derive(Default)]
pub(crate) struct Others {
    dir: Blkno,
    extents: Vec<ExtentRec>,
}

impl Others {
    /// Returns whether `dir` is a directory and has `block`.
    pub fn has(&mut self, volume: &Volume, dir: Blkno, block: Blkno) -> bool {
        if self.dir != dir {
            let inode = volume.inode(dir).ok().filter(Inode::is_dir);
            let gathered =
                inode.and_then(|it| tree::gather(volume, dir, it.id2(), Holds::Dense, false).ok());
            (self.dir, self.extents) = (dir, gathered.map_or(Vec::new(), |it| it.extents));
        }
        let bits = volume.geometry().bpc_bits();
        let cluster = u32::try_from(block.0 >> bits).unwrap_or(u32::MAX);
        self.extents.iter().any(|rec| clusters_of(rec, bits).contains(&cluster))
    }
}
