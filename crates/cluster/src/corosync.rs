//! The configuration of corosync, which names the cluster of the stack `pcmk` and its nodes.

use std::collections::BTreeMap;

use crate::Kernel;
use crate::lookup::describe;

/// What `corosync.conf` states about the cluster.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CorosyncConf {
    /// Name of the cluster: `cluster_name` of section `totem`.
    pub cluster: Option<String>,
    /// Names of the nodes by their number. A node without a name is called by its first address.
    pub nodes: BTreeMap<u32, String>,
}

impl CorosyncConf {
    /// Path of the file, relative to the root directory.
    pub const PATH: &str = "etc/corosync/corosync.conf";

    /// Reads the file of this host; `None` if it cannot be read.
    pub fn read(kernel: &dyn Kernel) -> Option<Self> {
        kernel.read(Self::PATH).ok().map(|text| Self::parse(&text))
    }

    /// Reads what is needed. Everything else is passed over.
    pub fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        let mut sections: Vec<&str> = Vec::new();
        let (mut number, mut name, mut address) = (None, None, None);
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            if let Some(section) = line.strip_suffix('{') {
                sections.push(section.trim());
                (number, name, address) = (None, None, None);
                continue;
            }
            if line == "}" {
                if let (["nodelist", "node"], Some(number)) = (&sections[..], number)
                    && let Some(name) = name.take().or(address.take())
                {
                    conf.nodes.insert(number, name);
                }
                sections.pop();
                continue;
            }
            let Some((key, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match (&sections[..], key.trim()) {
                (["totem"], "cluster_name") => conf.cluster = Some(value.to_owned()),
                (["nodelist", "node"], "nodeid") => number = value.parse().ok(),
                (["nodelist", "node"], "name") => name = Some(value.to_owned()),
                (["nodelist", "node"], "ring0_addr") => address = Some(value.to_owned()),
                _ => {}
            }
        }
        conf
    }

    /// The name of node `number`, or else its number.
    pub fn describe(&self, number: u32) -> String {
        describe(number, self.nodes.get(&number).map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_and_its_nodes_are_named() {
        let conf = CorosyncConf::parse(
            "# cluster_name: no\ntotem {\n\tversion: 2\n\tinterface {\n\t\tcluster_name: inner\n\t}\n\
             \tcluster_name: hac\n}\nnodelist {\n  node {\n    name: ovs001\n    nodeid: 1\n    \
             ring0_addr: 10.0.0.1\n  }\n  node {\n    ring0_addr: 10.0.0.2\n    nodeid: 2\n  }\n  \
             node {\n    name: none\n  }\n}\nname: outer\n}\n}\n",
        );
        assert_eq!(conf.cluster.as_deref(), Some("hac"));
        let named: Vec<_> = conf.nodes.iter().map(|(id, name)| (*id, name.as_str())).collect();
        assert_eq!(named, [(1, "ovs001"), (2, "10.0.0.2")]);
        assert_eq!(
            (conf.describe(1), conf.describe(3)),
            ("node 1 (ovs001)".into(), "node 3".into())
        );
        assert_eq!(CorosyncConf::parse("}{:"), CorosyncConf::default());
    }
}
