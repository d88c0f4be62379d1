//! The last step: the volume gets its new size.

use ocfs2_format::geometry::Geometry;
use ocfs2_format::group::GroupDesc;
use ocfs2_format::{Blkno, Invalid, Structure};

use crate::Error;
use crate::allocator::Group;
use crate::allocator::pools::{Pool, Pools};
use crate::edit::{Edit, EditError};

impl Edit {
    /// Makes the volume end after `clusters` clusters, fewer than it has. Nothing may be in the
    /// rest, apart from the groups of the global bitmap and backups of the superblock. This has to
    /// be alone in its transaction.
    ///
    /// # Errors
    /// [`EditError::Refused`] if there are not fewer; [`Error::Invalid`] for a cluster of the rest
    /// that is in use; the global bitmap is damaged.
    pub fn end_after(&mut self, clusters: u32) -> Result<(), EditError> {
        self.attempt(|edit| {
            let old = *edit.geometry();
            let new = Geometry { clusters, ..old };
            if clusters >= old.clusters {
                let text = format!("the volume has {} clusters only", old.clusters);
                return Err(EditError::Refused(text));
            }
            let backups = edit.volume.backups_within(new.blocks()..old.blocks());
            for cluster in backups.filter_map(|blkno| old.cluster_of(blkno)) {
                edit.give_clusters(cluster.0..cluster.0 + 1)?;
            }
            let kept = new.groups();
            edit.pools.drop_groups(&edit.volume, Pool::Clusters, &mut |group: &Group| {
                let cluster = old.cluster_of(group.blkno).unwrap_or_default();
                if old.group_of(cluster).0 < kept {
                    return Ok(false);
                }
                // The first bit is that of the descriptor.
                match group.bitmap().next(true, 1) {
                    None => Ok::<_, Error>(true),
                    Some(bit) => Err(in_use(group.blkno, bit)),
                }
            })?;
            edit.pools.cut_last_group(&edit.volume, clusters)?;
            edit.pools.write(&edit.volume)?;
            edit.pools = Pools::within(None);
            let mut found = edit.volume.found_superblock().clone();
            found.dinode.i_clusters = clusters;
            edit.volume = edit.volume.with_superblock(found).with_clusters(clusters);
            edit.write_superblocks(new.blocks())
        })
    }
}

fn in_use(group: Blkno, bit: usize) -> Error {
    let found = format!("bit {bit} set");
    Invalid::new(GroupDesc::NAME, group, "bitmap", found, "clear").into()
}
