//! The nodes that use the volume, and whether it may be written to nevertheless.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use ocfs2_cli::{Interrupt, print_note};
use ocfs2_cluster::{NodeNames, Sources};
use ocfs2_device::Device;
use ocfs2_format::superblock::Stack;
use ocfs2_users::lock::usage_while_held;
use ocfs2_users::regions::GlobalRegions;
use ocfs2_users::usage_of;
use ocfs2_volume::usage::{Clock, SampleOptions, State, StoppedClock, SystemClock, Unknown, Usage};
use ocfs2_volume::{Error, Volume};

/// A clock that says once what a long wait is for.
struct TellingClock<'a> {
    clock: SystemClock,
    /// The name of the volume in messages.
    device: &'a str,
    is_told: Cell<bool>,
}

impl TellingClock<'_> {
    /// The time to wait before saying why.
    const QUIET: Duration = Duration::from_secs(5);
}

impl Clock for TellingClock<'_> {
    fn now(&self) -> SystemTime {
        self.clock.now()
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        // It takes the dead threshold of a silent node to be sure that it is dead.
        if self.elapsed() >= Self::QUIET && !self.is_told.replace(true) {
            print_note(format_args!(
                "{}: watching the heartbeat of silent nodes until it is known that they are dead, a \
                 minute as a rule",
                self.device
            ));
        }
        self.clock.sleep(duration);
    }
}

/// The nodes that hold slots or are about to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Users {
    /// Nodes that are alive, described.
    pub live: Vec<String>,
    /// Nodes of which it is not known whether they are alive, and why.
    pub unknown: Vec<String>,
    /// Names of the nodes that are alive, or their numbers.
    pub names: Vec<String>,
    /// Nodes that crashed, described.
    pub crashed: Vec<String>,
    /// The node in each slot, and its state in a word.
    pub slots: BTreeMap<u16, (u32, &'static str)>,
    /// What the slot map and the heartbeat showed.
    pub usage: Usage,
}

/// What it takes to write to the volume.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Consent {
    /// Nothing.
    Given,
    /// `-F` and a question that `-y` answers.
    Unknown,
    /// `-F` and a question that only a person answers.
    Live,
}

impl Users {
    /// Reads the slot map and watches the heartbeat: as long as it takes to be sure if the volume
    /// is to be written. `this_node`, if it has no slot, is this program itself. `device` is the
    /// name of the volume in messages.
    ///
    /// # Errors
    /// The slot map or the heartbeat region cannot be read.
    pub fn find(
        volume: &Volume,
        write: bool,
        this_node: Option<u32>,
        (device, interrupt): (&str, &Interrupt),
    ) -> Result<Self, Error> {
        let options = match write {
            true => SampleOptions::before_writing(),
            // Enough to see who is alive, and who has been silent for long.
            false => SampleOptions { max_wait: Duration::from_secs(7), ..Default::default() },
        };
        Self::sampled(volume, &options, this_node, (device, interrupt))
    }

    /// Looks for two beats at who is alive, with a slot or without: on a volume that shows where
    /// the nodes beat only now that it is repaired in memory.
    ///
    /// # Errors
    /// As [`Users::find`].
    pub fn beating(volume: &Volume, device: &str, interrupt: &Interrupt) -> Result<Self, Error> {
        let options = SampleOptions { without_slot: true, ..SampleOptions::quick() };
        Self::sampled(volume, &options, None, (device, interrupt))
    }

    fn sampled(
        volume: &Volume,
        options: &SampleOptions,
        this_node: Option<u32>,
        (device, interrupt): (&str, &Interrupt),
    ) -> Result<Self, Error> {
        // A short watch is not worth an explanation.
        let is_told = Cell::new(options.max_wait < 2 * TellingClock::QUIET);
        let clock = TellingClock { clock: SystemClock::default(), device, is_told };
        let clock = StoppedClock { clock, stop: || interrupt.requested() };
        let cluster = volume.superblock().cluster_info().map(|info| info.cluster());
        let cluster = cluster.filter(|name| !name.is_empty());
        let sources = Sources::default();
        // With global heartbeat the nodes beat on another volume, which this machine may not see.
        let is_global = volume.superblock().stack() == Stack::O2cb { global_heartbeat: true };
        let shared = match &cluster {
            Some(name) if is_global && !volume.taken_slots()?.is_empty() => {
                GlobalRegions::new(&sources, Vec::new()).find(name)
            }
            _ => None,
        };
        let shared = shared.as_ref().map(|(device, region)| (device as &dyn Device, *region));
        let mut usage = usage_of(volume, shared, options, &clock)?;
        usage.without_slot.retain(|(node, _)| Some(*node) != this_node);
        let names = NodeNames::find(&sources, cluster.as_deref());
        Ok(Self::new(&usage, |node| names.get(node), SystemTime::now()))
    }

    /// The users of a volume whose cluster lock is held: every node that holds a slot has crashed.
    ///
    /// # Errors
    /// The slot map cannot be read.
    pub fn locked_out(volume: &Volume) -> Result<Self, Error> {
        let cluster = volume.superblock().cluster_info().map(|info| info.cluster());
        let names = NodeNames::find(&Sources::default(), cluster.as_deref());
        let usage = usage_while_held(volume)?;
        Ok(Self::new(&usage, |node| names.get(node), SystemTime::now()))
    }

    fn new<'n>(usage: &Usage, name: impl Fn(u32) -> Option<&'n str>, now: SystemTime) -> Self {
        let alone = |node: u32| name(node).map_or_else(|| format!("node {node}"), str::to_owned);
        let name = |node: u32| match name(node) {
            Some(name) => format!("node {node} ({name})"),
            None => format!("node {node}"),
        };
        let mut users = Self { usage: usage.clone(), ..Self::default() };
        let slots = usage.slots.iter().map(|used| (used.node, &used.state));
        let others = usage.without_slot.iter().map(|(node, state)| (*node, state));
        let live = slots.filter(|(_, state)| **state == State::Live);
        // Nodes without a slot beat because they are about to mount the volume.
        let others = others.filter(|(_, state)| !matches!(state, State::Unknown(_)));
        for (node, _) in live.chain(others) {
            let name = alone(node);
            if !users.names.contains(&name) {
                users.names.push(name);
            }
        }
        for used in &usage.slots {
            let who = format!("{} in slot {}", name(used.node), used.slot);
            let word = match &used.state {
                State::Live => {
                    users.live.push(who);
                    "live"
                }
                State::Crashed { .. } => {
                    users.crashed.push(match used.state.silent_for(now) {
                        Some(silent) => format!("{who}, {} s ago", silent.as_secs()),
                        None => who,
                    });
                    "crashed"
                }
                // The volume is not mounted here, and no other computer should see a local one.
                State::Unknown(Unknown::Local) => "unknown",
                State::Unknown(why) => {
                    users.unknown.push(format!("{who} ({why})"));
                    "unknown"
                }
            };
            users.slots.insert(used.slot, (used.node, word));
        }
        for (node, state) in &usage.without_slot {
            match state {
                State::Unknown(why) => users.unknown.push(format!("{} ({why})", name(*node))),
                _ => users.live.push(format!("{}, about to mount it", name(*node))),
            }
        }
        users
    }

    /// Returns whether the superblock may be wrong about the cluster: it was made from what the
    /// rest of the volume states, or its checksum does not hold.
    pub fn are_doubtful(volume: &Volume) -> bool {
        let found = volume.found_superblock();
        found.wrong_checksum.is_some() || found.mended.as_ref().is_some_and(|it| !it.is_proven)
    }

    /// The same, with the doubts about such a volume: where the nodes beat, and whether they are in
    /// a cluster, may be unknown, so that every node that holds a slot may be alive.
    pub fn doubted(mut self, volume: &Volume) -> Self {
        if Self::are_doubtful(volume) && self.consent() == Consent::Given {
            if let Err(err) = volume.taken_slots().and_then(|_| volume.heartbeat_region()) {
                self.unknown.push(format!("nodes that cannot be told ({err})"));
            }
            let held = self.slots.iter().map(|(slot, (node, _))| {
                format!(
                    "node {node} in slot {slot} (the superblock that knew its cluster is damaged)"
                )
            });
            self.unknown.extend(held);
        }
        self
    }

    /// Returns what to report of a slot whose node is not alive although there is nothing to
    /// recover. `None` if there is no such slot.
    pub fn left_over(&self, volume: &Volume) -> Option<String> {
        if self.consent() != Consent::Given {
            return None;
        }
        let is_clean = |slot| volume.journal_is_dirty(slot).is_ok_and(|is_dirty| !is_dirty);
        let (slot, (node, _)) = self.slots.iter().find(|(slot, _)| is_clean(**slot))?;
        Some(format!("has slot {slot} still held by node {node}, which has not mounted it"))
    }

    /// Returns what it takes to write to the volume.
    pub fn consent(&self) -> Consent {
        if !self.live.is_empty() {
            Consent::Live
        } else if !self.unknown.is_empty() {
            Consent::Unknown
        } else {
            Consent::Given
        }
    }

    /// Returns who may be using the volume, in one line.
    pub fn describe(&self) -> String {
        let parts = [("in use by", &self.live), ("perhaps in use by", &self.unknown)];
        let parts = parts.iter().filter(|(_, nodes)| !nodes.is_empty());
        let parts = parts.map(|(what, nodes)| format!("{what} {}", nodes.join(" and ")));
        parts.collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use ocfs2_volume::usage::{Evidence, SlotUse};

    use super::*;

    fn users(states: Vec<State>) -> Users {
        let slots = (0..).zip(states);
        let slots = slots.map(|(slot, state)| SlotUse { slot, node: 7, state }).collect();
        let usage = Usage { slots, ..Usage::default() };
        Users::new(&usage, |_| Some("ovs001"), SystemTime::now())
    }

    #[test]
    fn the_worst_node_decides() {
        let crashed = || State::Crashed { last_beat: None, evidence: Evidence::Stopped };
        assert_eq!(users(vec![]).consent(), Consent::Given);
        assert_eq!(users(vec![crashed()]).consent(), Consent::Given);
        assert_eq!(users(vec![State::Unknown(Unknown::Local)]).consent(), Consent::Given);
        let unknown = State::Unknown(Unknown::Userspace);
        assert_eq!(users(vec![crashed(), unknown.clone()]).consent(), Consent::Unknown);
        let busy = users(vec![unknown, State::Live, crashed()]);
        assert_eq!(busy.consent(), Consent::Live);
        assert_eq!(
            busy.describe(),
            "in use by node 7 (ovs001) in slot 1; perhaps in use by node 7 (ovs001) in slot 0 \
             (the cluster stack is in user space)"
        );
        assert_eq!(busy.slots[&2], (7, "crashed"));
        assert_eq!(busy.names, ["ovs001"]);
        assert!(users(vec![crashed(), State::Unknown(Unknown::Local)]).names.is_empty());
    }
}
