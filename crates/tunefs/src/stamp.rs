//! Giving a volume to another cluster, whose name is written to the superblock and all backups.

use ocfs2_cluster::RunningCluster;
use ocfs2_device::Device;
use ocfs2_format::feature::Incompat;
use ocfs2_format::superblock::{ClusterInfo, Stack, SuperBlock};
use ocfs2_volume::Volume;
use ocfs2_volume::commit::CommitError;
use ocfs2_volume::edit::{Edit, EditError, EditOptions, How};

/// The error of giving a volume to a cluster.
#[derive(Debug, thiserror::Error)]
pub enum StampError {
    /// The volume is local: only one host at a time mounts it.
    #[error("is a local volume, which no cluster mounts")]
    Local,
    /// The volume lacks a feature that a stack in user space needs.
    #[error("has no extended-slotmap, which stack {0} needs")]
    SlotMap(String),
    /// The name is not valid.
    #[error("`{0}` cannot be written as the name of a cluster: expected 1 to 16 bytes")]
    Name(String),
    /// The superblock cannot be prepared.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The device cannot be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Returns the superblock changed for `cluster`.
///
/// # Errors
/// [`StampError::Local`], [`StampError::SlotMap`], [`StampError::Name`].
pub fn stamped(
    superblock: &SuperBlock,
    cluster: &RunningCluster,
) -> Result<SuperBlock, StampError> {
    if superblock.stack() == Stack::Local {
        return Err(StampError::Local);
    }
    let mut stamped = superblock.clone();
    let mut features = superblock.features();
    let info = ClusterInfo::new(cluster.stack, &cluster.name, cluster.global_heartbeat);
    stamped.s_cluster_info = info.ok_or_else(|| StampError::Name(cluster.name.clone()))?;
    if cluster.is_o2cb() {
        features.incompat |= Incompat::CLUSTERINFO;
        features.incompat &= !Incompat::USERSPACE_STACK;
    } else {
        if !features.incompat.contains(Incompat::EXTENDED_SLOT_MAP) {
            return Err(StampError::SlotMap(stamped.s_cluster_info.stack()));
        }
        // Either of the two is enough, and they exclude each other.
        if !features.incompat.contains(Incompat::CLUSTERINFO) {
            features.incompat |= Incompat::USERSPACE_STACK;
        }
    }
    stamped.set_features(features);
    Ok(stamped)
}

/// Writes `superblock` to `device` in place of the volume's own, and then to all backups.
///
/// # Errors
/// [`StampError::Commit`], after which some of them may be written. A second run writes all.
pub fn stamp(
    volume: &Volume,
    superblock: &SuperBlock,
    device: &dyn Device,
) -> Result<(), StampError> {
    let mut edit = Edit::new(volume, EditOptions::default());
    edit.update_superblock(|it| *it = superblock.clone())?;
    edit.commit(How::Journal(0), device)?;
    Ok(())
}
