//! The status of a cluster of corosync, which this program shows and does not run.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Result, bail};
use ocfs2_cli::terminal;
use ocfs2_cluster::{CorosyncConf, DlmCluster, Kernel, Membership, Online, describe_wait};
use serde::Serialize;

/// A cluster of corosync, as this host sees it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Corosync {
    /// Its name.
    pub name: String,
    /// Whether enough nodes are members; `None` if the cluster cannot be asked.
    pub quorate: Option<bool>,
    /// Its nodes, by number.
    pub nodes: Vec<Node>,
    /// What has to happen before a volume can be mounted, in words.
    pub waits_for: Option<String>,
    /// Why the cluster cannot be asked.
    pub problem: Option<String>,
}

/// A node of a cluster of corosync.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Node {
    /// Its number.
    pub number: u32,
    /// Its name, if known.
    pub name: Option<String>,
    /// Whether it is this host.
    pub local: bool,
    /// Whether it is a member now; `None` if the cluster cannot be asked.
    pub member: Option<bool>,
    /// Whether it failed and has to be fenced.
    pub to_be_fenced: bool,
}

impl Corosync {
    /// Determines the present status; `None` if this host is in no such cluster.
    pub fn find(kernel: &dyn Kernel) -> Option<Self> {
        let cluster = DlmCluster::find(kernel)?;
        let conf = CorosyncConf::read(kernel).unwrap_or_default();
        let (membership, problem) = match Membership::find(kernel) {
            Ok(membership) => (Some(membership), None),
            Err(err) => (None, Some(err.to_string())),
        };
        let local = cluster.this_node;
        let node = |number| Node {
            number,
            name: conf.nodes.get(&number).cloned(),
            local: local == Some(number),
            member: None,
            to_be_fenced: false,
        };
        let known = conf.nodes.keys().chain(&cluster.members).copied();
        let mut nodes: BTreeMap<u32, Node> = known.map(|number| (number, node(number))).collect();
        if let Some(membership) = &membership {
            for (number, member) in &membership.nodes {
                nodes.entry(*number).or_insert_with(|| node(*number)).to_be_fenced =
                    member.to_be_fenced;
            }
            for node in nodes.values_mut() {
                let member = membership.nodes.get(&node.number);
                node.member = Some(member.is_some_and(|member| member.is_member));
            }
        }
        let wait = membership.as_ref().and_then(Membership::waits_for);
        Some(Self {
            name: cluster.name,
            quorate: membership.as_ref().map(|membership| membership.is_quorate),
            nodes: nodes.into_values().collect(),
            waits_for: wait.map(|wait| describe_wait(&wait, kernel)),
            problem,
        })
    }

    /// Whether a volume could be mounted.
    pub fn is_ready(&self) -> bool {
        self.quorate == Some(true)
            && self.waits_for.is_none()
            && self.nodes.iter().any(|node| node.local)
    }
}

impl fmt::Display for Corosync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = terminal(&self.name);
        let state = match (&self.problem, &self.waits_for) {
            (Some(problem), _) => format!("Offline ({})", terminal(problem)),
            (None, Some(wait)) => format!("Online, {}", terminal(wait)),
            (None, None) => "Online".to_owned(),
        };
        writeln!(f, "Checking cluster \"{name}\" of corosync: {state}")?;
        if let Some(quorate) = self.quorate {
            writeln!(f, "  Quorate: {}", if quorate { "yes" } else { "no" })?;
        }
        for node in &self.nodes {
            let name = terminal(node.name.as_deref().unwrap_or("unknown name"));
            let here = if node.local { " (this host)" } else { "" };
            let state = match node {
                Node { to_be_fenced: true, .. } => " (to be fenced)",
                Node { member: Some(false), .. } => " (not a member)",
                _ => "",
            };
            writeln!(f, "  Node {}: {name}{here}{state}", node.number)?;
        }
        Ok(())
    }
}

/// Fails where a cluster of corosync runs and none of o2cb is online: its services run it.
pub(crate) fn refuse(kernel: &dyn Kernel) -> Result<()> {
    if Online::find(kernel).is_some_and(|online| online.cluster().is_some()) {
        return Ok(());
    }
    match DlmCluster::find(kernel) {
        None => Ok(()),
        Some(cluster) => bail!(
            "corosync and dlm_controld run the cluster here, `{}`: systemctl start dlm, or \
             Pacemaker with its agent ocf:pacemaker:controld",
            terminal(&cluster.name)
        ),
    }
}

/// The nodes of the cluster in the configuration of corosync, in the form of those of o2cb. `None` if
/// it is of another cluster.
pub(crate) fn nodes(kernel: &dyn Kernel, cluster: &str, oneline: bool) -> Option<String> {
    let conf = CorosyncConf::read(kernel).filter(|it| it.cluster.as_deref() == Some(cluster))?;
    let cluster = terminal(cluster);
    let node = |(number, name): (&u32, &String)| {
        let name = terminal(name);
        match oneline {
            true => format!("node: {number} {name} {cluster}\n"),
            false => {
                format!("node:\n\tnumber = {number}\n\tname = {name}\n\tcluster = {cluster}\n\n")
            }
        }
    };
    Some(conf.nodes.iter().map(node).collect())
}

#[cfg(test)]
mod tests {
    use ocfs2_cluster::fake::{DLM_STATUS, FakeKernel};

    use super::*;
    use crate::status::Status;

    const CONF: &str = "totem {\ncluster_name: hac\n}\nnodelist {\nnode {\nnodeid: 1\nname: ovs001\n}\n\
                        node {\nnodeid: 2\nname: ovs002\n}\n}\n";

    fn member() -> FakeKernel {
        let kernel = FakeKernel::new("ovs002");
        kernel.join_dlm("hac", 2, &[1, 2]);
        kernel.put(CorosyncConf::PATH, Some(CONF));
        kernel.answer("dlm_tool status -v", DLM_STATUS);
        kernel
    }

    #[test]
    fn a_cluster_of_corosync_is_shown_with_its_nodes() {
        let kernel = member();
        let status = Status::find(&kernel);
        assert_eq!(
            status.to_string(),
            "Stack glue driver: Not loaded\nChecking cluster \"hac\" of corosync: Online\n  \
             Quorate: yes\n  Node 1: ovs001\n  Node 2: ovs002 (this host)\n"
        );
        assert!(status.is_online());
        assert_eq!(status.in_words(None), ("Cluster 'hac' is online".to_owned(), true));
        assert!(!status.in_words(Some("other")).1);
    }

    #[test]
    fn a_cluster_that_waits_is_not_ready() {
        let kernel = member();
        let failed = DLM_STATUS.replacen("member=1", "member=0", 1);
        kernel
            .answer("dlm_tool status -v", &failed.replacen("need_fencing=0", "need_fencing=1", 1));
        let status = Status::find(&kernel);
        let text = status.to_string();
        assert!(
            text.contains("Online, waiting until the cluster has fenced node 1 (ovs001)"),
            "{text}"
        );
        assert!(text.contains("  Node 1: ovs001 (to be fenced)\n"), "{text}");
        assert!(!status.is_online());
        kernel.answer("dlm_tool status -v", "cannot connect to dlm_controld\n");
        let status = Status::find(&kernel);
        let text = status.to_string();
        assert!(text.contains("of corosync: Offline (dlm_controld does not run)"), "{text}");
        assert!(!status.is_online() && !status.in_words(None).1);
    }

    #[test]
    fn who_runs_the_cluster_is_said() {
        let kernel = member();
        let err = refuse(&kernel).unwrap_err().to_string();
        assert!(err.starts_with("corosync and dlm_controld run the cluster here, `hac`"), "{err}");
        kernel.put("sys/kernel/config/cluster/web/node", None);
        assert!(refuse(&kernel).is_ok());
        assert!(refuse(&FakeKernel::new("a")).is_ok());
        let listed = nodes(&kernel, "hac", true).unwrap();
        assert_eq!(listed, "node: 1 ovs001 hac\nnode: 2 ovs002 hac\n");
        assert_eq!(nodes(&kernel, "web", true), None);
    }
}
