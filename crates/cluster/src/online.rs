//! Clusters in configfs: bringing one online, taking it offline, its heartbeat regions.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::compare::{Difference, Registered, node_text};
use crate::{ClusterConf, HeartbeatMode, Kernel, Node, StackError, stack};

/// Timeouts of a cluster, which have to be the same on all nodes. `None` leaves the kernel's value.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Timeouts {
    /// Iterations of 2 s, plus one, after which a silent node is dead; at least 3.
    pub dead_threshold: Option<u32>,
    /// Milliseconds after which a silent connection is broken.
    pub idle_timeout_ms: Option<u32>,
    /// Milliseconds of silence after which a keepalive message is sent.
    pub keepalive_delay_ms: Option<u32>,
    /// Milliseconds between attempts to connect.
    pub reconnect_delay_ms: Option<u32>,
}

impl Timeouts {
    /// The kernel's defaults.
    pub const OF_KERNEL: Self = Self {
        dead_threshold: Some(31),
        idle_timeout_ms: Some(30_000),
        keepalive_delay_ms: Some(2_000),
        reconnect_delay_ms: Some(2_000),
    };

    /// Takes the missing values from `other`.
    pub fn or(self, other: Self) -> Self {
        Self {
            dead_threshold: self.dead_threshold.or(other.dead_threshold),
            idle_timeout_ms: self.idle_timeout_ms.or(other.idle_timeout_ms),
            keepalive_delay_ms: self.keepalive_delay_ms.or(other.keepalive_delay_ms),
            reconnect_delay_ms: self.reconnect_delay_ms.or(other.reconnect_delay_ms),
        }
    }

    /// For each timeout its file below the cluster's folder, its title and its value.
    pub(crate) fn files(&self) -> [(&'static str, &'static str, Option<u32>); 4] {
        [
            ("heartbeat/dead_threshold", "heartbeat dead threshold", self.dead_threshold),
            ("idle_timeout_ms", "network idle timeout", self.idle_timeout_ms),
            ("keepalive_delay_ms", "network keepalive delay", self.keepalive_delay_ms),
            ("reconnect_delay_ms", "network reconnect delay", self.reconnect_delay_ms),
        ]
    }
}

/// The heartbeat region of a volume, as configfs describes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RegionPlace {
    /// UUID of the volume, 32 upper-case digits, which is the name of the region.
    pub uuid: String,
    /// Sector size of the device in bytes.
    pub block_bytes: u32,
    /// Number of the first sector.
    pub start_block: u64,
    /// Number of sectors, at most 255.
    pub blocks: u32,
}

impl RegionPlace {
    /// The region of `size_bytes` at `offset_bytes` of a device with sectors of `sector_bytes`,
    /// which is a power of two.
    pub fn new(uuid: String, offset_bytes: u64, size_bytes: u64, sector_bytes: u32) -> Self {
        let sector = u64::from(sector_bytes.max(512));
        let blocks = (size_bytes / sector).min(255) as u32;
        Self { uuid, block_bytes: sector_bytes, start_block: offset_bytes / sector, blocks }
    }
}

/// The error of changing a cluster in configfs.
#[derive(Debug, thiserror::Error)]
pub enum OnlineError {
    /// The stack cannot be used.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// There is no configfs with clusters.
    #[error("configfs has no folder `cluster`: is it mounted on /sys/kernel/config?{}", said(.0))]
    NoConfigfs(Option<io::Error>),
    /// The cluster is not in the configuration.
    #[error("there is no cluster `{name}` in {}{}", ClusterConf::PATH, list(there))]
    NotConfigured {
        /// The name of the cluster.
        name: String,
        /// The clusters in the configuration.
        there: Vec<String>,
    },
    /// This host is not a node of the cluster.
    #[error(
        "this host is `{host}`, and cluster `{cluster}` has no node of that name{}: add it on all \
         nodes with `o2cb add-node {cluster} {host} --ip ADDRESS`, or name the host as the \
         configuration does",
        list(nodes)
    )]
    NotANode {
        /// Name of the host.
        host: String,
        /// Name of the cluster.
        cluster: String,
        /// Its nodes.
        nodes: Vec<String>,
    },
    /// Another cluster is online, and there can be only one.
    #[error("cluster `{online}` is online, and only one can be: o2cb offline {online}")]
    Other {
        /// The name of the other cluster.
        online: String,
    },
    /// The cluster is not online.
    #[error("cluster `{0}` is not online")]
    NotOnline(String),
    /// Part of a cluster is in use.
    #[error("{what} is in use{}", list(by))]
    Busy {
        /// The part in use.
        what: String,
        /// What uses it, as far as is known.
        by: Vec<String>,
    },
    /// The kernel refuses a value.
    #[error("the kernel refuses {value} for {path}: {cause}")]
    Refused {
        /// The file or folder, relative to the folder of the cluster.
        path: String,
        /// The value that was written.
        value: String,
        /// The error of the kernel.
        cause: io::Error,
    },
}

fn said(err: &Option<io::Error>) -> String {
    err.as_ref().map(|err| format!(" (mounting it: {err})")).unwrap_or_default()
}

fn list(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}

/// The clusters of configfs.
pub struct Online<'k> {
    kernel: &'k dyn Kernel,
    /// `sys/kernel/config/cluster`.
    root: &'static str,
}

impl fmt::Debug for Online<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Online").field("root", &self.root).finish_non_exhaustive()
    }
}

impl<'k> Online<'k> {
    /// Finds the folder of the clusters; `None` if the modules are not loaded.
    pub fn find(kernel: &'k dyn Kernel) -> Option<Self> {
        let roots = ["sys/kernel/config/cluster", "config/cluster"];
        let root = roots.into_iter().find(|root| kernel.exists(root))?;
        Some(Self { kernel, root })
    }

    /// Like [`Online::find`], but first loads the modules of o2cb and mounts configfs where
    /// necessary.
    ///
    /// # Errors
    /// [`OnlineError::Stack`], [`OnlineError::NoConfigfs`].
    pub fn prepare(kernel: &'k dyn Kernel) -> Result<Self, OnlineError> {
        stack::load(kernel, stack::O2CB)?;
        if let Some(online) = Self::find(kernel) {
            return Ok(online);
        }
        let mounted = kernel.mount_configfs();
        Self::find(kernel).ok_or(OnlineError::NoConfigfs(mounted.err()))
    }

    /// The name of the cluster that is online.
    pub fn cluster(&self) -> Option<String> {
        self.kernel.folders(self.root).into_iter().next()
    }

    /// How the nodes of a cluster beat.
    pub fn heartbeat_mode(&self, cluster: &str) -> HeartbeatMode {
        match self.read(cluster, "heartbeat/mode").as_deref() {
            Some("global") => HeartbeatMode::Global,
            _ => HeartbeatMode::Local,
        }
    }

    /// The nodes of a cluster as (name, number, whether it is this host), in the order of their
    /// names.
    pub fn nodes(&self, cluster: &str) -> Vec<(String, u8, bool)> {
        let names = self.kernel.folders(&format!("{}/{cluster}/node", self.root)).into_iter();
        let nodes = names.map(|name| {
            let number = self.read(cluster, &format!("node/{name}/num"));
            let local = self.read(cluster, &format!("node/{name}/local"));
            let number = number.and_then(|number| number.parse().ok()).unwrap_or(0);
            (name, number, local.as_deref() == Some("1"))
        });
        nodes.collect()
    }

    /// The UUIDs of the regions in which this host beats.
    pub fn regions(&self, cluster: &str) -> Vec<String> {
        self.kernel.folders(&format!("{}/{cluster}/heartbeat", self.root))
    }

    /// Process ID of the kernel thread that beats in a region; 0 if there is none.
    pub fn pid(&self, cluster: &str, region: &str) -> u32 {
        let pid = self.read(cluster, &format!("heartbeat/{region}/pid"));
        pid.and_then(|pid| pid.parse().ok()).unwrap_or(0)
    }

    /// A value of a cluster in the kernel, such as `idle_timeout_ms` or `heartbeat/dead_threshold`.
    pub fn read(&self, cluster: &str, path: &str) -> Option<String> {
        let text = self.kernel.read(&format!("{}/{cluster}/{path}", self.root)).ok()?;
        Some(text.trim().to_owned())
    }

    /// The name of this host.
    pub(crate) fn host_name(&self) -> String {
        self.kernel.host_name()
    }

    /// Names of the nodes in the kernel, each with its text for comparison.
    pub(crate) fn node_texts(&self, cluster: &str) -> Vec<(String, String)> {
        let names = self.kernel.folders(&format!("{}/{cluster}/node", self.root)).into_iter();
        let text = |name: String| {
            let read =
                |file: &str| self.read(cluster, &format!("node/{name}/{file}")).unwrap_or_default();
            let is_local = read("local") == "1";
            let text = node_text(&read("num"), &read("ipv4_address"), &read("ipv4_port"), is_local);
            (name, text)
        };
        names.map(text).collect()
    }

    /// Brings a cluster online with its timeouts and nodes. Regions are not started.
    ///
    /// If the cluster is already online, missing nodes are added and timeouts are set as far as the
    /// kernel allows. The heartbeat mode and existing nodes are changed only if no region is
    /// started: the kernel accepts another address or number only for a new node, and a node must
    /// not be replaced under a mounted volume. After an error nothing is left of a new cluster.
    ///
    /// # Errors
    /// [`OnlineError`].
    pub fn register(
        &self,
        conf: &ClusterConf,
        name: &str,
        timeouts: &Timeouts,
    ) -> Result<Registered, OnlineError> {
        let Some(cluster) = conf.cluster(name) else {
            let there = conf.clusters.iter().map(|cluster| cluster.name.clone()).collect();
            return Err(OnlineError::NotConfigured { name: name.to_owned(), there });
        };
        let host = self.kernel.host_name();
        let nodes: Vec<&Node> = conf.nodes_of(name).collect();
        if !nodes.iter().any(|node| is_host(node, &host)) {
            let nodes = nodes.iter().map(|node| node.name.clone()).collect();
            return Err(OnlineError::NotANode { host, cluster: name.to_owned(), nodes });
        }
        let is_new = match self.cluster() {
            Some(online) if online != name => return Err(OnlineError::Other { online }),
            online => online.is_none(),
        };
        if !is_new {
            let before = self.differences(conf, name, timeouts);
            self.adapt(name, cluster.heartbeat_mode, timeouts, &before);
            self.add_nodes(name, &nodes, &host)?;
            return Ok(Registered::new(before, self.differences(conf, name, timeouts)));
        }
        self.create(name)?;
        let filled = self.fill(name, cluster.heartbeat_mode, timeouts, &nodes, &host);
        if filled.is_err() {
            // The first error is the one to report.
            let _ = self.unregister(name);
        }
        filled.map(|()| Registered::default())
    }

    /// Changes as much of an online cluster as the kernel allows. The caller compares again to find
    /// what it refused.
    fn adapt(
        &self,
        name: &str,
        mode: HeartbeatMode,
        timeouts: &Timeouts,
        differences: &[Difference],
    ) {
        let differs = |what: &str| differences.iter().any(|difference| difference.what == what);
        let timeouts = timeouts.files().into_iter().filter(|(_, title, _)| differs(title));
        let timeouts: Vec<_> = timeouts.map(|(file, _, value)| (file, value)).collect();
        let _ = self.write_timeouts(name, &timeouts);
        if !self.regions(name).is_empty() {
            return;
        }
        if differs("heartbeat mode") {
            let _ = self.write(name, "heartbeat/mode", &mode.to_string());
        }
        // Remove all of them before the first is recreated: two may have swapped their numbers.
        for (node, ..) in self.nodes(name) {
            if differs(&format!("node `{node}`")) {
                let _ = self.destroy(&format!("{name}/node/{node}"), &node);
            }
        }
    }

    /// Writes all values that can be written, and returns the first error.
    fn write_timeouts(&self, name: &str, files: &[(&str, Option<u32>)]) -> Result<(), OnlineError> {
        let mut files = files.to_vec();
        // The kernel demands at all times that keepalive is below idle.
        let keepalive = self.read(name, "keepalive_delay_ms").and_then(|text| text.parse().ok());
        let idle = files.iter().find(|(file, _)| *file == "idle_timeout_ms");
        if idle.and_then(|(_, value)| *value) <= keepalive {
            files.reverse();
        }
        let told = files.into_iter().filter_map(|(file, value)| Some((file, value?)));
        let written: Vec<_> =
            told.map(|(file, value)| self.write(name, file, &value.to_string())).collect();
        written.into_iter().collect()
    }

    fn fill(
        &self,
        name: &str,
        mode: HeartbeatMode,
        timeouts: &Timeouts,
        nodes: &[&Node],
        host: &str,
    ) -> Result<(), OnlineError> {
        let files = timeouts.files().map(|(file, _, value)| (file, value));
        self.write_timeouts(name, &files)?;
        // Kernels before 2.6.37 have no modes; their heartbeat is local.
        let has_modes = self.read(name, "heartbeat/mode").is_some();
        if has_modes || mode == HeartbeatMode::Global {
            self.write(name, "heartbeat/mode", &mode.to_string())?;
        }
        self.add_nodes(name, nodes, host)
    }

    /// Adds the nodes that are missing in the kernel.
    fn add_nodes(&self, name: &str, nodes: &[&Node], host: &str) -> Result<(), OnlineError> {
        let there = self.kernel.folders(&format!("{}/{name}/node", self.root));
        for node in nodes.iter().filter(|node| !there.contains(&node.name)) {
            let folder = format!("node/{}", node.name);
            self.create(&format!("{name}/{folder}"))?;
            let mut values = vec![
                ("ipv4_port", node.ip_port.to_string()),
                ("ipv4_address", node.ip_address.to_string()),
                ("num", node.number.to_string()),
            ];
            if is_host(node, host) {
                values.push(("local", "1".to_owned()));
            }
            for (file, value) in values {
                if let Err(err) = self.write(name, &format!("{folder}/{file}"), &value) {
                    let _ = self.kernel.remove_dir(&format!("{}/{name}/{folder}", self.root));
                    return Err(err);
                }
            }
        }
        Ok(())
    }

    /// Takes a cluster offline and removes its nodes. Its regions have to be stopped first.
    ///
    /// # Errors
    /// [`OnlineError::NotOnline`]; [`OnlineError::Busy`] while this host has a heartbeat region or
    /// a connection to another node.
    pub fn unregister(&self, name: &str) -> Result<(), OnlineError> {
        if !self.kernel.folders(self.root).iter().any(|online| online == name) {
            return Err(OnlineError::NotOnline(name.to_owned()));
        }
        let regions = self.regions(name);
        if !regions.is_empty() {
            let by = regions.iter().map(|region| format!("heartbeat region {region}")).collect();
            return Err(OnlineError::Busy { what: format!("cluster `{name}`"), by });
        }
        // The node of this host comes last, because others may still be connected to it.
        let mut nodes = self.nodes(name);
        nodes.sort_by_key(|(.., local)| *local);
        for (node, ..) in nodes {
            self.destroy(&format!("{name}/node/{node}"), &format!("node `{node}`"))?;
        }
        self.destroy(name, &format!("cluster `{name}`"))
    }

    /// Starts the heartbeat of this host in a region. It takes some seconds until others can rely
    /// on it. `device` has to be open for reading and writing, and may be closed afterwards.
    ///
    /// Returns whether it was started; `false` if the host already beats there.
    ///
    /// # Errors
    /// [`OnlineError::Refused`]; nothing is left of the region then.
    pub fn start_region(
        &self,
        cluster: &str,
        place: &RegionPlace,
        device: BorrowedFd<'_>,
    ) -> Result<bool, OnlineError> {
        let folder = format!("heartbeat/{}", place.uuid);
        let path = format!("{}/{cluster}/{folder}", self.root);
        if self.kernel.exists(&path) {
            if self.pid(cluster, &place.uuid) != 0 {
                return Ok(false);
            }
            // Left by a program that was killed before it had started the heartbeat.
            self.destroy(&format!("{cluster}/{folder}"), &format!("region {}", place.uuid))?;
        }
        self.create(&format!("{cluster}/{folder}"))?;
        let values = [
            ("block_bytes", place.block_bytes.to_string()),
            ("start_block", place.start_block.to_string()),
            ("blocks", place.blocks.to_string()),
            ("dev", device.as_raw_fd().to_string()),
        ];
        for (file, value) in values {
            if let Err(err) = self.write(cluster, &format!("{folder}/{file}"), &value) {
                let _ = self.kernel.remove_dir(&path);
                return Err(err);
            }
        }
        Ok(true)
    }

    /// Stops the heartbeat of this host in a region. Returns whether there was one.
    ///
    /// # Errors
    /// [`OnlineError::Busy`] if a mounted volume depends on it.
    pub fn stop_region(&self, cluster: &str, region: &str) -> Result<bool, OnlineError> {
        let path = format!("{cluster}/heartbeat/{region}");
        if !self.kernel.exists(&format!("{}/{path}", self.root)) {
            return Ok(false);
        }
        self.destroy(&path, &format!("heartbeat region {region}")).map_err(|err| match err {
            OnlineError::Busy { what, .. } => {
                OnlineError::Busy { what, by: vec!["a volume is mounted".to_owned()] }
            }
            err => err,
        })?;
        Ok(true)
    }

    /// Takes a node out of a cluster that is online.
    ///
    /// # Errors
    /// [`OnlineError::Busy`] while the cluster has a heartbeat region or a connection to it.
    pub fn remove_node(&self, cluster: &str, node: &str) -> Result<(), OnlineError> {
        let path = format!("{cluster}/node/{node}");
        match self.kernel.exists(&format!("{}/{path}", self.root)) {
            true => self.destroy(&path, &format!("node {node}")),
            false => Ok(()),
        }
    }

    fn create(&self, path: &str) -> Result<(), OnlineError> {
        self.kernel.create_dir(&format!("{}/{path}", self.root)).map_err(|cause| {
            OnlineError::Refused { path: path.to_owned(), value: "a new folder".to_owned(), cause }
        })
    }

    fn destroy(&self, path: &str, what: &str) -> Result<(), OnlineError> {
        self.kernel.remove_dir(&format!("{}/{path}", self.root)).map_err(|cause| {
            if cause.kind() == io::ErrorKind::ResourceBusy {
                return OnlineError::Busy { what: what.to_owned(), by: Vec::new() };
            }
            let value = "its removal".to_owned();
            OnlineError::Refused { path: path.to_owned(), value, cause }
        })
    }

    fn write(&self, cluster: &str, file: &str, value: &str) -> Result<(), OnlineError> {
        self.kernel.write(&format!("{}/{cluster}/{file}", self.root), value).map_err(|cause| {
            OnlineError::Refused { path: file.to_owned(), value: value.to_owned(), cause }
        })
    }
}

/// Whether `node` is the host named `host`. Domains after a dot are ignored.
pub fn is_host(node: &Node, host: &str) -> bool {
    let short = host.split('.').next().unwrap_or(host);
    node.name.eq_ignore_ascii_case(host)
        || node.name.split('.').next().unwrap_or_default().eq_ignore_ascii_case(short)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::io::Errno;

    use super::*;
    use crate::fake::FakeKernel;

    const DIR: &str = "sys/kernel/config/cluster/web";

    fn conf() -> ClusterConf {
        let text = "cluster:\n\tname = web\n\tnode_count = 2\n\n\
            node:\n\tcluster = web\n\tname = a\n\tnumber = 0\n\tip_address = 10.0.0.1\n\tip_port = 7777\n\n\
            node:\n\tcluster = web\n\tname = b\n\tnumber = 1\n\tip_address = 10.0.0.2\n\tip_port = 7777\n";
        ClusterConf::parse(text).unwrap()
    }

    fn place() -> RegionPlace {
        RegionPlace { uuid: "0A".repeat(16), block_bytes: 512, start_block: 8, blocks: 255 }
    }

    #[test]
    fn a_cluster_comes_online_in_the_order_the_kernel_wants_and_goes_again() {
        let kernel = FakeKernel::new("A.example.org");
        let online = Online::prepare(&kernel).unwrap();
        kernel.take_log();
        online.register(&conf(), "web", &Timeouts::OF_KERNEL).unwrap();
        let log = kernel.take_log();
        let at = |what: &str| {
            log.iter()
                .position(|line| line.ends_with(what))
                .unwrap_or_else(|| panic!("{what}: {log:#?}"))
        };
        assert_eq!(at("mkdir sys/kernel/config/cluster/web"), 0);
        assert!(at("dead_threshold 31") < at("mode local") && at("mode local") < at("node/a"));
        assert!(at("a/ipv4_port 7777") < at("a/num 0") && at("a/num 0") < at("a/local 1"));
        assert!(!log.iter().any(|line| line.contains("b/local")), "{log:#?}");
        assert_eq!(online.cluster().as_deref(), Some("web"));
        let nodes = [("a".to_owned(), 0, true), ("b".to_owned(), 1, false)];
        assert_eq!(online.nodes("web"), nodes);
        online.register(&conf(), "web", &Timeouts::default()).unwrap();
        assert!(kernel.take_log().is_empty(), "it is online already, as it should be");

        online.unregister("web").unwrap();
        assert_eq!(
            kernel.take_log(),
            [format!("rmdir {DIR}/node/b"), format!("rmdir {DIR}/node/a"), format!("rmdir {DIR}"),]
        );
        assert!(matches!(online.unregister("web"), Err(OnlineError::NotOnline(_))));
    }

    #[test]
    fn nothing_is_left_of_a_cluster_the_kernel_refuses() {
        let kernel = FakeKernel::new("b");
        let online = Online::prepare(&kernel).unwrap();
        kernel.refuse(&format!("{DIR}/node/b/local"), Errno::ADDRINUSE);
        let err = online.register(&conf(), "web", &Timeouts::default()).unwrap_err().to_string();
        assert!(err.starts_with("the kernel refuses 1 for node/b/local"), "{err}");
        assert_eq!(online.cluster(), None);
    }

    #[test]
    fn what_keeps_a_cluster_from_coming_online_is_said() {
        let kernel = FakeKernel::new("c");
        let online = Online::prepare(&kernel).unwrap();
        let register = |name| online.register(&conf(), name, &Timeouts::default()).unwrap_err();
        let err = register("web").to_string();
        assert!(
            err.contains("this host is `c`, and cluster `web` has no node of that name (a, b)"),
            "{err}"
        );
        assert!(err.contains("o2cb add-node web c --ip ADDRESS"), "{err}");
        let err = register("other").to_string();
        assert_eq!(err, "there is no cluster `other` in /etc/ocfs2/cluster.conf (web)");
        kernel.put("sys/kernel/config/cluster/foreign", None);
        let mut kernel = kernel;
        kernel.host = "a".to_owned();
        let online = Online::find(&kernel).unwrap();
        let err = online.register(&conf(), "web", &Timeouts::default()).unwrap_err().to_string();
        assert!(err.contains("o2cb offline foreign"), "{err}");
    }

    #[test]
    fn a_region_is_started_once_and_removed_when_it_could_not_be() {
        let kernel = FakeKernel::new("a");
        let online = Online::prepare(&kernel).unwrap();
        online.register(&conf(), "web", &Timeouts::default()).unwrap();
        kernel.take_log();
        let file = tempfile::tempfile().unwrap();
        let region = place().uuid;
        let dev = format!("{DIR}/heartbeat/{region}/dev");
        kernel.refuse(&dev, Errno::IO);
        assert!(online.start_region("web", &place(), file.as_fd()).is_err());
        assert!(online.regions("web").is_empty());
        kernel.allow(&dev);
        kernel.take_log();
        assert!(online.start_region("web", &place(), file.as_fd()).unwrap());
        let folder = format!("{DIR}/heartbeat/{region}");
        assert_eq!(
            kernel.take_log(),
            [
                format!("mkdir {folder}"),
                format!("write {folder}/block_bytes 512"),
                format!("write {folder}/start_block 8"),
                format!("write {folder}/blocks 255"),
                format!("write {folder}/dev FD"),
            ]
        );
        assert!(!online.start_region("web", &place(), file.as_fd()).unwrap());
        let err = online.unregister("web").unwrap_err().to_string();
        assert!(err.starts_with("cluster `web` is in use (heartbeat region 0A0A"), "{err}");
        kernel.refuse(&folder, Errno::BUSY);
        let err = online.stop_region("web", &region).unwrap_err();
        assert!(matches!(err, OnlineError::Busy { .. }), "{err}");
        kernel.allow(&folder);
        assert!(online.stop_region("web", &region).unwrap());
        assert!(!online.stop_region("web", &region).unwrap());
    }
}
