//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{CommandFactory, Parser};

use ocfs2_cli::Failure;

use crate::health::Condition;
use crate::{Detail, Options};

/// The output of --json: the fields of [`crate::json::Document`].
const JSON: &str = "\
JSON:
  An object; what is not known, or was not asked for, is null:
    volumes          an array with an object for each volume:
      device         where it is, as it was named; bytes that are no UTF-8 are replaced by U+FFFD
      device_escaped where that was so: the path with such bytes as \\xff, a backslash as \\\\
      stack          the cluster stack; null on a local volume
      cluster        name of its cluster, if the volume states one
      global_heartbeat
                     whether its nodes beat on other volumes
      heartbeat_device
                     whether it is nothing but a place for heartbeats
      uuid           36 characters in lower case, as blkid prints it
      label          the label; bytes that are no UTF-8 are replaced by U+FFFD
      label_escaped  where that was so: as device_escaped
      slots          how many slots it has
      nodes          with -f an array with an object for each node that holds a slot:
        slot         the slot, from 0
        number       its number
        name         its name
        state        live, crashed or unknown; null with --wait 0
        last_beat    its last heartbeat by its own clock, in seconds since 1970
        silent_seconds
                     how long ago that was by the clock of this computer
        reason       crashed: how that is known: watched (for its whole dead threshold), clock (it
                     missed two heartbeats, and the last one is old), stopped (it stopped its
                     heartbeat, or had none, and holds the slot) or cluster (its cluster of corosync
                     says that it does not use the volume); unknown: why, in words
      needs_fsck     whether crashed nodes hold slots, and no live one that would recover them
      error          why the nodes are not known
      condition      with --check: ok, unknown, warning or critical
      findings       with --check an array with an object for each thing that is wrong:
        condition    how bad it is
        kind         what it is: needs_fsck, not_recovered, errors, in_progress, unreadable,
                     journal, to_be_fenced, no_quorum, silent, dirty_journal, not_unmounted,
                     unknown
        text         the same in words
    failures         an array with an object for each device that could not be looked at, or that
                     was named and is not a volume:
      device, device_escaped
                     as those of a volume
      error          why it is not in the list
      condition      with --check: what that means; null if nobody asked for the device
    condition        with --check: the worst of all

MONITORING:
  mounted.ocfs2 --check is a plugin for Nagios, Icinga and others. The exit status is

    2 CRITICAL  A crashed node holds a slot: without a live node the volume needs fsck or a mount,
                with one the others wait until it is recovered. A node of a cluster of corosync
                has to be fenced, or the cluster has no quorum. The volume is marked as having
                errors, a change of it by tunefs.ocfs2 was interrupted or goes on, its slot map or
                a journal cannot be read, or a journal was aborted. A named device is not there, or
                is not an OCFS2 volume.
    1 WARNING   A node that holds a slot missed its heartbeats while they were watched. It may have
                crashed a moment ago: the next check knows. A slot without a node has a dirty
                journal. A local volume was not unmounted, and is not mounted here.
    3 UNKNOWN   It is not known whether a node is alive. No volume was found, a device could not be
                opened for lack of permission, or the command line is wrong.
    0 OK        Nothing of this.

  The first of these that applies counts. The line ends in figures: the numbers of volumes, mounts
  (live nodes that hold slots), crashed nodes, nodes that are not known to be alive or crashed, and
  dirty journals without a node; the age of the oldest heartbeat of live nodes, by the clock of this
  computer. With -v the nodes of each volume follow.";

/// List OCFS2 volumes, and the nodes that have them mounted.
///
/// Without devices, all block devices of this machine are examined, except disks with partitions.
/// Devices may also be image files.
///
/// A node is listed if it holds a slot in the slot map of the volume: it has mounted the volume and
/// not unmounted it. Its heartbeat shows whether it is alive. A node whose heartbeat changes is
/// listed by name only. On a terminal and with -v, a node whose heartbeat has stopped is marked
/// "(crashed 3 days ago)", and one whose state cannot be determined is marked "(unknown)", as on a
/// local volume, which has no heartbeat. Other tables have only names, for scripts. JSON always has
/// the state. It takes 5 seconds to see that a node has crashed if its last heartbeat is old,
/// otherwise up to its dead threshold (usually a minute). A volume whose slots are held by crashed
/// nodes only needs fsck, which is reported on standard error.
///
/// Nodes of a cluster of corosync (stack pcmk) write no heartbeat. On a member of that cluster it is
/// asked instead; a node that failed and was not fenced yet is marked "(to be fenced)". Elsewhere they
/// are unknown.
///
/// The exit status is 0, or 1 if a named device cannot be read or is not an OCFS2 volume. That of
/// --check is explained below.
#[derive(Clone, Debug, Parser)]
#[command(name = "mounted.ocfs2", version, after_long_help = JSON)]
pub struct Cli {
    /// Quick detect: list UUIDs and labels (the default)
    #[arg(short = 'd', long, conflicts_with = "full")]
    pub detect: bool,

    /// Full detect: list the nodes that have the volume mounted
    #[arg(short = 'f', long)]
    pub full: bool,

    /// Check the health of the volumes, for monitoring: print one line with figures, and exit with 0
    /// (OK), 1 (WARNING), 2 (CRITICAL) or 3 (UNKNOWN)
    #[arg(long, conflicts_with_all = ["detect", "watch"])]
    pub check: bool,

    /// Show the state of each node after its name, and explain on standard error how it is known
    /// and which devices could not be read
    #[arg(short, long)]
    pub verbose: bool,

    /// Print JSON; with --watch one object per round, each in one line
    #[arg(long)]
    pub json: bool,

    /// Repeat the list after this interval; on a terminal in a separate screen, with the time
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "5",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub watch: Option<u64>,

    /// Examine this partition of the named disks or disk images
    #[arg(long, value_name = "NUMBER", requires = "devices")]
    pub partition: Option<u32>,

    /// Watch the heartbeat for at most this long, instead of the dead threshold of the cluster;
    /// with 0 list only the contents of the slot map. With --check at least 5; there the default is 8
    #[arg(long, value_name = "SECONDS")]
    pub wait: Option<u64>,

    /// Block devices or image files, or LABEL=... or UUID=...; all block devices if none is given
    #[arg(value_name = "DEVICE")]
    pub devices: Vec<PathBuf>,
}

/// The command line, for manual pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// The exit statuses for failures: also of a wrong command line, with `--check` those of a
/// monitoring plugin, to which 1 means a warning.
pub fn failure() -> Failure {
    let unknown = Condition::Unknown.status();
    match ocfs2_cli::arguments().iter().any(|arg| arg == "--check") {
        true => Failure { usage: unknown, error: unknown },
        false => Failure::default(),
    }
}

impl Cli {
    /// The options for [`crate::list()`].
    pub fn options(&self) -> Options {
        let detail = match (self.full, self.wait) {
            // A service that monitors waits for ten seconds by default.
            (_, wait) if self.check => {
                Detail::Health { max_wait: Duration::from_secs(wait.unwrap_or(8)) }
            }
            (false, _) => Detail::Quick,
            (true, Some(0)) => Detail::SlotMap,
            (true, wait) => Detail::Nodes { max_wait: wait.map(Duration::from_secs) },
        };
        Options { devices: self.devices.clone(), partition: self.partition, detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn an_interval_is_told_from_a_device() {
        let cli = Cli::parse_from(["x", "-f", "--watch", "/dev/sdb"]);
        assert_eq!((cli.watch, cli.devices.len()), (Some(5), 1));
        assert_eq!(Cli::parse_from(["x", "-f", "--watch=9"]).watch, Some(9));
        assert!(Cli::try_parse_from(["x", "-f", "--watch=0"]).is_err());
        assert!(Cli::try_parse_from(["x", "-d", "-f"]).is_err());
        assert!(Cli::try_parse_from(["x", "-d", "--partition", "1"]).is_err());
    }

    #[test]
    fn the_least_asked_for_is_the_quick_list() {
        let detail = |args: &[&str]| Cli::parse_from(args).options().detail;
        assert_eq!(detail(&["x"]), Detail::Quick);
        assert_eq!(detail(&["x", "/dev/sdb"]), Detail::Quick);
        assert_eq!(detail(&["x", "-f"]), Detail::Nodes { max_wait: None });
        assert_eq!(detail(&["x", "-f", "--wait", "0"]), Detail::SlotMap);
        let max_wait = Duration::from_secs(8);
        assert_eq!(detail(&["x", "--check"]), Detail::Health { max_wait });
        assert!(Cli::try_parse_from(["x", "--check", "-d"]).is_err());
        let max_wait = Some(Duration::from_secs(3));
        assert_eq!(detail(&["x", "-f", "--wait", "3"]), Detail::Nodes { max_wait });
    }
}
