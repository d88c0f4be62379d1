//! Sources of answers: the volume on its device, or the kernel that has it mounted.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use ocfs2_cli::shown;
use ocfs2_device::{Caching, DeviceOptions, open};
use ocfs2_format::chain::ChainList;
use ocfs2_format::feature::{Compat, Features, Incompat, RoCompat};
use ocfs2_format::superblock::ClusterInfo;
use ocfs2_ioctl::{InodeRoom, Mounted};
use ocfs2_volume::find::resolve;
use ocfs2_volume::image::PackedImage;
use ocfs2_volume::{OpenVolumeError, SuperblockAt, SystemFile, Volume, VolumeOptions};

use crate::file::FileStatus;
use crate::{Cli, FreeFrag};

/// The source of answers.
#[derive(Debug)]
pub enum Source {
    /// A device or an image, and the file on it.
    Volume(Box<Volume>, Option<PathOnVolume>),
    /// A path on a mounted volume, about which the kernel is asked.
    Kernel(Mounted, PathBuf),
}

/// A file on a device or an image.
#[derive(Clone, Debug)]
pub struct PathOnVolume {
    /// Its path from the root of the volume.
    pub path: PathBuf,
    /// The number of the device; 0 for an image.
    pub device: u64,
}

/// The properties of a volume.
#[derive(Clone, Debug)]
pub struct Traits {
    /// Its label.
    pub label: Vec<u8>,
    /// Its UUID.
    pub uuid: String,
    /// Block size in bytes.
    pub block_size: u32,
    /// Cluster size in bytes.
    pub cluster_size: u32,
    /// Number of its slots.
    pub slots: u32,
    /// Its features.
    pub features: Features,
}

impl Source {
    /// Opens what `cli` names: a path on a mounted volume, otherwise a device or an image.
    ///
    /// # Errors
    /// If it is neither, or cannot be opened.
    pub fn open(cli: &Cli) -> Result<Self> {
        let device = resolve(&cli.device)?;
        if cli.partition.is_none()
            && cli.superblock.is_none()
            && let Some(mounted) = Mounted::open(&device, cli.is_coherent)?
        {
            if cli.path.is_some() {
                bail!("is on a mounted volume: --path names a file on a device or an image");
            }
            return Ok(Self::Kernel(mounted, device));
        }
        let volume = Box::new(open_volume(&device, cli.partition, cli.superblock)?);
        let number = device.metadata().map_or(0, |metadata| metadata.rdev());
        let path = cli.path.clone().map(|path| PathOnVolume { path, device: number });
        Ok(Self::Volume(volume, path))
    }

    /// Returns the properties of the volume.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn traits(&self) -> Result<Traits> {
        Ok(match self {
            Self::Volume(volume, _) => {
                let (sb, geometry) = (volume.superblock(), volume.geometry());
                Traits {
                    label: sb.label().to_vec(),
                    uuid: sb.uuid_string(),
                    block_size: geometry.block_size.bytes(),
                    cluster_size: geometry.cluster_size.bytes(),
                    slots: sb.s_max_slots.into(),
                    features: volume.features(),
                }
            }
            Self::Kernel(kernel, _) => Traits {
                label: kernel.label()?,
                uuid: ocfs2_cli::terminal(kernel.uuid()?),
                block_size: kernel.block_size()?,
                cluster_size: kernel.cluster_size()?,
                slots: kernel.slots()?,
                features: self.features()?,
            },
        })
    }

    /// Returns the features.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn features(&self) -> Result<Features> {
        Ok(match self {
            Self::Volume(volume, _) => volume.features(),
            Self::Kernel(kernel, _) => {
                let [compat, incompat, ro_compat] = kernel.features()?;
                Features {
                    compat: Compat::from_bits_retain(compat),
                    incompat: Incompat::from_bits_retain(incompat),
                    ro_compat: RoCompat::from_bits_retain(ro_compat),
                }
            }
        })
    }

    /// Returns the cluster that the volume belongs to, if it says so. The kernel does not tell: the
    /// device is read, which root can do.
    ///
    /// # Errors
    /// If the device cannot be read.
    pub fn cluster_info(&self) -> Result<Option<ClusterInfo>> {
        let superblock = match self {
            Self::Volume(volume, _) => volume.superblock().clone(),
            Self::Kernel(_, path) => {
                let naming = Incompat::CLUSTERINFO | Incompat::USERSPACE_STACK;
                if !self.features()?.incompat.intersects(naming) {
                    return Ok(None);
                }
                let number = path.metadata()?.dev();
                let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
                let device = PathBuf::from(format!("/dev/block/{major}:{minor}"));
                let volume = open_volume(&device, None, None);
                volume.context("the cluster is only on the device")?.superblock().clone()
            }
        };
        Ok(superblock.cluster_info().cloned())
    }

    /// Returns the size of a journal in bytes: of the first one, or from the kernel that of this
    /// node.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn journal_size(&self) -> Result<u64> {
        Ok(match self {
            Self::Volume(volume, _) => volume.system_file(SystemFile::Journal(0))?.size(),
            Self::Kernel(kernel, _) => kernel.journal_size()?,
        })
    }

    /// Returns the room for inodes, by slot.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn inode_room(&self) -> Result<Vec<InodeRoom>> {
        match self {
            Self::Volume(volume, _) => {
                (0..volume.max_slots()).map(|slot| inode_room(volume, slot)).collect()
            }
            Self::Kernel(kernel, _) => Ok(kernel.inode_room()?),
        }
    }

    /// Returns the fragmentation of free space. With a `kib` of 0 chunks are not counted.
    ///
    /// # Errors
    /// If it cannot be read, or a chunk is smaller than a cluster.
    pub fn free_frag(&self, kib: u64) -> Result<FreeFrag> {
        let Traits { block_size, cluster_size, .. } = self.traits()?;
        let new = FreeFrag::new(block_size, cluster_size, kib)?;
        match self {
            Self::Volume(volume, _) => new.of_volume(volume),
            Self::Kernel(kernel, _) => new.of_kernel(kernel),
        }
    }

    /// Returns the status of the file that was named.
    ///
    /// # Errors
    /// If none was named, or it cannot be read.
    pub fn file(&self) -> Result<FileStatus> {
        match self {
            Self::Volume(_, None) => bail!(
                "a file is needed for this: one of a mounted volume, or --path with the path of one \
                 on the device or image"
            ),
            Self::Volume(volume, Some(PathOnVolume { path, device })) => {
                // As the kernel does with a path.
                let inode = volume.resolve_following(path.as_os_str().as_bytes());
                let inode = inode.with_context(|| shown(path))?;
                FileStatus::of_inode(volume, &inode, path, *device).with_context(|| shown(path))
            }
            Self::Kernel(kernel, path) => FileStatus::of_kernel(kernel, path),
        }
    }
}

fn inode_room(volume: &Volume, slot: u16) -> Result<InodeRoom> {
    let inode = volume.system_file(SystemFile::InodeAlloc(slot))?;
    let list = ChainList::new(inode.id2())?;
    list.verify(inode.blkno)?;
    let mut room = InodeRoom::default();
    for rec in list.records() {
        room.total += u64::from(rec.c_total);
        room.free += u64::from(rec.c_free);
    }
    Ok(room)
}

fn open_volume(device: &Path, partition: Option<u32>, backup: Option<u8>) -> Result<Volume> {
    let hint = "o2info reads a device or an image, or asks about a path on a mounted OCFS2 volume";
    if device.is_dir() {
        bail!("is a folder on another file system; {hint}");
    }
    // Other nodes may have written to the disk since this machine cached it.
    let kind = device.metadata().with_context(|| shown(device))?.file_type();
    let is_disk = std::os::unix::fs::FileTypeExt::is_block_device(&kind);
    let caching = if is_disk { Caching::Direct } else { Caching::Cached };
    let options = DeviceOptions { partition, caching, ..Default::default() };
    let mut opened = open(device, &options).map_err(|err| anyhow::anyhow!(err.cause))?;
    if PackedImage::is_one(&*opened)? {
        opened = Arc::new(PackedImage::open(opened)?);
    }
    let superblock = backup.map_or(SuperblockAt::Primary, SuperblockAt::Backup);
    let options = VolumeOptions { allow_short: true, superblock, ..Default::default() };
    Volume::open(opened.clone(), &options).map_err(|err| match &err {
        OpenVolumeError::NotOcfs2 { backups } => {
            let choose = ": --partition NUMBER chooses one";
            let text = ocfs2_probe::explained(&err, &opened, choose, !backups.is_empty());
            anyhow::anyhow!("{text}; {hint}")
        }
        _ => err.into(),
    })
}
