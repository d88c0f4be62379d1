//! Who can mount the volume.

use ocfs2_cluster::RunningCluster;
use ocfs2_format::feature::Incompat;
use ocfs2_format::superblock::Stack;
use ocfs2_volume::edit::{Edit, EditError};

use super::refused;

/// Gives the volume to the cluster that runs on this host.
pub(super) fn give(edit: &mut Edit) -> Result<(), EditError> {
    let Some(running) = RunningCluster::find() else {
        return refused("no cluster is online on this host that the volume could be given to");
    };
    let mut superblock = edit.superblock().clone();
    let mut features = superblock.features();
    features.incompat -= Incompat::LOCAL_MOUNT;
    superblock.set_features(features);
    match crate::stamped(&superblock, &running) {
        Ok(mut stamped) => {
            stamped.s_feature_incompat |= Incompat::CLUSTERINFO.bits();
            stamped.s_feature_incompat &= !Incompat::USERSPACE_STACK.bits();
            edit.update_superblock(|it| *it = stamped)
        }
        Err(err) => refused(&err.to_string()),
    }
}

/// Fails if the heartbeat is global, because only the cluster info records that.
pub(super) fn refuse_global_heartbeat(edit: &Edit) -> Result<(), EditError> {
    match edit.superblock().stack() {
        Stack::O2cb { global_heartbeat: true } => {
            refused("the volume belongs to a cluster with a global heartbeat, which needs it")
        }
        _ => Ok(()),
    }
}
