//! The present contents and users of a device, and whether it may be overwritten.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use ocfs2_cli::{Interrupt, human_span};
use ocfs2_cluster::{NodeNames, RunningKernel, Sources};
use ocfs2_device::{Device, holders::Holder};
use ocfs2_format::superblock::SuperBlock;
use ocfs2_probe::{Found, partitions};
use ocfs2_volume::gate::Gate;
use ocfs2_volume::usage::{SampleOptions, State, StoppedClock, SystemClock, Usage};
use ocfs2_volume::{OpenVolumeError, Volume, VolumeOptions};

use crate::held::HeldLock;
use crate::holding;
use crate::lock::{self, Host, LockError, Protection, Reason, usage_while_held};
use crate::members::completed;

/// What a device holds that would be lost, and who uses it.
#[derive(Debug, Default)]
pub struct Occupant {
    /// The contents of the device, apart from [`Occupant::volume`].
    pub others: Vec<Found>,
    /// The OCFS2 or OCFS1 volume on the device.
    pub volume: Option<Found>,
    /// A description of an OCFS2 volume whose superblock is lost.
    pub damaged: Option<String>,
    /// The superblock of the OCFS2 volume.
    pub superblock: Option<SuperBlock>,
    /// Nodes that use the volume and are alive.
    pub live: Vec<String>,
    /// Nodes that may use the volume, each with the reason why that is not known.
    pub unknown: Vec<String>,
    /// Nodes that crashed while they used the volume.
    pub crashed: Vec<String>,
    /// The users of the device on this machine; `None` if it is not in use.
    pub in_use: Option<Vec<Holder>>,
    /// The OCFS2 volume with its observed users.
    pub watched: Option<(Volume, Usage)>,
    /// The cluster's lock on the volume.
    pub lock: Option<HeldLock>,
    /// Why there is no lock, and what is watched instead.
    pub not_locked: Option<String>,
}

/// How to find out which nodes use a volume.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Look<'a> {
    /// Not at all.
    No,
    /// By its heartbeat, which takes seconds if the slot map names any nodes.
    Watch,
    /// By the cluster's lock if it can be taken, otherwise by its heartbeat.
    Lock {
        /// The path of the device.
        path: &'a Path,
        /// The partition of the device that holds the volume.
        partition: Option<u32>,
    },
}

/// Bytes at the beginning of a device that reveal its contents.
const HEAD_BYTES: u64 = 16 << 10;

/// What has to be done before a device may be overwritten.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Consent {
    /// Nothing.
    Given,
    /// A question has to be answered.
    Ask,
    /// `-F` is required.
    Force,
    /// `-F` is required, and then a question has to be answered.
    ForceAndAsk,
}

impl Occupant {
    /// Examines `device`, which is used on this machine by `in_use`. An `interrupt` ends the
    /// watching of nodes, after which less is known of them.
    ///
    /// # Errors
    /// If the device cannot be read.
    pub fn find(
        device: &Arc<dyn Device>,
        look: Look<'_>,
        in_use: Option<Vec<Holder>>,
        interrupt: &Interrupt,
    ) -> io::Result<Self> {
        let mut occupant = Self { in_use, ..Self::default() };
        for found in ocfs2_probe::contents(device)? {
            match found.kind {
                "ocfs2" | "ocfs" => occupant.volume = Some(found),
                _ => occupant.others.push(found),
            }
        }
        match &occupant.volume {
            Some(volume) if volume.kind == "ocfs2" => {
                occupant.find_users(device, look, interrupt);
            }
            Some(_) => {}
            None => occupant.damaged = damaged(device),
        }
        Ok(occupant)
    }

    /// Returns the gate for overwriting the contents of `device`, which is at `path`.
    ///
    /// # Errors
    /// If the device cannot be read again.
    pub fn gate(&mut self, device: &Arc<dyn Device>, path: &Path) -> io::Result<Gate> {
        // An open volume has to be closed if its image will be opened again.
        let mut gate = match self.watched.take() {
            Some((volume, usage)) => Gate::of_volume(&volume, &usage)?,
            None => Gate::of_device(Arc::clone(device)),
        };
        for found in self.others.iter().chain(&self.volume) {
            let what = format!("the signature of {}", found.kind);
            gate = gate.with_range(&what, found.magic.clone())?;
        }
        // Users of the device change its beginning.
        if self.in_use.is_none() && self.live.is_empty() && self.unknown.is_empty() {
            let head = 0..HEAD_BYTES.min(device.size_bytes());
            gate = gate.with_range("the beginning of the device", head)?;
        }
        let gate = gate.at(path);
        Ok(match &self.lock {
            Some(lock) => gate.holding(Box::new(lock.clone())),
            None => gate,
        })
    }

    fn find_users(&mut self, device: &Arc<dyn Device>, look: Look<'_>, interrupt: &Interrupt) {
        let options =
            VolumeOptions { heartbeat_device: true, allow_short: true, ..Default::default() };
        let volume = match Volume::open(Arc::clone(device), &options) {
            Ok(volume) => volume,
            Err(err) => return self.cannot_tell(&err),
        };
        self.superblock = Some(volume.superblock().clone());
        if look == Look::No {
            return;
        }
        let refused = match look {
            Look::Lock { path, partition } => self.take_lock(&volume, path, partition, interrupt),
            _ => None,
        };
        let usage = match &self.lock {
            Some(_) => usage_while_held(&volume).map_err(|err| err.to_string()),
            None => watched(&volume, interrupt),
        };
        match usage {
            Ok(mut usage) => {
                let this_node = refused.as_ref().and_then(LockError::this_node);
                usage.without_slot.retain(|(node, _)| Some(*node) != this_node);
                self.name_users(&usage);
                if let Some(err) = refused.filter(|_| self.live.is_empty()) {
                    let users = if err.is_in_use() { &mut self.live } else { &mut self.unknown };
                    users.push(format!("another node ({err})"));
                }
                self.watched = Some((volume, usage));
            }
            Err(err) => self.cannot_tell(&err),
        }
    }

    fn cannot_tell(&mut self, why: &dyn fmt::Display) {
        self.unknown = vec![format!("nodes that cannot be told ({why})")];
    }

    /// Takes the cluster's lock. Returns the error if that fails.
    fn take_lock(
        &mut self,
        volume: &Volume,
        path: &Path,
        partition: Option<u32>,
        interrupt: &Interrupt,
    ) -> Option<LockError> {
        match lock::take(volume, path, partition, Host::default(), interrupt) {
            Ok(Protection::Locked(lock)) => self.lock = Some(HeldLock::new(lock)),
            Ok(Protection::None(Reason::NotShared)) => {}
            Ok(Protection::None(why)) => self.not_locked = Some(lock::not_locked(volume, &why)),
            Err(err) => return Some(err),
        }
        None
    }

    /// Sorts the nodes by their state.
    fn name_users(&mut self, usage: &Usage) {
        let info = self.superblock.as_ref().and_then(SuperBlock::cluster_info);
        let cluster = info.map(|info| info.cluster());
        let names = NodeNames::find(&Sources::default(), cluster.as_deref());
        let name = |node| names.describe(node);
        for used in &usage.slots {
            let who = format!("{} in slot {}", name(used.node), used.slot);
            match &used.state {
                State::Live => self.live.push(who),
                State::Crashed { .. } => self.crashed.push(crashed(&who, &used.state)),
                State::Unknown(why) => self.unknown.push(format!("{who} ({why})")),
            }
        }
        for (node, state) in &usage.without_slot {
            match state {
                State::Unknown(why) => self.unknown.push(format!("{} ({why})", name(*node))),
                _ => self.live.push(format!("{}, about to mount it", name(*node))),
            }
        }
    }

    /// What to do instead of overwriting it, as the first half of a sentence.
    pub fn advice(&self) -> Option<String> {
        if let Some(holders) = &self.in_use {
            return Some(holding::advice(holders));
        }
        if !self.live.is_empty() {
            return Some("unmount it there first".to_owned());
        }
        let numbers = self.others.iter().map(partitions).find(|numbers| !numbers.is_empty())?;
        let numbers: Vec<_> = numbers.iter().map(u32::to_string).collect();
        Some(format!("--partition NUMBER chooses one ({})", numbers.join(", ")))
    }

    /// Overwrites the signatures that end after byte `from`. Where the new volume leaves old
    /// contents in place, their signatures would still be found next to it.
    ///
    /// # Errors
    /// If the device cannot be written.
    pub fn erase_signatures(&self, from: u64, device: &dyn Device) -> io::Result<()> {
        for found in self.others.iter().chain(&self.volume) {
            let magic = &found.magic;
            if magic.end > from && magic.end <= device.size_bytes() {
                device.zero(magic.start, magic.end - magic.start)?;
            }
        }
        Ok(())
    }

    /// What is required before this may be overwritten.
    pub fn consent(&self) -> Consent {
        if !self.live.is_empty() || self.in_use.is_some() {
            Consent::ForceAndAsk
        } else if !self.others.is_empty() || !self.unknown.is_empty() || self.damaged.is_some() {
            Consent::Force
        } else if self.volume.is_some() {
            Consent::Ask
        } else {
            Consent::Given
        }
    }
}

/// Describes what is left of a volume whose superblock is lost.
fn damaged(device: &Arc<dyn Device>) -> Option<String> {
    let options = VolumeOptions { heartbeat_device: true, allow_short: true, ..Default::default() };
    let opened = Volume::open(Arc::clone(device), &options);
    let Err(OpenVolumeError::NotOcfs2 { backups } | OpenVolumeError::Damaged { backups, .. }) =
        opened
    else {
        return None;
    };
    let backup = backups.first()?;
    Some(format!(
        "an OCFS2 volume whose superblock is lost (backup {} can be used: fsck.ocfs2 -r {})",
        backup.number, backup.number
    ))
}

/// The users of the volume according to its heartbeat.
fn watched(volume: &Volume, interrupt: &Interrupt) -> Result<Usage, String> {
    let places = volume.places().map_err(|err| err.to_string())?;
    let sample = SampleOptions::before_writing();
    let clock = StoppedClock { clock: SystemClock::default(), stop: || interrupt.requested() };
    let usage = Usage::probe(volume.device().as_ref(), &places, &sample, &clock);
    Ok(completed(usage, volume.superblock(), true, &RunningKernel::default()))
}

fn crashed(who: &str, state: &State) -> String {
    match state.silent_for(SystemTime::now()) {
        Some(silent) => format!("{who}, which crashed {} ago", human_span(silent)),
        None => format!("{who}, which crashed"),
    }
}

/// One line that names everything found.
impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let found: Vec<_> =
            self.others.iter().chain(&self.volume).map(|found| format!("{found}")).collect();
        if !found.is_empty() {
            parts.push(format!("it holds: {}", found.join("; ")));
        }
        parts.extend(self.damaged.iter().map(|what| format!("it holds: {what}")));
        for (nodes, what) in [
            (&self.live, "in use by"),
            (&self.unknown, "perhaps in use by"),
            (&self.crashed, "not unmounted by"),
        ] {
            if !nodes.is_empty() {
                parts.push(format!("{what} {}", nodes.join(" and ")));
            }
        }
        if let Some(holders) = &self.in_use {
            let holders: Vec<_> = holders.iter().map(ToString::to_string).collect();
            match holders.is_empty() {
                true => parts.push("in use on this machine".to_owned()),
                false => parts.push(format!("in use: {}", holders.join(" and "))),
            }
        }
        f.write_str(&parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_what_is_there_decides() {
        let node = || vec!["node 1 in slot 0".to_owned()];
        let free = Occupant::default;
        assert_eq!(free().consent(), Consent::Given);
        assert_eq!(Occupant { crashed: node(), ..free() }.consent(), Consent::Given);
        assert_eq!(Occupant { unknown: node(), ..free() }.consent(), Consent::Force);
        assert_eq!(Occupant { live: node(), ..free() }.consent(), Consent::ForceAndAsk);
        let busy = Occupant { in_use: Some(Vec::new()), ..free() };
        assert_eq!(
            (busy.consent(), busy.to_string()),
            (Consent::ForceAndAsk, "in use on this machine".into())
        );
        let both = Occupant { live: node(), unknown: vec!["node 2".into()], ..free() };
        assert_eq!(both.to_string(), "in use by node 1 in slot 0; perhaps in use by node 2");
    }
}
