//! Volumes with files of every kind, and what happens to the head of a disk.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use ocfs2_device::{DeviceOptions, open};
use ocfs2_testing::{Run, Scratch, program};
use ocfs2_volume::{Volume, VolumeOptions};

/// Files that are made.
pub const FILES: usize = 2400;
/// Files of a directory.
const PER_DIRECTORY: usize = 60;

/// Makes the folder from which volumes are filled.
pub fn source(folder: &Path) {
    fs::create_dir(folder).unwrap();
    for number in 0..FILES {
        let branch = number / PER_DIRECTORY;
        let dir = folder.join(format!("branch-{}", branch % 8)).join(format!("twig-{branch:02}"));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join(format!("file-{number:04}"));
        let bytes = |len: usize| -> Vec<u8> {
            let mut state = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let next = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            };
            std::iter::repeat_with(next).take(len).collect()
        };
        match number % 10 {
            0 => fs::write(&path, b"").unwrap(),
            1 => fs::write(&path, bytes(100)).unwrap(),
            2 => fs::write(&path, bytes(3000)).unwrap(),
            3 => fs::write(&path, bytes(5000)).unwrap(),
            4 => fs::write(&path, bytes(40_000)).unwrap(),
            5 => fs::write(&path, bytes(150_000)).unwrap(),
            6 => {
                let file = File::create(&path).unwrap();
                file.write_all_at(&bytes(9000), 70_000).unwrap();
                file.write_all_at(&bytes(10), 900_000).unwrap();
            }
            7 => symlink(format!("file-{:04}", number - 3), &path).unwrap(),
            8 => fs::hard_link(dir.join(format!("file-{:04}", number - 4)), &path).unwrap(),
            _ => fs::write(&path, bytes(12_000)).unwrap(),
        }
    }
}

/// A volume before anything happens to it.
pub struct Made {
    pub path: PathBuf,
}

/// Makes a volume in an image and fills it.
pub fn make(
    scratch: &Scratch,
    source: &Path,
    name: &str,
    megabytes: u64,
    options: &[&str],
) -> Made {
    let path = scratch.join(name);
    let bytes = megabytes << 20;
    File::create(&path).unwrap().set_len(bytes).unwrap();
    let source = source.to_str().unwrap();
    let mkfs = Run::new(program("mkfs.ocfs2")).args(["-F", "-x", "-d", source, "-J", "size=8M"]);
    mkfs.args(options).arg(&path).output().expect_status(0);
    Made { path }
}

/// Removes some files, as what is packed has no free space at its head.
pub fn make_room(image: &Path) {
    for number in (5..1000).step_by(10) {
        let branch = number / PER_DIRECTORY;
        let path = format!("rm /branch-{}/twig-{branch:02}/file-{number:04}", branch % 8);
        let debugfs = Run::new(program("debugfs.ocfs2")).args(["-w", "-R", &path]);
        debugfs.arg(image).output().expect_status(0);
    }
}

/// Opens the volume in an image.
pub fn volume(image: &Path) -> Option<Volume> {
    let device = open(image, &DeviceOptions::default()).ok()?;
    let options = VolumeOptions { allow_short: true, ..VolumeOptions::default() };
    Volume::open(device, &options).ok()
}

/// What happens to a disk.
#[derive(Clone, Copy, Debug)]
pub enum Damage {
    /// The first bytes are zeros.
    Zeros(u64),
    /// Another file system is made over it.
    Mkfs(&'static str, &'static [&'static str]),
    /// The signature is erased.
    Wipefs,
    /// The device ends here.
    Cut(u64),
    /// Zeros from there on, in thousandths of the device.
    ZerosAt(u64, u64),
    /// Of the pieces of a RAID, one in so many is lost.
    Pieces(u64),
    /// Of the blocks that were written, one in so many never was.
    Unwritten(u64),
    /// A partition table is written.
    Partitions,
    /// `mkfs.ocfs2` makes another volume over it.
    Formatted(&'static [&'static str]),
    /// The other damage, and ten blocks by chance.
    AndBlocks(&'static Damage),
}

/// Bytes of a piece of a RAID.
const PIECE: usize = 64 << 10;

impl Damage {
    /// Damages an image. Returns the bytes that differ, as ranges of whole blocks of 512 bytes;
    /// `None` if the program for it is missing.
    pub fn make(self, image: &Path) -> Option<Vec<Range<u64>>> {
        // Large volumes have more holes than memory.
        let is_outer = matches!(self, Self::AndBlocks(_));
        let before = image.with_extension(if is_outer { "before-all" } else { "before" });
        Run::new("cp").arg("--sparse=always").arg(image).arg(&before).success();
        let size = image.metadata().unwrap().len();
        match self {
            Self::Zeros(bytes) => {
                let file = File::options().write(true).open(image).unwrap();
                file.write_all_at(&vec![0; bytes as usize], 0).unwrap();
            }
            Self::Mkfs(name, options) => {
                let path = ocfs2_testing::oracle(name)?;
                Run::new(path).args(options).arg(image).output().expect_status(0);
            }
            Self::Cut(bytes) => {
                File::options().write(true).open(image).unwrap().set_len(bytes).unwrap();
                return Some(std::iter::once(bytes..u64::MAX).collect());
            }
            Self::ZerosAt(thousandths, bytes) => {
                let file = File::options().write(true).open(image).unwrap();
                let at = (size * thousandths / 1000 / 512 * 512).min(size - bytes);
                file.write_all_at(&vec![0; bytes as usize], at).unwrap();
            }
            Self::Pieces(one_in) => lose(image, PIECE, one_in),
            Self::Unwritten(one_in) => lose(image, 4096, one_in),
            Self::Partitions => {
                ocfs2_testing::oracle("sfdisk")?;
                let script = "printf 'label: gpt\\n,,L\\n' | sfdisk -q --no-reread \"$0\"";
                Run::new("sh").args(["-c", script]).arg(image).output().expect_status(0);
            }
            Self::Formatted(options) => {
                let mkfs = Run::new(program("mkfs.ocfs2"));
                let mkfs = mkfs.args(["-F", "-x", "--nodiscard", "-J", "size=8M"]);
                mkfs.args(options).arg(image).output().expect_status(0);
            }
            Self::AndBlocks(first) => {
                first.make(image)?;
                let file = File::options().write(true).open(image).unwrap();
                let mut random = ocfs2_testing::Random(0x006f_6e74_6f70);
                // What was written, mostly: most of the device is empty.
                let mut written = Vec::new();
                each_piece(&before, 4096, |at, bytes| {
                    written.extend(bytes.iter().any(|byte| *byte != 0).then_some(at));
                });
                for _ in 0..10 {
                    let at = *random.of(&written);
                    file.write_all_at(&random.bytes(4096), at).unwrap();
                }
            }
            Self::Wipefs => {
                let path = ocfs2_testing::oracle("wipefs")?;
                Run::new(path).arg("-a").arg(image).output().expect_status(0);
            }
        }
        let after = File::open(image).unwrap();
        let mut hit: Vec<Range<u64>> = Vec::new();
        each_piece(&before, PIECE, |at, old| {
            let mut new = vec![0; old.len()];
            after.read_exact_at(&mut new, at).unwrap();
            let ranges = if old == new { Vec::new() } else { differ(old, &new) };
            for range in ranges.into_iter().map(|it| it.start + at..it.end + at) {
                match hit.last_mut().filter(|last| last.end == range.start) {
                    Some(last) => last.end = range.end,
                    None => hit.push(range),
                }
            }
        });
        fs::remove_file(&before).unwrap();
        Some(hit)
    }
}

/// Calls `each` with every piece of a file and its place.
fn each_piece(path: &Path, piece: usize, mut each: impl FnMut(u64, &[u8])) {
    let file = File::open(path).unwrap();
    let size = file.metadata().unwrap().len();
    let mut bytes = vec![0; 1 << 20];
    for start in (0..size).step_by(bytes.len()) {
        let len = (size - start).min(bytes.len() as u64) as usize;
        file.read_exact_at(&mut bytes[..len], start).unwrap();
        for (at, piece) in (start..).step_by(piece).zip(bytes[..len].chunks(piece)) {
            each(at, piece);
        }
    }
}

/// Zeroes one in so many of the pieces that have been written to, by chance.
fn lose(image: &Path, piece: usize, one_in: u64) {
    let mut random = ocfs2_testing::Random(0x6c6f_7374);
    let mut lost = Vec::new();
    each_piece(image, piece, |at, bytes| {
        let is_written = bytes.iter().any(|byte| *byte != 0);
        if is_written && random.next().is_multiple_of(one_in) {
            lost.push((at, bytes.len()));
        }
    });
    let file = File::options().write(true).open(image).unwrap();
    for (at, len) in lost {
        file.write_all_at(&vec![0; len], at).unwrap();
    }
}

/// The bytes that differ, as ranges of whole blocks of 512 bytes.
pub fn differ(before: &[u8], after: &[u8]) -> Vec<Range<u64>> {
    let mut hit: Vec<Range<u64>> = Vec::new();
    for (number, (old, new)) in before.chunks(512).zip(after.chunks(512)).enumerate() {
        let (start, end) = (number as u64 * 512, (number as u64 + 1) * 512);
        match hit.last_mut().filter(|last| last.end == start) {
            _ if old == new => {}
            Some(last) => last.end = end,
            None => hit.push(start..end),
        }
    }
    hit
}

/// All that happens to the head of a disk.
pub const HEAD: [Damage; 8] = [
    Damage::Wipefs,
    Damage::Zeros(64 << 10),
    Damage::Zeros(1 << 20),
    Damage::Zeros(8 << 20),
    Damage::Zeros(32 << 20),
    Damage::Mkfs("mkfs.vfat", &[]),
    Damage::Mkfs("mkfs.ext4", &["-q", "-F", "-E", "nodiscard"]),
    Damage::Mkfs("mkfs.xfs", &["-q", "-f", "-K"]),
];

/// What happens elsewhere, or on top of a lost head.
pub const ELSEWHERE: [Damage; 12] = [
    Damage::Pieces(20),
    Damage::AndBlocks(&Damage::Zeros(1 << 20)),
    Damage::Unwritten(20),
    Damage::AndBlocks(&Damage::Mkfs("mkfs.vfat", &[])),
    Damage::Partitions,
    Damage::ZerosAt(40, 4 << 20),
    Damage::ZerosAt(1000, 32 << 20),
    Damage::ZerosAt(20, 32 << 20),
    Damage::AndBlocks(&Damage::Wipefs),
    Damage::AndBlocks(&Damage::Partitions),
    Damage::AndBlocks(&Damage::Pieces(20)),
    Damage::AndBlocks(&Damage::Mkfs("mkfs.xfs", &["-q", "-f", "-K"])),
];
