//! The cluster as this machine knows it: that of o2cb by `/etc/ocfs2/cluster.conf` and configfs, that
//! of corosync (stack `pcmk`) by `corosync.conf`, the kernel's lock manager and what its services
//! print.
//!
//! Volumes contain only the numbers of nodes; their names are here. [`ConfFile`] changes the file,
//! [`Online`] brings a cluster online in the kernel, [`References`] counts the users of a
//! heartbeat. [`DlmCluster`] and [`Membership`] are about a cluster of corosync, [`Lockspace`] keeps
//! its nodes from a volume. All access to the kernel goes through [`Kernel`].
#![deny(missing_docs)]

mod compare;
mod conf;
mod conf_file;
mod corosync;
mod dlm;
pub mod domain;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod kernel;
mod lockspace;
mod lookup;
mod membership;
mod online;
mod program;
mod ready;
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
pub use corosync::CorosyncConf;
pub use dlm::DlmCluster;
pub use kernel::{Kernel, RunningKernel};
pub use lockspace::{Lock as SpaceLock, Lockspace, LockspaceError};
pub use lookup::{NodeNames, Sources, dead_threshold, heartbeat_regions};
pub use membership::{Member, Membership, MembershipError, Wait, users_of};
pub use online::{Online, OnlineError, RegionPlace, Timeouts, is_host};
pub use ready::{NotReady, Patience, describe as describe_wait, wait_until_ready};
pub use references::{ReferenceError, References};
pub use running::RunningCluster;
pub use stack::StackError;
pub use stanza::{SyntaxError, SyntaxProblem};
