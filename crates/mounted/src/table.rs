//! The tables of `mounted.ocfs2` 1.8, which scripts read.

use std::fmt::Write;
use std::time::SystemTime;

use ocfs2_cli::{human_span, shown, terminal};
use ocfs2_format::superblock::{Stack, SuperBlock};
use ocfs2_volume::usage::{State, Unknown};

use crate::{Listing, NodeUse, Users, Volume};

/// Returns the table with UUIDs and labels, or with nodes if they were asked for. With `states` the
/// names of nodes that may not be alive are followed by their state.
pub fn text(listing: &Listing, now: SystemTime, states: bool) -> String {
    let last = if listing.with_nodes {
        vec!["Nodes".to_owned()]
    } else {
        vec![format!("{:<32}", "UUID"), "Label".to_owned()]
    };
    let header = ["Device", "Stack", "Cluster", "F"].map(str::to_owned).into_iter().chain(last);
    let mut rows = vec![header.collect::<Vec<_>>()];
    rows.extend(listing.volumes.iter().map(|volume| row(volume, listing.with_nodes, now, states)));

    // Same layout as the C tool: the first columns have minimum widths, the last is not padded, and
    // trailing blanks are kept.
    let mut widths = [7, 5, 7, 1];
    for (column, width) in widths.iter_mut().enumerate() {
        let cells = rows.iter().filter_map(|row| row.get(column));
        *width = cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(*width);
    }
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let gap = if column + 1 == row.len() { "" } else { "  " };
            let width = widths.get(column).copied().unwrap_or(0);
            let _ = write!(text, "{cell:<width$}{gap}");
        }
        text.push('\n');
    }
    text
}

fn row(volume: &Volume, with_nodes: bool, now: SystemTime, states: bool) -> Vec<String> {
    let sb = &volume.superblock;
    let flag = if has_global_heartbeat(sb) { "G" } else { "" };
    let mut row = vec![
        shown(&volume.device),
        terminal(sb.stack().to_string()),
        terminal(volume.cluster().unwrap_or_default()),
        flag.to_owned(),
    ];
    if with_nodes {
        row.push(users(&volume.users, now, states));
    } else {
        row.extend([sb.uuid_string(), terminal(sb.label())]);
    }
    row
}

/// Whether the nodes of the volume beat on other volumes.
pub(crate) fn has_global_heartbeat(sb: &SuperBlock) -> bool {
    matches!(sb.stack(), Stack::O2cb { global_heartbeat: true })
}

/// The nodes that hold the slots, in one cell.
pub(crate) fn users(users: &Users, now: SystemTime, states: bool) -> String {
    match users {
        Users::NotAsked => String::new(),
        Users::HeartbeatDevice => "Heartbeat device".to_owned(),
        Users::Unreadable(why) => format!("Unknown: {}", terminal(why)),
        Users::Nodes(nodes) if nodes.is_empty() => "Not mounted".to_owned(),
        Users::Nodes(nodes) => {
            let text = |node| node_text(node, now, states);
            nodes.iter().map(text).collect::<Vec<_>>().join(", ")
        }
    }
}

/// Only the name for a live node, because scripts look for names.
fn node_text(node: &NodeUse, now: SystemTime, states: bool) -> String {
    let name = terminal(node.display_name());
    match node.state.as_ref().filter(|_| states) {
        None | Some(State::Live) => name,
        Some(State::Unknown(Unknown::ToBeFenced)) => format!("{name} (to be fenced)"),
        Some(State::Unknown(_)) => format!("{name} (unknown)"),
        Some(state @ State::Crashed { .. }) => match state.silent_for(now) {
            Some(ago) => format!("{name} (crashed {} ago)", human_span(ago)),
            None => format!("{name} (crashed)"),
        },
    }
}

/// A point in time with seconds: `2026-11-28 15:04:05 UTC`.
pub fn time(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years of 365 days plus leap days, counted from the first of March.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = 400 * era + year + u64::from(month < 3);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02} UTC", second % 60)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_is_that_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_795_881_845, "2026-11-28 16:04:05 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(time(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn an_empty_list_has_the_header_of_the_c_tool() {
        let now = SystemTime::UNIX_EPOCH;
        let mut listing = Listing::default();
        assert_eq!(
            text(&listing, now, false),
            "Device   Stack  Cluster  F  UUID                              Label\n"
        );
        listing.with_nodes = true;
        assert_eq!(text(&listing, now, true), "Device   Stack  Cluster  F  Nodes\n");
    }

    #[test]
    fn only_a_node_that_may_not_be_alive_has_more_than_its_name() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let node = |state| NodeUse {
            slot: 0,
            number: 7,
            name: Some("ovs\n1".to_owned()),
            state,
            last_beat: None,
        };
        let crashed = |seconds_before: i64| State::Crashed {
            last_beat: SystemTime::UNIX_EPOCH
                .checked_add(Duration::from_secs((1_000_000 - seconds_before) as u64)),
            evidence: ocfs2_volume::usage::Evidence::Clock,
        };
        for (state, expected) in [
            (None, "ovs\\n1"),
            (Some(State::Live), "ovs\\n1"),
            (Some(crashed(300)), "ovs\\n1 (crashed 5 min ago)"),
            (Some(crashed(-300)), "ovs\\n1 (crashed)"),
            (Some(State::Unknown(Unknown::Global)), "ovs\\n1 (unknown)"),
            (Some(State::Unknown(Unknown::ToBeFenced)), "ovs\\n1 (to be fenced)"),
        ] {
            assert_eq!(node_text(&node(state.clone()), now, true), expected);
            assert_eq!(node_text(&node(state), now, false), "ovs\\n1");
        }
        assert_eq!(node_text(&NodeUse { name: None, ..node(None) }, now, true), "7");
    }
}
