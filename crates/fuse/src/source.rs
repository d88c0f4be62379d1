//! The volume that is mounted.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use fuser::Errno;
use ocfs2_cli::{Interrupt, shown};
use ocfs2_device::{Caching, Device, DeviceOptions, OverlayDevice, open};
use ocfs2_users::{Guard, recover, usage_of, verify_sound};
use ocfs2_volume::edit::EditOptions;
use ocfs2_volume::image::{OnlySaved, PackedImage};
use ocfs2_volume::posix::FileSystem;
use ocfs2_volume::usage::{SampleOptions, State, SystemClock, Unknown};
use ocfs2_volume::{OpenVolumeError, Volume, VolumeOptions};

use crate::Cli;
use crate::program::Wanted;

/// Most bytes of replayed journals in memory; the rest goes to a file.
const OVERLAY_MEMORY: u64 = 64 << 20;

/// What is mounted.
#[derive(Debug)]
pub(crate) enum Source {
    /// A volume that is only read.
    Read(Box<Volume>),
    /// A volume that is read and written.
    Written(Box<FileSystem>),
}

impl Source {
    /// Calls `read` with the volume as it is now.
    pub fn read<T>(&self, read: impl FnOnce(&Volume) -> T) -> T {
        match self {
            Self::Read(volume) => read(volume),
            Self::Written(written) => written.read(read),
        }
    }

    /// Whether it is written.
    pub fn is_written(&self) -> bool {
        matches!(self, Self::Written(_))
    }

    /// What writes it.
    pub fn writer(&self) -> Result<&FileSystem, Errno> {
        match self {
            Self::Read(_) => Err(Errno::EROFS),
            Self::Written(written) => Ok(written),
        }
    }
}

/// Opens the volume as it is wanted.
///
/// # Errors
/// It cannot be read or written, or others use it.
pub(crate) fn open_source(cli: &Cli, wanted: &Wanted, interrupt: &Interrupt) -> Result<Source> {
    match wanted.is_read_only() {
        true => open_volume(cli, wanted).map(|volume| Source::Read(Box::new(volume))),
        false => {
            let text = "cannot be mounted to be written; -o ro mounts it read-only";
            let opened = open_written(cli, wanted, interrupt).context(text)?;
            Ok(Source::Written(Box::new(opened)))
        }
    }
}

/// Opens a volume to be written: nobody else may use it, and nobody can while this program does. What
/// crashed nodes have left is recovered first.
fn open_written(cli: &Cli, wanted: &Wanted, interrupt: &Interrupt) -> Result<FileSystem> {
    let options = DeviceOptions {
        write: true,
        exclusive: true,
        partition: wanted.partition,
        ..Default::default()
    };
    let device = open(&cli.device, &options)?;
    let options = VolumeOptions { write: true, strict: true, ..Default::default() };
    let opened = || match Volume::open(Arc::clone(&device), &options) {
        Err(OpenVolumeError::NotOcfs2 { .. }) if PackedImage::open(Arc::clone(&device)).is_ok() => {
            bail!("an image of o2image has no room for what would be written")
        }
        opened => opened.map_err(|err| ocfs2_users::explained(err, &device)),
    };
    let volume = opened()?;
    let clock = SystemClock::default();
    let taken = Guard::take_unfinished(&volume, &cli.device, wanted.partition, &clock, interrupt);
    let (guard, unfinished) = taken?;
    if let Some(why) = &guard.not_locked {
        bail!("other nodes may mount it while it is written: {why}");
    }
    if !unfinished.is_empty() {
        let now = ocfs2_volume::Timestamp::now();
        let recovered = recover(&volume, &guard, &unfinished, now, interrupt)?;
        for slot in recovered.iter().filter(|it| it.had_work()) {
            ocfs2_cli::print_note(format_args!("slot {} was recovered", slot.slot));
        }
    }
    // A journal may have held another superblock.
    let volume = opened()?;
    verify_sound(&volume)?;
    let options = EditOptions {
        name_hash: cli.name_hash.unwrap_or_else(ocfs2_users::name_hash::of_this_kernel),
        follow_names: cli.name_hash.is_none(),
        time: ocfs2_volume::Timestamp::now(),
        ..Default::default()
    };
    Ok(FileSystem::new(&volume, guard.gate.lasting()?, options)?)
}

/// Opens the volume, with its journals replayed in memory.
///
/// # Errors
/// It cannot be read, or a node uses it.
pub(crate) fn open_volume(cli: &Cli, wanted: &Wanted) -> Result<Volume> {
    let caching = match wanted.unsafe_snapshot {
        true => Caching::Direct,
        false => Caching::default(),
    };
    let options = DeviceOptions {
        caching,
        exclusive: !wanted.unsafe_snapshot,
        partition: wanted.partition,
        ..Default::default()
    };
    let device = open(&cli.device, &options)?;
    let volume = opened(device)?;
    if !wanted.unsafe_snapshot {
        unused(&volume)?;
    }
    replayed(volume)
}

fn opened(device: Arc<dyn Device>) -> Result<Volume> {
    let options = VolumeOptions::default();
    let err = match Volume::open(Arc::clone(&device), &options) {
        Ok(volume) => return Ok(volume),
        Err(err) => err,
    };
    if let Ok(image) = PackedImage::open(Arc::clone(&device)) {
        let image = Arc::new(image);
        let volume = Volume::open(Arc::clone(&image) as Arc<dyn Device>, &options)?;
        return Ok(volume.on(Arc::new(OnlySaved(image))));
    }
    Err(ocfs2_users::explained(err, &device))
}

/// Fails if a node uses the volume, or may use it.
fn unused(volume: &Volume) -> Result<()> {
    let clock = SystemClock::default();
    let usage = usage_of(volume, None, &SampleOptions::before_writing(), &clock)?;
    let users: Vec<_> = usage
        .nodes()
        .filter_map(|(node, state)| match state {
            State::Live => Some(format!("node {node}")),
            // Only this host can have it mounted, and then it could not have been opened.
            State::Unknown(Unknown::Local) => None,
            State::Unknown(why) => Some(format!("perhaps node {node} ({why})")),
            State::Crashed { .. } => None,
        })
        .collect();
    ensure!(
        users.is_empty(),
        "is in use by {}: unmount it everywhere first; --unsafe-snapshot shows what is on the disk \
         now",
        users.join(" and ")
    );
    Ok(())
}

/// The volume with what dirty journals hold. A journal that is damaged is replayed as far as it can
/// be read, which is reported.
fn replayed(volume: Volume) -> Result<Volume> {
    let mut dirty = Vec::new();
    for slot in 0..volume.max_slots() {
        match volume.journal_is_dirty(slot) {
            Ok(false) => {}
            Ok(true) => dirty.push(slot),
            Err(err) => ocfs2_cli::print_warning(format_args!("journal of slot {slot}: {err}")),
        }
    }
    if dirty.is_empty() {
        return Ok(volume);
    }
    let below = Arc::clone(volume.device());
    let overlay = OverlayDevice::within(below, volume.block_size().bytes(), OVERLAY_MEMORY);
    for slot in dirty {
        let replay = volume.replay(slot).and_then(|replay| replay.apply(&volume, &overlay));
        match replay {
            Ok(()) => ocfs2_cli::print_note(format_args!(
                "the journal of slot {slot} was replayed in memory"
            )),
            Err(err) => ocfs2_cli::print_warning(format_args!(
                "the journal of slot {slot} is not replayed: {err}"
            )),
        }
    }
    let again = Volume::open(Arc::new(overlay), &VolumeOptions::default());
    again.map_err(|err| anyhow::anyhow!("after its journals were replayed: {err}"))
}

/// What to call it in the list of mounts.
pub(crate) fn name(cli: &Cli) -> String {
    shown(&cli.device)
}
