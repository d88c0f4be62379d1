//! The open volume: its superblock, its geometry, and access to its blocks.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use ocfs2_format::check::{self, Checked};
use ocfs2_format::dinode::Dinode;
use ocfs2_format::feature::{Features, Incompat};
use ocfs2_format::geometry::Geometry;
use ocfs2_format::superblock::SuperBlock;
use ocfs2_format::{Blkno, Block, BlockSize};

use crate::open::{self, FoundSuperblock, OpenVolumeError, SuperblockAt, VolumeOptions, mended};
use crate::{Error, InBlock};
use ocfs2_device::Device;

/// An OCFS2 volume on a device, opened for reading. Threads can share it.
///
/// It caches nothing: the kernel does if the device was opened that way, and a program that changes
/// a volume puts an [`OverlayDevice`](ocfs2_device::OverlayDevice) under it.
pub struct Volume {
    device: Arc<dyn Device>,
    superblock: FoundSuperblock,
    geometry: Geometry,
    /// Whether block checks are verified, if the volume has them.
    checks: bool,
    corrections: Mutex<Corrections>,
}

/// A single wrong bit that the block check of a metadata block could correct.
///
/// What was read is right; what is on the device still has the wrong bit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Correction {
    /// What the block is.
    pub structure: &'static str,
    /// Which block; the first one where the structure has several.
    pub blkno: Blkno,
    /// Bit `n & 7` of byte `n >> 3`.
    pub bit: usize,
}

impl fmt::Display for Correction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { structure, blkno, bit } = self;
        let (byte, bit) = (bit >> 3, bit & 7);
        write!(f, "{structure} {blkno}: bit {bit} of byte {byte} is wrong and was corrected")
    }
}

#[derive(Default)]
struct Corrections {
    first: Vec<Correction>,
    count: u64,
}

impl Volume {
    /// Corrections that are kept; the others are only counted.
    pub const MAX_CORRECTIONS: usize = 1000;

    /// Opens the volume on `device`.
    ///
    /// # Errors
    /// [`OpenVolumeError`], which states what the device holds instead, or by which backup
    /// superblocks the volume could be opened.
    pub fn open(device: Arc<dyn Device>, options: &VolumeOptions) -> Result<Self, OpenVolumeError> {
        if options.superblock == SuperblockAt::Mended {
            return Self::open_mended(device, options);
        }
        let superblock = open::find_superblock(&device, options)?;
        let geometry = open::accept(&device, &superblock, options)?;
        let volume = Self::by(device, superblock, geometry);
        if options.strict {
            open::accept_strictly(&volume)?;
        }
        if let Some(bit) = volume.superblock.corrected_bit {
            volume.note("superblock", volume.superblock.blkno, bit);
        }
        Ok(volume)
    }

    /// Opens it by block 2 if that can be used, else by the superblock that the rest of the volume
    /// implies.
    fn open_mended(
        device: Arc<dyn Device>,
        options: &VolumeOptions,
    ) -> Result<Self, OpenVolumeError> {
        let stated = VolumeOptions { superblock: SuperblockAt::Primary, ..*options };
        Self::open(Arc::clone(&device), &stated).or_else(|err| {
            let superblock = mended::find(&device).ok_or(err)?;
            let geometry = open::accept(&device, &superblock, options)?;
            Ok(Self::by(device, superblock, geometry))
        })
    }

    /// Opens the volume by a superblock that is not the one on the device.
    ///
    /// # Errors
    /// As [`Volume::open`].
    pub fn open_by(
        device: Arc<dyn Device>,
        superblock: FoundSuperblock,
        options: &VolumeOptions,
    ) -> Result<Self, OpenVolumeError> {
        let geometry = open::accept(&device, &superblock, options)?;
        Ok(Self::by(device, superblock, geometry))
    }

    /// The volume that a superblock describes.
    pub(crate) fn by(
        device: Arc<dyn Device>,
        superblock: FoundSuperblock,
        geometry: Geometry,
    ) -> Self {
        Self { device, superblock, geometry, checks: true, corrections: Mutex::default() }
    }

    /// The same volume, by the same superblock, as it is on another device: an overlay.
    #[must_use]
    pub fn on(&self, device: Arc<dyn Device>) -> Self {
        Self {
            device,
            superblock: self.superblock.clone(),
            geometry: self.geometry,
            checks: self.checks,
            corrections: Mutex::default(),
        }
    }

    /// The same volume, whose block checks are not verified: for programs that show what is there.
    #[must_use]
    pub fn without_checks(&self) -> Self {
        Self { checks: false, ..self.on(Arc::clone(&self.device)) }
    }

    /// The same volume with another number of clusters than its superblock states, for a superblock
    /// known to be wrong. The caller has to make sure that the device has them.
    #[must_use]
    pub fn with_clusters(&self, clusters: u32) -> Self {
        let geometry = Geometry { clusters, ..self.geometry };
        Self { geometry, ..self.on(Arc::clone(&self.device)) }
    }

    /// The same volume with its system directory elsewhere than its superblock states, for a
    /// superblock known to be wrong.
    #[must_use]
    pub fn with_system_dir(&self, blkno: Blkno) -> Self {
        let mut volume = self.on(Arc::clone(&self.device));
        volume.superblock.superblock.s_system_dir_blkno = blkno;
        volume
    }

    /// The same volume with another superblock.
    pub(crate) fn with_superblock(&self, superblock: FoundSuperblock) -> Self {
        Self { superblock, ..self.on(Arc::clone(&self.device)) }
    }

    /// The device it is on.
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// The superblock it was opened by.
    pub fn superblock(&self) -> &SuperBlock {
        &self.superblock.superblock
    }

    /// The superblock it was opened by, with its dinode, its block and its place.
    pub fn found_superblock(&self) -> &FoundSuperblock {
        &self.superblock
    }

    /// The dinode around the superblock.
    pub fn super_dinode(&self) -> &Dinode {
        &self.superblock.dinode
    }

    /// The sizes that place everything.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The block size.
    pub fn block_size(&self) -> BlockSize {
        self.geometry.block_size
    }

    /// All features.
    pub fn features(&self) -> Features {
        self.superblock().features()
    }

    /// Whether it has all of these incompat features.
    pub fn has(&self, features: Incompat) -> bool {
        self.superblock().has(features)
    }

    /// Generation of the volume, which all its metadata carries.
    pub fn generation(&self) -> u32 {
        self.super_dinode().i_fs_generation
    }

    /// The wrong bits that were corrected while reading so far, at most
    /// [`Volume::MAX_CORRECTIONS`], and how many there were altogether.
    pub fn corrections(&self) -> (Vec<Correction>, u64) {
        let corrections = self.corrections.lock().unwrap_or_else(PoisonError::into_inner);
        (corrections.first.clone(), corrections.count)
    }

    fn note(&self, structure: &'static str, blkno: Blkno, bit: usize) {
        let correction = Correction { structure, blkno, bit };
        let mut corrections = self.corrections.lock().unwrap_or_else(PoisonError::into_inner);
        corrections.count += 1;
        let known = corrections.first.contains(&correction);
        if !known && corrections.first.len() < Self::MAX_CORRECTIONS {
            corrections.first.push(correction);
        }
    }

    /// Reads blocks from `start` on until `buf`, whole blocks long, is full; raw, without verifying
    /// block checks. `structure` is their name in errors.
    ///
    /// # Errors
    /// [`Error::OutsideVolume`], [`Error::Read`].
    pub fn read_into(
        &self,
        structure: &'static str,
        start: Blkno,
        buf: &mut [u8],
    ) -> Result<(), Error> {
        self.read_bytes(structure, start, 0, buf, false)
    }

    /// Reads `buf` from byte `within` of block `start` on; `fresh` is past all caches.
    pub(crate) fn read_bytes(
        &self,
        structure: &'static str,
        start: Blkno,
        within: u64,
        buf: &mut [u8],
        fresh: bool,
    ) -> Result<(), Error> {
        let offset = start.offset_bytes(self.block_size()).and_then(|at| at.checked_add(within));
        let end = offset.and_then(|at| at.checked_add(buf.len() as u64));
        let (Some(offset), Some(_)) =
            (offset, end.filter(|end| *end <= self.geometry.size_bytes()))
        else {
            let blocks = self.geometry.blocks();
            return Err(Error::OutsideVolume { structure, blkno: start, blocks });
        };
        let read = match fresh {
            false => self.device.read_at(buf, offset),
            true => self.device.read_fresh_at(buf, offset),
        };
        read.map_err(|source| Error::Read { blkno: start, source })
    }

    /// Reads one block, raw.
    ///
    /// # Errors
    /// [`Error::OutsideVolume`], [`Error::Read`].
    pub fn read_block(&self, blkno: Blkno) -> Result<Vec<u8>, Error> {
        let mut block = vec![0; self.block_size().size()];
        self.read_into("block", blkno, &mut block)?;
        Ok(block)
    }

    /// Reads `count` blocks in one piece, raw. The caller has to make sure that they fit into
    /// memory.
    ///
    /// # Errors
    /// [`Error::OutsideVolume`], [`Error::Read`].
    pub fn read_blocks(&self, start: Blkno, count: u32) -> Result<Vec<u8>, Error> {
        let end = start.0.checked_add(count.into());
        if end.is_none_or(|end| end > self.geometry.blocks()) {
            let blocks = self.geometry.blocks();
            return Err(Error::OutsideVolume { structure: "block", blkno: start, blocks });
        }
        let mut blocks = vec![0; self.block_size().size() * count as usize];
        self.read_into("block", start, &mut blocks)?;
        Ok(blocks)
    }

    /// Reads a block of metadata, and verifies its block check and that it is a `T` of this volume
    /// in its place. Returns the `T` and the whole block.
    ///
    /// # Errors
    /// Those of [`Volume::read_metadata`]; [`Error::Invalid`].
    pub fn read<T: Block>(&self, blkno: Blkno) -> Result<(T, Vec<u8>), Error> {
        let block = self.read_metadata(T::NAME, blkno, T::CHECK_OFFSET)?;
        let header = T::decode(&block).in_block(blkno)?;
        header.verify(blkno, self.generation())?;
        Ok((header, block))
    }

    /// Reads a block of metadata and verifies its block check, which is at `check_offset`.
    ///
    /// # Errors
    /// [`Error::OutsideVolume`] (also for the superblock and the blocks before),
    /// [`Error::Read`], [`Error::Checksum`].
    pub fn read_metadata(
        &self,
        structure: &'static str,
        blkno: Blkno,
        check_offset: usize,
    ) -> Result<Vec<u8>, Error> {
        if !self.geometry.is_valid_block(blkno) {
            let blocks = self.geometry.blocks();
            return Err(Error::OutsideVolume { structure, blkno, blocks });
        }
        let mut block = vec![0; self.block_size().size()];
        self.read_into(structure, blkno, &mut block)?;
        self.verify_check(structure, blkno, &mut block, check_offset)?;
        Ok(block)
    }

    /// Compares `block`, which may be several blocks from `blkno` on, with the block check
    /// it holds at `check_offset`, where the volume has them.
    ///
    /// A single wrong bit is corrected in `block` and noted, see [`Volume::corrections`].
    ///
    /// # Errors
    /// [`Error::Checksum`].
    pub fn verify_check(
        &self,
        structure: &'static str,
        blkno: Blkno,
        block: &mut [u8],
        check_offset: usize,
    ) -> Result<(), Error> {
        if !self.checks || !self.has(Incompat::META_ECC) {
            return Ok(());
        }
        match check::correct(block, check_offset) {
            Checked::Good => Ok(()),
            Checked::OneBit(bit) => {
                self.note(structure, blkno, bit);
                Ok(())
            }
            Checked::Bad { stored, computed } => {
                Err(Error::Checksum { structure, blkno, stored, computed })
            }
        }
    }
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uuid = self.superblock().uuid();
        f.debug_struct("Volume").field("uuid", &uuid).field("geometry", &self.geometry).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_can_share_a_volume() {
        fn shared<T: Send + Sync>() {}
        shared::<Volume>();
        shared::<crate::Inode>();
        shared::<crate::allocator::Group>();
    }

    #[test]
    fn a_read_past_the_end_is_refused_before_it_takes_memory() {
        let (volume, _) = crate::sample::volume();
        let outside = |result: Result<Vec<u8>, Error>| {
            assert!(matches!(result, Err(Error::OutsideVolume { .. })));
        };
        outside(volume.read_block(Blkno(32_768)));
        outside(volume.read_block(Blkno(u64::MAX)));
        outside(volume.read_blocks(Blkno(1), u32::MAX));
        outside(volume.read_metadata("dinode", Blkno(2), 0x80));
        assert_eq!(volume.read_blocks(Blkno(32_760), 8).unwrap().len(), 4096);
    }
}
