//! `o2cluster`: shows and changes the cluster stack of a volume.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::{ArgGroup, CommandFactory, Parser};
use ocfs2_cli::{Interrupt, Output, Status, confirm, print_note, print_warning, shown};
use ocfs2_cluster::RunningCluster;
use ocfs2_device::Device;
use ocfs2_format::feature::Incompat;
use ocfs2_users::Guard;
use ocfs2_volume::Volume;
use ocfs2_volume::VolumeOptions;
use ocfs2_volume::edit::{Edit, EditOptions, How};
use ocfs2_volume::find::resolve;
use ocfs2_volume::gate::Planned;
use ocfs2_volume::usage::SystemClock;

use crate::target::Target;

/// Show or change the cluster stack that an OCFS2 volume states.
///
/// A volume states which cluster mounts it, as stack, name of the cluster and heartbeat mode:
/// o2cb,mycluster,global. The stacks are o2cb, pcmk and cman. The name has up to 16 bytes, with o2cb
/// only letters and digits. The mode is local or global with o2cb, and none with the others. A volume
/// that does not say it is shown as default: any cluster of o2cb with local heartbeat.
///
/// A change is refused while a node uses the volume or has not unmounted it, or if that is not
/// known. If the cluster of the volume runs on this host, the volume is locked in it meanwhile. The
/// superblock and all its backups are written. tunefs.ocfs2 --update-cluster-stack does the same for
/// the cluster that runs on this host, and tunefs.ocfs2 --fs-features=nolocal for a local volume.
///
/// The exit status is 0, also if the answer to the question is no, or 1 if something failed or was
/// refused.
#[derive(Clone, Debug, Parser)]
#[command(name = "o2cluster", version, arg_required_else_help = true)]
#[command(group = ArgGroup::new("action").required(true))]
pub struct Cli {
    /// Show the cluster stack of the volume
    #[arg(short = 'o', long, group = "action", requires = "device")]
    pub show_ondisk: bool,
    /// Show the cluster that runs on this host in the same form
    #[arg(short = 'r', long, group = "action")]
    pub show_running: bool,
    /// Change the cluster stack of the volume to this one, or to the cluster that runs on this host;
    /// the value follows -u without a blank
    #[arg(
        short,
        long,
        group = "action",
        value_name = "STACK",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        requires = "device"
    )]
    pub update: Option<String>,
    /// Answer yes to the question
    #[arg(short, long, conflicts_with = "no")]
    pub yes: bool,
    /// Answer no to the question: only check whether the change is possible
    #[arg(short, long)]
    pub no: bool,
    /// Report what is done
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// The volume is in this partition of the device
    #[arg(long, value_name = "NUMBER")]
    pub partition: Option<u32>,
    /// Block device or image file, or LABEL=... or UUID=...
    #[arg(value_name = "DEVICE")]
    pub device: Option<PathBuf>,
}

/// The command line, for manual pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Rewrites `-uSTACK`, also after other letters, to `--update=STACK`.
pub fn glued(args: Vec<OsString>) -> Vec<OsString> {
    let mut rewritten = Vec::with_capacity(args.len());
    for arg in args {
        let bytes = arg.as_bytes();
        let letters = bytes.strip_prefix(b"-").filter(|letters| !letters.starts_with(b"-"));
        let at = letters.and_then(|letters| letters.iter().position(|letter| *letter == b'u'));
        let (Some(letters), Some(at)) = (letters, at) else {
            rewritten.push(arg);
            continue;
        };
        let (flags, value) = letters.split_at(at);
        let value = value.get(1..).unwrap_or_default();
        let value = value.strip_prefix(b"=").unwrap_or(value);
        if !flags.is_empty() {
            rewritten.push(OsString::from_vec([b"-", flags].concat()));
        }
        let long: &[u8] = if value.is_empty() { b"--update" } else { b"--update=" };
        rewritten.push(OsString::from_vec([long, value].concat()));
    }
    rewritten
}

/// The program: from its command line to its exit status.
pub fn main() -> std::process::ExitCode {
    ocfs2_cli::run_rewriting(glued, ocfs2_cli::Failure::default(), |cli: Cli| run(&cli))
}

/// Does what `cli` asks for.
///
/// # Errors
/// What could not be done, and why.
pub fn run(cli: &Cli) -> Result<Status> {
    if cli.show_running {
        return print(&running()?.to_string());
    }
    let device = resolve(cli.device.as_deref().context("No device specified")?)?;
    let target = match cli.update.as_deref() {
        None => None,
        Some("") => Some(running()?),
        Some(text) => Some(text.parse()?),
    };
    match target {
        None => {
            let volume = open(&device, cli.partition, false)?;
            let now = Target::of(volume.superblock());
            let no = || format!("Clustering is not enabled on device '{}'", shown(&device));
            print(&now.with_context(no)?.to_string())
        }
        Some(target) => update(cli, &device, &target).with_context(|| shown(&device)),
    }
}

fn running() -> Result<Target> {
    let cluster = RunningCluster::find().context("no cluster is online on this host")?;
    Ok(Target::Cluster(cluster))
}

fn open(device: &Path, partition: Option<u32>, write: bool) -> Result<Volume> {
    let options =
        VolumeOptions { write, strict: write, heartbeat_device: true, ..VolumeOptions::default() };
    ocfs2_users::open_volume(device, partition, write, &options)
}

fn print(line: &str) -> Result<Status> {
    writeln!(Output::stdout(), "{}", ocfs2_cli::terminal(line))?;
    Ok(Status::SUCCESS)
}

/// Gives the volume to `target`.
fn update(cli: &Cli, device: &Path, target: &Target) -> Result<Status> {
    let volume = open(device, cli.partition, !cli.no)?;
    let Some(now) = Target::of(volume.superblock()) else {
        bail!("Device not clustered. Use tunefs.ocfs2(8) to enable clustered mode");
    };
    let then = target.stamp(volume.superblock())?;
    if now == *target {
        return print("New cluster stack is already on disk.");
    }
    let interrupt = Interrupt::install()?;
    let question = format!("Changing the clusterstack from {now} to {target}. Continue?");
    let clock = SystemClock::default();
    if cli.no {
        Guard::look(&volume, &clock)?;
        print_note(format_args!("{question} n"));
        return Ok(Status::SUCCESS);
    }
    let guard = Guard::take(&volume, device, cli.partition, &clock, &interrupt)?;
    if let Some(why) = &guard.not_locked {
        print_warning(format_args!("{}: {why}", shown(device)));
    }
    if cli.yes {
        print_note(format_args!("{question} y"));
    } else if !confirm(&question, "-y", &interrupt)? {
        return Ok(Status::SUCCESS);
    }
    let mut edit = Edit::new(&volume, EditOptions::default());
    edit.update_superblock(|it| *it = then)?;
    let changes = edit.changes();
    let outcome: Arc<dyn Device> = changes.clone();
    let planned = Planned { changes: &[&**changes], outcome: Some(&outcome) };
    let gate = guard.gate.open(planned).context("nothing was changed")?;
    // A place for heartbeats has no journal.
    let is_bare = volume.has(Incompat::HEARTBEAT_DEV);
    edit.commit(if is_bare { How::InPlace } else { How::Journal(0) }, &gate)?;
    if cli.verbose > 0 {
        print_note("the superblock and its backups are written");
    }
    print("Updated successfully.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn a_stack_follows_the_option_in_all_forms() {
        let parse = |line: &str| {
            let args = ["o2cluster"].into_iter().chain(line.split(' ')).map(OsString::from);
            Cli::try_parse_from(glued(args.collect()))
        };
        for line in [
            "-uo2cb,a,local disk",
            "-u=o2cb,a,local disk",
            "-yuo2cb,a,local disk",
            "--update=o2cb,a,local disk",
        ] {
            let cli = parse(line).unwrap();
            assert_eq!(cli.update.as_deref(), Some("o2cb,a,local"), "{line}");
            assert_eq!(cli.device.as_deref(), Some(Path::new("disk")));
        }
        assert_eq!(parse("-u disk").unwrap().update.as_deref(), Some(""));
        assert_eq!(parse("-yu disk").unwrap().update.as_deref(), Some(""));
        for line in ["-u", "-o", "-o -r disk", "-y disk", "-y -n -u disk"] {
            parse(line).unwrap_err();
        }
        assert!(parse("-r").unwrap().show_running);
    }
}
