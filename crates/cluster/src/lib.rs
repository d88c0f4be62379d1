//! The o2cb cluster as this machine knows it: `/etc/ocfs2/cluster.conf` and configfs.
//!
//! Volumes only hold numbers of nodes; the names are here.
#![deny(missing_docs)]

mod conf;
mod lookup;
mod running;
mod stanza;

pub use conf::{Cluster, ClusterConf, ConfError, Heartbeat, HeartbeatMode, Node};
pub use lookup::{NodeNames, Sources, heartbeat_regions};
pub use running::RunningCluster;
pub use stanza::{SyntaxError, SyntaxProblem};
