//! `o2cb_ctl`: the configuration of the cluster, with the text of the C tool.
//!
//! The C tool does nothing without the kernel's configfs. What is expected here is what 1.8.7 printed
//! and wrote for the same calls.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

use ocfs2_testing::{Outcome, Run, Scratch, c_tool, program, skip};

/// A folder with a configuration.
struct Site {
    scratch: Scratch,
}

impl Site {
    fn new() -> Self {
        Self { scratch: Scratch::new() }
    }

    fn conf(&self) -> PathBuf {
        self.scratch.join("cluster.conf")
    }

    fn run(&self, line: &str) -> Outcome {
        let run = Run::new(program("o2cb_ctl")).arg("--config-file").arg(self.conf());
        run.args(line.split(' ')).output()
    }

    /// Runs a command that has to work, and returns what it prints.
    fn does(&self, line: &str) -> String {
        let outcome = self.run(line).expect_status(0);
        assert_eq!(outcome.stderr, "", "{line}");
        outcome.stdout
    }

    /// Runs a command that has to be refused, and demands that it changes nothing.
    fn refuses(&self, line: &str, message: &str) {
        let before = fs::read(self.conf()).unwrap_or_default();
        let outcome = self.run(line).expect_status(1);
        assert!(outcome.stderr.contains(message), "{line}: {outcome}");
        assert!(fs::read(self.conf()).unwrap_or_default() == before, "{line}");
    }

    /// A cluster of two nodes, created as agents do.
    fn with_cluster() -> Self {
        let site = Self::new();
        assert_eq!(site.does("-C -n web -t cluster"), "");
        for (node, number) in [("node1", 0), ("node2", 1)] {
            let address = number + 1;
            site.does(&format!(
                "-C -n {node} -t node -a number={number} -a ip_address=10.0.0.{address} \
                 -a ip_port=7777 -a cluster=web"
            ));
        }
        site
    }
}

const NODE: &str = "\
node:
\tname = node1
\tcluster = web
\tnumber = 0
\tip_address = 10.0.0.1
\tip_port = 7777
\tstatus = configured

";

#[test]
fn what_agents_create_is_listed_as_by_the_c_tool() {
    let site = Site::with_cluster();
    let second = NODE.replace("node1", "node2").replace("= 0\n", "= 1\n").replace("0.1", "0.2");
    let cluster = "cluster:\n\tname = web\n\tnode_count = 2\n\tstatus = configured\n\n";
    let header = "#name:cluster:number:ip_address:ip_port:status\n";
    let first_line = "node1:web:0:10.0.0.1:7777:configured\n";
    let lines = format!("{header}{first_line}node2:web:1:10.0.0.2:7777:configured\n");
    for (line, expected) in [
        ("-I -t node", format!("{NODE}{second}")),
        ("-I -t node -z", format!("{NODE}{second}")),
        ("-I -t node -a ip_address", format!("{NODE}{second}")),
        ("-I -n node1", NODE.to_owned()),
        ("-I -t cluster", cluster.to_owned()),
        ("-I -n web", cluster.to_owned()),
        ("-I -t node -o", lines.clone()),
        ("-I -n node1 -o", format!("{header}{first_line}")),
        ("-I -n web -o", "#name:count:status\nweb:2:configured\n".to_owned()),
        // The manual of the C tool promises this, and the program lists all.
        ("-I -t node -o -a number==0", format!("{header}{first_line}")),
        ("-I -t node -o -a cluster==web", lines),
        ("-I -t node -o -a cluster==db", header.to_owned()),
    ] {
        assert_eq!(site.does(line), expected, "{line}");
    }
    let missing = site.run("-I -n nope -t node -o").expect_status(1);
    assert_eq!(
        (missing.stdout.as_str(), missing.stderr.as_str()),
        (header, "o2cb_ctl: Node \"nope\" does not exist\n",)
    );
    let empty = Site::new();
    assert_eq!(empty.does("-I -t node -o"), header);
}

#[test]
fn the_c_o2cb_reads_what_was_created() {
    let Some(theirs) = c_tool("o2cb") else { return skip("there is no C o2cb") };
    let site = Site::with_cluster();
    let conf = format!("--config-file={}", site.conf().display());
    let nodes = Run::new(theirs).args([&conf, "list-nodes", "web", "--oneline"]).success().stdout;
    let mut nodes: Vec<_> = nodes.lines().collect();
    nodes.sort_unstable();
    assert_eq!(nodes, ["node: 0 node1 10.0.0.1:7777 web", "node: 1 node2 10.0.0.2:7777 web"]);
}

#[test]
fn what_the_c_tool_refuses_is_refused_in_its_words() {
    let site = Site::with_cluster();
    let node = "-C -n node3 -t node -a cluster=web";
    for (line, message) in [
        ("-C -n web -t cluster", "`web` is in the configuration already"),
        (node, "\"ip_address\" attribute required to create a node"),
        (
            &format!("{node} -a ip_address=10.0.0.3"),
            "\"ip_port\" attribute required to create a node",
        ),
        ("-C -n node3 -t node -a ip_port=1", "\"cluster\" attribute required to create a node"),
        (&format!("{node} -a ip_address=x -a ip_port=1"), "IP address \"x\" is invalid"),
        (
            &format!("{node} -a ip_address=10.0.0.3 -a ip_port=77777"),
            "Port number \"77777\" is inval",
        ),
        (
            &format!("{node} -a ip_address=10.0.0.3 -a ip_port=1 -a number=300"),
            "Node number \"300\" is invalid",
        ),
        (
            &format!("{node} -a ip_address=10.0.0.3 -a ip_port=1 -a number=1"),
            "number 1 is that of node `node2`",
        ),
        (&format!("{node} -a frob=1"), "Invalid attribute: \"frob\""),
        ("-C -n a -n b -t node", "Cannot create more than one node at a time"),
        ("-I", "Operation '-I' requires an object or object type"),
        ("-H", "Operation '-H' requires an object or object type"),
        ("-H -t cluster -n web -a online=maybe", "Invalid value for attribute \"online\": maybe"),
        ("-H -t cluster -n nope -a name=x", "Cluster \"nope\" does not exist"),
        ("-I -t node -a frob", "Invalid attribute: \"frob\""),
        ("-I -t disk", "invalid value 'disk'"),
        ("-I -t node x", "unexpected argument 'x'"),
        ("-C -I -t node", "cannot be used with"),
        ("-C -n x", "-t <TYPE>"),
        ("-I -u -t node", "cannot be used with"),
    ] {
        site.refuses(line, message);
    }
}

#[test]
fn nodes_and_clusters_are_changed_and_deleted() {
    let site = Site::with_cluster();
    site.does("-H -n node2 -a ip_address=10.0.0.22 -a number=7");
    let of_node2 = "node2:web:7:10.0.0.22:7777:configured";
    assert!(site.does("-I -t node -o").ends_with(&format!("{of_node2}\n")));
    site.refuses("-H -n node2 -a number=0", "number 0 is taken");
    site.does("-H -t cluster -n web -a name=db");
    assert!(site.does("-I -t node -o").ends_with(&format!("{}\n", of_node2.replace("web", "db"))));

    // The same name in two clusters.
    site.does("-C -n web -t cluster");
    site.does("-C -n node2 -t node -a cluster=web -a ip_address=10.0.0.2 -a ip_port=7777");
    site.refuses("-D -n node2", "there are 2 objects named node2");
    site.does("-D -n node2 -a cluster=web");
    assert_eq!(site.does("-I -t node -o").matches("node2").count(), 1);
    site.does("-D -n node1 -n node2");
    assert!(!site.does("-I -t node -o").contains("node1"));
    site.refuses("-D -n node1", "Object \"node1\" does not exist");
    site.does("-D -n db -t cluster");
    assert_eq!(site.does("-I -t cluster -o"), "#name:count:status\nweb:0:configured\n");
}

#[test]
fn heartbeat_regions_are_objects_too() {
    const REGION: &str = "0123456789ABCDEF0123456789ABCDEF";
    let site = Site::with_cluster();
    site.does(&format!("-C -t heartbeat -n {REGION} -a cluster=web"));
    let listed = site.does("-I -t heartbeat -o");
    assert_eq!(listed, format!("#region:cluster:status\n{REGION}:web:configured\n"));
    let dashed = "01234567-89ab-cdef-0123-456789abcdef";
    site.does(&format!("-D -n {dashed}"));
    assert_eq!(site.does("-I -t heartbeat -o"), "#region:cluster:status\n");
}

#[test]
fn a_cluster_goes_nowhere_without_the_kernels_part() {
    if Path::new("/sys/kernel/config/cluster").exists() {
        return skip("this host may have a cluster");
    }
    let site = Site::with_cluster();
    // It is not online.
    site.does("-H -t cluster -n web -a online=no");
    site.does("-D -n node2 -u");
    let host = Run::new("hostname").success().stdout;
    let told = site.run("-C -n other -t cluster -i").expect_status(0);
    assert!(told.stderr.contains("the kernel gets cluster other when this host, "), "{told}");
    assert!(
        told.stderr.contains(host.trim()) && told.stdout == "Cluster other created\n",
        "{told}"
    );
}
