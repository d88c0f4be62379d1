//! The program `o2cb`.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use ocfs2_cli::{
    Output, Status as Exit, causes, print_json, print_note, print_warning, shown, terminal,
    without_error_numbers,
};
use ocfs2_cluster::{
    ClusterConf, ConfFile, HeartbeatMode, Kernel, Online, OnlineError, References, Registered,
    RunningKernel, Timeouts, stack,
};

use crate::check::{Check, ThisNetwork};
use crate::cli::{Cli, Command};
use crate::heartbeat::region_device;
use crate::list::{Part, text};
use crate::status::Status;
use crate::sysconfig::Sysconfig;
use crate::{configure, corosync, edit, up};

/// Does what `cli` asks for.
///
/// # Errors
/// What could not be done, and why.
pub fn run(cli: &Cli) -> Result<Exit> {
    let kernel = RunningKernel::default();
    let mut out = Output::stdout();
    match &cli.command {
        Command::ListClusters => {
            for cluster in &conf(cli)?.conf().clusters {
                writeln!(out, "{}", terminal(&cluster.name))?;
            }
        }
        Command::ListCluster(listed) => list(cli, &listed.cluster, Part::Cluster, listed.oneline)?,
        Command::ListNodes(listed) => {
            match corosync::nodes(&kernel, &listed.cluster, listed.oneline) {
                Some(text) => out.write_all(text.as_bytes())?,
                None => list(cli, &listed.cluster, Part::Nodes, listed.oneline)?,
            }
        }
        Command::ListHeartbeats(listed) => {
            list(cli, &listed.cluster, Part::Heartbeats, listed.oneline)?;
        }
        Command::RegisterCluster(name) => {
            corosync::refuse(&kernel)?;
            let timeouts = Sysconfig::read(&cli.sysconfig())?.timeouts()?;
            let file = conf(cli)?;
            let done = Online::prepare(&kernel)?.register(file.conf(), &name.cluster, &timeouts)?;
            tell_of_hb_ctl(&kernel);
            tell_of_changes(&done);
            say(cli, &format!("cluster {} registered", name.cluster));
        }
        Command::UnregisterCluster(name) => {
            corosync::refuse(&kernel)?;
            found(&kernel, &name.cluster)?.unregister(&name.cluster)?;
            say(cli, &format!("cluster {} unregistered", name.cluster));
        }
        Command::StartHeartbeat(heartbeat) => {
            corosync::refuse(&kernel)?;
            let (name, file) = (&heartbeat.cluster, conf(cli)?);
            let online = found(&kernel, name)?;
            match global_heartbeat(&online, file.conf(), name)? {
                true => {
                    up::start_heartbeats(&online, file.conf(), name, region_device)?;
                    writeln!(out, "Global heartbeat started")?;
                }
                false => say(cli, "local heartbeat: it starts when a volume is mounted"),
            }
        }
        Command::StopHeartbeat(heartbeat) => {
            corosync::refuse(&kernel)?;
            let online = found(&kernel, &heartbeat.cluster)?;
            match online.heartbeat_mode(&heartbeat.cluster) {
                HeartbeatMode::Global => {
                    up::stop_heartbeats(&online, &heartbeat.cluster)?;
                    writeln!(out, "Global heartbeat stopped")?;
                }
                HeartbeatMode::Local => {
                    say(cli, "local heartbeat: it stops when a volume is unmounted");
                }
            }
        }
        Command::ClusterStatus { cluster } => {
            let (text, online) = Status::find(&kernel).in_words(cluster.as_deref());
            writeln!(out, "{text}")?;
            return Ok(if online { Exit::SUCCESS } else { Exit::FAILURE });
        }
        Command::Configure(told) => {
            let path = cli.sysconfig();
            let mut file = Sysconfig::read(&path)?;
            let stdin = io::stdin();
            let echo = !stdin.is_terminal();
            configure::configure(&mut file, told, &mut stdin.lock(), &mut out, echo)?;
            file.write(&path)?;
            writeln!(out, "Writing O2CB configuration to {}: OK", shown(&path))?;
            let unknown = conf(cli).map(|conf| configure::unknown_cluster(&file, conf.conf()));
            match unknown {
                Ok(None) => {}
                Ok(Some(text)) => print_warning(format!("{}: {text}", shown(&cli.config_file))),
                Err(err) => print_warning(causes(&err)),
            }
        }
        Command::Online { cluster, if_enabled } => {
            let sysconfig = Sysconfig::read(&cli.sysconfig())?;
            if *if_enabled && !sysconfig.is_enabled() {
                say(cli, "not enabled: o2cb configure");
                return Ok(Exit::SUCCESS);
            }
            if let Some(stack) = sysconfig.get("O2CB_STACK").filter(|stack| *stack != stack::O2CB) {
                stack::load(&kernel, stack)?;
                writeln!(
                    out,
                    "Stack {} is loaded; its cluster is started by its own services",
                    terminal(stack)
                )?;
                return Ok(Exit::SUCCESS);
            }
            corosync::refuse(&kernel)?;
            let file = conf(cli)?;
            let name = choose(cluster.as_deref(), &sysconfig, file.conf())?;
            let timeouts = sysconfig.timeouts()?;
            let done = up::online(&kernel, file.conf(), &name, &timeouts, region_device)?;
            tell_of_hb_ctl(&kernel);
            tell_of_changes(&done);
            writeln!(out, "Cluster {}: Online", terminal(&name))?;
        }
        Command::Offline { cluster } => {
            corosync::refuse(&kernel)?;
            let references = References::default();
            match up::offline(&kernel, &references, cluster.as_deref(), &mounts_of_clusters())? {
                Some(name) => writeln!(out, "Cluster {}: Offline", terminal(&name))?,
                None => writeln!(out, "No cluster is online")?,
            }
        }
        Command::Check { cluster, peer, json } => {
            let sysconfig = Sysconfig::read(&cli.sysconfig())?;
            let bytes = fs::read(&cli.config_file);
            // A file that is not there is an empty configuration elsewhere.
            let file = match &bytes {
                Ok(_) => conf(cli).map_err(|err| causes(&err)),
                Err(err) => Err(without_error_numbers(&err.to_string())),
            };
            let bytes = bytes.unwrap_or_default();
            let name = file.as_ref().map_err(Clone::clone).and_then(|file| {
                choose(cluster.as_deref(), &sysconfig, file.conf()).map_err(|err| causes(&err))
            });
            let read = file.as_ref().map(|file| (file.conf(), &bytes[..])).map_err(Clone::clone);
            let told = (&sysconfig.timeouts()?, &peer[..]);
            let check = Check::run(&kernel, &ThisNetwork, &cli.config_file, read, name, told);
            if *json {
                print_json(&mut out, &check)?
            } else {
                write!(out, "{check}")?
            }
            return Ok(if check.is_ready() { Exit::SUCCESS } else { Exit::FAILURE });
        }
        Command::Status { json } => {
            let mut status = Status::find(&kernel);
            // If the files cannot be read, the status is shown without a comparison.
            match (conf(cli), Sysconfig::read(&cli.sysconfig()).and_then(|file| file.timeouts())) {
                (Ok(file), Ok(timeouts)) => status.compare(&kernel, file.conf(), &timeouts),
                (Err(err), _) | (_, Err(err)) => print_warning(causes(&err)),
            }
            if *json {
                print_json(&mut out, &status)?
            } else {
                write!(out, "{status}")?
            }
            return Ok(if status.is_online() { Exit::SUCCESS } else { Exit::FAILURE });
        }
        change => {
            let mut file = conf(cli)?;
            if let Some(done) = edit::edit(&mut file, change)? {
                let path = &cli.config_file;
                file.write(path).with_context(|| format!("cannot write {}", shown(path)))?;
                say(cli, &done);
            }
        }
    }
    Ok(Exit::SUCCESS)
}

/// Reports what was changed in a cluster that was already online, and what could not be.
pub(crate) fn tell_of_changes(registered: &Registered) {
    for change in &registered.changed {
        print_note(format_args!("{change}: changed in the kernel"));
    }
    for difference in &registered.left {
        print_warning(format_args!(
            "{difference}: the kernel keeps what it has while the cluster is in use; unmount its \
             volumes, then `o2cb offline` and `o2cb online`"
        ));
    }
}

/// Whether the heartbeat is global, after the kernel has been given the mode of the configuration,
/// which it accepts while there is no region.
fn global_heartbeat(online: &Online<'_>, conf: &ClusterConf, name: &str) -> Result<bool> {
    let wanted = conf.cluster(name).map(|cluster| cluster.heartbeat_mode);
    if wanted.is_some_and(|wanted| wanted != online.heartbeat_mode(name)) {
        tell_of_changes(&online.register(conf, name, &Timeouts::default())?);
    }
    Ok(online.heartbeat_mode(name) == HeartbeatMode::Global)
}

/// Tells the kernel the path of `ocfs2_hb_ctl`. The cluster works without it, so a failure is only
/// worth a warning.
pub(crate) fn tell_of_hb_ctl(kernel: &dyn Kernel) {
    let own = std::env::current_exe().ok().map(|path| path.with_file_name("ocfs2_hb_ctl"));
    let told = own.as_deref().and_then(Path::to_str).map(|path| up::show_hb_ctl(kernel, path));
    if let Some(Err(err)) = told {
        print_warning(format!("the kernel cannot be told where ocfs2_hb_ctl is: {err}"));
    }
}

fn conf(cli: &Cli) -> Result<ConfFile> {
    let path = &cli.config_file;
    ConfFile::read(path).with_context(|| shown(path))
}

fn say(cli: &Cli, what: &str) {
    if cli.verbose {
        print_note(what);
    }
}

fn list(cli: &Cli, cluster: &str, part: Part, oneline: bool) -> Result<()> {
    let file = conf(cli)?;
    file.known_cluster(cluster)?;
    Ok(Output::stdout().write_all(text(file.conf(), cluster, part, oneline).as_bytes())?)
}

/// The clusters in configfs, if `cluster` is online.
fn found<'k>(kernel: &'k dyn Kernel, cluster: &str) -> Result<Online<'k>> {
    let online = Online::find(kernel);
    let online = online.filter(|online| online.cluster().as_deref() == Some(cluster));
    Ok(online.ok_or_else(|| OnlineError::NotOnline(cluster.to_owned()))?)
}

/// Chooses the cluster to bring online.
fn choose(told: Option<&str>, sysconfig: &Sysconfig, conf: &ClusterConf) -> Result<String> {
    let names: Vec<_> = conf.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    match (told.or(sysconfig.boot_cluster()), &names[..]) {
        (Some(name), _) => Ok(name.to_owned()),
        (None, [only]) => Ok((*only).to_owned()),
        (None, []) => bail!(
            "{} describes no cluster: o2cb add-cluster NAME, and o2cb add-node for each node",
            ClusterConf::PATH
        ),
        (None, names) => bail!("say which cluster: {}", names.join(", ")),
    }
}

/// The mount points of volumes of a cluster on this host.
pub(crate) fn mounts_of_clusters() -> Vec<String> {
    mounted(&fs::read_to_string("/proc/self/mounts").unwrap_or_default())
}

/// The mount points of volumes of a cluster.
fn mounted(mounts: &str) -> Vec<String> {
    let lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let clustered = lines.filter_map(|fields| match fields[..] {
        [_, place, "ocfs2", options, ..] => {
            let local = options.split(',').any(|option| option == "heartbeat=none");
            (!local).then(|| place.to_owned())
        }
        _ => None,
    });
    clustered.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_of_a_cluster_keep_it_online() {
        let mounts = "/dev/vda1 /a ocfs2 rw,heartbeat=local 0 0\n/dev/vdb /b ocfs2 rw,heartbeat=none 0 0\n\
                      /dev/vdc /c ext4 rw 0 0\n/dev/vdd /d ocfs2 rw,heartbeat=global 0 0\n";
        assert_eq!(mounted(mounts), ["/a", "/d"]);
    }

    #[test]
    fn the_cluster_is_the_one_told_or_of_boot_or_the_only_one() {
        let stanza = |name: &str| format!("cluster:\n\tname = {name}\n\tnode_count = 0\n\n");
        let conf = |names: &[&str]| {
            ClusterConf::parse(&names.iter().map(|name| stanza(name)).collect::<String>()).unwrap()
        };
        let mut boot = Sysconfig::default();
        assert_eq!(choose(Some("x"), &boot, &conf(&[])).unwrap(), "x");
        assert_eq!(choose(None, &boot, &conf(&["a"])).unwrap(), "a");
        let err = choose(None, &boot, &conf(&["a", "b"])).unwrap_err().to_string();
        assert_eq!(err, "say which cluster: a, b");
        assert!(choose(None, &boot, &conf(&[])).unwrap_err().to_string().contains("add-cluster"));
        boot.set("O2CB_BOOTCLUSTER", "b");
        assert_eq!(choose(None, &boot, &conf(&["a", "b"])).unwrap(), "b");
    }
}
