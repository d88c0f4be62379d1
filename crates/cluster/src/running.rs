//! The cluster that runs on this machine, in the terms of a superblock.

use std::fmt;

use crate::{CorosyncConf, DlmCluster, HeartbeatMode, Kernel, Online, RunningKernel, stack};

/// A cluster as a superblock describes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RunningCluster {
    /// The label of its stack: `o2cb`, `pcmk` or `cman`.
    pub stack: [u8; 4],
    /// Its name.
    pub name: String,
    /// Whether one heartbeat serves all volumes; only with o2cb.
    pub global_heartbeat: bool,
}

impl RunningCluster {
    /// Returns the cluster that runs on this machine; `None` if there is none.
    pub fn find() -> Option<Self> {
        Self::of(&RunningKernel::default())
    }

    /// Whether its stack is o2cb, which is part of the kernel.
    pub fn is_o2cb(&self) -> bool {
        self.stack == *b"o2cb"
    }

    /// Like [`RunningCluster::find`], with the files of `kernel`.
    ///
    /// The label of the stack says little: it is `o2cb` until a volume of another stack is mounted.
    /// A cluster of o2cb that is online was brought online on purpose, while the lock manager of the
    /// other stacks also serves other file systems.
    pub fn of(kernel: &dyn Kernel) -> Option<Self> {
        let online = Online::find(kernel);
        if let Some((online, name)) = online.as_ref().and_then(|it| Some((it, it.cluster()?))) {
            let global_heartbeat = online.heartbeat_mode(&name) == HeartbeatMode::Global;
            return Some(Self { stack: *b"o2cb", name, global_heartbeat });
        }
        let label = stack::current(kernel).filter(|label| label != stack::O2CB);
        let label = label.map(|label| label.as_bytes().try_into().ok());
        let (stack, name) = match (label, DlmCluster::find(kernel)) {
            (label, Some(cluster)) => (label.flatten().unwrap_or(*b"pcmk"), cluster.name),
            (Some(label), None) => (label?, CorosyncConf::read(kernel)?.cluster?),
            (None, None) => return None,
        };
        Some(Self { stack, name, global_heartbeat: false })
    }
}

impl fmt::Display for RunningCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stack: Vec<u8> = self.stack.into_iter().filter(|byte| *byte != 0).collect();
        let stack = stack.escape_ascii();
        write!(f, "cluster `{}` of stack {stack}", self.name.escape_default())?;
        if self.global_heartbeat { f.write_str(" with global heartbeat") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeKernel;

    fn cluster(stack: &[u8; 4], name: &str, global_heartbeat: bool) -> Option<RunningCluster> {
        Some(RunningCluster { stack: *stack, name: name.to_owned(), global_heartbeat })
    }

    #[test]
    fn a_cluster_of_o2cb_is_in_configfs() {
        let kernel = FakeKernel::new("a");
        let running = || RunningCluster::of(&kernel);
        assert_eq!(running(), None);
        kernel.put("sys/fs/ocfs2/cluster_stack", Some("o2cb"));
        assert_eq!(running(), None, "no cluster is online");
        kernel.put("sys/kernel/config/cluster/web/heartbeat/mode", Some("local"));
        assert_eq!(running(), cluster(b"o2cb", "web", false));
        kernel.put("sys/kernel/config/cluster/web/heartbeat/mode", Some("global"));
        assert_eq!(running(), cluster(b"o2cb", "web", true));
        let text = running().unwrap().to_string();
        assert_eq!(text, "cluster `web` of stack o2cb with global heartbeat");
        kernel.join_dlm("hac", 1, &[1]);
        assert_eq!(running(), cluster(b"o2cb", "web", true));
    }

    #[test]
    fn a_cluster_of_corosync_is_that_of_the_lock_manager_whatever_the_label() {
        let kernel = FakeKernel::new("a");
        let running = || RunningCluster::of(&kernel);
        let conf = "# cluster_name: no\ntotem {\n\tversion: 2\n\tcluster_name: written\n}\n";
        kernel.put("etc/corosync/corosync.conf", Some(conf));
        assert_eq!(running(), None, "configured, not running");
        kernel.put("sys/fs/ocfs2/cluster_stack", Some("pcmk"));
        assert_eq!(running(), cluster(b"pcmk", "written", false));
        kernel.put("sys/fs/ocfs2/cluster_stack", Some("o2cb"));
        kernel.join_dlm("hac", 1, &[1]);
        assert_eq!(running(), cluster(b"pcmk", "hac", false));
        kernel.put("sys/fs/ocfs2/cluster_stack", Some("cman"));
        assert_eq!(running(), cluster(b"cman", "hac", false));
    }
}
