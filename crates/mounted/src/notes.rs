//! Messages on standard error that accompany the list.

use std::time::SystemTime;

use ocfs2_cli::{human_span, shown};
use ocfs2_cluster::ClusterConf;
use ocfs2_device::OpenCause;
use ocfs2_format::superblock::Stack;
use ocfs2_volume::usage::{Evidence, State, Unknown};

use crate::{FailureCause, Listing, NodeUse, Users, Volume};

/// Most devices that could not be opened that are named.
const NAMED: usize = 8;

/// Lines for standard error, each about one device.
pub(crate) fn notes(listing: &Listing, now: SystemTime, verbose: bool) -> Vec<String> {
    let mut notes = Vec::new();
    for failure in &listing.failures {
        if failure.is_named || verbose {
            notes.push(format!("{}: {}", shown(&failure.device), failure.cause));
        }
    }
    let denied =
        |cause: &FailureCause| matches!(cause, FailureCause::Open(OpenCause::Permission { .. }));
    let denied = listing.failures.iter().filter(|f| !f.is_named && denied(&f.cause));
    let mut denied: Vec<_> = denied.map(|failure| shown(&failure.device)).collect();
    if !denied.is_empty() && !verbose {
        let more = denied.len().saturating_sub(NAMED);
        denied.truncate(NAMED);
        let more =
            if more > 0 { format!(" and {more} more (-v names all)") } else { String::new() };
        let denied = denied.join(", ");
        notes.push(format!("could not be opened for lack of permission: {denied}{more}"));
    }
    for volume in &listing.volumes {
        let about = |text: String| format!("{}: {text}", shown(&volume.device));
        notes.extend(verdict(volume).map(about));
        if let Users::Unreadable(why) = &volume.users {
            notes.push(about(why.clone()));
        }
        if let Some(problem) = volume.names_problem.as_ref().filter(|_| !volume.nodes().is_empty())
        {
            notes.push(format!("{}: {problem}", ClusterConf::PATH));
        }
        if verbose {
            let explain = |node| explain(volume, node, now);
            notes.extend(volume.nodes().iter().filter_map(explain).map(about));
        }
    }
    notes
}

/// What to do about a volume, if anything.
fn verdict(volume: &Volume) -> Option<String> {
    let nodes = volume.nodes();
    let count = |wanted: fn(&State) -> bool| {
        nodes.iter().filter_map(|node| node.state.as_ref()).filter(|s| wanted(s)).count()
    };
    let crashed = count(|state| matches!(state, State::Crashed { .. }));
    let local = count(|state| *state == State::Unknown(Unknown::Local));
    if volume.needs_fsck() {
        let whose =
            if crashed == 1 { "a crashed node holds a slot" } else { "crashed nodes hold slots" };
        return Some(format!("fsck is needed: {whose}"));
    }
    if crashed > 0 {
        return Some("a crashed node is not recovered yet by the live ones".to_owned());
    }
    (local > 0).then(|| {
        "was not unmounted: fsck is needed unless another machine has it mounted now".to_owned()
    })
}

/// Explains how the state of a node is known.
fn explain(volume: &Volume, node: &NodeUse, now: SystemTime) -> Option<String> {
    let is_userspace = matches!(volume.superblock.stack(), Stack::Userspace(_));
    let text = match node.state.as_ref()? {
        State::Live if is_userspace => "live: the cluster says that it uses the volume".to_owned(),
        State::Live => "live: its heartbeat changes".to_owned(),
        State::Unknown(why) => format!("unknown: {why}"),
        State::Crashed { evidence: Evidence::Cluster, .. } => {
            "crashed: the cluster says that it does not use the volume, but it holds the slot"
                .to_owned()
        }
        state @ State::Crashed { last_beat, evidence } => {
            let how = match evidence {
                Evidence::Watched(time) => {
                    format!("no heartbeat in {} of watching", human_span(*time))
                }
                Evidence::Clock => "two heartbeats missed, and the last one is old".to_owned(),
                Evidence::Stopped | Evidence::Cluster => {
                    "its heartbeat is stopped, but it holds the slot".to_owned()
                }
            };
            let when = match (last_beat, state.silent_for(now)) {
                (_, Some(ago)) => format!("last heartbeat {} ago", human_span(ago)),
                (Some(_), None) => "last heartbeat in the future: the clocks disagree".to_owned(),
                (None, None) => "no last heartbeat".to_owned(),
            };
            format!("crashed: {how}; {when}")
        }
    };
    Some(format!("slot {}, node {}: {text}", node.slot, node.display_name()))
}
