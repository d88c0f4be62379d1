//! Finding the superblock, and everything that keeps a volume from being opened.

use std::fmt;
use std::io;

use ocfs2_format::check::Checked;
use ocfs2_format::dinode::Dinode;
use ocfs2_format::feature::{Features, Incompat};
use ocfs2_format::geometry::Geometry;
use ocfs2_format::ocfs1;
use ocfs2_format::superblock::{
    BACKUP_OFFSETS, SUPERBLOCK_BLKNO, SUPERBLOCK_SIGNATURE, SuperBlock, TUNEFS_DIR_TRAILER,
    TUNEFS_REMOVE_SLOT,
};
use ocfs2_format::{Blkno, Block, BlockSize, Invalid, Structure};

use ocfs2_device::Device;

use crate::Volume;

pub use mended::Mended;

pub(crate) mod mended;

/// How to open a volume. The default is for reading, by the primary superblock.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct VolumeOptions {
    /// The volume may be written to: unknown ro_compat features are refused.
    pub write: bool,
    /// Which superblock to use.
    pub superblock: SuperblockAt,
    /// The block size, instead of trying all of them. Ignored with [`SuperblockAt::Block`].
    pub block_size: Option<BlockSize>,
    /// A heartbeat device (`mkfs -H`) is accepted, too.
    pub heartbeat_device: bool,
    /// Unknown compat features and unknown `s_tunefs_flag` bits are refused, and so is a superblock
    /// without inline-data or extended-slotmap on a volume that uses it: for programs that may
    /// change anything on the volume.
    pub strict: bool,
    /// A device that ends before the volume does is accepted; reading what is missing is an error.
    pub allow_short: bool,
    /// A superblock with a wrong checksum is taken as it is, if all else that is known of
    /// superblocks holds: for programs that compare it with the volume.
    pub any_checksum: bool,
}

/// Which superblock a volume is opened by.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SuperblockAt {
    /// Block 2.
    #[default]
    Primary,
    /// A backup by its number, 1 to 6; number n is at byte 4 to the n times 256 MiB.
    Backup(u8),
    /// This block, in units of this block size.
    Block(Blkno, BlockSize),
    /// Block 2, or, if it cannot be used, the superblock that follows from the rest of the volume,
    /// if that leaves no doubt. Only [`crate::Volume::open`] does so; elsewhere this is the same as
    /// [`SuperblockAt::Primary`].
    Mended,
}

/// A superblock that was found on a device, with nothing else checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FoundSuperblock {
    /// The whole block; a wrong bit is corrected.
    pub block: Vec<u8>,
    /// The dinode around the superblock.
    pub dinode: Dinode,
    /// The superblock.
    pub superblock: SuperBlock,
    /// Where it is, in units of the block size.
    pub blkno: Blkno,
    /// The block size with which it was found, and which it states.
    pub block_size: BlockSize,
    /// The bit that was wrong and could be corrected by the block check.
    pub corrected_bit: Option<usize>,
    /// The stored and the computed checksum if they differ; only with
    /// [`VolumeOptions::any_checksum`].
    pub wrong_checksum: Option<(u32, u32)>,
    /// What differs from the device; only with [`SuperblockAt::Mended`].
    pub mended: Option<Mended>,
}

impl FoundSuperblock {
    /// Whether it is used exactly as stored: nothing was corrected, and its checksum, if any,
    /// holds.
    pub fn is_as_stored(&self) -> bool {
        self.corrected_bit.is_none() && self.wrong_checksum.is_none() && self.mended.is_none()
    }

    /// Whether fields that nothing else on the volume repeats may be wrong, such as the label and
    /// whether one node or a cluster mounts it.
    pub fn is_doubtful(&self) -> bool {
        let is_unproven = |mended: &Mended| {
            mended.is_assumed || self.superblock.has(Incompat::META_ECC) && !mended.is_proven
        };
        self.wrong_checksum.is_some() || self.mended.as_ref().is_some_and(is_unproven)
    }
}

/// A backup superblock by which the volume can be opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Backup {
    /// 1 to 6, as fsck's `-r` takes it.
    pub number: u8,
    /// Where it is.
    pub blkno: Blkno,
    /// Unit of `blkno`.
    pub block_size: BlockSize,
}

impl Backup {
    /// Bytes from the start of the device.
    pub fn offset_bytes(&self) -> u64 {
        self.blkno.0 << self.block_size.bits()
    }
}

impl fmt::Display for Backup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, blkno, block_size } = self;
        write!(f, "{number} (block {blkno} of {block_size} bytes)")
    }
}

/// What is wrong with a superblock.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SuperblockProblem {
    /// There is none.
    #[error("none found")]
    Missing,
    /// The device could not read it.
    #[error("byte {offset_bytes}: could not be read: {source}")]
    Read {
        /// From the start of the device.
        offset_bytes: u64,
        /// The error of the device.
        source: io::Error,
    },
    /// The block check (metaecc) does not hold, and not for a single bit.
    #[error("superblock {blkno}: checksum is {stored:#010x}, expected {computed:#010x}")]
    Checksum {
        /// Its block.
        blkno: Blkno,
        /// CRC-32 that is stored.
        stored: u32,
        /// CRC-32 the contents have.
        computed: u32,
    },
    /// A field is wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// Why a device could not be opened as a volume.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenVolumeError {
    /// OCFS version 1.
    #[error("is a volume of OCFS version 1, which is not supported")]
    Ocfs1,
    /// There is no superblock. The message lists good backups of one, if there are any.
    #[error("is not an OCFS2 volume: no superblock found{}", tell(backups))]
    NotOcfs2 {
        /// Backups that are good. A device that has any once held a volume.
        backups: Vec<Backup>,
    },
    /// There is no superblock for blocks of the size that was asked for, but a good one for others.
    #[error("the volume has blocks of {found} bytes, not of {given}")]
    OtherBlockSize {
        /// The size that was asked for, in bytes.
        given: u32,
        /// The size it has, in bytes.
        found: u32,
    },
    /// There is a superblock, and it cannot be used.
    #[error("the superblock is damaged: {problem}{}", tell(backups))]
    Damaged {
        /// What is wrong with it.
        problem: SuperblockProblem,
        /// Backups that are good.
        backups: Vec<Backup>,
    },
    /// The device could not be read where the superblock should be.
    #[error("byte {offset_bytes}: could not be read: {source}{}", tell(backups))]
    Read {
        /// From the start of the device.
        offset_bytes: u64,
        /// The error of the device.
        source: io::Error,
        /// Backups that are good.
        backups: Vec<Backup>,
    },
    /// There is no such backup superblock: the number is not 1 to 6, or the device ends before it.
    #[error("there is no backup superblock {number}: the device has {device_bytes} bytes")]
    NoSuchBackup {
        /// The number asked for.
        number: u8,
        /// Size of the device.
        device_bytes: u64,
    },
    /// The volume has unknown features, without which it cannot be used as asked.
    #[error("{}", describe(unknown, features))]
    UnknownFeatures {
        /// The bits that are in the way, and no others.
        unknown: Features,
        /// All features it has.
        features: Features,
    },
    /// `s_tunefs_flag` says that an unknown operation was interrupted.
    #[error("an interrupted operation is not known: s_tunefs_flag is {flag:#x}")]
    UnknownTunefs {
        /// The unknown bits of `s_tunefs_flag`.
        flag: u16,
    },
    /// The device holds nothing but a heartbeat region.
    #[error("is a heartbeat device, not a volume")]
    HeartbeatDevice,
    /// The device ends before the volume does.
    #[error("the volume has {volume_bytes} bytes, its device only {device_bytes}")]
    ShortDevice {
        /// Size of the volume by its superblock.
        volume_bytes: u64,
        /// Size of the device.
        device_bytes: u64,
    },
}

fn tell(backups: &[Backup]) -> String {
    if backups.is_empty() {
        return String::new();
    }
    let list: Vec<_> = backups.iter().map(ToString::to_string).collect();
    format!("; good backup superblocks: {}", list.join(", "))
}

fn describe(unknown: &Features, features: &Features) -> String {
    let fields = [
        ("compat", unknown.compat.bits()),
        ("incompat", unknown.incompat.bits()),
        ("ro_compat", unknown.ro_compat.bits()),
    ];
    let bits: Vec<_> = fields
        .iter()
        .filter(|(_, bits)| *bits != 0)
        .map(|(field, bits)| format!("{field} {bits:#x}"))
        .collect();
    let what = if unknown.ro_compat.is_empty() { "" } else { ", so it can only be read" };
    let known = features.difference(features.unknown()).names();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    format!("has features that are not known{what}: {}; those known are {known}", bits.join(", "))
}

/// Returns the superblock of the volume on `device`, from the place that `options` asks for.
///
/// [`crate::Volume::open`] also checks that the features are known and that the other fields make
/// sense; a program that only lists volumes needs no more than this.
///
/// # Errors
/// Any but those about features, heartbeat devices and short devices.
pub fn find_superblock(
    device: &dyn Device,
    options: &VolumeOptions,
) -> Result<FoundSuperblock, OpenVolumeError> {
    let sizes: Vec<_> = options.block_size.map_or(BlockSize::ALL.into(), |size| vec![size]);
    let candidates: Vec<(Blkno, BlockSize)> = match options.superblock {
        SuperblockAt::Primary | SuperblockAt::Mended => {
            let mut sector = [0; 512];
            if device.read_at(&mut sector, 0).is_ok() && ocfs1::is_ocfs1(&sector) {
                return Err(OpenVolumeError::Ocfs1);
            }
            sizes.iter().map(|size| (SUPERBLOCK_BLKNO, *size)).collect()
        }
        SuperblockAt::Backup(number) => {
            let offset = backup_offset(number).filter(|at| *at < device.size_bytes());
            let missing =
                OpenVolumeError::NoSuchBackup { number, device_bytes: device.size_bytes() };
            let offset = offset.ok_or(missing)?;
            sizes.iter().map(|size| (Blkno(offset >> size.bits()), *size)).collect()
        }
        SuperblockAt::Block(blkno, size) => vec![(blkno, size)],
    };
    let mut worst = SuperblockProblem::Missing;
    for (blkno, size) in candidates {
        match read_superblock(device, blkno, size, options.any_checksum) {
            Ok(found) => return Ok(found),
            // This is certainly the superblock, of this block size. Another one further on would be
            // a leftover.
            Err((problem, true)) => {
                worst = problem;
                break;
            }
            Err((problem, false)) => {
                if rank(&problem) > rank(&worst) {
                    worst = problem;
                }
            }
        }
    }
    if let (SuperblockAt::Primary, Some(given)) = (options.superblock, options.block_size)
        && matches!(worst, SuperblockProblem::Missing)
        && let any = (VolumeOptions { block_size: None, ..*options })
        && let Ok(found) = find_superblock(device, &any)
    {
        let (given, found) = (given.bytes(), found.block_size.bytes());
        return Err(OpenVolumeError::OtherBlockSize { given, found });
    }
    let backups = backups(device);
    Err(match worst {
        SuperblockProblem::Missing => OpenVolumeError::NotOcfs2 { backups },
        SuperblockProblem::Read { offset_bytes, source } => {
            OpenVolumeError::Read { offset_bytes, source, backups }
        }
        problem => OpenVolumeError::Damaged { problem, backups },
    })
}

fn rank(problem: &SuperblockProblem) -> u8 {
    match problem {
        SuperblockProblem::Missing => 0,
        SuperblockProblem::Read { .. } => 1,
        SuperblockProblem::Invalid(_) => 2,
        SuperblockProblem::Checksum { .. } => 3,
    }
}

fn backup_offset(number: u8) -> Option<u64> {
    BACKUP_OFFSETS.get(usize::from(number).checked_sub(1)?).copied()
}

/// The backup superblocks of `device` by which a volume can be opened.
pub fn backups(device: &dyn Device) -> Vec<Backup> {
    let places = (1..).zip(BACKUP_OFFSETS).take_while(|(_, at)| *at < device.size_bytes());
    let good = places.filter_map(|(number, offset)| {
        let found = BlockSize::ALL.into_iter().find_map(|size| {
            read_superblock(device, Blkno(offset >> size.bits()), size, false).ok().filter(
                |found| {
                    found.superblock.verify(&found.dinode, found.blkno, found.block_size).is_ok()
                },
            )
        })?;
        Some(Backup { number, blkno: found.blkno, block_size: found.block_size })
    });
    good.collect()
}

/// Reads the superblock at a place. The error includes whether there certainly is a superblock,
/// made with this block size.
fn read_superblock(
    device: &dyn Device,
    blkno: Blkno,
    block_size: BlockSize,
    any_checksum: bool,
) -> Result<FoundSuperblock, (SuperblockProblem, bool)> {
    let missing = (SuperblockProblem::Missing, false);
    let len = u64::from(block_size.bytes());
    let Some(offset_bytes) = blkno.offset_bytes(block_size) else { return Err(missing) };
    if offset_bytes.checked_add(len).is_none_or(|end| end > device.size_bytes()) {
        return Err(missing);
    }
    let mut block = vec![0; block_size.size()];
    if let Err(source) = device.read_at(&mut block, offset_bytes) {
        return Err((SuperblockProblem::Read { offset_bytes, source }, false));
    }
    let wrong_bits: u32 =
        block.iter().zip(SUPERBLOCK_SIGNATURE).map(|(a, b)| (a ^ b).count_ones()).sum();
    let no_block = |_| (SuperblockProblem::Missing, false);
    let decode = |block: &[u8]| {
        let dinode = Dinode::decode(block).map_err(no_block)?;
        SuperBlock::of_block(block).map(|superblock| (dinode, superblock)).map_err(no_block)
    };
    let (mut dinode, mut superblock) = decode(&block)?;
    let is_here = |dinode: &Dinode, superblock: &SuperBlock| {
        dinode.i_blkno == blkno && superblock.s_blocksize_bits == block_size.bits()
    };
    let (mut corrected_bit, mut wrong_checksum) = (None, None);
    if wrong_bits <= 1 && superblock.has(Incompat::META_ECC) {
        match Dinode::correct(&mut block) {
            Checked::Good => {}
            Checked::OneBit(bit) => {
                corrected_bit = Some(bit);
                (dinode, superblock) = decode(&block)?;
            }
            Checked::Bad { stored, computed } if wrong_bits == 0 && any_checksum => {
                wrong_checksum = Some((stored, computed));
            }
            Checked::Bad { stored, computed } if wrong_bits == 0 => {
                let problem = SuperblockProblem::Checksum { blkno, stored, computed };
                return Err((problem, is_here(&dinode, &superblock)));
            }
            Checked::Bad { .. } => return Err(missing),
        }
    }
    if dinode.i_signature != SUPERBLOCK_SIGNATURE {
        return Err(missing);
    }
    let wrong = |field, found: u64, expected: u64| {
        let invalid = Invalid::new(SuperBlock::NAME, blkno, field, found, expected);
        Err((SuperblockProblem::Invalid(invalid), false))
    };
    if superblock.s_blocksize_bits != block_size.bits() {
        let (found, expected) = (superblock.s_blocksize_bits, block_size.bits());
        return wrong("s_blocksize_bits", found.into(), expected.into());
    }
    if dinode.i_blkno != blkno {
        return wrong("i_blkno", dinode.i_blkno.0, blkno.0);
    }
    let found = FoundSuperblock {
        block,
        dinode,
        superblock,
        blkno,
        block_size,
        corrected_bit,
        wrong_checksum,
        mended: None,
    };
    Ok(found)
}

/// Checks a superblock that was found, in the order of the C library: features first, then whether
/// it makes sense. Returns the geometry it describes.
pub(crate) fn accept(
    device: &dyn Device,
    found: &FoundSuperblock,
    options: &VolumeOptions,
) -> Result<Geometry, OpenVolumeError> {
    let superblock = &found.superblock;
    let features = superblock.features();
    let unknown = features.unknown();
    let refuse = |unknown: Features| match unknown == Features::default() {
        true => Ok(()),
        false => Err(OpenVolumeError::UnknownFeatures { unknown, features }),
    };
    if options.strict {
        refuse(Features { compat: unknown.compat, ..Default::default() })?;
        let flag = superblock.s_tunefs_flag & !(TUNEFS_REMOVE_SLOT | TUNEFS_DIR_TRAILER);
        if superblock.has(Incompat::TUNEFS_INPROG) && flag != 0 {
            return Err(OpenVolumeError::UnknownTunefs { flag });
        }
    }
    refuse(Features { incompat: unknown.incompat, ..Default::default() })?;
    if options.write {
        refuse(Features { ro_compat: unknown.ro_compat, ..Default::default() })?;
    }
    if superblock.has(Incompat::HEARTBEAT_DEV) && !options.heartbeat_device {
        return Err(OpenVolumeError::HeartbeatDevice);
    }
    let geometry = geometry(found).map_err(|invalid| OpenVolumeError::Damaged {
        problem: SuperblockProblem::Invalid(invalid),
        backups: backups(device),
    })?;
    let (volume_bytes, device_bytes) = (geometry.size_bytes(), device.size_bytes());
    if volume_bytes > device_bytes && !options.allow_short {
        return Err(OpenVolumeError::ShortDevice { volume_bytes, device_bytes });
    }
    Ok(geometry)
}

/// Checks that the superblock does not lack a feature that the volume visibly uses: for programs
/// that may change anything on the volume.
pub(crate) fn accept_strictly(volume: &Volume) -> Result<(), OpenVolumeError> {
    let lacking = mended::lacking_inline(volume).or_else(|| mended::lacking_slot_map(volume));
    let found = lacking.map(|invalid| OpenVolumeError::Damaged {
        problem: SuperblockProblem::Invalid(invalid),
        backups: backups(volume.device()),
    });
    found.map_or(Ok(()), Err)
}

fn geometry(found: &FoundSuperblock) -> Result<Geometry, Invalid> {
    let FoundSuperblock { dinode, superblock, blkno, block_size, .. } = found;
    superblock.verify(dinode, *blkno, *block_size)?;
    let invalid = |field, found: u64, expected: &str| {
        Invalid::new(SuperBlock::NAME, *blkno, field, found, expected)
    };
    let bits = superblock.s_clustersize_bits;
    let cluster_size = superblock
        .cluster_size()
        .ok_or_else(|| invalid("s_clustersize_bits", bits.into(), "12 to 20"))?;
    let geometry = Geometry {
        block_size: *block_size,
        cluster_size,
        clusters: dinode.i_clusters,
        first_group: superblock.s_first_cluster_group,
    };
    let inside = [
        ("s_system_dir_blkno", superblock.s_system_dir_blkno),
        ("s_root_blkno", superblock.s_root_blkno),
        ("s_first_cluster_group", superblock.s_first_cluster_group),
    ];
    for (field, blkno) in inside {
        if !geometry.is_valid_block(blkno) {
            return Err(invalid(field, blkno.0, "a block after the superblock"));
        }
    }
    Ok(geometry)
}

#[cfg(test)]
mod tests;
