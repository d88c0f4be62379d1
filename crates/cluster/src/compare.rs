//! Comparison of a cluster in the kernel with its configuration, which may have changed since the
//! cluster came online.

use std::fmt;

use crate::online::{Online, Timeouts, is_host};
use crate::{Cluster, ClusterConf, HeartbeatMode, Node};

/// A difference between the kernel and the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Difference {
    /// The subject, such as ``node `ovs002` ``.
    pub what: String,
    /// The value in the kernel; `None` if it is missing there.
    pub kernel: Option<String>,
    /// The value in the configuration; `None` if it is missing there.
    pub configuration: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = &self.what;
        match (&self.kernel, &self.configuration) {
            (Some(kernel), Some(wanted)) => {
                write!(f, "{what}: the kernel has {kernel}, the configuration {wanted}")
            }
            (Some(_), None) => write!(f, "{what} is not in the configuration, but in the kernel"),
            (None, _) => write!(f, "{what} is in the configuration, but not in the kernel"),
        }
    }
}

/// The result of [`Online::register`] for a cluster that was already online.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Registered {
    /// Differences that were removed by changing the kernel.
    pub changed: Vec<Difference>,
    /// Differences that cannot be removed while the cluster is in use.
    pub left: Vec<Difference>,
}

impl Registered {
    /// Made from the differences before the change and those left after it.
    pub(crate) fn new(before: Vec<Difference>, left: Vec<Difference>) -> Self {
        let is_left = |difference: &Difference| left.iter().any(|l| l.what == difference.what);
        Self { changed: before.into_iter().filter(|d| !is_left(d)).collect(), left }
    }
}

/// A node as text, for comparison and output.
pub(crate) fn node_text(number: &str, address: &str, port: &str, is_local: bool) -> String {
    let here = if is_local { " (this host)" } else { "" };
    format!("number {number} at {address}:{port}{here}")
}

/// The text of a node in the configuration.
pub(crate) fn wanted_node(node: &Node, host: &str) -> String {
    let number = node.number.to_string();
    let (address, port) = (node.ip_address.to_string(), node.ip_port.to_string());
    node_text(&number, &address, &port, is_host(node, host))
}

impl Online<'_> {
    /// Returns how a cluster that is online differs from `conf` and `timeouts`. Global heartbeat
    /// regions are not compared: see [`Online::region_differences`].
    pub fn differences(
        &self,
        conf: &ClusterConf,
        name: &str,
        timeouts: &Timeouts,
    ) -> Vec<Difference> {
        let mut all = self.node_differences(conf, name);
        for (file, title, wanted) in timeouts.files() {
            let (Some(wanted), Some(kernel)) = (wanted, self.read(name, file)) else { continue };
            if kernel != wanted.to_string() {
                all.push(Difference {
                    what: title.to_owned(),
                    kernel: Some(kernel),
                    configuration: Some(wanted.to_string()),
                });
            }
        }
        let kernel = self.heartbeat_mode(name);
        if let Some(Cluster { heartbeat_mode, .. }) = conf.cluster(name)
            && *heartbeat_mode != kernel
        {
            all.push(Difference {
                what: "heartbeat mode".to_owned(),
                kernel: Some(kernel.to_string()),
                configuration: Some(heartbeat_mode.to_string()),
            });
        }
        all
    }

    fn node_differences(&self, conf: &ClusterConf, name: &str) -> Vec<Difference> {
        let host = self.host_name();
        let mut there: Vec<(String, String)> = self.node_texts(name);
        let mut all = Vec::new();
        for node in conf.nodes_of(name) {
            let wanted = wanted_node(node, &host);
            let at = there.iter().position(|(name, _)| *name == node.name);
            let kernel = at.map(|at| there.remove(at).1);
            if kernel.as_ref() != Some(&wanted) {
                let what = format!("node `{}`", node.name);
                all.push(Difference { what, kernel, configuration: Some(wanted) });
            }
        }
        all.extend(there.into_iter().map(|(name, kernel)| Difference {
            what: format!("node `{name}`"),
            kernel: Some(kernel),
            configuration: None,
        }));
        all
    }

    /// With global heartbeat, returns the regions in which this host beats but which are not in the
    /// configuration, and the reverse. Empty with local heartbeat.
    pub fn region_differences(&self, conf: &ClusterConf, name: &str) -> Vec<Difference> {
        if self.heartbeat_mode(name) != HeartbeatMode::Global {
            return Vec::new();
        }
        let beating = self.regions(name);
        let wanted: Vec<_> = conf.heartbeats_of(name).map(|region| &region.region).collect();
        let is = |one: &str, other: &str| one.eq_ignore_ascii_case(other);
        let extra = beating.iter().filter(|region| !wanted.iter().any(|w| is(w, region)));
        let missing = wanted.iter().filter(|region| !beating.iter().any(|b| is(b, region)));
        let extra = extra.map(|region| (region.clone(), Some("started"), None));
        let missing = missing.map(|region| ((*region).clone(), None, Some("a region")));
        let difference =
            |(region, kernel, wanted): (String, Option<&str>, Option<&str>)| Difference {
                what: format!("heartbeat region {region}"),
                kernel: kernel.map(str::to_owned),
                configuration: wanted.map(str::to_owned),
            };
        extra.chain(missing).map(difference).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::io::Errno;

    use super::*;
    use crate::fake::FakeKernel;
    use crate::{Kernel, RegionPlace};

    /// The nodes as (name, number, last part of the address).
    fn conf(mode: &str, nodes: &[(&str, u8, u8)]) -> ClusterConf {
        let mut text =
            format!("cluster:\n\tname = web\n\tnode_count = 2\n\theartbeat_mode = {mode}\n\n");
        for (name, number, address) in nodes {
            text += &format!(
                "node:\n\tcluster = web\n\tname = {name}\n\tnumber = {number}\n\
                 \tip_address = 10.0.0.{address}\n\tip_port = 7777\n\n"
            );
        }
        ClusterConf::parse(&text).unwrap()
    }

    fn texts(differences: &[Difference]) -> Vec<String> {
        differences.iter().map(ToString::to_string).collect()
    }

    const BEFORE: &[(&str, u8, u8)] = &[("a", 0, 1), ("b", 1, 2), ("gone", 2, 3)];
    const AFTER: &[(&str, u8, u8)] = &[("a", 2, 1), ("b", 1, 77), ("new", 0, 4)];

    #[test]
    fn what_was_changed_is_changed_in_the_kernel_too() {
        let kernel = FakeKernel::new("a");
        let online = Online::prepare(&kernel).unwrap();
        online.register(&conf("local", BEFORE), "web", &Timeouts::OF_KERNEL).unwrap();
        let conf = conf("global", AFTER);
        let timeouts = Timeouts {
            dead_threshold: Some(7),
            idle_timeout_ms: Some(1500),
            keepalive_delay_ms: Some(500),
            reconnect_delay_ms: None,
        };
        let expected = [
            "node `a`: the kernel has number 0 at 10.0.0.1:7777 (this host), the configuration \
             number 2 at 10.0.0.1:7777 (this host)",
            "node `b`: the kernel has number 1 at 10.0.0.2:7777, the configuration number 1 at \
             10.0.0.77:7777",
            "node `new` is in the configuration, but not in the kernel",
            "node `gone` is not in the configuration, but in the kernel",
            "heartbeat dead threshold: the kernel has 31, the configuration 7",
            "network idle timeout: the kernel has 30000, the configuration 1500",
            "network keepalive delay: the kernel has 2000, the configuration 500",
            "heartbeat mode: the kernel has local, the configuration global",
        ];
        assert_eq!(texts(&online.differences(&conf, "web", &timeouts)), expected);
        let done = online.register(&conf, "web", &timeouts).unwrap();
        assert_eq!((texts(&done.changed), done.left), (expected.map(str::to_owned).into(), vec![]));
        assert_eq!(online.differences(&conf, "web", &timeouts), []);
        let nodes = [("a", 2, true), ("b", 1, false), ("new", 0, false)];
        let nodes = nodes.map(|(name, number, local)| (name.to_owned(), number, local));
        assert_eq!(online.nodes("web"), nodes);
    }

    #[test]
    fn what_the_kernel_does_not_take_while_a_volume_is_mounted_is_left_and_said() {
        let kernel = FakeKernel::new("a");
        let online = Online::prepare(&kernel).unwrap();
        online.register(&conf("local", BEFORE), "web", &Timeouts::default()).unwrap();
        let place =
            RegionPlace { uuid: "0A".repeat(16), block_bytes: 512, start_block: 8, blocks: 255 };
        let file = tempfile::tempfile().unwrap();
        online.start_region("web", &place, file.as_fd()).unwrap();
        kernel.take_log();
        let timeouts = Timeouts { dead_threshold: Some(7), ..Timeouts::default() };
        let done = online.register(&conf("global", AFTER), "web", &timeouts).unwrap();
        let what = |differences: &[Difference]| -> Vec<_> {
            differences.iter().map(|difference| difference.what.clone()).collect()
        };
        assert_eq!(what(&done.changed), ["node `new`"]);
        let left = ["node `a`", "node `b`", "node `gone`", "heartbeat dead threshold"];
        assert_eq!(what(&done.left), [&left[..], &["heartbeat mode"]].concat());
        assert!(!kernel.take_log().iter().any(|line| line.starts_with("rmdir")));
    }

    #[test]
    fn a_number_that_is_taken_is_an_error() {
        let kernel = FakeKernel::new("a");
        let online = Online::prepare(&kernel).unwrap();
        online.register(&conf("local", BEFORE), "web", &Timeouts::default()).unwrap();
        let folder = "sys/kernel/config/cluster/web/node/new";
        kernel.refuse(&format!("{folder}/num"), Errno::EXIST);
        let err = online.register(&conf("local", AFTER), "web", &Timeouts::default());
        assert!(err.unwrap_err().to_string().starts_with("the kernel refuses 0 for node/new/num"));
        assert!(!kernel.exists(folder));
    }

    #[test]
    fn regions_of_global_heartbeat_are_compared() {
        let kernel = FakeKernel::new("a");
        let online = Online::prepare(&kernel).unwrap();
        let mut conf = conf("global", BEFORE);
        online.register(&conf, "web", &Timeouts::default()).unwrap();
        let place =
            RegionPlace { uuid: "0A".repeat(16), block_bytes: 512, start_block: 8, blocks: 255 };
        let file = tempfile::tempfile().unwrap();
        online.start_region("web", &place, file.as_fd()).unwrap();
        let region = crate::Heartbeat { cluster: "web".to_owned(), region: "0b".repeat(16) };
        conf.heartbeats.push(region);
        let expected = [
            "heartbeat region 0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A is not in the configuration, but in \
             the kernel",
            "heartbeat region 0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b is in the configuration, but not in \
             the kernel",
        ];
        assert_eq!(texts(&online.region_differences(&conf, "web")), expected);
    }
}
