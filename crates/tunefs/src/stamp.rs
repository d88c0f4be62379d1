//! Giving a volume to another cluster: its name goes into the superblock and all backups.

use ocfs2_cluster::RunningCluster;
use ocfs2_device::Device;
use ocfs2_format::feature::Incompat;
use ocfs2_format::superblock::{ClusterInfo, Stack, SuperBlock};
use ocfs2_volume::commit::CommitError;
use ocfs2_volume::edit::{Edit, EditError, EditOptions, How};
use ocfs2_volume::usage::{Clock, SampleOptions, State, Usage};
use ocfs2_volume::{Error, Volume};

/// A volume cannot be given to a cluster, or not now.
#[derive(Debug, thiserror::Error)]
pub enum StampError {
    /// Mounted by one host at a time.
    #[error("is a local volume, which no cluster mounts")]
    Local,
    /// Something else was interrupted.
    #[error("a change of the volume was interrupted: run fsck.ocfs2 first")]
    InProgress,
    /// Nodes use it.
    #[error("is in use by {}; unmount it everywhere first", .0.join(" and "))]
    InUse(Vec<String>),
    /// Nodes did not unmount it.
    #[error(
        "was not unmounted by all nodes: the journals of slots {} are dirty; run fsck.ocfs2 first",
        numbers(.0)
    )]
    Dirty(Vec<u16>),
    /// A stack in user space needs the feature.
    #[error("has no extended-slotmap, which stack {0} needs")]
    SlotMap(String),
    /// The name does not fit.
    #[error("`{0}` cannot be written as the name of a cluster: expected 1 to 16 bytes")]
    Name(String),
    /// A structure cannot be read.
    #[error("{0}; fsck.ocfs2 checks the volume")]
    Volume(#[from] Error),
    /// The superblock cannot be made.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The device cannot be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

fn numbers(slots: &[u16]) -> String {
    slots.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

/// The superblock as it has to be for `cluster`.
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
        // One of the two is enough, and they exclude each other.
        if !features.incompat.contains(Incompat::CLUSTERINFO) {
            features.incompat |= Incompat::USERSPACE_STACK;
        }
    }
    stamped.set_features(features);
    Ok(stamped)
}

/// Makes sure that no node uses the volume, which may take as long as the dead threshold where
/// one might, and that none left it unfinished.
///
/// # Errors
/// [`StampError`].
pub fn check(volume: &Volume, clock: &dyn Clock) -> Result<Usage, StampError> {
    check_users(volume, Usage::of_volume(volume, None, &SampleOptions::before_writing(), clock)?)
}

/// The same for users that are known.
///
/// # Errors
/// [`StampError`].
pub fn check_users(volume: &Volume, usage: Usage) -> Result<Usage, StampError> {
    let marks = Incompat::RESIZE_INPROG | Incompat::TUNEFS_INPROG;
    if volume.features().incompat.intersects(marks) {
        return Err(StampError::InProgress);
    }
    let slots = usage.slots.iter().map(|slot| (slot.node, &slot.state));
    let others = usage.without_slot.iter().map(|(node, state)| (*node, state));
    let users: Vec<_> = slots
        .chain(others)
        .filter_map(|(node, state)| match state {
            State::Live => Some(format!("node {node}")),
            State::Unknown(why) => Some(format!("perhaps node {node} ({why})")),
            State::Crashed { .. } => None,
        })
        .collect();
    if !users.is_empty() {
        return Err(StampError::InUse(users));
    }
    let mut dirty: Vec<u16> = usage.slots.iter().map(|slot| slot.slot).collect();
    for slot in 0..volume.superblock().s_max_slots {
        if volume.journal_is_dirty(slot)? && !dirty.contains(&slot) {
            dirty.push(slot);
        }
    }
    dirty.sort_unstable();
    if dirty.is_empty() { Ok(usage) } else { Err(StampError::Dirty(dirty)) }
}

/// Writes `superblock` to `device` in place of the volume's own, and then all backups.
///
/// # Errors
/// [`StampError::Commit`], after which some of them may be written; running it again writes all.
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
