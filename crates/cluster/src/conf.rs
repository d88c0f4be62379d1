//! The contents of `/etc/ocfs2/cluster.conf`: clusters, their nodes, global heartbeat regions.

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::str::FromStr;

use crate::stanza::{Stanza, SyntaxError};

/// A cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// The stated number of nodes; nothing enforces it.
    pub node_count: u32,
    /// Where its nodes write their heartbeat.
    pub heartbeat_mode: HeartbeatMode,
}

/// Where nodes write their heartbeat.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum HeartbeatMode {
    /// On every volume they mount.
    #[default]
    Local,
    /// In the regions listed in the configuration.
    Global,
}

impl fmt::Display for HeartbeatMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::Global => "global",
        })
    }
}

/// A node of a cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Node {
    /// Name of its cluster.
    pub cluster: String,
    /// Its name, which is that of the host.
    pub name: String,
    /// Its number, 0 to 254.
    pub number: u8,
    /// The address on which it listens.
    pub ip_address: Ipv4Addr,
    /// The port on which it listens, 7777 by convention.
    pub ip_port: u16,
}

/// A global heartbeat region.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Heartbeat {
    /// Name of its cluster.
    pub cluster: String,
    /// UUID of the volume with the region, 32 upper-case digits.
    pub region: String,
}

/// The configuration of all clusters.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClusterConf {
    /// The clusters, in the order of the file.
    pub clusters: Vec<Cluster>,
    /// The nodes of all clusters.
    pub nodes: Vec<Node>,
    /// The heartbeat regions of all clusters.
    pub heartbeats: Vec<Heartbeat>,
}

/// The error of a configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// A line has a syntax error.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// A stanza lacks a required attribute.
    #[error(
        "line {line}: {stanza} without \"{attribute}\"{}",
        unknown.iter().map(|(line, key)| format!("; line {line}: unknown key \"{key}\"")).collect::<String>()
    )]
    Missing {
        /// The first line of the stanza, from 1.
        line: usize,
        /// The type of the stanza.
        stanza: String,
        /// The missing attribute.
        attribute: &'static str,
        /// Unknown keys in the stanza with their lines: one of them may be misspelled.
        unknown: Vec<(usize, String)>,
    },
    /// A value is not valid.
    #[error("line {line}: {stanza}: {attribute} is {}, expected {expected}", found.escape_debug())]
    Value {
        /// The line of the value, from 1.
        line: usize,
        /// The type of the stanza.
        stanza: String,
        /// The name of the attribute.
        attribute: &'static str,
        /// The invalid value.
        found: String,
        /// A description of valid values.
        expected: &'static str,
    },
    /// An address is IPv6, which the kernel's cluster code does not support.
    #[error(
        "line {line}: node: ip_address is {found}, which is IPv6; o2cb in the kernel talks IPv4 \
         only, so give the node's IPv4 address"
    )]
    Ipv6 {
        /// The line of the address, from 1.
        line: usize,
        /// The address.
        found: String,
    },
    /// Two stanzas contradict each other, or one names a cluster that does not exist.
    #[error("line {line}: {problem}")]
    Conflict {
        /// The line of the later one, from 1.
        line: usize,
        /// A description of the conflict.
        problem: String,
    },
}

impl ClusterConf {
    /// The path of the file.
    pub const PATH: &'static str = "/etc/ocfs2/cluster.conf";

    /// Reads and parses a file.
    ///
    /// # Errors
    /// [`ConfError`]; one invalid line rejects the whole file.
    pub fn read(path: &Path) -> Result<Self, ConfError> {
        Self::parse(&fs::read_to_string(path)?)
    }

    /// Parses the contents of a file.
    ///
    /// # Errors
    /// [`ConfError`]; one invalid line rejects the whole file. Unknown stanzas and attributes are
    /// ignored.
    pub fn parse(text: &str) -> Result<Self, ConfError> {
        let mut conf = Self::default();
        for stanza in Stanza::parse_all(text)? {
            match stanza.kind {
                "cluster" => conf.clusters.push(Cluster::from_stanza(&stanza)?),
                "node" => conf.nodes.push(Node::from_stanza(&stanza)?),
                "heartbeat" => conf.heartbeats.push(Heartbeat::from_stanza(&stanza)?),
                _ => {}
            }
        }
        Ok(conf)
    }

    /// The cluster named `name`.
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }

    /// The regions of a cluster.
    pub fn heartbeats_of<'a>(&'a self, cluster: &'a str) -> impl Iterator<Item = &'a Heartbeat> {
        self.heartbeats.iter().filter(move |heartbeat| heartbeat.cluster == cluster)
    }

    /// The nodes of a cluster.
    pub fn nodes_of<'a>(&'a self, cluster: &'a str) -> impl Iterator<Item = &'a Node> {
        self.nodes.iter().filter(move |node| node.cluster == cluster)
    }
}

impl Cluster {
    fn from_stanza(stanza: &Stanza<'_>) -> Result<Self, ConfError> {
        let heartbeat_mode = match stanza.get("heartbeat_mode") {
            None => HeartbeatMode::Local,
            Some(mode) if mode.eq_ignore_ascii_case("local") => HeartbeatMode::Local,
            Some(mode) if mode.eq_ignore_ascii_case("global") => HeartbeatMode::Global,
            Some(mode) => return Err(wrong(stanza, "heartbeat_mode", mode, "local or global")),
        };
        Ok(Self {
            name: required(stanza, "name")?.to_owned(),
            node_count: parsed(stanza, "node_count", "a number")?,
            heartbeat_mode,
        })
    }
}

impl Node {
    fn from_stanza(stanza: &Stanza<'_>) -> Result<Self, ConfError> {
        let expected = "0 to 254";
        let number = parsed(stanza, "number", expected)?;
        if number == 255 {
            return Err(wrong(stanza, "number", "255", expected));
        }
        Ok(Self {
            cluster: required(stanza, "cluster")?.to_owned(),
            name: required(stanza, "name")?.to_owned(),
            number,
            ip_address: ip_address(stanza)?,
            ip_port: parsed(stanza, "ip_port", "0 to 65535")?,
        })
    }
}

impl Heartbeat {
    fn from_stanza(stanza: &Stanza<'_>) -> Result<Self, ConfError> {
        Ok(Self {
            cluster: required(stanza, "cluster")?.to_owned(),
            region: required(stanza, "region")?.to_owned(),
        })
    }
}

fn ip_address(stanza: &Stanza<'_>) -> Result<Ipv4Addr, ConfError> {
    let found = required(stanza, "ip_address")?;
    if found.parse::<Ipv6Addr>().is_ok() {
        let line = stanza.line_of("ip_address");
        return Err(ConfError::Ipv6 { line, found: found.to_owned() });
    }
    parsed(stanza, "ip_address", "an IPv4 address")
}

fn required<'a>(stanza: &'a Stanza<'_>, attribute: &'static str) -> Result<&'a str, ConfError> {
    stanza.get(attribute).ok_or_else(|| ConfError::Missing {
        line: stanza.line,
        stanza: stanza.kind.to_owned(),
        attribute,
        unknown: unknown(stanza),
    })
}

/// The unknown keys of a stanza, with their lines.
fn unknown(stanza: &Stanza<'_>) -> Vec<(usize, String)> {
    let known: &[&str] = match stanza.kind {
        "cluster" => &["name", "node_count", "heartbeat_mode"],
        "node" => &["cluster", "name", "number", "ip_address", "ip_port"],
        _ => &["cluster", "region"],
    };
    let keys = stanza.keys().filter(|(_, key)| !known.contains(key));
    keys.map(|(line, key)| (line, key.to_owned())).collect()
}

fn parsed<T: FromStr>(
    stanza: &Stanza<'_>,
    attribute: &'static str,
    expected: &'static str,
) -> Result<T, ConfError> {
    let value = required(stanza, attribute)?;
    value.parse().map_err(|_| wrong(stanza, attribute, value, expected))
}

fn wrong(
    stanza: &Stanza<'_>,
    attribute: &'static str,
    found: &str,
    expected: &'static str,
) -> ConfError {
    let (line, stanza) = (stanza.line_of(attribute), stanza.kind.to_owned());
    ConfError::Value { line, stanza, attribute, found: found.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = "\
cluster:
\tnode_count = 2
\theartbeat_mode = Global
\tname = ovs

node:
\tnumber = 0
\tcluster = ovs
\tip_port = 7777
\tip_address = 10.0.0.1
\tname = ovs001

node:
\tip_port = 7777
\tip_address = 10.0.0.2
\tnumber = 1
\tname = ovs002
\tcluster = ovs

heartbeat:
\tcluster = ovs
\tregion = D3E640946BF845E48A6FDCDB5FB80F8A
";

    #[test]
    fn a_file_of_o2cb_reads_as_it_was_written() {
        let conf = ClusterConf::parse(CONF).unwrap();
        let cluster = Cluster {
            name: "ovs".to_owned(),
            node_count: 2,
            heartbeat_mode: HeartbeatMode::Global,
        };
        assert_eq!(conf.clusters, [cluster]);
        let nodes: Vec<_> = conf.nodes_of("ovs").map(|n| (n.number, &*n.name)).collect();
        assert_eq!(nodes, [(0, "ovs001"), (1, "ovs002")]);
        assert_eq!(conf.nodes_of("other").count(), 0);
        assert_eq!(conf.nodes[1].ip_address, Ipv4Addr::new(10, 0, 0, 2));
        assert_eq!(conf.heartbeats[0].region, "D3E640946BF845E48A6FDCDB5FB80F8A");
    }

    #[test]
    fn blanks_behind_values_change_nothing() {
        let spaced = CONF.replace('\n', " \t\r\n");
        assert_eq!(ClusterConf::parse(&spaced).unwrap(), ClusterConf::parse(CONF).unwrap());
    }

    #[test]
    fn a_wrong_value_is_named_with_its_stanza() {
        for (from, to, message) in [
            ("number = 0", "number = 255", "line 7: node: number is 255, expected 0 to 254"),
            ("10.0.0.2", "host", "line 15: node: ip_address is host, expected an IPv4 address"),
            (
                "10.0.0.2",
                "fd00::2",
                "line 15: node: ip_address is fd00::2, which is IPv6; o2cb in the kernel talks \
                 IPv4 only, so give the node's IPv4 address",
            ),
            (
                "node_count = 2",
                "x = 2",
                "line 1: cluster without \"node_count\"; line 2: unknown key \"x\"",
            ),
            (
                "ip_address = 10.0.0.1",
                "ip_adress = 10.0.0.1",
                "line 6: node without \"ip_address\"; line 10: unknown key \"ip_adress\"",
            ),
            ("\tnumber = 0\n", "", "line 6: node without \"number\""),
            ("Global", "both", "line 3: cluster: heartbeat_mode is both, expected local or global"),
        ] {
            let err = ClusterConf::parse(&CONF.replacen(from, to, 1)).unwrap_err();
            assert_eq!(err.to_string(), message);
        }
    }
}
