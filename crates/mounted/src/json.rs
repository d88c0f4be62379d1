//! The list as JSON.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ocfs2_cli::encode::{json_escaped, json_path, json_path_escaped, json_text};
use ocfs2_format::superblock::Stack;
use ocfs2_volume::usage::{Evidence, State};
use serde::Serialize;

use crate::health::{Condition, Finding, worst};
use crate::{Failure, Listing, NodeUse, Users, Volume, table};

/// The whole document.
#[derive(Debug, Serialize)]
pub struct Document {
    /// With `--check`: the condition of everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
    /// The volumes found.
    pub volumes: Vec<VolumeEntry>,
    /// Devices that could not be examined, and named devices that are not volumes.
    pub failures: Vec<FailureEntry>,
}

/// A volume.
#[derive(Debug, Serialize)]
pub struct VolumeEntry {
    /// The device, as it was named; bytes that are not UTF-8 are replaced by U+FFFD.
    pub device: String,
    /// If bytes were replaced: the path with these bytes as `\xff` and backslashes doubled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_escaped: Option<String>,
    /// The cluster stack, `null` on a local volume.
    pub stack: Option<String>,
    /// Name of its cluster, if it states one.
    pub cluster: Option<String>,
    /// Whether its nodes beat on other volumes.
    pub global_heartbeat: bool,
    /// Whether it is only a heartbeat region.
    pub heartbeat_device: bool,
    /// UUID as 36 lower-case characters, as blkid prints it.
    pub uuid: String,
    /// The label; bytes that are not UTF-8 are replaced by U+FFFD.
    pub label: String,
    /// If bytes were replaced: the label with these bytes as `\xff` and backslashes doubled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_escaped: Option<String>,
    /// Number of its slots.
    pub slots: u16,
    /// The nodes that hold slots; `null` if not asked for or not known.
    pub nodes: Option<Vec<NodeEntry>>,
    /// Whether crashed nodes hold slots and no live node could recover them; `null` if not asked
    /// for or not known.
    pub needs_fsck: Option<bool>,
    /// With `--check`: the worst condition of `findings`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
    /// With `--check`: what is wrong with it, the worst first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub findings: Option<Vec<Finding>>,
    /// Why the nodes are not known.
    pub error: Option<String>,
}

/// A node that holds a slot.
#[derive(Debug, Serialize)]
pub struct NodeEntry {
    /// The slot, from 0.
    pub slot: u16,
    /// The number of the node.
    pub number: u32,
    /// The name of the node, if known.
    pub name: Option<String>,
    /// `live`, `crashed` or `unknown`; `null` if not asked for.
    pub state: Option<&'static str>,
    /// Its last heartbeat by its own clock, in seconds since 1970.
    pub last_beat: Option<u64>,
    /// The age of its last heartbeat by the clock of this machine, in seconds.
    pub silent_seconds: Option<u64>,
    /// If crashed: how this is known: `watched` (for its whole dead threshold), `clock` (it missed
    /// two heartbeats and the last one is old), `stopped` (it stopped its heartbeat, or had none,
    /// and holds the slot). If unknown: the reason in words.
    pub reason: Option<String>,
}

/// A device that is not in the list.
#[derive(Debug, Serialize)]
pub struct FailureEntry {
    /// The device, as it was named.
    pub device: String,
    /// Like `device_escaped` of a volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_escaped: Option<String>,
    /// Why it is not in the list.
    pub error: String,
    /// With `--check`: what that means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
}

impl Document {
    /// Converts a listing made at `now`.
    pub fn new(listing: &Listing, now: SystemTime) -> Self {
        Self {
            condition: None,
            volumes: listing.volumes.iter().map(|volume| VolumeEntry::new(volume, now)).collect(),
            failures: listing.failures.iter().map(FailureEntry::new).collect(),
        }
    }

    /// The same with what is wrong.
    pub fn with_findings(listing: &Listing, now: SystemTime) -> Self {
        let mut document = Self::new(listing, now);
        document.condition = Some(listing.condition(now));
        for (entry, volume) in document.volumes.iter_mut().zip(&listing.volumes) {
            let findings = volume.findings(now);
            entry.condition = Some(worst(&findings));
            entry.findings = Some(findings);
        }
        for (entry, failure) in document.failures.iter_mut().zip(&listing.failures) {
            entry.condition = failure.finding().map(|finding| finding.condition);
        }
        document
    }
}

impl VolumeEntry {
    fn new(volume: &Volume, now: SystemTime) -> Self {
        let sb = &volume.superblock;
        let stack = sb.stack();
        let (nodes, error) = match &volume.users {
            Users::NotAsked | Users::HeartbeatDevice => (None, None),
            Users::Unreadable(why) => (None, Some(why.clone())),
            Users::Nodes(nodes) => (Some(nodes), None),
        };
        let judged = nodes.filter(|nodes| nodes.iter().all(|node| node.state.is_some()));
        Self {
            device: json_path(&volume.device),
            device_escaped: json_path_escaped(&volume.device),
            stack: (stack != Stack::Local).then(|| stack.to_string()),
            cluster: volume.cluster(),
            global_heartbeat: table::has_global_heartbeat(sb),
            heartbeat_device: sb.has(ocfs2_format::feature::Incompat::HEARTBEAT_DEV),
            uuid: sb.uuid().to_string(),
            label: json_text(sb.label()),
            label_escaped: json_escaped(sb.label()),
            slots: sb.s_max_slots,
            nodes: nodes.map(|nodes| nodes.iter().map(|node| NodeEntry::new(node, now)).collect()),
            needs_fsck: judged.map(|_| volume.needs_fsck()),
            condition: None,
            findings: None,
            error,
        }
    }
}

impl NodeEntry {
    fn new(node: &NodeUse, now: SystemTime) -> Self {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
        let state = node.state.as_ref();
        let last_beat = match state {
            Some(State::Crashed { last_beat, .. }) => *last_beat,
            _ => node.last_beat,
        };
        let (word, reason) = match state {
            None => (None, None),
            Some(State::Live) => (Some("live"), None),
            Some(State::Unknown(why)) => (Some("unknown"), Some(why.to_string())),
            Some(State::Crashed { evidence, .. }) => {
                let evidence = match evidence {
                    Evidence::Watched(_) => "watched",
                    Evidence::Clock => "clock",
                    Evidence::Stopped => "stopped",
                    Evidence::Cluster => "cluster",
                };
                (Some("crashed"), Some(evidence.to_owned()))
            }
        };
        Self {
            slot: node.slot,
            number: node.number,
            name: node.name.clone(),
            state: word,
            last_beat: seconds(last_beat.and_then(|time| time.duration_since(UNIX_EPOCH).ok())),
            silent_seconds: seconds(last_beat.and_then(|time| now.duration_since(time).ok())),
            reason,
        }
    }
}

impl FailureEntry {
    fn new(failure: &Failure) -> Self {
        Self {
            device: json_path(&failure.device),
            device_escaped: json_path_escaped(&failure.device),
            error: failure.cause.to_string(),
            condition: None,
        }
    }
}
