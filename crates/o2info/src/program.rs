//! The program.

use std::io::Write;
use std::os::unix::fs::FileTypeExt;

use anyhow::{Context, Result, bail};
use ocfs2_cli::{Output, Status, print_error, shown};
use ocfs2_device::{Caching, DeviceOptions, open};
use ocfs2_volume::find::resolve;
use ocfs2_volume::{Volume, VolumeOptions};

use crate::{Cli, answer};

/// Answers what `cli` asks.
///
/// # Errors
/// The volume cannot be opened, or standard output cannot be written.
pub fn run(cli: &Cli) -> Result<Status> {
    let volume = open_volume(cli).with_context(|| shown(&cli.device))?;
    let mut out = Output::stdout();
    let mut status = Status::SUCCESS;
    for request in &cli.requests {
        match answer(&volume, *request) {
            Ok(text) => out.write_all(text.as_bytes())?,
            Err(err) => {
                print_error(&err.context(request.name()));
                status = Status::FAILURE;
            }
        }
    }
    Ok(status)
}

fn open_volume(cli: &Cli) -> Result<Volume> {
    let device = resolve(&cli.device)?;
    let hint = "o2info reads a device or an image, not a mounted path";
    if device.is_dir() {
        bail!("is a folder: {hint}");
    }
    // Other nodes write to a disk: what this machine has cached of it may be old.
    let is_disk = device.metadata().is_ok_and(|it| it.file_type().is_block_device());
    let caching = if is_disk { Caching::Direct } else { Caching::Cached };
    let options = DeviceOptions { partition: cli.partition, caching, ..Default::default() };
    let opened = open(&device, &options).map_err(|err| anyhow::anyhow!(err.cause))?;
    let options = VolumeOptions { allow_short: true, ..Default::default() };
    Volume::open(opened, &options).map_err(|err| match err {
        ocfs2_volume::OpenVolumeError::NotOcfs2 { .. } => anyhow::anyhow!("{err}; {hint}"),
        err => err.into(),
    })
}
