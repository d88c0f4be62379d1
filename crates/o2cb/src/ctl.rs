//! `o2cb_ctl`: the configuration of the cluster for old agents and scripts.
//!
//! What it does is done by the same operations as those of `o2cb`; the options and the text are those
//! of the C tool.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{ArgGroup, CommandFactory, Parser, ValueEnum};
use ocfs2_cli::{Output, Status, print_note, shown};
use ocfs2_cluster::{ClusterConf, ConfFile, Kernel, Online, RunningKernel, is_host};

use crate::attributes::Attributes;
use crate::ctl_list::{Object, objects, text};
use crate::heartbeat::{region_device, region_name};
use crate::program::{mounts_of_clusters, tell_of_changes, tell_of_hb_ctl};
use crate::sysconfig::{Sysconfig, sysconfig_path};
use crate::{corosync, up};

/// Configure the o2cb cluster, for agents and scripts that call the C tool of this name.
///
/// People use o2cb, which works on the same file and has more commands. Attributes are those of
/// /etc/ocfs2/cluster.conf: of a cluster name, of a node cluster, number, ip_address and ip_port, of
/// a heartbeat region cluster. With -C the number may be left out: it is the lowest free one.
///
/// -I prints objects as stanzas, or with -o as lines with a colon between values, after a line with
/// their names. With -a KEY==VALUE only objects with that value are listed; -a KEY alone changes
/// nothing, as in the C tool.
///
/// -H changes the number, address and port of nodes (-a KEY=VALUE), the name of a cluster
/// (-a name=NAME) that is not online, and brings a cluster online or offline (-a online=yes|no).
///
/// Unlike the C tool, this one needs no running cluster, deletes (-D) and changes nodes, knows the type
/// heartbeat, checks what it writes, and finds the type by the name where -t is left out.
///
/// The exit status is 0, or 1 if something failed or was refused.
#[derive(Clone, Debug, Parser)]
#[command(name = "o2cb_ctl", version, arg_required_else_help = true)]
#[command(group = ArgGroup::new("operation").required(true))]
pub struct Cli {
    /// Create objects in the configuration
    #[arg(short = 'C', group = "operation", requires_all = ["objects", "kind"])]
    pub create: bool,
    /// Delete objects from the configuration
    #[arg(short = 'D', group = "operation", requires = "objects")]
    pub delete: bool,
    /// Print objects of the configuration
    #[arg(short = 'I', group = "operation")]
    pub info: bool,
    /// Change objects of the configuration
    #[arg(short = 'H', group = "operation")]
    pub change: bool,

    /// The name of a cluster or node, or the UUID or device of a heartbeat region; may be given several
    /// times
    #[arg(short = 'n', value_name = "OBJECT")]
    pub objects: Vec<String>,
    /// What kind of object it is
    #[arg(short = 't', value_name = "TYPE")]
    pub kind: Option<Kind>,
    /// An attribute; may be given several times
    #[arg(short = 'a', value_name = "KEY=VALUE")]
    pub attributes: Vec<String>,
    /// With -C: also in the kernel
    #[arg(short, conflicts_with_all = ["delete", "info", "change"])]
    pub install: bool,
    /// With -D: also in the kernel
    #[arg(short, conflicts_with_all = ["create", "info", "change"])]
    pub uninstall: bool,
    /// With -I: one line for each object, with a colon between values
    #[arg(short = 'o', conflicts_with_all = ["create", "delete", "change", "verbose"])]
    pub oneline: bool,
    /// With -I: stanzas, which is the default
    #[arg(short = 'z', conflicts_with_all = ["create", "delete", "change"])]
    pub verbose: bool,

    /// The cluster's configuration
    #[arg(long, value_name = "PATH", default_value = ClusterConf::PATH)]
    pub config_file: PathBuf,
    /// The file with the timeouts; by default /etc/sysconfig/o2cb or /etc/default/o2cb
    #[arg(long, value_name = "PATH")]
    pub sysconfig: Option<PathBuf>,
}

/// The types of objects.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Kind {
    /// A cluster
    Cluster,
    /// A node of a cluster
    Node,
    /// A global heartbeat region of a cluster
    Heartbeat,
}

/// The command line, for manual pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// The program: from its command line to its exit status.
pub fn main() -> std::process::ExitCode {
    ocfs2_cli::run(ocfs2_cli::Failure::default(), |cli: Cli| run(&cli))
}

/// Does what `cli` asks for.
///
/// # Errors
/// What could not be done, and why.
pub fn run(cli: &Cli) -> Result<Status> {
    act(cli, &RunningKernel::default(), &mut Output::stdout())
}

/// Like [`run`], on any kernel.
fn act(cli: &Cli, kernel: &dyn Kernel, out: &mut dyn std::io::Write) -> Result<Status> {
    let path = &cli.config_file;
    let file = ConfFile::read(path).with_context(|| shown(path))?;
    let attributes = Attributes::parse(&cli.attributes)?;
    let mut call = Call { cli, kernel, file, attributes };
    if cli.info {
        call.info(out)?;
    } else if cli.create {
        call.create(out)?;
    } else if cli.delete {
        call.delete()?;
    } else {
        call.change(out)?;
    }
    Ok(Status::SUCCESS)
}

/// One call of the program.
struct Call<'a> {
    cli: &'a Cli,
    kernel: &'a dyn Kernel,
    file: ConfFile,
    attributes: Attributes<'a>,
}

impl Call<'_> {
    fn info(&self, out: &mut dyn std::io::Write) -> Result<()> {
        let (names, kind) = (&self.cli.objects, self.cli.kind);
        if names.is_empty() && kind.is_none() {
            bail!("Operation '-I' requires an object or object type");
        }
        let (found, missing) = objects(self.file.conf(), names, kind);
        self.attributes.check(match kind.or_else(|| found.first().map(Object::kind)) {
            Some(Kind::Cluster) => &["name", "node_count"],
            Some(Kind::Node) => &["name", "cluster", "number", "ip_address", "ip_port"],
            Some(Kind::Heartbeat) => &["region", "cluster"],
            None => &[],
        })?;
        let found: Vec<_> = found.into_iter().filter(|it| self.attributes.match_all(it)).collect();
        out.write_all(text(&found, kind, self.cli.oneline).as_bytes())?;
        out.flush()?;
        missing.map_or(Ok(()), |missing| bail!(missing))
    }

    fn create(&mut self, out: &mut dyn std::io::Write) -> Result<()> {
        let kind = self.cli.kind.context("Operation '-C' requires an object type")?;
        self.attributes.check(match kind {
            Kind::Cluster => &["name"],
            Kind::Node => &["name", "cluster", "number", "ip_address", "ip_port"],
            Kind::Heartbeat => &["cluster"],
        })?;
        let names = &self.cli.objects;
        if kind == Kind::Node && names.len() > 1 {
            bail!("Cannot create more than one node at a time");
        }
        let mut done = Vec::new();
        let mut clusters = Vec::new();
        for name in names {
            if self.attributes.get("name").is_some_and(|given| given != name) {
                bail!(
                    "-a name={}: -n {name} names the object",
                    self.attributes.demand("name", kind)?
                );
            }
            match kind {
                Kind::Cluster => {
                    self.file.add_cluster(name)?;
                    clusters.push(name.clone());
                    done.push(format!("Cluster {name} created"));
                }
                Kind::Node => {
                    let cluster = self.attributes.demand("cluster", kind)?.to_owned();
                    let (number, address, port) = (
                        self.attributes.number()?,
                        self.attributes.demand("ip_address", kind).and_then(Attributes::address)?,
                        self.attributes.demand("ip_port", kind).and_then(Attributes::port)?,
                    );
                    self.file.add_node(&cluster, name, number, address, port)?;
                    clusters.push(cluster);
                    done.push(format!("Node {name} created"));
                }
                Kind::Heartbeat => {
                    let cluster = self.attributes.demand("cluster", kind)?.to_owned();
                    self.file.known_cluster(&cluster)?;
                    let region = region_name(name)?;
                    self.file.add_heartbeat(&cluster, &region)?;
                    clusters.push(cluster);
                    done.push(format!("Heartbeat region {region} created"));
                }
            }
        }
        if self.cli.install {
            corosync::refuse(self.kernel)?;
        }
        self.write()?;
        if self.cli.install {
            for cluster in &clusters {
                self.install(cluster)?;
            }
            for line in done {
                writeln!(out, "{}", ocfs2_cli::terminal(line))?;
            }
        }
        Ok(())
    }

    /// Gives the kernel what the configuration says about a cluster.
    fn install(&self, cluster: &str) -> Result<()> {
        let conf = self.file.conf();
        let host = self.kernel.host_name();
        if !conf.nodes_of(cluster).any(|node| is_host(node, &host)) {
            print_note(format!(
                "the kernel gets cluster {cluster} when this host, {host}, is a node of it"
            ));
            return Ok(());
        }
        let timeouts = self.sysconfig()?.timeouts()?;
        let online = Online::prepare(self.kernel)?;
        tell_of_changes(&online.register(conf, cluster, &timeouts)?);
        tell_of_hb_ctl(self.kernel);
        if conf.heartbeats_of(cluster).next().is_some() {
            up::start_heartbeats(&online, conf, cluster, region_device)?;
        }
        Ok(())
    }

    fn delete(&mut self) -> Result<()> {
        self.attributes.check(&["cluster"])?;
        let (found, missing) = objects(self.file.conf(), &self.cli.objects, self.cli.kind);
        if let Some(missing) = missing {
            bail!(missing);
        }
        let found = self.of_cluster(found)?;
        if self.cli.uninstall {
            corosync::refuse(self.kernel)?;
        }
        let running = Online::find(self.kernel).and_then(|online| online.cluster());
        for object in &found {
            match object {
                Object::Cluster { name, .. } => {
                    if self.cli.uninstall && running.as_ref() == Some(name) {
                        self.offline(name)?;
                    }
                    self.file.remove_cluster(name)?;
                }
                Object::Node(node) => self.file.remove_node(&node.cluster, &node.name)?,
                Object::Heartbeat(region) => {
                    self.file.remove_heartbeat(&region.cluster, &region.region)?;
                }
            }
        }
        self.write()?;
        let in_use = found.iter().filter(|it| it.kind() != Kind::Cluster).map(Object::cluster);
        for cluster in in_use.filter(|it| self.cli.uninstall && running.as_deref() == Some(*it)) {
            self.uninstall(cluster, &found)?;
        }
        Ok(())
    }

    /// Takes nodes and regions that are no longer in the configuration out of the kernel.
    fn uninstall(&self, cluster: &str, gone: &[Object]) -> Result<()> {
        let Some(online) = Online::find(self.kernel) else { return Ok(()) };
        for object in gone.iter().filter(|it| it.cluster() == cluster) {
            match object {
                Object::Node(node) => online.remove_node(cluster, &node.name)?,
                Object::Heartbeat(region) => drop(online.stop_region(cluster, &region.region)?),
                Object::Cluster { .. } => {}
            }
        }
        Ok(())
    }

    fn change(&mut self, out: &mut dyn std::io::Write) -> Result<()> {
        let (names, kind) = (&self.cli.objects, self.cli.kind);
        if names.is_empty() && kind.is_none() {
            bail!("Operation '-H' requires an object or object type");
        }
        let (found, missing) = objects(self.file.conf(), names, kind);
        if let Some(missing) = missing {
            bail!(missing);
        }
        let found = self.of_cluster(found)?;
        for object in &found {
            self.attributes.check(match object.kind() {
                Kind::Cluster => &["name", "online"],
                Kind::Node => &["cluster", "number", "ip_address", "ip_port"],
                Kind::Heartbeat => bail!("nothing of a heartbeat region can be changed"),
            })?;
        }
        for object in &found {
            match object {
                Object::Cluster { name, .. } => self.change_cluster(name, found.len())?,
                Object::Node(node) => {
                    let (number, address, port) = (
                        self.attributes.number()?,
                        self.attributes.get("ip_address").map(Attributes::address).transpose()?,
                        self.attributes.get("ip_port").map(Attributes::port).transpose()?,
                    );
                    self.file.change_node(&node.cluster, &node.name, number, address, port)?;
                }
                Object::Heartbeat(_) => {}
            }
        }
        let online = self.attributes.yes_or_no("online")?;
        if online.is_some() {
            corosync::refuse(self.kernel)?;
        }
        self.write()?;
        if let Some(online) = online {
            for object in found.iter().filter(|it| it.kind() == Kind::Cluster) {
                let name = self.attributes.get("name").unwrap_or(object.cluster());
                if online { self.online(name, out)? } else { self.offline(name)? }
            }
        }
        Ok(())
    }

    fn change_cluster(&mut self, name: &str, count: usize) -> Result<()> {
        let Some(new) = self.attributes.get("name").filter(|new| *new != name) else {
            return Ok(());
        };
        if count > 1 {
            bail!("-a name={new}: {count} clusters cannot have one name; -n says which");
        }
        let running = Online::find(self.kernel).and_then(|online| online.cluster());
        if running.as_deref() == Some(name) {
            bail!("Cannot change name of a running cluster");
        }
        Ok(self.file.rename_cluster(name, new)?)
    }

    fn online(&self, name: &str, out: &mut dyn std::io::Write) -> Result<()> {
        let was_online = Online::find(self.kernel).and_then(|online| online.cluster()).is_some();
        let (conf, timeouts) = (self.file.conf(), self.sysconfig()?.timeouts()?);
        tell_of_changes(&up::online(self.kernel, conf, name, &timeouts, region_device)?);
        tell_of_hb_ctl(self.kernel);
        if !was_online {
            writeln!(out, "Cluster {} created", ocfs2_cli::terminal(name))?;
            for node in conf.nodes_of(name) {
                writeln!(out, "Node {} added", ocfs2_cli::terminal(&node.name))?;
            }
        }
        Ok(())
    }

    fn offline(&self, name: &str) -> Result<()> {
        let references = ocfs2_cluster::References::default();
        up::offline(self.kernel, &references, Some(name), &mounts_of_clusters()).map(drop)
    }

    /// The objects of the cluster that `-a cluster=` names; without it each name must be one only.
    fn of_cluster(&self, found: Vec<Object>) -> Result<Vec<Object>> {
        if let Some(cluster) = self.attributes.get("cluster") {
            self.file.known_cluster(cluster)?;
            return Ok(found.into_iter().filter(|object| object.cluster() == cluster).collect());
        }
        for name in &self.cli.objects {
            let same = found.iter().filter(|object| object.is_named(name)).count();
            if same > 1 {
                bail!("there are {same} objects named {name}: -t or -a cluster=NAME says which");
            }
        }
        Ok(found)
    }

    fn write(&self) -> Result<()> {
        let path = &self.cli.config_file;
        self.file.write(path).with_context(|| format!("cannot write {}", shown(path)))
    }

    fn sysconfig(&self) -> Result<Sysconfig> {
        let path = self.cli.sysconfig.clone();
        Sysconfig::read(&path.unwrap_or_else(|| sysconfig_path(std::path::Path::new("/"))))
    }
}

#[cfg(test)]
mod tests {
    use ocfs2_cluster::fake::FakeKernel;

    use super::*;

    const CLUSTER: &str = "sys/kernel/config/cluster/web";

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    /// A host with a configuration.
    struct Site {
        kernel: FakeKernel,
        folder: tempfile::TempDir,
    }

    impl Site {
        fn new() -> Self {
            Self { kernel: FakeKernel::new("node1"), folder: tempfile::tempdir().unwrap() }
        }

        fn run(&self, line: &str) -> Result<String> {
            let conf = self.folder.path().join("cluster.conf");
            let mut cli = Cli::try_parse_from(["o2cb_ctl"].into_iter().chain(line.split(' ')))?;
            (cli.config_file, cli.sysconfig) = (conf, Some("/none".into()));
            let mut out = Vec::new();
            act(&cli, &self.kernel, &mut out)?;
            Ok(String::from_utf8(out)?)
        }

        fn with_nodes() -> Self {
            let site = Self::new();
            site.run("-C -n web -t cluster").unwrap();
            for (node, number) in [("node1", 0), ("node2", 1)] {
                let line = format!(
                    "-C -n {node} -t node -a cluster=web -a number={number} \
                     -a ip_address=10.0.0.{number} -a ip_port=7777"
                );
                site.run(&line).unwrap();
            }
            site
        }

        fn number(&self, node: &str) -> Option<String> {
            self.kernel.read(&format!("{CLUSTER}/node/{node}/num")).ok()
        }
    }

    #[test]
    fn what_is_created_reaches_the_kernel_when_asked_to() {
        let site = Site::new();
        assert_eq!(site.run("-C -n web -t cluster -i").unwrap(), "Cluster web created\n");
        assert!(!site.kernel.exists(CLUSTER), "this host is not a node yet");
        let node = "-t node -a cluster=web -a ip_port=7777";
        let line = format!("-C -n node1 {node} -a ip_address=10.0.0.1 -i");
        assert_eq!(site.run(&line).unwrap(), "Node node1 created\n");
        assert_eq!(site.number("node1").as_deref(), Some("0"));
        site.run(&format!("-C -n node2 {node} -a ip_address=10.0.0.2")).unwrap();
        assert_eq!(site.number("node2"), None, "without -i");
        site.run(&format!("-C -n node3 {node} -a ip_address=10.0.0.3 -i")).unwrap();
        assert_eq!(site.number("node3").as_deref(), Some("2"));
        // The one that was left out belongs to the cluster, too.
        assert_eq!(site.number("node2").as_deref(), Some("1"));

        site.run("-D -n node2 -u").unwrap();
        assert_eq!(site.number("node2"), None);
        site.run("-D -n node3").unwrap();
        assert!(site.number("node3").is_some(), "without -u");
    }

    #[test]
    fn a_cluster_goes_online_and_offline_and_keeps_its_name_meanwhile() {
        let site = Site::with_nodes();
        let told = site.run("-H -t cluster -n web -a online=yes").unwrap();
        assert_eq!(told, "Cluster web created\nNode node1 added\nNode node2 added\n");
        assert_eq!(site.number("node2").as_deref(), Some("1"));
        assert_eq!(site.run("-H -t cluster -n web -a online=yes").unwrap(), "");
        let err = site.run("-H -t cluster -n web -a name=db").unwrap_err().to_string();
        assert_eq!(err, "Cannot change name of a running cluster");
        site.run("-D -t cluster -n web -u").unwrap();
        assert!(!site.kernel.exists(CLUSTER));
        assert_eq!(site.run("-I -t node -o").unwrap().lines().count(), 1);
    }

    #[test]
    fn an_attribute_that_would_do_nothing_is_refused() {
        let site = Site::with_nodes();
        for line in [
            "-H -n node1 -a online=yes",
            "-H -n node1 -a name=other",
            "-H -t cluster -a number=1",
            "-C -n db -t cluster -a node_count=1",
            "-D -n node1 -a number=0",
        ] {
            let err = site.run(line).unwrap_err().to_string();
            assert!(err.starts_with("Invalid attribute: "), "{line}: {err}");
        }
    }
}
