//! A file of a volume: the space it occupies, and its status.

use std::fmt::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Result;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use ocfs2_cli::{People, shown};
use ocfs2_format::dinode::{Arm, FileKind};
use ocfs2_format::extent::ExtentFlags;
use ocfs2_ioctl::Mounted;
use ocfs2_volume::{Inode, Volume};
use serde::Serialize;

/// Bytes for which the score is calculated.
const SCORED: u32 = 1 << 20;
/// Bytes of the blocks in which the space of a file is counted.
const SECTOR: u64 = 512;

/// The space of a file, in clusters.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Room {
    extents: u64,
    clusters: u64,
    shared: u64,
    unwritten: u64,
    /// Missing clusters before the last extent.
    holes: u64,
    /// Where the extents so far end.
    end: u64,
}

/// An extent of a file, in clusters.
#[derive(Clone, Copy, Debug, Default)]
struct Piece {
    first: u64,
    clusters: u64,
    is_shared: bool,
    is_unwritten: bool,
}

impl Room {
    fn add(&mut self, piece: &Piece) {
        let Piece { first, clusters, is_shared, is_unwritten } = *piece;
        self.extents += 1;
        self.clusters += clusters;
        self.shared += if is_shared { clusters } else { 0 };
        self.unwritten += if is_unwritten { clusters } else { 0 };
        self.holes += first.saturating_sub(self.end);
        self.end = first + clusters;
    }

    /// Contents in the inode count as an extent without clusters, as the kernel reports them.
    fn add_inline(&mut self) {
        self.extents += 1;
    }
}

/// The status of a file and the space it occupies, for JSON.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FileFacts {
    path: String,
    inode: u64,
    mode: u32,
    size_bytes: u64,
    allocated_bytes: u64,
    block_size: u32,
    cluster_size: u32,
    clusters: u64,
    extents: u64,
    shared_clusters: u64,
    unwritten_clusters: u64,
    hole_clusters: u64,
    links: u64,
    uid: u32,
    gid: u32,
    accessed: Time,
    modified: Time,
    changed: Time,
}

/// Time since 1970.
#[derive(Clone, Copy, Debug, Serialize)]
struct Time {
    seconds: i64,
    nanoseconds: i64,
}

/// What stat(1) shows of a file, and the space it occupies.
#[derive(Debug)]
pub struct FileStatus {
    path: String,
    room: Room,
    cluster_size: u32,
    /// The block size of the volume, not the preferred size of reads.
    block_size: u32,
    mode: u32,
    size: u64,
    /// Blocks of 512 bytes.
    blocks: u64,
    /// The device of the volume; 0 for an image.
    device: u64,
    inode: u64,
    links: u64,
    owner: (u32, u32),
    /// Seconds and nanoseconds of the last access, modification and change.
    times: [(i64, i64); 3],
}

impl FileStatus {
    /// Asks the kernel.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn of_kernel(file: &Mounted, path: &Path) -> Result<Self> {
        let (metadata, cluster_size) = (path.metadata()?, file.cluster_size()?);
        let size = u64::from(cluster_size.max(1));
        let mut room = Room::default();
        for extent in file.extents()? {
            if extent.flags.is_inline() {
                room.add_inline();
                continue;
            }
            room.add(&Piece {
                first: extent.logical / size,
                clusters: extent.length.div_ceil(size),
                is_shared: extent.flags.is_shared(),
                is_unwritten: extent.flags.is_unwritten(),
            });
        }
        Ok(Self {
            path: shown(path),
            room,
            cluster_size,
            block_size: file.block_size()?,
            mode: metadata.mode(),
            size: metadata.len(),
            blocks: metadata.blocks(),
            device: metadata.dev(),
            inode: metadata.ino(),
            links: metadata.nlink(),
            owner: (metadata.uid(), metadata.gid()),
            times: [
                (metadata.atime(), metadata.atime_nsec()),
                (metadata.mtime(), metadata.mtime_nsec()),
                (metadata.ctime(), metadata.ctime_nsec()),
            ],
        })
    }

    /// Reads the inode of a file in a volume on `device`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of_inode(volume: &Volume, inode: &Inode, path: &Path, device: u64) -> Result<Self> {
        let (dinode, geometry) = (&inode.dinode, volume.geometry());
        let mut room = Room::default();
        match dinode.arm() {
            Arm::ExtentList => {
                for extent in volume.tree(inode)?.extents() {
                    let extent = extent?;
                    room.add(&Piece {
                        first: extent.cpos.0.into(),
                        clusters: extent.clusters.into(),
                        is_shared: extent.flags.contains(ExtentFlags::REFCOUNTED),
                        is_unwritten: extent.flags.contains(ExtentFlags::UNWRITTEN),
                    });
                }
            }
            _ => room.add_inline(),
        }
        let cluster_size = geometry.cluster_size.bytes();
        // The kernel counts contents in the inode, too, so that the file does not look empty.
        let inline = if inode.is_inline() { inode.size().div_ceil(SECTOR) } else { 0 };
        let times = [inode.atime(), inode.mtime(), inode.ctime()];
        Ok(Self {
            path: shown(path),
            room,
            cluster_size,
            block_size: geometry.block_size.bytes(),
            mode: dinode.i_mode.into(),
            size: inode.size(),
            blocks: u64::from(dinode.i_clusters) * (u64::from(cluster_size) / SECTOR) + inline,
            device,
            inode: inode.blkno.0,
            links: volume.links_count(inode).into(),
            owner: (dinode.i_uid, dinode.i_gid),
            times: times.map(|time| (time.seconds, time.nanoseconds.into())),
        })
    }

    /// The status as values.
    pub(crate) fn facts(&self) -> FileFacts {
        let Room { extents, clusters, shared, unwritten, holes, .. } = self.room;
        let times = self.times.map(|(seconds, nanoseconds)| Time { seconds, nanoseconds });
        let [accessed, modified, changed] = times;
        FileFacts {
            path: self.path.clone(),
            inode: self.inode,
            mode: self.mode,
            size_bytes: self.size,
            allocated_bytes: self.blocks.saturating_mul(SECTOR),
            block_size: self.block_size,
            cluster_size: self.cluster_size,
            clusters,
            extents,
            shared_clusters: shared,
            unwritten_clusters: unwritten,
            hole_clusters: holes,
            links: self.links,
            uid: self.owner.0,
            gid: self.owner.1,
            accessed,
            modified,
            changed,
        }
    }

    /// The answer to `--space-usage`.
    pub fn space_usage(&self) -> String {
        let Room { shared, unwritten, holes, .. } = self.room;
        let blocks = self.blocks;
        format!(
            "Blocks: {blocks:<10} Shared: {shared:<10}\tUnwritten: {unwritten:<7} Holes: {holes:<6}\n"
        )
    }

    /// The answer to `--filestat`.
    pub fn text(&self) -> String {
        let people = People::of_this_machine();
        let Room { extents, clusters, shared, unwritten, holes, .. } = self.room;
        let percent = if clusters > 1 { 100.0 * extents as f64 / clusters as f64 } else { 0.0 };
        let score = percent * f64::from(SCORED / self.cluster_size.clamp(1, SCORED));
        let Self { path, size, blocks, block_size, device, inode, links, .. } = self;
        let kind = kind(self.mode, self.size);
        let mut text = format!("  File: {path}\n");
        let _ = writeln!(
            text,
            "  Size: {size:<10}\tBlocks: {blocks:<10} IO Block: {block_size:<6} {kind}"
        );
        let _ = writeln!(text, "Device: {device:x}h/{device}d\tInode: {inode:<10}  Links: {links}");
        let _ = writeln!(
            text,
            " Frag%: {percent:<10.2}\tClusters: {clusters:<8} Extents: {extents:<6} Score: {score:.0}"
        );
        let _ = writeln!(
            text,
            "Shared: {shared:<10}\tUnwritten: {unwritten:<7} Holes: {holes:<8} Xattr: 0"
        );
        let ((uid, gid), mode) = (self.owner, self.mode & 0o7777);
        let (user, group, letters) = (people.user(uid), people.group(gid), permissions(self.mode));
        let _ = writeln!(
            text,
            "Access: ({mode:04o}/{letters})  Uid: ({uid:>5}/{user:>8})   Gid: ({gid:>5}/{group:>8})"
        );
        for (name, (seconds, nanoseconds)) in ["Access", "Modify", "Change"].iter().zip(self.times)
        {
            let _ = writeln!(text, "{name}: {}", time(seconds, nanoseconds));
        }
        text
    }
}

/// The type of file that a mode has.
fn type_of(mode: u32) -> Option<FileKind> {
    u16::try_from(mode & 0xffff).ok().and_then(FileKind::from_mode)
}

fn kind(mode: u32, size: u64) -> &'static str {
    match type_of(mode) {
        Some(FileKind::Regular) if size == 0 => "regular empty file",
        Some(FileKind::Regular) => "regular file",
        Some(FileKind::Directory) => "directory",
        Some(FileKind::CharDevice) => "character special file",
        Some(FileKind::BlockDevice) => "block special file",
        Some(FileKind::Fifo) => "FIFO",
        Some(FileKind::Socket) => "socket",
        Some(FileKind::Symlink) => "symbolic link",
        None => "unknown",
    }
}

/// Permissions in the form of ls(1).
fn permissions(mode: u32) -> String {
    let first = match type_of(mode) {
        Some(FileKind::Directory) => 'd',
        Some(FileKind::CharDevice) => 'c',
        Some(FileKind::BlockDevice) => 'b',
        Some(FileKind::Fifo) => 'p',
        Some(FileKind::Socket) => 's',
        Some(FileKind::Symlink) => 'l',
        Some(FileKind::Regular) => '-',
        None => '?',
    };
    let mut text = String::from(first);
    // The letter that replaces `x`, and the bit that makes it do so.
    for (shift, letter, bit) in [(6, 's', 0o4000), (3, 's', 0o2000), (0, 't', 0o1000)] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & bit != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// A time in the zone of this machine.
fn time(seconds: i64, nanoseconds: i64) -> String {
    let nanoseconds = i32::try_from(nanoseconds).unwrap_or_default();
    match Timestamp::new(seconds, nanoseconds) {
        Ok(time) => {
            let zoned = time.to_zoned(TimeZone::system());
            zoned.strftime("%Y-%m-%d %H:%M:%S.%9f %z").to_string()
        }
        // The time is outside the calendar.
        Err(_) => format!("{seconds}.{nanoseconds:09}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_between_extents_is_a_hole() {
        let mut room = Room::default();
        for (first, clusters) in [(1, 2), (4, 1)] {
            room.add(&Piece { first, clusters, ..Piece::default() });
        }
        room.add_inline();
        let expected = Room { extents: 3, clusters: 3, holes: 2, end: 5, ..Room::default() };
        assert_eq!(room, expected);
    }

    #[test]
    fn nanoseconds_are_nine_digits() {
        assert!(time(0, 5).contains(":00.000000005 "), "{}", time(0, 5));
        assert_eq!(time(i64::MAX, 0), format!("{}.000000000", i64::MAX));
    }

    #[test]
    fn permissions_are_those_of_ls() {
        for (mode, expected) in [
            (0o100_644, "-rw-r--r--"),
            (0o041_777, "drwxrwxrwt"),
            (0o106_710, "-rws--s---"),
            (0o010_600, "prw-------"),
            (0o067_000, "b--S--S--T"),
        ] {
            assert_eq!(permissions(mode), expected);
        }
    }
}
