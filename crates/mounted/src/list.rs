//! Search for volumes and their users.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use ocfs2_cluster::{ConfError, NodeNames, Sources, dead_threshold};
use ocfs2_device::holders::{self, Holder};
use ocfs2_device::{self, Caching, Device, DeviceOptions, OpenCause};
use ocfs2_format::feature::Incompat;
use ocfs2_format::superblock::{Stack, SuperBlock};
use ocfs2_users::regions::{GlobalRegions, all_devices};
use ocfs2_users::{detect, usage_of};
use ocfs2_volume::find::{FindError, resolve};
use ocfs2_volume::recovery::JournalProblem;
use ocfs2_volume::usage::{Clock, SampleOptions, State};
use ocfs2_volume::{Error, OpenVolumeError, VolumeOptions};

/// What to list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// The devices to examine; if empty, all block devices of the machine.
    pub devices: Vec<PathBuf>,
    /// The partition of each device to examine, instead of the whole device.
    pub partition: Option<u32>,
    /// How much to find out about each volume.
    pub detail: Detail,
}

/// How much to find out about a volume.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Detail {
    /// Only the superblock.
    Quick,
    /// Also the nodes that hold a slot.
    SlotMap,
    /// Also whether they are alive.
    Nodes {
        /// Longest time to watch the heartbeat; `None` for the dead threshold of the volume's
        /// cluster.
        max_wait: Option<Duration>,
    },
    /// Also whether the journals are as they should be.
    Health {
        /// Longest time to watch the heartbeat.
        max_wait: Duration,
    },
}

/// What was found.
#[derive(Debug, Default)]
pub struct Listing {
    /// The OCFS2 volumes, in the order of the devices.
    pub volumes: Vec<Volume>,
    /// Devices that could not be examined, and named devices that are not volumes.
    pub failures: Vec<Failure>,
    /// Whether nodes were asked for.
    pub with_nodes: bool,
}

/// An OCFS2 volume.
#[derive(Debug)]
pub struct Volume {
    /// The device, as it was named.
    pub device: PathBuf,
    /// Whether it was named by the user.
    pub is_named: bool,
    /// Its superblock.
    pub superblock: SuperBlock,
    /// The nodes that hold its slots, if asked for.
    pub users: Users,
    /// What is wrong with its journals, if asked for.
    pub journals: Vec<JournalTrouble>,
    /// Why the names of its nodes could not be looked up.
    pub names_problem: Option<ConfError>,
}

/// The nodes that hold the slots of a volume.
#[derive(Debug, Default)]
pub enum Users {
    /// They were not asked for.
    #[default]
    NotAsked,
    /// None, because a heartbeat device has no slots.
    HeartbeatDevice,
    /// These nodes, in the order of their slots.
    Nodes(Vec<NodeUse>),
    /// They are not known, because the slot map cannot be read for this reason.
    Unreadable(String),
}

/// A node that holds a slot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NodeUse {
    /// The slot, from 0.
    pub slot: u16,
    /// The number of the node.
    pub number: u32,
    /// The name of the node, if known.
    pub name: Option<String>,
    /// Whether it is alive; `None` if not asked for.
    pub state: Option<State>,
    /// Its last heartbeat by its own clock, if it was read.
    pub last_beat: Option<SystemTime>,
}

/// A journal that is not as it should be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JournalTrouble {
    /// Its slot.
    pub slot: u16,
    /// What is wrong; `None` if it is only dirty, which a journal in use always is.
    pub problem: Option<String>,
}

/// A device that is not in the list.
#[derive(Debug)]
pub struct Failure {
    /// The device, as it was named.
    pub device: PathBuf,
    /// Whether it was named by the user.
    pub is_named: bool,
    /// Why it is not in the list.
    pub cause: FailureCause,
}

/// Why a device is not in the list.
#[derive(Debug, thiserror::Error)]
pub enum FailureCause {
    /// It cannot be opened.
    #[error(transparent)]
    Open(OpenCause),
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(io::Error),
    /// It is empty or holds something else, which is described if known.
    #[error("is not an OCFS2 volume{}", behind(.0))]
    NotOcfs2(Option<String>),
    /// It was named by UUID or label, and the lookup failed.
    #[error(transparent)]
    Find(FindError),
}

fn behind(instead: &Option<String>) -> String {
    instead.as_ref().map(|instead| format!("; {instead}")).unwrap_or_default()
}

impl Listing {
    /// Whether there is no answer for something that was named by the user.
    pub fn has_failed(&self) -> bool {
        let unreadable = |volume: &Volume| matches!(volume.users, Users::Unreadable(_));
        self.failures.iter().any(|failure| failure.is_named)
            || self.volumes.iter().any(|volume| volume.is_named && unreadable(volume))
    }
}

impl Volume {
    /// The name of its cluster, if it states one.
    pub fn cluster(&self) -> Option<String> {
        // A local volume may still have the cluster info of former use in a cluster.
        let info = self.superblock.cluster_info().filter(|_| !self.is_local());
        info.map(|info| info.cluster())
    }

    /// Whether only one node at a time may mount it.
    pub fn is_local(&self) -> bool {
        self.superblock.stack() == Stack::Local
    }

    /// The nodes that hold its slots, as far as known.
    pub fn nodes(&self) -> &[NodeUse] {
        match &self.users {
            Users::Nodes(nodes) => nodes,
            _ => &[],
        }
    }

    /// The slots that no node has, and whose journals are dirty all the same: they have to be replayed.
    pub fn dirty_free_slots(&self) -> impl Iterator<Item = u16> + '_ {
        let is_taken = |slot| self.nodes().iter().any(|node| node.slot == slot);
        let is_known = matches!(self.users, Users::Nodes(_));
        let dirty = self.journals.iter().filter(move |it| it.problem.is_none() && is_known);
        dirty.map(|it| it.slot).filter(move |slot| !is_taken(*slot))
    }

    /// Whether crashed nodes hold slots and no live node could recover them.
    pub fn needs_fsck(&self) -> bool {
        let is = |wanted: fn(&State) -> bool| {
            self.nodes().iter().filter_map(|node| node.state.as_ref()).any(wanted)
        };
        is(|state| matches!(state, State::Crashed { .. })) && !is(|state| *state == State::Live)
    }
}

impl NodeUse {
    /// Its name, or else its number.
    pub fn display_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.number.to_string())
    }
}

/// Finds the volumes among the devices asked for, and their users. The heartbeats of all volumes
/// are watched at the same time.
///
/// # Errors
/// If no devices are named and the list of all devices cannot be read.
pub fn list(
    options: &Options,
    sources: &Sources,
    clock: &(dyn Clock + Sync),
) -> io::Result<Listing> {
    let is_named = !options.devices.is_empty();
    let paths = if is_named { options.devices.clone() } else { all_devices()? };
    let mut listing = Listing { with_nodes: options.detail != Detail::Quick, ..Listing::default() };
    let mut open = Vec::new();
    let mut resolved = Vec::with_capacity(paths.len());
    for named in paths {
        match resolve(&named) {
            Ok(path) => resolved.push(path),
            Err(err) => {
                let cause = FailureCause::Find(err);
                listing.failures.push(Failure { device: named, is_named, cause });
            }
        }
    }
    let found = find_all(&resolved, options.partition, is_named);
    for (path, found) in resolved.into_iter().zip(found) {
        match found {
            Ok((device, superblock)) => {
                open.push(device);
                listing.volumes.push(Volume {
                    device: path,
                    is_named,
                    superblock,
                    users: Users::NotAsked,
                    journals: Vec::new(),
                    names_problem: None,
                });
            }
            // Most block devices hold something else.
            Err(FailureCause::NotOcfs2(_)) if !is_named => {}
            Err(cause) => listing.failures.push(Failure { device: path, is_named, cause }),
        }
    }
    if listing.with_nodes {
        let uuids = listing.volumes.iter().map(|volume| volume.superblock.uuid_string());
        let regions = GlobalRegions::new(sources, uuids.zip(open.iter().cloned()).collect());
        let finder = UserFinder { options, sources, regions, clock };
        thread::scope(|scope| {
            for (volume, device) in listing.volumes.iter_mut().zip(&open) {
                scope.spawn(|| finder.find_users(volume, device));
            }
        });
    }
    Ok(listing)
}

/// How many devices are opened at the same time, so that one that does not answer does not delay
/// the others.
const AT_ONCE: usize = 64;

type Found = Result<(Arc<dyn Device>, SuperBlock), FailureCause>;

/// Examines all devices. The results are in the order of `paths`.
fn find_all(paths: &[PathBuf], partition: Option<u32>, is_named: bool) -> Vec<Found> {
    let mut found = Vec::with_capacity(paths.len());
    for paths in paths.chunks(AT_ONCE) {
        thread::scope(|scope| {
            let opened =
                paths.iter().map(|path| scope.spawn(move || find(path, partition, is_named)));
            let opened: Vec<_> = opened.collect();
            found.extend(opened.into_iter().map(|thread| {
                let panicked = || FailureCause::Read(io::Error::other("it could not be looked at"));
                thread.join().unwrap_or_else(|_| Err(panicked()))
            }));
        });
    }
    found
}

fn find(path: &Path, partition: Option<u32>, is_named: bool) -> Found {
    // Direct, because other nodes may have written since this machine cached it.
    let options = DeviceOptions { caching: Caching::Direct, partition, ..DeviceOptions::default() };
    let device = ocfs2_device::open(path, &options).map_err(|err| FailureCause::Open(err.cause))?;
    let superblock = detect(&device).map_err(FailureCause::Read)?;
    let choose = ": --partition NUMBER looks at one";
    let instead = || match is_named {
        // Newer contents must not be overwritten by a restored superblock.
        true => {
            ocfs2_probe::instead(&device, choose).or_else(|| restored_by(path, partition, &device))
        }
        false => None,
    };
    match superblock {
        Some(superblock) => Ok((device, superblock)),
        None => Err(FailureCause::NotOcfs2(instead())),
    }
}

/// Advice on how to restore a volume that lost its superblock, if that is possible.
fn restored_by(path: &Path, partition: Option<u32>, device: &Arc<dyn Device>) -> Option<String> {
    let Err(OpenVolumeError::NotOcfs2 { backups } | OpenVolumeError::Damaged { backups, .. }) =
        open_volume(device)
    else {
        return None;
    };
    let numbers: Vec<_> = backups.iter().map(|backup| backup.number.to_string()).collect();
    let first = numbers.first()?;
    let place = match partition {
        Some(number) => format!("--partition {number} {}", ocfs2_cli::argument(path)),
        None => ocfs2_cli::argument(path),
    };
    let numbers = numbers.join(", ");
    Some(format!(
        "one was there, good backup superblocks: {numbers}; fsck.ocfs2 -r {first} {place} restores it"
    ))
}

fn open_volume(device: &Arc<dyn Device>) -> Result<ocfs2_volume::Volume, OpenVolumeError> {
    // The missing end of an image is not needed here.
    let options = VolumeOptions { allow_short: true, ..VolumeOptions::default() };
    ocfs2_volume::Volume::open(device.clone(), &options)
}

struct UserFinder<'a> {
    options: &'a Options,
    sources: &'a Sources,
    regions: GlobalRegions<'a>,
    clock: &'a (dyn Clock + Sync),
}

impl UserFinder<'_> {
    fn find_users(&self, volume: &mut Volume, device: &Arc<dyn Device>) {
        if volume.superblock.has(Incompat::HEARTBEAT_DEV) {
            volume.users = Users::HeartbeatDevice;
            return;
        }
        let mut names = NodeNames::find(self.sources, volume.cluster().as_deref());
        volume.names_problem = names.problem.take();
        match open_volume(device) {
            Ok(opened) => {
                let before = self.journals(&opened);
                let nodes = self.nodes(volume, &opened, &names);
                // A node may mount, unmount or write its journal at any time: what two looks show
                // counts.
                let after = if before.is_empty() { Vec::new() } else { self.journals(&opened) };
                volume.journals = before.into_iter().filter(|it| after.contains(it)).collect();
                volume.users =
                    nodes.map_or_else(|err| Users::Unreadable(err.to_string()), Users::Nodes);
            }
            Err(err) => volume.users = Users::Unreadable(err.to_string()),
        }
    }

    /// What is wrong with the journals, if asked for.
    fn journals(&self, opened: &ocfs2_volume::Volume) -> Vec<JournalTrouble> {
        let Detail::Health { .. } = self.options.detail else { return Vec::new() };
        let mut found = Vec::new();
        for state in opened.journal_states() {
            let slot = state.slot;
            if state.is_dirty() {
                found.push(JournalTrouble { slot, problem: None });
            }
            // Journals that differ from each other are no trouble.
            let harmful = |problem: &&JournalProblem| {
                use JournalProblem::{MissingFeatures, Smaller};
                !matches!(problem, Smaller { .. } | MissingFeatures { .. })
            };
            let texts = state.problems.iter().filter(harmful).map(ToString::to_string);
            found.extend(texts.map(|text| JournalTrouble { slot, problem: Some(text) }));
        }
        found
    }

    fn nodes(
        &self,
        volume: &Volume,
        opened: &ocfs2_volume::Volume,
        names: &NodeNames,
    ) -> Result<Vec<NodeUse>, Error> {
        let named = |slot, number, state| {
            let name = names.get(number).filter(|_| !volume.is_local()).map(str::to_owned);
            NodeUse { slot, number, name, state, last_beat: None }
        };
        let max_wait = match self.options.detail {
            Detail::Nodes { max_wait } => max_wait,
            Detail::Health { max_wait } => Some(max_wait),
            Detail::Quick | Detail::SlotMap => {
                let taken = opened.taken_slots()?.into_iter();
                return Ok(taken.map(|taken| named(taken.slot, taken.node, None)).collect());
            }
        };

        // The threshold that a node states itself may be any number, so the wait is limited to that
        // of the cluster.
        let threshold = || dead_threshold(self.sources, volume.cluster().as_deref());
        let max_wait = max_wait.unwrap_or_else(threshold);
        let sample = SampleOptions { max_wait, ..SampleOptions::default() };
        let elsewhere = volume.superblock.stack() == Stack::O2cb { global_heartbeat: true };
        let shared = match volume.cluster() {
            Some(name) if elsewhere && !opened.taken_slots()?.is_empty() => {
                self.regions.find(&name)
            }
            _ => None,
        };
        let shared = shared.as_ref().map(|(device, region)| (device as &dyn Device, *region));
        let usage = usage_of(opened, shared, &sample, self.clock)?;

        let mounted_here = volume.is_local() && self.is_mounted_here(&volume.device);
        let last_beats = usage.last_beats;
        let slots = usage.slots.into_iter().map(|slot| {
            // For a local volume this machine knows at least whether it has mounted it itself.
            let state = if mounted_here { State::Live } else { slot.state };
            let last_beat = last_beats.get(&slot.node).copied();
            NodeUse { last_beat, ..named(slot.slot, slot.node, Some(state)) }
        });
        Ok(slots.collect())
    }

    /// Whether the device, or one above it in the device mapper, is mounted on this host.
    fn is_mounted_here(&self, device: &Path) -> bool {
        self.options.partition.is_none() && is_mounted(device, LAYERS)
    }
}

/// Most layers of devices that are followed (partition, RAID, encryption, LVM).
const LAYERS: u32 = 8;

/// Whether the device, or one that it is part of, is mounted on this host.
fn is_mounted(device: &Path, layers: u32) -> bool {
    let holders = holders::holders(device).unwrap_or_default();
    holders.iter().any(|holder| match holder {
        Holder::Mounted { .. } => true,
        Holder::Part { of, .. } => layers > 0 && is_mounted(of, layers - 1),
        Holder::Swap { .. } | Holder::Process { .. } => false,
    })
}
