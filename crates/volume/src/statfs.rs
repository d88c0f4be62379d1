//! How much room a volume has, as statfs(2) reports it.

use ocfs2_format::ClusterSize;

use crate::{Error, SystemFile, Volume};

/// The longest name of a file, in bytes.
pub const MAX_NAME_BYTES: u32 = 255;

/// Room on a volume. The kernel reports the clusters as inodes, too: as long as there are clusters
/// there can be inodes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Statfs {
    /// The unit of the numbers.
    pub cluster_size: ClusterSize,
    /// Clusters of the volume.
    pub clusters: u32,
    /// Those that the global bitmap counts as free, at most `clusters`. What slots have reserved
    /// in their local allocs is in use.
    pub free_clusters: u32,
}

impl Volume {
    /// How much room there is, by the inode of the global bitmap.
    ///
    /// # Errors
    /// Any of reading that inode.
    pub fn statfs(&self) -> Result<Statfs, Error> {
        let (used, clusters) = self.system_file(SystemFile::GlobalBitmap)?.dinode.bitmap();
        Ok(Statfs {
            cluster_size: self.geometry().cluster_size,
            clusters,
            free_clusters: clusters.saturating_sub(used),
        })
    }
}
