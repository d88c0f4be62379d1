//! Lists of the configuration in the form of the C tool.

use std::fmt::Write;

use ocfs2_cli::terminal;
use ocfs2_cluster::ClusterConf;

/// Parts of a cluster to list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// The whole cluster.
    Cluster,
    /// Its nodes.
    Nodes,
    /// Its heartbeat regions.
    Heartbeats,
}

/// The parts of a cluster as stanzas, or with `oneline` as one line each.
pub fn text(conf: &ClusterConf, name: &str, part: Part, oneline: bool) -> String {
    let mut out = String::new();
    let mut add = |line: String, kind: &str, attributes: &[(&str, String)]| {
        // Writing to a string cannot fail.
        if oneline {
            let _ = writeln!(out, "{}", terminal(line));
            return;
        }
        let _ = writeln!(out, "{kind}:");
        for (key, value) in attributes {
            let _ = writeln!(out, "\t{key} = {}", terminal(value));
        }
        let _ = writeln!(out);
    };
    if part != Part::Nodes {
        for region in conf.heartbeats_of(name) {
            let attributes = [("region", region.region.clone()), ("cluster", name.to_owned())];
            add(format!("heartbeat: {} {name}", region.region), "heartbeat", &attributes);
        }
    }
    if part != Part::Heartbeats {
        for node in conf.nodes_of(name) {
            let (address, port) = (node.ip_address, node.ip_port);
            let attributes = [
                ("number", node.number.to_string()),
                ("name", node.name.clone()),
                ("ip_address", address.to_string()),
                ("ip_port", port.to_string()),
                ("cluster", name.to_owned()),
            ];
            let line = format!("node: {} {} {address}:{port} {name}", node.number, node.name);
            add(line, "node", &attributes);
        }
    }
    if let Some(cluster) = conf.cluster(name).filter(|_| part == Part::Cluster) {
        let (count, mode) = (cluster.node_count, cluster.heartbeat_mode);
        let attributes = [
            ("node_count", count.to_string()),
            ("heartbeat_mode", mode.to_string()),
            ("name", name.to_owned()),
        ];
        add(format!("cluster: {count} {mode} {name}"), "cluster", &attributes);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = "\
cluster:
\tname = webc
\tnode_count = 1

node:
\tname = n1
\tcluster = webc
\tnumber = 0
\tip_address = 10.0.0.1
\tip_port = 7777

heartbeat:
\tcluster = webc
\tregion = 0123456789ABCDEF0123456789ABCDEF
";

    #[test]
    fn lists_are_those_of_the_c_tool() {
        let conf = ClusterConf::parse(CONF).unwrap();
        // As o2cb 1.8.7 prints it for the same file.
        let oneline = "heartbeat: 0123456789ABCDEF0123456789ABCDEF webc\n\
                       node: 0 n1 10.0.0.1:7777 webc\ncluster: 1 local webc\n";
        assert_eq!(text(&conf, "webc", Part::Cluster, true), oneline);
        let node = "node:\n\tnumber = 0\n\tname = n1\n\tip_address = 10.0.0.1\n\tip_port = 7777\n\
                    \tcluster = webc\n\n";
        assert_eq!(text(&conf, "webc", Part::Nodes, false), node);
        let heartbeat =
            "heartbeat:\n\tregion = 0123456789ABCDEF0123456789ABCDEF\n\tcluster = webc\n\n";
        assert_eq!(text(&conf, "webc", Part::Heartbeats, false), heartbeat);
    }
}
