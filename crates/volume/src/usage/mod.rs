//! Who else is using a volume: the slot map shows which nodes have not unmounted it, and the
//! heartbeat region, watched for a while, which of them are still alive.
//!
//! One read of a heartbeat block shows nothing. A node whose block changes is alive. One whose
//! block stays the same for its dead threshold has crashed, and holds its slot until fsck or
//! another node recovers it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use ocfs2_format::slot_map::TakenSlot;

use crate::{Error, Volume};
use ocfs2_device::Device;

mod clock;
mod region;
mod watch;

pub use clock::{Clock, StoppedClock, SystemClock};
pub use region::Region;
pub(crate) use region::{Reading, Sample};
use watch::Watch;

/// How the nodes that mount a volume show that they are alive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Heartbeat {
    /// In this region of the volume itself.
    OnVolume(Region),
    /// Not at all: it is mounted by one node at a time, without a cluster.
    Local,
    /// In a region the cluster's volumes share, somewhere else.
    Global,
    /// To a cluster stack in user space.
    Userspace,
}

/// What the volume itself shows about its users.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Places {
    /// The slots that are taken, from the slot map.
    pub taken: Vec<TakenSlot>,
    /// Where their nodes show that they are alive.
    pub heartbeat: Heartbeat,
}

/// How long to watch, and for what.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SampleOptions {
    /// At most this long. Watching ends as soon as everything is known; a node that was
    /// not watched for its dead threshold and did not change by then is unknown.
    pub max_wait: Duration,
    /// Take a node for crashed after two beats it missed, if by the clock of this machine
    /// its last beat is older than twice its dead threshold. Wrong only about a node whose
    /// clock is that far behind and that cannot write at that very moment.
    pub trust_clock: bool,
    /// Also look for nodes that beat but hold no slot: they are about to mount.
    pub without_slot: bool,
}

impl Default for SampleOptions {
    /// For listing: as long as it takes, but the clock is trusted.
    fn default() -> Self {
        Self { max_wait: Duration::from_secs(660), trust_clock: true, without_slot: false }
    }
}

impl SampleOptions {
    /// Before changing a volume: nodes about to mount are looked for too.
    pub fn before_writing() -> Self {
        Self { without_slot: true, ..Self::default() }
    }

    /// Two beats and no longer: live nodes are seen, others may stay unknown.
    pub fn quick() -> Self {
        Self { max_wait: watch::TWO_BEATS, ..Self::default() }
    }

    /// The clock is not trusted: nodes are watched for their whole dead threshold.
    pub fn thorough() -> Self {
        Self { trust_clock: false, ..Self::before_writing() }
    }
}

/// What is known about a node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum State {
    /// It writes its heartbeat.
    Live,
    /// It does not, but still holds the slot.
    Crashed {
        /// The last sign of life, by the clock of that node; `None` if there never was one
        /// or the time makes no sense.
        last_beat: Option<SystemTime>,
        /// How that is known.
        evidence: Evidence,
    },
    /// It is not known whether it is alive.
    Unknown(Unknown),
}

impl State {
    /// How long ago a crashed node gave its last sign of life; `None` also where that lies
    /// in the future, because the clocks disagree.
    pub fn silent_for(&self, now: SystemTime) -> Option<Duration> {
        match self {
            Self::Crashed { last_beat: Some(time), .. } => now.duration_since(*time).ok(),
            _ => None,
        }
    }
}

/// Why a node is taken for crashed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Evidence {
    /// It wrote nothing while it was watched for this long, its dead threshold or more.
    Watched(Duration),
    /// It missed two beats, and its last one is older than twice its dead threshold.
    Clock,
    /// It stopped its heartbeat, and still holds the slot.
    Stopped,
    /// Its cluster, whose stack is in user space, has fenced it or taken it back as a member, and it
    /// does not use the volume.
    Cluster,
}

/// Why nothing is known about a node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Unknown {
    /// [`Heartbeat::Local`].
    Local,
    /// [`Heartbeat::Global`].
    Global,
    /// [`Heartbeat::Userspace`].
    Userspace,
    /// It failed, and its cluster, whose stack is in user space, has not fenced it yet.
    ToBeFenced,
    /// Its cluster, whose stack is in user space, has too few members to know.
    NotQuorate,
    /// The region has no sector for a node of that number.
    NoSector,
    /// Every time it was read its checksum or node number was wrong.
    NoGoodSample,
    /// The region cannot be read.
    Unreadable(String),
    /// It never wrote there: it beats somewhere else, or the region is not where it is looked for.
    NeverBeat,
    /// It was not watched for its dead threshold.
    TooShort {
        /// Time without a change.
        watched: Duration,
        /// Time it would have taken.
        threshold: Duration,
    },
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("a local volume has no heartbeat"),
            Self::Global => f.write_str("the cluster's heartbeat is on another volume"),
            Self::Userspace => f.write_str("the cluster stack is in user space"),
            Self::ToBeFenced => f.write_str("it failed, and the cluster has not fenced it yet"),
            Self::NotQuorate => f.write_str("the cluster is not quorate"),
            Self::NoSector => f.write_str("the heartbeat region has no sector for it"),
            Self::NoGoodSample => f.write_str("its heartbeat block is damaged"),
            Self::NeverBeat => f.write_str("it has never written its heartbeat there"),
            Self::Unreadable(err) => write!(f, "the heartbeat region cannot be read: {err}"),
            Self::TooShort { watched, threshold } => {
                let (watched, threshold) = (watched.as_secs(), threshold.as_secs());
                write!(f, "no beat in {watched} s; it takes {threshold} s to be sure")
            }
        }
    }
}

/// A slot that is taken, and what is known about its node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SlotUse {
    /// The slot, from 0.
    pub slot: u16,
    /// The number of the node.
    pub node: u32,
    /// Whether the node is alive.
    pub state: State,
}

/// Who is using a volume.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// The slots that are taken, ascending.
    pub slots: Vec<SlotUse>,
    /// Nodes that beat without a slot: alive, or unknown for [`Unknown::TooShort`].
    pub without_slot: Vec<(u32, State)>,
    /// The last heartbeat that each node wrote, by its own clock.
    pub last_beats: BTreeMap<u32, SystemTime>,
    /// How long the heartbeat was watched.
    pub watched: Duration,
}

impl Usage {
    /// All nodes, those with a slot first, and what is known of them.
    pub fn nodes(&self) -> impl Iterator<Item = (u32, &State)> {
        let slots = self.slots.iter().map(|slot| (slot.node, &slot.state));
        slots.chain(self.without_slot.iter().map(|(node, state)| (*node, state)))
    }

    /// Watches the heartbeat of the volume on `device` and returns who is alive.
    ///
    /// Returns at once where no slot is taken (and, with
    /// [`without_slot`](SampleOptions::without_slot), no node ever left its heartbeat
    /// running) and where there is no heartbeat to watch. A region that cannot be read
    /// makes nodes [`Unknown::Unreadable`].
    pub fn probe(
        device: &dyn Device,
        places: &Places,
        options: &SampleOptions,
        clock: &dyn Clock,
    ) -> Self {
        let region = match places.heartbeat {
            Heartbeat::OnVolume(region) => region,
            Heartbeat::Local => return Self::unknown(&places.taken, &Unknown::Local),
            Heartbeat::Global => return Self::unknown(&places.taken, &Unknown::Global),
            Heartbeat::Userspace => return Self::unknown(&places.taken, &Unknown::Userspace),
        };
        let nodes: Vec<u32> = places.taken.iter().map(|taken| taken.node).collect();
        if nodes.is_empty() && !options.without_slot {
            return Self::default();
        }
        let watch = Watch::run(device, region, &nodes, options, clock);
        let mut without_slot = Vec::new();
        if options.without_slot {
            let others = watch.started_nodes().filter(|node| !nodes.contains(node));
            let states = others.map(|node| (node, watch.state(node, options, clock)));
            without_slot
                .extend(states.filter(|(_, state)| !matches!(state, State::Crashed { .. })));
        }
        let slots = places.taken.iter().map(|taken| SlotUse {
            slot: taken.slot,
            node: taken.node,
            state: watch.state(taken.node, options, clock),
        });
        Self {
            slots: slots.collect(),
            without_slot,
            last_beats: watch.last_beats(),
            watched: watch.watched,
        }
    }

    /// As [`Usage::probe`], for an open volume, with the slot map read again at the end: a slot
    /// that was given back meanwhile is not listed, and the node that took one meanwhile is alive.
    ///
    /// `shared` is the region the cluster's volumes share and the device it is on, for a
    /// volume with global heartbeat. Without it the volume's own region is looked at, for
    /// it may be the shared one: that can show that a node is alive, but not that it is not.
    ///
    /// # Errors
    /// As [`Volume::places`].
    pub fn of_volume(
        volume: &Volume,
        shared: Option<(&dyn Device, Region)>,
        options: &SampleOptions,
        clock: &dyn Clock,
    ) -> Result<Self, Error> {
        let mut places = volume.places()?;
        let mut usage = match (places.heartbeat, shared, volume.heartbeat_region()) {
            (Heartbeat::Global, Some((device, region)), _) => {
                places.heartbeat = Heartbeat::OnVolume(region);
                Self::probe(device, &places, options, clock)
            }
            (Heartbeat::Global, None, Ok(own)) => {
                Self::signs_of_life(volume, &places, (own, &Unknown::Global), options, clock)
            }
            // A node may beat where a superblock that is wrong says that none does. Beats may also be
            // left from before the volume was given to one node, or to another cluster.
            (Heartbeat::Local, _, Ok(own)) if own.is_written(volume.device()) => {
                Self::signs_of_life(volume, &places, (own, &Unknown::Local), options, clock)
            }
            (Heartbeat::Userspace, _, Ok(own)) if own.is_written(volume.device()) => {
                Self::signs_of_life(volume, &places, (own, &Unknown::Userspace), options, clock)
            }
            _ => Self::probe(volume.device(), &places, options, clock),
        };
        if !usage.watched.is_zero() {
            usage = usage.with_slots(&volume.taken_slots()?);
        }
        Ok(usage)
    }

    /// Watches a region that may not be the one the nodes use, for two beats. Nodes that do not beat
    /// there are unknown because of `why`.
    fn signs_of_life(
        volume: &Volume,
        places: &Places,
        (region, why): (Region, &Unknown),
        options: &SampleOptions,
        clock: &dyn Clock,
    ) -> Self {
        let places = Places { heartbeat: Heartbeat::OnVolume(region), ..places.clone() };
        let max_wait = options.max_wait.min(watch::TWO_BEATS);
        let options = SampleOptions { max_wait, ..options.clone() };
        let mut usage = Self::probe(volume.device(), &places, &options, clock);
        usage.keep_only_signs_of_life(why);
        usage
    }

    /// Keeps only what shows that nodes are alive: for a region that may not be the one they use.
    fn keep_only_signs_of_life(&mut self, why: &Unknown) {
        for slot in &mut self.slots {
            if slot.state != State::Live {
                slot.state = State::Unknown(why.clone());
            }
        }
        self.without_slot.retain(|(_, state)| *state == State::Live);
    }

    /// The usage after the slot map has become `taken`.
    fn with_slots(mut self, taken: &[TakenSlot]) -> Self {
        let before = std::mem::take(&mut self.slots);
        let slots = taken.iter().map(|&TakenSlot { slot, node }| {
            let known =
                before.iter().find(|slot_use| (slot_use.slot, slot_use.node) == (slot, node));
            known.cloned().unwrap_or(SlotUse { slot, node, state: State::Live })
        });
        self.slots = slots.collect();
        self.without_slot.retain(|(node, _)| !taken.iter().any(|taken| taken.node == *node));
        self
    }

    fn unknown(taken: &[TakenSlot], why: &Unknown) -> Self {
        let slots = taken.iter().map(|taken| SlotUse {
            slot: taken.slot,
            node: taken.node,
            state: State::Unknown(why.clone()),
        });
        Self { slots: slots.collect(), ..Self::default() }
    }

    /// Nodes known to be alive, those without a slot last.
    pub fn live_nodes(&self) -> impl Iterator<Item = u32> + '_ {
        let with_slot = self.slots.iter().map(|slot| (slot.node, &slot.state));
        let without = self.without_slot.iter().map(|(node, state)| (*node, state));
        with_slot.chain(without).filter(|(_, state)| **state == State::Live).map(|(node, _)| node)
    }

    /// The slots of crashed nodes: what fsck recovers.
    pub fn crashed(&self) -> impl Iterator<Item = &SlotUse> {
        self.slots.iter().filter(|slot| matches!(slot.state, State::Crashed { .. }))
    }

    /// The slots of nodes that may be alive for all that is known.
    pub fn unknown_slots(&self) -> impl Iterator<Item = &SlotUse> {
        self.slots.iter().filter(|slot| matches!(slot.state, State::Unknown(_)))
    }

    /// Whether nobody holds a slot and nobody is about to.
    pub fn is_unused(&self) -> bool {
        self.slots.is_empty() && self.without_slot.is_empty()
    }
}

#[cfg(test)]
mod tests;
