//! A kernel for tests: a tree in memory that behaves like the files of `ocfs2_stackglue` and
//! `ocfs2_nodemanager` according to the format reference.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

use rustix::io::Errno;

use crate::Kernel;

const CLUSTERS: &str = "sys/kernel/config/cluster";

/// What `dlm_tool status -v` of dlm 4.2.0 prints on node 2 of two.
pub const DLM_STATUS: &str = include_str!("../recorded/dlm_tool-status-v");

/// A kernel in memory, for tests.
#[derive(Debug, Default)]
pub struct FakeKernel {
    /// Files with their text, folders with `None`.
    nodes: RefCell<BTreeMap<String, Option<String>>>,
    /// Paths whose changes fail, with the error.
    refused: RefCell<BTreeMap<String, Errno>>,
    /// Modules that exist and are not loaded yet.
    modules: RefCell<BTreeSet<String>>,
    /// Files that were written since their folder was created.
    written: RefCell<BTreeSet<String>>,
    /// Whether it is from before Linux 3.14.
    pub is_old: Cell<bool>,
    /// What programs print, by their command line.
    answers: RefCell<BTreeMap<String, String>>,
    /// All changes, in order.
    pub log: RefCell<Vec<String>>,
    /// The name of the host.
    pub host: String,
}

impl FakeKernel {
    /// A host with all modules, none of them loaded.
    pub fn new(host: &str) -> Self {
        let modules = ["ocfs2", "ocfs2_stack_o2cb", "ocfs2_stack_user"].map(str::to_owned);
        let fake = Self { host: host.to_owned(), ..Self::default() };
        fake.modules.borrow_mut().extend(modules);
        fake.put("sys/kernel/config", None);
        fake
    }

    /// A host without any module.
    pub fn without_modules(host: &str) -> Self {
        let fake = Self::new(host);
        fake.modules.borrow_mut().clear();
        fake
    }

    /// Makes every change of `path` fail from now on.
    pub fn refuse(&self, path: &str, errno: Errno) {
        self.refused.borrow_mut().insert(path.to_owned(), errno);
    }

    /// Lets changes of `path` succeed again.
    pub fn allow(&self, path: &str) {
        self.refused.borrow_mut().remove(path);
    }

    /// Creates a file or, without `text`, a folder, with the folders above it.
    pub fn put(&self, path: &str, text: Option<&str>) {
        let mut nodes = self.nodes.borrow_mut();
        for (at, _) in path.match_indices('/') {
            let folder = path.get(..at).unwrap_or_default();
            nodes.entry(folder.to_owned()).or_insert(None);
        }
        nodes.insert(path.to_owned(), text.map(str::to_owned));
    }

    /// Makes a program print `text`. `command` is its name and its arguments.
    pub fn answer(&self, command: &str, text: &str) {
        self.answers.borrow_mut().insert(command.to_owned(), text.to_owned());
    }

    /// Makes this host a node of a cluster of corosync.
    pub fn join_dlm(&self, cluster: &str, this_node: u32, members: &[u32]) {
        let folder = "sys/kernel/config/dlm/cluster";
        self.put(&format!("{folder}/cluster_name"), Some(cluster));
        for node in members {
            let local = if *node == this_node { "1" } else { "0" };
            self.put(&format!("{folder}/comms/{node}/local"), Some(local));
        }
    }

    /// Returns the changes since the last call.
    pub fn take_log(&self) -> Vec<String> {
        self.log.take()
    }

    fn change(&self, path: &str, what: String) -> io::Result<()> {
        match self.refused.borrow().get(path) {
            Some(errno) => Err((*errno).into()),
            None => {
                self.log.borrow_mut().push(what);
                Ok(())
            }
        }
    }

    /// Whether there is a heartbeat region next to a file of the folder `heartbeat`.
    fn beats(&self, path: &str) -> bool {
        path.rsplit_once('/').is_some_and(|(folder, _)| !self.folders(folder).is_empty())
    }

    fn is_written(&self, path: &str) -> bool {
        self.written.borrow().contains(path)
    }

    /// The entries that configfs creates in a new folder.
    fn attributes(path: &str) -> &'static [(&'static str, Option<&'static str>)] {
        let Some(below) = path.strip_prefix(CLUSTERS) else { return &[] };
        let parts: Vec<_> = below.split('/').skip(1).collect();
        match parts[..] {
            [_] => &[
                ("idle_timeout_ms", Some("30000")),
                ("keepalive_delay_ms", Some("2000")),
                ("reconnect_delay_ms", Some("2000")),
                ("fence_method", Some("reset")),
                ("node", None),
                ("heartbeat", None),
                ("heartbeat/dead_threshold", Some("31")),
                ("heartbeat/mode", Some("local")),
            ],
            [_, "node", _] => &[
                ("ipv4_port", Some("0")),
                ("ipv4_address", Some("0.0.0.0")),
                ("num", Some("0")),
                ("local", Some("0")),
            ],
            [_, "heartbeat", _] => &[
                ("block_bytes", Some("0")),
                ("start_block", Some("0")),
                ("blocks", Some("0")),
                ("dev", Some("")),
                ("pid", Some("0")),
            ],
            _ => &[],
        }
    }
}

impl Kernel for FakeKernel {
    fn read(&self, path: &str) -> io::Result<String> {
        let nodes = self.nodes.borrow();
        nodes.get(path).cloned().flatten().ok_or_else(|| Errno::NOENT.into())
    }

    fn write(&self, path: &str, value: &str) -> io::Result<()> {
        if !matches!(self.nodes.borrow().get(path), Some(Some(_))) {
            return Err(Errno::NOENT.into());
        }
        let sibling = |name: &str| {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            self.read(&format!("{folder}/{name}")).unwrap_or_default()
        };
        let number = |text: &str| text.parse::<u64>().unwrap_or(0);
        // The kernel demands this order.
        let too_early = match path.rsplit('/').next() {
            Some("num") => sibling("ipv4_port") == "0" || sibling("ipv4_address") == "0.0.0.0",
            Some("local") => sibling("ipv4_port") == "0",
            Some("dev") => sibling("block_bytes") == "0" || sibling("blocks") == "0",
            Some("keepalive_delay_ms") => number(value) >= number(&sibling("idle_timeout_ms")),
            Some("idle_timeout_ms") => number(value) <= number(&sibling("keepalive_delay_ms")),
            Some("mode") => self.beats(path),
            _ => false,
        };
        if too_early {
            return Err(Errno::INVAL.into());
        }
        if path.ends_with("/dead_threshold") && self.beats(path) {
            // The kernel silently ignores the new value.
            return Ok(());
        }
        // Each of these can be set only once.
        let is_said = match path.rsplit('/').next() {
            Some("num") => self.is_written(path),
            Some("ipv4_port") => sibling("ipv4_port") != "0",
            Some("ipv4_address") => sibling("ipv4_address") != "0.0.0.0",
            _ => false,
        };
        if is_said {
            return Err(Errno::BUSY.into());
        }
        // The number of a descriptor differs from run to run.
        let shown = if path.ends_with("/dev") { "FD" } else { value };
        self.change(path, format!("write {path} {shown}"))?;
        if let Some(region) = path.strip_suffix("/dev") {
            self.put(&format!("{region}/pid"), Some("4711"));
        }
        self.put(path, Some(value));
        self.written.borrow_mut().insert(path.to_owned());
        Ok(())
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        if self.exists(path) {
            return Err(Errno::EXIST.into());
        }
        if !path.rsplit_once('/').is_some_and(|(folder, _)| self.exists(folder)) {
            return Err(Errno::NOENT.into());
        }
        self.change(path, format!("mkdir {path}"))?;
        self.put(path, None);
        for (name, text) in Self::attributes(path) {
            self.put(&format!("{path}/{name}"), *text);
        }
        Ok(())
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        if !self.exists(path) {
            return Err(Errno::NOENT.into());
        }
        let objects = [format!("{path}/node"), format!("{path}/heartbeat")];
        if objects.iter().any(|folder| !self.folders(folder).is_empty()) {
            return Err(Errno::NOTEMPTY.into());
        }
        self.change(path, format!("rmdir {path}"))?;
        let below = format!("{path}/");
        self.nodes.borrow_mut().retain(|name, _| name != path && !name.starts_with(&below));
        self.written.borrow_mut().retain(|name| !name.starts_with(&below));
        Ok(())
    }

    fn exists(&self, path: &str) -> bool {
        self.nodes.borrow().contains_key(path)
    }

    fn folders(&self, path: &str) -> Vec<String> {
        let below = format!("{path}/");
        let nodes = self.nodes.borrow();
        let folders = nodes.iter().filter(|(_, text)| text.is_none());
        let names = folders.filter_map(|(name, _)| name.strip_prefix(&below));
        names.filter(|name| !name.contains('/')).map(str::to_owned).collect()
    }

    fn load_module(&self, name: &str) -> Result<(), String> {
        if !self.modules.borrow_mut().remove(name) {
            return Err(format!("modprobe: FATAL: Module {name} not found"));
        }
        self.log.borrow_mut().push(format!("modprobe {name}"));
        let plugins = self.read("sys/fs/ocfs2/loaded_cluster_plugins").unwrap_or_default();
        match name {
            "ocfs2" => {
                self.put("sys/fs/ocfs2/cluster_stack", Some("o2cb"));
                self.put("sys/fs/ocfs2/loaded_cluster_plugins", Some(""));
                self.put("sys/fs/o2cb/interface_revision", Some("5"));
                if !self.is_old.get() {
                    self.put("sys/fs/ocfs2/dlm_recover_callback_support", Some("1"));
                }
                self.put(CLUSTERS, None);
            }
            "ocfs2_stack_o2cb" => {
                let plugins = format!("{plugins}\no2cb");
                self.put("sys/fs/ocfs2/loaded_cluster_plugins", Some(plugins.trim()));
            }
            _ => {
                let plugins = format!("{plugins}\nuser");
                self.put("sys/fs/ocfs2/loaded_cluster_plugins", Some(plugins.trim()));
            }
        }
        Ok(())
    }

    fn mount_configfs(&self) -> io::Result<()> {
        Ok(())
    }

    fn mount_dlmfs(&self, folder: &str) -> io::Result<()> {
        self.change(folder, format!("mount ocfs2_dlmfs {folder}"))
    }

    fn ask(&self, program: &str, arguments: &[&str]) -> io::Result<String> {
        let command = format!("{program} {}", arguments.join(" "));
        let answers = self.answers.borrow();
        answers.get(&command).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn host_name(&self) -> String {
        self.host.clone()
    }
}
