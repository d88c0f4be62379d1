//! What is wrong with a volume, and how bad that is: for monitoring.

use std::time::{Duration, SystemTime};

use ocfs2_cli::{Status, human_span};
use ocfs2_device::OpenCause;
use ocfs2_format::feature::Incompat;
use ocfs2_format::superblock::{STATE_ERROR, Stack};
use ocfs2_volume::usage::{State, Unknown};
use serde::Serialize;

use crate::{Failure, FailureCause, Listing, NodeUse, Users, Volume};

/// The condition of a volume, of a device or of all of them; the later ones hide the earlier.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// Nothing is wrong.
    Ok,
    /// It is not known whether something is wrong.
    Unknown,
    /// Something has to be looked at, but everything works.
    Warning,
    /// The volume cannot be used, or only by some nodes, or its files are in danger.
    Critical,
}

impl Condition {
    /// The word that a monitoring plugin prints.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Unknown => "UNKNOWN",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
        }
    }

    /// The exit status of a monitoring plugin.
    pub fn status(self) -> Status {
        Status(match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Unknown => 3,
        })
    }
}

/// Something that is wrong, or not known.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub condition: Condition,
    /// What kind of thing it is, in one word for programs.
    pub kind: &'static str,
    /// The same for people.
    pub text: String,
}

impl Finding {
    fn new(condition: Condition, kind: &'static str, text: impl Into<String>) -> Self {
        Self { condition, kind, text: text.into() }
    }
}

/// The worst of the conditions of `findings`.
pub fn worst(findings: &[Finding]) -> Condition {
    findings.iter().map(|finding| finding.condition).max().unwrap_or(Condition::Ok)
}

impl Listing {
    /// The condition of everything that was found. Without any volume it is unknown.
    pub fn condition(&self, now: SystemTime) -> Condition {
        let volumes = self.volumes.iter().flat_map(|volume| volume.findings(now));
        let failures = self.failures.iter().filter_map(Failure::finding);
        let worst = worst(&volumes.chain(failures).collect::<Vec<_>>());
        if self.volumes.is_empty() { worst.max(Condition::Unknown) } else { worst }
    }
}

impl Failure {
    /// What a device that is not in the list means; `None` if nobody asked for it.
    pub fn finding(&self) -> Option<Finding> {
        match &self.cause {
            FailureCause::Open(cause @ OpenCause::Permission { .. }) => {
                Some(Finding::new(Condition::Unknown, "denied", cause.to_string()))
            }
            cause if self.is_named => {
                Some(Finding::new(Condition::Critical, "not_found", cause.to_string()))
            }
            _ => None,
        }
    }
}

impl Volume {
    /// What is wrong with it, the worst first.
    pub fn findings(&self, now: SystemTime) -> Vec<Finding> {
        let mut findings = self.marks();
        findings.extend(self.crashed(now));
        let others = self.nodes().iter().filter_map(|node| Some((node, node.state.as_ref()?)));
        findings.extend(others.filter_map(|(node, state)| silent(node, state)));
        if let Users::Unreadable(why) = &self.users {
            findings.push(Finding::new(Condition::Critical, "unreadable", why.clone()));
        }
        for journal in &self.journals {
            if let Some(problem) = &journal.problem {
                let text = format!("journal of slot {}: {problem}", journal.slot);
                findings.push(Finding::new(Condition::Critical, "journal", text));
            }
        }
        let dirty: Vec<_> = self.dirty_free_slots().map(|slot| slot.to_string()).collect();
        if !dirty.is_empty() {
            let (slots, journals) = if dirty.len() == 1 {
                ("slot", "its journal is")
            } else {
                ("slots", "journals are")
            };
            let text = format!(
                "no node has {slots} {}, but {journals} dirty: the next mount or fsck replays that",
                dirty.join(", ")
            );
            findings.push(Finding::new(Condition::Warning, "dirty_journal", text));
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.condition));
        findings
    }

    /// What its superblock says.
    fn marks(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.superblock.s_state & STATE_ERROR != 0 {
            let text = "it is marked as having errors: fsck is needed";
            findings.push(Finding::new(Condition::Critical, "errors", text));
        }
        let features = self.superblock.features().incompat;
        if features.intersects(Incompat::RESIZE_INPROG | Incompat::TUNEFS_INPROG) {
            let text = "a change of it was interrupted or still goes on, and no node can mount it";
            findings.push(Finding::new(Condition::Critical, "in_progress", text));
        }
        findings
    }

    /// The crashed nodes that hold slots.
    fn crashed(&self, now: SystemTime) -> Option<Finding> {
        let crashed = |node: &NodeUse| {
            let state = node.state.as_ref()?;
            let State::Crashed { .. } = state else { return None };
            let since = state.silent_for(now).map(|ago| format!(", {} ago", human_span(ago)));
            let name = node.display_name();
            Some(format!("node {name} (slot {}{})", node.slot, since.unwrap_or_default()))
        };
        let nodes: Vec<_> = self.nodes().iter().filter_map(crashed).collect();
        if nodes.is_empty() {
            return None;
        }
        let nodes = nodes.join(" and ");
        Some(if self.needs_fsck() {
            let text = format!("fsck is needed: crashed and holding a slot: {nodes}");
            Finding::new(Condition::Critical, "needs_fsck", text)
        } else {
            let text = format!("crashed and not recovered yet by the live nodes: {nodes}");
            Finding::new(Condition::Critical, "not_recovered", text)
        })
    }

    /// The number of crashed nodes that hold slots.
    pub fn crashed_count(&self) -> usize {
        self.count(|state| matches!(state, State::Crashed { .. }))
    }

    /// The number of live nodes that hold slots.
    pub fn live_count(&self) -> usize {
        self.count(|state| *state == State::Live)
    }

    /// The number of nodes of which it is not known whether they are alive.
    pub fn unknown_count(&self) -> usize {
        self.count(|state| matches!(state, State::Unknown(_)))
    }

    fn count(&self, wanted: fn(&State) -> bool) -> usize {
        self.nodes().iter().filter_map(|node| node.state.as_ref()).filter(|it| wanted(it)).count()
    }

    /// The age of the oldest of the last heartbeats of its live nodes, by the clock of this computer.
    pub fn heartbeat_age(&self, now: SystemTime) -> Option<Duration> {
        let is_o2cb = matches!(self.superblock.stack(), Stack::O2cb { .. });
        let live = self.nodes().iter().filter(|node| node.state == Some(State::Live) && is_o2cb);
        live.filter_map(|node| Some(now.duration_since(node.last_beat?).unwrap_or_default())).max()
    }
}

/// What a node means that is neither live nor known to have crashed.
fn silent(node: &NodeUse, state: &State) -> Option<Finding> {
    let State::Unknown(why) = state else { return None };
    let (condition, kind) = match why {
        Unknown::ToBeFenced => (Condition::Critical, "to_be_fenced"),
        Unknown::NotQuorate => (Condition::Critical, "no_quorum"),
        Unknown::TooShort { .. } => (Condition::Warning, "silent"),
        Unknown::Local => {
            let text = "was not unmounted: fsck is needed unless another machine has it mounted";
            return Some(Finding::new(Condition::Warning, "not_unmounted", text));
        }
        Unknown::Global
        | Unknown::Userspace
        | Unknown::NoSector
        | Unknown::NoGoodSample
        | Unknown::Unreadable(_)
        | Unknown::NeverBeat => (Condition::Unknown, "unknown"),
    };
    let text = format!("node {} in slot {}: {why}", node.display_name(), node.slot);
    Some(Finding::new(condition, kind, text))
}
