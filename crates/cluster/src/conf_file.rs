//! Changes to `/etc/ocfs2/cluster.conf` that keep everything else byte for byte, including comments
//! and unknown keys.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::stanza::Stanza;
use crate::{ClusterConf, ConfError, HeartbeatMode, Node};

/// Most global heartbeat regions per cluster.
pub const MAX_REGIONS: usize = 32;
/// Longest name of a cluster in bytes, the size of `ci_cluster` in a superblock.
pub const MAX_CLUSTER_NAME: usize = 16;
/// Longest name of a node in bytes: the kernel has room for 64 with the terminating zero.
pub const MAX_NODE_NAME: usize = 63;

/// The text of the file and its meaning.
#[derive(Clone, Debug, Default)]
pub struct ConfFile {
    text: String,
    conf: ClusterConf,
}

/// The error of a change that was refused. The file is unchanged then.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// Something of that name already exists.
    #[error("{what} `{name}` is in the configuration already")]
    Exists {
        /// `cluster`, `node` or `heartbeat region`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Nothing of that name exists.
    #[error("there is no {what} `{name}` in the configuration{}", known(there))]
    NotFound {
        /// `cluster`, `node` or `heartbeat region`.
        what: &'static str,
        /// The name that was looked for.
        name: String,
        /// The existing names.
        there: Vec<String>,
    },
    /// A name is not valid.
    #[error("`{}` cannot be the name of a {what}: expected {expected}", name.escape_debug())]
    Name {
        /// `cluster` or `node`.
        what: &'static str,
        /// The invalid name.
        name: String,
        /// A description of valid names.
        expected: &'static str,
    },
    /// No node number is free.
    #[error("all node numbers, 0 to 254, are taken")]
    NoNumber,
    /// A node number is in use.
    #[error("number {number} is that of node `{by}`")]
    NumberTaken {
        /// The number.
        number: u8,
        /// The node that has it.
        by: String,
    },
    /// An address is in use.
    #[error("address {address} is that of node `{by}`")]
    AddressTaken {
        /// The address with its port.
        address: String,
        /// The node that has it.
        by: String,
    },
    /// The cluster has [`MAX_REGIONS`] heartbeat regions already.
    #[error("cluster `{0}` has {MAX_REGIONS} heartbeat regions, and can have no more")]
    TooManyRegions(String),
    /// The changed file would not be valid.
    #[error(transparent)]
    Conf(#[from] ConfError),
}

fn known(there: &[String]) -> String {
    match there {
        [] => String::new(),
        names => format!("; there are: {}", names.join(", ")),
    }
}

impl ConfFile {
    /// Reads a file; a missing file counts as empty.
    ///
    /// # Errors
    /// Those of [`ConfFile::parse`], and those of reading.
    pub fn read(path: &Path) -> Result<Self, ConfError> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(text),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(err) => Err(err.into()),
        }
    }

    /// Parses the contents of a file.
    ///
    /// # Errors
    /// [`ConfError`]; one invalid line rejects the whole file. Beyond [`ClusterConf::parse`] this
    /// also rejects duplicate names, numbers and addresses, and nodes and regions of clusters that
    /// do not exist.
    pub fn parse(text: String) -> Result<Self, ConfError> {
        let conf = ClusterConf::parse(&text)?;
        check(&text)?;
        Ok(Self { text, conf })
    }

    /// The meaning of the file.
    pub fn conf(&self) -> &ClusterConf {
        &self.conf
    }

    /// The text of the file.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Replaces the file atomically and keeps the mode of an existing one.
    ///
    /// # Errors
    /// If the folder cannot be created or written to.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        write_whole(path, self.text.as_bytes())
    }

    /// Adds a cluster.
    ///
    /// # Errors
    /// [`EditError::Exists`], [`EditError::Name`].
    pub fn add_cluster(&mut self, name: &str) -> Result<(), EditError> {
        check_cluster_name(name)?;
        if self.conf.cluster(name).is_some() {
            return Err(EditError::Exists { what: "cluster", name: name.to_owned() });
        }
        let attributes = [("name", name), ("node_count", "0"), ("heartbeat_mode", "local")];
        self.change(|text| append(text, "cluster", &attributes))
    }

    /// Removes a cluster with its nodes and regions.
    ///
    /// # Errors
    /// [`EditError::NotFound`].
    pub fn remove_cluster(&mut self, name: &str) -> Result<(), EditError> {
        self.known_cluster(name)?;
        self.remove(|stanza| {
            let key = if stanza.kind == "cluster" { "name" } else { "cluster" };
            matches!(stanza.kind, "cluster" | "node" | "heartbeat") && stanza.get(key) == Some(name)
        })
    }

    /// Adds a node and returns its number, the lowest free one unless `number` is given.
    ///
    /// # Errors
    /// If its name, number or address is not valid or in use, or if there is no such cluster.
    pub fn add_node(
        &mut self,
        cluster: &str,
        name: &str,
        number: Option<u8>,
        address: Ipv4Addr,
        port: u16,
    ) -> Result<u8, EditError> {
        self.known_cluster(cluster)?;
        let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '\\');
        if name.is_empty() || name.len() > MAX_NODE_NAME || name.contains(bad) {
            let expected = "1 to 63 bytes without blanks and slashes: the host's name";
            return Err(EditError::Name { what: "node", name: name.to_owned(), expected });
        }
        let nodes: Vec<&Node> = self.conf.nodes_of(cluster).collect();
        if nodes.iter().any(|node| node.name == name) {
            return Err(EditError::Exists { what: "node", name: name.to_owned() });
        }
        let numbered = |number| nodes.iter().find(|node| node.number == number);
        let number = match number {
            Some(255) => return Err(EditError::NoNumber),
            Some(number) => number,
            None => (0..=254).find(|n| numbered(*n).is_none()).ok_or(EditError::NoNumber)?,
        };
        if let Some(node) = numbered(number) {
            return Err(EditError::NumberTaken { number, by: node.name.clone() });
        }
        let same = |node: &&&Node| node.ip_address == address && node.ip_port == port;
        if let Some(node) = nodes.iter().find(same) {
            let address = format!("{address}:{port}");
            return Err(EditError::AddressTaken { address, by: node.name.clone() });
        }
        let count = nodes.len() + 1;
        let (port, address) = (port.to_string(), address.to_string());
        let number_text = number.to_string();
        self.change(|text| {
            let attributes = [
                ("ip_port", port.as_str()),
                ("ip_address", &address),
                ("number", &number_text),
                ("name", name),
                ("cluster", cluster),
            ];
            let text = append(text, "node", &attributes);
            set(&text, cluster, "node_count", &count.to_string())
        })?;
        Ok(number)
    }

    /// Removes a node.
    ///
    /// # Errors
    /// [`EditError::NotFound`].
    pub fn remove_node(&mut self, cluster: &str, name: &str) -> Result<(), EditError> {
        self.known_node(cluster, name)?;
        let is_it = |stanza: &Stanza<'_>| is_node(stanza, cluster, name);
        let count = (self.conf.nodes_of(cluster).count() - 1).to_string();
        self.change(|text| set(&without(text, is_it), cluster, "node_count", &count))
    }

    /// Adds a global heartbeat region, named by the UUID of its volume as 32 upper-case digits.
    ///
    /// # Errors
    /// If it exists already, the cluster has too many or there is no such cluster.
    pub fn add_heartbeat(&mut self, cluster: &str, region: &str) -> Result<(), EditError> {
        self.known_cluster(cluster)?;
        let regions: Vec<_> = self.conf.heartbeats_of(cluster).map(|h| &h.region).collect();
        if regions.iter().any(|known| known.eq_ignore_ascii_case(region)) {
            return Err(EditError::Exists { what: "heartbeat region", name: region.to_owned() });
        }
        if regions.len() >= MAX_REGIONS {
            return Err(EditError::TooManyRegions(cluster.to_owned()));
        }
        let attributes = [("cluster", cluster), ("region", region)];
        self.change(|text| append(text, "heartbeat", &attributes))
    }

    /// Removes a global heartbeat region.
    ///
    /// # Errors
    /// [`EditError::NotFound`].
    pub fn remove_heartbeat(&mut self, cluster: &str, region: &str) -> Result<(), EditError> {
        self.known_cluster(cluster)?;
        let there: Vec<_> = self.conf.heartbeats_of(cluster).map(|h| h.region.clone()).collect();
        if !there.iter().any(|known| known.eq_ignore_ascii_case(region)) {
            let name = region.to_owned();
            return Err(EditError::NotFound { what: "heartbeat region", name, there });
        }
        self.remove(|stanza| {
            stanza.kind == "heartbeat"
                && stanza.get("cluster") == Some(cluster)
                && stanza.get("region").is_some_and(|known| known.eq_ignore_ascii_case(region))
        })
    }

    /// Sets where the nodes of a cluster write their heartbeat.
    ///
    /// # Errors
    /// If there is no such cluster.
    pub fn set_heartbeat_mode(
        &mut self,
        cluster: &str,
        mode: HeartbeatMode,
    ) -> Result<(), EditError> {
        self.known_cluster(cluster)?;
        self.change(|text| set(text, cluster, "heartbeat_mode", &mode.to_string()))
    }

    /// Gives a cluster another name, also for its nodes and regions.
    ///
    /// # Errors
    /// If there is no such cluster, or the new name is not valid or in use.
    pub fn rename_cluster(&mut self, name: &str, new: &str) -> Result<(), EditError> {
        self.known_cluster(name)?;
        check_cluster_name(new)?;
        if self.conf.cluster(new).is_some() {
            return Err(EditError::Exists { what: "cluster", name: new.to_owned() });
        }
        self.change(|text| {
            let mut text = text.to_owned();
            for (kind, key) in [("cluster", "name"), ("node", "cluster"), ("heartbeat", "cluster")]
            {
                let is_it = |s: &Stanza<'_>| s.kind == kind && s.get(key) == Some(name);
                let stanzas = Stanza::parse_all(&text).unwrap_or_default();
                for _ in 0..stanzas.into_iter().filter(is_it).count() {
                    text = set_in(&text, is_it, key, new);
                }
            }
            text
        })
    }

    /// Changes a node; what is `None` stays.
    ///
    /// # Errors
    /// If there is no such node, or the number or address is that of another node.
    pub fn change_node(
        &mut self,
        cluster: &str,
        name: &str,
        number: Option<u8>,
        address: Option<Ipv4Addr>,
        port: Option<u16>,
    ) -> Result<(), EditError> {
        self.known_node(cluster, name)?;
        let is_it = |stanza: &Stanza<'_>| is_node(stanza, cluster, name);
        let values = [
            ("number", number.map(|number| number.to_string())),
            ("ip_address", address.map(|address| address.to_string())),
            ("ip_port", port.map(|port| port.to_string())),
        ];
        self.change(|text| {
            let given = values.iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
            given.fold(text.to_owned(), |text, (key, value)| set_in(&text, is_it, key, value))
        })
    }

    fn known_node(&self, cluster: &str, name: &str) -> Result<(), EditError> {
        self.known_cluster(cluster)?;
        let there: Vec<_> = self.conf.nodes_of(cluster).map(|node| node.name.clone()).collect();
        if there.iter().any(|known| known == name) {
            return Ok(());
        }
        Err(EditError::NotFound { what: "node", name: name.to_owned(), there })
    }

    /// Checks that there is a cluster of that name.
    ///
    /// # Errors
    /// [`EditError::NotFound`] with the names of the existing clusters.
    pub fn known_cluster(&self, name: &str) -> Result<(), EditError> {
        if self.conf.cluster(name).is_some() {
            return Ok(());
        }
        let there = self.conf.clusters.iter().map(|cluster| cluster.name.clone()).collect();
        Err(EditError::NotFound { what: "cluster", name: name.to_owned(), there })
    }

    fn remove(&mut self, which: impl Fn(&Stanza<'_>) -> bool) -> Result<(), EditError> {
        self.change(|text| without(text, which))
    }

    /// Applies a change unless the result is not valid.
    fn change(&mut self, change: impl FnOnce(&str) -> String) -> Result<(), EditError> {
        *self = Self::parse(change(&self.text))?;
        Ok(())
    }
}

/// Checks whether a cluster can have that name.
///
/// # Errors
/// [`EditError::Name`].
pub fn check_cluster_name(name: &str) -> Result<(), EditError> {
    let good = name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if good && !name.is_empty() && name.len() <= MAX_CLUSTER_NAME {
        return Ok(());
    }
    let expected = "1 to 16 letters and digits";
    Err(EditError::Name { what: "cluster", name: name.to_owned(), expected })
}

/// Replaces a file atomically: the new contents get the name only when they are complete.
///
/// # Errors
/// If the folder cannot be created or written to.
pub fn write_whole(path: &Path, contents: &[u8]) -> io::Result<()> {
    // A symbolic link stays: the file it points to is replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mode = fs::metadata(&path).map_or(0o644, |metadata| metadata.permissions().mode());
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new.{}", std::process::id()));
    let beside = dir.join(name);
    let written = fs::File::create_new(&beside).and_then(|mut file| {
        file.set_permissions(fs::Permissions::from_mode(mode & 0o7777))?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&beside, &path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Checks the rules that concern several stanzas.
fn check(text: &str) -> Result<(), ConfError> {
    let stanzas = Stanza::parse_all(text)?;
    let conflict = |line, problem| Err(ConfError::Conflict { line, problem });
    let mut clusters = Vec::new();
    for stanza in stanzas.iter().filter(|stanza| stanza.kind == "cluster") {
        let name = stanza.get("name").unwrap_or_default();
        if clusters.contains(&name) {
            let problem = format!("there is a cluster `{name}` further up");
            return conflict(stanza.line_of("name"), problem);
        }
        clusters.push(name);
    }
    let mut taken: BTreeMap<(&str, &str, String), usize> = BTreeMap::new();
    for stanza in &stanzas {
        let keys: &[&[&'static str]] = match stanza.kind {
            "node" => &[&["name"], &["number"], &["ip_address", "ip_port"]],
            "heartbeat" => &[&["region"]],
            _ => continue,
        };
        let cluster = stanza.get("cluster").unwrap_or_default();
        if !clusters.contains(&cluster) {
            let problem =
                format!("{}: cluster is `{cluster}`, and there is no such cluster", stanza.kind);
            return conflict(stanza.line_of("cluster"), problem);
        }
        for key in keys {
            let values: Vec<_> =
                key.iter().map(|key| stanza.get(key).unwrap_or_default()).collect();
            let value = values.join(":").to_ascii_lowercase();
            let line = stanza.line_of(key.first().unwrap_or(&""));
            if let Some(first) = taken.insert((cluster, key.first().unwrap_or(&""), value), line) {
                let what = key.join(":");
                let found = values.join(":");
                let problem = format!("{}: {what} {found} is taken by line {first}", stanza.kind);
                return conflict(line, problem);
            }
        }
    }
    Ok(())
}

/// Appends a stanza to `text`.
fn append(text: &str, kind: &str, attributes: &[(&str, &str)]) -> String {
    let mut text = text.to_owned();
    end_line(&mut text);
    // An empty line ends the previous stanza.
    if !text.is_empty() && !text.ends_with("\n\n") {
        text.push('\n');
    }
    text += &format!("{kind}:\n");
    for (name, value) in attributes {
        text += &format!("\t{name} = {value}\n");
    }
    text.push('\n');
    text
}

/// Ends the last line of `text`, so that the next one is not part of it.
fn end_line(text: &mut String) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    // A value with a backslash at the end continues in the next line.
    if text.ends_with("\\\n") {
        text.push('\n');
    }
}

fn is_node(stanza: &Stanza<'_>, cluster: &str, name: &str) -> bool {
    stanza.kind == "node"
        && stanza.get("cluster") == Some(cluster)
        && stanza.get("name") == Some(name)
}

/// Sets an attribute of a cluster in `text`.
fn set(text: &str, cluster: &str, name: &str, value: &str) -> String {
    let is_it = |s: &Stanza<'_>| s.kind == "cluster" && s.get("name") == Some(cluster);
    set_in(text, is_it, name, value)
}

/// Sets an attribute of the first stanza that is meant.
fn set_in(text: &str, is_it: impl Fn(&Stanza<'_>) -> bool, name: &str, value: &str) -> String {
    let stanzas = Stanza::parse_all(text).unwrap_or_default();
    let Some(stanza) = stanzas.iter().find(|stanza| is_it(stanza)) else { return text.to_owned() };
    let lines = stanza.lines_of(name).unwrap_or(stanza.end..stanza.end);
    replace(text, &[lines], &format!("\t{name} = {value}\n"))
}

/// Removes stanzas from `text`, with the empty lines that follow them.
fn without(text: &str, which: impl Fn(&Stanza<'_>) -> bool) -> String {
    let stanzas = Stanza::parse_all(text).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    let gone: Vec<_> = stanzas
        .iter()
        .filter(|stanza| which(stanza))
        .map(|stanza| {
            let rest = lines.get(stanza.end - 1..).unwrap_or_default();
            let empty = rest.iter().take_while(|line| line.trim().is_empty()).count();
            stanza.line..stanza.end + empty
        })
        .collect();
    replace(text, &gone, "")
}

/// Replaces the first of some ranges of lines, numbered from 1, by `new` and removes the others.
/// Appends `new` if no range is in the text.
fn replace(text: &str, ranges: &[Range<usize>], new: &str) -> String {
    let mut out = String::new();
    let mut put = false;
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    for (index, line) in lines.iter().enumerate() {
        let number = index + 1;
        if !put && ranges.iter().any(|range| range.start == number) {
            put = true;
            out += new;
        }
        if !ranges.iter().any(|range| range.contains(&number)) {
            out += line;
        }
    }
    if !put && !new.is_empty() {
        end_line(&mut out);
        out += new;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn story() -> ConfFile {
        let mut file = ConfFile::default();
        file.add_cluster("ovscluster").unwrap();
        file.add_node("ovscluster", "ovs001", None, OURS, 7777).unwrap();
        file.add_node("ovscluster", "ovs002", None, Ipv4Addr::new(10, 0, 0, 2), 7777).unwrap();
        file
    }

    #[test]
    fn a_cluster_of_two_nodes_is_written_as_the_c_tool_does() {
        let expected = "\
cluster:
\tname = ovscluster
\tnode_count = 2
\theartbeat_mode = local

node:
\tip_port = 7777
\tip_address = 10.0.0.1
\tnumber = 0
\tname = ovs001
\tcluster = ovscluster

node:
\tip_port = 7777
\tip_address = 10.0.0.2
\tnumber = 1
\tname = ovs002
\tcluster = ovscluster

";
        assert_eq!(story().text(), expected);
    }

    #[test]
    fn what_is_not_changed_stays_with_comments_and_unknown_keys() {
        let text = "# ours\ncluster:\n\tname = web\n  colour = blue\n\tnode_count=1\n# of web\n\n\
                    node:\n\tname = a\n\tnumber = 7\n\tcluster = web\n\tip_address = 10.0.0.7\n\
                    \tip_port = 7777\n\track = 4\\\n\t5\n\nrobot:\n\tarms = 2\n";
        let mut file = ConfFile::parse(text.to_owned()).unwrap();
        let number = file.add_node("web", "b", None, OURS, 7777).unwrap();
        assert_eq!(number, 0);
        let changed = text.replace("\tnode_count=1\n", "\tnode_count = 2\n");
        let added = "\nnode:\n\tip_port = 7777\n\tip_address = 10.0.0.1\n\tnumber = 0\n\
                     \tname = b\n\tcluster = web\n\n";
        assert_eq!(file.text(), changed.clone() + added);
        file.remove_node("web", "b").unwrap();
        assert_eq!(file.text(), text.replace("node_count=1", "node_count = 1") + "\n");
        file.remove_cluster("web").unwrap();
        assert_eq!(file.text(), "# ours\n# of web\n\nrobot:\n\tarms = 2\n\n");
    }

    #[test]
    fn a_node_and_the_name_of_a_cluster_change_in_place() {
        let mut file = story();
        file.add_heartbeat("ovscluster", "0123456789ABCDEF0123456789ABCDEF").unwrap();
        let before = file.text().to_owned();
        let moved = Some(Ipv4Addr::new(10, 0, 0, 9));
        file.change_node("ovscluster", "ovs002", Some(7), moved, None).unwrap();
        let expected = before.replace("10.0.0.2", "10.0.0.9").replace("number = 1", "number = 7");
        assert_eq!(file.text(), expected);
        file.rename_cluster("ovscluster", "web").unwrap();
        assert_eq!(file.text(), expected.replace("ovscluster", "web"));

        let text = file.text().to_owned();
        file.change_node("web", "ovs002", Some(0), None, None).unwrap_err();
        file.change_node("web", "ovs002", None, Some(OURS), None).unwrap_err();
        file.change_node("web", "ovs003", Some(9), None, None).unwrap_err();
        file.rename_cluster("web", "a b").unwrap_err();
        file.rename_cluster("web", "web").unwrap_err();
        assert_eq!(file.text(), text);
    }

    #[test]
    fn an_attribute_that_is_missing_is_added_to_its_stanza() {
        let mut file =
            ConfFile::parse("cluster:\n\tname = a\n\tnode_count = 0".to_owned()).unwrap();
        file.add_heartbeat("a", "0123456789ABCDEF0123456789ABCDEF").unwrap();
        file.set_heartbeat_mode("a", HeartbeatMode::Global).unwrap();
        let expected = "cluster:\n\tname = a\n\tnode_count = 0\n\theartbeat_mode = global\n\n\
                        heartbeat:\n\tcluster = a\n\tregion = 0123456789ABCDEF0123456789ABCDEF\n\n";
        assert_eq!(file.text(), expected);
        file.remove_heartbeat("a", "0123456789abcdef0123456789abcdef").unwrap();
        assert_eq!(file.conf().heartbeats, []);
        let mut alone = ConfFile::parse("cluster:\n\tname = a\n\tnode_count = 0".into()).unwrap();
        alone.set_heartbeat_mode("a", HeartbeatMode::Local).unwrap();
        assert_eq!(
            alone.text(),
            "cluster:\n\tname = a\n\tnode_count = 0\n\theartbeat_mode = local\n"
        );
    }

    #[test]
    fn what_is_added_behind_a_last_backslash_is_no_part_of_the_value() {
        let text = "cluster:\n\tnode_count = 0\n\tname = a\n\tnote = x\\";
        let mut file = ConfFile::parse(text.to_owned()).unwrap();
        file.set_heartbeat_mode("a", HeartbeatMode::Local).unwrap();
        file.add_cluster("b").unwrap();
        assert!(file.text().starts_with(&format!("{text}\n\n\theartbeat_mode = local\n")));
        assert_eq!(file.conf().clusters.len(), 2);
    }

    #[test]
    fn a_change_that_is_refused_says_why_and_changes_nothing() {
        let mut file = story();
        let before = file.text().to_owned();
        let far = Ipv4Addr::new(10, 0, 0, 9);
        for (result, message) in [
            (
                file.add_cluster("ovscluster"),
                "cluster `ovscluster` is in the configuration already",
            ),
            (
                file.add_cluster("a-b"),
                "`a-b` cannot be the name of a cluster: expected 1 to 16 letters and digits",
            ),
            (
                file.remove_cluster("web"),
                "there is no cluster `web` in the configuration; there are: ovscluster",
            ),
            (
                file.add_node("ovscluster", "ovs001", None, far, 7777).map(drop),
                "node `ovs001` is in the configuration already",
            ),
            (
                file.add_node("ovscluster", "x", Some(1), far, 7777).map(drop),
                "number 1 is that of node `ovs002`",
            ),
            (
                file.add_node("ovscluster", "x", None, OURS, 7777).map(drop),
                "address 10.0.0.1:7777 is that of node `ovs001`",
            ),
            (
                file.add_node("ovscluster", "x y", None, far, 7777).map(drop),
                "`x y` cannot be the name of a node: expected 1 to 63 bytes without blanks and \
                 slashes: the host's name",
            ),
            (
                file.remove_node("ovscluster", "x"),
                "there is no node `x` in the configuration; there are: ovs001, ovs002",
            ),
        ] {
            assert_eq!(result.unwrap_err().to_string(), message);
        }
        assert_eq!(file.text(), before);
    }

    #[test]
    fn stanzas_that_contradict_each_other_are_refused_with_their_lines() {
        let text = story().text;
        for (from, to, message) in [
            ("number = 1", "number = 0", "line 16: node: number 0 is taken by line 9"),
            ("ovs002", "OVS001", "line 17: node: name OVS001 is taken by line 10"),
            (
                "10.0.0.2",
                "10.0.0.1",
                "line 15: node: ip_address:ip_port 10.0.0.1:7777 is taken by line 8",
            ),
            (
                "name = ovscluster",
                "name = other",
                "line 11: node: cluster is `ovscluster`, and there is no such cluster",
            ),
        ] {
            let err = ConfFile::parse(text.replacen(from, to, 1)).unwrap_err();
            assert_eq!(err.to_string(), message);
        }
        let twice = text + "cluster:\n\tname = ovscluster\n\tnode_count = 0\n";
        let err = ConfFile::parse(twice).unwrap_err().to_string();
        assert_eq!(err, "line 21: there is a cluster `ovscluster` further up");
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ocfs2/cluster.conf");
        story().write(&path).unwrap();
        assert_eq!(ConfFile::read(&path).unwrap().conf().nodes.len(), 2);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        ConfFile::default().write(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read(&path).unwrap(), b"");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert!(ConfFile::read(&dir.path().join("none")).unwrap().text().is_empty());
    }
}
