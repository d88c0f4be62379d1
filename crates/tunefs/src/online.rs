//! Growth of a mounted volume, which the kernel does, group by group.
//!
//! How large the volume is comes from the kernel, each time again: what it has changed may still be
//! in its journal and not at its place on the device. Read from the device is only what does not
//! change: constants, and the chain of a group.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ocfs2_cluster::RunningKernel;
use ocfs2_device::holders::mount_points;
use ocfs2_device::{Caching, Device, DeviceOptions, open};
use ocfs2_ioctl::{Mounted, NewGroup as AddedGroup};
use ocfs2_users::resize::{self, Resize};
use ocfs2_volume::edit::NewGroup;
use ocfs2_volume::{Volume, VolumeOptions};

use crate::Cli;
use crate::cli::Unit;
use crate::size::{self, Size};

/// Attempts to read a descriptor that the kernel may be writing, and the time between two.
const TRIES: usize = 5;
const BETWEEN: Duration = Duration::from_millis(200);

/// A volume that is mounted on this host.
#[derive(Debug)]
pub(crate) struct Online {
    mounted: Mounted,
    mount_point: PathBuf,
    volume: Volume,
}

impl Online {
    /// Returns the volume on the block device `path` if it is mounted here.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn find(path: &Path) -> Result<Option<Self>> {
        for mount_point in mount_points(path) {
            let mounted = Mounted::open(&mount_point, true);
            let mounted = mounted.with_context(|| ocfs2_cli::shown(&mount_point))?;
            // Something else may be mounted over it.
            let is_it = mount_point.metadata()?.dev() == path.metadata()?.rdev();
            let Some(mounted) = mounted.filter(|_| is_it) else { continue };
            // Past the cache: the kernel reads new groups from the device.
            let options =
                DeviceOptions { write: true, caching: Caching::Direct, ..Default::default() };
            let volume = Volume::open(open(path, &options)?, &VolumeOptions::default())?;
            let mut online = Self { mounted, mount_point, volume };
            online.refresh()?;
            return Ok(Some(online));
        }
        Ok(None)
    }

    /// The volume, with its present size.
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// Asks the kernel for the size of the volume.
    fn refresh(&mut self) -> Result<u32> {
        let blocks = self.mounted.blocks().context("the size of the volume")?;
        let clusters = blocks >> self.volume.geometry().bpc_bits();
        let clusters = u32::try_from(clusters).context("the size of the volume")?;
        self.volume = self.volume.with_clusters(clusters);
        Ok(clusters)
    }

    /// Returns the number of clusters that `cli` requests; `None` if the volume has as many.
    ///
    /// # Errors
    /// It cannot be had.
    pub fn target(&self, cli: &Cli, unit: Unit) -> Result<Option<u32>> {
        ensure!(
            !cli.changes_more_than_size() && cli.undo_file.is_none(),
            "is mounted on {}: only its size can be changed there, without --undo-file",
            ocfs2_cli::shown(&self.mount_point)
        );
        let target = match size::target(cli, &self.volume, unit)? {
            None => None,
            Some(Size::Larger(clusters)) => Some(clusters),
            Some(Size::Smaller(_) | Size::Least) => bail!(
                "is mounted on {}: unmount it everywhere to make it smaller",
                ocfs2_cli::shown(&self.mount_point)
            ),
        };
        let (geometry, bitmap) = (self.volume.geometry(), self.volume.global_bitmap()?);
        ensure!(
            target.is_none() || u32::from(bitmap.header.cl_cpg) == geometry.clusters_per_group(),
            "groups have {} clusters instead of {}, which the kernel does not change: unmount the \
             volume everywhere to extend it",
            bitmap.header.cl_cpg,
            geometry.clusters_per_group()
        );
        ensure!(
            target.is_none() || !self.mounted.is_read_only()?,
            "is mounted read-only on {}",
            ocfs2_cli::shown(&self.mount_point)
        );
        Ok(target)
    }

    /// Grows the volume to `target` clusters. `step` is called before each group, with the clusters
    /// that there are, and may stop it.
    ///
    /// # Errors
    /// What stopped it; with [`Stopped`] if that was the kernel or `step`.
    pub fn grow(&mut self, target: u32, step: &mut dyn FnMut(u32) -> Result<()>) -> Result<()> {
        let held = "another program resizes the volume, on this node or another one";
        ensure!(self.mounted.try_lock().context("lock of the mount point")?, held);
        let lock = resize::take(&self.volume, &RunningKernel::default());
        let lock = lock.context("the cluster's lock for resizing")?;
        ensure!(!matches!(lock, Resize::Held), held);
        let first = self.refresh()?;
        let mut clusters = first;
        while clusters < target {
            let grown = step(clusters).and_then(|()| self.grow_once(clusters, target));
            let now = grown.and_then(|()| self.refresh()).and_then(|now| {
                ensure!(now > clusters, "the kernel has not extended the volume: see dmesg");
                Ok(now)
            });
            clusters = match now {
                Ok(now) => now,
                Err(err) if clusters > first => return Err(err.context(Stopped::At(clusters))),
                Err(err) => return Err(err.context(Stopped::Unchanged)),
            };
        }
        self.check(clusters)
    }

    /// Fills the last group, or adds one.
    fn grow_once(&self, clusters: u32, target: u32) -> Result<()> {
        let volume = self.volume.with_clusters(target);
        let (geometry, last) = (volume.geometry(), self.volume.geometry().groups() - 1);
        let of_last = self.volume.geometry().group_clusters(last);
        let missing = geometry.group_clusters(last) - of_last;
        if missing > 0 {
            let extended = self.mounted.extend_last_group(u16::try_from(missing)?);
            return extended.with_context(|| {
                format!(
                    "the kernel does not extend the last group by {missing} clusters: see dmesg"
                )
            });
        }
        let group = retried(|| NewGroup::after(&volume, last))?;
        // The kernel puts it in front of its chain.
        group.write(&volume, ocfs2_format::Blkno(0), self.device())?;
        self.device().flush()?;
        let added = AddedGroup {
            block: group.blkno.0,
            clusters: group.clusters.into(),
            free: group.free().into(),
            chain: group.chain,
        };
        self.mounted.add_group(&added).with_context(|| {
            format!(
                "the kernel does not add a group of {} clusters after cluster {clusters}: see dmesg",
                group.clusters
            )
        })
    }

    fn device(&self) -> &dyn Device {
        &**self.volume.device()
    }

    /// The kernel only logs it if it cannot write a superblock.
    fn check(&self, clusters: u32) -> Result<()> {
        let written = Volume::open(Arc::clone(self.volume.device()), &VolumeOptions::default())?;
        let stated = written.geometry().clusters;
        if stated != clusters {
            bail!(
                "the kernel has extended the volume, but the superblock still states {stated} \
                 clusters instead of {clusters}: run fsck.ocfs2 when it is unmounted"
            );
        }
        Ok(())
    }
}

/// The growth has ended before the requested size. The volume is sound.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum Stopped {
    /// Before the first change.
    #[error("nothing was changed")]
    Unchanged,
    /// Later.
    #[error("the volume has {0} clusters now, and the same command goes on")]
    At(u32),
}

/// Calls `read` until it succeeds, a few times.
fn retried<T, E>(read: impl Fn() -> Result<T, E>) -> Result<T, E> {
    for _ in 1..TRIES {
        match read() {
            Err(_) => thread::sleep(BETWEEN),
            done => return done,
        }
    }
    read()
}
