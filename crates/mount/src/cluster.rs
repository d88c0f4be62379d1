//! Comparison of a volume's stack and cluster with those of this host.

use std::fmt;

use ocfs2_cluster::{
    CorosyncConf, DlmCluster, HeartbeatMode, Kernel, NotReady, Online, StackError, stack,
};
use ocfs2_format::superblock::{Stack, SuperBlock};

/// The heartbeat of a volume, as the kernel is told at mount.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Heartbeat {
    /// None, because only this host mounts the volume.
    None,
    /// On the volume itself, by a cluster with local heartbeat.
    Local {
        /// The name of the cluster.
        cluster: String,
    },
    /// In the global regions of the cluster.
    Global,
    /// Left to a stack in user space with this label.
    Userspace(String),
}

impl fmt::Display for Heartbeat {
    /// The mount option.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("heartbeat=none"),
            Self::Local { .. } => f.write_str("heartbeat=local"),
            Self::Global => f.write_str("heartbeat=global"),
            Self::Userspace(stack) => write!(f, "cluster_stack={stack}"),
        }
    }
}

/// The volume cannot be mounted with the cluster of this host.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No cluster is online.
    #[error(
        "Unable to access cluster service while trying initialize cluster: no cluster is online on \
         this host{}; bring it online first: {}",
        of(cluster),
        online(cluster)
    )]
    Offline {
        /// The volume's cluster, if it states one.
        cluster: Option<String>,
    },
    /// Another cluster is online.
    #[error(
        "the volume belongs to cluster `{volume}`, and cluster `{running}` is online on this host; \
         mount it on a node of `{volume}`, or, if no node of that cluster uses it any more, give it \
         to `{running}`: tunefs.ocfs2 --update-cluster-stack"
    )]
    OtherCluster {
        /// The volume's cluster.
        volume: String,
        /// The cluster that is online.
        running: String,
    },
    /// Another stack is in use.
    #[error(
        "the volume belongs to stack {volume}{}, and stack {running} runs on this host{}; mount it \
         on a node of {volume}, or, if no node of that cluster uses it any more, give it to the \
         cluster of this host: tunefs.ocfs2 --update-cluster-stack",
        of(volume_cluster),
        of(cluster)
    )]
    OtherStack {
        /// The volume's stack.
        volume: String,
        /// The volume's cluster, if it states one.
        volume_cluster: Option<String>,
        /// The stack of this host.
        running: String,
        /// The cluster that is online on this host.
        cluster: Option<String>,
    },
    /// The stack cannot be used.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// This host is not a node of the cluster.
    #[error(
        "cluster `{cluster}` is online, and this host, `{host}`, is none of its nodes: add it with \
         `o2cb add-node {cluster} {host} --ip ADDRESS` on all nodes, then `o2cb register-cluster \
         {cluster}`"
    )]
    NotANode {
        /// The cluster.
        cluster: String,
        /// The name of this host.
        host: String,
    },
    /// The heartbeat modes of the volume and the cluster differ.
    #[error(
        "the volume wants {volume} heartbeat, and cluster `{cluster}` has {running} heartbeat: \
         change the cluster (o2cb offline {cluster}; o2cb heartbeat-mode {cluster} {volume}; o2cb \
         online {cluster}) or the volume (tunefs.ocfs2 --update-cluster-stack)"
    )]
    Mode {
        /// The volume's mode.
        volume: HeartbeatMode,
        /// The cluster's mode.
        running: HeartbeatMode,
        /// The name of the cluster.
        cluster: String,
    },
    /// The global heartbeat has no region on this host.
    #[error(
        "the global heartbeat of cluster `{cluster}` has no region on this host: o2cb \
         start-heartbeat {cluster}"
    )]
    NoRegion {
        /// The name of the cluster.
        cluster: String,
    },
    /// This host is not a member of a cluster of corosync, or the wait for it was interrupted.
    #[error(transparent)]
    NotReady(#[from] NotReady),
    /// The kernel is from before Linux 3.14 and needs a daemon that nobody has any more.
    #[error(
        "this kernel needs the daemon ocfs2_controld for volumes of stack {0}, which is not \
         supported; Linux 3.14 and later do not need it"
    )]
    OldKernel(String),
    /// An option in `-o` contradicts the volume.
    #[error("-o {told} does not fit the volume, which takes {wanted}")]
    Told {
        /// The option.
        told: String,
        /// What the volume requires.
        wanted: String,
    },
}

fn of(cluster: &Option<String>) -> String {
    cluster.as_ref().map(|name| format!(" (cluster `{name}`)")).unwrap_or_default()
}

fn online(cluster: &Option<String>) -> String {
    format!("o2cb online {}", cluster.as_deref().unwrap_or_default()).trim_end().to_owned()
}

/// Determines the heartbeat of the volume, and loads the modules for it.
///
/// # Errors
/// [`ClusterError`] if this host cannot mount the volume as it is now.
pub fn heartbeat_of(
    kernel: &dyn Kernel,
    superblock: &SuperBlock,
) -> Result<Heartbeat, ClusterError> {
    let volume_cluster =
        superblock.cluster_info().map(|info| info.cluster()).filter(|name| !name.is_empty());
    let online = Online::find(kernel);
    let running = online.as_ref().and_then(Online::cluster);
    match superblock.stack() {
        Stack::Local => {
            stack::load_file_system(kernel)?;
            Ok(Heartbeat::None)
        }
        Stack::Userspace(_) => {
            let label = superblock.stack().to_string();
            let active = stack::current(kernel).unwrap_or_default();
            // A cluster of o2cb that is online was brought online on purpose. A label without one
            // may be changed.
            if active == stack::O2CB && running.is_some() {
                return Err(ClusterError::OtherStack {
                    volume: label,
                    volume_cluster,
                    running: active,
                    cluster: running,
                });
            }
            stack::load(kernel, &label)?;
            if !kernel.exists("sys/fs/ocfs2/dlm_recover_callback_support") {
                return Err(ClusterError::OldKernel(label));
            }
            // The kernel would refuse as well, but without a reason.
            let running = DlmCluster::find(kernel).map(|cluster| cluster.name);
            let running = running.or_else(|| CorosyncConf::read(kernel)?.cluster);
            if let (Some(volume), Some(running)) = (volume_cluster, running)
                && volume != running
            {
                return Err(ClusterError::OtherCluster { volume, running });
            }
            Ok(Heartbeat::Userspace(label))
        }
        Stack::O2cb { global_heartbeat } => {
            if let Some(active) = stack::current(kernel).filter(|active| active != stack::O2CB)
                && (stack::is_in_use(kernel)
                    || running.is_none() && DlmCluster::find(kernel).is_some())
            {
                return Err(ClusterError::OtherStack {
                    volume: stack::O2CB.to_owned(),
                    volume_cluster,
                    running: active,
                    cluster: None,
                });
            }
            stack::load(kernel, stack::O2CB)?;
            let (Some(online), Some(cluster)) = (online, running) else {
                return Err(ClusterError::Offline { cluster: volume_cluster });
            };
            if let Some(volume) = volume_cluster.filter(|name| *name != cluster) {
                return Err(ClusterError::OtherCluster { volume, running: cluster });
            }
            if !online.nodes(&cluster).iter().any(|(.., local)| *local) {
                return Err(ClusterError::NotANode { cluster, host: kernel.host_name() });
            }
            let mode = online.heartbeat_mode(&cluster);
            let volume =
                if global_heartbeat { HeartbeatMode::Global } else { HeartbeatMode::Local };
            if mode != volume {
                return Err(ClusterError::Mode { volume, running: mode, cluster });
            }
            match mode {
                HeartbeatMode::Local => Ok(Heartbeat::Local { cluster }),
                HeartbeatMode::Global if online.regions(&cluster).is_empty() => {
                    Err(ClusterError::NoRegion { cluster })
                }
                HeartbeatMode::Global => Ok(Heartbeat::Global),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ocfs2_cluster::fake::FakeKernel;
    use ocfs2_cluster::{ClusterConf, Timeouts};
    use ocfs2_format::feature::Incompat;
    use ocfs2_format::superblock::ClusterInfo;

    use super::*;

    fn superblock(incompat: Incompat, stack: &[u8; 4], cluster: &str, flags: u8) -> SuperBlock {
        let mut superblock = SuperBlock::of_block(&[0; 512]).unwrap();
        superblock.s_feature_incompat = incompat.bits();
        let mut ci_cluster = [0; 16];
        ci_cluster[..cluster.len()].copy_from_slice(cluster.as_bytes());
        superblock.s_cluster_info =
            ClusterInfo { ci_stack: *stack, ci_stackflags: flags, ci_reserved: [0; 3], ci_cluster };
        superblock
    }

    fn web(flags: u8) -> SuperBlock {
        superblock(Incompat::CLUSTERINFO, b"o2cb", "web", flags)
    }

    fn online(mode: &str) -> FakeKernel {
        let kernel = FakeKernel::new("a");
        let conf = format!(
            "cluster:\n\tname = web\n\tnode_count = 1\n\theartbeat_mode = {mode}\n\nnode:\n\
             \tcluster = web\n\tname = a\n\tnumber = 0\n\tip_address = 10.0.0.1\n\tip_port = 7777\n"
        );
        let conf = ClusterConf::parse(&conf).unwrap();
        Online::prepare(&kernel).unwrap().register(&conf, "web", &Timeouts::default()).unwrap();
        kernel
    }

    #[test]
    fn a_volume_of_the_running_cluster_gets_its_heartbeat() {
        let local = Heartbeat::Local { cluster: "web".to_owned() };
        assert_eq!(heartbeat_of(&online("local"), &web(0)).unwrap(), local);
        let classic = superblock(Incompat::empty(), &[0; 4], "", 0);
        assert_eq!(heartbeat_of(&online("local"), &classic).unwrap(), local);
        let kernel = online("global");
        assert!(matches!(heartbeat_of(&kernel, &web(1)), Err(ClusterError::NoRegion { .. })));
        kernel.put("sys/kernel/config/cluster/web/heartbeat/0A", None);
        assert_eq!(heartbeat_of(&kernel, &web(1)).unwrap(), Heartbeat::Global);
        let alone = superblock(Incompat::LOCAL_MOUNT, &[0; 4], "", 0);
        assert_eq!(heartbeat_of(&FakeKernel::new("a"), &alone).unwrap(), Heartbeat::None);
        let pcmk = superblock(Incompat::USERSPACE_STACK, b"pcmk", "web", 0);
        let userspace = heartbeat_of(&FakeKernel::new("a"), &pcmk).unwrap();
        assert_eq!(userspace.to_string(), "cluster_stack=pcmk");
        let kernel = FakeKernel::new("a");
        kernel.put("etc/corosync/corosync.conf", Some("totem {\n\tcluster_name: web\n}"));
        assert_eq!(heartbeat_of(&kernel, &pcmk).unwrap(), userspace);
    }

    #[test]
    fn the_label_of_a_stack_binds_only_while_it_is_used() {
        let kernel = online("local");
        kernel.put("sys/fs/ocfs2/cluster_stack", Some("pcmk"));
        kernel.put("sys/fs/ocfs2/active_cluster_plugin", Some(""));
        let local = Heartbeat::Local { cluster: "web".to_owned() };
        kernel.join_dlm("hac", 1, &[1]);
        assert_eq!(heartbeat_of(&kernel, &web(0)).unwrap(), local);
        // Without a cluster of o2cb the one that runs is meant.
        let kernel = FakeKernel::new("a");
        kernel.put("sys/fs/ocfs2/cluster_stack", Some("pcmk"));
        assert!(matches!(heartbeat_of(&kernel, &web(0)), Err(ClusterError::Offline { .. })));
        kernel.put("sys/fs/ocfs2/cluster_stack", Some("pcmk"));
        kernel.join_dlm("hac", 1, &[1]);
        assert!(matches!(heartbeat_of(&kernel, &web(0)), Err(ClusterError::OtherStack { .. })));
    }

    #[test]
    fn every_reason_not_to_mount_says_what_to_do() {
        let says = |kernel: &FakeKernel, superblock: &SuperBlock, parts: &[&str]| {
            let err = heartbeat_of(kernel, superblock).unwrap_err().to_string();
            assert!(parts.iter().all(|part| err.contains(part)), "{err}");
        };
        let service = "Unable to access cluster service while trying initialize cluster";
        says(&FakeKernel::new("a"), &web(0), &[service, "o2cb online web"]);
        says(&FakeKernel::without_modules("a"), &web(0), &["kernel module ocfs2 is not loaded"]);
        let local = online("local");
        let other = superblock(Incompat::CLUSTERINFO, b"o2cb", "db", 0);
        says(
            &local,
            &other,
            &["belongs to cluster `db`, and cluster `web` is online", "tunefs.ocfs2"],
        );
        let pcmk = superblock(Incompat::USERSPACE_STACK, b"pcmk", "hac", 0);
        let corosync = FakeKernel::new("a");
        corosync.put("etc/corosync/corosync.conf", Some("totem {\n\tcluster_name: web\n}"));
        says(&corosync, &pcmk, &["belongs to cluster `hac`, and cluster `web` is online"]);
        corosync.join_dlm("db", 1, &[1]);
        says(&corosync, &pcmk, &["belongs to cluster `hac`, and cluster `db` is online"]);
        let old = FakeKernel::new("a");
        old.is_old.set(true);
        says(&old, &pcmk, &["this kernel needs the daemon ocfs2_controld"]);
        says(&local, &pcmk, &["stack pcmk (cluster `hac`), and stack o2cb runs", "tunefs.ocfs2"]);
        says(&local, &web(1), &["wants global heartbeat", "o2cb heartbeat-mode web global"]);
        local.put("sys/kernel/config/cluster/web/node/a/local", Some("0"));
        says(&local, &web(0), &["this host, `a`, is none of its nodes", "o2cb add-node web a"]);
        local.put("sys/fs/ocfs2/cluster_stack", Some("pcmk"));
        local.put("sys/fs/ocfs2/active_cluster_plugin", Some("user"));
        says(&local, &web(0), &["belongs to stack o2cb (cluster `web`), and stack pcmk runs"]);
    }
}
