//! The status of the stack, the cluster and its heartbeat.

use std::fmt;

use ocfs2_cli::terminal;
use ocfs2_cluster::{ClusterConf, HeartbeatMode, Kernel, Online, Timeouts, stack};
use serde::Serialize;

use crate::corosync::Corosync;

/// The status of this host.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Status {
    /// Label of the kernel's stack; `None` if OCFS2 is not loaded.
    pub stack: Option<String>,
    /// The cluster of o2cb that is online.
    pub cluster: Option<Cluster>,
    /// Without one, the cluster of corosync.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corosync: Option<Corosync>,
}

/// A cluster that is online.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Iterations of 2 s, plus one, after which a silent node is dead.
    pub dead_threshold: Option<u32>,
    /// Network idle timeout in milliseconds.
    pub idle_timeout_ms: Option<u32>,
    /// Network keepalive delay in milliseconds.
    pub keepalive_delay_ms: Option<u32>,
    /// Network reconnect delay in milliseconds.
    pub reconnect_delay_ms: Option<u32>,
    /// `local` or `global`.
    pub heartbeat_mode: String,
    /// Its nodes, by number.
    pub nodes: Vec<Node>,
    /// The regions in which this host beats.
    pub regions: Vec<String>,
    /// Differences between the kernel and the configuration, as one sentence each.
    pub differences: Vec<String>,
}

/// A node of a cluster.
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
    /// Determines the present status.
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
                differences: Vec::new(),
                name,
            })
        });
        let corosync = if cluster.is_none() { Corosync::find(kernel) } else { None };
        Self { stack: stack::current(kernel), cluster, corosync }
    }

    /// Compares the cluster with the configuration, and stores the differences.
    pub fn compare(&mut self, kernel: &dyn Kernel, conf: &ClusterConf, timeouts: &Timeouts) {
        let (Some(cluster), Some(online)) = (&mut self.cluster, Online::find(kernel)) else {
            return;
        };
        if conf.cluster(&cluster.name).is_none() {
            cluster.differences = vec!["the cluster is not in the configuration".to_owned()];
            return;
        }
        let mut differences = online.differences(conf, &cluster.name, timeouts);
        differences.extend(online.region_differences(conf, &cluster.name));
        cluster.differences = differences.iter().map(ToString::to_string).collect();
    }

    /// The status in the words of the C tool, and whether the cluster is online. Without `name` it
    /// is that of any cluster.
    pub fn in_words(&self, name: Option<&str>) -> (String, bool) {
        let running = self.cluster.as_ref().map(|running| running.name.as_str());
        let running = running.or(self.corosync.as_ref().map(|running| running.name.as_str()));
        let Some(name) = name.or(running) else {
            return ("offline".to_owned(), false);
        };
        let online = self.is_online() && running == Some(name);
        let word = if online { "online" } else { "offline" };
        (format!("Cluster '{}' is {word}", terminal(name)), online)
    }

    /// Whether a volume could be mounted: the cluster is online, and with global heartbeat it has a
    /// region in which this host beats; one of corosync is quorate and waits for nothing.
    pub fn is_online(&self) -> bool {
        let global = HeartbeatMode::Global.to_string();
        let silent =
            |cluster: &Cluster| cluster.heartbeat_mode == global && cluster.regions.is_empty();
        self.cluster.as_ref().is_some_and(|cluster| !silent(cluster))
            || self.corosync.as_ref().is_some_and(Corosync::is_ready)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loaded = if self.stack.is_some() { "Loaded" } else { "Not loaded" };
        writeln!(f, "Stack glue driver: {loaded}")?;
        if let Some(stack) = &self.stack {
            writeln!(f, "Cluster stack: {}", terminal(stack))?;
        }
        if let Some(corosync) = &self.corosync {
            return corosync.fmt(f);
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
        let active = if cluster.regions.is_empty() { "Not active" } else { "Active" };
        writeln!(f, "Checking O2CB heartbeat: {active}")?;
        for region in &cluster.regions {
            writeln!(f, "  {}", terminal(region))?;
        }
        if cluster.differences.is_empty() {
            return Ok(());
        }
        writeln!(f, "Comparing with the configuration: it differs")?;
        let lines = cluster.differences.iter();
        lines.map(terminal).try_for_each(|difference| writeln!(f, "  {difference}"))
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

    #[test]
    fn what_differs_from_the_configuration_is_shown() {
        let kernel = FakeKernel::new("b");
        let text = "cluster:\n\tname = web\n\tnode_count = 1\n\n\
            node:\n\tcluster = web\n\tname = b\n\tnumber = 7\n\tip_address = 10.0.0.1\n\tip_port = 7777\n";
        let conf = ClusterConf::parse(text).unwrap();
        let online = Online::prepare(&kernel).unwrap();
        online.register(&conf, "web", &Timeouts::default()).unwrap();
        let compared = |conf: &str, timeouts: &Timeouts| {
            let mut status = Status::find(&kernel);
            status.compare(&kernel, &ClusterConf::parse(conf).unwrap(), timeouts);
            status.cluster.unwrap().differences
        };
        assert!(compared(text, &Timeouts::OF_KERNEL).is_empty());
        let timeouts = Timeouts { dead_threshold: Some(7), ..Timeouts::default() };
        let expected = [
            "node `b`: the kernel has number 7 at 10.0.0.1:7777 (this host), the configuration \
             number 7 at 10.0.0.77:7777 (this host)",
            "heartbeat dead threshold: the kernel has 31, the configuration 7",
        ];
        assert_eq!(compared(&text.replace("0.1\n", "0.77\n"), &timeouts), expected);
        assert_eq!(compared("", &timeouts), ["the cluster is not in the configuration"]);
        let mut status = Status::find(&kernel);
        status.compare(&kernel, &conf, &timeouts);
        assert!(status.to_string().ends_with(
            "Comparing with the configuration: it differs\n  heartbeat dead threshold: the kernel \
             has 31, the configuration 7\n"
        ));
    }

    #[test]
    fn a_cluster_is_online_or_offline_in_the_words_of_the_c_tool() {
        let kernel = FakeKernel::new("b");
        assert_eq!(Status::find(&kernel).in_words(None), ("offline".to_owned(), false));
        let conf = "cluster:\n\tname = web\n\tnode_count = 1\n\n\
            node:\n\tcluster = web\n\tname = b\n\tnumber = 7\n\tip_address = 10.0.0.1\n\tip_port = 7777\n";
        let conf = ClusterConf::parse(conf).unwrap();
        Online::prepare(&kernel).unwrap().register(&conf, "web", &Timeouts::default()).unwrap();
        let status = Status::find(&kernel);
        let online = ("Cluster 'web' is online".to_owned(), true);
        assert_eq!((status.in_words(None), status.in_words(Some("web"))), (online.clone(), online));
        assert_eq!(status.in_words(Some("x")), ("Cluster 'x' is offline".to_owned(), false));
    }

    /// All scalars of a document, as text.
    fn scalars(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Array(all) => all.iter().for_each(|it| scalars(it, found)),
            serde_json::Value::Object(all) => all.values().for_each(|it| scalars(it, found)),
            serde_json::Value::String(text) => found.push(text.clone()),
            other => found.push(other.to_string()),
        }
    }

    /// Demands that each value of the text is one of the document.
    fn assert_document_says_all(status: &Status) {
        let document = serde_json::to_value(status).unwrap();
        let mut found = Vec::new();
        scalars(&document, &mut found);
        let has = |value: &str| found.iter().any(|it| it.eq_ignore_ascii_case(value));
        let text = status.to_string();
        for line in text.lines() {
            let has_flag = |words: &str, flag: &str, value: bool| {
                let members = ["cluster", "corosync"].map(|key| &document[key]["nodes"]);
                let nodes = members.into_iter().filter_map(|it| it.as_array()).flatten();
                let any = nodes.into_iter().any(|node| node[flag] == value);
                assert!(!line.contains(words) || any, "{line}: {document:#}");
            };
            has_flag(" (this host)", "local", true);
            has_flag(" (to be fenced)", "to_be_fenced", true);
            has_flag(" (not a member)", "member", false);
            let bare = [" (this host)", " (to be fenced)", " (not a member)"]
                .iter()
                .fold(line.to_owned(), |line, words| line.replace(words, ""));
            let (what, value) = match bare.strip_prefix("  ") {
                // Regions and differences are lines by themselves.
                Some(own) if has(own) => continue,
                Some(own) => own.split_once(": ").unwrap(),
                None => bare.rsplit_once(": ").unwrap(),
            };
            let is_said = match (what, value) {
                ("Stack glue driver", loaded) => {
                    document["stack"].is_null() == (loaded != "Loaded")
                }
                ("Checking O2CB cluster", "Offline") => document["cluster"].is_null(),
                ("Checking O2CB heartbeat", state) => {
                    let regions = document["cluster"]["regions"].as_array().unwrap();
                    regions.is_empty() == (state == "Not active")
                }
                ("Comparing with the configuration", _) => {
                    !document["cluster"]["differences"].as_array().unwrap().is_empty()
                }
                ("Quorate", word) => document["corosync"]["quorate"] == (word == "yes"),
                (what, state) if what.starts_with("Checking ") => {
                    let name = what.split('"').nth(1).unwrap();
                    let why = state.trim_start_matches("Online").trim_start_matches("Offline");
                    let why = why.strip_prefix(" (").map_or(why, |why| why.trim_end_matches(')'));
                    let why = why.trim_start_matches(", ");
                    has(name) && (why.is_empty() || has(why))
                }
                (what, name) => match what.strip_prefix("Node ") {
                    Some(number) => has(number) && (name == "unknown name" || has(name)),
                    None => has(name),
                },
            };
            assert!(is_said, "{line}: {document:#}");
        }
    }

    #[test]
    fn the_document_has_everything_that_the_text_has() {
        use ocfs2_cluster::CorosyncConf;
        use ocfs2_cluster::fake::DLM_STATUS;
        let kernel = FakeKernel::new("b");
        assert_document_says_all(&Status::find(&kernel));
        let text = "cluster:\n\tname = web\n\tnode_count = 2\n\n\
            node:\n\tcluster = web\n\tname = b\n\tnumber = 7\n\tip_address = 10.0.0.1\n\tip_port = 7777\n\n\
            node:\n\tcluster = web\n\tname = c\n\tnumber = 9\n\tip_address = 10.0.0.2\n\tip_port = 7777\n";
        let conf = ClusterConf::parse(text).unwrap();
        let online = Online::prepare(&kernel).unwrap();
        online.register(&conf, "web", &Timeouts::default()).unwrap();
        kernel.put("sys/kernel/config/cluster/web/heartbeat/0123ABCD/dev", Some("sdb1"));
        let mut status = Status::find(&kernel);
        let timeouts = Timeouts { dead_threshold: Some(7), ..Timeouts::default() };
        status.compare(&kernel, &conf, &timeouts);
        let text = status.to_string();
        assert!(
            text.contains("heartbeat: Active\n  0123ABCD\n") && text.contains("it differs"),
            "{text}"
        );
        assert_document_says_all(&status);

        let kernel = FakeKernel::new("ovs002");
        kernel.join_dlm("hac", 2, &[1, 2]);
        let conf =
            "totem {\ncluster_name: hac\n}\nnodelist {\nnode {\nnodeid: 1\nname: ovs001\n}\n}\n";
        kernel.put(CorosyncConf::PATH, Some(conf));
        assert_document_says_all(&Status::find(&kernel));
        kernel.answer("dlm_tool status -v", DLM_STATUS);
        assert_document_says_all(&Status::find(&kernel));
        let failed = DLM_STATUS.replacen("member=1", "member=0", 1);
        let failed = failed.replacen("need_fencing=0", "need_fencing=1", 1);
        kernel.answer("dlm_tool status -v", &failed);
        assert_document_says_all(&Status::find(&kernel));
    }
}
