//! The cluster that runs on this machine, in the terms of a superblock.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Kernel;

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
        Self::find_below(Path::new("/"))
    }

    /// Whether its stack is o2cb, which is part of the kernel.
    pub fn is_o2cb(&self) -> bool {
        self.stack == *b"o2cb"
    }

    /// Like [`RunningCluster::find`], with `root` in place of the root directory.
    fn find_below(root: &Path) -> Option<Self> {
        let text = |path: PathBuf| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let stack = text(root.join("sys/fs/ocfs2/cluster_stack"))?.as_bytes().try_into().ok()?;
        if stack != *b"o2cb" {
            let conf = text(root.join(COROSYNC_CONF))?;
            let name = totem_cluster_name(&conf)?.to_owned();
            return Some(Self { stack, name, global_heartbeat: false });
        }
        let clusters = ["sys/kernel/config/cluster", "config/cluster"]
            .into_iter()
            .find_map(|path| fs::read_dir(root.join(path)).ok())?;
        // o2cb has at most one cluster.
        let folder = clusters.flatten().map(|entry| entry.path()).find(|path| path.is_dir())?;
        let name = folder.file_name()?.to_str()?.to_owned();
        let mode = text(folder.join("heartbeat/mode")).unwrap_or_default();
        Some(Self { stack, name, global_heartbeat: mode == "global" })
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

const COROSYNC_CONF: &str = "etc/corosync/corosync.conf";

/// The name of the cluster of a user-space stack, according to corosync's configuration.
pub fn corosync_cluster(kernel: &dyn Kernel) -> Option<String> {
    Some(totem_cluster_name(&kernel.read(COROSYNC_CONF).ok()?)?.to_owned())
}

/// `cluster_name` in the `totem` section of a corosync.conf.
fn totem_cluster_name(conf: &str) -> Option<&str> {
    let mut lines = conf.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.find(|line| line.strip_prefix("totem").is_some_and(|rest| rest.trim() == "{"))?;
    let mut section = lines.take_while(|line| *line != "}");
    section.find_map(|line| {
        Some(line.strip_prefix("cluster_name")?.trim_start().strip_prefix(':')?.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_stack_is_read_from_sysfs_and_configfs() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let cluster = |stack: &[u8; 4], name: &str, global_heartbeat| {
            Some(RunningCluster { stack: *stack, name: name.to_owned(), global_heartbeat })
        };
        let running = || RunningCluster::find_below(dir.path());
        assert_eq!(running(), None);
        write("sys/fs/ocfs2/cluster_stack", "o2cb\n");
        assert_eq!(running(), None, "no cluster is online");
        write("sys/kernel/config/cluster/web/heartbeat/mode", "local\n");
        assert_eq!(running(), cluster(b"o2cb", "web", false));
        write("sys/kernel/config/cluster/web/heartbeat/mode", "global\n");
        assert_eq!(running(), cluster(b"o2cb", "web", true));
        let text = running().unwrap().to_string();
        assert_eq!(text, "cluster `web` of stack o2cb with global heartbeat");
        write("sys/fs/ocfs2/cluster_stack", "pcmk\n");
        assert_eq!(running(), None);
        write(
            "etc/corosync/corosync.conf",
            "# cluster_name: no\ntotem {\n\tversion: 2\n\tcluster_name: hacluster\n}\n",
        );
        assert_eq!(running(), cluster(b"pcmk", "hacluster", false));
    }
}
