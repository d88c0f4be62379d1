//! The output of a monitoring plugin: one line with the condition and figures.

use std::fmt::Write;
use std::time::SystemTime;

use ocfs2_cli::encode::plugin;
use ocfs2_cli::shown;

use crate::health::Condition;
use crate::{Failure, Listing, Volume, table};

/// Returns the line; with `verbose` a line for each volume follows.
pub(crate) fn text(listing: &Listing, now: SystemTime, verbose: bool) -> String {
    let condition = listing.condition(now);
    let mut text = format!("OCFS2 {} - {} | ", condition.word(), plugin(summary(listing, now)));
    text += &figures(listing, now);
    text.push('\n');
    if verbose {
        for volume in &listing.volumes {
            let nodes = table::users(&volume.users, now, true);
            let line = plugin(format!("{}: {nodes}", shown(&volume.device)));
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

/// What is wrong with each volume and device, or else how many there are.
fn summary(listing: &Listing, now: SystemTime) -> String {
    let of_volume = |volume: &Volume| {
        let findings = volume.findings(now).into_iter().map(|finding| finding.text);
        let findings: Vec<_> = findings.collect();
        (!findings.is_empty())
            .then(|| format!("{}: {}", shown(&volume.device), findings.join(", ")))
    };
    let of_device = |failure: &Failure| {
        failure.finding().map(|it| format!("{}: {}", shown(&failure.device), it.text))
    };
    let volumes = listing.volumes.iter().filter_map(of_volume);
    let parts: Vec<_> = volumes.chain(listing.failures.iter().filter_map(of_device)).collect();
    if !parts.is_empty() {
        return parts.join("; ");
    }
    if listing.condition(now) == Condition::Unknown {
        return "no OCFS2 volume was found".to_owned();
    }
    let count = |number: usize, one: &str, many: &str| {
        format!("{number} {}", if number == 1 { one } else { many })
    };
    let live: usize = listing.volumes.iter().map(Volume::live_count).sum();
    let volumes = count(listing.volumes.len(), "volume", "volumes");
    format!("{volumes}, {}", count(live, "mount", "mounts"))
}

/// The performance data: what is counted, with the thresholds of warnings and critical conditions.
fn figures(listing: &Listing, now: SystemTime) -> String {
    let sum = |of: fn(&Volume) -> usize| -> usize { listing.volumes.iter().map(of).sum() };
    let mut text = format!(
        "volumes={};;;0 mounts={};;;0 crashed={};;0;0 unknown={};;;0 dirty={};0;;0",
        listing.volumes.len(),
        sum(Volume::live_count),
        sum(Volume::crashed_count),
        sum(Volume::unknown_count),
        sum(|volume| volume.dirty_free_slots().count()),
    );
    if let Some(age) = listing.volumes.iter().filter_map(|it| it.heartbeat_age(now)).max() {
        let _ = write!(text, " heartbeat_age={}s;;;0", age.as_secs());
    }
    text
}
