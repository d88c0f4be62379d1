//! What `o2cb_ctl -I` prints, in the form of the C tool.

use std::fmt::Write;

use ocfs2_cli::terminal;
use ocfs2_cluster::{ClusterConf, Heartbeat, Node};

use crate::ctl::Kind;

/// The state of everything, as in the C tool, which knows no other.
const STATUS: &str = "configured";

/// An object of the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Object {
    /// A cluster.
    Cluster {
        /// Its name.
        name: String,
        /// The stated number of its nodes.
        count: u32,
    },
    /// A node.
    Node(Node),
    /// A global heartbeat region.
    Heartbeat(Heartbeat),
}

impl Object {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Cluster { .. } => Kind::Cluster,
            Self::Node(_) => Kind::Node,
            Self::Heartbeat(_) => Kind::Heartbeat,
        }
    }

    /// The cluster that it is or belongs to.
    pub fn cluster(&self) -> &str {
        match self {
            Self::Cluster { name, .. } => name,
            Self::Node(node) => &node.cluster,
            Self::Heartbeat(region) => &region.cluster,
        }
    }

    /// Whether `-n` means it.
    pub fn is_named(&self, name: &str) -> bool {
        match self {
            Self::Cluster { name: own, .. } => own == name,
            Self::Node(node) => node.name == name,
            Self::Heartbeat(region) => region.region.eq_ignore_ascii_case(&name.replace('-', "")),
        }
    }

    /// Its attributes in the order in which they are printed.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = match self {
            Self::Cluster { name, count } => {
                vec![("name", name.clone()), ("node_count", count.to_string())]
            }
            Self::Node(node) => vec![
                ("name", node.name.clone()),
                ("cluster", node.cluster.clone()),
                ("number", node.number.to_string()),
                ("ip_address", node.ip_address.to_string()),
                ("ip_port", node.ip_port.to_string()),
            ],
            Self::Heartbeat(region) => {
                vec![("region", region.region.clone()), ("cluster", region.cluster.clone())]
            }
        };
        fields.push(("status", STATUS.to_owned()));
        fields
    }
}

/// The title of a stanza, and the line before lines of that kind.
fn titles(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Cluster => ("cluster", "#name:count:status"),
        Kind::Node => ("node", "#name:cluster:number:ip_address:ip_port:status"),
        Kind::Heartbeat => ("heartbeat", "#region:cluster:status"),
    }
}

/// The objects of these names and this kind, or all of this kind, in the order of the names and of the
/// file; and the message for the first name that nothing has.
pub(crate) fn objects(
    conf: &ClusterConf,
    names: &[String],
    kind: Option<Kind>,
) -> (Vec<Object>, Option<String>) {
    let clusters = conf
        .clusters
        .iter()
        .map(|cluster| Object::Cluster { name: cluster.name.clone(), count: cluster.node_count });
    let nodes = conf.nodes.iter().cloned().map(Object::Node);
    let regions = conf.heartbeats.iter().cloned().map(Object::Heartbeat);
    let all = clusters.chain(nodes).chain(regions);
    let all: Vec<_> = all.filter(|it| kind.is_none_or(|kind| it.kind() == kind)).collect();
    if names.is_empty() {
        return (all, None);
    }
    let mut found = Vec::new();
    let mut missing = None;
    for name in names {
        let before = found.len();
        found.extend(all.iter().filter(|object| object.is_named(name)).cloned());
        if found.len() == before {
            let what = match kind {
                Some(Kind::Cluster) => "Cluster",
                Some(Kind::Node) => "Node",
                Some(Kind::Heartbeat) => "Heartbeat region",
                None => "Object",
            };
            missing.get_or_insert_with(|| format!("{what} \"{name}\" does not exist"));
        }
    }
    (found, missing)
}

/// The objects as stanzas or lines.
pub(crate) fn text(found: &[Object], kind: Option<Kind>, oneline: bool) -> String {
    let mut out = String::new();
    let mut last = None;
    // The line with the names comes even if nothing was found.
    if let Some(kind) = kind.filter(|_| oneline) {
        let _ = writeln!(out, "{}", titles(kind).1);
        last = Some(kind);
    }
    for object in found {
        let (title, line) = titles(object.kind());
        if oneline {
            if last.replace(object.kind()) != Some(object.kind()) {
                let _ = writeln!(out, "{line}");
            }
            let values: Vec<_> = object.fields().into_iter().map(|(_, value)| value).collect();
            let _ = writeln!(out, "{}", terminal(values.join(":")));
            continue;
        }
        let _ = writeln!(out, "{title}:");
        for (key, value) in object.fields() {
            let _ = writeln!(out, "\t{key} = {}", terminal(value));
        }
        out.push('\n');
    }
    out
}
