//! The device, and the ways to open the volume on it.

use std::sync::Arc;

use anyhow::Result;
use ocfs2_device::holders::{Holder, holders};
use ocfs2_device::{Caching, Device, DeviceOptions, OpenCause, open};
use ocfs2_format::{Blkno, BlockSize};
use ocfs2_volume::open::{Backup, FoundSuperblock, Mended, SuperblockProblem};
use ocfs2_volume::{OpenVolumeError, SuperblockAt, Volume, VolumeOptions};

use crate::cli::Cli;
use crate::start::tops;

/// A device, and who on this machine has it mounted or otherwise in use.
pub(crate) struct Opened {
    pub device: Arc<dyn Device>,
    pub holders: Vec<Holder>,
}

/// Opens the device: read-only with `-n`, otherwise exclusively.
pub(crate) fn open_device(cli: &Cli) -> Result<Opened> {
    let write = cli.writes();
    let options = DeviceOptions {
        write,
        exclusive: write,
        partition: cli.partition,
        // Repaired blocks are read again, to prove the repair.
        caching: match cli.buffered || cli.mode().repairs() {
            true => Caching::Cached,
            false => Caching::ReadOnce,
        },
        ..DeviceOptions::default()
    };
    let device = open(&cli.device, &options).map_err(|err| {
        let in_use = matches!(err.cause, OpenCause::InUse { .. });
        let cannot_write =
            matches!(err.cause, OpenCause::ReadOnly | OpenCause::Permission { write: true });
        // The caller adds the name of the device.
        let err = anyhow::Error::new(err.cause);
        match (in_use, cannot_write) {
            (true, _) => {
                anyhow::anyhow!("{err}; it is not written to while it is, -n checks it read-only")
            }
            (_, true) => anyhow::anyhow!("{err}; -n checks it without writing"),
            _ => err,
        }
    })?;
    // For a partition in an image only the users of the whole image are known.
    let holders = if write { Vec::new() } else { holders(&cli.device).unwrap_or_default() };
    Ok(Opened { device, holders })
}

/// A way to open the volume.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    options: VolumeOptions,
    /// The block of `-b` without `-B`: all block sizes are tried.
    block: Option<u64>,
    /// The superblock that a survey gave, until one is written.
    surveyed: Option<Arc<FoundSuperblock>>,
}

impl Source {
    /// The way that the command line asks for.
    pub fn new(cli: &Cli) -> Self {
        // A dry run is refused what the real run would be refused.
        let write = cli.mode().repairs();
        let block_size = cli.block_size.and_then(|size| size.0);
        let superblock = match (cli.backup, cli.superblock, block_size) {
            (Some(number), ..) => SuperblockAt::Backup(number),
            (None, Some(blkno), Some(size)) => SuperblockAt::Block(Blkno(blkno), size),
            _ => SuperblockAt::Primary,
        };
        // A device that is too short is a finding, not an error.
        let options = VolumeOptions {
            write,
            strict: write,
            superblock,
            block_size,
            allow_short: true,
            ..Default::default()
        };
        let block = cli.superblock.filter(|_| block_size.is_none());
        Self { options, block, surveyed: None }
    }

    /// Opens the volume.
    ///
    /// # Errors
    /// As [`Volume::open`].
    pub fn open(&self, device: &Arc<dyn Device>) -> Result<Volume, OpenVolumeError> {
        if let Some(found) = &self.surveyed {
            let generation = found.dinode.i_fs_generation;
            return match Volume::open(Arc::clone(device), &self.options) {
                // A superblock of another volume may be there until this one is written.
                Ok(volume) if volume.generation() == generation => Ok(volume),
                _ => {
                    let found = FoundSuperblock::clone(found);
                    Volume::open_by(Arc::clone(device), found, &self.options)
                }
            };
        }
        let Some(blkno) = self.block else {
            return Volume::open(Arc::clone(device), &self.options);
        };
        let mut first = None;
        for size in BlockSize::ALL.into_iter().rev() {
            let superblock = SuperblockAt::Block(Blkno(blkno), size);
            let options = VolumeOptions { superblock, ..self.options };
            match Volume::open(Arc::clone(device), &options) {
                Ok(volume) => return Ok(volume),
                Err(err) => first = first.or(Some(err)),
            }
        }
        Err(first.unwrap_or(OpenVolumeError::NotOcfs2 { backups: Vec::new() }))
    }

    /// Returns another way where only the checksum of the superblock is wrong, if the rest of the
    /// volume agrees with its contents.
    ///
    /// # Errors
    /// What else keeps the volume from being opened.
    pub fn by_contents(
        &self,
        device: &Arc<dyn Device>,
        err: &OpenVolumeError,
    ) -> Result<Option<Self>, OpenVolumeError> {
        let OpenVolumeError::Damaged { problem: SuperblockProblem::Checksum { .. }, .. } = err
        else {
            return Ok(None);
        };
        let options = VolumeOptions { any_checksum: true, ..self.options };
        let other = Self { options, ..self.clone() };
        let volume = other.open(device)?;
        Ok((tops::agrees(&volume) && !volume.has_no_checks()).then_some(other))
    }

    /// Returns the error of a run that repairs, where that would correct the superblock and this
    /// one, which only reads, can use it.
    pub fn would_be_mended(&self, device: &Arc<dyn Device>) -> Option<OpenVolumeError> {
        let options = VolumeOptions { write: true, strict: true, ..self.options };
        let writing = Self { options, ..self.clone() };
        let err = writing.open(device).err()?;
        let is_mended = writing.mended(device, &err).is_ok_and(|mended| mended.is_some());
        is_mended.then_some(err)
    }

    /// Returns another way where the superblock could not be used because of `err` and there is no
    /// good backup: by what the rest of the volume states, if that leaves no doubt.
    ///
    /// # Errors
    /// What else keeps the volume from being opened.
    pub fn mended(
        &self,
        device: &Arc<dyn Device>,
        err: &OpenVolumeError,
    ) -> Result<Option<(Mended, Self)>, OpenVolumeError> {
        let is_bad = match err {
            OpenVolumeError::NotOcfs2 { backups } | OpenVolumeError::Damaged { backups, .. } => {
                backups.is_empty()
            }
            OpenVolumeError::UnknownFeatures { .. }
            | OpenVolumeError::UnknownTunefs { .. }
            | OpenVolumeError::HeartbeatDevice => true,
            _ => false,
        };
        if !is_bad || self.options.superblock != SuperblockAt::Primary || self.block.is_some() {
            return Ok(None);
        }
        let superblock = SuperblockAt::Mended;
        let options = VolumeOptions { write: true, strict: true, superblock, ..self.options };
        let other = Self { options, block: None, surveyed: None };
        let mended = other.open(device)?.found_superblock().mended.clone();
        Ok(mended.map(|mended| (mended, other)))
    }

    /// Returns the way by a superblock that a survey gave.
    pub fn surveyed(&self, found: FoundSuperblock) -> Self {
        let options = VolumeOptions { superblock: SuperblockAt::Primary, ..self.options };
        Self { options, block: None, surveyed: Some(Arc::new(found)) }
    }

    /// Returns another way where the superblock could not be used because of `err`: by the first
    /// backup that is good enough to open the volume.
    pub fn by_backup(
        &self,
        device: &Arc<dyn Device>,
        err: &OpenVolumeError,
    ) -> Option<(Backup, Self)> {
        let (OpenVolumeError::NotOcfs2 { backups }
        | OpenVolumeError::Damaged { backups, .. }
        | OpenVolumeError::Read { backups, .. }) = err
        else {
            return None;
        };
        if self.options.superblock != SuperblockAt::Primary || self.block.is_some() {
            return None;
        }
        let mut sources = backups.iter().map(|backup| {
            let superblock = SuperblockAt::Backup(backup.number);
            let block_size = Some(backup.block_size);
            let options = VolumeOptions { superblock, block_size, ..self.options };
            (*backup, Self { options, block: None, surveyed: None })
        });
        sources.find(|(_, source)| source.open(device).is_ok())
    }
}
