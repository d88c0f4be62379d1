//! Switching features on and off.

use ocfs2_cluster::RunningCluster;
use ocfs2_format::dinode::{DynFeatures, FileKind, InodeFlags};
use ocfs2_format::feature::{Compat, FEATURES, Feature, Features, Incompat};
use ocfs2_format::hash::uuid_hash;
use ocfs2_format::slot_map::SlotMapFormat;
use ocfs2_format::superblock::{STACK_O2CB, Stack, XATTR_INLINE_SIZE, backup_blocks};
use ocfs2_volume::edit::{Edit, EditError};

use crate::work::{Piece, Work};

/// A feature to be switched on or off.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Switch {
    pub feature: Feature,
    pub on: bool,
}

/// The name of a feature in questions, in the words of the C tool.
fn called(name: &str) -> &str {
    match name {
        "backup-super" => "backup superblock",
        "extended-slotmap" => "extended slot map",
        "inline-data" => "inline data",
        "metaecc" => "metadata ECC",
        "sparse" => "sparse file",
        "unwritten" => "unwritten extents",
        "xattr" => "extended attribute",
        "indexed-dirs" => "directory indexing",
        "discontig-bg" => "discontiguous block group",
        "append-dio" => "append direct io",
        "usrquota" => "user quota",
        "grpquota" => "group quota",
        other => other,
    }
}

impl Switch {
    /// All requested switches, off before on. The order of `FEATURES` and its reverse make
    /// unwritten go off before sparse and on after it.
    pub fn all(on: Features, off: Features) -> Vec<Self> {
        let of = |wanted: Features, on| {
            let asked = FEATURES.into_iter().filter(move |feature| wanted.contains(feature.bit));
            asked.map(move |feature| Self { feature, on })
        };
        let mut switches: Vec<_> = of(off, false).rev().collect();
        switches.extend(of(on, true));
        switches
    }

    /// Whether the volume is in that state already.
    pub fn is_done(self, features: Features) -> bool {
        features.contains(self.feature.bit) == self.on
    }

    /// The question, without the question mark.
    pub fn question(self, device: &str) -> String {
        let (name, verb) = (self.feature.name, if self.on { "Enable" } else { "Disable" });
        match (name, self.on) {
            ("local", true) => {
                format!("Make device \"{device}\" a single-node (non-clustered) filesystem")
            }
            ("local", false) => format!("Make device \"{device}\" a cluster-aware filesystem"),
            ("usrquota" | "grpquota", _) => {
                format!("{verb} {} feature on device \"{device}\"", called(name))
            }
            _ => format!("{verb} the {} feature on device \"{device}\"", called(name)),
        }
    }

    /// The message if there is nothing to do.
    pub fn already(self, device: &str) -> String {
        match (self.feature.name, self.on) {
            ("local", true) => {
                format!("Device \"{device}\" is already a single-node filesystem; nothing to do")
            }
            ("local", false) => {
                format!("Device \"{device}\" is already a cluster-aware filesystem; nothing to do")
            }
            (name, true) => {
                format!("The {} feature is already enabled; nothing to enable", called(name))
            }
            (name, false) => {
                format!("The {} feature is not enabled; nothing to disable", called(name))
            }
        }
    }

    /// Whether this program supports the switch.
    pub fn is_known(self) -> bool {
        match self.feature.name {
            "backup-super" | "extended-slotmap" | "local" | "append-dio" | "unwritten"
            | "refcount" | "clusterinfo" => true,
            "metaecc" => !self.on,
            "sparse" | "inline-data" | "xattr" | "discontig-bg" => self.on,
            _ => false,
        }
    }

    /// Makes the change.
    ///
    /// # Errors
    /// [`EditError::Refused`] if that is not possible on this volume.
    pub fn apply(self, work: &mut Work) -> Result<(), EditError> {
        match (self.feature.name, self.on) {
            ("backup-super", true) => return backups_on(work),
            ("backup-super", false) => return backups_off(&mut work.edit),
            ("extended-slotmap", on) => return slot_map(work, on),
            ("local", false) | ("clusterinfo", true) => return cluster(&mut work.edit),
            ("unwritten", false) => refuse_unwritten(&work.edit)?,
            ("refcount", false) => refuse_refcounted(&work.edit)?,
            ("clusterinfo", false) if work.edit.has(Incompat::CLUSTERINFO) => {
                refuse_global_heartbeat(&work.edit)?;
            }
            ("sparse", true) => cut_beyond_ends(&mut work.edit)?,
            ("unwritten", true) if !work.edit.has(Incompat::SPARSE_ALLOC) => {
                return refused("unwritten needs sparse, which is not enabled");
            }
            _ => {}
        }
        let Self { feature, on } = self;
        work.edit.update_superblock(|superblock| {
            let mut features = superblock.features();
            match feature.name {
                "local" => features.incompat -= Incompat::USERSPACE_STACK,
                // With neither feature the stack is o2cb.
                "clusterinfo" if superblock.s_cluster_info.ci_stack != STACK_O2CB => {
                    features.incompat |= Incompat::USERSPACE_STACK;
                }
                "xattr" => {
                    superblock.s_xattr_inline_size = XATTR_INLINE_SIZE;
                    // Otherwise the value stays: names of existing attributes were hashed with it.
                    if !features.incompat.contains(Incompat::INDEXED_DIRS) {
                        superblock.s_uuid_hash = uuid_hash(&superblock.s_uuid);
                    }
                }
                _ => {}
            }
            superblock.set_features(match on {
                true => features.union(feature.bit),
                false => features.difference(feature.bit),
            });
        })
    }
}

fn refused<T>(text: &str) -> Result<T, EditError> {
    Err(EditError::Refused(text.to_owned()))
}

/// Gives the volume to the cluster that runs on this host.
fn cluster(edit: &mut Edit) -> Result<(), EditError> {
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

/// Fails if a file has unwritten extents: all of them would have to be filled with zeros.
fn refuse_unwritten(edit: &Edit) -> Result<(), EditError> {
    for inode in edit.inodes() {
        let inode = inode?;
        let is_own = inode.dinode.flags().contains(InodeFlags::SYSTEM);
        if inode.kind() != Some(FileKind::Regular) || inode.is_inline() || is_own {
            continue;
        }
        for extent in edit.tree(&inode)?.extents() {
            if extent?.is_unwritten() {
                let blkno = inode.blkno;
                let text = "has unwritten extents, which this program does not fill yet";
                return Err(EditError::Refused(format!("inode {blkno} {text}")));
            }
        }
    }
    Ok(())
}

/// Fails if files share clusters: all of them would have to be copied.
fn refuse_refcounted(edit: &Edit) -> Result<(), EditError> {
    for inode in edit.inodes() {
        let inode = inode?;
        if inode.dinode.dyn_features().contains(DynFeatures::HAS_REFCOUNT) {
            let blkno = inode.blkno;
            let text = "has shared clusters, which this program does not copy yet";
            return Err(EditError::Refused(format!("inode {blkno} {text}")));
        }
    }
    Ok(())
}

/// Fails if the heartbeat is global, because only the cluster info records that.
fn refuse_global_heartbeat(edit: &Edit) -> Result<(), EditError> {
    match edit.superblock().stack() {
        Stack::O2cb { global_heartbeat: true } => {
            refused("the volume belongs to a cluster with a global heartbeat, which needs it")
        }
        _ => Ok(()),
    }
}

/// Frees clusters of files beyond their ends: with sparse files, these would appear with their old
/// contents when a file grows.
fn cut_beyond_ends(edit: &mut Edit) -> Result<(), EditError> {
    let bits = edit.geometry().cluster_size.bits();
    let mut files = Vec::new();
    for inode in edit.inodes() {
        let inode = inode?;
        let is_file = inode.kind() == Some(FileKind::Regular) && !inode.is_inline();
        let is_own = inode.dinode.flags().contains(InodeFlags::SYSTEM);
        let has = u64::from(inode.dinode.i_clusters);
        if is_file && !is_own && has > inode.size().div_ceil(1 << bits) {
            files.push((inode.blkno, inode.size()));
        }
    }
    files.into_iter().try_for_each(|(blkno, size)| edit.truncate(blkno, size))
}

/// The clusters of the superblock backups that the volume has room for.
fn backup_clusters(edit: &Edit) -> Vec<u32> {
    let geometry = *edit.geometry();
    let blocks = backup_blocks(geometry.block_size, geometry.blocks());
    blocks.filter_map(|blkno| geometry.cluster_of(blkno)).map(|cluster| cluster.0).collect()
}

fn backups_on(work: &mut Work) -> Result<(), EditError> {
    let edit = &mut work.edit;
    let clusters = backup_clusters(edit);
    if clusters.is_empty() {
        return refused("the volume is too small to contain backup superblocks");
    }
    for cluster in &clusters {
        if !edit.take_cluster(*cluster)? {
            return refused("one or more backup superblock locations are already in use");
        }
        work.before.push(Piece::Zero(*cluster..*cluster + 1));
    }
    edit.update_superblock(|superblock| {
        superblock.s_feature_compat |= Compat::BACKUP_SB.bits();
    })
}

fn backups_off(edit: &mut Edit) -> Result<(), EditError> {
    for cluster in backup_clusters(edit) {
        edit.give_clusters(cluster..cluster + 1)?;
    }
    edit.update_superblock(|superblock| {
        superblock.s_feature_compat &= !Compat::BACKUP_SB.bits();
    })
}

fn slot_map(work: &mut Work, extended: bool) -> Result<(), EditError> {
    let format = if extended { SlotMapFormat::Extended } else { SlotMapFormat::Old };
    let slots = work.edit.max_slots();
    if !extended && work.edit.has(Incompat::USERSPACE_STACK) {
        return refused("a cluster in user space needs extended-slotmap");
    }
    let (blkno, map) = work.edit.free_slot_map(slots, format)?;
    // Replaces any earlier contents for this place, which were in the other format.
    work.before.retain(|piece| !matches!(piece, Piece::Blocks(at, _) if *at == blkno));
    work.before.push(Piece::Blocks(blkno, map));
    work.edit.update_superblock(|superblock| {
        let mut features = superblock.features();
        features.incompat.set(Incompat::EXTENDED_SLOT_MAP, extended);
        superblock.set_features(features);
    })
}
