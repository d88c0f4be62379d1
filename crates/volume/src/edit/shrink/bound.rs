//! How small a volume can be at the very best, without trying it.

use ocfs2_format::geometry::Geometry;

use super::suballocators;
use crate::{Error, SystemFile, Volume};

/// A bound of the size of a volume: with fewer clusters than that it has no room for what is in
/// use. Whether it has room with as many shows when that is tried.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The volume as it is.
    geometry: Geometry,
    /// Clusters that are in use and stay so, but for those of `groups` and `backups`.
    stays: u32,
    /// The groups of suballocators: the end of each, and its clusters.
    groups: Vec<(u32, u32)>,
    /// The clusters of backups of the superblock.
    backups: Vec<u32>,
}

impl Volume {
    /// Works out the bound.
    ///
    /// # Errors
    /// An allocator, an inode or an index is damaged.
    pub fn bound(&self) -> Result<Bound, Error> {
        let geometry = *self.geometry();
        let mut groups = Vec::new();
        for file in suballocators(self) {
            let allocator = self.allocator(self.system_file(file)?)?;
            for group in self.groups(&allocator) {
                let group = group?;
                let end = group.runs.iter().map(|run| run.blkno.0 + u64::from(run.bits)).max();
                let end = end.unwrap_or(0).div_ceil(1 << geometry.bpc_bits());
                let blocks: u32 = group.runs.iter().map(|run| run.bits).sum();
                groups.push((end.min(u32::MAX.into()) as u32, blocks >> geometry.bpc_bits()));
            }
        }
        let backups = self.backups_within(0..geometry.blocks());
        let backups: Vec<u32> = backups
            .filter_map(|blkno| geometry.cluster_of(blkno))
            .map(|cluster| cluster.0)
            .collect();
        let bitmap = self.system_file(SystemFile::GlobalBitmap)?;
        let apart = groups.iter().map(|(_, clusters)| clusters).sum::<u32>()
            + geometry.groups()
            + backups.len() as u32
            + self.clusters_that_may_go()?;
        let stays = bitmap.dinode.bitmap().0.saturating_sub(apart);
        Ok(Bound { geometry, stays, groups, backups })
    }

    /// Clusters that may be free when everything has moved: bad ones, second halves of journals,
    /// and indexes, which may be smaller when they are built anew.
    fn clusters_that_may_go(&self) -> Result<u32, Error> {
        let mut count = self.system_file(SystemFile::BadBlocks)?.dinode.i_clusters;
        for slot in 0..self.max_slots() {
            let journal = self.journal(slot)?;
            let bytes = u64::from(journal.superblock.s_maxlen) << self.block_size().bits();
            let used = self.geometry().clusters_for(bytes).unwrap_or(u32::MAX);
            count += journal.inode.dinode.i_clusters.saturating_sub(used);
        }
        for inode in self.inodes() {
            let inode = inode?;
            if inode.is_dir() && self.is_indexed(&inode) {
                count = count.saturating_add(self.dx_root(&inode)?.0.dr_clusters);
            }
        }
        Ok(count)
    }
}

impl Bound {
    /// A number of clusters that is too small.
    pub fn too_few(&self) -> u32 {
        let first = self.geometry.cluster_of(self.geometry.first_group).unwrap_or_default().0;
        // There are at least the group descriptor and what stays.
        self.stays.max(first + 1)
    }

    /// Whether that many clusters may be enough.
    pub fn allows(&self, clusters: u32) -> bool {
        let groups = self.groups.iter().filter(|(end, _)| *end <= clusters);
        let groups: u32 = groups.map(|(_, clusters)| clusters).sum();
        let backups = self.backups.iter().filter(|cluster| **cluster < clusters).count() as u32;
        let new = Geometry { clusters, ..self.geometry };
        let needed = [groups, backups, new.groups()];
        needed.into_iter().fold(self.stays, u32::saturating_add) <= clusters
    }
}
