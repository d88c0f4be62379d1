//! Saving what is overwritten, and putting it back.
//!
//! An undo file begins with a header; then come records, each with its own checksum:
//!
//! ```text
//! header:  "OCFS2UND", version u32, unit u32 (bytes), device size u64, UUID 16 bytes or zeros,
//!          crc32
//! record:  kind u8, offset u64, length u32, crc32 of these and of the body, the body
//! saved:   kind 'S', the bytes that were there
//! written: kind 'W', length 4, checksum of what is written there
//! end:     kind 'E', offset 0, length 8, how many records there are before it
//! ```
//!
//! Numbers are little-endian. Records reach stable storage before the device is touched. A file
//! without the end record was cut, by a crash or by an incomplete copy: whether it holds all that
//! was overwritten is not known, so it is used only if a person asks for that.
//!
//! Checksums of the superblock leave out the time of the last check and the number of mounts: a
//! check that finds nothing writes those, and must not prevent an undo.

mod read;
mod write;

use std::borrow::Cow;

use ocfs2_format::dinode::Dinode;
use ocfs2_format::superblock::{SUPERBLOCK_BLKNO, SUPERBLOCK_SIGNATURE, SuperBlock};
use ocfs2_format::{Block, BlockCheck, Structure};

pub use read::{Undo, UndoError};
pub use write::UndoDevice;

/// The UUID in the undo file of a program that overwrites a whole device. What is on the device
/// then, before and after that, need not be a volume: only its contents are compared.
pub const NO_VOLUME: [u8; 16] = [0; 16];

const MAGIC: &[u8; 8] = b"OCFS2UND";
const VERSION: u32 = 2;
const HEADER: usize = 8 + 4 + 4 + 8 + 16 + 4;
const RECORD: usize = 1 + 8 + 4 + 4;
/// Largest unit, in bytes.
const MAX_UNIT: u32 = 1 << 20;

const SAVED: u8 = b'S';
const WRITTEN: u8 = b'W';
const END: u8 = b'E';

/// A record as it is in the file.
fn record(kind: u8, offset: u64, body: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(RECORD + body.len());
    record.push(kind);
    record.extend(offset.to_le_bytes());
    record.extend((body.len() as u32).to_le_bytes());
    record.extend(record_sum(&record, body).to_le_bytes());
    record.extend(body);
    record
}

/// The checksum of a record whose first bytes, before the checksum, are `head`.
fn record_sum(head: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(body);
    hasher.finalize()
}

/// The checksum by which contents of the unit of `unit` bytes at `at` are recognised.
fn contents_sum(unit: u64, at: u64, contents: &[u8]) -> u32 {
    let is_superblock = at == SUPERBLOCK_BLKNO.0.saturating_mul(unit);
    let dateless = is_superblock.then(|| without_dates(contents)).flatten();
    crc32fast::hash(&dateless.map_or(Cow::Borrowed(contents), Cow::Owned))
}

/// Whether contents of the unit of `unit` bytes at `at` differ in no more than what every check
/// writes into a superblock. A checksum that is corrected is more than that.
fn are_same(unit: u64, at: u64, before: &[u8], after: &[u8]) -> bool {
    let check = |contents: &[u8]| match Dinode::decode(contents) {
        Ok(dinode) if dinode.i_check != BlockCheck::default() => Some(Dinode::validate(contents)),
        _ => None,
    };
    contents_sum(unit, at, before) == contents_sum(unit, at, after)
        && (before == after || check(before) == check(after))
}

/// A superblock without the fields that every check writes; `None` if it is not a superblock.
fn without_dates(contents: &[u8]) -> Option<Vec<u8>> {
    let mut dinode = Dinode::decode(contents).ok()?;
    if dinode.i_signature != SUPERBLOCK_SIGNATURE {
        return None;
    }
    let mut bytes = contents.to_vec();
    dinode.i_check = BlockCheck::default();
    dinode.encode(&mut bytes).ok()?;
    let part = bytes.get_mut(Dinode::ID2_OFFSET..)?;
    let mut superblock = SuperBlock::decode(part).ok()?;
    (superblock.s_mnt_count, superblock.s_lastcheck) = (0, 0);
    superblock.encode(part).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{FileExt, PermissionsExt};
    use std::path::Path;

    use super::*;
    use ocfs2_device::Device;
    use ocfs2_device::MemoryDevice;

    const NEVER: fn() -> bool = || false;

    fn before() -> Vec<u8> {
        (0..10_000_u32).map(|at| (at / 7) as u8).collect()
    }

    /// Overwrites some of a device, saving what was there to `path`.
    fn overwrite(path: &Path) -> MemoryDevice {
        let device = MemoryDevice::from_bytes(&before());
        let undo = UndoDevice::create(&device, path, [7; 16], 512).unwrap();
        undo.write_at(&[1; 1000], 300).unwrap();
        undo.write_at(&[2; 10], 9_990).unwrap();
        undo.write_at(&[3; 600], 700).unwrap();
        undo.zero(4_000, 1_100).unwrap();
        undo.finish().unwrap();
        device
    }

    fn scratch() -> (tempfile::TempDir, std::path::PathBuf) {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("undo");
        (scratch, path)
    }

    #[test]
    fn what_was_overwritten_comes_back() {
        let (_scratch, path) = scratch();
        let device = overwrite(&path);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let undo = Undo::read(&path, &NEVER).unwrap();
        assert_eq!((undo.uuid(), undo.missing()), ([7; 16], None));
        undo.apply(&device, &NEVER).unwrap();
        assert_eq!(device.to_bytes(), before());
        // And again, as after an interruption.
        undo.apply(&device, &NEVER).unwrap();
        assert_eq!(device.to_bytes(), before());
    }

    #[test]
    fn interrupted_it_can_be_done_again() {
        let (_scratch, path) = scratch();
        let device = overwrite(&path);
        let written = device.to_bytes();
        let err = Undo::read(&path, &|| true).unwrap_err();
        assert!(matches!(err, UndoError::Interrupted { is_begun: false }), "{err}");
        let undo = Undo::read(&path, &NEVER).unwrap();
        // Asked so often it ends somewhere.
        let ends = (1..).map_while(|most| {
            let asked = std::cell::Cell::new(0);
            let interrupted = || asked.replace(asked.get() + 1) >= most;
            undo.apply(&device, &interrupted).err()
        });
        let mut begun = 0;
        for end in ends {
            let UndoError::Interrupted { is_begun } = end else { panic!("{end}") };
            assert!(is_begun || begun > 0 || device.to_bytes() == written);
            begun += usize::from(is_begun);
        }
        assert!(begun > 0);
        assert_eq!(device.to_bytes(), before());
    }

    #[test]
    fn a_device_that_was_changed_since_is_left_alone() {
        let (_scratch, path) = scratch();
        let device = overwrite(&path);
        device.write_at(&[9], 301).unwrap();
        let changed = device.to_bytes();
        let err = Undo::read(&path, &NEVER).unwrap().apply(&device, &NEVER).unwrap_err();
        assert!(matches!(err, UndoError::Changed { offset: 0, .. }), "{err}");
        assert_eq!(device.to_bytes(), changed);
        let longer = MemoryDevice::new(20_000);
        let err = Undo::read(&path, &NEVER).unwrap().apply(&longer, &NEVER).unwrap_err();
        assert!(matches!(err, UndoError::Size { .. }), "{err}");
    }

    #[test]
    fn a_file_that_is_cut_is_refused_and_its_beginning_taken_where_that_is_asked_for() {
        let (_scratch, path) = scratch();
        let device = overwrite(&path);
        let after = device.to_bytes();
        let bytes = fs::read(&path).unwrap();
        for len in 0..bytes.len() {
            fs::write(&path, &bytes[..len]).unwrap();
            assert!(Undo::read(&path, &NEVER).is_err(), "{len}");
            let beginning = Undo::read_beginning(&path, &NEVER);
            assert_eq!(beginning.is_ok(), len >= HEADER, "{len}");
            let Ok(beginning) = beginning else { continue };
            assert!(beginning.missing().is_some(), "{len}");
            // Either it is told what was written later, or it puts back what it has.
            let device = MemoryDevice::from_bytes(&after);
            if beginning.apply(&device, &NEVER).is_err() {
                assert_eq!(device.to_bytes(), after, "{len}");
            }
        }
    }

    #[test]
    fn a_file_that_is_damaged_is_refused() {
        let (_scratch, path) = scratch();
        let device = overwrite(&path);
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            fs::write(&path, &bytes).unwrap();
            assert!(Undo::read(&path, &NEVER).is_err(), "{at}");
        }
        fs::write(&path, [&bytes[..], &[0]].concat()).unwrap();
        assert!(Undo::read(&path, &NEVER).is_err());
        // Damaged after it was read.
        fs::write(&path, &bytes).unwrap();
        let undo = Undo::read(&path, &NEVER).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[0xee; 64], (HEADER + RECORD + 100) as u64).unwrap();
        let after = device.to_bytes();
        assert!(matches!(undo.apply(&device, &NEVER), Err(UndoError::NotUndo { .. })));
        assert_eq!(device.to_bytes(), after);
        assert!(UndoDevice::create(MemoryDevice::new(1), &path, [0; 16], 512).is_err());
    }

    #[test]
    fn a_header_can_not_ask_for_memory() {
        let (_scratch, path) = scratch();
        overwrite(&path);
        let mut bytes = fs::read(&path).unwrap();
        bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..HEADER - 4]);
        bytes[HEADER - 4..HEADER].copy_from_slice(&sum.to_le_bytes());
        fs::write(&path, &bytes).unwrap();
        let err = Undo::read(&path, &NEVER).unwrap_err().to_string();
        assert!(err.contains("unit"), "{err}");
    }

    #[test]
    fn a_run_that_changes_nothing_leaves_no_file() {
        let (_scratch, path) = scratch();
        let device = MemoryDevice::from_bytes(&before());
        let undo = UndoDevice::create(&device, &path, [7; 16], 512).unwrap();
        undo.write_at(&before()[600..2000], 600).unwrap();
        assert!(path.exists());
        assert_eq!(path.metadata().unwrap().len(), HEADER as u64);
        assert!(!undo.finish().unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn the_time_of_a_check_is_no_change_of_the_superblock() {
        let superblock = |checked: u64, state: u16| {
            let mut block = vec![0; 512];
            let dinode = Dinode { i_signature: SUPERBLOCK_SIGNATURE, ..Dinode::default() };
            dinode.encode(&mut block).unwrap();
            let part = &mut block[Dinode::ID2_OFFSET..];
            let mut superblock = SuperBlock::decode(part).unwrap();
            (superblock.s_lastcheck, superblock.s_state) = (checked, state);
            superblock.encode(part).unwrap();
            block
        };
        let (_scratch, path) = scratch();
        let device = MemoryDevice::new(8192);
        device.write_at(&superblock(1, 1), 1024).unwrap();
        let undo = UndoDevice::create(&device, &path, [7; 16], 512).unwrap();
        undo.write_at(&superblock(2, 1), 1024).unwrap();
        undo.write_at(&superblock(3, 0), 1024).unwrap();
        undo.finish().unwrap();
        // A later check.
        device.write_at(&superblock(4, 0), 1024).unwrap();
        Undo::read(&path, &NEVER).unwrap().apply(&device, &NEVER).unwrap();
        assert_eq!(device.to_bytes()[1024..1536], superblock(1, 1));
        // More than that is a change.
        device.write_at(&superblock(4, 5), 1024).unwrap();
        Undo::read(&path, &NEVER).unwrap().apply(&device, &NEVER).unwrap_err();
        // And the same bytes elsewhere are no superblock.
        assert_ne!(
            contents_sum(512, 512, &superblock(1, 1)),
            contents_sum(512, 512, &superblock(2, 1))
        );
    }

    #[test]
    fn what_is_reserved_is_saved_and_put_back_whether_it_is_overwritten_or_not() {
        let (_scratch, path) = scratch();
        let device = MemoryDevice::from_bytes(&before());
        let undo = UndoDevice::create(&device, &path, [7; 16], 512).unwrap();
        undo.reserve(100, 2_000).unwrap();
        undo.reserve(9_500, 500).unwrap();
        undo.reserve(9_500, 501).unwrap_err();
        undo.write_at(&[1; 1000], 300).unwrap();
        undo.write_at(&[2; 1000], 5_000).unwrap();
        assert!(undo.finish().unwrap());
        Undo::read(&path, &NEVER).unwrap().apply(&device, &NEVER).unwrap();
        assert_eq!(device.to_bytes(), before());
    }

    #[test]
    fn what_can_not_be_saved_is_not_overwritten() {
        let (_scratch, path) = scratch();
        let device = MemoryDevice::from_bytes(&before());
        let undo = UndoDevice::create(&device, &path, [7; 16], 512).unwrap();
        undo.write_at(&[1; 512], 0).unwrap();
        undo.fail_from_now_on();
        undo.write_at(&[1; 512], 512).unwrap_err();
        undo.write_at(&[1; 512], 512).unwrap_err();
        assert!(undo.finish().unwrap());
        Undo::read(&path, &NEVER).unwrap().apply(&device, &NEVER).unwrap();
        assert_eq!(device.to_bytes(), before());
    }
}
