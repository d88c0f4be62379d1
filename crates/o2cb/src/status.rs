//! What is loaded, online and beating.

use std::fmt;

use ocfs2_cli::terminal;
use ocfs2_cluster::{HeartbeatMode, Kernel, Online, stack};
use serde::Serialize;

/// The state of this host.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Status {
    /// Label of the kernel's stack; nothing if OCFS2 is not loaded.
    pub stack: Option<String>,
    /// The cluster that is online.
    pub cluster: Option<Cluster>,
}

/// A cluster that is online.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Iterations until a silent node is dead.
    pub dead_threshold: Option<u32>,
    /// Milliseconds.
    pub idle_timeout_ms: Option<u32>,
    /// Milliseconds.
    pub keepalive_delay_ms: Option<u32>,
    /// Milliseconds.
    pub reconnect_delay_ms: Option<u32>,
    /// `local` or `global`.
    pub heartbeat_mode: String,
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// The regions this host beats in.
    pub regions: Vec<String>,
}

/// A node of it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Node {
    /// Its number.
    pub number: u8,
    /// Its name.
    pub name: String,
    /// Whether it is this host.
    pub local: bool,
}

impl Status {
    /// Now.
    pub fn find(kernel: &dyn Kernel) -> Self {
        let online = Online::find(kernel);
        let cluster = online.as_ref().and_then(|online| {
            let name = online.cluster()?;
            let number = |file: &str| online.read(&name, file)?.parse().ok();
            let nodes = online.nodes(&name).into_iter();
            let mut nodes: Vec<_> =
                nodes.map(|(name, number, local)| Node { number, name, local }).collect();
            nodes.sort_by_key(|node| node.number);
            Some(Cluster {
                dead_threshold: number("heartbeat/dead_threshold"),
                idle_timeout_ms: number("idle_timeout_ms"),
                keepalive_delay_ms: number("keepalive_delay_ms"),
                reconnect_delay_ms: number("reconnect_delay_ms"),
                heartbeat_mode: online.heartbeat_mode(&name).to_string(),
                nodes,
                regions: online.regions(&name),
                name,
            })
        });
        Self { stack: stack::current(kernel), cluster }
    }

    /// Whether a volume could be mounted: the cluster is online, and beats where it does so
    /// before any volume is mounted.
    pub fn is_online(&self) -> bool {
        let global = HeartbeatMode::Global.to_string();
        let silent =
            |cluster: &Cluster| cluster.heartbeat_mode == global && cluster.regions.is_empty();
        self.cluster.as_ref().is_some_and(|cluster| !silent(cluster))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loaded = if self.stack.is_some() { "Loaded" } else { "Not loaded" };
        writeln!(f, "Stack glue driver: {loaded}")?;
        if let Some(stack) = &self.stack {
            writeln!(f, "Cluster stack: {}", terminal(stack))?;
        }
        let Some(cluster) = &self.cluster else {
            return writeln!(f, "Checking O2CB cluster: Offline");
        };
        writeln!(f, "Checking O2CB cluster \"{}\": Online", terminal(&cluster.name))?;
        for (what, number) in [
            ("Heartbeat dead threshold", cluster.dead_threshold),
            ("Network idle timeout", cluster.idle_timeout_ms),
            ("Network keepalive delay", cluster.keepalive_delay_ms),
            ("Network reconnect delay", cluster.reconnect_delay_ms),
        ] {
            if let Some(number) = number {
                writeln!(f, "  {what}: {number}")?;
            }
        }
        let global = cluster.heartbeat_mode == "global";
        writeln!(f, "  Heartbeat mode: {}", if global { "Global" } else { "Local" })?;
        for Node { number, name, local } in &cluster.nodes {
            let here = if *local { " (this host)" } else { "" };
            writeln!(f, "  Node {number}: {}{here}", terminal(name))?;
        }
        if cluster.regions.is_empty() {
            return writeln!(f, "Checking O2CB heartbeat: Not active");
        }
        writeln!(f, "Checking O2CB heartbeat: Active")?;
        cluster.regions.iter().try_for_each(|region| writeln!(f, "  {}", terminal(region)))
    }
}

#[cfg(test)]
mod tests {
    use ocfs2_cluster::fake::FakeKernel;
    use ocfs2_cluster::{ClusterConf, Timeouts};

    use super::*;

    #[test]
    fn the_status_tells_what_a_person_wants_to_know() {
        let kernel = FakeKernel::new("b");
        let status = Status::find(&kernel);
        assert_eq!(
            status.to_string(),
            "Stack glue driver: Not loaded\nChecking O2CB cluster: Offline\n"
        );
        assert!(!status.is_online());
        let conf = "cluster:\n\tname = web\n\tnode_count = 1\n\n\
            node:\n\tcluster = web\n\tname = b\n\tnumber = 7\n\tip_address = 10.0.0.1\n\tip_port = 7777\n";
        let conf = ClusterConf::parse(conf).unwrap();
        let online = Online::prepare(&kernel).unwrap();
        online.register(&conf, "web", &Timeouts::default()).unwrap();
        let status = Status::find(&kernel);
        let expected = "\
Stack glue driver: Loaded
Cluster stack: o2cb
Checking O2CB cluster \"web\": Online
  Heartbeat dead threshold: 31
  Network idle timeout: 30000
  Network keepalive delay: 2000
  Network reconnect delay: 2000
  Heartbeat mode: Local
  Node 7: b (this host)
Checking O2CB heartbeat: Not active
";
        assert_eq!(status.to_string(), expected);
        assert!(status.is_online());
    }
}
