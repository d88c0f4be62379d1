use std::sync::Arc;

use ocfs2_format::superblock::BACKUP_OFFSETS;

use super::*;
use crate::{Volume, sample};
use ocfs2_device::MemoryDevice;

/// Bytes of the volume: room for two backups.
const SIZE: u64 = 5 << 30;

fn superblock(block_size: BlockSize, blkno: Blkno, edit: &dyn Fn(&mut SuperBlock)) -> Vec<u8> {
    sample::superblock(block_size, (SIZE >> 12) as u32, blkno, edit)
}

/// A device with a superblock and its two backups.
fn edited(block_size: BlockSize, edit: &dyn Fn(&mut SuperBlock)) -> MemoryDevice {
    let device = MemoryDevice::new(SIZE + 777);
    let offsets = [u64::from(block_size.bytes()) * 2, BACKUP_OFFSETS[0], BACKUP_OFFSETS[1]];
    for offset in offsets {
        let block = superblock(block_size, Blkno(offset >> block_size.bits()), edit);
        device.write_at(&block, offset).unwrap();
    }
    device
}

fn device(block_size: BlockSize) -> MemoryDevice {
    edited(block_size, &|_| ())
}

fn open(device: MemoryDevice, options: &VolumeOptions) -> Result<Volume, OpenVolumeError> {
    Volume::open(Arc::new(device), options)
}

fn open_by(device: MemoryDevice, at: SuperblockAt) -> Result<Volume, OpenVolumeError> {
    open(device, &VolumeOptions { superblock: at, ..Default::default() })
}

fn refused(device: MemoryDevice) -> String {
    open(device, &VolumeOptions::default()).unwrap_err().to_string()
}

#[test]
fn a_volume_of_every_block_size_is_found() {
    for size in BlockSize::ALL {
        let volume = open(device(size), &VolumeOptions::default()).unwrap();
        assert_eq!(volume.block_size(), size);
        assert_eq!(volume.geometry().size_bytes(), SIZE);
        assert_eq!(volume.corrections(), (vec![], 0));
        let other = BlockSize::ALL.into_iter().find(|other| *other != size);
        let err = open(device(size), &VolumeOptions { block_size: other, ..Default::default() });
        let (own, asked) = (size.bytes(), other.map(BlockSize::bytes));
        assert!(matches!(err, Err(OpenVolumeError::OtherBlockSize { given, found })
                if (Some(given), found) == (asked, own)));
    }
}

#[test]
fn it_can_be_opened_by_a_backup_or_by_any_block() {
    for size in BlockSize::ALL {
        for number in [1, 2] {
            let volume = open_by(device(size), SuperblockAt::Backup(number)).unwrap();
            let blkno = volume.found_superblock().blkno;
            assert_eq!(blkno.0 << size.bits(), BACKUP_OFFSETS[usize::from(number) - 1]);
            let volume = open_by(device(size), SuperblockAt::Block(blkno, size)).unwrap();
            assert_eq!(volume.block_size(), size);
        }
    }
    for number in [0, 3, 7, 255] {
        let err = open_by(device(BlockSize::MAX), SuperblockAt::Backup(number)).unwrap_err();
        assert_eq!(
            err.to_string(),
            format!("there is no backup superblock {number}: the device has 5368709897 bytes")
        );
    }
    let nowhere = SuperblockAt::Block(Blkno(u64::MAX), BlockSize::MAX);
    let err = open_by(device(BlockSize::MAX), nowhere).unwrap_err();
    assert!(matches!(err, OpenVolumeError::NotOcfs2 { .. }), "{err}");
}

#[test]
fn a_damaged_superblock_is_told_with_the_backups_that_are_good() {
    let damaged = device(BlockSize::MAX);
    damaged.write_at(&[1; 300], 8192 + 0x110).unwrap();
    let text = refused(damaged);
    assert!(text.starts_with("the superblock is damaged: superblock 2: checksum is 0x"), "{text}");
    assert!(
        text.ends_with(
            "; good backup superblocks: 1 (block 262144 of 4096 bytes), \
             2 (block 1048576 of 4096 bytes)"
        ),
        "{text}"
    );

    let missing = device(BlockSize::MIN);
    missing.zero(0, 1 << 20).unwrap();
    missing.zero(1 << 32, 512).unwrap();
    assert_eq!(
        refused(missing),
        "is not an OCFS2 volume: no superblock found; \
         good backup superblocks: 1 (block 2097152 of 512 bytes)"
    );
    assert_eq!(refused(MemoryDevice::new(SIZE)), "is not an OCFS2 volume: no superblock found");
    assert_eq!(refused(MemoryDevice::new(0)), "is not an OCFS2 volume: no superblock found");
}

#[test]
fn what_makes_no_sense_is_damage_even_with_a_right_checksum() {
    let damaged = edited(BlockSize::MAX, &|sb| sb.s_max_slots = 256);
    let text = refused(damaged);
    assert_eq!(
        text,
        "the superblock is damaged: superblock 2: s_max_slots is 256, expected 1 to 255"
    );
    let damaged = edited(BlockSize::MAX, &|sb| sb.s_root_blkno = Blkno(SIZE));
    assert!(refused(damaged).contains("s_root_blkno is 5368709120"));
    // It says that it is somewhere else, so it is not a superblock of this place.
    let moved = device(BlockSize::MAX);
    moved.write_at(&superblock(BlockSize::MAX, Blkno(3), &|_| ()), 8192).unwrap();
    assert!(refused(moved).contains("superblock 2: i_blkno is 3, expected 2"));
}

#[test]
fn a_leftover_behind_a_damaged_superblock_is_not_taken_for_it() {
    let device = device(BlockSize::MIN);
    device.write_at(&superblock(BlockSize::MAX, Blkno(2), &|_| ()), 8192).unwrap();
    device.write_at(&[0xff; 64], 1024 + 0x110).unwrap();
    let text = refused(device);
    assert!(text.starts_with("the superblock is damaged: superblock 2: checksum"), "{text}");
    assert!(text.contains("1 (block 2097152 of 512 bytes)"), "{text}");
}

#[test]
fn one_wrong_bit_is_corrected_and_told() {
    for (byte, bit) in [(0_u64, 3_u8), (0x112, 0), (0xff8, 7)] {
        let device = device(BlockSize::MAX);
        let mut value = [0];
        device.read_at(&mut value, 8192 + byte).unwrap();
        device.write_at(&[value[0] ^ 1 << bit], 8192 + byte).unwrap();
        let volume = open(device, &VolumeOptions::default()).unwrap();
        let (corrections, count) = volume.corrections();
        assert_eq!(count, 1);
        assert_eq!(
            corrections[0].to_string(),
            format!("superblock 2: bit {bit} of byte {byte} is wrong and was corrected")
        );
        assert_eq!(volume.super_dinode().i_signature, SUPERBLOCK_SIGNATURE);
    }
}

#[test]
fn unknown_features_refuse_with_their_bits() {
    let with = |edit: fn(&mut SuperBlock)| edited(BlockSize::MAX, &edit);
    assert_eq!(
        refused(with(|sb| sb.s_feature_incompat |= 0x30001)),
        "has features that are not known: incompat 0x30001; \
         those known are sparse, backup-super, unwritten, metaecc"
    );
    let ro = |sb: &mut SuperBlock| sb.s_feature_ro_compat |= 0x80;
    open(with(ro), &VolumeOptions::default()).unwrap();
    let writing = VolumeOptions { write: true, ..Default::default() };
    assert_eq!(
        open(with(ro), &writing).unwrap_err().to_string(),
        "has features that are not known, so it can only be read: ro_compat 0x80; \
         those known are sparse, backup-super, unwritten, metaecc"
    );
    let compat = |sb: &mut SuperBlock| sb.s_feature_compat |= 0x100;
    open(with(compat), &writing).unwrap();
    let strict = VolumeOptions { strict: true, ..Default::default() };
    let err = open(with(compat), &strict).unwrap_err();
    assert!(err.to_string().starts_with("has features that are not known: compat 0x100"), "{err}");
    let interrupted = |sb: &mut SuperBlock| {
        sb.s_feature_incompat |= Incompat::TUNEFS_INPROG.bits();
        sb.s_tunefs_flag = 0x11;
    };
    open(with(interrupted), &VolumeOptions::default()).unwrap();
    let err = open(with(interrupted), &strict).unwrap_err();
    assert!(matches!(err, OpenVolumeError::UnknownTunefs { flag: 0x10 }), "{err}");
}

#[test]
fn other_things_than_volumes_are_called_by_their_names() {
    let ocfs1 = device(BlockSize::MAX);
    ocfs1.write_at(b"OracleCFS", 8).unwrap();
    assert_eq!(refused(ocfs1), "is a volume of OCFS version 1, which is not supported");
    let heartbeat = |sb: &mut SuperBlock| {
        sb.s_feature_incompat = Incompat::HEARTBEAT_DEV.bits();
        sb.s_max_slots = 0;
    };
    let err = open(edited(BlockSize::MIN, &heartbeat), &VolumeOptions::default()).unwrap_err();
    assert!(matches!(err, OpenVolumeError::HeartbeatDevice), "{err}");
    let welcome = VolumeOptions { heartbeat_device: true, ..Default::default() };
    open(edited(BlockSize::MIN, &heartbeat), &welcome).unwrap();
}

#[test]
fn a_device_that_is_too_short_is_refused_unless_allowed() {
    let short = || {
        let short = MemoryDevice::new(1 << 20);
        short.write_at(&superblock(BlockSize::MAX, Blkno(2), &|_| ()), 8192).unwrap();
        short
    };
    assert_eq!(refused(short()), "the volume has 5368709120 bytes, its device only 1048576");
    let allowed = VolumeOptions { allow_short: true, ..Default::default() };
    let volume = open(short(), &allowed).unwrap();
    assert!(matches!(volume.read_block(Blkno(1000)), Err(crate::Error::Read { .. })));
    assert!(matches!(volume.read_block(Blkno(2_000_000)), Err(crate::Error::OutsideVolume { .. })));
}

/// Cannot be read in one place.
struct BadPlace(MemoryDevice, std::ops::Range<u64>);

impl Device for BadPlace {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if offset < self.1.end && offset + buf.len() as u64 > self.1.start {
            return Err(io::Error::other("bad sector"));
        }
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(buf, offset)
    }
    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.zero(offset, len)
    }
    fn discard(&self, offset: u64, len: u64) -> io::Result<bool> {
        self.0.discard(offset, len)
    }
    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn what_can_not_be_read_is_not_called_damage() {
    let open = |bad| {
        let device = Arc::new(BadPlace(device(BlockSize::MAX), bad));
        Volume::open(device, &VolumeOptions::default())
    };
    assert_eq!(
        open(8192..8704).unwrap_err().to_string(),
        "byte 8192: could not be read: bad sector; good backup superblocks: \
         1 (block 262144 of 4096 bytes), 2 (block 1048576 of 4096 bytes)"
    );
    // Where nothing is stored it does not matter.
    open(0..4096).unwrap();
    let volume = open(40_960..45_056).unwrap();
    let err = volume.inode(Blkno(10)).unwrap_err();
    assert_eq!(err.to_string(), "block 10: could not be read: bad sector");
    assert!(!err.is_damage());
}
