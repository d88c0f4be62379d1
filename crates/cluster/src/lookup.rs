//! Lookup of the members of a cluster: names of its nodes, global heartbeat regions.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{ClusterConf, ConfError, CorosyncConf};

/// The places where clusters are looked up.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Possible mount points of configfs, in the order in which they are tried.
    pub configfs: Vec<PathBuf>,
    /// The configuration file of o2cb.
    pub conf: PathBuf,
    /// That of corosync.
    pub corosync: PathBuf,
}

impl Default for Sources {
    /// The places on this machine.
    fn default() -> Self {
        Self {
            configfs: vec!["/sys/kernel/config".into(), "/config".into()],
            conf: ClusterConf::PATH.into(),
            corosync: Path::new("/").join(CorosyncConf::PATH),
        }
    }
}

/// Names of the nodes of one cluster.
#[derive(Debug, Default)]
pub struct NodeNames {
    names: BTreeMap<u32, String>,
    /// Why the configuration file could not be used, if it was needed. A missing file is not a
    /// problem.
    pub problem: Option<ConfError>,
}

impl NodeNames {
    /// Looks up the nodes of `cluster` in configfs, or else in the configuration of corosync if that
    /// is its cluster, or else in the configuration file of o2cb.
    ///
    /// Without a name, uses the only cluster if there is just one: a volume without cluster info
    /// does not say to which cluster it belongs.
    pub fn find(sources: &Sources, cluster: Option<&str>) -> Self {
        let running = sources.configfs.iter().find_map(|root| from_configfs(root, cluster));
        if let Some(names) = running.filter(|names| !names.is_empty()) {
            return Self { names, problem: None };
        }
        let corosync = fs::read_to_string(&sources.corosync).unwrap_or_default();
        let corosync = CorosyncConf::parse(&corosync);
        if cluster.is_some() && corosync.cluster.as_deref() == cluster {
            return Self { names: corosync.nodes, problem: None };
        }
        match ClusterConf::read(&sources.conf) {
            Ok(conf) => Self { names: from_conf(&conf, cluster), problem: None },
            Err(ConfError::Read(err)) if err.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(problem) => Self { names: BTreeMap::new(), problem: Some(problem) },
        }
    }

    /// Node number `node` in words, with its name if known.
    pub fn describe(&self, node: u32) -> String {
        describe(node, self.get(node))
    }

    /// The name of node number `node`.
    pub fn get(&self, node: u32) -> Option<&str> {
        self.names.get(&node).map(String::as_str)
    }
}

/// Node number `node` in words, with its name if known.
pub(crate) fn describe(node: u32, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("node {node} ({name})"),
        None => format!("node {node}"),
    }
}

fn from_conf(conf: &ClusterConf, cluster: Option<&str>) -> BTreeMap<u32, String> {
    let cluster = match (cluster, &conf.clusters[..]) {
        (Some(name), _) => name,
        (None, [only]) => &only.name,
        (None, _) => return BTreeMap::new(),
    };
    conf.nodes_of(cluster).map(|node| (node.number.into(), node.name.clone())).collect()
}

/// Returns the UUIDs of the volumes with the global heartbeat regions of a cluster, 32 upper-case
/// digits each, from configfs or else from the configuration file. Empty if neither can be read.
pub fn heartbeat_regions(sources: &Sources, cluster: &str) -> Vec<String> {
    let running = sources.configfs.iter().find_map(|root| {
        let dir = cluster_dir(root, Some(cluster))?.join("heartbeat");
        let regions = fs::read_dir(dir).ok()?.flatten().filter(|entry| entry.path().is_dir());
        Some(regions.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
    });
    running.filter(|regions: &Vec<_>| !regions.is_empty()).unwrap_or_else(|| {
        let conf = ClusterConf::read(&sources.conf).unwrap_or_default();
        let regions = conf.heartbeats.into_iter().filter(|region| region.cluster == cluster);
        regions.map(|region| region.region).collect()
    })
}

/// Returns the time without a beat after which a cluster considers a node dead: the value in
/// configfs, or else the kernel's default of 62 s. At most ten minutes.
pub fn dead_threshold(sources: &Sources, cluster: Option<&str>) -> Duration {
    /// In beats of two seconds.
    const DEFAULT: u32 = 31;
    const MOST: u32 = 300;
    let beats = sources.configfs.iter().find_map(|root| {
        let file = cluster_dir(root, cluster)?.join("heartbeat/dead_threshold");
        fs::read_to_string(file).ok()?.trim().parse().ok()
    });
    Duration::from_secs(2 * u64::from(beats.unwrap_or(DEFAULT).min(MOST)))
}

/// The folder of a cluster that is online; `None` if there is no such cluster.
fn cluster_dir(root: &Path, cluster: Option<&str>) -> Option<PathBuf> {
    let clusters = root.join("cluster");
    let name = match cluster {
        // Must not be a path: it may come from a volume, even a damaged one.
        Some(name) if name.is_empty() || name.contains('/') || name.starts_with('.') => None,
        Some(name) => Some(name.into()),
        None => {
            let mut names = fs::read_dir(&clusters).ok()?.flatten().map(|entry| entry.file_name());
            names.next().filter(|_| names.next().is_none())
        }
    }?;
    Some(clusters.join(name))
}

/// The nodes of a cluster that is online.
fn from_configfs(root: &Path, cluster: Option<&str>) -> Option<BTreeMap<u32, String>> {
    let nodes = fs::read_dir(cluster_dir(root, cluster)?.join("node")).ok()?.flatten();
    let named = nodes.filter_map(|node| {
        let number = fs::read_to_string(node.path().join("num")).ok()?.trim().parse().ok()?;
        Some((number, node.file_name().to_string_lossy().into_owned()))
    });
    Some(named.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Machine {
        root: tempfile::TempDir,
        sources: Sources,
    }

    impl Machine {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let sources = Sources {
                configfs: vec![root.path().join("none"), root.path().join("config")],
                conf: root.path().join("cluster.conf"),
                corosync: root.path().join("corosync.conf"),
            };
            Self { root, sources }
        }

        fn online(self, cluster: &str, node: &str, number: u32) -> Self {
            let dir = self.root.path().join("config/cluster").join(cluster).join("node").join(node);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("num"), format!("{number}\n")).unwrap();
            self
        }

        fn configured(self, cluster: &str, node: &str, number: u32) -> Self {
            let text = format!(
                "cluster:\n name = {cluster}\n node_count = 1\n\nnode:\n cluster = {cluster}\n \
                 name = {node}\n number = {number}\n ip_address = 10.0.0.1\n ip_port = 7777\n\n"
            );
            let before = fs::read_to_string(&self.sources.conf).unwrap_or_default();
            fs::write(&self.sources.conf, before + &text).unwrap();
            self
        }

        fn name(&self, cluster: Option<&str>, node: u32) -> Option<String> {
            NodeNames::find(&self.sources, cluster).get(node).map(str::to_owned)
        }
    }

    #[test]
    fn the_running_cluster_comes_before_the_configuration() {
        let machine = Machine::new().online("ovs", "running", 1).configured("ovs", "written", 1);
        assert_eq!(machine.name(Some("ovs"), 1).as_deref(), Some("running"));
        assert_eq!(machine.name(None, 1).as_deref(), Some("running"));
        assert_eq!(machine.name(Some("ovs"), 2), None);
    }

    #[test]
    fn a_cluster_that_is_not_online_has_the_names_of_the_configuration() {
        let machine = Machine::new().online("other", "x", 1).configured("ovs", "written", 1);
        assert_eq!(machine.name(Some("ovs"), 1).as_deref(), Some("written"));
        assert_eq!(machine.name(Some("unheard"), 1), None);
    }

    #[test]
    fn the_nodes_of_a_cluster_of_corosync_are_in_its_configuration() {
        let machine = Machine::new().configured("ovs", "written", 1);
        let conf = "totem {\ncluster_name: hac\n}\nnodelist {\nnode {\nnodeid: 1\nname: x\n}\n}\n";
        fs::write(&machine.sources.corosync, conf).unwrap();
        assert_eq!(machine.name(Some("hac"), 1).as_deref(), Some("x"));
        let names = NodeNames::find(&machine.sources, Some("hac"));
        assert_eq!((names.describe(1), names.describe(2)), ("node 1 (x)".into(), "node 2".into()));
        assert_eq!(machine.name(Some("ovs"), 1).as_deref(), Some("written"));
        assert_eq!(machine.name(None, 1).as_deref(), Some("written"));
    }

    #[test]
    fn global_regions_are_those_of_the_running_cluster_else_configured() {
        let machine = Machine::new();
        let region = |name: &str| format!("heartbeat:\n cluster = {name}\n region = {name}1\n\n");
        fs::write(&machine.sources.conf, region("ovs") + &region("other")).unwrap();
        assert_eq!(heartbeat_regions(&machine.sources, "ovs"), ["ovs1"]);
        let heartbeat = machine.root.path().join("config/cluster/ovs/heartbeat");
        fs::create_dir_all(&heartbeat).unwrap();
        fs::write(heartbeat.join("mode"), "global\n").unwrap();
        assert_eq!(heartbeat_regions(&machine.sources, "ovs"), ["ovs1"]);
        fs::create_dir(heartbeat.join("AB12")).unwrap();
        assert_eq!(heartbeat_regions(&machine.sources, "ovs"), ["AB12"]);
        assert!(heartbeat_regions(&machine.sources, "..").is_empty());
    }

    #[test]
    fn the_dead_threshold_is_that_of_the_running_cluster_else_the_default() {
        let machine = Machine::new();
        let threshold = || dead_threshold(&machine.sources, Some("ovs")).as_secs();
        assert_eq!(threshold(), 62);
        let heartbeat = machine.root.path().join("config/cluster/ovs/heartbeat");
        fs::create_dir_all(&heartbeat).unwrap();
        for (text, seconds) in [("16\n", 32), ("61\n", 122), ("4294967295\n", 600), ("x", 62)] {
            fs::write(heartbeat.join("dead_threshold"), text).unwrap();
            assert_eq!(threshold(), seconds, "{text}");
        }
    }

    #[test]
    fn of_several_clusters_none_is_taken_for_an_unnamed_one() {
        let machine = Machine::new().configured("a", "x", 1).configured("b", "y", 1);
        assert_eq!(machine.name(None, 1), None);
        assert_eq!(machine.name(Some("b"), 1).as_deref(), Some("y"));
        assert_eq!(machine.name(Some("../b"), 1), None);
    }

    #[test]
    fn no_configuration_is_fine_and_a_broken_one_is_a_problem() {
        let machine = Machine::new();
        assert!(NodeNames::find(&machine.sources, None).problem.is_none());
        fs::write(&machine.sources.conf, "nonsense\n").unwrap();
        let problem = NodeNames::find(&machine.sources, None).problem.unwrap();
        assert!(problem.to_string().starts_with("line 1: "), "{problem}");
    }
}
