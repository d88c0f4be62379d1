//! The o2cb cluster as this machine knows it: `/etc/ocfs2/cluster.conf` and configfs.
//!
//! Volumes only hold numbers of nodes; the names are here.
#![deny(missing_docs)]

mod conf;
mod conf_file;
mod lookup;
mod running;
mod stanza;

pub use conf::{Cluster, ClusterConf, ConfError, Heartbeat, HeartbeatMode, Node};
pub use conf_file::{
    ConfFile, EditError, MAX_CLUSTER_NAME, MAX_NODE_NAME, MAX_REGIONS, write_whole,
};
pub use lookup::{NodeNames, Sources, heartbeat_regions};
pub use running::RunningCluster;
pub use stanza::{SyntaxError, SyntaxProblem};
