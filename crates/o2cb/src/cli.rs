//! The command line of `o2cb`.

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use ocfs2_cluster::{ClusterConf, HeartbeatMode};

use crate::sysconfig::sysconfig_path;

/// Configure the o2cb cluster of OCFS2, and bring it online.
///
/// The cluster is described in /etc/ocfs2/cluster.conf, which has to be the same on all nodes. It
/// lists the nodes with number, IPv4 address and port, and states whether nodes beat on every
/// volume they mount (local heartbeat) or in separate regions (global). When o2cb changes this
/// file, comments and unknown keys are kept. A node is this host if it has the name of the host.
///
/// Whether the cluster is brought online at boot, and its timeouts, are in /etc/sysconfig/o2cb if
/// that file exists, else in /etc/default/o2cb. If neither exists, `o2cb configure` creates the one
/// whose folder exists. The timeouts have to be the same on all nodes, too.
///
/// register-cluster, online and status compare a cluster that is online with these files.
/// register-cluster and online change differences in the kernel where it allows that (addresses and
/// numbers of nodes only while no volume is mounted), and all three report them.
///
/// On a member of a cluster of corosync (stack pcmk), status, cluster-status and list-nodes show that
/// cluster, which its own services bring online.
///
/// The exit status is 0, or 1 if something failed or was refused; for cluster-status and status
/// also 1 if the cluster is not online.
#[derive(Clone, Debug, Parser)]
#[command(name = "o2cb", version, arg_required_else_help = true)]
pub struct Cli {
    /// The cluster's configuration
    #[arg(long, value_name = "PATH", default_value = ClusterConf::PATH, global = true)]
    pub config_file: PathBuf,

    /// The file with the timeouts; by default /etc/sysconfig/o2cb or /etc/default/o2cb
    #[arg(long, value_name = "PATH", global = true)]
    pub sysconfig: Option<PathBuf>,

    /// Report what is done
    #[arg(short, long, global = true)]
    pub verbose: bool,

    /// The command
    #[command(subcommand)]
    pub command: Command,
}

/// The commands of `o2cb`.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Add a cluster to the configuration
    AddCluster(ClusterName),
    /// Remove a cluster with its nodes and heartbeat regions from the configuration
    RemoveCluster(ClusterName),
    /// Add a node to the configuration of a cluster
    AddNode {
        /// The cluster
        cluster: String,
        /// The node, named like its host
        node: String,
        /// Its IPv4 address; by default the one to which its name resolves
        #[arg(long, value_name = "ADDRESS")]
        ip: Option<String>,
        /// The TCP port on which it listens
        #[arg(long, default_value_t = 7777, value_parser = clap::value_parser!(u16).range(1..))]
        port: u16,
        /// Its number; by default the lowest free one
        #[arg(long, value_parser = clap::value_parser!(u8).range(0..=254))]
        number: Option<u8>,
    },
    /// Remove a node from the configuration of a cluster
    RemoveNode {
        /// The cluster
        cluster: String,
        /// The node
        node: String,
    },
    /// Add a global heartbeat region to the configuration of a cluster
    AddHeartbeat(Region),
    /// Remove a global heartbeat region from the configuration of a cluster
    RemoveHeartbeat(Region),
    /// Make the nodes of a cluster beat on each volume, or in global regions
    HeartbeatMode {
        /// The cluster
        cluster: String,
        /// Where they beat
        mode: Mode,
    },
    /// List the names of the clusters in the configuration
    ListClusters,
    /// List a cluster of the configuration, with its nodes and regions
    ListCluster(Listed),
    /// List the nodes of a cluster in the configuration
    ListNodes(Listed),
    /// List the heartbeat regions of a cluster in the configuration
    ListHeartbeats(Listed),
    /// Register a cluster and its nodes with the kernel, or update one that is already registered
    RegisterCluster(ClusterName),
    /// Unregister a cluster from the kernel
    UnregisterCluster(ClusterName),
    /// Start the global heartbeat of a cluster in all its regions, and stop it in those that are no
    /// longer in the configuration; with local heartbeat do nothing
    StartHeartbeat(Heartbeat),
    /// Stop the global heartbeat of a cluster
    StopHeartbeat(Heartbeat),
    /// Report whether a cluster is online, by status 0 and in words
    ClusterStatus {
        /// The cluster; any if none is given
        cluster: Option<String>,
    },
    /// Set what happens at boot, and the timeouts; asks questions unless options are given
    Configure(Configure),
    /// Bring a cluster online: modules, stack, cluster, nodes, global heartbeat
    Online {
        /// The cluster; by default the one set for boot, or the only one in the configuration
        cluster: Option<String>,
        /// Do nothing if `o2cb configure` did not enable it; for boot
        #[arg(long)]
        if_enabled: bool,
    },
    /// Take a cluster offline: global heartbeat, nodes, cluster
    Offline {
        /// The cluster; by default the one that is online
        cluster: Option<String>,
    },
    /// Report what this host lacks for the cluster, each with what to do, and status 1 if anything
    ///
    /// Looked at are the kernel's modules, configfs, the configuration, the name and the address of
    /// this host, the ports of the other nodes, and what the kernel has of a cluster that is online.
    Check {
        /// The cluster; by default the one set for boot, or the only one in the configuration
        cluster: Option<String>,
        /// Also compare the configuration with that of this host, which `ssh` reaches without a
        /// question; may be given several times
        #[arg(long, value_name = "HOST")]
        peer: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what is loaded, online and beating
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// A cluster by its name.
#[derive(Args, Clone, Debug)]
pub struct ClusterName {
    /// The cluster
    pub cluster: String,
}

/// A cluster whose heartbeat is started or stopped.
#[derive(Args, Clone, Debug)]
pub struct Heartbeat {
    /// The cluster
    pub cluster: String,
    /// Ignored; the regions are those of the configuration
    #[arg(long, value_name = "DEVICE")]
    pub heartbeat_device: Option<PathBuf>,
}

/// A region of a cluster.
#[derive(Args, Clone, Debug)]
pub struct Region {
    /// The cluster
    pub cluster: String,
    /// The UUID of a volume or heartbeat device, or the block device it is on
    #[arg(value_name = "UUID|DEVICE")]
    pub region: String,
}

/// The cluster to list, and how.
#[derive(Args, Clone, Debug)]
pub struct Listed {
    /// The cluster
    pub cluster: String,
    /// Print one line for each item
    #[arg(long)]
    pub oneline: bool,
}

/// Where nodes beat.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Mode {
    /// On every volume they mount
    Local,
    /// In the regions of the configuration
    Global,
}

impl From<Mode> for HeartbeatMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Local => Self::Local,
            Mode::Global => Self::Global,
        }
    }
}

/// The settings of `configure`.
#[derive(Args, Clone, Debug, Default, Eq, PartialEq)]
pub struct Configure {
    /// Bring the cluster online at boot
    #[arg(long, value_name = "yes|no", value_parser = yes_or_no)]
    pub load_on_boot: Option<bool>,
    /// The cluster stack
    #[arg(long, value_parser = ["o2cb", "pcmk", "cman"])]
    pub stack: Option<String>,
    /// The cluster to bring online at boot; `none` for none
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Iterations of 2 s, plus one, after which a node without heartbeat is dead
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(3..))]
    pub dead_threshold: Option<u32>,
    /// Milliseconds after which a silent connection is broken
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..))]
    pub idle_timeout: Option<u32>,
    /// Milliseconds of silence after which a keepalive packet is sent
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..))]
    pub keepalive_delay: Option<u32>,
    /// Milliseconds between attempts to connect
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..))]
    pub reconnect_delay: Option<u32>,
}

/// Parses yes or no, also in the forms used in settings files.
pub(crate) fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "y" | "true" | "on" | "1" => Ok(true),
        "no" | "n" | "false" | "off" | "0" => Ok(false),
        _ => Err("expected yes or no".to_owned()),
    }
}

/// The command line, for manual pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

impl Cli {
    /// The path of the file with the timeouts.
    pub fn sysconfig(&self) -> PathBuf {
        self.sysconfig.clone().unwrap_or_else(|| sysconfig_path(Path::new("/")))
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
    fn options_of_all_commands_go_before_and_behind() {
        for line in [
            ["o2cb", "--config-file=x", "list-clusters"],
            ["o2cb", "list-clusters", "--config-file=x"],
        ] {
            assert_eq!(Cli::parse_from(line).config_file, Path::new("x"));
        }
        let line = ["o2cb", "configure", "--load-on-boot", "yes", "--dead-threshold", "8"];
        let Command::Configure(told) = Cli::parse_from(line).command else { panic!() };
        assert_eq!((told.load_on_boot, told.dead_threshold), (Some(true), Some(8)));
        assert!(Cli::try_parse_from(["o2cb", "configure", "--dead-threshold", "2"]).is_err());
        let maybe = Cli::try_parse_from(["o2cb", "configure", "--load-on-boot", "maybe"]);
        let err = maybe.unwrap_err().to_string();
        assert!(err.contains("'maybe' for '--load-on-boot <yes|no>': expected yes or no"), "{err}");
        assert!(Cli::try_parse_from(["o2cb", "add-node", "c", "n", "--number", "255"]).is_err());
    }
}
