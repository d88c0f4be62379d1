//! Whether this host is ready for its cluster.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ocfs2_cli::{shown, terminal};
use ocfs2_cluster::{ClusterConf, Kernel, Online, Timeouts, is_host};
use serde::Serialize;

/// Time for a node to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// One thing that was looked at.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Line {
    /// What was looked at.
    pub what: String,
    /// What is wrong with it, and what to do; `None` if it is in order.
    pub problem: Option<String>,
}

/// All that was looked at.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Check {
    /// In the order in which it is needed.
    pub lines: Vec<Line>,
}

/// The network and the other hosts; tests use their own.
pub trait Network {
    /// Whether this host has the address.
    fn has_address(&self, address: Ipv4Addr) -> bool;

    /// Connects to a port and closes the connection.
    ///
    /// # Errors
    /// If nobody listens there, or does not answer in time.
    fn connect(&self, address: SocketAddrV4) -> io::Result<()>;

    /// The configuration of another host.
    ///
    /// # Errors
    /// The reason why it cannot be had, as text for people.
    fn peer(&self, host: &str) -> Result<Vec<u8>, String>;
}

/// The network of this host.
#[derive(Clone, Copy, Debug)]
pub struct ThisNetwork;

impl Network for ThisNetwork {
    fn has_address(&self, address: Ipv4Addr) -> bool {
        UdpSocket::bind((address, 0)).is_ok()
    }

    fn connect(&self, address: SocketAddrV4) -> io::Result<()> {
        TcpStream::connect_timeout(&address.into(), PATIENCE).map(drop)
    }

    fn peer(&self, host: &str) -> Result<Vec<u8>, String> {
        let mut ssh = Command::new("ssh");
        ssh.args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "--", host]);
        ssh.args(["cat", ClusterConf::PATH]).stdin(Stdio::null());
        let output = ssh.output().map_err(|err| format!("ssh: {err}"))?;
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(terminal(output.stderr.trim_ascii())),
        }
    }
}

impl Check {
    /// Looks at everything. `conf` is the configuration in the file `path`, with its bytes, or why it
    /// cannot be used; `cluster` the cluster that is meant, or why that is not known.
    pub fn run(
        kernel: &dyn Kernel,
        network: &dyn Network,
        path: &Path,
        conf: Result<(&ClusterConf, &[u8]), String>,
        cluster: Result<String, String>,
        (timeouts, peers): (&Timeouts, &[String]),
    ) -> Self {
        let mut check = Self::default();
        check.kernel(kernel);
        let known = match (&conf, &cluster) {
            (Err(err), _) => Err(err.clone()),
            (Ok(_), Err(err)) => Err(err.clone()),
            (Ok((conf, _)), Ok(name)) if conf.cluster(name).is_none() => {
                let names = conf.clusters.iter().map(|cluster| terminal(&cluster.name));
                Err(format!(
                    "there is no cluster `{}` in it, but {}: O2CB_BOOTCLUSTER (o2cb configure) or an \
                     argument chooses one",
                    terminal(name),
                    names.collect::<Vec<_>>().join(", ")
                ))
            }
            (Ok((conf, bytes)), Ok(name)) => Ok((*conf, *bytes, name.as_str())),
        };
        check.add(shown(path), known.as_ref().err().cloned());
        if let Ok((conf, bytes, name)) = known {
            check.nodes(kernel, network, conf, name);
            for host in peers {
                check.peer(network, host, bytes);
            }
            check.online(kernel, conf, name, timeouts);
        }
        check
    }

    /// Whether all is in order.
    pub fn is_ready(&self) -> bool {
        self.lines.iter().all(|line| line.problem.is_none())
    }

    fn add(&mut self, what: impl fmt::Display, problem: Option<String>) {
        self.lines.push(Line { what: what.to_string(), problem });
    }

    fn kernel(&mut self, kernel: &dyn Kernel) {
        for module in ["ocfs2", "ocfs2_stack_o2cb"] {
            let is_there = kernel.exists(&format!("sys/module/{module}"))
                || kernel.ask("modprobe", &["-n", "--", module]).is_ok();
            let problem = "this kernel does not have it: install the package with the further modules \
                           of the kernel (linux-modules-extra-..., kernel-modules-extra)";
            self.add(format!("module {module}"), (!is_there).then(|| problem.to_owned()));
        }
        let problem = "it is not mounted: mount -t configfs configfs /sys/kernel/config";
        let is_there = kernel.exists("sys/kernel/config");
        self.add("configfs", (!is_there).then(|| problem.to_owned()));
    }

    fn nodes(
        &mut self,
        kernel: &dyn Kernel,
        network: &dyn Network,
        conf: &ClusterConf,
        name: &str,
    ) {
        let host = kernel.host_name();
        let Some(own) = conf.nodes_of(name).find(|node| is_host(node, &host)) else {
            let (name, host) = (terminal(name), terminal(&host));
            let problem = format!(
                "no node of cluster `{name}` has the name of this host: o2cb add-node {name} {host} \
                 --ip ADDRESS, on all nodes"
            );
            return self.add(format!("host name {host}"), Some(problem));
        };
        self.add(format!("host name {}", terminal(&host)), None);
        let problem = "this host does not have it: correct it in the configuration of all nodes, or \
                       give it to a network interface";
        let has = network.has_address(own.ip_address);
        self.add(format!("address {}", own.ip_address), (!has).then(|| problem.to_owned()));
        for node in conf.nodes_of(name).filter(|node| node.number != own.number) {
            let address = SocketAddrV4::new(node.ip_address, node.ip_port);
            let problem = network.connect(address).err().map(|err| match err.kind() {
                io::ErrorKind::ConnectionRefused => {
                    "nobody listens there: bring the cluster online on that node (o2cb online)"
                        .to_owned()
                }
                _ => format!("{err}: is the node up, and does a firewall let the port through?"),
            });
            self.add(format!("node {} at {address}", terminal(&node.name)), problem);
        }
    }

    fn peer(&mut self, network: &dyn Network, host: &str, own: &[u8]) {
        let problem = match network.peer(host) {
            Ok(theirs) if theirs == own => None,
            Ok(_) => Some(format!(
                "its {} is another one: it has to be the same on all nodes",
                ClusterConf::PATH
            )),
            Err(err) => Some(err),
        };
        self.add(format!("configuration of {}", terminal(host)), problem);
    }

    fn online(&mut self, kernel: &dyn Kernel, conf: &ClusterConf, name: &str, timeouts: &Timeouts) {
        let online = Online::find(kernel);
        let running = online.as_ref().and_then(|online| Some((online, online.cluster()?)));
        let what = format!("cluster {}", terminal(name));
        let Some((online, running)) = running else {
            return self.add(what, Some(format!("it is offline: o2cb online {}", terminal(name))));
        };
        if running != name {
            let running = terminal(&running);
            let problem = format!("cluster `{running}` is online instead: o2cb offline {running}");
            return self.add(what, Some(problem));
        }
        let mut differences = online.differences(conf, name, timeouts);
        differences.extend(online.region_differences(conf, name));
        for difference in &differences {
            let hint = format!("{difference}: o2cb register-cluster {}", terminal(name));
            self.add(&what, Some(hint));
        }
        if differences.is_empty() {
            self.add(what, None);
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|Line { what, problem }| match problem {
            None => writeln!(f, "{what}: OK"),
            Some(problem) => writeln!(f, "{what}: {}", terminal(problem)),
        })
    }
}

#[cfg(test)]
mod tests {
    use ocfs2_cluster::fake::FakeKernel;

    use super::*;

    struct Wires;

    impl Network for Wires {
        fn has_address(&self, address: Ipv4Addr) -> bool {
            address.octets()[3] == 1
        }

        fn connect(&self, address: SocketAddrV4) -> io::Result<()> {
            match address.ip().octets()[3] {
                2 => Ok(()),
                3 => Err(io::ErrorKind::ConnectionRefused.into()),
                _ => Err(io::ErrorKind::TimedOut.into()),
            }
        }

        fn peer(&self, host: &str) -> Result<Vec<u8>, String> {
            match host {
                "b" => Ok(CONF.into()),
                "c" => Ok(Vec::new()),
                _ => Err("no route".to_owned()),
            }
        }
    }

    const CONF: &str = "cluster:\n\tname = web\n\tnode_count = 4\n\n\
        node:\n\tcluster = web\n\tname = a\n\tnumber = 0\n\tip_address = 10.0.0.1\n\tip_port = 7777\n\n\
        node:\n\tcluster = web\n\tname = b\n\tnumber = 1\n\tip_address = 10.0.0.2\n\tip_port = 7777\n\n\
        node:\n\tcluster = web\n\tname = c\n\tnumber = 2\n\tip_address = 10.0.0.3\n\tip_port = 7777\n\n\
        node:\n\tcluster = web\n\tname = d\n\tnumber = 3\n\tip_address = 10.0.0.4\n\tip_port = 7777\n";

    fn problems(kernel: &FakeKernel, peers: &[&str]) -> Vec<String> {
        let conf = ClusterConf::parse(CONF).unwrap();
        let peers: Vec<_> = peers.iter().map(|host| (*host).to_owned()).collect();
        let check = Check::run(
            kernel,
            &Wires,
            Path::new(ClusterConf::PATH),
            Ok((&conf, CONF.as_bytes())),
            Ok("web".to_owned()),
            (&Timeouts::default(), &peers),
        );
        let lines = check.to_string();
        lines.lines().filter(|line| !line.ends_with(": OK")).map(str::to_owned).collect()
    }

    #[test]
    fn each_thing_that_is_missing_is_named_with_what_to_do() {
        let kernel = FakeKernel::without_modules("x");
        let missing = problems(&kernel, &[]);
        assert!(
            missing[0].starts_with("module ocfs2: this kernel does not have it"),
            "{missing:?}"
        );
        assert!(missing[2].contains("o2cb add-node web x --ip ADDRESS"), "{missing:?}");
        assert_eq!(missing.last().unwrap(), "cluster web: it is offline: o2cb online web");
        let kernel = FakeKernel::new("a");
        kernel.answer("modprobe -n -- ocfs2", "");
        kernel.answer("modprobe -n -- ocfs2_stack_o2cb", "");
        let missing = problems(&kernel, &["b", "c", "d"]);
        assert_eq!(missing.len(), 5, "{missing:?}");
        assert!(missing[0].starts_with("node c at 10.0.0.3:7777: nobody listens"), "{missing:?}");
        assert!(missing[1].contains("does a firewall let the port through"), "{missing:?}");
        assert!(missing[2].starts_with("configuration of c: its /etc/ocfs2"), "{missing:?}");
        assert_eq!(missing[3], "configuration of d: no route");
    }

    #[test]
    fn a_cluster_that_is_online_is_compared() {
        let kernel = FakeKernel::new("a");
        let conf = ClusterConf::parse(CONF).unwrap();
        let online = Online::prepare(&kernel).unwrap();
        online.register(&conf, "web", &Timeouts::default()).unwrap();
        kernel.put("sys/module/ocfs2", None);
        kernel.put("sys/module/ocfs2_stack_o2cb", None);
        assert_eq!(problems(&kernel, &["b"]).len(), 2, "only the nodes that do not answer");
        let other = ClusterConf::parse(&CONF.replace("10.0.0.1\n", "10.0.0.9\n")).unwrap();
        let check = Check::run(
            &kernel,
            &Wires,
            Path::new(ClusterConf::PATH),
            Ok((&other, b"")),
            Ok("web".to_owned()),
            (&Timeouts::default(), &[]),
        );
        let text = check.to_string();
        assert!(text.contains("address 10.0.0.9: this host does not have it"), "{text}");
        assert!(text.contains("o2cb register-cluster web"), "{text}");
        assert!(!check.is_ready());
        let check = Check::run(
            &kernel,
            &Wires,
            Path::new(ClusterConf::PATH),
            Err("no such file".to_owned()),
            Err("none".to_owned()),
            (&Timeouts::default(), &[]),
        );
        assert!(check.to_string().contains("cluster.conf: no such file"), "{check}");
        let check = Check::run(
            &kernel,
            &Wires,
            Path::new("other.conf"),
            Ok((&conf, b"")),
            Ok("ocfs2".to_owned()),
            (&Timeouts::default(), &[]),
        );
        let text = check.to_string();
        assert!(text.contains("other.conf: there is no cluster `ocfs2` in it, but web:"), "{text}");
        assert!(!text.contains("add-node"), "{text}");
    }
}
