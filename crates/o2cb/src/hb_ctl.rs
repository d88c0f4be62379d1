//! `ocfs2_hb_ctl`: the heartbeat on one volume.
//!
//! The kernel runs it as `ocfs2_hb_ctl -K -u UUID` after a volume is unmounted.

use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::{ArgGroup, CommandFactory, Parser};
use ocfs2_cli::{Output, Status};
use ocfs2_cluster::{
    HeartbeatMode, Kernel, Online, OnlineError, ReferenceError, References, RunningKernel,
};

use ocfs2_volume::find::resolve;

use crate::heartbeat::{open_region, region_device, region_name, uuid_of};

/// Start and stop the local heartbeat on an OCFS2 volume.
///
/// Each mount of a volume has a reference to its heartbeat, which goes on until the last reference
/// is dropped. With global heartbeat nothing is done, which is not an error. The kernel runs this
/// program with -K after a volume is unmounted; people seldom need it.
///
/// The exit status is 0, or 1 if something failed or no cluster is online.
#[derive(Clone, Debug, Parser)]
#[command(name = "ocfs2_hb_ctl", version, arg_required_else_help = true)]
#[command(group = ArgGroup::new("action").required(true))]
#[command(group = ArgGroup::new("which").required(true))]
pub struct Cli {
    /// Start the heartbeat unless it is running, and add a reference
    #[arg(short = 'S', group = "action")]
    pub start: bool,
    /// Drop a reference, and stop the heartbeat if it was the last one
    #[arg(short = 'K', group = "action")]
    pub stop: bool,
    /// Show the number of references
    #[arg(short = 'I', group = "action")]
    pub info: bool,
    /// Set the I/O priority of the heartbeat thread, with ionice
    #[arg(short = 'P', group = "action")]
    pub priority: bool,
    /// The block device of the volume
    #[arg(short, value_name = "DEVICE", group = "which")]
    pub device: Option<PathBuf>,
    /// The UUID of the volume
    #[arg(short, value_name = "UUID", group = "which")]
    pub uuid: Option<String>,
    /// The priority, 0 (highest) to 7, within the class "realtime"
    #[arg(short = 'n', value_name = "PRIORITY", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u8).range(0..=7))]
    pub level: u8,
    /// The service that asks for the heartbeat; ignored
    #[arg(value_name = "SERVICE")]
    pub service: Option<String>,
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
    let kernel = RunningKernel::default();
    if let Some(text) = act(cli, &kernel, &References::default())? {
        let mut out = Output::stdout();
        out.write_all(text.as_bytes())?;
        out.flush()?;
    }
    Ok(Status::SUCCESS)
}

/// Like [`run`], on any kernel. Returns the text to print.
fn act(cli: &Cli, kernel: &dyn Kernel, references: &References) -> Result<Option<String>> {
    let device = cli.device.as_deref().map(resolve).transpose()?;
    let uuid = match (&cli.uuid, &device) {
        (Some(uuid), _) => region_name(uuid)?,
        (None, Some(device)) => uuid_of(device)?,
        (None, None) => bail!("say which volume, by -d or -u"),
    };
    let online = Online::find(kernel);
    let cluster = online.as_ref().and_then(Online::cluster);
    let (Some(online), Some(cluster)) = (online, cluster) else {
        bail!("no cluster is online; `o2cb online` brings one online");
    };
    if online.heartbeat_mode(&cluster) == HeartbeatMode::Global && !cli.info {
        return Ok(None);
    }
    if cli.start {
        let path = device.map_or_else(|| region_device(&uuid), Ok)?;
        let region = open_region(&path)?;
        references.start(&online, &cluster, &region.place, region.device.as_fd())?;
    } else if cli.stop {
        match references.stop(kernel, &online, &cluster, &uuid) {
            // The volume is still mounted elsewhere on this host. The last unmount will stop the
            // heartbeat.
            Err(ReferenceError::Online(OnlineError::Busy { .. })) => {}
            stopped => drop(stopped?),
        }
    } else if cli.priority {
        set_priority(online.pid(&cluster, &uuid), cli.level)?;
    } else {
        return Ok(Some(format!("{uuid}: {} refs\n", references.count(&online, &uuid)?)));
    }
    Ok(None)
}

/// Gives the thread of a heartbeat the I/O class "realtime".
///
/// # Errors
/// If the heartbeat is not running, or there is no `ionice`.
fn set_priority(pid: u32, level: u8) -> Result<()> {
    if pid == 0 {
        bail!("there is no heartbeat on this volume");
    }
    let paths = ["/usr/bin/ionice", "/bin/ionice"];
    let ionice = paths.into_iter().find(|path| Path::new(path).exists());
    let mut command = Command::new(ionice.context("there is no ionice on this machine")?);
    command.args(["-c1", &format!("-n{level}"), &format!("-p{pid}")]).stdin(Stdio::null());
    let status = command.status().context("ionice")?;
    if status.success() { Ok(()) } else { bail!("ionice: {status}") }
}

#[cfg(test)]
mod tests {
    use ocfs2_cluster::fake::FakeKernel;
    use ocfs2_cluster::{ClusterConf, RegionPlace, Timeouts};

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        let cli = parse("x -K -u 0123456789ABCDEF0123456789ABCDEF").unwrap();
        assert!(cli.stop && cli.uuid.is_some());
        assert!(parse("x -S -d /dev/vda ocfs2").unwrap().service.is_some());
        assert!(
            parse("x -K").is_err() && parse("x -K -S -u 1").is_err() && parse("x -u 1").is_err()
        );
    }

    #[test]
    fn the_kernel_has_the_heartbeat_stopped_after_an_unmount() {
        let kernel = FakeKernel::new("a");
        let dir = tempfile::tempdir().unwrap();
        let references = References::in_folder(dir.path().to_owned());
        let uuid = "0123456789ABCDEF0123456789ABCDEF";
        let call =
            |what: &str| act(&Cli::parse_from(["x", what, "-u", uuid]), &kernel, &references);
        assert_eq!(
            call("-K").unwrap_err().to_string(),
            "no cluster is online; `o2cb online` brings one online"
        );
        let conf = "cluster:\n\tname = web\n\tnode_count = 1\n\n\
            node:\n\tcluster = web\n\tname = a\n\tnumber = 7\n\tip_address = 10.0.0.1\n\tip_port = 7777\n";
        let online = Online::prepare(&kernel).unwrap();
        let conf = ClusterConf::parse(conf).unwrap();
        online.register(&conf, "web", &Timeouts::default()).unwrap();
        let place = RegionPlace::new(uuid.to_owned(), 4096, 1 << 20, 512);
        let file = tempfile::tempfile().unwrap();
        references.start(&online, "web", &place, file.as_fd()).unwrap();
        assert_eq!(call("-I").unwrap().unwrap(), format!("{uuid}: 1 refs\n"));
        assert_eq!(call("-K").unwrap(), None);
        assert!(online.regions("web").is_empty());
        assert_eq!(call("-I").unwrap().unwrap(), format!("{uuid}: 0 refs\n"));
        assert!(call("-P").unwrap_err().to_string().contains("no heartbeat"));

        // Regions of a global heartbeat do not belong to single volumes.
        online.start_region("web", &place, file.as_fd()).unwrap();
        kernel.put("sys/kernel/config/cluster/web/heartbeat/mode", Some("global"));
        assert_eq!(call("-K").unwrap(), None);
        assert_eq!(online.regions("web"), [uuid]);
    }
}
