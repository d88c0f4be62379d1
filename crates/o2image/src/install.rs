//! Installing an image on a device.

use std::io;

use ocfs2_cli::{Interrupt, Interrupted, Progress};
use ocfs2_device::Device;
use ocfs2_format::superblock::SUPERBLOCK_BLKNO;
use ocfs2_users::Occupant;
use ocfs2_volume::metadata::MetadataKind;
use ocfs2_volume::{Error, Volume};

use crate::Blocks;

/// Bytes that are copied at a time.
const PIECE: u64 = 1 << 20;

/// The error of installing an image. The target may be partly written, but not its superblock,
/// which comes last.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The target is too small.
    #[error("has {found} bytes, and the volume in the image {needed}")]
    TooSmall {
        /// Its size in bytes.
        found: u64,
        /// The size of the volume in bytes.
        needed: u64,
    },
    /// A block of the image cannot be read.
    #[error("block {block} of the image cannot be read: {source}")]
    Read {
        /// Its number.
        block: u64,
        /// The error.
        source: io::Error,
    },
    /// A block cannot be written.
    #[error("block {block} cannot be written: {source}")]
    Write {
        /// Its number.
        block: u64,
        /// The error.
        source: io::Error,
    },
    /// The journals to be cleared cannot be located.
    #[error("the journals in the image cannot be read: {0}")]
    Journals(#[from] Error),
    /// A signal interrupted the installation.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Writes `blocks` of the volume in an image, which is open as `volume`, to `target`, over
/// `occupant`.
///
/// The superblock is zeroed first and written last, so that after a crash in between there is no
/// volume that could be mounted. The parts of journals that are not in the image are zeroed: old
/// transactions from the target could otherwise be taken for later ones of this volume.
///
/// # Errors
/// [`InstallError`].
pub fn install(
    volume: &Volume,
    blocks: &Blocks,
    target: &dyn Device,
    occupant: &Occupant,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<(), InstallError> {
    let size = u64::from(volume.block_size().bytes());
    let needed = volume.geometry().blocks().saturating_mul(size);
    let found = target.size_bytes();
    if found < needed {
        return Err(InstallError::TooSmall { found, needed });
    }
    let journals = volume
        .metadata()
        .filter(|run| run.as_ref().is_ok_and(|run| run.kind == MetadataKind::Journal));
    let journals = journals.collect::<Result<Vec<_>, _>>()?;
    let write = |block, source| InstallError::Write { block, source };
    let superblock = SUPERBLOCK_BLKNO.0;
    target.zero(superblock * size, size).map_err(|err| write(superblock, err))?;
    target.flush().map_err(|err| write(superblock, err))?;
    if let Some(lock) = &occupant.lock {
        lock.release();
    }
    occupant.erase_signatures(0, target).map_err(|err| write(0, err))?;
    for run in journals {
        target
            .zero(run.blkno.0 * size, run.blocks * size)
            .map_err(|err| write(run.blkno.0, err))?;
    }
    let mut done = 0;
    progress.start("Writing blocks", blocks.count());
    for range in blocks.ranges() {
        let mut at = range.start;
        while at < range.end {
            interrupt.check()?;
            let end = range.end.min(at + PIECE / size);
            let mut bytes = vec![0; ((end - at) * size) as usize];
            let read = volume.device().read_at(&mut bytes, at * size);
            read.map_err(|source| InstallError::Read { block: at, source })?;
            if (at..end).contains(&superblock) {
                let start = ((superblock - at) * size) as usize;
                bytes.get_mut(start..start + size as usize).unwrap_or_default().fill(0);
            }
            target.write_at(&bytes, at * size).map_err(|err| write(at, err))?;
            done += end - at;
            at = end;
            progress.update(done);
        }
    }
    progress.finish();
    target.flush().map_err(|err| write(superblock, err))?;
    let mut bytes = vec![0; size as usize];
    let read = volume.device().read_at(&mut bytes, superblock * size);
    read.map_err(|source| InstallError::Read { block: superblock, source })?;
    target.write_at(&bytes, superblock * size).map_err(|err| write(superblock, err))?;
    target.flush().map_err(|err| write(superblock, err))
}
