//! The o2cb cluster as this machine knows it: `/etc/ocfs2/cluster.conf` and configfs.
//!
//! Volumes contain only the numbers of nodes; their names are here. [`ConfFile`] changes the file,
//! [`Online`] brings a cluster online in the kernel, [`References`] counts the users of a
//! heartbeat. All access to the kernel goes through [`Kernel`].
#![deny(missing_docs)]

mod compare;
mod conf;
mod conf_file;
pub mod domain;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod kernel;
mod lookup;
mod online;
mod references;
mod running;
pub mod stack;
mod stanza;

pub use compare::{Difference, Registered};
pub use conf::{Cluster, ClusterConf, ConfError, Heartbeat, HeartbeatMode, Node};
pub use conf_file::{
    ConfFile, EditError, MAX_CLUSTER_NAME, MAX_NODE_NAME, MAX_REGIONS, check_cluster_name,
    write_whole,
};
pub use kernel::{Kernel, RunningKernel};
pub use lookup::{NodeNames, Sources, dead_threshold, heartbeat_regions};
pub use online::{Online, OnlineError, RegionPlace, Timeouts, is_host};
pub use references::{ReferenceError, References};
pub use running::{RunningCluster, corosync_cluster};
pub use stack::StackError;
pub use stanza::{SyntaxError, SyntaxProblem};
