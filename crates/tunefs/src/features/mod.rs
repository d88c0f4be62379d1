//! Switching features on and off.

mod backups;
mod checks;
mod cluster;
mod dirs;
mod files;
mod groups;
mod inline;
mod quota;
mod slot_map;

use anyhow::Result;
use ocfs2_format::feature::{FEATURES, Feature, Features, Incompat};
use ocfs2_format::hash::uuid_hash;
use ocfs2_format::quota::QuotaKind;
use ocfs2_format::superblock::{STACK_O2CB, XATTR_INLINE_SIZE};
use ocfs2_users::work::Work;
use ocfs2_volume::edit::EditError;
use ocfs2_volume::{Error, Volume};

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

    /// Whether there is nothing to do: the volume is in that state already, and no work of an
    /// interrupted run is left.
    ///
    /// # Errors
    /// Something that has to be looked at is damaged.
    pub fn is_done(self, volume: &Volume) -> Result<bool, Error> {
        if volume.features().contains(self.feature.bit) != self.on {
            return Ok(false);
        }
        match (self.feature.name, self.on) {
            ("indexed-dirs", true) => Ok(dirs::without_index(volume)?.is_empty()),
            ("usrquota", false) => Ok(volume.quota_files(QuotaKind::User)?.is_empty()),
            ("grpquota", false) => Ok(volume.quota_files(QuotaKind::Group)?.is_empty()),
            _ => Ok(true),
        }
    }

    /// What is lost, if something is that nothing can bring back.
    pub fn loss(self) -> Option<&'static str> {
        let is_loss = self.feature.name == "xattr" && !self.on;
        is_loss.then_some(
            "All extended attributes of all files are lost, with them access control lists and \
             security labels.",
        )
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

    /// Whether this can take several transactions.
    pub fn is_long(self) -> bool {
        match self.feature.name {
            "indexed-dirs" | "usrquota" | "grpquota" => true,
            "metaecc" => self.on,
            "inline-data" | "unwritten" | "refcount" | "xattr" | "discontig-bg" => !self.on,
            "sparse" => true,
            _ => false,
        }
    }

    /// Makes the change. What takes several transactions has committed all but the last one then.
    ///
    /// # Errors
    /// [`EditError::Refused`] if that is not possible on this volume; a transaction cannot be
    /// committed.
    pub fn apply(self, work: &mut Work<'_>) -> Result<()> {
        match (self.feature.name, self.on) {
            ("backup-super", true) => return Ok(backups::on(work)?),
            ("backup-super", false) => return Ok(backups::off(&mut work.edit)?),
            ("extended-slotmap", on) => return Ok(slot_map::set(work, on)?),
            ("local", false) | ("clusterinfo", true) => return Ok(cluster::give(&mut work.edit)?),
            ("clusterinfo", false) if work.edit.has(Incompat::CLUSTERINFO) => {
                cluster::refuse_global_heartbeat(&work.edit)?;
            }
            ("indexed-dirs", true) => return dirs::index(work),
            ("indexed-dirs", false) => dirs::drop_indexes(work)?,
            ("inline-data", false) => inline::expand(work)?,
            ("sparse", true) => files::cut_beyond_ends(work)?,
            ("sparse", false) => files::fill(work)?,
            ("unwritten", true) if !work.edit.has(Incompat::SPARSE_ALLOC) => {
                refused("unwritten needs sparse, which is not enabled")?;
            }
            ("unwritten", false) => files::write(work)?,
            ("refcount", false) => files::own(work)?,
            ("xattr", false) => inline::drop_xattrs(work)?,
            ("discontig-bg", false) => groups::widen(work)?,
            ("metaecc", true) => checks::stamp(work)?,
            ("usrquota", on) => return quota::set(work, self.feature.bit, QuotaKind::User, on),
            ("grpquota", on) => return quota::set(work, self.feature.bit, QuotaKind::Group, on),
            _ => {}
        }
        if self.is_long() {
            // The flag is changed when all that it stands for is.
            work.flush()?;
        }
        let Self { feature, on } = self;
        work.edit.update_superblock(|superblock| {
            let mut features = superblock.features();
            let has = |feature| features.incompat.contains(feature);
            match (feature.name, on) {
                ("local", _) => features.incompat -= Incompat::USERSPACE_STACK,
                // With neither feature the stack is o2cb.
                ("clusterinfo", _) if superblock.s_cluster_info.ci_stack != STACK_O2CB => {
                    features.incompat |= Incompat::USERSPACE_STACK;
                }
                ("xattr", true) => {
                    superblock.s_xattr_inline_size = XATTR_INLINE_SIZE;
                    // Otherwise the value stays: names of existing attributes were hashed with it.
                    if !has(Incompat::INDEXED_DIRS) {
                        superblock.s_uuid_hash = uuid_hash(&superblock.s_uuid);
                    }
                }
                ("xattr", false) => {
                    superblock.s_xattr_inline_size = 0;
                    if !has(Incompat::INDEXED_DIRS) {
                        superblock.s_uuid_hash = 0;
                    }
                }
                ("indexed-dirs", false) => {
                    superblock.s_dx_seed = Default::default();
                    if !has(Incompat::XATTR) {
                        superblock.s_uuid_hash = 0;
                    }
                }
                _ => {}
            }
            superblock.set_features(match on {
                true => features.union(feature.bit),
                false => features.difference(feature.bit),
            });
        })?;
        // Alone: a journal is written as the volume was before, without block checks.
        if self.is_long() { work.flush() } else { Ok(()) }
    }
}

fn refused<T>(text: &str) -> Result<T, EditError> {
    Err(EditError::Refused(text.to_owned()))
}
