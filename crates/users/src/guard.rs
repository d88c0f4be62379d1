//! Protection of a volume while a program changes it: no node may use it, and any that comes is
//! noticed.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ocfs2_cli::{Interrupt, dirty_journals};
use ocfs2_cluster::{NodeNames, Sources};
use ocfs2_device::Device;
use ocfs2_format::feature::Incompat;
use ocfs2_volume::gate::Gate;
use ocfs2_volume::undo::UndoDevice;
use ocfs2_volume::usage::{Clock, SampleOptions, State, Unknown, Usage};
use ocfs2_volume::{Error, Volume};

use crate::lock::{self, Host, LockError, Protection, Reason, usage_while_held};
use crate::usage_of;

/// The reason why a volume may not be changed now.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// An earlier change of the volume was interrupted.
    #[error("a change of the volume was interrupted: run fsck.ocfs2 first")]
    InProgress,
    /// Nodes use the volume, or may use it.
    #[error("is in use by {}; unmount it everywhere first", .0.join(" and "))]
    InUse(Vec<String>),
    /// Nodes have not unmounted the volume cleanly.
    #[error(
        "was not unmounted by all nodes, or a program that changed it was killed: {}; run fsck.ocfs2 \
         first",
        dirty_journals(.0).unwrap_or_default()
    )]
    Dirty(Vec<u16>),
    /// The cluster's lock was not available.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A structure cannot be read.
    #[error("{0}; fsck.ocfs2 checks the volume")]
    Volume(String),
    /// Who uses it cannot be told, and other hosts may.
    #[error("who uses it cannot be told, and other nodes may; fsck.ocfs2 checks the volume")]
    Shared,
    /// The superblock cannot be read again.
    #[error("the superblock cannot be read again: {0}")]
    Superblock(#[from] io::Error),
}

impl From<Error> for GuardError {
    fn from(err: Error) -> Self {
        Self::Volume(err.to_string())
    }
}

/// Saves what is overwritten.
pub type Saving = UndoDevice<Arc<dyn Device>>;

/// Keeps others from a volume while it is changed.
#[derive(Debug)]
pub struct Guard {
    /// The gate for all writes to the volume.
    pub gate: Gate,
    /// Why other nodes are not locked out, and what is watched instead; `None` if they are locked
    /// out or no other host can use the volume.
    pub not_locked: Option<String>,
}

impl Guard {
    /// Protects `volume` on the device `path` or in a partition of it: takes the cluster's lock if
    /// possible, and checks that no node uses the volume or has left it unclean.
    ///
    /// # Errors
    /// [`GuardError`].
    pub fn take(
        volume: &Volume,
        path: &Path,
        partition: Option<u32>,
        clock: &dyn Clock,
        interrupt: &Interrupt,
    ) -> Result<Self, GuardError> {
        let (guard, dirty) = Self::take_unfinished(volume, path, partition, clock, interrupt)?;
        if dirty.is_empty() { Ok(guard) } else { Err(GuardError::Dirty(dirty)) }
    }

    /// The same of a volume that nodes may have left unfinished, for a program that can finish it;
    /// gives the slots of those nodes.
    ///
    /// # Errors
    /// [`GuardError`], but for dirty journals.
    pub fn take_unfinished(
        volume: &Volume,
        path: &Path,
        partition: Option<u32>,
        clock: &dyn Clock,
        interrupt: &Interrupt,
    ) -> Result<(Self, Vec<u16>), GuardError> {
        let protection = match lock::take(volume, path, partition, Host::default(), interrupt) {
            Ok(protection) => protection,
            Err(err) if err.is_in_use() && err.this_node().is_none() => {
                // The cluster knows which node that is.
                no_nodes(volume, &watched(volume, clock)?, Local::Left)?;
                return Err(err.into());
            }
            Err(err) => return Err(err.into()),
        };
        let usage = match &protection {
            Protection::Locked(_) => usage_while_held(volume)?,
            Protection::None(_) => watched(volume, clock)?,
        };
        no_nodes(volume, &usage, Local::Left)?;
        let dirty = unfinished(volume, &usage)?;
        let gate = Gate::of_volume(volume, &usage)?.at(path);
        let guard = match protection {
            Protection::Locked(lock) => Self { gate: gate.holding(lock), not_locked: None },
            Protection::None(Reason::NotShared) => Self { gate, not_locked: None },
            Protection::None(why) => {
                Self { gate, not_locked: Some(lock::not_locked(volume, &why)) }
            }
        };
        Ok((guard, dirty))
    }

    /// Saves what is overwritten on the volume to a new file, from now on.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn save_to(&mut self, volume: &Volume, file: &Path) -> io::Result<Arc<Saving>> {
        let (device, unit) = (Arc::clone(volume.device()), volume.block_size().bytes());
        let saving = UndoDevice::create(device, file, volume.superblock().s_uuid, unit)?;
        let saving = Arc::new(saving);
        self.gate.write_through(saving.clone());
        Ok(saving)
    }

    /// For a volume on which what says who uses it is damaged, if no other host can use it or its
    /// cluster's lock is to be had: who is on this host is looked at, and nothing else.
    ///
    /// # Errors
    /// [`GuardError::Shared`]; the lock was not to be had.
    pub fn of_damaged(
        volume: &Volume,
        path: &Path,
        partition: Option<u32>,
        interrupt: &Interrupt,
    ) -> Result<Self, GuardError> {
        let gate = Gate::of_device(Arc::clone(volume.device())).at(path);
        match lock::take(volume, path, partition, Host::default(), interrupt)? {
            Protection::Locked(lock) => Ok(Self { gate: gate.holding(lock), not_locked: None }),
            Protection::None(Reason::NotShared) => Ok(Self { gate, not_locked: None }),
            Protection::None(_) => Err(GuardError::Shared),
        }
    }

    /// Protects a copy of a volume of which only the superblock will be changed. The copy of a
    /// mounted volume contains its slots and dirty journals, and its lock is held by the users of
    /// the original, so neither is checked. Nodes that write a heartbeat to this copy are still
    /// refused.
    ///
    /// # Errors
    /// [`GuardError`], except for dirty journals.
    pub fn of_copy(volume: &Volume, path: &Path, clock: &dyn Clock) -> Result<Self, GuardError> {
        let usage = watched(volume, clock)?;
        no_nodes(volume, &usage, Local::Used)?;
        let gate = Gate::of_volume(volume, &usage)?.at(path);
        Ok(Self { gate, not_locked: None })
    }

    /// Checks the volume like [`Guard::take`], but without a lock, because the lock needs a
    /// heartbeat, which is a write. For a dry run. May take as long as the dead threshold.
    ///
    /// # Errors
    /// [`GuardError`].
    pub fn look(volume: &Volume, clock: &dyn Clock) -> Result<Usage, GuardError> {
        no_users(volume, watched(volume, clock)?)
    }
}

/// The users of a volume that is not locked.
fn watched(volume: &Volume, clock: &dyn Clock) -> Result<Usage, Error> {
    let options = SampleOptions::before_writing();
    usage_of(volume, None, &options, clock)
}

/// What a slot of a local volume says that is taken.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Local {
    /// That it was not unmounted: only this host can have mounted it, and whoever opened the device
    /// has looked at that.
    Left,
    /// That it may be in use: of a copy it is the slot of the original.
    Used,
}

/// Fails if nodes use the volume, or may use it.
fn no_nodes(volume: &Volume, usage: &Usage, local: Local) -> Result<(), GuardError> {
    let marks = Incompat::RESIZE_INPROG | Incompat::TUNEFS_INPROG;
    if volume.features().incompat.intersects(marks) {
        return Err(GuardError::InProgress);
    }
    let cluster = volume.superblock().cluster_info().map(|info| info.cluster());
    let names = NodeNames::find(&Sources::default(), cluster.as_deref());
    let users: Vec<_> = usage
        .nodes()
        .filter_map(|(node, state)| match state {
            State::Live => Some(names.describe(node)),
            State::Unknown(Unknown::Local) if local == Local::Left => None,
            State::Unknown(why) => Some(format!("perhaps {}: {why}", names.describe(node))),
            State::Crashed { .. } => None,
        })
        .collect();
    if users.is_empty() { Ok(()) } else { Err(GuardError::InUse(users)) }
}

/// Returns `usage` if the volume has no users and is clean.
fn no_users(volume: &Volume, usage: Usage) -> Result<Usage, GuardError> {
    no_nodes(volume, &usage, Local::Left)?;
    let dirty = unfinished(volume, &usage)?;
    if dirty.is_empty() { Ok(usage) } else { Err(GuardError::Dirty(dirty)) }
}

/// The slots that nodes left unfinished.
fn unfinished(volume: &Volume, usage: &Usage) -> Result<Vec<u16>, GuardError> {
    let mut dirty: Vec<u16> = usage.slots.iter().map(|slot| slot.slot).collect();
    for slot in 0..volume.max_slots() {
        if volume.journal_is_dirty(slot)? && !dirty.contains(&slot) {
            dirty.push(slot);
        }
    }
    dirty.sort_unstable();
    Ok(dirty)
}
