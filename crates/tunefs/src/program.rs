//! The program.

use std::io::Write;

use anyhow::{Context, Result, bail};
use ocfs2_cli::{Interrupt, Output, Status, confirm, print_warning, shown};
use ocfs2_cluster::RunningCluster;
use ocfs2_device::{DeviceOptions, open};
use ocfs2_format::superblock::STATE_ERROR;
use ocfs2_users::Guard;
use ocfs2_volume::find::resolve;
use ocfs2_volume::gate::Planned;
use ocfs2_volume::usage::SystemClock;
use ocfs2_volume::{OpenVolumeError, Volume, VolumeOptions};

use crate::{Cli, query, stamp, stamped};

/// Does what `cli` asks for.
///
/// # Errors
/// What could not be done, and why.
pub fn run(cli: &Cli) -> Result<Status> {
    let cli = &Cli { device: resolve(&cli.device)?, ..cli.clone() };
    if let Some(format) = &cli.query {
        let options = VolumeOptions { heartbeat_device: true, ..Default::default() };
        let volume = open_volume(cli, false, &options)?;
        Output::stdout().write_all(query(volume.superblock(), format)?.as_bytes())?;
        return Ok(Status::SUCCESS);
    }
    let running = RunningCluster::find().context(
        "no cluster is online on this host that the volume could be given to: o2cb online",
    )?;
    let write = !cli.no;
    let options = VolumeOptions { write, strict: write, ..Default::default() };
    let volume = open_volume(cli, write, &options)?;
    if volume.superblock().s_state & STATE_ERROR != 0 {
        let device = shown(&cli.device);
        print_warning(format_args!(
            "{device}: the volume is marked as having errors: run fsck.ocfs2 -fy {device}"
        ));
    }
    update(cli, &volume, &running).with_context(|| shown(&cli.device))?;
    Ok(Status::SUCCESS)
}

fn open_volume(cli: &Cli, write: bool, options: &VolumeOptions) -> Result<Volume> {
    let device =
        DeviceOptions { write, exclusive: write, partition: cli.partition, ..Default::default() };
    let device = open(&cli.device, &device)?;
    let volume = Volume::open(device.clone(), options).map_err(|err| {
        let is_other = matches!(err, OpenVolumeError::NotOcfs2 { .. });
        let choose = ": --partition NUMBER chooses one";
        match is_other.then(|| ocfs2_probe::instead(&device, choose)).flatten() {
            Some(instead) => anyhow::anyhow!("{err}; {instead}"),
            None => err.into(),
        }
    });
    volume.with_context(|| shown(&cli.device))
}

fn update(cli: &Cli, volume: &Volume, running: &RunningCluster) -> Result<()> {
    let say = |text: &str| match cli.quiet {
        true => Ok(()),
        false => writeln!(Output::stdout(), "{text}"),
    };
    let now = query(volume.superblock(), "%C")?;
    let superblock = stamped(volume.superblock(), running)?;
    let then = query(&superblock, "%C")?;
    if superblock == *volume.superblock() {
        say(&format!("The volume belongs to {running} already"))?;
        return Ok(());
    }
    // A signal must not end it while the heartbeat that goes with the lock is on.
    let interrupt = Interrupt::install()?;
    let clock = SystemClock::default();
    if cli.no {
        Guard::look(volume, &clock)?;
        say(&format!("Changing the cluster stack from {now} to {then}\nNothing was changed"))?;
        return Ok(());
    }
    // Where the volume's cluster is another one nobody can be kept out.
    let guard = Guard::take(volume, &cli.device, cli.partition, &clock)?;
    say(&format!("Changing the cluster stack from {now} to {then}"))?;
    let question = "No node of the old cluster can mount the volume any more. Proceed";
    if !cli.yes && !confirm(question, "-y", &interrupt)? {
        bail!("nothing was changed");
    }
    interrupt.check()?;
    let pass = guard.gate.open(Planned::default()).context("nothing was changed")?;
    stamp(volume, &superblock, &pass)?;
    say("The cluster stack was changed")?;
    Ok(())
}
